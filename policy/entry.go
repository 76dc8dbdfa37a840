package policy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/respw"
)

// EntryConfig configures an [Entry]. The zero value is safe: it trusts no proxy and applies every limit.
type EntryConfig struct {
	// TrustedProxies are the networks of the proxies in front, whose forwarding headers are believed. Empty: nobody is
	// believed and every forwarding header a client sends is deleted. A network that is everybody (0.0.0.0/0, ::/0) is
	// an error without InsecureTrustAll.
	TrustedProxies []netip.Prefix
	// InsecureTrustAll allows TrustedProxies to hold 0.0.0.0/0 and ::/0. Every client then chooses its own address, and
	// so what limits and access lists by address see, unless nobody but the proxies can reach the gateway. It adds no
	// network by itself: without such a network it is an error.
	InsecureTrustAll bool
	// ClientAddressHeader is the field in which the trusted proxies name the client: X-Forwarded-For (the default),
	// Forwarded (RFC 7239), or another field that holds one address or a list, such as X-Real-IP. Setting it without
	// TrustedProxies is an error: nobody would be believed.
	ClientAddressHeader string
	// MaxHops is how many addresses of that field are looked at, from the nearest outwards, for the first that is not a
	// trusted proxy's. Default 32. With 1 the client is the last address, whosever it is, as in nginx and Kong where
	// real_ip_recursive is off. Setting it without TrustedProxies is an error.
	MaxHops int
	// InsecureAppendForwardedFor keeps the X-Forwarded-For an untrusted client sent and has the proxy append to it, as
	// Kong and nginx do. The client's address is not taken from it, but upstreams that read it leftmost are deceived.
	InsecureAppendForwardedFor bool
	// AllowEncodedSlash keeps an encoded slash (%2F) in a path as data. By default such a path is refused, because
	// servers disagree on whether it separates segments.
	AllowEncodedSlash bool
	// StrictPath refuses a path whose dot segments or repeated slashes would have to be resolved, or letters decoded. Set it
	// where a router stands outside the Entry: that router chose by the path as it was sent, and must not be deceived by
	// the canonical one.
	// Where http.ServeMux or a gateway has routed (r.Pattern is set), and below another Entry, it applies by itself.
	StrictPath bool
	// OwnedHeaders are further request header fields that only the gateway may set; what clients send under these names
	// is deleted, in every alias form.
	OwnedHeaders []string
	// PassHeaders are fields from the list of forwarding and override headers that clients may send all the same, such
	// as X-HTTP-Method-Override. Identity headers cannot be passed, and a field that is not deleted anyway is an error.
	PassHeaders []string
	// ErrorHandler writes refusals instead of [WriteError]. The header fields that belong to the refusal, such as
	// Retry-After, are set before it is called. It must answer; err is an [*Error] or wraps one, unless a plugin passed
	// something else, which is to be answered as 500 and not to be shown. Nil means WriteError.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)

	// MaxHeaderFields bounds the header fields of a request, repeated ones counted: 431 beyond. Default 100, negative off.
	MaxHeaderFields int
	// MaxQueryParams bounds the parameters of the query: 400 beyond. Default 1000, negative off.
	MaxQueryParams int
	// MaxURLLength bounds path and query, in bytes: 414 beyond. Default 8192, negative off.
	MaxURLLength int
	// ReadProgress is how long a client may pause while its request body is read, WriteProgress while the answer is
	// written; the connection of a slower one is cut. A server that has a ReadTimeout or WriteTimeout of its own keeps
	// that instead. Default 30 s, negative off.
	ReadProgress, WriteProgress time.Duration
	// MinReadRate is how many bytes of its request body a client must send in a second, on average over the time it is
	// waited for and beyond the first ReadProgress: a client that sends a byte now and then holds everything its request
	// holds. Routes that are Streaming are free of it. Default 240, negative off; off without ReadProgress.
	MinReadRate int
}

// Defaults of [EntryConfig].
const (
	DefaultMaxHops         = 32
	DefaultMaxHeaderFields = 100
	DefaultMaxQueryParams  = 1000
	DefaultMaxURLLength    = 8 << 10
	DefaultProgress        = 30 * time.Second
	DefaultMinReadRate     = 240
)

