package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Transport sends requests to targets. It is safe for concurrent use.
type Transport interface {
	// Send sends out to the target that out.URL names and returns the final answer as soon as its head is there; the
	// request body may still be on its way then. Ending out's context ends the exchange. The error is an [*Error].
	//
	// out and its header belong to the transport until the response body has been closed, out.Body for ever: it is closed
	// when it is no longer wanted, while a Read may be waiting, which has to end then. A body of the answer that ends
	// before its declared end gives an [*Error]. Closing the body before its end gives the connection up. The answer
	// and its header are valid until the body is closed; the values may be kept.
	Send(out *http.Request, l Limits) (*Answer, error)
	// Close breaks off what is under way, closes all connections and waits until both has happened. Further sends fail.
	// It may be called more than once.
	Close() error
}

// Limits bound one exchange in time. Zero or less means no bound.
type Limits struct {
	// Connect bounds the wait for a connection: for a free place, for dialling and for the TLS handshake.
	Connect time.Duration
	// FirstByte bounds the wait for the head of the answer, from when the connection was there or, with a body, from when
	// it last took a part of it. Waiting for the client's part of the body does not count.
	FirstByte time.Duration
	// Idle bounds each wait for a part of the answer's body.
	Idle time.Duration
	// Deadline ends the exchange, its body included. Zero means none.
	Deadline time.Time
	// Start is when the exchange begins, which spares a look at the clock. Zero means that nobody has looked.
	Start time.Time
	// Again: without a body the request may be sent twice. A [Direct] does so when a kept connection turned out to be dead.
	Again bool
	// Fresh: a new connection is used, after a kept one in HTTP/1 was dead.
	Fresh bool
	// Prompt: the end of the context ends the exchange at once. Otherwise a [Direct] may notice it 20 ms later.
	Prompt bool
	// Receiver is told what the answer itself does not say. Nil is told nothing.
	Receiver Receiver
}

// Receiver is who passes an answer on.
type Receiver interface {
	// Cut is called, at most once, when a limit or Close ends the exchange after the head of its answer was there: the
	// receiver may be waiting for the client, which the transport cannot end.
	Cut()
	// Inform is called with each informational answer but 100 and 101, before Send returns, not necessarily by its
	// goroutine. The header is valid during the call, its values may be kept.
	Inform(status int, header http.Header)
}

// Codes of an [Error]. The set is closed.
const (
	ConnectRefused  = "connect_refused"    // the target's system refused the connection
	ConnectFailed   = "connect_failed"     // no connection for another reason
	ConnectTimeout  = "connect_timeout"    // Limits.Connect
	DNSFailed       = "dns_error"          // the target's name has no address
	TLSFailed       = "tls_error"          // the handshake failed
	FirstByteLimit  = "first_byte_timeout" // Limits.FirstByte
	IdleLimit       = "idle_timeout"       // Limits.Idle
	TotalLimit      = "total_timeout"      // Limits.Deadline, or the deadline of the context
	UploadTooSlow   = "upload_too_slow"    // the client kept a connection that others waited for
	ClientTooSlow   = "client_too_slow"    // Limits.Deadline, while it was the client that was waited for
	ConnectionReset = "connection_reset"   // the connection ended before the answer began
	StaleConnection = "stale_connection"   // as ConnectionReset, on a kept connection the target had closed
	Truncated       = "truncated_response" // the answer's body ended early or is malformed
	InvalidResponse = "invalid_response"   // the answer is no HTTP, or none that may be passed on
	InvalidRequest  = "invalid_request"    // a plugin made a request that cannot be sent
	Canceled        = "canceled"           // the context ended
	Closed          = "upstream_closed"    // the transport was closed
)

// Error says in which phase an exchange failed.
type Error struct {
	// Code is one of the constants.
	Code string
	// Err is the cause, for logs: it may hold addresses and bytes of the target. It is never nil.
	Err error
	// Unprocessed: the target says that it has not acted on the request (RFC 9113 section 8.7). The code is StaleConnection.
	Unprocessed bool
	// HTTP1: StaleConnection was said of a connection that speaks HTTP/1.
	HTTP1 bool
}

