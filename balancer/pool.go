package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/notify"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrNoTarget is returned by Pick when no target is left that may get the request.
var ErrNoTarget = errors.New("balancer: no target takes traffic")

// Config configures a [Pool].
type Config struct {
	// Targets are the servers, at least one, and one at least that takes traffic. They are copied.
	Targets []Target
	// Algorithm chooses among them. Nil means RoundRobin{}.
	Algorithm Algorithm
	// Zone is where the pool itself is. Of the targets of one priority those with the same Zone are preferred: they get all
	// requests, unless more than 29 % of their weight is out. The zones should be sized alike, for one target with the zone
	// of many gateways gets the requests of all of them. Empty means no preference.
	Zone string
	// SlowStart is how long a target that is new, or that takes traffic again, gets less than its weight: a tenth of it at first,
	// then more, in proportion to the time passed. The targets a pool begins with are not new, and when all are new there is
	// nothing to hold back for. A cookie that names the target, or having no other left, goes before. 0 means no slow start.
	SlowStart time.Duration
	// Health says how the pool finds out which targets can take requests. The zero Health goes by what becomes of requests.
	Health Health
	// Discovery finds targets. With a Source Targets may be empty, and are in force until the source has said something.
	Discovery Discovery
}

// Algorithm is a way to balance. It is a configuration value: it holds parameters and no state, and may be used for any
// number of pools.
type Algorithm interface {
	// NewPicker returns a picker for the members, which all have a weight of at least 1 and number at least one. The
	// pool calls it whenever the members or their weights change, for each tier and zone by itself; an algorithm that is
	// made of others calls theirs from within its own. The slice belongs to the picker. An error says what is wrong with
	// the parameters of the algorithm.
	NewPicker(members []*Member) (Picker, error)
}

// Picker chooses one of the members it was made for. It is safe for concurrent use.
type Picker interface {
	// Pick returns a member for the request that q describes, or nil when there is none. It does not return a member for
	// which q.Avoids is true.
	Pick(q Query) *Member
}

// Pool is a set of targets and a way to choose among them. All methods are safe for concurrent use, and safe on a nil
// Pool, which has no targets. A Pool must be made by [NewPool]; the zero Pool has no targets either.
type Pool struct {
	zone  string
	home  *home
	state atomic.Pointer[state]

	discovery  *discovering // nil where there is none
	passive    *passive
	checks     *checks // nil where there are none
	maxEjected float64
	panicShare float64
	minHealthy float64
	onChange   func(HealthChange)
	pending    notify.Queue[HealthChange]

	mu        sync.Mutex // serialises changes
	closed    bool
	algorithm Algorithm // nil in a zero Pool
	renewal   renewal
	draining  []*Member // removed, and with requests in flight when last looked at
	overall   PoolHealth
	changes   uint64
}

// state is what one pick sees: immutable, replaced as a whole.
type state struct {
	members []*Member        // as configured
	picker  Picker           // nil when none of them takes traffic
	left    []*Member        // that have a weight, and were out when picker was made without them
	gives   cookieGiver      // picker, if it has cookies to give; else nil
	reach   map[string]reach // of the addresses that are not all there is to know

	warm  atomic.Int64 // when the last slow start ends, on the clock of home; 0 for none
	turns atomic.Uint64
}

