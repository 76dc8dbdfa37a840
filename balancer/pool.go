package balancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
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
	algorithm Algorithm
	zone      string
	home      *home
	state     atomic.Pointer[state]

	passive    *passive
	checks     *checks // nil where there are none
	maxEjected float64
	panicShare float64
	minHealthy float64
	onChange   func(HealthChange)
	pending    notify.Queue[HealthChange]

	mu       sync.Mutex // serialises changes
	closed   bool
	renewal  renewal
	draining []*Member // removed, and with requests in flight when last looked at
	overall  PoolHealth
	changes  uint64
}

// state is what one pick sees: immutable, replaced as a whole.
type state struct {
	members []*Member         // as configured
	picker  Picker            // nil when none of them takes traffic
	gives   cookieGiver       // picker, if it has cookies to give; else nil
	sockets map[string]string // of the addresses that have one

	warm  atomic.Int64 // when the last slow start ends, on the clock of home; 0 for none
	turns atomic.Uint64
}

// NewPool checks c and returns a pool. The error joins all problems, each a [*ConfigError]. It starts no goroutine, unless
// Health.Active asks for checks.
func NewPool(c Config) (*Pool, error) {
	health, unhealthy := c.Health.withDefaults()
	p := &Pool{
		algorithm: c.Algorithm, zone: c.Zone, home: &home{epoch: time.Now(), slowStart: c.SlowStart},
		maxEjected: health.MaxEjected, panicShare: health.Panic, minHealthy: health.MinHealthy, onChange: health.OnChange,
	}
	if unhealthy == nil {
		p.passive = newPassive(health.Passive)
	}
	if p.algorithm == nil {
		p.algorithm = RoundRobin{}
	}
	var problem error
	if a, ok := p.algorithm.(checker); ok {
		if problem = a.check(); problem != nil {
			problem, p.algorithm = algorithmProblem(problem), RoundRobin{} // to see what else is wrong
		}
	}
	err := errors.Join(p.SetTargets(c.Targets), problem)
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
		p.mu.Lock()
		defer p.mu.Unlock()
		p.checks = newChecks(health.Active)
		p.checkAll(p.state.Load().members, nil)
	}
	return p, nil
}

var errClosed = errors.New("balancer: pool is closed")

// SetTargets replaces the targets while traffic flows: picks that follow choose among the new ones, requests in flight
// end where they are. All of them may have the weight NoTraffic, for a pause. A target that stays, recognised by its URL,
// keeps its counters and what was learnt about it, also when its weight, priority or zone changes. One that was removed gets
// no request any more; Status lists it as draining until those in flight have ended, and when it comes back before that, it
// is the same. On error, which joins all problems, nothing has changed.
func (p *Pool) SetTargets(targets []Target) error {
	list, err := parseTargets(targets)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.algorithm == nil {
		return errClosed
	}
	now := p.home.since(time.Now())
	old := p.state.Load()
	if old == nil {
		old = &state{}
	}
	known := map[string]*Member{}
	for _, m := range slices.Concat(p.draining, old.members) {
		known[m.key] = m
	}
	next := &state{members: make([]*Member, 0, len(list)), sockets: map[string]string{}}
	var before []settings
	same := len(old.members) > 0
	for _, t := range list {
		m := known[t.key]
		if m == nil {
			m = p.newMember(t)
		}
		was := m.set(settings{weight: int64(t.weight), place: place{zone: t.target.Zone, priority: t.target.Priority}})
		before = append(before, was)
		same = same && was == m.settings()
		next.members = append(next.members, m)
		if t.target.Socket != "" {
			next.sockets[address(t.url)] = t.target.Socket
		}
	}
	if same && slices.Equal(old.members, next.members) && maps.Equal(old.sockets, next.sockets) {
		return nil // a discovery that found nothing new does not begin the revolution again
	}
	var fresh []*Member
	for i, m := range next.members {
		if was := before[i]; m.weight.Load() > 0 && (was.weight == 0 || m.leaving.Load()) {
			fresh = append(fresh, m)
		}
	}
	if err := p.install(next, fresh, now); err != nil {
		for i, m := range next.members {
			m.set(before[i])
		}
		return err
	}
	return nil
}

// install makes a picker for the members of next, and lets it take the place of the state before. Those in fresh, and those that
// are not out any more, begin a slow start, unless there are no others. p.mu is held.
func (p *Pool) install(next *state, fresh []*Member, now time.Duration) error {
	out, overall := p.assess(next.members)
	fresh = slices.Clone(fresh)
	var active []*Member
	for i, m := range next.members {
		m.forget()
		m.out, out[i] = out[i], m.out
		if m.weight.Load() > 0 {
			active = append(active, m)
			if out[i] && !m.out && m.state() == Healthy && !slices.Contains(fresh, m) {
				fresh = append(fresh, m)
			}
		}
	}
	fresh = available(fresh)
	var picker Picker
	if !overall.Refusing {
		var err error
		if picker, err = newPicker(p.algorithm, active, p.zone); err != nil {
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
	}
	p.state.Store(next)
	stays := make(map[*Member]bool, len(next.members))
	for _, m := range next.members {
		stays[m] = true
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
	for {
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
			return nil, ErrNoTarget
		}
		if m.begin(); !m.leaving.Load() {
			return m, nil
		}
		// It was removed this very moment. Who waits for it to drain may have seen nothing in flight.
		m.undo()
		if p.state.Load() == s {
			return nil, ErrNoTarget // a picker that keeps members it was not made for
		}
	}
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
	if m != nil {
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

// drain returns the removed members that still have requests in flight.
func (p *Pool) drain() []*Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = slices.DeleteFunc(p.draining, func(m *Member) bool { return m.inFlight.Load() == 0 })
	return slices.Clone(p.draining)
}

// Drained returns when no target that was removed by [Pool.SetTargets] before has a request in flight, so that it can be
// stopped; or when ctx ends, with its error.
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
		if len(p.drain()) == 0 { // looked at behind taking wait, which is closed from then on
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Socket returns the path of the Unix socket at which the target with this address, a host and a port, is found; "" when
// that is the address itself, or there is no such target. It is for who dials.
func (p *Pool) Socket(address string) string {
	if p == nil {
		return ""
	}
	s := p.state.Load()
	if s == nil || len(s.sockets) == 0 {
		return ""
	}
	return s.sockets[strings.ToLower(address)]
}

// Close ends the pool: picks that follow find no target. Requests in flight are not touched. Checks are broken off, and it
// returns when they have ended. It may be called more than once and returns nil.
func (p *Pool) Close() error {
	if p == nil {
		return nil
	}
	p.close()
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
	p.state.Store(&state{members: s.members, sockets: s.sockets})
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
