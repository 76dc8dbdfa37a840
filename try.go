package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// try is one attempt to have a request answered, and the record of what has to be undone or reported when it ends: the
// admissions, the pick, the hooks. Each is released exactly once, in the reverse order, however the try ends.
type try struct {
	policy.Try

	up     *Upstream
	call   *proxy.Call
	more   *repeats // of all tries
	plan   repeats  // what more of the first try points to
	limits transport.Limits
	query  balancer.Query

	out    *http.Request // that was prepared
	fields []transport.Field
	bare   bool // its header is fields
	beside bool // there is another try, whose answer may come at any time: nothing may keep this one waiting

	sent     time.Time
	guest    bool // the client belongs to another target, which was slow for once
	clean    bool // nobody but us had the outgoing requests, and nobody has them any more
	member   *balancer.Member
	admitted []policy.Ticket // of the first len(admitted) admissions
	hooks    []policy.TryHook
	begun    []context.Context // of the first len(begun) hooks

	// Room for what nearly every try needs, in the same allocation.
	admittedRoom [2]policy.Ticket
	begunRoom    [2]context.Context
}

// result says what became of a try. Its zero value: the client's connection has to be aborted.
type result struct {
	answered bool
	refusal  error // nothing was sent yet, and this is why there is no answer

	again bool // there was an answer, which is not passed on: another try is made
	wait  time.Duration
}

// newTry returns the first try of a request.
func newTry(u *Upstream, c *proxy.Call, l transport.Limits, plan repeats) *try {
	t, _ := u.tries.Get().(*try)
	t.plan = plan
	t.more = &t.plan
	t.reset(u, c, l, 1)
	return t
}

// next returns the try behind t.
func (t *try) next() *try {
	if t.member != nil && !slices.Contains(t.more.tried, t.member) {
		t.more.tried = append(t.more.tried, t.member)
	}
	n, _ := t.up.tries.Get().(*try)
	n.more = t.more
	n.reset(t.up, t.call, t.limits, t.more.made+1)
	n.limits.Fresh, t.more.fresh = t.more.fresh, false
	return n
}

func (t *try) reset(u *Upstream, c *proxy.Call, l transport.Limits, number int) {
	t.up, t.call, t.limits = u, c, l
	t.limits.Receiver = c
	t.beside = false
	t.more.made = number
	t.Try = policy.Try{
		Upstream: u.name, Number: number, Start: time.Now(),
		// What holds when a plugin panics: that is not the target's fault.
		Outcome: policy.Outcome{Canceled: true, Err: errAbandoned},
	}
	t.query = balancer.Query{Request: c.In, Tried: t.more.tried, Now: t.Start}
	t.admitted, t.begun = t.admittedRoom[:0], t.begunRoom[:0]
}

// run makes the try. Whatever it returns, or panics with, all has been released.
func (t *try) run(w http.ResponseWriter) result {
	defer t.end()
	if r, ok := t.begins(); !ok {
		return r
	}
	if err := t.prepare(); err != nil {
		return t.refuse(err)
	}
	return t.conclude(w, t.send())
}

// begins asks the admissions and picks a target.
func (t *try) begins() (result, bool) {
	if r, ok := t.admit(); !ok {
		return r, false
	}
	m, err := t.up.pool.Pick(t.query)
	if err != nil && len(t.query.Tried) > 0 { // better one of those than none
		t.query.Tried = nil
		m, err = t.up.pool.Pick(t.query)
	}
	if err != nil {
		return t.refuse(proxy.NoTarget(err)), false
	}
	t.member, t.Target = m, m.Target()
	return result{}, true
}

// conclude passes on what came of the request, or says why it cannot.
func (t *try) conclude(w http.ResponseWriter, a arrival) result {
	res, m := a.res, t.member
	t.call.Answered()
	if a.err != nil {
		return t.fail(a.err, false)
	}
	t.clean = t.Number == 1 && len(t.hooks) == 0 && t.call.Forward.Rewrite == nil && res.IsDirect()
	defer func() { _ = res.Body.Close() }()
	t.FirstByte = a.at.Sub(t.sent)
	t.Upload = min(t.call.Exchange.BodyWait(), t.FirstByte)
	t.answered(res.StatusCode)
	if wait, ok := t.more.afterAnswer(t, res); ok {
		_ = res.Whole() // what is there is read, so that the connection is kept
		t.Status, t.Canceled, t.Err = res.StatusCode, false, nil
		return result{again: true, wait: wait}
	}
	if cookie := t.up.pool.Cookie(t.query, m); cookie != nil && !t.guest {
		t.call.SetCookie = cookie.String()
	}
	d := t.call.Deliver(w, res)
	if t.Tunnel = d.Tunnel; d.Sent {
		t.Status = res.StatusCode
	}
	switch {
	case d.Err == nil:
		t.Canceled, t.Err = false, nil
		return result{answered: true}
	case d.Gone:
		t.Canceled, t.Err, t.Fault = true, d.Err, policy.FaultNone
		return result{}
	}
	r := t.fail(d.Err, true)
	if d.Sent {
		return result{}
	}
	return r
}

