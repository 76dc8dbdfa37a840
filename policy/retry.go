package policy

import (
	"net/http"
	"slices"
	"time"
)

// Retry says when an upstream sends a request again because a try at one of its targets has failed: to one that has not been
// tried; to one that has only if a kept connection was dead, or Tries is set and there is no other; and never after the client got
// anything of an answer.
//
// A try that never reached its target, because there was no connection, may be repeated whatever the request is. One that did, and
// was reset before an answer, exceeded PerTry, or was answered with one of Statuses, is only repeated where that changes nothing:
// where the method is idempotent (RFC 9110 section 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE), is one of Methods, or the request
// carries an Idempotency-Key and IdempotencyKey is set. A body has to be whole in memory for that, or untouched: see MaxBody.
//
// How much may be repeated at all says the upstream's budget: see gateway.RetryBudget.
//
// Each field that is set on a route replaces that of the upstream.
type Retry struct {
	// Tries is how many tries there may be, the first included, beside those that met a dead kept connection; 1 or negative: no more
	// than one. Default 3, each at another
	// target. Where Tries is set, targets that were asked before are asked again when there is no other, after BackOff.
	Tries int
	// Statuses are answers after which the request is sent again, such as 502 and 503: 400 to 599. The last one is passed on, unless there
	// is no target any more behind it.
	// Default none.
	Statuses []int
	// PerTry bounds the wait for the head of an answer in each try, if Timeouts.FirstByte is not less, and if Tries is more than
	// one. Default, and negative: FirstByte alone, which is no reason to try again.
	PerTry time.Duration
	// Methods may be repeated although they are not idempotent, such as POST where the application takes a request twice for
	// one. Default none.
	Methods []string
	// IdempotencyKey allows requests with a field of that name to be repeated, as an application must that promises to take
	// such requests once. On a route it adds to the upstream's.
	IdempotencyKey bool
	// MaxBody is the largest request body that is kept in memory to be sent again. The request then waits until the client has sent
	// all of it; a longer one is passed on as it comes, and repeated only as long as nothing of it has been read. Default 0,
	// negative on a route for 0.
	MaxBody int64
	// BackOff is how long the second try waits at least half of, and at most; each one after it twice as long, up to a second, or BackOff if that is more.
	// The second waits for nothing where the first met a dead kept connection, or found none and there is another target. Default 25 ms, negative for none.
	BackOff time.Duration
	// MaxRetryAfter is up to how long a try waits because the answer before it asked for that in Retry-After. An answer that asks
	// for more is passed on. Default 1 s, negative: no such answer is waited for.
	MaxRetryAfter time.Duration
	// Hedge is how long a try may take to be answered before another target is asked, too: the first answer is passed on, the
	// other try is given up, and what fails while another is under way gives way to that. It is for what changes nothing (GET,
	// HEAD, OPTIONS and TRACE) and has no body. These tries count among Tries, and have a budget of their own: see
	// gateway.UpstreamConfig.HedgeBudget. Set it to about the time in which 95 % of the answers come. Informational answers are
	// not passed on then. A client that balancer.Sticky keeps at its target stays there, but another one may answer it for once:
	// leave Hedge out where only its own can. Default 0, negative on a route: never.
	Hedge time.Duration
}

// Defaults of [Retry].
const (
	DefaultTries         = 3
	DefaultBackOff       = 25 * time.Millisecond
	DefaultMaxRetryAfter = time.Second
)

// Over returns r with the fields of upstream where it says nothing.
func (r Retry) Over(upstream Retry) Retry {
	if r.Tries == 0 {
		r.Tries = upstream.Tries
	}
	if r.Statuses == nil {
		r.Statuses = upstream.Statuses
	}
	if r.PerTry == 0 {
		r.PerTry = upstream.PerTry
	}
	if r.Methods == nil {
		r.Methods = upstream.Methods
	}
	r.IdempotencyKey = r.IdempotencyKey || upstream.IdempotencyKey
	if r.MaxBody == 0 {
		r.MaxBody = upstream.MaxBody
	}
	if r.BackOff == 0 {
		r.BackOff = upstream.BackOff
	}
	if r.MaxRetryAfter == 0 {
		r.MaxRetryAfter = upstream.MaxRetryAfter
	}
	if r.Hedge == 0 {
		r.Hedge = upstream.Hedge
	}
	return r
}

// Repeats reports whether a request like in may be sent again although a target may have acted on it.
func (r Retry) Repeats(in *http.Request) bool {
	switch in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	key := in.Header["Idempotency-Key"]
	return slices.Contains(r.Methods, in.Method) || r.IdempotencyKey && len(key) == 1 && key[0] != ""
}
