package breaker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/internal/notify"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrOpen is wrapped by the error of a request that a [Breaker] refused, because it is open, or half-open and all probes
// are under way.
var ErrOpen = errors.New("breaker: circuit open")

var errNotNew = errors.New("breaker: the Breaker was not made by New")

// The reasons in the decision record, which for refusals are the codes of the error.
const (
	reasonClosed        = "closed"
	reasonProbe         = "probe"
	reasonOpen          = "circuit_open"
	reasonHalfOpen      = "circuit_half_open"
	reasonNotConfigured = "not_configured"
)

// Breaker is a circuit breaker: a [policy.Admission] for upstreams, and a plugin around any handler. See the package comment
// for what it counts.
//
// Its memory is fixed, a kilobyte and what the plugin needs for each request under way. It starts no goroutine and no timer,
// and is safe for concurrent use; a closed one is asked without a lock. A nil Breaker, and one that New did not make, refuses
// every request with 500.
type Breaker struct {
	cfg      Config
	failures [200]bool // of the statuses from 400
	fallback http.HandlerFunc
	zero     time.Time

	word    atomic.Uint64 // the period, above one bit that says that the circuit is closed; 0 before New
	refused atomic.Uint64
	refusal atomic.Pointer[refusal] // the last one
	calls   sync.Pool               // of *call

	mu      sync.Mutex
	c       circuit.Circuit
	changes uint64
	pending notify.Queue[Change]
}

// refusal is an error that serves for all requests that are refused for the same time.
type refusal struct {
	state   circuit.State
	seconds int64
	err     *policy.Error
}

// outcome is how a request went.
type outcome struct {
	result circuit.Result
	status int
	err    error
}

// New checks c and returns a closed Breaker. The error joins all problems.
func New(c Config) (*Breaker, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Breaker{cfg: c, zero: time.Now(), c: circuit.New(c.settings())}
	for s := range b.failures {
		status := s + http.StatusBadRequest
		b.failures[s] = len(c.Failures) == 0 && status >= http.StatusInternalServerError || slices.Contains(c.Failures, status)
	}
	if c.Fallback != nil {
		b.fallback = c.Fallback.ServeHTTP
	}
	b.cfg.Failures = nil // the caller's
	b.calls.New = func() any { return newCall(b) }
	b.word.Store(wordOf(circuit.Closed, 0))
	return b, nil
}

// wordOf returns the state for those who ask without the lock. It is not 0.
func wordOf(s circuit.State, period uint32) uint64 {
	const isClosed, isMade = 1, 2
	w := uint64(period)<<2 | isMade
	if s == circuit.Closed {
		w |= isClosed
	}
	return w
}

func closedIn(word uint64) (period uint32, closed bool) { return uint32(word >> 2), word&1 != 0 }

func (b *Breaker) ready() bool { return b != nil && b.word.Load() != 0 }

// Name returns [Config.Name].
func (b *Breaker) Name() string {
	if !b.ready() {
		return DefaultName
	}
	return b.cfg.Name
}

// Contract asks and promises nothing.
func (*Breaker) Contract() policy.Contract { return policy.Contract{} }

// State returns the state. An open Breaker is Open until a request comes after its open time, and that is a probe.
func (b *Breaker) State() State { return b.Status().State }

// Status returns a snapshot for operators and metrics. It changes nothing. The zero and a nil Breaker have the zero Status.
func (b *Breaker) Status() Status {
	if !b.ready() {
		return Status{}
	}
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	since, why := b.c.Since()
	n := b.c.Counts(now)
	waiting, succeeded := b.c.Probing()
	return Status{
		Name: b.cfg.Name, State: stateOf(b.c.State()), Since: b.zero.Add(since), Reason: reasonOf(why),
		Requests: int(n.Calls), Failures: int(n.Failed), Slow: int(n.Slow), Consecutive: int(b.c.Row()),
		Probes: int(waiting), Succeeded: int(succeeded), RetryAfter: b.c.Wait(now), Changes: b.changes, Refused: b.refused.Load(),
	}
}

