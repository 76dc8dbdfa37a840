package split

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// serve hands r to a, and counts how that goes.
func (s *Split) serve(a *arm, cookie string, x *policy.Exchange, w http.ResponseWriter, r *http.Request) {
	rw := respw.Wrap(w)
	a.requests.Add(1)
	a.inFlight.Add(1)
	c, _ := s.calls.Get().(*call)
	c.arm, c.epoch, c.began, c.exchange, c.ctx, c.w = a, s.epochs.Load(), s.now(), x, r.Context(), rw
	defer c.end()
	if cookie != "" {
		c.cookie = s.cfg.Cookie.line(cookie, x)
	}
	rw.OnHeader(c.onHeader)
	if len(r.Header["Upgrade"]) > 0 {
		rw.OnHijack(c.onHijack)
		c.kept = true
	}
	a.handler.ServeHTTP(rw, r)
	if (cookie != "" || s.header != "") && http.ResponseWriter(rw) != w {
		rw.Commit() // nobody else has a head run its functions
	}
	c.returned = true
}

// verdict is what was said about a request.
type verdict uint8

const (
	untold verdict = iota // nothing that counts
	fine
	failed
)

// call is a request in an arm.
type call struct {
	s        *Split
	onHeader func(int, http.Header)
	onHijack func()

	callState
}

type callState struct {
	arm      *arm
	epoch    uint32
	began    time.Duration
	exchange *policy.Exchange
	ctx      context.Context //nolint:containedctx // of the one request it is for
	w        *respw.Writer
	cookie   string
	told     verdict
	at       time.Duration // when that was
	returned bool          // the handler did not panic
	kept     bool          // somebody else may still call onHijack
	over     bool
}

func newCall(s *Split) *call {
	c := &call{s: s}
	c.onHeader = c.head
	c.onHijack = func() { c.answer(http.StatusSwitchingProtocols) }
	return c
}

// head runs when the head of the answer is sent.
func (c *call) head(status int, h http.Header) {
	if c.over { // somebody further out sent it
		return
	}
	if c.s.header != "" {
		h[c.s.header] = c.arm.header
	}
	if c.cookie != "" {
		h.Add("Set-Cookie", c.cookie)
	}
	c.answer(status)
}

// answer counts a request whose answer begins.
func (c *call) answer(status int) {
	if c.over || c.told != untold {
		return
	}
	now := c.s.now()
	v, err := c.judge(status, false)
	c.told, c.at = v, now
	if v != untold {
		c.s.count(c.arm, c.epoch, now, outcome{failed: v == failed, took: now - c.began - c.exchange.BodyWait(), status: status, err: err})
	}
}

// end runs when the handler has ended, whatever way.
func (c *call) end() {
	c.over = true
	s, a, told, epoch := c.s, c.arm, c.told, c.epoch
	a.inFlight.Add(-1)
	status := c.w.Status()
	broken := !c.returned || c.w.Broken()
	if status == 0 && !c.w.Hijacked() && c.left() {
		broken = true // there was nobody to answer
	}
	var v verdict
	var o outcome
	var now time.Duration
	if told == untold || told == fine && broken {
		now = s.now()
		var err error
		v, err = c.judge(status, broken)
		o = outcome{failed: v == failed, took: now - c.began - c.exchange.BodyWait(), status: status, err: err}
		o.again = told == fine && now-c.at < s.cfg.Rollback.Window
	}
	// What is registered with a writer that has not sent the head would be called for another request.
	if c.returned && !c.kept && c.w.HeaderSent() {
		c.callState = callState{}
		s.calls.Put(c)
	}
	if v == failed || v == fine && told == untold {
		s.count(a, epoch, now, o)
	}
}

// errBroken is the cause of a failure without a status.
var errBroken = errors.New("split: the handler panicked, or its answer broke off")

// judge says what an answer means. The statuses of gRPC are not those of HTTP, so what the gateway made itself is looked at
// whatever status it has.
func (c *call) judge(status int, broken bool) (verdict, error) {
	bad := broken || status >= http.StatusInternalServerError && status <= 599
	if !bad && !c.exchange.GatewayMade() {
		return fine, nil
	}
	if bad && (c.left() || c.w.Stalled()) {
		return untold, nil
	}
	if last, asked := c.lastTry(); asked {
		switch {
		case last.Canceled:
			return untold, nil
		case last.Err != nil:
			return failed, last.Err
		}
	} else if d, refused := c.exchange.Refusal(); refused {
		if d.Status < http.StatusInternalServerError {
			return untold, nil
		}
		return failed, d.Err
	}
	switch {
	case broken:
		return failed, errBroken
	case bad:
		return failed, nil
	}
	return fine, nil
}

func (c *call) left() bool { return errors.Is(c.ctx.Err(), context.Canceled) }

// lastTry returns the last try that an upstream inside has made, if one has sent the request to a target.
func (c *call) lastTry() (policy.Try, bool) {
	tries := c.exchange.Tries()
	if n := len(tries); n > 0 && !tries[n-1].Start.Before(c.s.zero.Add(c.began)) {
		return tries[n-1], true
	}
	return policy.Try{}, false
}
