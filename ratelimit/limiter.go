package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// Limiter admits, for each key, as many requests as its limits allow. One Limiter may wrap many handlers; they share
// its counters. Two Limiters never share any, unless they have the same Name in the same Store.
//
// Its memory is bounded by [Config.MaxKeys]: at most about 175 bytes for each key with one limit of a TokenBucket, and
// 80 more for each further limit (FixedWindow: 105 and 16, SlidingWindow: 110 and 24), so 17 MB by default. It grows
// with the number of keys and is not given back. A key is forgotten, when room is needed, once its counters are back
// where those of a new key are, so forgetting gives nothing away.
//
// While the table is full of keys in use, new keys share overflow counters with the same limits, of which there are up
// to 32. They may be refused because of each other; keys that are in the table are not affected. A long window keeps
// keys in use for long. So that nobody can fill the table at will, count by what clients cannot make up; [Stats] shows
// when it happened.
//
// A Limiter starts no goroutine and is safe for concurrent use. A nil Limiter, and one that New did not make, refuses
// every request.
type Limiter struct {
	cfg     Config
	prefix  []byte // of what is hashed for a key
	maxCost int
	causes  []error // for each limit
	fields  *fields
	clock   clock
	table   *table
	remote  *remote // nil without a Store

	scratch sync.Pool // of *scratch
}

// New checks c and returns a Limiter. The error joins all problems.
func New(c Config) (*Limiter, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Limiter{cfg: c, clock: newClock(time.Now()), maxCost: c.Limits[0].capacity(), fields: newFields(c.Headers, c.Limits)}
	// The length goes first, so that no name and value together look like another name and value.
	l.prefix = append(binary.AppendUvarint(nil, uint64(len(c.Key.Name))), c.Key.Name...)
	for _, limit := range c.Limits {
		l.maxCost = min(l.maxCost, limit.capacity())
		l.causes = append(l.causes, &exceeded{limit.Name})
	}
	l.table = newTable(c.MaxKeys, c.Limits, c.Algorithm, l.clock)
	if c.Store != nil {
		l.remote = &remote{store: c.Store, timeout: c.StoreTimeout}
	}
	return l, nil
}

// Name returns [Config.Name].
func (l *Limiter) Name() string {
	if !l.ready() {
		return DefaultName
	}
	return l.cfg.Name
}

// Contract requires what the key requires: nothing for one with a fallback that requires nothing.
func (l *Limiter) Contract() policy.Contract {
	if !l.ready() {
		return policy.Contract{}
	}
	return policy.Contract{Requires: slices.Clone(l.cfg.Key.Requires)}
}

// Stats returns counts for metrics. It takes each of the table's locks for a moment.
func (l *Limiter) Stats() Stats {
	if !l.ready() {
		return Stats{}
	}
	var s Stats
	s.Keys, s.Overflowed = l.table.size()
	if l.remote != nil {
		s.StoreErrors = l.remote.failures.Load()
	}
	return s
}

func (l *Limiter) ready() bool { return l != nil && l.table != nil }

// Wrap returns a handler that hands to next what the limits admit, and refuses the rest. Every request counts, whatever
// its method; the body of a refused one is not read.
func (l *Limiter) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		if !l.ready() {
			policy.Refuse(w, r, DefaultName, notConfigured())
			return
		}
		sc := l.get()
		d := l.decide(sc, r, false)
		if !d.allowed {
			err := l.refusal(sc, d)
			l.put(sc)
			policy.Refuse(w, r, l.cfg.Name, err)
			return
		}
		// The scratch goes back before the request goes on, which may take long.
		values := l.fields.values(sc, -1)
		l.put(sc)
		x.Record(policy.Decision{Policy: l.cfg.Name, Reason: d.reason, Err: d.err})
		if values == nil {
			next.ServeHTTP(w, r)
			return
		}
		rw := respw.Wrap(w)
		rw.OnHeader(l.fields.onHeader(values, x))
		next.ServeHTTP(rw, r)
		if w != http.ResponseWriter(rw) {
			rw.Finish() // an answer nobody writes has the fields, too
		}
	})
}

