package capacity

import "time"

// MaxClasses bounds the classes of a [Gate].
const MaxClasses = 8

// Settings say how many places and waiters a [Gate] has. New does not check them.
type Settings struct {
	// Limit is how many places there are. 0: Search finds it.
	Limit  int
	Search SearchSettings
	// Classes is how many classes there are, from 1 to MaxClasses. Class 0 is the highest.
	Classes int
	// Queue is how many wait at most, all classes together; 0: nobody does. MaxWait is how long each of them waits at most.
	Queue   int
	MaxWait time.Duration
	// LIFO: within a class, who came last gets a place first.
	LIFO bool
}

// Result is what the end of a call says about the other side.
type Result uint8

// The results. The zero Result is Unknown.
const (
	Unknown    Result = iota // no answer, and nothing else can be told either: the caller went away
	Answered                 // it was answered
	Overloaded               // the other side says that it has too much to do, or has no time to say so
)

// Ticket is a place that was taken. It is passed back by value and holds no memory.
type Ticket uint64

// A Ticket holds the class in its lowest three bits, and these.
const (
	free Ticket = 1 << (3 + iota) // its place was given back
	told                          // what became of it is known

	classMask = 1<<3 - 1
)

// Class returns the class it was taken for.
func (t Ticket) Class() int { return int(t & classMask) }

// Told reports whether what became of it is known.
func (t Ticket) Told() bool { return t&told != 0 }

// Settled reports whether its place was given back, too, so that End would change nothing.
func (t Ticket) Settled() bool { return t&free != 0 && t&told != 0 }

// State is what has become of a [Waiter].
type State uint8

// The states. The zero State is Idle.
const (
	Idle      State = iota // it does not wait, and has not
	Waiting                // it waits
	Admitted               // it has got a place; Ticket is set
	Displaced              // others came before it, and the queue is full
	Expired                // it has waited for too long
	Left                   // its owner took it away
)

// Waiter is one who waits. It belongs to whoever made it, and to a Gate while it is Waiting. The zero Waiter is ready, and one
// that no longer waits may be used again.
type Waiter struct {
	State  State
	Ticket Ticket
	Ready  chan struct{} // for the owner; a Gate does not touch it

	class      int
	until      time.Duration
	prev, next *Waiter
}

// Counts are numbers of calls of one class.
type Counts struct {
	// Admitted is how many got a place, Waited how many of them had to wait for it.
	Admitted, Waited uint64
	// Displaced is how many did not fit in, Expired how many waited in vain, Left how many gave up by themselves.
	Displaced, Expired, Left uint64
}

// Gate is a limit and its queue. It is not safe for concurrent use: the owner has a lock. It must not be copied while somebody
// waits. The zero Gate has no places.
type Gate struct {
	s        Settings
	search   Search
	now      time.Duration // the latest time that was seen
	inFlight int
	waiting  int
	queues   [MaxClasses]queue
	counts   [MaxClasses]Counts
}

// queue is a list of waiters, of which the first is next.
type queue struct {
	first, last *Waiter
	n           int
}

// New returns a Gate whose places are free.
func New(s Settings) *Gate {
	g := &Gate{s: s}
	if s.Limit == 0 {
		g.search = newSearch(s.Search)
	}
	return g
}

// Limit returns how many places there are now. While the search tries whether fewer would do, it is those.
func (g *Gate) Limit() int {
	if g.s.Limit > 0 {
		return g.s.Limit
	}
	return g.search.inForce()
}

// InFlight returns how many places are taken, Waiting how many wait for one, WaitingOf how many of that class.
func (g *Gate) InFlight() int { return g.inFlight }

// Waiting returns how many wait.
func (g *Gate) Waiting() int { return g.waiting }

// WaitingOf returns how many of a class wait.
func (g *Gate) WaitingOf(class int) int { return g.queues[class].n }

// Counts returns what became of the calls of a class so far.
func (g *Gate) Counts(class int) Counts { return g.counts[class] }

// Search returns what the search has found; the zero Search where the limit is fixed.
func (g *Gate) Search() Search { return g.search }

// Free reports whether Take would succeed.
func (g *Gate) Free() bool { return g.waiting == 0 && g.inFlight < g.Limit() }

// Take takes a place if one is free. For each Ticket End is called once. Where the limit is searched for, it may be higher
// after a Take that failed.
func (g *Gate) Take(now time.Duration, class int) (Ticket, bool) {
	if !g.Free() {
		if g.s.Limit > 0 {
			return 0, false
		}
		if g.search.wanted(g.at(now)); !g.Free() {
			return 0, false
		}
	}
	return g.admit(g.at(now), class), true
}