// NewPool checks c and returns a pool. The error joins all problems, each a [*ConfigError]. It starts no goroutine, unless
// Health.Active asks for checks, or Discovery has a Source, for which it may wait.
func NewPool(c Config) (*Pool, error) {
	health, unhealthy := c.Health.withDefaults()
	p := &Pool{
		zone: c.Zone, home: &home{epoch: time.Now(), slowStart: c.SlowStart},
		maxEjected: health.MaxEjected, panicShare: health.Panic, minHealthy: health.MinHealthy, onChange: health.OnChange,
	}
	if unhealthy == nil {
		p.passive = newPassive(health.Passive)
	}
	var problem error
	if p.algorithm, problem = checkAlgorithm(c.Algorithm); problem != nil {
		p.algorithm = RoundRobin{} // to see what else is wrong
	}
	err := errors.Join(c.Discovery.check(), problem)
	if c.Discovery.Source == nil || len(c.Targets) > 0 {
		err = errors.Join(p.SetTargets(c.Targets), err)
	}
	if len(c.Targets) > 0 && !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Weight != NoTraffic }) {
		err = errors.Join(err, &ConfigError{
			Field: "Targets", Problem: "all have the weight NoTraffic, so that no request could be answered; give one another weight, or take it away later with SetTargets",
		})
	}
	if c.SlowStart < 0 {
		err = errors.Join(err, &ConfigError{Field: fmt.Sprintf("SlowStart %v", c.SlowStart), Problem: "is negative; 0 means none"})
	}
	if err := errors.Join(err, unhealthy); err != nil {
		return nil, err
	}
	if health.Active.Checker != nil {
		p.begin(newChecks(health.Active))
	}
	if c.Discovery.Source != nil {
		if err := p.discover(c.Discovery, len(c.Targets) == 0); err != nil {
			_ = p.Close()
			return nil, err
		}
	}
	return p, nil
}

// isNil reports whether v is a nil pointer, map or function behind an interface.
func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func:
		return r.IsNil()
	}
	return false
}

var errClosed = errors.New("balancer: pool is closed")

// install makes a picker for the members of next, and lets it take the place of the state before. Those in fresh, and those that
// are not out any more, begin a slow start, unless there are no others. p.mu is held.
func (p *Pool) install(next *state, fresh []*Member, now time.Duration) error {
	out, overall := p.assess(next.members)
	return p.installAs(next, fresh, now, out, overall)
}

// installAs is install where it was found out already who is out, and what that means.
func (p *Pool) installAs(next *state, fresh []*Member, now time.Duration, out []bool, overall PoolHealth) error {
	out = slices.Clone(out)
	fresh = slices.Clone(fresh)
	var active []*Member
	for i, m := range next.members {
		m.forget()
		m.out, out[i] = out[i], m.out
		if m.weight.Load() > 0 {
			active = append(active, m)
			if m.out {
				next.left = append(next.left, m)
			}
			if out[i] && !m.out && m.state() == Healthy && !slices.Contains(fresh, m) {
				fresh = append(fresh, m)
			}
		}
	}
	fresh = available(fresh)
	var picker Picker
	if !overall.Refusing {
		began := time.Now()
		var err error
		picker, err = newPicker(p.algorithm, active, p.zone)
		p.renewal.lasted(time.Since(began))
		if err != nil {
			for i, m := range next.members {
				m.out = out[i]
			}
			return err
		}
	}
	p.overall, p.renewal.due = overall, false
	next.picker = picker
	next.gives, _ = picker.(cookieGiver)
	old := p.state.Load()
	if old != nil {
		resume(next.picker, old.picker)
		next.turns.Store(old.turns.Load())
	}
	p.warmUp(next, fresh, len(fresh) < len(available(active)), now)
	for _, m := range next.members {
		m.leaving.Store(false)
		m.barred.Store(m.out)
		if !m.takenOut {
			m.ousted.Store(false)
		}
	}
	p.state.Store(next)
	stays := make(map[*Member]bool, len(next.members))
	for _, m := range next.members {
		stays[m] = true
		m.ousted.Store(m.takenOut) // before it is looked at, as below
		m.settle()
	}
	var removed []*Member
	if old != nil {
		removed = old.members
	}
	draining := p.draining
	p.draining = nil
	removed = slices.DeleteFunc(slices.Concat(draining, removed), func(m *Member) bool { return stays[m] })
	for _, m := range removed {
		m.leaving.Store(true) // before it is looked at: see Pick
		m.weight.Store(0)
		m.takenOut = false
		m.standings.Store(nil)
		if m.inFlight.Load() > 0 {
			p.draining = append(p.draining, m)
		}
	}
	p.checkAll(next.members, removed)
	return nil
}

