package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// Random gives each request to a target by chance, by weight. It needs no memory of what came before, so that many gateways
// before the same targets do not fall into step.
type Random struct {
	// Seed makes the same sequence of choices from the same sequence of picks, for a replay. 0 means another sequence for
	// each pool.
	Seed uint64
}

// NewPicker implements [Algorithm]. It never fails.
func (r Random) NewPicker(members []*Member) (Picker, error) {
	return &random{newSampler(members, r.Seed)}, nil
}

type random struct{ *sampler }

// Pick implements [Picker].
func (r *random) Pick(q Query) *Member { return r.one(q) }

// resume implements resumer.
func (r *random) resume(old Picker) {
	if before, ok := old.(*random); ok {
		r.follow(before.sampler)
	}
}

// source is a sequence of random numbers. It is safe for concurrent use.
type source struct {
	seed uint64
	n    atomic.Uint64
}

func (s *source) next() uint64 { return mix(s.seed + s.n.Add(1)*golden) }

// follow goes on where another one stopped.
func (s *source) follow(before *sampler) {
	s.seed = before.seed
	s.n.Store(before.n.Load())
}

// sampler draws members by weight, in a time that does not depend on their number: each has a column of one height, filled up
// to a level with its own weight, and above that with the weight of one other (Walker's alias method).
type sampler struct {
	source

	members []*Member
	other   []uint32
	level   []uint32
	height  uint64 // the sum of the weights
}

func newSampler(members []*Member, seed uint64) *sampler {
	n := len(members)
	s := &sampler{members: members, other: make([]uint32, n), level: make([]uint32, n)}
	if s.seed = seed; seed == 0 {
		s.seed = rand.Uint64() //nolint:gosec // which target is next need not be kept from anybody
	}
	left := make([]uint64, n) // in units that make a column n times the height
	var poor, rich []int
	for i, m := range members {
		w := uint64(max(m.weight.Load(), 1))
		s.height += w
		left[i] = w * uint64(n)
	}
	for i := range left {
		if left[i] < s.height {
			poor = append(poor, i)
		} else {
			rich = append(rich, i)
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		p, r := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		s.level[p], s.other[p] = uint32(left[p]), uint32(r)
		if left[r] -= s.height - left[p]; left[r] < s.height {
			rich = rich[:len(rich)-1]
			poor = append(poor, r)
		}
	}
	for _, r := range rich {
		s.level[r], s.other[r] = uint32(s.height), uint32(r) // at most MaxTargets*MaxWeight, which is below 1<<32
	}
	return s
}

// index returns the member that a random number stands for.
func (s *sampler) index(r uint64) int {
	i := int(r >> 32 * uint64(len(s.members)) >> 32)
	if r&(1<<32-1)*s.height>>32 < uint64(s.level[i]) {
		return i
	}
	return int(s.other[i])
}

// one draws a member that the request may go to, nil when there is none.
func (s *sampler) one(q Query) *Member {
	r := s.next()
	m := s.members[s.index(r)]
	if !q.Avoids(m) {
		return m
	}
	if len(q.Tried) < len(s.members) {
		for range maxTurns {
			r = s.next()
			if m := s.members[s.index(r)]; !q.Avoids(m) {
				return m
			}
		}
	}
	return anyAllowed(q, s.members, below(r, len(s.members)))
}

// another draws a member beside first, nil when that is not to be had soon.
func (s *sampler) another(q Query, first *Member) *Member {
	const draws = 4
	for range draws {
		if m := s.members[s.index(s.next())]; m != first && !q.Avoids(m) {
			return m
		}
	}
	// One that is so much heavier hides the others. Any of these will do, for what is decided is who is less busy.
	if m := s.members[below(s.next(), len(s.members))]; m != first && !q.Avoids(m) {
		return m
	}
	return nil
}
