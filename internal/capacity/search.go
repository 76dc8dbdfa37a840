package capacity

import (
	"math"
	"time"
)

// SearchSettings say how a [Search] looks for a limit. All must be set; New does not check them.
type SearchSettings struct {
	// Initial is the limit to begin with, Min and Max bound it.
	Initial, Min, Max int
	// Window is how long calls are looked at, at least, before the limit is changed, and Samples how many of them have to end in
	// it; fewer where the limit is below a quarter of Samples.
	Window  time.Duration
	Samples int
	// Tolerance is how much longer than at rest answers may take before the limit falls: a factor of 1 or more.
	Tolerance float64
	// Probe is how long what answers take at rest is believed, while there is more to do than the limit allows.
	Probe time.Duration
}

const (
	smoothing  = 0.5  // of a step of the limit
	steepest   = 0.5  // what a window makes of a limit at the least
	busyShare  = 0.75 // of the limit in use: it may be what holds back more
	quietShare = 0.5  // of it: it certainly is not
	most       = 0.25 // of the calls shed by the other side while the limit still grows
	restful    = 1.05 // times the time at rest is still rest, and the limit far from where it matters
	fewest     = 20   // calls of a window

	// In a probe.
	lower     = 0.7 // each level, as a share of the one before
	fell      = 0.9 // of the time at the level before: the other side had a queue there
	suspicion = 0.7 // a gradient below that share of the usual one is looked into before its time
	restraint = 10  // times as long as the last level of a probe took, at least, lie between two
	patience  = 10  // windows, after which a probe is given up
)

// Search finds how many calls the other side can work on at once. Beyond that number they only wait inside it, and answers take
// longer in proportion: limit × (time at rest ÷ time now) is how many are worked on.
//
// So it compares, window by window, what answers take with what they take at rest. Where they take longer, the limit falls
// towards that number; otherwise, if it is in use, it grows, by its square root, or by a half while nothing waits yet; half of each such step is made. It comes to stand where answers take somewhat
// longer than at rest: so that there is always work, and little that waits.
//
// The time at rest cannot be seen while there is a queue, and it changes: what is deployed next may be slower. So it is looked for:
// now and then, and when answers take suspiciously long, the limit is lowered in steps for some moments. As long as answers
// become quicker with each step, there has been a queue; when they do not, this is the time at rest. That neither believes a
// queue that was there from the start, nor goes on to shed when the other side has become slower.
//
// What answers take is found by Little's law: the calls that wait for one, summed up over the time of the window, per answer. No call
// is timed, and one that is given up counts for as long as it has waited, without an answer. Calls that say that the other side
// is overloaded also lower the limit by half of their share. A Search is a value of fixed size.
type Search struct {
	s     SearchSettings
	limit float64

	rest, last float64       // nanoseconds of an answer: at rest, 0 while unknown, and in the last window
	due        time.Duration // when the time at rest is to be looked for

	unanswered int           // calls that wait for an answer
	now        time.Duration // when that was last counted

	// The window.
	began   time.Duration
	waited  float64 // nanoseconds that calls have waited for answers, all together
	answers int
	over    int // calls that ended, whatever way
	shed    int // those of them that the other side had no time for
	peak    int
	short   bool // there were more calls than places

	// The probe.
	probing, draining bool
	level             int
	before            float64       // what answers took at the level before
	from, fromTook    float64       // the limit when it began, and what answers took
	started           time.Duration // of the level
}

func newSearch(s SearchSettings) Search {
	return Search{s: s, limit: float64(s.Initial)}
}

// Found returns the limit it has come to, apart from probes.
func (a *Search) Found() int { return int(a.limit) }

// Rest returns what an answer takes at rest; 0 while that is not known.
func (a *Search) Rest() time.Duration { return time.Duration(a.rest) }

// Last returns the mean of what answers took in the last window.
func (a *Search) Last() time.Duration { return time.Duration(a.last) }

// Probing reports whether it tries a lower limit.
func (a *Search) Probing() bool { return a.probing }

func (a *Search) inForce() int {
	if a.probing {
		return a.level
	}
	return int(a.limit)
}

// advance counts what has been waited for since.
func (a *Search) advance(now time.Duration) {
	a.waited += float64(a.unanswered) * float64(now-a.now)
	a.now = now
}

// entered is told how many are in flight when one more is, wanted when there was no place for another.
func (a *Search) entered(now time.Duration, inFlight int) {
	a.advance(now)
	a.unanswered++
	a.peak = max(a.peak, inFlight)
}

func (a *Search) wanted(now time.Duration) {
	a.short = true
	a.giveUp(now) // nothing may end that could be waited for
}

// left is told how many are in flight when one less is.
func (a *Search) left(now time.Duration, inFlight int) {
	if !a.probing {
		return
	}
	if a.draining && inFlight <= a.level {
		a.draining = false
		a.begin(now)
	}
	a.giveUp(now)
}