// Take counts r and reports whether it may pass. The error is nil when it may; otherwise it is a [*policy.Error], ready
// for [policy.Refuse], that wraps [ErrExceeded] or [ErrUnavailable] and holds Retry-After and the Limiter's other header
// fields. Take is what Wrap asks, for code that answers by other means.
func (l *Limiter) Take(r *http.Request) (Result, error) { return l.ask(r, false) }

// Peek is Take without counting: it reports what Take would decide, and what remains before.
func (l *Limiter) Peek(r *http.Request) (Result, error) { return l.ask(r, true) }

func (l *Limiter) ask(r *http.Request, peek bool) (Result, error) {
	if !l.ready() {
		return Result{Reason: reasonNotConfigured}, notConfigured()
	}
	sc := l.get()
	defer l.put(sc)
	return l.result(sc, l.decide(sc, r, peek))
}

// TakeAt is [Limiter.Take] at the time now, with an explicit key and cost, for what is not a request. key is what
// Config.Key.Of appends; nil stands for requests without a value. Time does not go back: a now before the latest time
// the key's part of the table has seen counts as that. A cost of 0 only looks, a negative one counts as 1. It ignores [Config.Cost], and ctx
// where there is no Store.
func (l *Limiter) TakeAt(ctx context.Context, now time.Time, key []byte, cost int) (Result, error) {
	if !l.ready() {
		return Result{Reason: reasonNotConfigured}, notConfigured()
	}
	sc := l.get()
	defer l.put(sc)
	sc.key = append(append(sc.key[:0], l.prefix...), hasValue)
	if key == nil {
		sc.key[len(l.prefix)] = hasNoValue
	}
	sc.key = append(sc.key, key...)
	if cost < 0 {
		cost = 1
	}
	return l.result(sc, l.count(ctx, sc, now, cost, false))
}

// Preview returns the decision that Wrap would record for r, without counting it.
func (l *Limiter) Preview(r *http.Request) policy.Decision {
	res, err := l.Peek(r)
	d := policy.Decision{Policy: l.Name(), Reason: res.Reason, Detail: res.Exceeded}
	if !res.Allowed {
		d.Verdict, d.Err = policy.Refused, err
		if e := (*policy.Error)(nil); errors.As(err, &e) {
			d.Status = e.Status
		}
		return d
	}
	for i, s := range res.Limits {
		if i > 0 {
			d.Detail += ", "
		}
		d.Detail += fmt.Sprintf("%s: %d of %d left", s.Name, s.Remaining, s.capacity())
	}
	return d
}

// get returns a scratch. The room for the key would otherwise be allocated for each request, since Key.Of is a function
// the compiler cannot see into.
func (l *Limiter) get() *scratch {
	if sc, ok := l.scratch.Get().(*scratch); ok {
		return sc
	}
	return newScratch(len(l.cfg.Limits))
}

func (l *Limiter) put(sc *scratch) {
	sc.reset()
	l.scratch.Put(sc)
}

// decision is what was decided; the states are in the scratch.
type decision struct {
	allowed bool
	reason  string
	worst   int // the limit that refused, or -1
	wait    time.Duration
	err     error // of the store
}

// Behind the name of the key, so that no value stands for the lack of one.
const (
	hasNoValue byte = iota
	hasValue
)

// decide finds the key and the cost of r, and counts.
func (l *Limiter) decide(sc *scratch, r *http.Request, peek bool) decision {
	cost := 1
	if l.cfg.Cost != nil {
		if cost = l.cfg.Cost(r); cost < 0 {
			cost = 1
		}
	}
	b := append(append(sc.key[:0], l.prefix...), hasValue)
	if of := l.cfg.Key.Of; of != nil {
		var ok bool
		if b, ok = of(b, r); !ok { // it may have appended something all the same
			b = append(append(b[:0], l.prefix...), hasNoValue)
		}
	}
	sc.key = b
	return l.count(r.Context(), sc, time.Now(), cost, peek)
}

