package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// mostWait bounds what can be waited for.
const mostWait = time.Hour

// checkRetry reports what is wrong with r, which errors call by that name.
func checkRetry(name string, r policy.Retry) []error {
	methods := []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect,
	}
	var errs []error
	for i, s := range r.Statuses {
		if s < http.StatusBadRequest || s > 599 {
			errs = append(errs, fmt.Errorf("%s.Statuses[%d] %d is no failure; list statuses from 400 to 599, such as 502", name, i, s))
		}
	}
	for i, m := range r.Methods {
		if !canonical.Token(m) || m != strings.ToUpper(m) && slices.Contains(methods, strings.ToUpper(m)) {
			errs = append(errs, fmt.Errorf("%s.Methods[%d] %q is no method; write it in capitals, such as POST", name, i, m))
		}
	}
	for _, d := range []struct {
		field string
		d     time.Duration
	}{{"PerTry", r.PerTry}, {"BackOff", r.BackOff}, {"MaxRetryAfter", r.MaxRetryAfter}, {"Hedge", r.Hedge}} {
		if d.d > mostWait {
			errs = append(errs, fmt.Errorf("%s.%s %v is more than %v, for which no client waits", name, d.field, d.d, mostWait))
		}
	}
	return errs
}

// cause is why a try failed, as far as it matters for another.
type cause uint8

const (
	final       cause = iota // another would end likewise, or must not be made
	refused                  // the target's system refused the connection, which costs nobody anything
	unnamed                  // its name led to no address
	unprocessed              // the target says that it has not acted on it
	unsent                   // the target got nothing of the request
	stale                    // it may have acted on it, but has most likely closed a kept connection before
	unknown                  // it may have acted on it
	answered                 // it has answered so
)

// causeOf says why a try failed with err. Bounded says that the bound of a single try was the shortest.
func causeOf(err error, bounded bool) cause {
	var e *transport.Error
	if !errors.As(err, &e) {
		return final
	}
	switch e.Code {
	case transport.ConnectRefused:
		return refused
	case transport.DNSFailed:
		return unnamed
	case transport.ConnectFailed, transport.ConnectTimeout, transport.TLSFailed:
		return unsent
	case transport.StaleConnection:
		if e.Unprocessed {
			return unprocessed
		}
		return stale
	case transport.ConnectionReset:
		return unknown
	case transport.FirstByteLimit:
		if bounded {
			return unknown
		}
	}
	return final
}

// repeats is what a request may have repeated.
type repeats struct {
	policy.Retry

	up       *Upstream
	call     *proxy.Call
	tries    int  // how many there may be
	made     int  // how many there were
	stale    int  // how many of them met a dead connection
	fresh    bool // the next one has a new connection
	bounded  bool // Retry.PerTry is the bound
	deadline time.Time
	tried    []*balancer.Member // since all were tried, if they were
}

// attempt has the request answered, with as many tries as it takes and may take. It returns the last of them.
func (u *Upstream) attempt(w http.ResponseWriter, c *proxy.Call) (*try, result) {
	limits := u.limits(c)
	more := repeats{Retry: c.Forward.Retry.Over(u.retry), up: u, call: c, deadline: limits.Deadline}
	switch more.tries = more.Tries; {
	case more.tries == 0:
		more.tries = policy.DefaultTries
	case more.tries < 0:
		more.tries = 1
	}
	if d := more.PerTry; d > 0 && more.tries > 1 && (limits.FirstByte <= 0 || d <= limits.FirstByte) {
		limits.FirstByte, more.bounded = d, true
	}
	limits.Again = more.tries > 1 && more.Repeats(c.In)
	t := newTry(u, c, limits, more)
	if more.tries > 1 {
		u.budget.request(t.Start)
		if more.MaxBody > 0 && more.Repeats(c.In) {
			if err := c.Keep(more.MaxBody); err != nil {
				defer t.end()
				return t, t.fail(err, false)
			}
		}
	}
	for {
		var end result
		if t.more.hedges() {
			t, end = t.hedge(w)
		} else {
			end = t.run(w)
		}
		wait, ok := end.wait, end.again
		if !ok && end.refusal != nil && !t.sent.IsZero() && !t.Canceled {
			wait, ok = t.more.after(t, causeOf(t.Err, t.more.bounded), 0)
		}
		switch {
		case !ok:
			return t, end
		case u.pause(c, wait):
		case errors.Is(c.In.Context().Err(), context.Canceled):
			return t, result{}
		case end.refusal != nil:
			return t, end
		case c.In.Context().Err() != nil: // what the target had answered is gone
			e, _ := c.Failure(&transport.Error{Code: transport.TotalLimit, Err: c.In.Context().Err()})
			return t, result{refusal: e}
		default:
			return t, result{refusal: proxy.Unavailable(transport.Closed, errClosed)}
		}
		c.Again(w)
		t = t.next()
	}
}

