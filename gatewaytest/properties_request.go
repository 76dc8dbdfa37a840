package gatewaytest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"pgregory.net/rapid"
)

// Request draws requests as a server's handler gets them. Each has one of p's methods, asks for one of its hosts, in upper
// case, with a port or with a final dot too, for a path of its segments, and has some of its header fields and parameters.
// The rest is what clients and attackers do: paths with repeated slashes, dot segments, escapes that are not needed or
// not allowed; TLS with and without a server name; identity and forwarding fields in all spellings that upstreams take
// for one name; bodies of up to a few bytes, with and without a length.
//
// Some of the requests are such that an entry refuses them. Each is new and belongs to the caller.
func (p Properties) Request() *rapid.Generator[*http.Request] {
	p = p.filled()
	return rapid.Custom(func(t *rapid.T) *http.Request { return p.ask(t).request() })
}

// asked is a request in the making.
type asked struct {
	method, host, peer string
	path               string // as it is sent
	query              url.Values
	rawQuery           string // behind query
	tls                *tls.ConnectionState
	header             http.Header
	body               string
	noLength           bool
}

// ask draws all of a request.
func (p Properties) ask(t *rapid.T) asked {
	a := asked{
		method: sample(t, "method", p.Methods...),
		host:   p.host(t, p.Hosts),
		path:   respell(t, p.path(t)),
		query:  url.Values{},
		header: http.Header{},
		peer:   sample(t, "peer", p.Peers...),
	}
	for _, name := range names(p.Headers) {
		for _, v := range some(t, name, p.Headers[name]) {
			a.header.Add(name, v)
		}
	}
	for _, name := range names(p.Query) {
		a.query[name] = some(t, name, p.Query[name])
	}
	if oneIn(t, 4, "odd query") {
		a.rawQuery = p.oddQuery(t)
	}
	if rapid.Bool().Draw(t, "tls") {
		a.tls = p.tls(t, a.host)
	}
	forge(t, a.header)
	if rapid.Bool().Draw(t, "body") {
		a.body, a.noLength = sample(t, "text", "x", `{"a":1}`, strings.Repeat("0123456789", 10)), rapid.Bool().Draw(t, "no length")
	}
	return a
}

// host draws one of the hosts, as a client may write it.
func (p Properties) host(t *rapid.T, hosts []string) string {
	host := sample(t, "host", hosts...)
	host = unstarred(t, host)
	name, port := hostAndPort(host)
	switch sample(t, "written", "", "", "", "port", "port", "case", "dot", "empty", "odd") {
	case "port":
		if port == "" {
			port = sample(t, "port", "80", "81", "443", "8443")
		}
	case "case":
		name = strings.ToUpper(name)
	case "dot":
		name += "."
	case "empty":
		return ""
	case "odd":
		return sample(t, "odd", "a..test", "[::1]", "[::1]:81", "127.0.0.1", "a.test:0", "a_b.test")
	}
	if port != "" {
		name += ":" + port
	}
	return name
}

// unstarred draws a host that one with a star stands for, or the one nearest to those that it does not.
func unstarred(t *rapid.T, host string) string {
	before, after, star := strings.Cut(host, "*")
	if !star {
		return host
	}
	labels := sample(t, "star", "x", "y.x", "test", "")
	if labels == "" {
		return strings.TrimSuffix(before, ".") + strings.TrimPrefix(after, ".")
	}
	return before + labels + after
}

// tls draws what is known of a TLS connection over which host is asked for.
func (p Properties) tls(t *rapid.T, host string) *tls.ConnectionState {
	name, _ := hostAndPort(host)
	switch sample(t, "sni", "same", "same", "none", "case", "other") {
	case "none":
		name = ""
	case "case":
		name = strings.ToUpper(name)
	case "other":
		name, _ = hostAndPort(strings.Replace(sample(t, "server name", p.Hosts...), "*", "x", 1))
	}
	if strings.ContainsAny(name, "[]:") {
		name = "" // clients send no addresses (RFC 6066 section 3)
	}
	return &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: strings.TrimSuffix(name, ".")}
}

