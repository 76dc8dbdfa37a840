package proxy

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// ownFields is how many fields Outgoing may set by itself.
const ownFields = 20

var errPath = errors.New("proxy: a handler in between has left a path that has no canonical form")

var errQuery = errors.New("proxy: the query holds a byte that cannot be sent")

// Outgoing returns a new request for target, with the context of the client's. Path and query are those of the client's
// request as it is now, behind the path of the target; Host is the target's, or the client's where Forward says so.
func (c *Call) Outgoing(target *url.URL) (*http.Request, *policy.Error) {
	out, room, failed := c.outgoing(target)
	if failed != nil {
		return nil, failed
	}
	in := c.In
	for name, values := range in.Header {
		if !hopByHop(name) && !framing(name) {
			out.Header[name] = slices.Clip(values) // an Add must not write into the client's header
		}
	}
	removeNominated(out.Header, in.Header["Connection"])
	if rewrite := c.Forward.Rewrite; rewrite != nil {
		rewrite(in, out)
		c.undo(out, target)
		path, err := canonical.Path(out.URL, canonical.PathOptions{AllowEncodedSlash: true})
		if err != nil {
			return nil, invalidRequest(err)
		}
		canonical.SetPath(out.URL, path)
	}
	if !sendable(out.URL.RawQuery) {
		return nil, invalidRequest(errQuery)
	}
	c.set(&fields{h: out.Header, room: room})
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // net/http would send its own
	}
	return out, nil
}

// OutgoingFields is Outgoing for a transport that takes fields as a list: those of the header, which stays empty. It is for
// requests that nobody else looks at; ok is false for one that Outgoing has to make.
func (c *Call) OutgoingFields(target *url.URL) (out *http.Request, list []transport.Field, failed *policy.Error, ok bool) {
	in := c.In
	if c.Forward.Rewrite != nil || c.upgrade != "" || len(in.Header["Expect"]) > 0 || nominates(in.Header["Connection"]) {
		return nil, nil, nil, false
	}
	out, _, failed = c.outgoing(target)
	if failed != nil {
		return nil, nil, failed, true
	}
	if !sendable(out.URL.RawQuery) {
		return nil, nil, invalidRequest(errQuery), true
	}
	f := &fields{list: c.list[:0]}
	for name, values := range in.Header {
		if hopByHop(name) || framing(name) || sets(name) {
			continue
		}
		for _, v := range values {
			f.list = append(f.list, transport.Field{Name: name, Value: v})
		}
	}
	c.set(f)
	c.list = f.list
	return out, f.list, nil, true
}

// outgoing makes the request but for its header, and room for the values of the gateway's own fields.
func (c *Call) outgoing(target *url.URL) (*http.Request, []string, *policy.Error) {
	in := c.In
	out, u, room := &c.out, &c.url, c.room[:0]
	if c.asked { // somebody may still hold that one
		out, u, room, c.header, c.list = new(http.Request), new(url.URL), make([]string, 0, ownFields), make(http.Header, len(in.Header)+ownFields), nil
	}
	c.asked = true
	*out = *in // for the context
	out.Proto, out.ProtoMajor, out.ProtoMinor, out.Header = "HTTP/1.1", 1, 1, c.header
	out.RequestURI, out.RemoteAddr, out.Pattern, out.TLS = "", "", "", nil
	out.Form, out.PostForm, out.MultipartForm, out.Response = nil, nil, nil, nil
	if out.URL = u; !joinURL(u, target, in.URL, c.Exchange.Path()) {
		return nil, nil, &policy.Error{Status: http.StatusBadRequest, Code: pathRewritten, Message: "Bad request", Err: errPath}
	}
	c.frame(out, target)
	return out, room, nil
}

// set writes the fields that are the gateway's.
func (c *Call) set(f *fields) {
	c.setConnection(f)
	c.setForwarded(f)
	f.set("Via", appendVia(c.In.Header["Via"], c.In.ProtoMajor, c.In.ProtoMinor))
	c.identity.set(f)
	if name := c.Forward.TimeoutHeader; name != "" {
		c.setTimeout(f, http.CanonicalHeaderKey(name))
	}
}

// setTimeout tells the target how long there is for its answer.
func (c *Call) setTimeout(f *fields, name string) {
	f.removeAll(name)
	if !c.Deadline.IsZero() {
		left := max(time.Until(c.Deadline).Milliseconds(), 1)
		f.set(name, strconv.FormatInt(left, 10))
	}
}

// FreeField reports whether a field of that name may be set in requests: it is a name, and neither about one connection or the
// framing, nor the gateway's own.
func FreeField(name string) bool {
	key := http.CanonicalHeaderKey(name)
	return canonical.Token(name) && !hopByHop(key) && !framing(key) && !owned.Contains(name)
}

// sendable tells whether a query can stand in a request line.
func sendable(query string) bool {
	for i := range len(query) {
		if b := query[i]; b <= ' ' || b == 0x7f || b == '#' {
			return false
		}
	}
	return true
}

