package circuit

import "time"

// State is what a [Circuit] does with calls.
type State uint8

// The states. The zero State is Closed.
const (
	Closed   State = iota // calls go through and are counted
	Open                  // calls are refused until the open time is over
	HalfOpen              // a few calls go through as probes, the others are refused
)

// Reason is why a [Circuit] changed its state.
type Reason uint8

// The reasons. The zero Reason is that of a Circuit that never changed.
const (
	None            Reason = iota
	Consecutive            // closed to open: that many failures in a row
	FailureRate            // closed to open: that share of the calls in the window failed
	SlowRate               // closed to open: that share of the calls in the window was slow
	OpenTimeOver           // open to half-open: the first call after the open time
	ProbeFailed            // half-open to open: a probe failed
	ProbeSlow              // half-open to open: a probe was slow, where SlowRate is a rule
	ProbesSilent           // half-open to open: all places were taken, and no probe told anything for ProbeTimeout
	ProbesSucceeded        // half-open to closed
)

// Result is how a call went: a combination of these, or 0 for one that went well.
type Result uint8

// What a Result is made of.
const (
	Failed  Result = 1 << iota // the other side failed
	Slow                       // it took long
	Ignored                    // nothing can be told about the other side, whatever else is set
)

// Ticket is a call that was admitted. It is passed back by value and holds no memory.
type Ticket uint64

// A Ticket holds the period it was admitted in above bit 32, the row of failures its answer began in below that, and these.
const (
	probe    Ticket = 1 << iota // it has, or had, a place among the probes
	answered                    // it was counted as a success when its answer began
	spent                       // it was counted for good, or is not to be counted

	rowShift    = 3
	rowBits     = 29
	periodShift = 32
)

// Probe reports whether the call was admitted as a probe.
func (t Ticket) Probe() bool { return t&probe != 0 }

// Settled reports whether End would change nothing for that result, in whatever state: an owner need not take its lock then.
func (t Ticket) Settled(r Result) bool {
	return t&spent != 0 || t&answered != 0 && (r&Failed == 0 || r&Ignored != 0)
}

func (t Ticket) period() uint32 { return uint32(t >> periodShift) }
func (t Ticket) row() uint32    { return uint32(t>>rowShift) & (1<<rowBits - 1) }

// Settings say when a [Circuit] opens and closes. All must be set but the rules, of which 0 means that it is none. New
// does not check them.
type Settings struct {
	// Consecutive opens after so many failures in a row: without a success that ended, or whose answer has begun and did
	// not break off since, between them.
	Consecutive uint32
	// FailureRate and SlowRate, above 0 up to 1, open when that share of the calls in the window failed, or was slow.
	FailureRate, SlowRate float64
	// Minimum is how many calls must be in the window for a rate to count.
	Minimum uint32
	// Window is how far back rates look.
	Window time.Duration
	// OpenFor is how long the circuit is open at first. The time doubles, up to MaxOpenFor, each time it opens again
	// before it has been closed for Window and for as long as it was open before.
	OpenFor, MaxOpenFor time.Duration
	// Probes is how many calls go through at the same time while half-open, Successes how many of them close the circuit.
	Probes, Successes uint32
	// ProbeTimeout bounds how long probes that tell nothing keep all the places; see ProbesSilent.
	ProbeTimeout time.Duration
}

// Circuit is a circuit breaker's state. It starts closed. It is not safe for concurrent use: the owner has a lock. The zero
// Circuit has no rules and stays closed.
type Circuit struct {
	s      Settings
	state  State
	reason Reason
	period uint32        // counts changes of state
	now    time.Duration // the latest time that was seen
	since  time.Duration // of the state
	until  time.Duration // open: when it is over
	opened time.Duration // how long it was open last, 0 before it ever was

	left    Counts // of the window, when the circuit opened last
	leftRow uint32 // and of failures in a row

	window Window
	row    uint32 // failures in a row, as of the last failure
	rows   uint32 // counts failures, modulo 1<<rowBits
	good   uint64 // successes since the last failure, those apart that broke off since

	probes    uint32        // in flight that have told nothing yet
	successes uint32        // of probes, since half-open
	last      time.Duration // when a probe was admitted last
}