// maxMethodLength bounds the request method; the longest registered one has 17 bytes.
const maxMethodLength = 32

// Entry is the guard before everything else: it lets in only requests that all layers, and the upstreams, will
// understand alike.
//
// It refuses CONNECT and TRACE (405), targets that are no path of an http or https resource (400), ambiguous paths (400;
// see [EntryConfig.AllowEncodedSlash]), malformed hosts (400), and requests beyond the limits. It computes the canonical
// path (RFC 3986 section 6.2.2) and hands it on in the request's URL; it resolves the client's address once, from the
// trusted proxies; it deletes from the request's own header the names only a gateway may set: those that carry identity
// (X-Consumer-*), those that carry forwarding (Forwarded, X-Forwarded-*, X-Real-IP, …) unless a trusted proxy sent them
// (of Forwarded and X-Forwarded-* the one kind that ClientAddressHeader says it writes),
// and those that override the method or the URL. None of them may be announced as a trailer, either. Names are recognised in every alias form (X_Consumer_Id,
// x.consumer.id), since upstreams often fold them.
//
// An Entry is immutable and safe for concurrent use. A gateway has one built in; a service without a gateway makes it
// the outermost middleware. The zero Entry refuses every request, and so does the Wrap of a nil one.
type Entry struct {
	cfg        EntryConfig
	proxies    proxySet
	owned      canonical.NameSet // deleted whoever sent them
	forwarding canonical.NameSet // deleted unless a trusted peer sent them in their exact form
	framing    canonical.NameSet // alias forms deleted; the exact ones are net/http's business
	pass       canonical.NameSet
}

// forwardingHeaders are what proxies in front may say about the original request, beside everything that begins with
// X-Forwarded-; the last one, of package traffic/mirror, that it is a copy.
//
//nolint:gochecknoglobals // a constant list
var forwardingHeaders = []string{
	fieldForwarded, "X-Forwarded", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "X-Client-Ip",
	"Client-Ip", "X-Cluster-Client-Ip", "Fastly-Client-Ip", "Fly-Client-Ip", "X-Azure-Clientip", "X-Azure-Socketip",
	"X-Original-Forwarded-For", "X-Original-Url", "X-Original-Uri", "X-Original-Host", "X-Rewrite-Url", "X-Host",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Method", "X-Envoy-Original-Path",
	"X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "X-Remote-User", "Remote-User", "Remote-Addr", "X-Client-Cert", "Client-Cert",
	"Client-Cert-Chain", "X-Ssl-Client-Verify", "X-Ssl-Client-Cert", "X-Ssl-Client-S-Dn", "Early-Data",
	"X-Gatehouse-Mirror",
}

// framingHeaders decide where a message ends and what may be done with its connection.
//
//nolint:gochecknoglobals // a constant list
var framingHeaders = []string{
	"Content-Length", "Transfer-Encoding", "Host", "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect",
	"Content-Type", "Content-Encoding", // which decide how a body is read
}

