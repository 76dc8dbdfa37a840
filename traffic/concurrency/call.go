package concurrency

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/internal/capacity"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// Wrap returns a handler that hands to next what has a place, once it has one, and refuses the rest, or has it answered by the
// fallback. Place it inside the plugins whose refusals cost next to nothing, and around what the limit is for.
//
// Nothing is written to a client that leaves while it waits: the request is aborted, by a panic with [http.ErrAbortHandler]. Under
// [policy.ReportOnly] nothing waits: what would have had to is recorded as refused with "limit_reached", and holds no place.
func (l *Limiter) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		if !l.ready() {
			policy.Refuse(w, r, DefaultName, notConfigured())
			return
		}
		reported := policy.IsReported(r)
		t, waited, err := l.enter(r.Context(), l.class(x), !reported)
		if err != nil {
			if errors.Is(err, context.Canceled) {
				x.Record(policy.Decision{Policy: l.cfg.Name, Verdict: policy.Refused, Reason: reasonLeft, Err: err})
				panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to answer nobody
			}
			if reported {
				err = l.refusals[limitReached]
			}
			policy.RefuseWith(w, r, l.cfg.Name, err, l.fallback)
			return
		}
		c, _ := l.calls.Get().(*call)
		c.ticket, c.exchange, c.ctx = t, x, r.Context()
		defer c.end()
		d := policy.Decision{Policy: l.cfg.Name, Reason: reasonFree}
		if waited {
			d.Reason = reasonWaited
		}
		x.Record(d)
		if l.learns || l.cfg.UntilAnswered {
			w = c.watch(w, r)
		}
		next.ServeHTTP(w, r)
		c.returned = true
	})
}

// call is a request that the plugin let through.
type call struct {
	l        *Limiter
	onHeader func(int, http.Header)
	onHijack func()

	callState
}

type callState struct {
	ticket   capacity.Ticket
	exchange *policy.Exchange
	ctx      context.Context
	began    time.Time
	w        *respw.Writer // nil where nobody wants to know when the answer begins
	returned bool          // the handler did not panic
	kept     bool          // somebody else may still call onHijack
	over     bool
}

func newCall(l *Limiter) *call {
	c := &call{l: l}
	c.onHeader = func(status int, _ http.Header) { c.answer(status) }
	c.onHijack = func() { c.answer(http.StatusSwitchingProtocols) }
	return c
}

// watch has answer called when the answer begins.
func (c *call) watch(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	c.began, c.w = time.Now(), respw.Wrap(w)
	c.w.OnHeader(c.onHeader)
	if len(r.Header["Upgrade"]) > 0 {
		c.w.OnHijack(c.onHijack)
		c.kept = true
	}
	return c.w
}

// answer runs when the head of the answer is sent.
func (c *call) answer(status int) {
	if c.over { // somebody further out sent it
		return
	}
	c.ticket = c.l.answered(c.ticket, c.result(status))
}

// end runs when the handler has ended, whatever way.
func (c *call) end() {
	c.over = true
	l, t := c.l, c.ticket
	r := capacity.Unknown
	if c.w != nil && !t.Told() {
		r = c.result(c.w.Status())
	}
	// What is registered with a writer that has not sent the head would be called for another request.
	if c.returned && !c.kept && (c.w == nil || c.w.HeaderSent()) {
		c.callState = callState{}
		l.calls.Put(c)
	}
	l.end(t, r)
}

// result says what an answer means, or that there is none: status is 0 then.
func (c *call) result(status int) capacity.Result {
	if !c.l.learns {
		return capacity.Unknown
	}
	r := c.l.resultOfStatus(status)
	if status == 0 {
		switch err := c.ctx.Err(); {
		case errors.Is(err, context.Canceled):
			return capacity.Unknown // there was nobody to answer
		case errors.Is(err, context.DeadlineExceeded):
			r = capacity.Overloaded
		case !c.returned && !c.w.Hijacked():
			r = capacity.Unknown // it panicked, whatever for
		}
	}
	if r == capacity.Answered && !c.exchange.GatewayMade() {
		return r
	}
	// What is inside knows better.
	tries := c.exchange.Tries()
	if n := len(tries); n > 0 && !tries[n-1].Start.Before(c.began) {
		return c.l.resultOf(tries[n-1].Outcome)
	}
	if _, refused := c.exchange.Refusal(); refused {
		return capacity.Unknown
	}
	return r
}