// count decides about the key in sc.key.
func (l *Limiter) count(ctx context.Context, sc *scratch, now time.Time, cost int, peek bool) decision {
	// SHA-256 and not a faster hash with a secret: it is the same in every process that shares a store, and nobody need
	// argue about collisions. It is about a quarter of what the decision costs.
	sum := sha256.Sum256(sc.key)
	k, at := digest(sum[:KeySize]), l.clock.since(now)
	// What can never be admitted is not asked for, only how the limits stand.
	asked := min(max(cost, 0), l.maxCost)
	q := Query{Scope: l.cfg.Name, Key: k, Algorithm: l.cfg.Algorithm, Limits: l.cfg.Limits, Cost: asked, Peek: peek || asked != cost || cost == 0}

	d := decision{reason: reasonWithin, worst: -1}
	if l.remote != nil {
		if d.err = l.fromStore(ctx, sc, at, q); d.err != nil {
			if d.reason = reasonUnavailable; l.cfg.OnError == FailClosed {
				d.wait = storePause
				return d
			}
		}
	}
	// The table is not touched while a store answers: it starts empty when the store fails.
	if l.remote == nil || d.err != nil {
		if _, overflow := l.table.take(k, at, asked, !q.Peek, sc.states); overflow && d.err == nil {
			d.reason = reasonOverflow
		}
	}
	return l.judge(d, sc.states, cost)
}

func (l *Limiter) fromStore(ctx context.Context, sc *scratch, at int64, q Query) error {
	states, err := l.remote.take(ctx, at, q, sc.states)
	if err == nil {
		copy(sc.states, states)
	}
	return err
}

// judge derives the decision from the states of all limits.
func (l *Limiter) judge(d decision, states []State, cost int) decision {
	// Who waits for the slowest limit finds the others ready too: time alone takes nothing from any.
	for i, s := range states {
		if s.Wait > d.wait {
			d.worst, d.wait = i, s.Wait
		}
	}
	switch {
	case cost > l.maxCost:
		d.reason, d.wait = reasonCost, 0
		d.worst = slices.IndexFunc(l.cfg.Limits, func(l Limit) bool { return cost > l.capacity() })
	case d.worst < 0:
		d.allowed = true
	case d.reason != reasonOverflow:
		d.reason = reasonExceeded
	}
	return d
}

func (l *Limiter) result(sc *scratch, d decision) (Result, error) {
	res := Result{Allowed: d.allowed, Reason: d.reason, RetryAfter: d.wait}
	if d.worst >= 0 {
		res.Exceeded = l.cfg.Limits[d.worst].Name
	}
	if d.allowed || d.worst >= 0 {
		res.Limits = make([]Status, len(sc.states))
		for i, s := range sc.states {
			res.Limits[i] = Status{Limit: l.cfg.Limits[i], State: s}
		}
	}
	if !d.allowed {
		return res, l.refusal(sc, d)
	}
	return res, nil
}

// refusal words a decision that is not to allow.
func (l *Limiter) refusal(sc *scratch, d decision) *policy.Error {
	if d.worst < 0 {
		return &policy.Error{
			Status: http.StatusServiceUnavailable, Code: d.reason, Message: "Service temporarily unavailable",
			Header: http.Header{"Retry-After": {retryAfter(d.wait)}}, Err: fmt.Errorf("%w: %w", ErrUnavailable, d.err),
		}
	}
	values := l.fields.values(sc, d.worst)
	e := &policy.Error{Status: l.cfg.Status, Code: d.reason, Message: l.cfg.Message, Detail: l.cfg.Limits[d.worst].Name, Header: make(http.Header, len(values)+1)}
	l.fields.put(e.Header, values)
	if e.Err = l.causes[d.worst]; d.reason == reasonCost {
		e.Err = fmt.Errorf("%w: %w", errCost, e.Err)
	} else if !l.cfg.HideRetryAfter {
		e.Header["Retry-After"] = []string{retryAfter(d.wait)}
	}
	return e
}

func notConfigured() *policy.Error {
	return &policy.Error{Status: http.StatusInternalServerError, Code: reasonNotConfigured, Err: errNotNew}
}