// NewEntry checks c and returns an Entry. The error joins all problems.
func NewEntry(c EntryConfig) (*Entry, error) {
	var errs []error
	e := &Entry{cfg: c}
	e.proxies = c.trusted(&errs)
	e.cfg.MaxHops = orDefault(c.MaxHops, DefaultMaxHops)
	e.cfg.ClientAddressHeader = headerOr(&errs, "ClientAddressHeader", c.ClientAddressHeader, "X-Forwarded-For")
	owned := canonical.IdentityHeaders()
	for i, name := range c.OwnedHeaders {
		owned = append(owned, headerOr(&errs, fmt.Sprintf("OwnedHeaders[%d]", i), name, ""))
	}
	owned = append(owned, "Proxy") // becomes HTTP_PROXY in a CGI program's environment
	e.owned = canonical.NewNameSet(owned...)
	e.forwarding = canonical.NewNameSet(append(slices.Clone(forwardingHeaders), e.cfg.ClientAddressHeader)...)
	for i, name := range c.PassHeaders {
		before := len(errs)
		headerOr(&errs, fmt.Sprintf("PassHeaders[%d]", i), name, "")
		switch {
		case len(errs) > before:
		case e.owned.Contains(name):
			errs = append(errs, fmt.Errorf("policy: EntryConfig.PassHeaders[%d] %q belongs to the gateway and cannot be passed; leave it out", i, name))
		case !isForwarded(name) && !e.forwarding.Contains(name):
			errs = append(errs, fmt.Errorf("policy: EntryConfig.PassHeaders[%d] %q is not a forwarding or override field and passes anyway; leave it out", i, name))
		}
	}
	e.pass = canonical.NewNameSet(c.PassHeaders...)
	e.framing = canonical.NewNameSet(framingHeaders...)
	e.cfg.MaxHeaderFields = orDefault(c.MaxHeaderFields, DefaultMaxHeaderFields)
	e.cfg.MaxQueryParams = orDefault(c.MaxQueryParams, DefaultMaxQueryParams)
	e.cfg.MaxURLLength = orDefault(c.MaxURLLength, DefaultMaxURLLength)
	e.cfg.ReadProgress = orDefault(c.ReadProgress, DefaultProgress)
	e.cfg.WriteProgress = orDefault(c.WriteProgress, DefaultProgress)
	e.cfg.MinReadRate = orDefault(c.MinReadRate, DefaultMinReadRate)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	e.cfg.TrustedProxies, e.cfg.OwnedHeaders, e.cfg.PassHeaders = nil, nil, nil // the caller's slices are not kept
	return e, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// headerOr checks a header name and returns its canonical form, or def for "".
func headerOr(errs *[]error, field, name, def string) string {
	if name == "" && def != "" {
		return def
	}
	if !canonical.Token(name) {
		*errs = append(*errs, fmt.Errorf("policy: EntryConfig.%s %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens", field, name))
	}
	return http.CanonicalHeaderKey(name)
}

// Name returns "entry".
func (*Entry) Name() string { return "entry" }

// Contract says that the client's address is known to everything inside.
func (*Entry) Contract() Contract { return Contract{Provides: []Fact{ClientAddress}} }

// Wrap returns a handler that guards next. Requests it refuses never reach next.
func (e *Entry) Wrap(next http.Handler) http.Handler {
	if e == nil {
		e = &Entry{} // the zero Entry refuses everything
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := e.Enter(w, r)
		complete := false
		defer func() { v.Leave(complete) }()
		r = v.Bind(r)
		if err != nil {
			Refuse(v.Writer(), r, e.Name(), err)
		} else {
			next.ServeHTTP(v.Writer(), r)
		}
		complete = true
	})
}

// Visit is a request from [Entry.Enter] to its end.
type Visit struct {
	exchange *Exchange
	writer   *respw.Writer
	inner    bool                                                  // below another Entry
	http10   bool                                                  // an answer of unknown length ends with its connection
	onError  func(w http.ResponseWriter, r *http.Request, e error) // that one's
}

// Enter is the first half of Wrap, for routers that look at the request before they go on with it. It judges r; on an
// error, which is an [*Error], the request must be refused. In both cases one goes on with the Visit's writer and
// request, and Visit.Leave must be called in the end, also after a panic.
//
// Below another Entry it keeps that one's Exchange, client address, limits and bounds of progress. It deletes its own
// OwnedHeaders as far as no Entry before did, and looks at the path again, which a handler in between may have changed;
// one that is not resolved is refused there. Its ErrorHandler is in force until Leave.
func (e *Entry) Enter(w http.ResponseWriter, r *http.Request) (Visit, error) {
	v := Visit{exchange: ExchangeFrom(r.Context())}
	if v.exchange == nil {
		v.exchange = newExchange(r)
		if _, ok := w.(*respw.Writer); !ok {
			v.writer = &v.exchange.writer
			v.writer.Init(w)
		}
	}
	if v.writer == nil {
		v.writer = respw.Wrap(w)
	}
	x := v.exchange
	v.inner = x.Path() != ""
	if !v.inner {
		srv, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
		if e.cfg.WriteProgress > 0 && (srv == nil || srv.WriteTimeout <= 0) {
			v.writer.LimitWrites(e.cfg.WriteProgress)
		}
		limit := e.cfg.ReadProgress
		if srv != nil && srv.ReadTimeout > 0 {
			limit = 0
		}
		x.body = newProgressBody(w, r, limit, e.cfg.MinReadRate)
	}
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		// An HTTP/1.0 message with a Transfer-Encoding has no agreed end; net/http deletes the field before anyone can
		// see it, so no such connection is used twice (RFC 9112 section 6.1).
		v.writer.Header()["Connection"] = []string{"close"}
		v.http10 = true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	v.onError = x.onError
	err := e.admit(x, r, v.inner)
	if err != nil && !forwardable(r.Method) {
		// Whatever a plugin may answer in place of the refusal: to CONNECT, 200 would mean that there is a tunnel.
		v.writer.RefuseOnly(http.StatusMethodNotAllowed)
		v.writer.OnHeader(func(_ int, h http.Header) { h["Connection"] = []string{"close"} })
	}
	return v, err
}

