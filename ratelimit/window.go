package ratelimit

import (
	"math/bits"
	"time"
)

// span is one window, from start up to but not including end, in nanoseconds since 1970.
type span struct{ start, end int64 }

func (s span) holds(wall int64) bool { return s.start <= wall && wall < s.end }

// spanOf returns the window of that length around wall, aligned to 1970.
func spanOf(wall int64, window time.Duration) span {
	w := int64(window)
	into := wall % w
	if into < 0 {
		into += w
	}
	return span{wall - into, wall - into + w}
}

// calendarSpan is spanOf, except for months and years.
func calendarSpan(wall int64, window time.Duration) span {
	years, months := 0, 0
	switch window {
	case month:
		months = 1
	case year:
		years = 1
	default:
		return spanOf(wall, window)
	}
	y, m, _ := time.Unix(0, wall).UTC().Date()
	if years > 0 {
		m = time.January
	}
	start := time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	return span{start.UnixNano(), start.AddDate(years, months, 0).UnixNano()}
}

// windows are the counters of [FixedWindow]: for each limit of each key the count of the last window it was used in.
type windows struct {
	slab[windowCount]

	clock  clock
	limits []Limit
	spans  []span // the window last asked for, one for each limit, shared by all keys
}

type windowCount struct {
	end  int64 // of the window that was counted in; it tells windows apart
	used int
}

func newWindows(limits []Limit, c clock) *windows {
	return &windows{slab: slab[windowCount]{width: len(limits)}, clock: c, limits: limits, spans: make([]span, len(limits))}
}

func (w *windows) take(slot int, now int64, cost int, commit bool, states []State) bool {
	cells, wall, admitted := w.slot(slot), w.clock.wall+now, true
	for i := range cells {
		// The date is worked out once a window, not once a request.
		if !w.spans[i].holds(wall) {
			w.spans[i] = calendarSpan(wall, w.limits[i].Window)
		}
		left := w.limits[i].Requests
		if cells[i].end == w.spans[i].end {
			left -= cells[i].used
		}
		s := &states[i]
		*s = State{Remaining: left, Reset: time.Duration(w.spans[i].end - wall)}
		if left < cost {
			s.Wait = s.Reset
			admitted = false
		}
	}
	if !admitted || !commit {
		return admitted
	}
	for i := range cells {
		states[i].Remaining -= cost
		cells[i] = windowCount{end: w.spans[i].end, used: w.limits[i].Requests - states[i].Remaining}
	}
	return true
}

func (w *windows) expires(slot int, _ int64) int64 {
	last := int64(0)
	for _, c := range w.slot(slot) {
		last = max(last, c.end)
	}
	return last - w.clock.wall
}

// sliding are the counters of [SlidingWindow]: for each limit of each key the counts of two windows in a row.
type sliding struct {
	slab[slidingCount]

	clock  clock
	limits []Limit
}

type slidingCount struct {
	start        int64 // of the window that used is for
	before, used int
}

func newSliding(limits []Limit, c clock) *sliding {
	return &sliding{slab: slab[slidingCount]{width: len(limits)}, clock: c, limits: limits}
}

func (w *sliding) take(slot int, now int64, cost int, commit bool, states []State) bool {
	cells, wall, admitted := w.slot(slot), w.clock.wall+now, true
	for i := range cells {
		l, s := w.limits[i], spanOf(wall, w.limits[i].Window)
		c := cells[i].movedTo(s)
		// The count is moved on for the calculation only: a refused request changes nothing.
		left := c.left(l, s, wall)
		states[i] = State{Remaining: left, Reset: time.Duration(s.end - wall)}
		if left < cost {
			states[i].Wait = c.wait(l, s, wall, cost)
			admitted = false
		}
	}
	if !admitted || !commit {
		return admitted
	}
	for i := range cells {
		cells[i] = cells[i].movedTo(spanOf(wall, w.limits[i].Window))
		cells[i].used += cost
		states[i].Remaining -= cost
	}
	return true
}

// movedTo returns c as it counts in the window s.
func (c slidingCount) movedTo(s span) slidingCount {
	switch c.start {
	case s.start:
		return c
	case s.start - (s.end - s.start):
		return slidingCount{start: s.start, before: c.used}
	default:
		return slidingCount{start: s.start}
	}
}

// left returns what l still admits at wall.
func (c slidingCount) left(l Limit, s span, wall int64) int {
	window := uint64(s.end - s.start)
	// before*(what is left of the window)/window, rounded up. It is at most before, so the division does not overflow.
	hi, lo := bits.Mul64(uint64(c.before), uint64(s.end-wall))
	weighted, rest := bits.Div64(hi, lo, window)
	if rest > 0 {
		weighted++
	}
	return max(l.Requests-c.used-int(weighted), 0)
}

// wait returns how long it takes until l admits cost, when nothing else comes. It is exact.
func (c slidingCount) wait(l Limit, s span, wall int64, cost int) time.Duration {
	window := s.end - s.start
	at := s.start
	if l.Requests-c.used < cost {
		// Not in this window; in the next one this one's count weighs.
		at, c = s.end, slidingCount{before: c.used}
	}
	// The count before has to weigh no more than room: before*(window-x) <= room*window.
	if room := l.Requests - c.used - cost; room < c.before {
		hi, lo := bits.Mul64(uint64(room), uint64(window))
		rest, _ := bits.Div64(hi, lo, uint64(c.before))
		at += window - int64(rest)
	}
	return time.Duration(at - wall)
}

func (w *sliding) expires(slot int, _ int64) int64 {
	last := int64(0)
	for i, c := range w.slot(slot) {
		if c.used > 0 || c.before > 0 {
			last = max(last, c.start+2*int64(w.limits[i].Window))
		}
	}
	return last - w.clock.wall
}
