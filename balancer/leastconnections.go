package balancer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LeastConnections takes the target that would have the fewest requests in flight for its weight: the least of (in flight +
// 1) / weight. Among those with nothing to do, when they are the best, the weights decide as in round robin, so that a target
// of a lower weight is not left out while there is little traffic. Whatever their number, the least of all targets is found; a
// pick takes a time that grows with its logarithm.
type LeastConnections struct{}

// NewPicker implements [Algorithm]. It never fails.
func (LeastConnections) NewPicker(members []*Member) (Picker, error) {
	l := &least{members: members, seats: make([]seat, len(members)), all: newTournament(len(members))}
	if slices.ContainsFunc(members, func(m *Member) bool { return m.weight.Load() != members[0].weight.Load() }) {
		l.idle = newTournament(len(members))
	}
	for i, m := range members {
		m.stand(standing{of: l, index: int32(i)}) // there are at most MaxTargets
		s := &l.seats[i]
		s.weight = float64(max(m.weight.Load(), 1))
		s.load.Store(m.inFlight.Load())
		l.play(int32(i))
	}
	return l, nil
}

// least keeps the members in two tournaments: all of them, and the idle ones, unless all weights are equal. Then the best of
// all is also the one of the idle ones whose turn it is, and idle is nil.
type least struct {
	members []*Member

	mu        sync.Mutex
	seats     []seat
	all, idle tournament
	clock     float64
	warmSum   float64 // of the weights, as far as slow starts have come at warmAt
	warmAt    time.Duration
}

// seat is what is known of a member.
type seat struct {
	load   atomic.Int64 // in flight, as last looked at; written under the lock
	weight float64
	turn   float64 // the clock at which it has had its share; the clock goes by 1 in as many picks as the weights' sum
}

// Pick implements [Picker].
func (l *least) Pick(q Query) *Member {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := search{least: l, q: q}
	i := s.best(l.all, 1).who
	if i == nobody {
		return nil
	}
	at := &l.seats[i]
	if l.idle != nil && at.load.Load() == 0 {
		if other := s.best(l.idle, 1).who; other != nobody {
			i, at = other, &l.seats[other]
		}
	}
	m := l.members[i]
	l.clock = max(l.clock, at.turn)
	at.turn = l.clock + 1/at.weight
	at.load.Store(m.inFlight.Load() + 1) // the pool will count it so; until then nobody else shall take it for idle
	l.play(i)
	return m
}

// resume implements resumer. Who was there before waits as long for its turn as it had to.
func (l *least) resume(old Picker) {
	before, ok := old.(*least)
	if !ok {
		return
	}
	turns := make(map[*Member]float64, len(before.members))
	before.mu.Lock()
	clock := before.clock
	for i, m := range before.members {
		turns[m] = before.seats[i].turn
	}
	before.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock = clock
	for i, m := range l.members {
		turn, ok := turns[m]
		if !ok { // as one that has just had its share
			turn = clock + 1/l.seats[i].weight
		}
		l.seats[i].turn = turn
		l.play(int32(i)) // there are at most MaxTargets
	}
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

// play has the tournaments played again where member i takes part.
func (l *least) play(i int32) {
	s := &l.seats[i]
	load := s.load.Load()
	l.all.put(i, player{rank: float64(load+1) / s.weight, turn: s.turn, who: i})
	switch {
	case l.idle == nil:
	case load == 0:
		l.idle.put(i, player{turn: s.turn, who: i})
	default:
		l.idle.put(i, player{who: nobody})
	}
}

// search looks for the best member that a request may go to.
type search struct {
	*least

	q      Query
	visits int
}

// maxVisits bounds the search when slow start keeps the request from many members.
const maxVisits = 256

// best returns the best of those below node n of a tournament. Only where the winner is avoided it has to look further down.
func (s *search) best(t tournament, n int) player {
	winner := t[n]
	if winner.who == nobody || !s.avoids(winner.who) {
		return winner
	}
	if 2*n >= len(t) {
		return player{who: nobody}
	}
	left, right := s.best(t, 2*n), s.best(t, 2*n+1)
	if right.beats(&left) {
		return right
	}
	return left
}

// avoids is Query.Avoids, but for slow start: a member that is new has nothing in flight, and would be the best for every
// request it may get. So it may get fewer: as many as are its due.
func (s *search) avoids(i int32) bool {
	m := s.members[i]
	if m.barred.Load() || len(s.q.Tried) > 0 && s.q.HasTried(m) {
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
	return s.q.chance(m) >= min(1, share*s.seats[i].weight/s.warm(s.q.at)/(1-share))
}

// warm returns the sum of the weights as far as slow starts have come.
func (l *least) warm(at time.Duration) float64 {
	if elapsed := at - l.warmAt; l.warmAt == 0 || elapsed > l.members[0].home.slowStart/100 {
		l.warmAt, l.warmSum = at, 0
		for i, m := range l.members {
			l.warmSum += m.warmth(at) * l.seats[i].weight
		}
	}
	return l.warmSum
}

// tournament finds the best of some players again whenever one of them has changed. It is a tree in an array, whose root is
// node 1: node n holds the better one of the nodes 2n and 2n+1, and the players themselves are in the second half.
type tournament []player

// player is a member in a tournament, or nobody.
type player struct {
	rank float64 // the lowest wins, and among equals the lowest turn
	turn float64
	who  int32
}

const nobody = -1

func newTournament(n int) tournament {
	size := 1
	for size < n {
		size *= 2
	}
	t := make(tournament, 2*size)
	for i := range t {
		t[i].who = nobody
	}
	return t
}

// put changes a player.
func (t tournament) put(i int32, p player) {
	n := len(t)/2 + int(i)
	t[n] = p
	for n /= 2; n > 0; n /= 2 {
		winner := &t[2*n]
		if other := &t[2*n+1]; other.beats(winner) {
			winner = other
		}
		if t[n] == *winner {
			return // and so it is further up
		}
		t[n] = *winner
	}
}

func (p *player) beats(other *player) bool {
	switch {
	case p.who == nobody:
		return false
	case other.who == nobody:
		return true
	case p.rank != other.rank: // quotients of the same numbers are the same
		return p.rank < other.rank
	}
	return p.turn < other.turn
}