// forwardable reports whether a method is one of requests that can be passed on.
func forwardable(method string) bool {
	return method != http.MethodConnect && method != http.MethodTrace && method != "PRI"
}

// Writer returns the writer to go on with.
func (v Visit) Writer() http.ResponseWriter { return v.writer }

// Exchange returns the request's Exchange.
func (v Visit) Exchange() *Exchange { return v.exchange }

// Bind returns the request to go on with: a shallow copy of r whose context holds the Exchange and whose URL has the
// canonical path.
func (v Visit) Bind(r *http.Request) *http.Request {
	x := v.exchange
	var r2 *http.Request
	if ExchangeFrom(r.Context()) == x {
		r2 = new(http.Request)
		*r2 = *r
	} else {
		r2 = x.attach(r)
	}
	if u := r.URL; u != nil {
		if path := x.Path(); path != "" && (u.EscapedPath() != path || u.RawPath != "" && u.RawPath != path || u.Scheme != "" || u.Host != "") {
			r2.URL = &url.URL{RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
			canonical.SetPath(r2.URL, path)
		}
	}
	x.body.bind(r2)
	return r2
}

// Leave ends what Enter began. Complete says that the handler has returned, and not panicked. What it wrote is sent, and
// whoever still reads the request body moves no deadlines any more. It panics with [http.ErrAbortHandler] where a proxied answer
// broke off within its body and a plugin has recovered from that.
func (v Visit) Leave(complete bool) {
	if complete && v.writer.Broken() {
		v.Leave(false)
		panic(http.ErrAbortHandler) //nolint:forbidigo // which was the proxy's word, and somebody has recovered from it
	}
	if complete {
		v.writer.Finish()
	}
	if v.inner {
		v.exchange.mu.Lock()
		defer v.exchange.mu.Unlock()
		v.exchange.onError = v.onError
		return
	}
	if complete {
		v.exchange.body.leave()
		return
	}
	v.exchange.body.release()
	if v.http10 && v.writer.HeaderSent() && len(v.writer.Header()["Content-Length"]) == 0 {
		reset(v.writer.Unwrap())
	}
}

// reset ends the connection of an answer that is broken off and whose end is that of its connection, as HTTP/1.0 has it:
// closed in the usual way, what was sent would be taken for the whole (RFC 9112 section 6.3). Layers in between do not
// learn of it, for them the handler panicked.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // a recorder
	}
	socket := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS, whose own farewell would say that all is well
		socket = t.NetConn()
	}
	if l, ok := socket.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = socket.Close()
	_ = conn.Close() // for whoever counts connections
}