// New returns a closed circuit.
func New(s Settings) Circuit { return Circuit{s: s, window: NewWindow(s.Window)} }

// State returns the state. An open circuit stays open until somebody calls Begin after its open time.
func (c *Circuit) State() State { return c.state }

// Period counts the changes of state so far. What was admitted in an earlier one no longer counts.
func (c *Circuit) Period() uint32 { return c.period }

// Since returns when the state was entered, and why.
func (c *Circuit) Since() (time.Duration, Reason) { return c.since, c.reason }

// Counts returns what the window holds at the time now. It is empty unless the circuit is closed.
func (c *Circuit) Counts(now time.Duration) Counts {
	w := c.window
	w.Advance(max(now, c.now))
	return w.Sum()
}

// Row returns the number of failures in a row up to now.
func (c *Circuit) Row() uint32 {
	if c.good > 0 {
		return 0
	}
	return c.row
}

// Left returns what Counts and Row were when the circuit opened last, before which it was closed.
func (c *Circuit) Left() (Counts, uint32) { return c.left, c.leftRow }

// Probing returns the number of probes whose result is awaited, and of those that succeeded.
func (c *Circuit) Probing() (inFlight, succeeded uint32) { return c.probes, c.successes }

// Wait returns how long an open circuit still refuses calls; 0 when the next one may be admitted, and when that depends on
// probes.
func (c *Circuit) Wait(now time.Duration) time.Duration {
	if c.state != Open {
		return 0
	}
	return max(c.until-max(now, c.now), 0)
}

// Admits reports whether Begin would admit a call at the time now.
func (c *Circuit) Admits(now time.Duration) bool {
	switch c.state {
	case Open:
		return max(now, c.now) >= c.until
	case HalfOpen:
		return c.probes < c.s.Probes
	case Closed:
	}
	return true
}

// ClosedTicket returns what Begin returns for a circuit that is closed in that period. Begin changes nothing then, so that an
// owner who has read state and period together need not take its lock.
func ClosedTicket(period uint32) Ticket { return Ticket(period) << periodShift }

// Begin asks whether a call may be made. For each one that is admitted End is called once.
func (c *Circuit) Begin(now time.Duration) (Ticket, bool) {
	if c.state == Closed {
		return ClosedTicket(c.period), true
	}
	now = c.at(now)
	if c.state == Open {
		if now < c.until {
			return 0, false
		}
		c.change(HalfOpen, OpenTimeOver)
	}
	if c.probes >= c.s.Probes {
		if now-c.last >= c.s.ProbeTimeout { // the latest of them has waited that long, so all have
			c.open(ProbesSilent)
		}
		return 0, false
	}
	c.probes++
	c.last = now
	return ClosedTicket(c.period) | probe, true
}

// Answered says that the answer to a call has begun, and how it looks so far: a success is counted, and a probe gives its
// place back. A failure counts for good. It returns the ticket that stands for the call from then on.
func (c *Circuit) Answered(now time.Duration, t Ticket, r Result) Ticket {
	if t&(answered|spent) != 0 || r&Ignored != 0 {
		return t
	}
	if r&Failed != 0 {
		c.End(now, t, r)
		return t | spent
	}
	if !c.counts(t) {
		return t | spent
	}
	c.succeed(c.at(now), r)
	return t | answered | Ticket(c.rows)<<rowShift
}

// End says how a call went.
func (c *Circuit) End(now time.Duration, t Ticket, r Result) {
	if t.Settled(r) || !c.counts(t) {
		return
	}
	now = c.at(now)
	switch {
	case r&Ignored != 0:
		if c.state == HalfOpen {
			c.leave()
		}
	case r&Failed != 0:
		c.fail(now, t, r)
	default:
		c.succeed(now, r)
	}
}

