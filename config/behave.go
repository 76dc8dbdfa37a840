package config

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// noService answers requests of routes that have no service, as Kong does.
func noService(w http.ResponseWriter, r *http.Request) {
	policy.Refuse(w, r, "gateway", &policy.Error{
		Status: http.StatusServiceUnavailable, Code: "no_service", Message: "no Service found with those values",
	})
}

// httpsOnlyPlugin keeps plain HTTP from a route whose protocols are https alone.
type httpsOnlyPlugin struct{ status int }

// Name returns the name under which it refuses.
func (*httpsOnlyPlugin) Name() string { return "https-only" }

// Contract asks and promises nothing.
func (*httpsOnlyPlugin) Contract() policy.Contract { return policy.Contract{} }

// Preview tells which requests it would keep out.
func (p *httpsOnlyPlugin) Preview(r *http.Request) policy.Decision {
	if policy.ExchangeFrom(r.Context()).Scheme() == schemeHTTPS {
		return policy.Decision{Policy: p.Name(), Reason: schemeHTTPS}
	}
	return policy.Decision{Policy: p.Name(), Verdict: policy.Refused, Reason: "https_required", Status: p.status}
}

// Wrap answers plain requests with the configured status, and with where to go.
func (p *httpsOnlyPlugin) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		if x.Scheme() == schemeHTTPS {
			next.ServeHTTP(w, r)
			return
		}
		if p.status == http.StatusUpgradeRequired {
			policy.Refuse(w, r, p.Name(), &policy.Error{
				Status: p.status, Code: "https_required", Message: "Please use HTTPS protocol",
				Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"TLS/1.2, HTTP/1.1"}},
			})
			return
		}
		host, _ := x.Host()
		if host == "" {
			policy.Refuse(w, r, p.Name(), &policy.Error{Status: http.StatusBadRequest, Code: "no_host", Message: "Bad request"})
			return
		}
		x.Record(policy.Decision{Policy: p.Name(), Verdict: policy.Refused, Reason: "https_required", Status: p.status})
		x.MarkGatewayMade()
		policy.ReleaseBody(w, r)
		if strings.Contains(host, ":") { // an IPv6 address
			host = "[" + host + "]"
		}
		location := "https://" + host + x.Path()
		if r.URL.RawQuery != "" || r.URL.ForceQuery {
			location += "?" + r.URL.RawQuery
		}
		w.Header()["Location"] = []string{location}
		w.Header()["Content-Length"] = []string{"0"}
		w.WriteHeader(p.status)
	})
}

// bufferBound is how much of a request body is read before the upstream is asked; the rest is streamed.
const bufferBound = 64 << 10

// bufferedRequests is Kong's request_buffering: a client that sends slowly holds no connection to the upstream meanwhile.
type bufferedRequests struct{ next http.Handler }

// Handlers returns the handler inside.
func (b *bufferedRequests) Handlers() []http.Handler { return []http.Handler{b.next} }

// Name returns the name of the handler inside, where it has one.
func (b *bufferedRequests) Name() string {
	if n, ok := b.next.(interface{ Name() string }); ok {
		return n.Name()
	}
	return "handler"
}

// Contract returns that of the handler inside, where it has one.
func (b *bufferedRequests) Contract() policy.Contract {
	if c, ok := b.next.(interface{ Contract() policy.Contract }); ok {
		return c.Contract()
	}
	return policy.Contract{}
}

// ServeHTTP reads the beginning of the body first.
func (b *bufferedRequests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 || len(r.Header["Expect"]) > 0 {
		b.next.ServeHTTP(w, r)
		return
	}
	var buf bytes.Buffer
	_, err := io.Copy(&buf, io.LimitReader(r.Body, bufferBound))
	var tooLarge *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
	case errors.As(err, &tooLarge):
		policy.Refuse(w, r, "gateway", &policy.Error{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Message: "Request body too large", Err: err})
		return
	case errors.As(err, &timeout) && timeout.Timeout():
		policy.Refuse(w, r, "gateway", &policy.Error{Status: http.StatusRequestTimeout, Code: "body_timeout", Message: "The request body did not arrive in time", Err: err})
		return
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) //nolint:forbidigo // the client has left
	default:
		policy.Refuse(w, r, "gateway", &policy.Error{Status: http.StatusBadRequest, Code: "body_invalid", Message: "Bad request", Err: err})
		return
	}
	out := new(http.Request)
	*out = *r
	out.Body = &bufferedBody{io.MultiReader(&buf, r.Body), r.Body}
	b.next.ServeHTTP(w, out)
}

