package balancer

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

const (
	// defaultSlots is a table with a thousand slots for each of a hundred targets.
	defaultSlots = 131101
	minSlots     = 10
	maxSlots     = 1 << 22
)

// consistent is what Ring and Maglev have in common: they differ in how they fill a table of slots.
type consistent struct {
	name       string
	key        policy.Key
	cookie     *Cookie
	loadFactor float64
	seed       uint64
	slots      int
	fill       func(claimants []claimant, slots int) (owner, next []uint16)
}

func (c *consistent) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(c.name+"."+format, args...)) }
	if c.key.Of == nil && c.cookie == nil {
		bad("Key is missing; say by what requests are told apart, as with policy.ByConsumer()")
	}
	if err := c.key.Err(); err != nil {
		bad("Key: %w", err)
	}
	if c.cookie != nil {
		for _, problem := range c.cookie.problems() {
			bad("Cookie.%s", problem)
		}
	}
	if f := c.loadFactor; f != 0 && !(f >= 1 && f <= math.MaxInt32) {
		bad("LoadFactor %v: must be at least 1, or 0 for no bound; 1.25 is usual", f)
	}
	if c.slots < minSlots && c.slots != 0 || c.slots > maxSlots {
		bad("Slots %d: must be %d to %d, or 0 for the default of %d", c.slots, minSlots, maxSlots, defaultSlots)
	}
	return errors.Join(errs...)
}

// newTable returns a picker for the table of these members.
func (c *consistent) newTable(members []*Member) (Picker, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	missing, err := RoundRobin{}.NewPicker(members)
	if err != nil {
		return nil, err
	}
	t := &table{consistent: *c, members: members, missing: missing, claimants: c.claimants(members)}
	for i := range t.claimants {
		t.sum += t.claimants[i].weight
	}
	if c.loadFactor != 0 {
		members[0].home.counting.Store(true) // there is one at least
	}
	filled := members[0].home.tables.of(c, t.claimants)
	t.slots, t.next = filled.owner, filled.next
	t.scratch.New = func() any { return new([scratchSize]byte) }
	return t, nil
}

// prepare implements tabular.
func (c *consistent) prepare(members []*Member) {
	members[0].home.tables.of(c, c.claimants(members))
}

func (c *consistent) claimants(members []*Member) []claimant {
	out := make([]claimant, len(members))
	for i, m := range members {
		out[i] = claimant{id: hash(c.seed, []byte(m.key)), weight: float64(max(m.weight.Load(), 1))}
	}
	return out
}

// tables are those that a pool has made last, so that a target that comes and goes costs nothing.
type tables struct {
	mu   sync.Mutex
	last []*filled // the latest first
	most int       // of them, if it is more than keptTables
}

// keptTables is how many there are at most, unless there are more than two tiers or zones: two of each.
const keptTables = 4

// room makes room for the tables of that many tiers and zones.
func (t *tables) room(groups int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most = 2 * groups
}

// filled is a table, which nobody changes, and what it was made of.
type filled struct {
	name      string
	size      int
	claimants []claimant

	owner []uint16 // of each slot, an index into claimants
	next  []uint16 // who stands in; nil when nobody does in particular
}

// of returns the table of c for these claimants.
func (t *tables) of(c *consistent, claimants []claimant) *filled {
	size := c.slots
	if size == 0 {
		size = defaultSlots
	}
	t.mu.Lock()
	for i, f := range t.last {
		if f.name == c.name && f.size == size && slices.Equal(f.claimants, claimants) {
			copy(t.last[1:], t.last[:i])
			t.last[0] = f
			t.mu.Unlock()
			return f
		}
	}
	t.mu.Unlock()
	f := &filled{name: c.name, size: size, claimants: claimants}
	f.owner, f.next = c.fill(claimants, size)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = slices.Insert(t.last, 0, f)
	kept := min(len(t.last), max(t.most, keptTables))
	clear(t.last[kept:])
	t.last = t.last[:kept]
	return f
}

