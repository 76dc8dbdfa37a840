package breaker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// Wrap returns a handler that hands to next what the circuit lets through, counts how that went, and refuses the rest, or has
// it answered by the fallback. Place it inside the plugins whose refusals the client should get in any case, and around what
// may fail.
func (b *Breaker) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		if !b.ready() {
			policy.Refuse(w, r, DefaultName, notConfigured())
			return
		}
		now := b.now()
		t, refused := b.begin(now)
		if refused != nil {
			policy.RefuseWith(w, r, b.cfg.Name, refused, b.fallback)
			return
		}
		c, _ := b.calls.Get().(*call)
		c.ticket, c.began, c.exchange, c.ctx, c.w = t, now, x, r.Context(), respw.Wrap(w)
		defer c.end()
		d := policy.Decision{Policy: b.cfg.Name, Reason: reasonClosed}
		if t.Probe() {
			d.Reason = reasonProbe
		}
		x.Record(d)
		c.w.OnHeader(c.onHeader)
		if len(r.Header["Upgrade"]) > 0 {
			c.w.OnHijack(c.onHijack)
			c.kept = true
		}
		next.ServeHTTP(c.w, r)
		c.returned = true
	})
}

// call is a request that the plugin let through.
type call struct {
	b        *Breaker
	onHeader func(int, http.Header)
	onHijack func()

	callState
}

type callState struct {
	ticket   circuit.Ticket
	began    time.Duration
	exchange *policy.Exchange
	ctx      context.Context
	w        *respw.Writer
	returned bool // the handler did not panic
	kept     bool // somebody else may still call onHijack
	over     bool
}

func newCall(b *Breaker) *call {
	c := &call{b: b}
	c.onHeader = func(status int, _ http.Header) { c.answer(status) }
	c.onHijack = func() { c.answer(http.StatusSwitchingProtocols) }
	return c
}

// answer runs when the head of the answer is sent.
func (c *call) answer(status int) {
	if c.over { // somebody further out sent it
		return
	}
	now := c.b.now()
	c.ticket = c.b.answered(now, c.ticket, c.outcome(status, false, now))
}

// end runs when the handler has ended, whatever way.
func (c *call) end() {
	c.over = true
	status := c.w.Status()
	broken := !c.returned || c.w.Broken()
	if status == 0 && !c.w.Hijacked() && c.left() {
		broken = true // there was nobody to answer
	}
	b, t := c.b, c.ticket
	settled := !broken && t.Settled(0) // by its head, as nearly all are
	var now time.Duration
	var o outcome
	if !settled {
		now = b.now()
		o = c.outcome(status, broken, now)
	}
	// What is registered with a writer that has not sent the head would be called for another request.
	if c.returned && !c.kept && c.w.HeaderSent() {
		c.callState = callState{}
		b.calls.Put(c)
	}
	if !settled {
		b.end(now, t, o)
	}
}

// errBroken is the cause of a change that a handler brought about without a status.
var errBroken = errors.New("breaker: the handler panicked, or its answer broke off")

// outcome says what an answer means. The statuses of gRPC are not those of HTTP, so what the gateway made itself is looked at
// whatever status it has.
func (c *call) outcome(status int, broken bool, now time.Duration) outcome {
	o := outcome{status: status}
	failed := broken || c.b.isFailure(status)
	if failed || c.exchange.GatewayMade() {
		asked, innocent, err := c.inside()
		switch {
		case failed && (c.left() || c.w.Stalled()), innocent && (asked || !broken):
			return outcome{result: circuit.Ignored}
		case err != nil:
			failed, o.err = true, err
		case broken:
			o.err = errBroken
		}
	}
	if failed {
		o.result = circuit.Failed
	}
	if broken && status != 0 {
		return o // it was not slow to begin, or was counted as such
	}
	if c.b.cfg.SlowAfter > 0 && c.b.isSlow(now-c.began-c.exchange.BodyWait()) {
		o.result |= circuit.Slow
	}
	return o
}

func (c *call) left() bool { return errors.Is(c.ctx.Err(), context.Canceled) }

// inside looks at what the plugins and upstreams inside say. asked reports that an upstream has sent the request to a target,
// err how that failed last; innocent that the failure is not the target's, or that another plugin refused the request, or an
// upstream that had no target for it.
func (c *call) inside() (asked, innocent bool, err error) {
	tries := c.exchange.Tries()
	if n := len(tries); n > 0 && !tries[n-1].Start.Before(c.b.zero.Add(c.began)) {
		last := &tries[n-1]
		return true, last.Canceled || last.Fault == policy.FaultNone, last.Err
	}
	_, refused := c.exchange.Refusal()
	return false, refused, nil
}