// admit runs the checks, cheapest first. The caller holds x.mu.
func (e *Entry) admit(x *Exchange, r *http.Request, inner bool) error {
	if !inner {
		// First, so that the log of a refused request names the client too.
		x.client, x.scheme = x.peer, schemeOf(r)
		if x.trusted = e.proxies.contains(x.peer); x.trusted {
			x.client = e.proxies.client(x.peer, r.Header, e.cfg.ClientAddressHeader, e.cfg.MaxHops)
			x.scheme = e.forwardedScheme(r.Header, x.scheme)
		}
	}
	if e.cfg.ErrorHandler != nil || !inner {
		x.onError = e.cfg.ErrorHandler
	}
	// Before any refusal: gateway-wide plugins see refused requests too.
	if len(r.Trailer) > 0 {
		e.cleanTrailer(r.Trailer, r.Header["Connection"])
	}
	if !inner {
		x.entry = e
		e.clean(r.Header, x.trusted)
	} else if x.entry != e {
		e.cleanOwned(r.Header, x)
	}
	if err := e.checkTarget(r); err != nil {
		return err
	}
	if err := e.checkLimits(r); err != nil {
		return err
	}
	host, port, err := canonical.Host(r.Host)
	if err != nil && r.Host != "" {
		return badRequest("bad_host", err)
	}
	path, err := canonical.Path(r.URL, canonical.PathOptions{AllowEncodedSlash: e.cfg.AllowEncodedSlash})
	if err != nil {
		var pe *canonical.PathError
		if errors.As(err, &pe) {
			return badRequest("path_"+pe.Reason, err)
		}
		return badRequest("path", err)
	}
	if (e.cfg.StrictPath || inner || r.Pattern != "") && (canonical.Unescape(path) != r.URL.Path || respelled(r.URL.RawPath, path)) {
		return badRequest("path_routed_before", errRouted)
	}
	x.host, x.port, x.path = host, port, path
	return nil
}

// respelled reports whether a router that goes by the path as it was sent, which net/http keeps in RawPath where it is not
// the usual spelling, read another path than the canonical one: /%61dmin is not /admin to it. The case of escapes does not
// count.
func respelled(raw, path string) bool { return raw != "" && !strings.EqualFold(raw, path) }

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// forwardedScheme returns what the nearest trusted proxy says about the client's side; only the two schemes we serve
// count. A proxy that speaks Forwarded passes X-Forwarded-Proto on as the client sent it, so only one of them is read.
func (e *Entry) forwardedScheme(h http.Header, scheme string) string {
	last := ""
	if v := h[fieldForwarded]; e.cfg.ClientAddressHeader == fieldForwarded {
		if len(v) > 0 {
			last = lastForwarded(v[len(v)-1], "proto")
		}
	} else if v := h["X-Forwarded-Proto"]; len(v) > 0 {
		last = v[len(v)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	}
	switch {
	case strings.EqualFold(last, "https"):
		return "https"
	case strings.EqualFold(last, "http"):
		return "http"
	default:
		return scheme
	}
}

func badRequest(code string, cause error) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: "Bad request", Err: cause}
}

// Causes of refusals, for logs.
var (
	errRouted    = errors.New("policy: a router has chosen by a path that is not resolved")
	errMethod    = errors.New("policy: method is not a token")
	errTarget    = errors.New("policy: request target is not a path")
	errScheme    = errors.New("policy: request target has a scheme other than http and https")
	errQueryByte = errors.New("policy: query holds a fragment delimiter or a control character")
	errParams    = errors.New("policy: too many query parameters")
)

// checkTarget refuses methods and request targets that cannot be forwarded with one meaning. The absolute form is
// accepted because RFC 9112 section 3.2.2 demands it; its authority is in r.Host then, and is routed like one.
func (e *Entry) checkTarget(r *http.Request) error {
	if !forwardable(r.Method) {
		return &Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_supported", Message: "Method not allowed",
			Header: http.Header{"Allow": {"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"}, "Connection": {"close"}},
		}
	}
	if len(r.Method) > maxMethodLength {
		return &Error{Status: http.StatusNotImplemented, Code: "method_too_long", Message: "Method not implemented"}
	}
	if r.Method != "" && !canonical.Token(r.Method) { // "" means GET to net/http
		return badRequest("bad_method", errMethod)
	}
	if r.ProtoMajor == 1 && r.ProtoMinor > 1 {
		return &Error{Status: http.StatusHTTPVersionNotSupported, Code: "http_version", Message: "HTTP version not supported"}
	}
	u := r.URL
	if u == nil || u.Opaque != "" || u.User != nil || u.Path == "*" {
		return badRequest("bad_target", errTarget)
	}
	// In the absolute form an empty path means "/", but "*" with OPTIONS (RFC 9112 section 3.2.4).
	if u.Path == "" && (u.Host == "" || r.Method == http.MethodOptions) {
		return badRequest("bad_target", errTarget)
	}
	if s := u.Scheme; s != "" && s != "http" && s != "https" {
		return badRequest("bad_scheme", errScheme)
	}
	return nil
}