// warmUp begins the slow starts, and notes when the last of them ends.
func (p *Pool) warmUp(next *state, fresh []*Member, others bool, now time.Duration) {
	if p.home.slowStart <= 0 {
		return
	}
	for _, m := range fresh {
		if m.warming.Store(0); others {
			m.warming.Store(int64(now))
		}
	}
	end := time.Duration(0)
	for _, m := range next.members {
		if began := time.Duration(m.warming.Load()); began > 0 {
			end = max(end, began+p.home.slowStart)
		}
	}
	if end > now {
		next.warm.Store(int64(end))
	}
}

// newPicker makes the picker for the members that take traffic; nil when there are none.
func newPicker(a Algorithm, members []*Member, zone string) (Picker, error) {
	var front *Sticky
	if s, ok := a.(interface{ sticky() Sticky }); ok { // its cookie leads to any group
		outer := s.sticky()
		front = &outer
		a = outer.inner()
	}
	groups := groupsOf(members, zone)
	if len(groups) > 0 {
		members[0].home.tables.room(len(groups))
	}
	for i := range groups {
		picker, err := a.NewPicker(slices.Clone(groups[i].members))
		if err == nil && picker == nil {
			err = errors.New("NewPicker returned no picker")
		}
		if err != nil {
			return nil, algorithmProblem(err)
		}
		groups[i].picker = picker
	}
	var inner Picker
	switch {
	case len(groups) == 0:
		return nil, nil
	case len(groups) == 1:
		inner = groups[0].picker
	default:
		inner = newTiers(groups)
	}
	if front != nil {
		picker, err := front.around(inner, available(members))
		if err != nil {
			return nil, algorithmProblem(err)
		}
		return picker, nil
	}
	return inner, nil
}

// checker is an algorithm whose parameters can be wrong by themselves.
type checker interface{ check() error }

// algorithmProblem makes a ConfigError of each problem of an algorithm.
func algorithmProblem(err error) error { return renamed("Algorithm", err) }

// renamed makes a ConfigError of each problem with the value of a field.
func renamed(field string, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		errs := slices.Clone(joined.Unwrap())
		for i, e := range errs {
			errs[i] = renamed(field, e)
		}
		return errors.Join(errs...)
	}
	return &ConfigError{Field: field, Problem: err.Error()}
}

// Pick chooses the target for a request and counts the request as in flight there. For every Pick that returned a member
// [Pool.Done] must be called exactly once. The error is [ErrNoTarget]. With the algorithms of this package Pick does not
// allocate, and takes no lock but for LeastConnections, which holds one for some nanoseconds.
func (p *Pool) Pick(q Query) (*Member, error) {
	if p == nil {
		return nil, ErrNoTarget
	}
	for again := len(q.Tried) == 0; ; {
		s := p.state.Load()
		if s == nil || s.picker == nil {
			return nil, ErrNoTarget
		}
		if s.warm.Load() != 0 {
			s.hold(&q, p.home)
		}
		m := s.picker.Pick(q)
		if m == nil && q.draw != 0 { // rather to one that is warming up than nowhere
			q.draw = 0
			m = s.picker.Pick(q)
		}
		if m == nil {
			m = s.spare(q)
		}
		if m == nil {
			if p.state.Load() != s || again { // one may have come back when another went, while they were looked at
				again = false
				continue
			}
			return nil, ErrNoTarget
		}
		if m.begin(); !m.leaving.Load() && !m.ousted.Load() {
			return m, nil
		}
		// It was removed this very moment. Who waits for it to drain may have seen nothing in flight.
		m.undo()
		if p.state.Load() == s {
			return nil, ErrNoTarget // a picker that keeps members it was not made for
		}
	}
}

