package split

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/notify"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrNothingToRevert is returned by [Split.Revert] where there are no weights to go back to.
var ErrNothingToRevert = errors.New("split: nothing to revert")

var errNotNew = errors.New("split: the Split was not made by New")

// Why the weights are what they are, in [Status].
const (
	reasonWeights  = "weights"
	reasonSwitch   = "switch"
	reasonRevert   = "revert"
	reasonRollback = "rollback"
)

// Split is an http.Handler that hands each request to one of its arms; see the package comment.
//
// Its memory is fixed: about 10 KiB for each arm, and what is needed for requests under way. It starts no goroutine and no
// timer, owns no handler, and is safe for concurrent use: weights change between two requests. A nil Split, and one that New did not
// make, answers 503.
type Split struct {
	cfg      Config
	arms     []*arm
	index    map[string]int
	groups   bool // an override is for a group
	header   string
	salt     uint64
	zero     time.Time
	scratch  sync.Pool // of *[scratchSize]byte
	calls    sync.Pool // of *call
	canary   int       // of the rule; -1 without one
	baseline int
	turn     atomic.Uint64
	state    atomic.Pointer[state] // nil before New
	epochs   atomic.Uint32         // counts how often the rule was armed again; changed under the lock

	mu      sync.Mutex
	before  []int // what Revert goes back to; nil for nothing
	since   time.Duration
	reason  string
	changes uint64
	last    *Rollback // since the last change by anybody else
	pending notify.Queue[Rollback]
}

// scratchSize is room for nearly every key.
const scratchSize = 256

// arm is an arm and what happened to it.
type arm struct {
	name    string
	id      uint64
	handler http.Handler
	header  []string // the value of Config.Header

	requests atomic.Uint64
	inFlight atomic.Int64

	tally // guarded by the Split's lock
}

// state is what requests look at. It is not changed.
type state struct {
	weights []int
	total   uint64
	only    int // the arm that has all the weight; -1 for none
	barred  int // the arm that no override reaches; -1 for none
}

func newState(weights []int, barred int) *state {
	st := &state{weights: weights, only: -1, barred: barred}
	for i, w := range weights {
		st.total += uint64(max(w, 0))
		if w > 0 {
			st.only = i
		}
	}
	if uint64(max(st.weights[st.only], 0)) < st.total {
		st.only = -1
	}
	return st
}

// New checks c and returns a Split. The error joins all problems.
func New(c Config) (*Split, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Split{cfg: c, index: make(map[string]int, len(c.Arms)), header: c.Header, zero: time.Now(), canary: -1}
	s.salt = hash(c.Seed, c.Name)
	weights := make([]int, len(c.Arms))
	for i, a := range c.Arms {
		s.arms = append(s.arms, &arm{name: a.Name, id: hash(0, a.Name), handler: a.Handler, header: []string{a.Name}, tally: newTally(c.Rollback.Window)})
		s.index[a.Name], weights[i] = i, a.Weight
	}
	s.cfg.Arms = nil // the caller's
	for _, o := range c.Overrides {
		s.groups = s.groups || o.Group != ""
	}
	if c.Rollback.Arm != "" {
		s.canary, s.baseline = s.index[c.Rollback.Arm], s.index[c.Rollback.Against]
	}
	s.scratch.New = func() any { return new([scratchSize]byte) }
	s.calls.New = func() any { return newCall(s) }
	s.state.Store(newState(weights, -1))
	return s, nil
}

func (s *Split) ready() *state {
	if s == nil {
		return nil
	}
	return s.state.Load()
}

// Name returns [Config.Name].
func (s *Split) Name() string {
	if s.ready() == nil {
		return DefaultName
	}
	return s.cfg.Name
}

// Contract says what the keys and the overrides rely on, and what handlers of the arms say that have a Contract, such as another
// Split. A gateway checks it at routes whose handler the Split is.
func (s *Split) Contract() policy.Contract {
	var c policy.Contract
	if s.ready() == nil {
		return c
	}
	c.Requires = slices.Clone(s.cfg.Sticky.Requires)
	if s.groups && !slices.Contains(c.Requires, policy.Authenticated) {
		c.Requires = append(c.Requires, policy.Authenticated)
	}
	for _, a := range s.arms {
		h, ok := a.handler.(interface{ Contract() policy.Contract })
		if !ok {
			continue
		}
		inner := h.Contract()
		for _, f := range inner.Requires {
			if !slices.Contains(c.Requires, f) {
				c.Requires = append(c.Requires, f)
			}
		}
		c.BuffersRequest, c.BuffersResponse = c.BuffersRequest || inner.BuffersRequest, c.BuffersResponse || inner.BuffersResponse
	}
	return c
}