// counts reports whether what becomes of a call matters: it was admitted in this period, or as one of the probes that closed
// the circuit.
func (c *Circuit) counts(t Ticket) bool {
	return t.period() == c.period || t&probe != 0 && c.state == Closed && t.period()+1 == c.period
}

// succeed counts a call that was not counted before.
func (c *Circuit) succeed(now time.Duration, r Result) {
	switch c.state {
	case Closed:
		c.good++
		c.window.Add(now, counted(r))
		c.judge()
	case HalfOpen:
		c.leave()
		switch c.successes++; {
		case r&Slow != 0 && c.s.SlowRate > 0:
			c.open(ProbeSlow)
		case c.successes >= c.s.Successes:
			c.change(Closed, ProbesSucceeded)
		}
	case Open: // in which no ticket counts
	}
}

// leave gives back the place of a probe. Somebody may have ended one twice.
func (c *Circuit) leave() {
	if c.probes > 0 {
		c.probes--
	}
}

// fail counts a failure, also of a call that was counted as a success when its answer began.
func (c *Circuit) fail(now time.Duration, t Ticket, r Result) {
	switch c.state {
	case Closed:
		n := counted(r)
		if t&answered != 0 && t.period() == c.period {
			n.Calls, n.Slow = 0, 0 // they were counted
			if t.row() == c.rows {
				c.good-- // it was one of them
			}
		}
		if c.good > 0 {
			c.row = 0
		}
		c.row++
		c.good, c.rows = 0, (c.rows+1)&(1<<rowBits-1)
		c.window.Add(now, n)
		if c.s.Consecutive > 0 && c.row >= c.s.Consecutive {
			c.open(Consecutive)
			return
		}
		c.judge()
	case HalfOpen:
		c.open(ProbeFailed)
	case Open: // in which no ticket counts
	}
}

// counted returns r as one call.
func counted(r Result) Counts {
	n := Counts{Calls: 1}
	if r&Failed != 0 {
		n.Failed = 1
	}
	if r&Slow != 0 {
		n.Slow = 1
	}
	return n
}

// judge opens a closed circuit when a rate is reached.
func (c *Circuit) judge() {
	n := c.window.Sum()
	calls := max(n.Calls, n.Failed) // that of a late failure may have left the window
	if calls < uint64(c.s.Minimum) {
		return
	}
	switch {
	case reached(n.Failed, calls, c.s.FailureRate):
		c.open(FailureRate)
	case reached(n.Slow, calls, c.s.SlowRate):
		c.open(SlowRate)
	}
}

// reached reports whether n of all is a share of at least rate, which is no rule at 0. Shares such as 0.1 have no exact
// form, and 3 of 30 are one.
func reached(n, all uint64, rate float64) bool {
	const rounding = 1e-9
	return rate > 0 && n > 0 && float64(n)+rounding >= rate*float64(all)
}

// open opens the circuit for the time that is due.
func (c *Circuit) open(why Reason) {
	recovered := c.state == Closed && c.now-c.since >= max(c.s.Window, c.opened)
	if c.opened == 0 || recovered {
		c.opened = c.s.OpenFor
	} else {
		c.opened = min(2*min(c.opened, c.s.MaxOpenFor/2+1), c.s.MaxOpenFor) // without an overflow
	}
	c.until = c.now + c.opened
	if c.state == Closed {
		c.left, c.leftRow = c.window.Sum(), c.Row()
	}
	c.change(Open, why)
}

// change begins a period.
func (c *Circuit) change(to State, why Reason) {
	c.state, c.reason, c.since = to, why, c.now
	c.period++
	c.row, c.good, c.probes, c.successes = 0, 0, 0, 0
	c.window.Clear()
}

// at returns now, or the latest time that was seen.
func (c *Circuit) at(now time.Duration) time.Duration {
	c.now = max(c.now, now)
	return c.now
}