// oddQuery draws a part of a query as forms do not send it: it is not well-formed, or spelled in another way.
func (p Properties) oddQuery(t *rapid.T) string {
	name := sample(t, "odd name", names(p.Query)...)
	value := firstOf(p.Query[name], "1")
	first := ""
	if name != "" {
		first = fmt.Sprintf("%%%02x%s", name[0], url.QueryEscape(name[1:]))
	}
	name, value = url.QueryEscape(name), url.QueryEscape(value)
	return sample(t, "odd query", first+"="+value, name, name+"="+value+";x=1", "x=1;"+name+"="+value, name+"=%zz", "%zz="+value, "x=1&&"+name+"="+value, "=", name+"==")
}

// path draws a path of p's segments in its canonical spelling.
func (p Properties) path(t *rapid.T) string {
	segments := rapid.SliceOfN(rapid.SampledFrom(p.Segments), 0, 4).Draw(t, "path")
	path := "/" + strings.Join(segments, "/")
	if len(segments) > 0 && oneIn(t, 4, "slash") {
		path += "/"
	}
	return path
}

// respell draws a spelling of a path: as it is, another one of the same, or one of another path or of none that hides
// behind it.
func respell(t *rapid.T, path string) string {
	how := sample(t, "spelling", "plain", "plain", "same", "same", "hostile")
	if how == "plain" {
		return path
	}
	separators := []string{"/", "/", "/", "//", "/./", "/zz/../", "/%2e/", "/zz/%2E%2e/"}
	var b strings.Builder
	for _, segment := range strings.Split(path, "/")[1:] {
		b.WriteString(sample(t, "separator", separators...))
		b.WriteString(escape(t, segment))
	}
	if how == "hostile" {
		b.WriteString(sample(t, "hostile",
			"/..", "/%2e%2e/%2e%2e", "%2F", "/a%2fb", "/..%2f", "%5C..", "/..;/a", ";x=1", "%00", "%FF", "%25", "%2541", "%3F", "%23"))
	}
	return b.String()
}

// escape draws a spelling of a segment: as it is, with a byte escaped that need not be, or its escapes in lower case.
func escape(t *rapid.T, segment string) string {
	switch sample(t, "escape", "", "", "first", "last", "lower") {
	case "first":
		if segment != "" && segment[0] != '%' {
			return fmt.Sprintf("%%%02x%s", segment[0], segment[1:])
		}
	case "last":
		if n := len(segment) - 1; n >= 0 && !strings.Contains(segment, "%") {
			return fmt.Sprintf("%s%%%02X", segment[:n], segment[n])
		}
	case "lower":
		if strings.Contains(segment, "%") {
			return strings.ToLower(segment)
		}
	}
	return segment
}

// What clients have no business to send: names, and values that would make somebody of them.
var (
	forgedNames = []string{
		"X-Consumer-Id", "X-Consumer-Username", "X-Consumer-Custom-Id", "X-Consumer-Groups", "X-Credential-Identifier", "X-Anonymous-Consumer",
		"X-Authenticated-Userid", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Real-Ip", "Forwarded",
		"X-Original-Url", "X-Http-Method-Override",
	}
	forgedValues = []string{"1", "admin", "true", "203.0.113.7", "https", "for=203.0.113.7;proto=https", "/admin", "DELETE", ""}
)

// forge adds fields of these names, in the spellings that upstreams take for one.
func forge(t *rapid.T, h http.Header) {
	for range sample(t, "forged", 0, 0, 1, 2, 3) {
		name := sample(t, "name", forgedNames...)
		for range sample(t, "alias", 0, 1, 2) {
			name = strings.Replace(name, "-", sample(t, "joint", "_", "."), 1)
		}
		h.Add(name, sample(t, "value", forgedValues...))
		if oneIn(t, 8, "nominated") {
			h.Add("Connection", name)
		}
	}
}

// request makes the request.
func (a asked) request() *http.Request {
	var body io.Reader
	switch {
	case a.body == "":
	case a.noLength:
		body = struct{ io.Reader }{strings.NewReader(a.body)}
	default:
		body = strings.NewReader(a.body)
	}
	target := a.path
	if query := strings.Trim(a.query.Encode()+"&"+a.rawQuery, "&"); query != "" {
		target += "?" + query
	}
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, target, body)
	r.Method, r.Host, r.RemoteAddr, r.TLS, r.Header = a.method, a.host, a.peer, a.tls, a.header
	return r
}