// invalidRequest is the refusal of a request that a plugin made so that it cannot be sent.
func invalidRequest(err error) *policy.Error {
	return &policy.Error{Status: http.StatusInternalServerError, Code: transport.InvalidRequest, Message: messageInternal, Err: err}
}

// frame sets what decides where the request goes and ends.
func (c *Call) frame(out *http.Request, target *url.URL) {
	out.Host = cmp.Or(c.TargetHost, hostField(target))
	if (c.Forward.PreserveHost || c.Forward.Host != "") && c.In.Host != "" {
		out.Host = c.preservedHost()
	}
	out.Method, out.Close, out.TransferEncoding, out.Trailer, out.GetBody = c.In.Method, false, nil, nil, nil
	out.Body, out.ContentLength = nil, 0
	if c.upload != nil {
		out.Body, out.ContentLength = c.upload.part(), c.In.ContentLength
		if out.Trailer = c.upload.outgoing(); out.Trailer != nil {
			out.ContentLength, out.TransferEncoding = -1, []string{"chunked"} // also where net/http would rather send no body
		}
	}
}

// undo takes back what a Rewrite has no say in: the target, the framing, and the fields set after it.
func (c *Call) undo(out *http.Request, target *url.URL) {
	u := out.URL
	if u == nil {
		u = c.In.URL
	}
	out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	if !strings.HasPrefix(out.URL.Path, "/") {
		out.URL.Path, out.URL.RawPath = "/"+out.URL.Path, ""
	}
	c.frame(out, target)
	if out.Header == nil {
		out.Header = make(http.Header, ownFields)
	}
	for name := range out.Header {
		// The client's Proxy-Authorization has gone before: what is there is for a target that asks for it.
		if key := http.CanonicalHeaderKey(name); hopByHop(key) && key != "Proxy-Authorization" || framing(key) || owned.Contains(name) {
			delete(out.Header, name)
		}
	}
}

// setConnection writes the fields about this connection that the upstream needs all the same.
func (c *Call) setConnection(f *fields) {
	in := c.In
	if c.upload != nil && !c.upload.whole && hasToken(in.Header["Expect"], "100-continue") {
		f.set("Expect", "100-continue")
	} else {
		f.remove("Expect")
	}
	if te := in.Header["Te"]; len(te) > 0 && (in.ProtoMajor == 2 || canonical.GRPC(in.Header)) && hasToken(te, "trailers") {
		f.set("Te", "trailers") // gRPC servers insist on it
	}
	if c.upgrade != "" {
		f.set("Connection", upgradeField)
		f.set(upgradeField, c.upgrade)
	}
}

// preservedHost returns the host asked for as it was routed by, or what the gateway put in its place. The case of its
// letters, which changes nothing (RFC 9110 section 4.2.3), is the client's.
func (c *Call) preservedHost() string {
	host, port, err := canonical.Host(c.In.Host)
	if err != nil {
		return c.In.Host
	}
	if routed := hostPort(host, port); !strings.EqualFold(routed, c.In.Host) {
		return routed
	}
	return c.In.Host
}

// joinURL puts the path of in behind that of target, with exactly one slash between, and keeps the query byte for byte.
// asked is the path the client asked for: where nothing is left of it, it says whether there is a slash at the end. A
// handler in between, such as http.StripPrefix, may have left dot segments: they are resolved first, so that nobody climbs
// out of the path of target. It writes u, and reports false for a path without a canonical form.
func joinURL(u, target, in *url.URL, asked string) bool {
	*u = url.URL{Scheme: target.Scheme, Host: target.Host, Path: in.Path, RawPath: in.RawPath, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path, u.RawPath = "/"+u.Path, ""
	}
	path, err := canonical.Path(u, canonical.PathOptions{AllowEncodedSlash: true})
	if err != nil {
		return false
	}
	if path != u.Path {
		canonical.SetPath(u, path)
	}
	base := strings.TrimSuffix(target.Path, "/")
	if base == "" {
		return true
	}
	escaped := strings.TrimSuffix(target.EscapedPath(), "/")
	if u.Path == "/" {
		// The target's own path is asked for: with a slash if the client's had one, the root's own apart.
		if u.Path, u.RawPath = base, escaped; strings.HasSuffix(asked, "/") && (len(asked) > 1 || strings.HasSuffix(target.Path, "/")) {
			u.Path, u.RawPath = base+"/", escaped+"/"
		}
		return true
	}
	escaped += u.EscapedPath()
	u.Path = base + u.Path
	u.RawPath = escaped
	return true
}

// hostField returns the host of u as the Host field has it: without the port that goes without saying.
func hostField(u *url.URL) string {
	if u.Scheme == "https" {
		return strings.TrimSuffix(u.Host, ":443")
	}
	return strings.TrimSuffix(u.Host, ":80")
}