// claimant is a member as it competes for slots. Nothing else about it counts, so that all gateways with the same targets
// have the same table, in whatever order the targets were written.
type claimant struct {
	id     uint64
	weight float64
}

// scratchSize is room for nearly every key.
const scratchSize = 256

// table is a picker that goes by a key.
type table struct {
	consistent

	members   []*Member
	claimants []claimant // as many
	sum       float64    // of their weights
	slots     []uint16   // indexes into members
	next      []uint16
	missing   Picker // for requests without a key
	scratch   sync.Pool
}

// Pick implements [Picker].
func (t *table) Pick(q Query) *Member {
	h, ok := t.keyOf(q)
	if !ok {
		return t.missing.Pick(q)
	}
	if q.draw != 0 {
		q.draw = mix(h) | 1 // slow start moves key by key, each once
	}
	bound := math.Inf(1)
	if t.loadFactor != 0 {
		bound = t.loadFactor * float64(max(t.members[0].home.inFlight.Load(), 0)+1) / t.sum
	}
	s := below(h, len(t.slots))
	first := int(t.slots[s])
	if m := t.members[first]; !q.Avoids(m) && !t.full(first, bound) {
		return m
	}
	if t.next != nil {
		if i := int(t.next[s]); !q.Avoids(t.members[i]) && !t.full(i, bound) {
			return t.members[i]
		}
	}
	for range maxTurns {
		h = mix(h + golden) // a further choice of this key, for which all others make room evenly
		i := int(t.slots[below(h, len(t.slots))])
		if m := t.members[i]; !q.Avoids(m) && !t.full(i, bound) {
			return m
		}
	}
	for i := range t.members {
		if i = (first + i) % len(t.members); !q.Avoids(t.members[i]) && !t.full(i, bound) {
			return t.members[i]
		}
	}
	return anyAllowed(q, t.members, first)
}

// full reports whether a member has its share, of what is in flight for each unit of weight, already.
func (t *table) full(i int, bound float64) bool {
	const rounding = 1e-9
	return !math.IsInf(bound, 1) && float64(t.members[i].inFlight.Load()) >= math.Ceil(bound*t.claimants[i].weight*(1-rounding))
}

// keyOf implements keyed.
func (t *table) keyOf(q Query) (uint64, bool) {
	if q.Request == nil {
		return 0, false
	}
	room, _ := t.scratch.Get().(*[scratchSize]byte)
	defer t.scratch.Put(room)
	if t.key.Of != nil {
		if b, ok := t.key.Of(room[:0], q.Request); ok {
			return hash(t.seed, b), true
		}
	}
	if t.cookie != nil {
		if v, _ := canonical.Cookie(q.Request.Header["Cookie"], t.cookie.Name); v != "" {
			return hash(t.seed, append(room[:0], v...)), true
		}
	}
	return 0, false
}

// cookieFor implements cookieGiver: a client without a key gets one that leads to where it was sent.
func (t *table) cookieFor(q Query, m *Member) *http.Cookie {
	if t.cookie == nil || !slices.Contains(t.members, m) {
		return nil
	}
	if _, ok := t.keyOf(q); ok {
		return nil
	}
	var room [8]byte
	_, _ = rand.Read(room[:]) // never fails
	n := binary.BigEndian.Uint64(room[:])
	var text [16]byte
	for range 4 * len(t.slots) { // as many as members have weight for that of m, on average
		n++
		binary.BigEndian.PutUint64(room[:], n)
		hex.Encode(text[:], room[:])
		if t.members[t.slots[below(hash(t.seed, text[:]), len(t.slots))]] == m {
			return t.cookie.with(string(text[:]), q.Request)
		}
	}
	return nil // its share is less than a slot
}

// resume implements resumer.
func (t *table) resume(old Picker) {
	if before, ok := old.(*table); ok {
		resume(t.missing, before.missing)
	}
}