// giveUp ends a probe that takes too long.
func (a *Search) giveUp(now time.Duration) {
	if !a.probing {
		return
	}
	least := max(a.s.Window, 2*time.Duration(a.before))
	if !a.draining || a.unanswered > 0 { // otherwise what is left are streams, and all others are outside
		least *= patience
	}
	if now-a.began > least {
		// There is too little to do, or something that does not end, or no answer at all.
		if !a.draining && a.answers == 0 && a.over > 0 {
			a.limit = float64(a.level)
		}
		a.probing, a.draining = false, false
		a.begin(now)
		a.postpone(now)
	}
}

// ended is told what became of a call, once.
func (a *Search) ended(now time.Duration, r Result) {
	a.advance(now)
	if a.unanswered > 0 { // somebody may have ended a call twice
		a.unanswered--
	}
	a.over++
	switch r {
	case Answered:
		a.answers++
	case Overloaded:
		a.shed++
	case Unknown:
	}
	if !a.draining {
		a.judge(now)
	}
}

// begin begins a window.
func (a *Search) begin(now time.Duration) {
	a.advance(now)
	a.began, a.waited, a.answers, a.over, a.shed, a.peak, a.short = now, 0, 0, 0, 0, 0, false
}

// judge ends the window if it has seen enough.
func (a *Search) judge(now time.Duration) {
	if a.over < min(a.s.Samples, max(fewest, 4*a.inForce())) {
		return
	}
	least := 2 * a.waited / float64(a.over) // what was done shows only then
	if a.probing {
		least *= 2 // answers come in waves behind a pause
	}
	if now-a.began < max(time.Duration(least), a.s.Window) {
		return
	}
	took := math.Inf(1)
	if a.answers > 0 {
		took = a.waited / float64(a.answers)
	}
	if a.probing {
		a.climb(now, took)
		return
	}
	a.adjust(now, took)
}

// adjust sets the limit by what a window saw.
func (a *Search) adjust(now time.Duration, took float64) {
	inUse := float64(a.peak) / a.limit
	busy := a.short || inUse >= busyShare
	share := float64(a.shed) / float64(a.over)
	gradient := 0.0
	if a.answers > 0 {
		a.last = took
		a.learn(took, inUse < quietShare && !a.short)
		gradient = a.s.Tolerance * a.rest / max(took, 1)
	}
	target := a.limit
	if busy {
		target *= min(max(gradient, steepest), 1)
	}
	target *= 1 - share/2
	if busy && share < most && gradient > 0 {
		growth := math.Sqrt(a.limit)
		if a.short && took < restful*a.rest {
			growth = max(growth, a.limit/2)
		}
		target += growth
	}
	before := a.limit
	a.limit = a.bounded(a.limit + smoothing*(target-a.limit))
	a.begin(now)
	usual := 1 - 1/math.Sqrt(before) // where growth and gradient are even
	if busy && (now >= a.due || gradient < suspicion*usual && now >= a.due-a.s.Probe*9/10) {
		a.from, a.fromTook, a.before = before, took, took
		a.probing = true
		a.descend(now, int(before))
	}
}

func (a *Search) bounded(limit float64) float64 {
	return min(max(limit, float64(a.s.Min)), float64(a.s.Max))
}

// learn moves the time at rest towards what is quicker, and, while there are places to spare, slowly towards what is not.
func (a *Search) learn(took float64, quiet bool) {
	const quicker, slower = 0.2, 0.05
	switch {
	case a.rest == 0:
		a.rest = took
	case took < a.rest:
		a.rest += quicker * (took - a.rest)
	case quiet:
		a.rest += slower * (took - a.rest)
	}
}

// descend goes to the level of a probe below that one.
func (a *Search) descend(now time.Duration, from int) {
	a.started = now
	a.level = max(a.s.Min, min(from-1, int(math.Round(lower*float64(from))), int(a.limit)))
	a.draining = true
}

// climb ends a level of a probe: there is a lower one, or the time at rest is found.
func (a *Search) climb(now time.Duration, took float64) {
	if (a.answers == 0 || took < fell*a.before) && a.level > a.s.Min {
		a.before = took
		a.descend(now, a.level)
		return
	}
	a.limit = float64(a.level)
	if a.answers > 0 {
		a.rest = took
		worked := a.from * min(a.s.Tolerance*a.rest/max(a.fromTook, 1), 1)
		a.limit = a.bounded(min(a.from, max(worked+math.Sqrt(a.from), a.limit)))
	}
	a.probing = false
	a.begin(now)
	a.postpone(now)
}

// postpone says when the time at rest is looked for again.
func (a *Search) postpone(now time.Duration) {
	a.due = now + max(a.s.Probe, restraint*(now-a.started))
}