// Handlers returns the handlers of the arms, in their order, whatever their weights are.
func (s *Split) Handlers() []http.Handler {
	if s.ready() == nil {
		return nil
	}
	out := make([]http.Handler, len(s.arms))
	for i, a := range s.arms {
		out[i] = a.handler
	}
	return out
}

// Weights returns the weights in force, by the names of the arms.
func (s *Split) Weights() map[string]int {
	st := s.ready()
	if st == nil {
		return nil
	}
	out := make(map[string]int, len(s.arms))
	for i, a := range s.arms {
		out[a.name] = st.weights[i]
	}
	return out
}

// SetWeights sets the weights of all arms, which weights names, for requests that come from now on; those in flight end where
// they are. Like Switch and Revert it also arms a [Rule] again that has rolled back, which starts counting anew then. On
// error, which joins all problems, nothing has changed.
func (s *Split) SetWeights(weights map[string]int) error {
	if s.ready() == nil {
		return errNotNew
	}
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("split: SetWeights: "+format, args...))
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := s.index[name]; !ok {
			wrong("%q is no arm; there are %s", name, s.names())
		}
	}
	next, sum := make([]int, len(s.arms)), 0
	for i, a := range s.arms {
		w, ok := weights[a.name]
		switch {
		case !ok:
			wrong("the arm %q is left out; give a weight for each, 0 for no traffic", a.name)
		case w < 0 || w > mostWeight:
			wrong("the weight of %q is %d; use 0 to %d", a.name, w, mostWeight)
		}
		next[i] = w
		sum += max(w, 0)
	}
	if sum == 0 && len(errs) == 0 {
		wrong("all weights are 0; give one arm at least some of the traffic")
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(next, reasonWeights)
	return nil
}

// Switch gives all requests that come from now on to one arm, those apart that an override sends elsewhere. When
// [ArmStatus.InFlight] of the others has come to 0, nothing is left of them.
func (s *Split) Switch(arm string) error {
	if s.ready() == nil {
		return errNotNew
	}
	i, ok := s.index[arm]
	if !ok {
		return fmt.Errorf("split: Switch: %q is no arm; there are %s", arm, s.names())
	}
	next := make([]int, len(s.arms))
	next[i] = 100
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(next, reasonSwitch)
	return nil
}