// spare returns a member that is back, and of which the picker does not know yet: nil when there is none.
func (s *state) spare(q Query) *Member {
	var first *Member
	turn := 0
	if len(s.left) > 1 {
		turn = int(s.turns.Add(1) % uint64(len(s.left)))
	}
	for i := range s.left {
		m := s.left[(turn+i)%len(s.left)]
		if m.weight.Load() > 0 && !q.Avoids(m) && (first == nil || m.placed().priority < first.placed().priority) {
			first = m
		}
	}
	return first
}

// hold draws by what slow start decides about a request.
func (s *state) hold(q *Query, h *home) {
	q.Now = q.now()
	at := h.since(q.Now)
	if end := s.warm.Load(); end != 0 && at >= time.Duration(end) {
		s.warm.CompareAndSwap(end, 0)
		return
	}
	q.at = at
	q.draw = mix(s.turns.Add(1)) | 1
}

// Cookie returns the cookie that the client must get with its answer from m, so that what it asks next goes there too; nil
// when there is none to give. q is the query m was picked for.
func (p *Pool) Cookie(q Query, m *Member) *http.Cookie {
	if p == nil || m == nil {
		return nil
	}
	if s := p.state.Load(); s != nil && s.gives != nil {
		return s.gives.cookieFor(q, m)
	}
	return nil
}

// Done reports how the request for which m was picked has ended. m may have left the pool by then.
func (p *Pool) Done(m *Member, o policy.Outcome) {
	if m != nil && m.home != nil {
		m.end(o)
		p.judge(m, &o)
	}
}

// Status returns a snapshot of all targets, in the order they were configured. Behind them are those that were removed and
// still work on requests.
func (p *Pool) Status() []MemberStatus {
	if p == nil {
		return nil
	}
	s := p.state.Load()
	if s == nil {
		return nil
	}
	members := slices.Concat(s.members, p.drain())
	out := make([]MemberStatus, len(members))
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.home.since(time.Now())
	for i, m := range members {
		out[i] = m.status(at)
	}
	return out
}

// unfinished reports whether a member that was removed or taken out has requests in flight.
func (p *Pool) unfinished() bool {
	if len(p.drain()) > 0 {
		return true
	}
	s := p.state.Load()
	return s != nil && slices.ContainsFunc(s.members, func(m *Member) bool { return m.ousted.Load() && m.inFlight.Load() > 0 })
}

// drain returns the removed members that still have requests in flight.
func (p *Pool) drain() []*Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = slices.DeleteFunc(p.draining, func(m *Member) bool { return m.inFlight.Load() == 0 })
	return slices.Clone(p.draining)
}

// Drained returns when no target that was removed by [Pool.SetTargets] or taken out by [Pool.TakeOut] before has a request in
// flight, so that it can be stopped; or when ctx ends, with its error.
func (p *Pool) Drained(ctx context.Context) error {
	if p == nil || p.home == nil {
		return nil
	}
	for {
		p.home.mu.Lock()
		if p.home.empty == nil {
			p.home.empty = make(chan struct{})
		}
		wait := p.home.empty
		p.home.mu.Unlock()
		if !p.unfinished() { // looked at behind taking wait, which is closed from then on
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the pool: picks that follow find no target. Requests in flight are not touched. Checks are broken off, and it
// returns when they have ended. It may be called more than once and returns nil.
func (p *Pool) Close() error {
	if p == nil {
		return nil
	}
	p.close()
	p.discovery.end()
	if p.checks != nil {
		p.checks.wg.Wait()
	}
	return nil
}

func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	s := p.state.Load()
	if s == nil {
		return
	}
	p.state.Store(&state{members: s.members, reach: s.reach})
	p.overall.Refusing, p.overall.Panic = true, false
	for _, m := range slices.Concat(s.members, p.draining) {
		p.uncheck(m)
		if m.record.timer != nil {
			m.record.timer.Stop()
		}
	}
	if p.renewal.timer != nil {
		p.renewal.timer.Stop()
	}
	if p.checks != nil {
		p.checks.cancel()
	}
}