func (e *Entry) checkLimits(r *http.Request) error {
	u := r.URL
	path := max(len(u.Path), len(u.RawPath))
	if limit := e.cfg.MaxURLLength; limit >= 0 && (path+len(u.RawQuery) > limit || len(r.RequestURI) > limit+len(r.Host)+len("https://?")) {
		return &Error{Status: http.StatusRequestURITooLong, Code: "url_too_long", Message: "URI too long"}
	}
	if limit := e.cfg.MaxHeaderFields; limit >= 0 {
		n := 0
		for _, values := range r.Header {
			n += len(values)
		}
		if n > limit {
			return &Error{Status: http.StatusRequestHeaderFieldsTooLarge, Code: "too_many_headers", Message: "Too many header fields"}
		}
	}
	if u.RawQuery == "" {
		return nil
	}
	for i := range len(u.RawQuery) {
		if c := u.RawQuery[i]; c <= ' ' || c == '#' || c == 0x7f {
			return badRequest("bad_query", errQueryByte)
		}
	}
	if limit := e.cfg.MaxQueryParams; limit >= 0 && strings.Count(u.RawQuery, "&")+1 > limit {
		return badRequest("too_many_query_params", errParams)
	}
	return nil
}

// clean deletes the header names a client may not set. Of X-Forwarded-* and Forwarded a proxy writes one kind and passes
// on what clients send under the names of the other.
func (e *Entry) clean(h http.Header, trusted bool) {
	canonical.DropNominated(h)
	rfc7239 := e.cfg.ClientAddressHeader == fieldForwarded
	for name := range h {
		switch {
		case e.owned.Contains(name):
			delete(h, name)
		case e.framing.Contains(name):
			if !e.framing.Exact(name) {
				delete(h, name)
			}
		case isForwarded(name):
			if name == "X-Forwarded-For" && e.cfg.InsecureAppendForwardedFor {
				continue
			}
			// http.CanonicalHeaderKey leaves names with a space or such as they are, so an exact one is its own key.
			if (!trusted || rfc7239 || !plainName(name) || http.CanonicalHeaderKey(name) != name) && !e.passes(name) {
				delete(h, name)
			}
		case e.forwarding.Contains(name):
			if (!trusted || name == fieldForwarded && !rfc7239 || !e.forwarding.Exact(name)) && !e.passes(name) {
				delete(h, name)
			}
		}
	}
}

// plainName reports whether name has letters, digits and hyphens only: any other character may be folded into a hyphen.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// cleanOwned deletes the owned names that no Entry outside has deleted: behind one that has, a plugin may have set them.
func (e *Entry) cleanOwned(h http.Header, x *Exchange) {
	for name := range h {
		if e.owned.Contains(name) && !x.entry.owned.Contains(name) && !x.inner.any(func(o *Entry) bool { return o.owned.Contains(name) }) {
			delete(h, name)
		}
	}
	if !x.inner.any(func(o *Entry) bool { return o == e }) {
		x.inner = &innerEntry{e, x.inner}
	}
}

// innerEntry is an element of a list, nil at its end, that takes less of an Exchange than a slice: few requests need it.
type innerEntry struct {
	*Entry

	next *innerEntry
}

func (l *innerEntry) any(holds func(*Entry) bool) bool {
	for ; l != nil; l = l.next {
		if holds(l.Entry) {
			return true
		}
	}
	return false
}

func (e *Entry) passes(name string) bool { return e.pass.Exact(name) }

// isForwarded reports whether name begins with X-Forwarded- in any alias form.
func isForwarded(name string) bool {
	const prefix = "x-forwarded-"
	if len(name) <= len(prefix) || name[0]|0x20 != 'x' {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		if prefix[i] == '-' {
			if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' {
				return false
			}
		} else if c|0x20 != prefix[i] {
			return false
		}
	}
	return true
}