func (g *Gate) admit(now time.Duration, class int) Ticket {
	g.inFlight++
	g.counts[class].Admitted++
	if g.s.Limit == 0 {
		g.search.entered(now, g.inFlight)
	}
	return Ticket(class)
}

// Room reports whether Join would have one of that class wait.
func (g *Gate) Room(class int) bool {
	if g.waiting < g.s.Queue {
		return true
	}
	if !g.s.LIFO {
		class++ // those of its own were there before
	}
	for ; class < g.s.Classes && g.s.Queue > 0; class++ {
		if g.queues[class].n > 0 {
			return true
		}
	}
	return false
}

// Refuse counts a call of a class for which there is neither a place nor room.
func (g *Gate) Refuse(class int) { g.counts[class].Displaced++ }

// Join has w wait for a place, after Take has failed. Where one more than may is waiting then, the last of the lowest class
// that waits is Displaced, and returned: w itself, if that is w. Otherwise Join returns nil.
func (g *Gate) Join(now time.Duration, class int, w *Waiter) (loser *Waiter) {
	now = g.at(now)
	w.State, w.class, w.until = Waiting, class, now+g.s.MaxWait
	q := &g.queues[class]
	if g.s.LIFO {
		w.prev, w.next = nil, q.first
	} else {
		w.prev, w.next = q.last, nil
	}
	q.link(w)
	q.n++
	g.waiting++
	if g.waiting <= g.s.Queue {
		return nil
	}
	class = g.s.Classes - 1
	for g.queues[class].n == 0 { // there is one: w
		class--
	}
	loser = g.queues[class].last
	g.remove(loser, Displaced)
	g.counts[class].Displaced++
	return loser
}

// link puts w between those it names.
func (q *queue) link(w *Waiter) {
	if w.prev == nil {
		q.first = w
	} else {
		w.prev.next = w
	}
	if w.next == nil {
		q.last = w
	} else {
		w.next.prev = w
	}
}

func (g *Gate) remove(w *Waiter, s State) {
	q := &g.queues[w.class]
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	q.n--
	g.waiting--
	w.State, w.prev, w.next = s, nil, nil
}

// Leave takes w out of the queue, as s, which is Left or Expired. It reports false when w does not wait any more: State says
// what has become of it.
func (g *Gate) Leave(w *Waiter, s State) bool {
	if w.State != Waiting {
		return false
	}
	g.remove(w, s)
	if s == Expired {
		g.counts[w.class].Expired++
	} else {
		g.counts[w.class].Left++
	}
	return true
}

// Next ends the waiting of one for whom there is a place now, or whose turn it would be but who has waited for too long, and
// returns it; nil when there is none. It is called until then when a place may have become free: after End, after Answered
// with leave, and where the limit is searched for after a Take that failed.
func (g *Gate) Next(now time.Duration) *Waiter {
	if g.waiting == 0 {
		return nil
	}
	now = g.at(now)
	class := 0
	for g.queues[class].n == 0 {
		class++
	}
	w := g.queues[class].first
	switch {
	case now >= w.until:
		g.Leave(w, Expired)
		return w
	case g.inFlight >= g.Limit():
		return nil
	}
	g.remove(w, Admitted)
	w.Ticket = g.admit(now, class)
	g.counts[class].Waited++
	return w
}

// Answered says that the answer to a call has begun, and what that says; with leave the place is given back. It returns the
// ticket that stands for the call from then on.
func (g *Gate) Answered(now time.Duration, t Ticket, r Result, leave bool) Ticket {
	now = g.at(now)
	t = g.tell(now, t, r)
	if leave && t&free == 0 {
		g.leave(now)
		t |= free
	}
	return t
}

// End gives the place back and says how the call went. What Answered was told stands.
func (g *Gate) End(now time.Duration, t Ticket, r Result) {
	now = g.at(now)
	if t = g.tell(now, t, r); t&free == 0 {
		g.leave(now)
	}
}

func (g *Gate) tell(now time.Duration, t Ticket, r Result) Ticket {
	if t&told == 0 && g.s.Limit == 0 {
		g.search.ended(now, r)
	}
	return t | told
}

// leave gives back a place. Somebody may have ended a call twice.
func (g *Gate) leave(now time.Duration) {
	if g.inFlight > 0 {
		g.inFlight--
	}
	if g.s.Limit == 0 {
		g.search.left(now, g.inFlight)
	}
}

// at returns now, or the latest time that was seen.
func (g *Gate) at(now time.Duration) time.Duration {
	g.now = max(g.now, now)
	return g.now
}
