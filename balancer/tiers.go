package balancer

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// overprovision is how much more than its share the rest of a tier, or of a zone, is trusted to carry when some of it is out:
// down to 1/1.4 = 71 % of its weight a tier keeps all requests.
const overprovision = 1.4

// group is a set of members that an algorithm chooses among.
type group struct {
	members []*Member // at least one
	share   float64   // of the requests; 0 for one that only stands in
	picker  Picker
}

// groupsOf divides members, which all have a weight, by tier and zone, in the order in which they stand in for each other. Only
// those that are not out are in a group. Each tier gets of the requests what its share of members that are not out can
// carry, the next one the rest.
func groupsOf(members []*Member, zone string) []group {
	var groups []group
	byTier := map[int][]*Member{}
	for _, m := range members {
		priority := m.place.Load().priority
		byTier[priority] = append(byTier[priority], m)
	}
	rest := 1.0
	for _, priority := range sortedKeys(byTier) {
		tier := byTier[priority]
		share := min(rest, capacity(tier))
		rest -= share
		var near, far []*Member
		for _, m := range tier {
			if zone != "" && m.place.Load().zone == zone {
				near = append(near, m)
			} else {
				far = append(far, m)
			}
		}
		local := min(capacity(near), 1)
		if capacity(far) == 0 && local > 0 {
			local = 1
		}
		for _, g := range []group{{members: available(near), share: share * local}, {members: available(far), share: share * (1 - local)}} {
			if len(g.members) > 0 {
				groups = append(groups, g)
			}
		}
	}
	if rest > 0 && rest < 1 { // all tiers together carry less than everything, and have to carry it
		for i := range groups {
			groups[i].share /= 1 - rest
		}
	}
	return groups
}

// capacity is which share of all requests members can carry.
func capacity(members []*Member) float64 {
	all, here := 0.0, 0.0
	for _, m := range members {
		w := float64(m.weight.Load())
		all += w
		if !m.out {
			here += w
		}
	}
	if all == 0 {
		return 0
	}
	return here / all * overprovision
}

func available(members []*Member) []*Member {
	var in []*Member
	for _, m := range members {
		if !m.out {
			in = append(in, m)
		}
	}
	return in
}

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[int])
	return keys
}

// tiers is a picker of several groups.
type tiers struct {
	groups []group
	bounds []uint64 // bounds[i] is where the share of groups[i] ends, of 1<<32; nil when the first gets everything
	turn   atomic.Uint64
}

func newTiers(groups []group) *tiers {
	t := &tiers{groups: groups}
	if groups[0].share < 1 {
		t.bounds = make([]uint64, len(groups))
		end := 0.0
		for i, g := range groups {
			end += g.share
			t.bounds[i] = uint64(end * (1 << 32))
		}
	}
	return t
}

// keyed is a picker that goes by a key.
type keyed interface {
	// keyOf returns a hash of the request's key, and whether it has one.
	keyOf(q Query) (uint64, bool)
}

// Pick implements [Picker].
func (t *tiers) Pick(q Query) *Member {
	first := 0
	if t.bounds != nil {
		first = t.choose(q)
	}
	for i := range t.groups {
		if m := t.groups[(first+i)%len(t.groups)].picker.Pick(q); m != nil {
			return m
		}
	}
	return nil
}

// choose returns the group for a request. Requests with one key go to one group, the others are spread evenly.
func (t *tiers) choose(q Query) int {
	var at uint64
	by, ok := t.groups[0].picker.(keyed)
	if ok {
		at, ok = by.keyOf(q)
	}
	if ok {
		at = mix(at) >> 32
	} else {
		at = t.turn.Add(1) * golden >> 32
	}
	for i, end := range t.bounds {
		if at < end {
			return i
		}
	}
	return 0 // what rounding left over
}

// resume implements resumer.
func (t *tiers) resume(old Picker) {
	before, ok := old.(*tiers)
	if !ok {
		return
	}
	t.turn.Store(before.turn.Load())
	for i := range min(len(t.groups), len(before.groups)) {
		resume(t.groups[i].picker, before.groups[i].picker)
	}
}

// resumer is a picker that goes on where another one stopped, so that a change of the targets does not begin at the first of
// them again.
type resumer interface{ resume(old Picker) }

func resume(next, old Picker) {
	if r, ok := next.(resumer); ok && old != nil {
		r.resume(old)
	}
}