// Preview returns the decision that Wrap would record for a request now. It admits and counts nothing.
func (b *Breaker) Preview(*http.Request) policy.Decision {
	if !b.ready() {
		return policy.Decision{Policy: DefaultName, Verdict: policy.Refused, Reason: reasonNotConfigured, Status: http.StatusInternalServerError, Err: notConfigured()}
	}
	now := b.now()
	b.mu.Lock()
	state, admits, wait, n := b.c.State(), b.c.Admits(now), b.c.Wait(now), b.c.Counts(now)
	b.mu.Unlock()
	d := policy.Decision{Policy: b.cfg.Name}
	switch {
	case state == circuit.Closed:
		d.Reason, d.Detail = reasonClosed, fmt.Sprintf("%d of %d failed in the last %s", n.Failed, n.Calls, b.cfg.Window)
	case admits:
		d.Reason = reasonProbe
	default:
		e := b.refuse(state, wait)
		d.Verdict, d.Reason, d.Status, d.Err = policy.Refused, e.Code, e.Status, e
		if state == circuit.Open {
			d.Detail = fmt.Sprintf("for another %s", wait.Round(time.Millisecond))
		}
	}
	return d
}

// Admit asks whether a try at an upstream may be made; upstream is not looked at. The error is a [*policy.Error] that wraps
// [ErrOpen]. For each try that is admitted Done is called once.
func (b *Breaker) Admit(context.Context, string) (policy.Ticket, error) {
	if !b.ready() {
		return 0, notConfigured()
	}
	return admitted(b.begin(-1))
}

// AdmitAt is Admit at the time now, for what has a clock of its own. Time does not go back: a now before the latest that
// the Breaker has seen counts as that.
func (b *Breaker) AdmitAt(now time.Time) (policy.Ticket, error) {
	if !b.ready() {
		return 0, notConfigured()
	}
	return admitted(b.begin(max(now.Sub(b.zero), 0)))
}

func admitted(t circuit.Ticket, refused *policy.Error) (policy.Ticket, error) {
	if refused != nil {
		return 0, refused
	}
	return policy.Ticket(t), nil
}

// Answered tells that the answer to a try has begun, and counts it; see [policy.AnswerWatcher]. It need not be called.
func (b *Breaker) Answered(t policy.Ticket, o policy.Outcome) policy.Ticket {
	if !b.ready() {
		return t
	}
	return policy.Ticket(b.answered(b.now(), circuit.Ticket(t), b.outcomeOf(o)))
}

// AnsweredAt is Answered at the time now.
func (b *Breaker) AnsweredAt(now time.Time, t policy.Ticket, o policy.Outcome) policy.Ticket {
	if !b.ready() {
		return t
	}
	return policy.Ticket(b.answered(now.Sub(b.zero), circuit.Ticket(t), b.outcomeOf(o)))
}

// Done tells how a try went. An outcome that is Canceled is not counted; one without a status, without an error and without
// an answer is a success.
func (b *Breaker) Done(t policy.Ticket, o policy.Outcome) {
	if b.ready() {
		b.end(-1, circuit.Ticket(t), b.outcomeOf(o))
	}
}

// DoneAt is Done at the time now.
func (b *Breaker) DoneAt(now time.Time, t policy.Ticket, o policy.Outcome) {
	if b.ready() {
		b.end(max(now.Sub(b.zero), 0), circuit.Ticket(t), b.outcomeOf(o))
	}
}