// answerBy returns when there has to be an answer to a try that begins now; zero for no such time.
func (r *repeats) answerBy() time.Time {
	by := r.deadline
	if r.bounded {
		if end := time.Now().Add(r.PerTry); by.IsZero() || end.Before(by) {
			by = end
		}
	}
	return by
}

// mostStale is how many connections a request may find dead beside its tries. The one behind the first is new, but in HTTP/2, whose
// connections that have ended are not kept.
const mostStale = 3

// after reports whether another try is made, and how long it waits: not less than least.
func (r *repeats) after(t *try, why cause, least time.Duration) (time.Duration, bool) {
	if t.Number > 1 && why != stale {
		r.up.budget.wasted()
	}
	if why == final || r.tries == 1 || !r.call.Repeatable() || why > unsent && !r.Repeats(r.call.In) {
		return 0, false
	}
	if why == stale && r.stale < mostStale { // which says nothing about the target
		r.stale++
		r.tries++
		r.up.budget.spend()
		var e *transport.Error
		r.fresh = errors.As(t.Err, &e) && e.HTTP1
		return 0, true
	}
	if r.made >= r.tries {
		return 0, false
	}
	again := !r.up.pool.HasOther(append(slices.Clip(r.tried), t.member)) // a target that was asked before has to do
	if again && why != unprocessed && (why == unnamed || r.Tries == 0 || !r.up.pool.HasOther(nil)) {
		return 0, false
	}
	wait := least
	if why > stale || t.Number > 1 || again {
		wait = max(least, r.backOff(t.Number))
	}
	now := time.Now()
	if !r.deadline.IsZero() && !now.Add(wait).Before(r.deadline) {
		return 0, false
	}
	ok := why == refused && !again || r.up.budget.repeat(now)
	if ok && again {
		r.tried = nil // all were: only the last one is avoided, if there are others
	}
	return wait, ok
}

// mostBackOff bounds BackOff as it grows.
const mostBackOff = time.Second

// backOff returns how long the try after that with this number waits.
func (r *repeats) backOff(number int) time.Duration {
	d := firstSet(r.BackOff, 0, policy.DefaultBackOff)
	if d < 0 {
		return 0
	}
	for range number - 1 {
		if d >= mostBackOff {
			break
		}
		d = min(2*d, mostBackOff)
	}
	return d/2 + rand.N(d/2+1) //nolint:gosec // G404: nothing depends on its being a secret
}

// afterAnswer reports whether another try is made because of an answer, and how long it waits.
func (r *repeats) afterAnswer(t *try, res *transport.Answer) (time.Duration, bool) {
	if !slices.Contains(r.Statuses, res.StatusCode) {
		return 0, false
	}
	asked, most := retryAfter(res, time.Now()), firstSet(r.MaxRetryAfter, 0, policy.DefaultMaxRetryAfter)
	if asked > max(most, 0) {
		return 0, false
	}
	return r.after(t, answered, asked)
}

// retryAfter returns how long an answer asks to be left alone (RFC 9110 section 10.2.3).
func retryAfter(res *transport.Answer, now time.Time) time.Duration {
	lines := res.Header.Values("Retry-After")
	if len(lines) != 1 {
		return 0
	}
	if n, err := strconv.ParseUint(lines[0], 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, math.MaxInt32)) * time.Second
	}
	if at, err := http.ParseTime(lines[0]); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// pause waits before another try. It reports false when none is to be made any more.
func (u *Upstream) pause(c *proxy.Call, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.In.Context().Done():
		return false
	case <-u.ended:
		return false
	}
}
