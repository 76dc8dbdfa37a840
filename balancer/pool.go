package balancer

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
}

// Algorithm is a way to balance. It is a configuration value: it holds parameters and no state, and may be used for any
// number of pools.
type Algorithm interface {
	// NewPicker returns a picker for the members, which all have a weight of at least 1 and number at least one. The
	// pool calls it whenever the members or their weights change. The slice belongs to the picker. An error says what is
	// wrong with the parameters of the algorithm.
	NewPicker(members []*Member) (Picker, error)
}

// Picker chooses one of the members it was made for. It is safe for concurrent use.
type Picker interface {
	// Pick returns a member for the request that q describes, or nil when there is none. It does not return a member for
	// which q.HasTried is true.
	Pick(q Query) *Member
}

// Query is what a pick may depend on. The zero Query is a request nothing is known about.
type Query struct {
	// Request is the client's request, read-only; algorithms that hash take their key from it. It may be nil.
	Request *http.Request
	// Tried are the members that already failed to answer this request. They are not picked again.
	Tried []*Member
}

// HasTried reports whether m is in q.Tried.
func (q Query) HasTried(m *Member) bool { return slices.Contains(q.Tried, m) }

// Pool is a set of targets and a way to choose among them. All methods are safe for concurrent use, and safe on a nil
// Pool, which has no targets. A Pool must be made by [NewPool]; the zero Pool has no targets either.
type Pool struct {
	algorithm Algorithm
	state     atomic.Pointer[state]

	mu     sync.Mutex // serialises changes
	closed bool
}

// state is what one pick sees: immutable, replaced as a whole.
type state struct {
	members []*Member         // as configured
	picker  Picker            // nil when none of them takes traffic
	sockets map[string]string // of the addresses that have one
}

// NewPool checks c and returns a pool. The error joins all problems, each a [*ConfigError]. It starts no goroutine.
func NewPool(c Config) (*Pool, error) {
	p := &Pool{algorithm: c.Algorithm}
	if p.algorithm == nil {
		p.algorithm = RoundRobin{}
	}
	err := p.SetTargets(c.Targets)
	if len(c.Targets) > 0 && !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Weight != NoTraffic }) {
		err = errors.Join(err, &ConfigError{
			Field: "Targets", Problem: "all have the weight NoTraffic, so that no request could be answered; give one another weight, or take it away later with SetTargets",
		})
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

var errClosed = errors.New("balancer: pool is closed")

// SetTargets replaces the targets while traffic flows: picks that follow choose among the new ones, requests in flight
// end where they are. All of them may have the weight NoTraffic, for a pause. A target that stays, recognised by its URL, keeps its counters, also when its weight changes.
// On error, which joins all problems, nothing has changed.
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
	known := map[string]*Member{}
	if old := p.state.Load(); old != nil {
		for _, m := range old.members {
			known[m.key] = m
		}
	}
	next := &state{members: make([]*Member, 0, len(list)), sockets: map[string]string{}}
	before := make([]int64, 0, len(list))
	var active []*Member
	same := p.state.Load() != nil
	for _, t := range list {
		m := known[t.key]
		if m == nil {
			m = newMember(t)
		}
		before = append(before, m.weight.Swap(int64(t.weight)))
		same = same && before[len(before)-1] == int64(t.weight)
		next.members = append(next.members, m)
		if t.target.Socket != "" {
			next.sockets[address(t.url)] = t.target.Socket
		}
		if t.weight > 0 {
			active = append(active, m)
		}
	}
	if old := p.state.Load(); same && slices.Equal(old.members, next.members) && maps.Equal(old.sockets, next.sockets) {
		return nil // a discovery that found nothing new does not begin the revolution again
	}
	if len(active) > 0 {
		if next.picker, err = p.algorithm.NewPicker(active); err == nil && next.picker == nil {
			err = errors.New("NewPicker returned no picker")
		}
		if err != nil {
			for i, m := range next.members {
				m.weight.Store(before[i])
			}
			return &ConfigError{Field: "Algorithm", Problem: err.Error()}
		}
	}
	p.state.Store(next)
	return nil
}

// Pick chooses the target for a request and counts the request as in flight there. For every Pick that returned a member
// [Pool.Done] must be called exactly once. The error is [ErrNoTarget]. With the algorithms of this package Pick takes no
// lock and does not allocate.
func (p *Pool) Pick(q Query) (*Member, error) {
	if p == nil {
		return nil, ErrNoTarget
	}
	s := p.state.Load()
	if s == nil || s.picker == nil {
		return nil, ErrNoTarget
	}
	m := s.picker.Pick(q)
	if m == nil {
		return nil, ErrNoTarget
	}
	m.begin()
	return m, nil
}

// Done reports how the request for which m was picked has ended. m may have left the pool by then.
func (p *Pool) Done(m *Member, o policy.Outcome) {
	if m != nil {
		m.end(o)
	}
}

// Status returns a snapshot of all targets, in the order they were configured.
func (p *Pool) Status() []MemberStatus {
	if p == nil {
		return nil
	}
	s := p.state.Load()
	if s == nil {
		return nil
	}
	out := make([]MemberStatus, len(s.members))
	for i, m := range s.members {
		out[i] = m.status()
	}
	return out
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

// Close ends the pool: picks that follow find no target. Requests in flight are not touched. It may be called more than
// once and returns nil.
func (p *Pool) Close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if s := p.state.Load(); s != nil {
		p.state.Store(&state{members: s.members, sockets: s.sockets})
	}
	return nil
}
