package concurrency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/capacity"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrShed is wrapped by the error of a request that a [Limiter] refused, because there was no place for it.
var ErrShed = errors.New("concurrency: no place")

var errNotNew = errors.New("concurrency: the Limiter was not made by New")

// The reasons in the decision record, which for refusals are the codes of the error.
const (
	reasonFree          = "free"
	reasonWaited        = "waited"
	reasonLeft          = "client_left"
	reasonNotConfigured = "not_configured"
)

// why says why a request is refused.
type why int

const (
	limitReached why = iota // nobody waits
	queueFull
	displaced
	waitTimeout
	whys
)

// code is the reason in the decision record.
func (y why) code() string {
	return [whys]string{"limit_reached", "queue_full", "displaced", "wait_timeout"}[y]
}

// Limiter bounds how many requests are under way at once: a [policy.Admission] for upstreams, and a plugin around any handler. See
// the package comment for what it does.
//
// Its memory is fixed, some hundred bytes, and what the plugin and the queue need for each request they have; a request that
// waits has a timer. It starts no goroutine, and is safe for concurrent use. A nil Limiter, and one that New did not make, refuses
// every request with 500.
type Limiter struct {
	cfg        Config
	overloaded [200]bool // of the statuses from 400
	learns     bool      // the limit is to be found
	fallback   http.HandlerFunc
	refusals   [whys]*policy.Error
	zero       time.Time

	calls   sync.Pool // of *call
	waiters sync.Pool // of *waiter

	mu   sync.Mutex
	gate *capacity.Gate // nil before New
}

// waiter is a request that waits. What is in it is made once, and used again.
type waiter struct {
	capacity.Waiter

	timer *time.Timer
}

