package circuit

import "time"

// Buckets is how many parts a [Window] has.
const Buckets = 10

// Counts are numbers of calls.
type Counts struct {
	// Calls is how many there were, Failed and Slow how many of them failed and were slow; one may be both.
	Calls, Failed, Slow uint64
}

func (c *Counts) add(d Counts) {
	c.Calls += d.Calls
	c.Failed += d.Failed
	c.Slow += d.Slow
}

func (c *Counts) sub(d Counts) {
	c.Calls -= d.Calls
	c.Failed -= d.Failed
	c.Slow -= d.Slow
}

// Window counts what happened lately, in [Buckets] parts of equal length that are forgotten one at a time: it reaches back
// over its whole length but for the rest of its newest part. It is not safe for concurrent use. The zero Window counts as
// one of ten nanoseconds.
type Window struct {
	part    time.Duration
	newest  int64 // number of the newest part since time 0
	sum     Counts
	buckets [Buckets]Counts // that of part n at n modulo Buckets
}

// NewWindow returns an empty window of that length, at least a nanosecond for each part.
func NewWindow(length time.Duration) Window { return Window{part: max(length/Buckets, 1)} }

// Add counts d at the time now, and forgets what is too old then.
func (w *Window) Add(now time.Duration, d Counts) {
	w.Advance(now)
	w.sum.add(d)
	w.buckets[w.newest%Buckets].add(d)
}

// Advance forgets what is too old at the time now. An earlier time than the latest that was seen changes nothing.
func (w *Window) Advance(now time.Duration) {
	n := int64(now / max(w.part, 1))
	if n-w.newest >= Buckets {
		w.sum, w.buckets, w.newest = Counts{}, [Buckets]Counts{}, n
		return
	}
	for w.newest < n {
		w.newest++
		b := &w.buckets[w.newest%Buckets]
		w.sum.sub(*b)
		*b = Counts{}
	}
}

// Sum returns what the window holds. It is as of the last Add or Advance.
func (w *Window) Sum() Counts { return w.sum }

// Clear forgets everything.
func (w *Window) Clear() { w.sum, w.buckets = Counts{}, [Buckets]Counts{} }