// Error implements error.
func (e *Error) Error() string { return "transport: " + e.Code + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// chain is a Transport whose requests pass round trippers of the application.
type chain struct {
	base  *Standard
	outer http.RoundTripper
}

var (
	errNoResponse  = errors.New("the outbound round tripper returned neither a response nor an error")
	errLostContext = errors.New("the outbound round tripper replaced the context of its request")
)

// Through returns a transport whose requests pass the round trippers that wrap makes around base, the first outermost.
// Each function is called once, now. When one returns nil the transport is nil and failed is its index; otherwise failed
// is -1. Without any, base itself is returned.
func Through(base *Standard, wrap []func(http.RoundTripper) http.RoundTripper) (t Transport, failed int) {
	if len(wrap) == 0 {
		return base, -1
	}
	var rt http.RoundTripper = innermost{base}
	for i, f := range slices.Backward(wrap) {
		if rt = f(rt); rt == nil {
			return nil, i
		}
	}
	return &chain{base: base, outer: rt}, -1
}

type limitsKey struct{}

// passage is one request on its way through the round trippers, and the answers they were given. What they do with these
// is theirs; that they are closed is not left to them.
type passage struct {
	Limits

	mu      sync.Mutex
	answers []io.Closer
	over    bool
}

func (p *passage) add(c io.Closer) {
	p.mu.Lock()
	over := p.over
	if !over {
		p.answers = append(p.answers, c)
	}
	p.mu.Unlock()
	if over {
		_ = c.Close()
	}
}

func (p *passage) end() {
	p.mu.Lock()
	answers := p.answers
	p.answers, p.over = nil, true
	p.mu.Unlock()
	for _, c := range answers {
		_ = c.Close()
	}
}

// passedBody is the body of an answer that came through the round trippers.
type passedBody struct {
	io.ReadCloser

	p *passage
}

// Close implements [io.Closer].
func (b *passedBody) Close() error {
	err := b.ReadCloser.Close()
	b.p.end()
	return err
}

// Send implements [Transport].
func (c *chain) Send(out *http.Request, l Limits) (*Answer, error) {
	p := &passage{Limits: l}
	passed := false
	defer func() {
		if !passed {
			p.end()
		}
	}()
	res, err := c.outer.RoundTrip(out.WithContext(context.WithValue(out.Context(), limitsKey{}, p)))
	switch {
	case err != nil:
		if res != nil && res.Body != nil {
			_ = res.Body.Close()
		}
		var known *Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, &Error{Code: outboundCode(out.Context()), Err: err}
	case res == nil:
		return nil, &Error{Code: InvalidResponse, Err: errNoResponse}
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		if _, passed = res.Body.(*Switched); !passed {
			return nil, &Error{Code: InvalidResponse, Err: errHidden}
		}
		return AnswerOf(res), nil
	}
	if res.Body == nil {
		res.Body = http.NoBody
	}
	res.Body, passed = &passedBody{res.Body, p}, true
	return AnswerOf(res), nil
}

func outboundCode(ctx context.Context) string {
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return TotalLimit
	case err != nil:
		return Canceled
	default:
		return InvalidResponse
	}
}

// Close implements [Transport].
func (c *chain) Close() error { return c.base.Close() }

// innermost is what the innermost of the application's round trippers sees.
type innermost struct{ base *Standard }

// RoundTrip implements [http.RoundTripper].
func (t innermost) RoundTrip(req *http.Request) (*http.Response, error) {
	p, ok := req.Context().Value(limitsKey{}).(*passage)
	if !ok {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, &Error{Code: InvalidRequest, Err: errLostContext}
	}
	res, err := t.base.exchange(req, p.Limits)
	if err == nil {
		p.add(res.Body)
	}
	return res, err
}
