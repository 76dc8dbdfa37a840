package capacity_test

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/gatehouse-go/gateway/internal/capacity"
)

// service draws how long a call is worked on. Its mean is 1.
type service func(*rand.Rand) float64

func constant(*rand.Rand) float64      { return 1 }
func exponential(r *rand.Rand) float64 { return r.ExpFloat64() }

// mixed: nine of ten are quick, the tenth takes 7.2 times the mean.
func mixed(r *rand.Rand) float64 {
	if r.IntN(10) == 0 {
		return 7.2 * (0.5 + r.Float64())
	}
	return 0.311 * (0.5 + r.Float64())
}

// world is a simulation: clients, a gate or none, and a server with workers and a queue without a bound, which does not notice
// that a client has left.
type world struct {
	seed     uint64
	gate     *capacity.Gate // nil: no limit
	workers  int
	mean     time.Duration
	service  service
	offered  float64 // of the capacity
	patience time.Duration
	shares   []float64 // of the classes
	length   time.Duration
	// change is called at the times that are multiples of every.
	every  time.Duration
	change func(w *world, now time.Duration)

	now     time.Duration
	events  events
	random  *rand.Rand
	busy    int
	queue   []*job
	waiters map[*capacity.Waiter]*job
	limits  []float64 // samples
	stats   [capacity.MaxClasses]stats
	from    time.Duration // statistics count from here
	serial  int
}

type stats struct {
	offered, good, shed, late int
}

type job struct {
	class   int
	arrived time.Duration
	sent    time.Duration
	ticket  capacity.Ticket
	waiter  capacity.Waiter
	left    bool // the client has
	over    bool
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event //nolint:recvcheck // as container/heap has it

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *world) at(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

// capacity is what the server can do, in calls a second.
func (w *world) capacity() float64 { return float64(w.workers) / w.mean.Seconds() }

func (w *world) run() {
	w.random = rand.New(rand.NewPCG(w.seed, 1))
	w.waiters = map[*capacity.Waiter]*job{}
	rate := w.offered * w.capacity()
	var arrive func()
	arrive = func() {
		w.arrive()
		w.at(time.Duration(w.random.ExpFloat64()/rate*1e9), arrive)
	}
	w.at(0, arrive)
	if w.every > 0 {
		var tick func()
		tick = func() {
			w.change(w, w.now)
			w.at(w.every, tick)
		}
		w.at(0, tick)
	}
	for w.now < w.length {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) arrive() {
	j := &job{arrived: w.now}
	x := w.random.Float64()
	for j.class < len(w.shares)-1 && x >= w.shares[j.class] {
		x -= w.shares[j.class]
		j.class++
	}
	s := &w.stats[j.class]
	if w.now >= w.from {
		s.offered++
	}
	w.at(w.patience, func() { w.leave(j) })
	if w.gate == nil {
		w.send(j)
		return
	}
	t, ok := w.gate.Take(w.now, j.class)
	if ok {
		j.ticket = t
		w.send(j)
		return
	}
	w.waiters[&j.waiter] = j
	if loser := w.gate.Join(w.now, j.class, &j.waiter); loser != nil {
		w.shed(loser)
	}
}

func (w *world) shed(x *capacity.Waiter) {
	j := w.waiters[x]
	delete(w.waiters, x)
	j.over = true
	if j.arrived >= w.from {
		w.stats[j.class].shed++
	}
}

// leave is the client's patience running out.
func (w *world) leave(j *job) {
	if j.over {
		return
	}
	j.over, j.left = true, true
	if j.arrived >= w.from {
		w.stats[j.class].late++
	}
	if w.gate == nil {
		return
	}
	if w.gate.Leave(&j.waiter, capacity.Left) {
		delete(w.waiters, &j.waiter)
		return
	}
	w.gate.End(w.now, j.ticket, capacity.Unknown)
	w.next()
}

func (w *world) next() {
	for x := w.gate.Next(w.now); x != nil; x = w.gate.Next(w.now) {
		if x.State == capacity.Expired {
			w.shed(x)
			continue
		}
		j := w.waiters[x]
		delete(w.waiters, x)
		j.ticket = x.Ticket
		w.send(j)
	}
}

func (w *world) send(j *job) {
	j.sent = w.now
	w.queue = append(w.queue, j)
	w.work()
}

func (w *world) work() {
	for w.busy < w.workers && len(w.queue) > 0 {
		j := w.queue[0]
		w.queue = w.queue[1:]
		w.busy++
		w.at(time.Duration(w.service(w.random)*float64(w.mean)), func() {
			w.busy--
			w.answer(j)
			w.work()
		})
	}
}

func (w *world) answer(j *job) {
	if j.over {
		return
	}
	j.over = true
	if j.arrived >= w.from {
		s := &w.stats[j.class]
		s.good++
	}
	if w.gate != nil {
		w.gate.End(w.now, j.ticket, capacity.Answered)
		w.limits = append(w.limits, float64(w.gate.Limit()))
		w.next()
	}
}

// goodput is the answers that came in time, as a share of what the server can do.
func (w *world) goodput() float64 {
	n := 0
	for _, s := range w.stats {
		n += s.good
	}
	return float64(n) / ((w.length - w.from).Seconds() * w.capacity())
}

// limit is the mean of the limit over the latter half of the answers.
func (w *world) limit() float64 {
	sum, half := 0.0, w.limits[len(w.limits)/2:]
	for _, l := range half {
		sum += l
	}
	return sum / float64(len(half))
}
