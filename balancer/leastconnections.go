package balancer

import (
	"sync"
	"sync/atomic"
)

// LeastConnections takes the target that would have the fewest requests in flight for its weight: the least of (in flight +
// 1) / weight. Among those with nothing to do, when they are the best, the weights decide as in round robin, so that a target
// of a lower weight is not left out while there is little traffic. Whatever their number, the least of all targets is found; a
// pick takes a time that grows with its logarithm.
type LeastConnections struct{}

// NewPicker implements [Algorithm]. It never fails.
func (LeastConnections) NewPicker(members []*Member) (Picker, error) {
	size := 1
	for size < len(members) {
		size *= 2
	}
	l := &least{
		members: members, size: size, seats: make([]seat, len(members)),
		all: make([]int32, 2*size), idle: make([]int32, 2*size),
	}
	for i := range l.all {
		l.all[i], l.idle[i] = nobody, nobody
	}
	for i, m := range members {
		m.stand(standing{of: l, index: int32(i)}) // there are at most MaxTargets
		s := &l.seats[i]
		s.weight = max(m.weight.Load(), 1)
		s.load.Store(m.inFlight.Load())
		l.sum += s.weight
		l.play(int32(i))
	}
	return l, nil
}

const (
	nobody = -1
	// maxVisits bounds the search for a member that the request may go to, when slow start keeps it from many.
	maxVisits = 256
)

// least keeps the members in two tournaments, whose winners are known at any time: one of all members, by load, and one of the
// idle ones, by whose turn it is. A tournament is a tree in an array: node n has the children 2n and 2n+1, and holds the
// better one of their members; the members themselves are in the nodes from size on.
type least struct {
	members []*Member
	size    int
	sum     int64 // of the weights

	mu        sync.Mutex
	seats     []seat
	all, idle []int32
	clock     float64
}

// seat is what a tournament knows of a member.
type seat struct {
	load   atomic.Int64 // in flight, as last looked at; written under the lock
	weight int64
	turn   float64 // the clock at which it has had its share; the clock goes by 1 in as many picks as the weights' sum
}

// Pick implements [Picker].
func (l *least) Pick(q Query) *Member {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := search{least: l, q: q}
	i := s.best(l.all, 1)
	if i == nobody {
		return nil
	}
	if l.seats[i].load.Load() == 0 {
		if other := s.best(l.idle, 1); other != nobody {
			i = other
		}
	}
	m, at := l.members[i], &l.seats[i]
	l.clock = max(l.clock, at.turn)
	at.turn = l.clock + 1/float64(at.weight)
	at.load.Store(m.inFlight.Load() + 1) // the pool will count it so; until then nobody else shall take it for idle
	l.play(i)
	return m
}

// refresh looks at the load of a member again.
func (l *least) refresh(i int32) {
	m, at := l.members[i], &l.seats[i]
	if at.load.Load() == m.inFlight.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at.load.Store(m.inFlight.Load())
	l.play(i)
}

// play has both tournaments played again where member i takes part.
func (l *least) play(i int32) {
	n := l.size + int(i)
	l.all[n] = i
	if l.idle[n] = i; l.seats[i].load.Load() > 0 {
		l.idle[n] = nobody
	}
	for n /= 2; n > 0; n /= 2 {
		l.all[n] = l.better(l.all[2*n], l.all[2*n+1])
		l.idle[n] = l.sooner(l.idle[2*n], l.idle[2*n+1])
	}
}

// better returns the one of two with the lesser load for its weight.
func (l *least) better(a, b int32) int32 {
	if a == nobody || b == nobody {
		return max(a, b)
	}
	x, y := &l.seats[a], &l.seats[b]
	ofX, ofY := (x.load.Load()+1)*y.weight, (y.load.Load()+1)*x.weight
	if ofX < ofY || ofX == ofY && x.turn <= y.turn {
		return a
	}
	return b
}

// sooner returns the one of two whose turn it is.
func (l *least) sooner(a, b int32) int32 {
	if a == nobody || b == nobody {
		return max(a, b)
	}
	if l.seats[a].turn <= l.seats[b].turn {
		return a
	}
	return b
}

// search looks for the best member that a request may go to.
type search struct {
	*least

	q      Query
	visits int
}

// best returns that of the part of a tournament below node n, or nobody. Only where the winner is avoided it has to look
// further down.
func (s *search) best(tree []int32, n int) int32 {
	winner := tree[n]
	if winner == nobody || !s.avoids(winner) {
		return winner
	}
	if n >= s.size {
		return nobody
	}
	left, right := s.best(tree, 2*n), s.best(tree, 2*n+1)
	if s.isIdle(tree) {
		return s.sooner(left, right)
	}
	return s.better(left, right)
}

func (s *search) isIdle(tree []int32) bool { return &tree[0] == &s.idle[0] }

// avoids is Query.Avoids, but for slow start: a member that is new has nothing in flight, and would be the best for every
// request it may get. So it may get fewer: as many as are its due in relation to those that are warm.
func (s *search) avoids(i int32) bool {
	m := s.members[i]
	if len(s.q.Tried) > 0 && s.q.HasTried(m) {
		return true
	}
	if s.q.draw == 0 {
		return false
	}
	if s.visits++; s.visits > maxVisits {
		return false
	}
	share := m.warmth(s.q.at)
	if share >= 1 {
		return false
	}
	due := float64(s.seats[i].weight) / float64(s.sum)
	return s.q.chance(m) >= min(1, share*due/(1-share))
}