// Revert goes back to the weights before the last SetWeights or Switch, once: a second call changes nothing, and neither does one
// after a rollback, which has gone back already. Both return [ErrNothingToRevert], as does one before any change.
func (s *Split) Revert() error {
	if s.ready() == nil {
		return errNotNew
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.before == nil {
		return ErrNothingToRevert
	}
	s.change(s.before, reasonRevert)
	s.before = nil
	return nil
}

// change puts weights into force that somebody asked for. The caller holds the lock.
func (s *Split) change(next []int, reason string) {
	st := s.state.Load()
	if !slices.Equal(next, st.weights) {
		s.before = st.weights
	}
	if s.last != nil { // what made the rule act is of the past
		s.last = nil
		s.epochs.Add(1)
		s.arms[s.canary].reset()
		s.arms[s.baseline].reset()
	}
	s.put(next, -1, reason, s.now())
}

// put puts weights into force. The caller holds the lock.
func (s *Split) put(weights []int, barred int, reason string, now time.Duration) {
	s.state.Store(newState(weights, barred))
	s.since, s.reason = now, reason
	s.changes++
}

// names lists the arms, for errors.
func (s *Split) names() string {
	names := make([]string, len(s.arms))
	for i, a := range s.arms {
		names[i] = fmt.Sprintf("%q", a.name)
	}
	return strings.Join(names, ", ")
}

// The reasons in the decision record.
const (
	reasonByHeader      = "override_header"
	reasonByCookie      = "override_cookie"
	reasonByGroup       = "override_group"
	reasonSticky        = "sticky"
	reasonWeight        = "weight"
	reasonNotConfigured = "not_configured"
)

// overridden returns the arm that an override chooses for r; "" when none does.
func (s *Split) overridden(st *state, x *policy.Exchange, r *http.Request) (int, string) {
	var groups []string
	if s.groups {
		if c := x.Consumer(); c != nil {
			groups = c.Groups
		}
	}
	for i := range s.cfg.Overrides {
		o := &s.cfg.Overrides[i]
		reason := o.matches(r, groups)
		if reason == "" {
			continue
		}
		if a := s.index[o.Arm]; a != st.barred {
			return a, reason
		}
	}
	return 0, ""
}

// keyOf returns the hash of what tells r apart, and whether there is something.
func (s *Split) keyOf(r *http.Request) (uint64, bool) {
	if s.cfg.Sticky.Of == nil && s.cfg.Cookie.Name == "" {
		return 0, false
	}
	room, _ := s.scratch.Get().(*[scratchSize]byte)
	defer s.scratch.Put(room)
	if s.cfg.Sticky.Of != nil {
		if b, ok := s.cfg.Sticky.Of(room[:0], r); ok {
			return hash(s.salt, b), true
		}
	}
	if v := s.cfg.Cookie.of(r); v != "" {
		return hash(s.salt, v), true
	}
	return 0, false
}

// byHash returns the arm of a key.
func (s *Split) byHash(st *state, h uint64) int {
	if st.only >= 0 {
		return st.only
	}
	best, least := 0, math.Inf(1)
	for i, w := range st.weights {
		if w <= 0 {
			continue
		}
		if t := wait(mix(h^s.arms[i].id)) / float64(w); t < least {
			best, least = i, t
		}
	}
	return best
}

// inTurn returns the arm of a request without a key. Multiples of the golden ratio are spread over the circle more evenly than
// anything else, whatever part of them is looked at.
func (s *Split) inTurn(st *state) int {
	if st.only >= 0 {
		return st.only
	}
	at, _ := bits.Mul64(s.turn.Add(golden), st.total)
	for i, w := range st.weights {
		u := uint64(max(w, 0))
		if at < u {
			return i
		}
		at -= u
	}
	return len(st.weights) - 1 // not reached: at was less than the total
}

// ServeHTTP hands r to an arm.
func (s *Split) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, r := policy.Ensure(r)
	st := s.ready()
	if st == nil {
		policy.Refuse(w, r, DefaultName, notConfigured())
		return
	}
	cookie := ""
	i, reason := s.overridden(st, x, r)
	if reason == "" {
		h, ok := s.keyOf(r)
		switch {
		case ok:
			reason = reasonSticky
			i = s.byHash(st, h)
		case s.cfg.Cookie.Name != "":
			reason = reasonSticky
			cookie = newValue()
			i = s.byHash(st, hash(s.salt, cookie))
		default:
			reason = reasonWeight
			i = s.inTurn(st)
		}
	}
	a := s.arms[i]
	x.Record(policy.Decision{Policy: s.cfg.Name, Reason: reason, Detail: a.name})
	s.serve(a, cookie, x, w, r)
}

// Preview returns the decision that would be recorded for r now. Where that goes in turn, or depends on the value of a cookie that
// r has not got yet, its detail has the weights. It counts nothing.
func (s *Split) Preview(r *http.Request) policy.Decision {
	st := s.ready()
	if st == nil {
		e := notConfigured()
		return policy.Decision{Policy: DefaultName, Verdict: policy.Refused, Reason: e.Code, Status: e.Status, Err: e}
	}
	d := policy.Decision{Policy: s.cfg.Name}
	i, reason := s.overridden(st, policy.ExchangeFrom(r.Context()), r)
	if reason == "" {
		h, ok := s.keyOf(r)
		if ok {
			i, reason = s.byHash(st, h), reasonSticky
		}
		if !ok {
			reason = reasonWeight
			if i = st.only; i < 0 {
				d.Reason, d.Detail = reason, s.shares(st)
				return d
			}
		}
	}
	d.Reason, d.Detail = reason, s.arms[i].name
	return d
}

// shares writes weights, such as "stable 95, canary 5".
func (s *Split) shares(st *state) string {
	var b strings.Builder
	for i, a := range s.arms {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", a.name, st.weights[i])
	}
	return b.String()
}

func notConfigured() *policy.Error {
	return &policy.Error{Status: http.StatusServiceUnavailable, Code: reasonNotConfigured, Err: errNotNew}
}