// New checks c and returns a Limiter whose places are free. The error joins all problems.
func New(c Config) (*Limiter, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Limiter{cfg: c, learns: c.Limit == 0, zero: time.Now(), gate: capacity.New(c.settings())}
	statuses := c.Adaptive.Overloaded
	if len(statuses) == 0 {
		statuses = []int{http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	}
	for i := range l.overloaded {
		l.overloaded[i] = slices.Contains(statuses, i+http.StatusBadRequest)
	}
	l.cfg.Adaptive.Overloaded = nil // the caller's
	if c.Fallback != nil {
		l.fallback = c.Fallback.ServeHTTP
	}
	seconds := strconv.FormatInt(int64((c.RetryAfter+time.Second-1)/time.Second), 10)
	for i := range l.refusals {
		l.refusals[i] = &policy.Error{
			Status: http.StatusServiceUnavailable, Code: why(i).code(), Message: c.Message, Detail: c.Name,
			Header: http.Header{"Retry-After": {seconds}}, Err: ErrShed,
		}
	}
	l.calls.New = func() any { return newCall(l) }
	l.waiters.New = func() any {
		w := &waiter{timer: time.NewTimer(c.MaxWait)}
		w.timer.Stop()
		w.Ready = make(chan struct{}, 1)
		return w
	}
	return l, nil
}

func (l *Limiter) ready() bool { return l != nil && l.gate != nil }

// Name returns [Config.Name].
func (l *Limiter) Name() string {
	if !l.ready() {
		return DefaultName
	}
	return l.cfg.Name
}

// Contract asks and promises nothing.
func (*Limiter) Contract() policy.Contract { return policy.Contract{} }

// Preview returns the decision that Wrap would record for a request now, as far as that can be told: of one that would have to wait
// it says "waited". It takes no place and counts nothing; Config.Class is called.
func (l *Limiter) Preview(r *http.Request) policy.Decision {
	if !l.ready() {
		return policy.Decision{Policy: DefaultName, Verdict: policy.Refused, Reason: reasonNotConfigured, Status: http.StatusInternalServerError, Err: notConfigured()}
	}
	class := l.class(policy.ExchangeFrom(r.Context()))
	l.mu.Lock()
	free, room := l.gate.Free(), l.gate.Room(class)
	limit, inFlight, waiting := l.gate.Limit(), l.gate.InFlight(), l.gate.Waiting()
	l.mu.Unlock()
	d := policy.Decision{Policy: l.cfg.Name, Reason: reasonFree, Detail: fmt.Sprintf("%d of %d places are taken, %d wait, class %d", inFlight, limit, waiting, class)}
	switch {
	case free:
	case room:
		d.Reason = reasonWaited
	default:
		e := l.refusals[l.full()]
		d.Verdict, d.Reason, d.Status, d.Err = policy.Refused, e.Code, e.Status, e
	}
	return d
}

// Admit takes a place for a try at an upstream, and waits for one, if Config says so, until ctx ends; upstream is not looked at. When
// ctx has ended already, it only takes one that is free. The error is a [*policy.Error] that wraps [ErrShed], or that of a ctx
// that was canceled. For each try that is admitted Done is called once.
func (l *Limiter) Admit(ctx context.Context, _ string) (policy.Ticket, error) {
	if !l.ready() {
		return 0, notConfigured()
	}
	class := 0
	if l.cfg.Class != nil {
		class = l.class(policy.ExchangeFrom(ctx))
	}
	t, _, err := l.enter(ctx, class, true)
	return policy.Ticket(t), err
}

// AdmitAt takes a place at the time now, for what has a clock of its own, for a request of that class. It does not wait. Time does
// not go back: a now before the latest that the Limiter has seen counts as that.
func (l *Limiter) AdmitAt(now time.Time, class int) (policy.Ticket, error) {
	if !l.ready() {
		return 0, notConfigured()
	}
	if class < 0 || class >= l.cfg.Classes {
		class = l.cfg.Classes - 1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.since(now)
	t, ok := l.gate.Take(at, class)
	if !ok {
		l.gate.Refuse(class)
		l.wake(at)
		return 0, l.refusals[limitReached]
	}
	return policy.Ticket(t), nil
}

// Answered tells that the answer to a try has begun; see [policy.AnswerWatcher]. It need not be called.
func (l *Limiter) Answered(t policy.Ticket, o policy.Outcome) policy.Ticket {
	if !l.ready() {
		return t
	}
	return policy.Ticket(l.answered(capacity.Ticket(t), l.resultOf(o)))
}

// AnsweredAt is Answered at the time now.
func (l *Limiter) AnsweredAt(now time.Time, t policy.Ticket, o policy.Outcome) policy.Ticket {
	if !l.ready() {
		return t
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.since(now)
	u := l.gate.Answered(at, capacity.Ticket(t), l.resultOf(o), l.cfg.UntilAnswered)
	l.wake(at)
	return policy.Ticket(u)
}

// Done gives the place of a try back, and tells how it went: one without a status and without an error was answered.
func (l *Limiter) Done(t policy.Ticket, o policy.Outcome) {
	if l.ready() {
		l.end(capacity.Ticket(t), l.resultOf(o))
	}
}

// DoneAt is Done at the time now.
func (l *Limiter) DoneAt(now time.Time, t policy.Ticket, o policy.Outcome) {
	if !l.ready() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.since(now)
	l.gate.End(at, capacity.Ticket(t), l.resultOf(o))
	l.wake(at)
}

// resultOf says what an upstream's outcome means.
func (l *Limiter) resultOf(o policy.Outcome) capacity.Result {
	if o.Canceled || o.Fault == policy.FaultNone || o.Fault == policy.FaultOvertaken {
		return capacity.Unknown
	}
	if o.Err != nil {
		var e *policy.Error
		if errors.As(o.Err, &e) && e.Status < http.StatusInternalServerError {
			return capacity.Unknown // what a round tripper of the application says of the request
		}
		return capacity.Overloaded
	}
	return l.resultOfStatus(o.Status)
}

func (l *Limiter) resultOfStatus(status int) capacity.Result {
	if i := status - http.StatusBadRequest; i >= 0 && i < len(l.overloaded) && l.overloaded[i] {
		return capacity.Overloaded
	}
	return capacity.Answered
}

// class puts a request into a class.
func (l *Limiter) class(x *policy.Exchange) int {
	if l.cfg.Class == nil {
		return 0
	}
	if class := l.cfg.Class(x); class >= 0 && class < l.cfg.Classes {
		return class
	}
	return l.cfg.Classes - 1
}

func (l *Limiter) since(t time.Time) time.Duration { return max(t.Sub(l.zero), 0) }

// full is why a request is refused that found neither a place nor room.
func (l *Limiter) full() why {
	if l.cfg.Queue < 0 {
		return limitReached
	}
	return queueFull
}

// enter takes a place, and waits for one if it may. The error is a *policy.Error, or that of a ctx that was canceled.
func (l *Limiter) enter(ctx context.Context, class int, mayWait bool) (t capacity.Ticket, waited bool, err error) {
	var now time.Duration
	if l.learns {
		now = time.Since(l.zero)
	}
	l.mu.Lock()
	t, ok := l.gate.Take(now, class)
	if ok {
		l.mu.Unlock()
		return t, false, nil
	}
	refusal := l.full()
	if mayWait && ctx.Err() != nil {
		mayWait, refusal = false, limitReached
	}
	if !mayWait || !l.gate.Room(class) {
		l.gate.Refuse(class)
		l.wake(now)
		l.mu.Unlock()
		return 0, false, l.refusals[refusal]
	}
	w, _ := l.waiters.Get().(*waiter)
	now = time.Since(l.zero)
	if loser := l.gate.Join(now, class, &w.Waiter); loser != nil {
		loser.Ready <- struct{}{}
	}
	l.wake(now)
	l.mu.Unlock()
	t, err = l.wait(ctx, w)
	return t, true, err
}

// wait returns when w has a place, or waits no longer.
func (l *Limiter) wait(ctx context.Context, w *waiter) (capacity.Ticket, error) {
	w.timer.Reset(l.cfg.MaxWait)
	left := false
	select {
	case <-w.Ready:
	case <-ctx.Done():
		left = true
		as := capacity.Left
		if !errors.Is(ctx.Err(), context.Canceled) {
			as = capacity.Expired
		}
		l.giveUp(w, as)
	case <-w.timer.C:
		l.giveUp(w, capacity.Expired)
	}
	w.timer.Stop()
	state, t := w.State, w.Ticket
	l.waiters.Put(w)
	if left {
		if state == capacity.Admitted { // at the same moment
			l.end(t, capacity.Unknown)
		}
		if err := ctx.Err(); errors.Is(err, context.Canceled) {
			return 0, err
		}
		return 0, l.refusals[waitTimeout]
	}
	switch state {
	case capacity.Admitted:
		return t, nil
	case capacity.Displaced:
		return 0, l.refusals[displaced]
	default:
		return 0, l.refusals[waitTimeout]
	}
}

// giveUp takes w out of the queue. If it is not there any more, there is something in Ready.
func (l *Limiter) giveUp(w *waiter, as capacity.State) {
	l.mu.Lock()
	gone := !l.gate.Leave(&w.Waiter, as)
	l.mu.Unlock()
	if gone {
		<-w.Ready
	}
}

func (l *Limiter) answered(t capacity.Ticket, r capacity.Result) capacity.Ticket {
	if !l.learns && !l.cfg.UntilAnswered {
		return t
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.zero)
	t = l.gate.Answered(now, t, r, l.cfg.UntilAnswered)
	l.wake(now)
	return t
}

func (l *Limiter) end(t capacity.Ticket, r capacity.Result) {
	if t.Settled() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var now time.Duration
	if l.learns || l.gate.Waiting() > 0 {
		now = time.Since(l.zero)
	}
	l.gate.End(now, t, r)
	l.wake(now)
}

// wake tells those whose waiting is over. Each has room for one word, and gets one.
func (l *Limiter) wake(now time.Duration) {
	for w := l.gate.Next(now); w != nil; w = l.gate.Next(now) {
		w.Ready <- struct{}{}
	}
}

func notConfigured() *policy.Error {
	return &policy.Error{Status: http.StatusInternalServerError, Code: reasonNotConfigured, Err: errNotNew}
}