// outcomeOf says what an upstream's outcome means.
func (b *Breaker) outcomeOf(o policy.Outcome) outcome {
	if o.Canceled || o.Fault == policy.FaultNone {
		return outcome{result: circuit.Ignored}
	}
	out := outcome{status: o.Status, err: o.Err}
	switch {
	case o.Err != nil:
		out.result = circuit.Failed
		var e *policy.Error
		if errors.As(o.Err, &e) && e.Status < http.StatusInternalServerError {
			out.result = circuit.Ignored // what a round tripper of the application says of the request
		}
	case b.isFailure(o.Status):
		out.result = circuit.Failed
	}
	took := o.FirstByte - o.Upload
	if o.FirstByte == 0 {
		took = o.Duration
	}
	if b.isSlow(took) {
		out.result |= circuit.Slow
	}
	return out
}

func (b *Breaker) isFailure(status int) bool {
	i := status - http.StatusBadRequest
	return i >= 0 && i < len(b.failures) && b.failures[i]
}

func (b *Breaker) isSlow(took time.Duration) bool {
	return b.cfg.SlowAfter > 0 && took >= b.cfg.SlowAfter
}

func (b *Breaker) now() time.Duration { return time.Since(b.zero) }

// begin asks for one request, at the time now; a negative one is read from the clock where it is needed.
func (b *Breaker) begin(now time.Duration) (circuit.Ticket, *policy.Error) {
	if period, closed := closedIn(b.word.Load()); closed {
		return circuit.ClosedTicket(period), nil
	}
	if now < 0 {
		now = b.now()
	}
	b.mu.Lock()
	from, period := b.c.State(), b.c.Period()
	t, ok := b.c.Begin(now)
	changed := b.c.Period() != period
	if changed {
		b.take(from, outcome{})
	}
	state, wait := b.c.State(), b.c.Wait(now)
	b.mu.Unlock()
	if changed {
		b.changed(t, ok)
	}
	if ok {
		return t, nil
	}
	b.refused.Add(1)
	return 0, b.refuse(state, wait)
}

// changed calls OnChange, and gives back the place of a probe if that panics: nobody would end it.
func (b *Breaker) changed(t circuit.Ticket, ok bool) {
	done := false
	defer func() {
		if !done && ok {
			b.end(b.now(), t, outcome{result: circuit.Ignored})
		}
	}()
	b.tell()
	done = true
}

func (b *Breaker) answered(now time.Duration, t circuit.Ticket, o outcome) circuit.Ticket {
	b.mu.Lock()
	from, period := b.c.State(), b.c.Period()
	t = b.c.Answered(now, t, o.result)
	changed := b.c.Period() != period
	if changed {
		b.take(from, o)
	}
	b.mu.Unlock()
	if changed {
		b.tell()
	}
	return t
}

// end is told about one request, at the time now; a negative one is read from the clock where it is needed.
func (b *Breaker) end(now time.Duration, t circuit.Ticket, o outcome) {
	if t.Settled(o.result) {
		return
	}
	if now < 0 {
		now = b.now()
	}
	b.mu.Lock()
	from, period := b.c.State(), b.c.Period()
	b.c.End(now, t, o.result)
	changed := b.c.Period() != period
	if changed {
		b.take(from, o)
	}
	b.mu.Unlock()
	if changed {
		b.tell()
	}
}

// refuse returns the refusal of a request that has to wait that long. In an outage nearly all requests get the same.
func (b *Breaker) refuse(state circuit.State, wait time.Duration) *policy.Error {
	seconds := max(int64((wait+time.Second-1)/time.Second), 1)
	if r := b.refusal.Load(); r != nil && r.state == state && r.seconds == seconds {
		return r.err
	}
	code := reasonOpen
	if state == circuit.HalfOpen {
		code = reasonHalfOpen
	}
	e := &policy.Error{
		Status: http.StatusServiceUnavailable, Code: code, Message: b.cfg.Message, Detail: b.cfg.Name,
		Header: http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}}, Err: ErrOpen,
	}
	b.refusal.Store(&refusal{state, seconds, e})
	return e
}

func notConfigured() *policy.Error {
	return &policy.Error{Status: http.StatusInternalServerError, Code: reasonNotConfigured, Err: errNotNew}
}