type bufferedBody struct {
	io.Reader
	io.Closer
}

// Headers are the fields Kong adds, each switchable. The zero value sends what Kong sends by default.
type Headers struct {
	// HideLatency leaves out X-Kong-Upstream-Latency, X-Kong-Proxy-Latency and X-Kong-Response-Latency.
	HideLatency bool
	// HideRequestID leaves X-Kong-Request-Id out of answers, HideUpstreamRequestID out of requests to services.
	HideRequestID, HideUpstreamRequestID bool
	// HideServer leaves Server out of answers that are the gateway's own, or that a service gave none.
	HideServer bool
	// UpstreamStatus sends X-Kong-Upstream-Status.
	UpstreamStatus bool
}

// The schemes, which are protocols, too.
const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
)

// serverName is what the gateway calls itself.
const serverName = "gatehouse"

// kongHeaders sets them. It stands around everything else.
type kongHeaders struct{ hide Headers }

// Name returns the name in listings.
func (*kongHeaders) Name() string { return "kong-headers" }

// Contract asks and promises nothing.
func (*kongHeaders) Contract() policy.Contract { return policy.Contract{} }

// asked remembers when an upstream was first asked, and last.
type asked struct {
	id          string // for the upstream; "" sends none
	first, last atomic.Int64
}

// BeginTry implements [policy.TryHook].
func (a *asked) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	now := time.Now().UnixNano()
	a.first.CompareAndSwap(0, now)
	a.last.Store(now)
	if a.id != "" {
		t.Out.Header["X-Kong-Request-Id"] = []string{a.id}
	}
	return ctx
}

// EndTry implements [policy.TryHook].
func (*asked) EndTry(context.Context, *policy.Try) {}

// Wrap sets the fields just before the head of an answer is sent.
func (k *kongHeaders) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		a := &asked{}
		id := ""
		if !k.hide.HideRequestID || !k.hide.HideUpstreamRequestID {
			id = x.RequestID()
		}
		if !k.hide.HideUpstreamRequestID {
			a.id = id
		}
		x.OnTry(a)
		w = policy.OnHeader(w, func(status int, h http.Header) { k.set(x, a, id, status, h) })
		next.ServeHTTP(w, r)
	})
}

func (k *kongHeaders) set(x *policy.Exchange, a *asked, id string, status int, h http.Header) {
	start, now := x.Start().UnixNano(), time.Now().UnixNano()
	ms := func(from, to int64) []string {
		return []string{strconv.FormatInt(max(to-from, 0)/int64(time.Millisecond), 10)}
	}
	first, last, made := a.first.Load(), a.last.Load(), x.GatewayMade()
	// A service that does not answer takes its time, too. One without an address, which is a 503, was not asked in Kong's eyes.
	if first != 0 && (!made || status != http.StatusServiceUnavailable) {
		if !k.hide.HideLatency {
			h["X-Kong-Upstream-Latency"], h["X-Kong-Proxy-Latency"] = ms(last, now), ms(start, first)
		}
		if k.hide.UpstreamStatus {
			h["X-Kong-Upstream-Status"] = []string{strconv.Itoa(status)}
		}
	} else if !k.hide.HideLatency {
		h["X-Kong-Response-Latency"] = ms(start, now)
	}
	if !k.hide.HideServer && (made || len(h["Server"]) == 0) {
		h["Server"] = []string{serverName}
	}
	if !k.hide.HideRequestID {
		h["X-Kong-Request-Id"] = []string{id}
	}
}