// arrival is what came of a request, and when.
type arrival struct {
	res *transport.Answer
	err error
	at  time.Time
}

// prepare makes the request for the target that was picked.
func (t *try) prepare() error {
	t.hooks = t.call.Exchange.TryHooks()
	t.call.TargetHost = t.member.Host()
	if t.call.Forward.TimeoutHeader != "" {
		t.call.Deadline = t.more.answerBy()
	}
	if direct := t.up.direct; direct != nil && len(t.hooks) == 0 {
		out, fields, failed, ok := t.call.OutgoingFields(t.member.URL())
		if failed != nil {
			return failed
		}
		if ok {
			if t.sent = t.Start; len(t.admitted) > 0 {
				t.sent = time.Now()
			}
			t.limits.Start = t.sent
			t.out, t.fields, t.bare = out, fields, true
			return nil
		}
	}
	out, failed := t.call.Outgoing(t.member.URL())
	if failed != nil {
		return failed
	}
	t.out = t.begin(out)
	t.sent = time.Now()
	return nil
}

// send sends the request that was prepared, and returns when the head of its answer is there.
func (t *try) send() arrival {
	var a arrival
	if t.bare {
		a.res, a.err = t.up.direct.SendFields(t.out, t.fields, t.limits)
	} else {
		a.res, a.err = t.up.transport.Send(t.out, t.limits)
	}
	a.at = time.Now()
	return a
}

// recycle gives t and its call back for other requests, if nobody else can hold anything of them.
func (t *try) recycle() {
	if !t.clean {
		return
	}
	u, c := t.up, t.call
	*t = try{}
	u.tries.Put(t)
	c.Recycle()
}

// admit asks the admissions in order.
func (t *try) admit() (result, bool) {
	ctx := t.call.In.Context()
	asking := ctx
	if t.beside && len(t.up.admission) > 0 {
		ended, cancel := context.WithDeadline(ctx, t.Start)
		defer cancel()
		asking = ended
	}
	for _, a := range t.up.admission {
		ticket, err := a.Admit(asking, t.up.name)
		if err == nil {
			t.admitted = append(t.admitted, ticket)
			continue
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			t.Err = err
			return result{}, false
		}
		var e *policy.Error
		if !errors.As(err, &e) {
			err = proxy.Unavailable("not_admitted", err)
		}
		return t.refuse(err), false
	}
	return result{}, true
}

// answered tells the admissions that want to know.
func (t *try) answered(status int) {
	for i, ticket := range t.admitted {
		if w := t.up.watchers[i]; w != nil {
			t.admitted[i] = w.Answered(ticket, policy.Outcome{Status: status, FirstByte: t.FirstByte, Upload: t.Upload})
		}
	}
}

// begin runs the hooks and returns the request to send.
func (t *try) begin(out *http.Request) *http.Request {
	t.Out = out
	ctx := out.Context()
	for _, h := range t.hooks {
		if next := h.BeginTry(ctx, &t.Try); next != nil {
			ctx = next //nolint:fatcontext // each hook may have a span of its own, and there are few
		}
		t.begun = append(t.begun, ctx)
	}
	if ctx != out.Context() {
		out = out.WithContext(ctx)
	}
	t.Out = out
	if out.Header == nil {
		out.Header = http.Header{}
	}
	return out
}

// refuse ends the try before anything was sent, which says nothing about the target.
func (t *try) refuse(err error) result {
	t.Canceled, t.Err, t.Fault = true, err, policy.FaultNone
	return result{refusal: err}
}

// fail ends the try because there is no answer, or, where one has begun, no whole one.
func (t *try) fail(err error, begun bool) result {
	e, gone := t.call.Failure(err)
	if t.Canceled = gone; gone {
		t.Fault = policy.FaultNone
	} else {
		t.Fault = proxy.Fault(err, begun)
	}
	if e == nil {
		t.Err = err
		return result{}
	}
	t.Err = e
	return result{refusal: e}
}

// end reports the outcome and releases everything. A plugin that panics here keeps the others from nothing.
func (t *try) end() {
	if !t.sent.IsZero() {
		t.Duration = time.Since(t.sent)
	}
	outcome := t.Outcome // hooks may change theirs
	defer t.release(outcome)
	t.endHooks()
}

func (t *try) endHooks() {
	n := len(t.begun) - 1
	if n < 0 {
		return
	}
	ctx := t.begun[n]
	t.begun = t.begun[:n]
	defer t.endHooks()
	t.hooks[n].EndTry(ctx, &t.Try)
}

func (t *try) release(o policy.Outcome) {
	defer t.releaseAdmissions(o)
	if t.member != nil {
		t.up.pool.Done(t.member, o)
		record := t.Try
		record.Outcome = o
		t.call.Exchange.RecordTry(record)
	}
}

func (t *try) releaseAdmissions(o policy.Outcome) {
	n := len(t.admitted) - 1
	if n < 0 {
		return
	}
	ticket := t.admitted[n]
	t.admitted = t.admitted[:n]
	defer t.releaseAdmissions(o)
	t.up.admission[n].Done(ticket, o)
}
