package balancer

import "sync/atomic"

// RoundRobin gives each target its share of the requests in turn, by weight: in one revolution, which is the sum of the
// weights divided by their greatest common divisor, each target gets exactly its share, and those of a heavy target are
// spread over the revolution. What a target that was already tried would get goes to the others by their weights. A pick
// takes a time that does not depend on the number of targets.
type RoundRobin struct{}

const (
	// maxWheel bounds the slots of a wheel, maxWheelWork the steps it takes to build one (under 5 ms).
	maxWheel     = 1 << 16
	maxWheelWork = 1 << 21
	// maxTurns bounds how far a pick walks round for a target not yet tried.
	maxTurns = 64
)

// NewPicker implements [Algorithm]. It never fails.
func (RoundRobin) NewPicker(members []*Member) (Picker, error) {
	weights := make([]int64, len(members))
	var divisor, sum int64
	for i, m := range members {
		weights[i] = max(m.weight.Load(), 1)
		divisor = gcd(weights[i], divisor)
	}
	for i := range weights {
		weights[i] /= divisor
		sum += weights[i]
	}
	if sum <= maxWheel && sum*int64(len(members)) <= maxWheelWork {
		return &wheel{members: members, slots: smoothWheel(weights, sum)}, nil
	}
	return newStride(members, weights, uint64(sum)), nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// wheel is one revolution written out. next is the only thing that changes.
type wheel struct {
	members []*Member
	slots   []uint16 // indexes into members
	next    atomic.Uint64
}

// smoothWheel spreads the shares as nginx does: in every slot each target gains its weight, and the one that has the
// most takes the slot and pays the sum of all weights. With equal weights that is the order written.
func smoothWheel(weights []int64, sum int64) []uint16 {
	slots := make([]uint16, sum)
	credit := make([]int64, len(weights))
	for s := range slots {
		best := 0
		for i, w := range weights {
			if credit[i] += w; credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		slots[s] = uint16(best) // at most maxWheel members have a wheel
	}
	return slots
}

// Pick implements [Picker].
func (w *wheel) Pick(q Query) *Member {
	m := w.members[w.slot(w.next.Add(1)-1)]
	if !q.Avoids(m) {
		return m
	}
	return nextAllowed(q, w.members, &w.next, w.slot)
}

func (w *wheel) slot(n uint64) int { return int(w.slots[n%uint64(len(w.slots))]) }

func (w *wheel) revolution() revolution {
	return revolution{members: w.members, size: uint64(len(w.slots)), slot: w.slot, next: w.next.Load()}
}

// resume implements resumer.
func (w *wheel) resume(old Picker) { w.next.Store(w.revolution().after(old)) }

// revolution is a round robin, and how far it has come.
type revolution struct {
	members []*Member
	size    uint64
	slot    func(turn uint64) int // of members
	next    uint64
}

// after returns the turn with which r goes on where an old picker stopped: at about the same place of the revolution, with the
// member whose turn it was, or the next one that is still there.
func (r revolution) after(old Picker) uint64 {
	o, ok := old.(interface{ revolution() revolution })
	if !ok {
		return 0
	}
	before := o.revolution()
	at := make(map[*Member]int, len(r.members))
	for i, m := range r.members {
		at[m] = i
	}
	who := -1
	for range maxTurns {
		if i, stays := at[before.members[before.slot(before.next)]]; stays {
			who = i
			break
		}
		before.next++
	}
	start := before.next % before.size * r.size / before.size // no overflow: sizes are at most 65535*65535
	for i := range min(r.size, uint64(4*len(r.members)+maxTurns)) {
		if r.slot(start+i) == who {
			return start + i
		}
	}
	return start
}

// nextAllowed goes on round for a member that the request may go to. The turns are used up, so that what would have fallen to
// those avoided is shared by all others as their weights say, and not by the neighbours. When a few heavy ones are avoided
// that might take long, so after some turns it takes any other.
func nextAllowed(q Query, members []*Member, next *atomic.Uint64, slot func(turn uint64) int) *Member {
	if len(q.Tried) < len(members) {
		for range maxTurns {
			if m := members[slot(next.Add(1)-1)]; !q.Avoids(m) {
				return m
			}
		}
	}
	return anyAllowed(q, members, slot(next.Load()))
}

// anyAllowed returns the first member from some place on that the request may go to, nil when there is none.
func anyAllowed(q Query, members []*Member, first int) *Member {
	for i := range members {
		if m := members[(first+i)%len(members)]; !q.Avoids(m) {
			return m
		}
	}
	return nil
}

// stride is a revolution too long to be written out. Each target owns as many consecutive places as its weight, and the
// revolution visits all places, each once, in steps near the golden section of their number, which spreads the visits
// to any stretch of places about evenly.
type stride struct {
	members []*Member
	ends    []uint64 // ends[i] is the first place behind those of members[i]
	guide   []uint32 // guide[b] is the member that owns the first place of bucket b
	sum     uint64
	step    uint64 // has no divisor in common with sum
	next    atomic.Uint64
}

func newStride(members []*Member, weights []int64, sum uint64) *stride {
	s := &stride{members: members, sum: sum, step: 1, ends: make([]uint64, len(weights)), guide: make([]uint32, len(weights))}
	var end uint64
	for i, w := range weights {
		end += uint64(w)
		s.ends[i] = end
	}
	member := uint32(0)
	for b := range s.guide {
		first := uint64(b) * sum / uint64(len(s.guide))
		for s.ends[member] <= first {
			member++
		}
		s.guide[b] = member
	}
	if sum > uint64(len(members)) { // else all weights are equal, and their turn comes in the order written
		s.step = evenStep(sum)
	}
	return s
}

// evenStep returns a step near the golden section of sum that visits all places. How evenly the visits spread shows in
// the continued fraction of step/sum: the smaller its terms, the better, so the best of some candidates is taken.
func evenStep(sum uint64) uint64 {
	const (
		golden     = 0.6180339887498949
		candidates = 64
	)
	first := max(uint64(float64(sum)*golden), 1)
	step, best := uint64(1), sum
	for c := first; c < first+candidates; c++ {
		worst := uint64(0)
		a, b := sum, c%sum
		for b != 0 {
			worst = max(worst, a/b)
			a, b = b, a%b
		}
		if a == 1 && worst < best {
			step, best = c%sum, worst
		}
	}
	return step
}

func (s *stride) slot(n uint64) int {
	place := n % s.sum * s.step % s.sum // no overflow: 65535 targets of 65535 are below 1<<32
	i := int(s.guide[place*uint64(len(s.guide))/s.sum])
	for s.ends[i] <= place {
		i++
	}
	return i
}

// Pick implements [Picker].
func (s *stride) Pick(q Query) *Member {
	m := s.members[s.slot(s.next.Add(1)-1)]
	if !q.Avoids(m) {
		return m
	}
	return nextAllowed(q, s.members, &s.next, s.slot)
}

func (s *stride) revolution() revolution {
	return revolution{members: s.members, size: s.sum, slot: s.slot, next: s.next.Load()}
}

// resume implements resumer.
func (s *stride) resume(old Picker) { s.next.Store(s.revolution().after(old)) }
