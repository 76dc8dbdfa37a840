package circuit_test

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/internal/race"
)

const (
	liveCalls = 3  // at a time, in the walk
	memory    = 24 // observations that a model can hold
)

// model is a circuit breaker that is as plain as it can be: it keeps each call and each observation, and counts anew for each
// decision. It is a value, as a Circuit is.
type model struct {
	s                    circuit.Settings
	state                circuit.State
	period               int
	now, since, until    time.Duration
	opened               time.Duration
	calls                [8]call
	seen                 [memory]observation // in the closed period, those apart that are too old
	n                    int
	row                  int
	good                 bool // a call that ended well since the last failure
	successes            int
	admitted             time.Duration // the last probe
	changes, silentOpens int
}

type call struct {
	live, probe, answered, settled bool
	fresh                          bool // its answer began well since the last failure
	period, answeredIn             int
}

type observation struct {
	at                   time.Duration
	counts, failed, slow bool
}

// begin returns whether the i-th call is admitted.
func (m *model) begin(i int) bool {
	if m.state == circuit.Open && m.now >= m.until {
		m.enter(circuit.HalfOpen)
	}
	switch m.state {
	case circuit.Open:
		return false
	case circuit.HalfOpen:
		if m.waiting() == int(m.s.Probes) {
			if m.now-m.admitted >= m.s.ProbeTimeout {
				m.silentOpens++
				m.open()
			}
			return false
		}
		m.admitted = m.now
	case circuit.Closed:
	}
	m.calls[i] = call{live: true, probe: m.state == circuit.HalfOpen, period: m.period}
	return true
}

// waiting counts the probes of this period that told nothing yet.
func (m *model) waiting() int {
	n := 0
	for _, c := range m.calls {
		if c.live && c.probe && c.period == m.period && !c.answered && !c.settled {
			n++
		}
	}
	return n
}

func (m *model) matters(c call) bool {
	return !c.settled && (c.period == m.period || c.probe && m.state == circuit.Closed && c.period == m.period-1)
}

func (m *model) answer(i int, r circuit.Result) {
	c := &m.calls[i]
	switch {
	case c.answered || c.settled || r&circuit.Ignored != 0:
	case !m.matters(*c):
		c.settled = true
	case r&circuit.Failed != 0:
		settled := *c
		settled.settled = true
		m.failure(i, r)
		m.calls[i] = settled
	default:
		c.answered, c.answeredIn = true, m.period
		c.fresh = m.state == circuit.Closed
		m.success(r)
	}
}

func (m *model) end(i int, r circuit.Result) {
	c := m.calls[i]
	switch {
	case !m.matters(c) || r&circuit.Ignored != 0:
	case r&circuit.Failed != 0:
		m.failure(i, r)
	case !c.answered:
		if m.state == circuit.Closed {
			m.good = true
		}
		m.calls[i] = call{} // its place is free
		m.success(r)
	}
	if m.calls[i].fresh {
		m.good = true
	}
	m.calls[i] = call{}
}

func (m *model) success(r circuit.Result) {
	if m.state == circuit.HalfOpen {
		m.successes++
		if r&circuit.Slow != 0 && m.s.SlowRate > 0 {
			m.open()
		} else if m.successes == int(m.s.Successes) {
			m.enter(circuit.Closed)
		}
		return
	}
	m.observe(observation{at: m.now, counts: true, slow: r&circuit.Slow != 0})
	m.judge()
}

func (m *model) failure(i int, r circuit.Result) {
	if m.state == circuit.HalfOpen {
		m.open()
		return
	}
	c := &m.calls[i]
	counted := c.answered && c.answeredIn == m.period
	m.observe(observation{at: m.now, counts: !counted, failed: true, slow: r&circuit.Slow != 0 && !counted})
	c.fresh = false
	for j := range m.calls {
		m.good = m.good || m.calls[j].fresh
		m.calls[j].fresh = false
	}
	if m.good {
		m.row = 0
	}
	m.row++
	m.good = false
	if m.s.Consecutive > 0 && m.row >= int(m.s.Consecutive) {
		m.open()
		return
	}
	m.judge()
}

func (m *model) observe(o observation) {
	kept := m.seen
	n := 0
	m.seen = [memory]observation{}
	part := m.s.Window / circuit.Buckets
	for _, old := range kept[:m.n] {
		if old.at/part > m.now/part-circuit.Buckets {
			m.seen[n] = old
			n++
		}
	}
	m.seen[n] = o
	m.n = n + 1
}

// sums counts what is not too old now.
func (m *model) sums() circuit.Counts {
	var sum circuit.Counts
	part := m.s.Window / circuit.Buckets
	for _, o := range m.seen[:m.n] {
		if o.at/part <= m.now/part-circuit.Buckets {
			continue
		}
		for _, is := range []struct {
			so bool
			n  *uint64
		}{{o.counts, &sum.Calls}, {o.failed, &sum.Failed}, {o.slow, &sum.Slow}} {
			if is.so {
				*is.n++
			}
		}
	}
	return sum
}

func (m *model) judge() {
	sum := m.sums()
	calls := max(sum.Calls, sum.Failed)
	over := func(n uint64, rate float64) bool { return rate > 0 && n > 0 && float64(n)/float64(calls) >= rate }
	if calls >= uint64(m.s.Minimum) && (over(sum.Failed, m.s.FailureRate) || over(sum.Slow, m.s.SlowRate)) {
		m.open()
	}
}

// failures returns how many there are in a row.
func (m *model) failures() int {
	for _, c := range m.calls {
		if c.fresh {
			return 0
		}
	}
	if m.good {
		return 0
	}
	return m.row
}

func (m *model) open() {
	switch {
	case m.opened == 0, m.state == circuit.Closed && m.now-m.since >= m.s.Window && m.now-m.since >= m.opened:
		m.opened = m.s.OpenFor
	default:
		m.opened = min(2*m.opened, m.s.MaxOpenFor)
	}
	m.until = m.now + m.opened
	m.enter(circuit.Open)
}

func (m *model) enter(s circuit.State) {
	m.state, m.since = s, m.now
	m.period++
	m.changes++
	m.row, m.good, m.successes, m.n, m.seen = 0, false, 0, 0, [memory]observation{}
	for i := range m.calls {
		m.calls[i].fresh = false
	}
}

// node is a circuit beside its model, with the tickets of the calls that are under way.
type node struct {
	c       circuit.Circuit
	m       model
	tickets [liveCalls]circuit.Ticket
}

// check compares what can be seen of the two.
func (n *node) check(t require.TestingT) {
	waiting, successes := n.c.Probing()
	since, _ := n.c.Since()
	same := n.m.state == n.c.State() && n.m.period == int(n.c.Period()) && n.m.since == since &&
		n.m.successes == int(successes) && waiting <= n.m.s.Probes && n.m.failures() == int(n.c.Row()) && n.m.sums() == n.c.Counts(n.m.now)
	switch n.m.state {
	case circuit.HalfOpen:
		same = same && n.m.waiting() == int(waiting)
	case circuit.Open:
		same = same && n.c.Wait(n.m.now) == max(n.m.until-n.m.now, 0)
	case circuit.Closed:
		same = same && waiting == 0
	}
	if !same { // require would take most of the time
		require.Fail(t, "circuit and model differ", "%+v\n%+v", n.c, n.m)
	}
}

// begin makes the i-th call and compares whether it is admitted.
func (n *node) begin(t require.TestingT, i int) bool {
	could := n.c.Admits(n.m.now)
	ticket, ok := n.c.Begin(n.m.now)
	if could != ok || n.m.begin(i) != ok {
		require.Fail(t, "circuit and model differ about a call", "%+v\n%+v", n.c, n.m)
	}
	n.tickets[i%liveCalls] = ticket
	return ok
}

// results are all there are.
func results() []circuit.Result {
	return []circuit.Result{0, circuit.Slow, circuit.Failed, circuit.Failed | circuit.Slow, circuit.Ignored, circuit.Ignored | circuit.Failed}
}

// TestAllStates walks through everything that can happen to small circuits in so many steps: a call begins, is answered or
// ends in one of all ways, or time passes; at most three calls are under way.
func TestAllStates(t *testing.T) {
	t.Parallel()
	base := circuit.Settings{Window: 10, OpenFor: 2, MaxOpenFor: 4, ProbeTimeout: 3, Probes: 1, Successes: 1}
	with := func(change func(*circuit.Settings)) circuit.Settings {
		s := base
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		s     circuit.Settings
		depth int
	}{
		"at once, one probe":       {with(func(s *circuit.Settings) { s.Consecutive = 1 }), 9},
		"two in a row, two probes": {with(func(s *circuit.Settings) { s.Consecutive, s.Probes, s.Successes = 2, 2, 2 }), 9},
		"two probes, one success":  {with(func(s *circuit.Settings) { s.Consecutive, s.Probes = 1, 2 }), 9},
		"one probe, two successes": {with(func(s *circuit.Settings) { s.Consecutive, s.Successes = 1, 2 }), 9},
		"half of two fail":         {with(func(s *circuit.Settings) { s.FailureRate, s.Minimum = 0.5, 2 }), 9},
		"two thirds of three fail": {with(func(s *circuit.Settings) { s.FailureRate, s.Minimum = 2.0/3, 3 }), 9},
		"all of two are slow":      {with(func(s *circuit.Settings) { s.SlowRate, s.Minimum = 1, 2 }), 8},
		"all rules, and two probes": {with(func(s *circuit.Settings) {
			s.Consecutive, s.FailureRate, s.SlowRate, s.Minimum, s.Probes = 2, 0.6, 0.6, 2, 2
		}), 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			depth := c.depth
			if race.Enabled || testing.Short() { // which takes ten times as long, and finds nothing in a single goroutine
				depth -= 3
			}
			if states := walk(t, c.s, depth); depth == c.depth {
				require.Equal(t, 3, states, "all states are reached")
			}
		})
	}
}

// walk returns how many of the three states it came to.
func walk(t *testing.T, s circuit.Settings, depth int) int {
	t.Helper()
	all := results()[:5]
	if s.SlowRate == 0 { // nothing is slow
		all = []circuit.Result{0, circuit.Failed, circuit.Ignored}
	}
	seed := maphash.MakeSeed()
	seen := map[uint64]bool{}
	level := []node{{c: circuit.New(s), m: model{s: s}}}
	reached := map[circuit.State]int{}
	steps := 0
	for range depth {
		var next []node
		try := func(n node, step func(n *node)) {
			steps++
			step(&n)
			n.check(t)
			reached[n.m.state]++
			if h := maphash.Comparable(seed, n); !seen[h] {
				seen[h] = true
				next = append(next, n)
			}
		}
		for _, n := range level {
			idle := -1
			for i := range liveCalls {
				if !n.m.calls[i].live {
					idle = i
					continue
				}
				for _, r := range all {
					if !n.m.calls[i].answered && !n.m.calls[i].settled {
						try(n, func(n *node) {
							n.tickets[i] = n.c.Answered(n.m.now, n.tickets[i], r)
							n.m.answer(i, r)
						})
					}
					try(n, func(n *node) {
						n.c.End(n.m.now, n.tickets[i], r)
						n.m.end(i, r)
						n.tickets[i] = 0
					})
				}
			}
			if idle >= 0 {
				try(n, func(n *node) { n.begin(t, idle) })
			}
			for _, d := range []time.Duration{1, 2, 9} {
				try(n, func(n *node) { n.m.now += d })
			}
		}
		level = next
	}
	t.Logf("%d states, %d steps", len(seen), steps)
	return len(reached)
}

// TestAnySize: long histories of larger circuits go as the model says.
func TestAnySize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := func(name string) float64 {
			return rapid.SampledFrom([]float64{0, 0.1, 0.3, 0.5, 1}).Draw(t, name)
		}
		s := circuit.Settings{
			Consecutive: rapid.Uint32Range(0, 4).Draw(t, "consecutive"), FailureRate: rate("failure rate"), SlowRate: rate("slow rate"),
			Minimum: rapid.Uint32Range(1, 6).Draw(t, "minimum"), Window: 10 * rapid.SampledFrom([]time.Duration{1, 7}).Draw(t, "part"),
			OpenFor: rapid.SampledFrom([]time.Duration{1, 3, 15}).Draw(t, "open for"), MaxOpenFor: rapid.SampledFrom([]time.Duration{15, 50}).Draw(t, "at most"), Probes: rapid.Uint32Range(1, 4).Draw(t, "probes"), Successes: rapid.Uint32Range(1, 5).Draw(t, "successes"),
			ProbeTimeout: 9,
		}
		n := node{c: circuit.New(s), m: model{s: s}}
		var tickets [8]circuit.Ticket
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(tickets)-1).Draw(t, "call")
			r := rapid.SampledFrom(results()).Draw(t, "result")
			if n.m.n == memory-1 {
				n.m.now += s.Window // as much as the model can hold
			}
			switch live := n.m.calls[i].live; rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				n.m.now += time.Duration(rapid.IntRange(0, 12).Draw(t, "time"))
			case 1:
				if live {
					tickets[i] = n.c.Answered(n.m.now, tickets[i], r)
					n.m.answer(i, r)
				}
			case 2:
				if live {
					n.c.End(n.m.now, tickets[i], r)
					n.m.end(i, r)
				}
			default:
				if !live {
					n.begin(t, i)
					tickets[i] = n.tickets[i%liveCalls]
				}
			}
			n.check(t)
		}
	})
}

// The tests above would pass if both were wrong in the same way; here are the words of the doc comments.
func TestTable(t *testing.T) {
	t.Parallel()
	s := circuit.Settings{
		Consecutive: 3, FailureRate: 0.5, SlowRate: 0.5, Minimum: 4, Window: 100, OpenFor: 10, MaxOpenFor: 35, Probes: 2, Successes: 2, ProbeTimeout: 50,
	}
	call := func(c *circuit.Circuit, now time.Duration, r circuit.Result) {
		ticket, ok := c.Begin(now)
		require.True(t, ok)
		c.End(now, ticket, r)
	}
	fail := func(c *circuit.Circuit, now time.Duration, times int) {
		for range times {
			call(c, now, circuit.Failed)
		}
	}
	reason := func(c *circuit.Circuit) string {
		_, why := c.Since()
		return fmt.Sprint(c.State(), why)
	}

	t.Run("back-off and its end", func(t *testing.T) {
		t.Parallel()
		c := circuit.New(s)
		now := time.Duration(0)
		fail(&c, now, 3)
		require.Equal(t, fmt.Sprint(circuit.Open, circuit.Consecutive), reason(&c))
		counts, row := c.Left()
		require.Equal(t, circuit.Counts{Calls: 3, Failed: 3}, counts)
		require.EqualValues(t, 3, row)
		for _, open := range []time.Duration{10, 20, 35, 35} {
			require.Equal(t, open, c.Wait(now))
			_, ok := c.Begin(now + open - 1)
			require.False(t, ok)
			now += open
			fail(&c, now, 1)
			require.Equal(t, fmt.Sprint(circuit.Open, circuit.ProbeFailed), reason(&c))
		}
		now += 35
		call(&c, now, 0)
		call(&c, now, 0)
		require.Equal(t, fmt.Sprint(circuit.Closed, circuit.ProbesSucceeded), reason(&c))
		now += 99
		fail(&c, now, 3)
		require.Equal(t, time.Duration(35), c.Wait(now), "it was not closed for long enough")
		now += 35
		call(&c, now, 0)
		call(&c, now, 0)
		now += 100
		fail(&c, now, 3)
		require.Equal(t, time.Duration(10), c.Wait(now))
		long := s
		long.OpenFor, long.MaxOpenFor = 400, 1000
		c = circuit.New(long)
		fail(&c, 0, 3)
		call(&c, 400, 0)
		call(&c, 400, 0)
		fail(&c, 799, 3)
		require.Equal(t, time.Duration(800), c.Wait(799), "it was open for longer than it was closed")
	})

	t.Run("late results of earlier periods", func(t *testing.T) {
		t.Parallel()
		c := circuit.New(s)
		early, _ := c.Begin(0)
		fail(&c, 0, 3)
		c.End(1, early, 0)
		require.Equal(t, circuit.Open, c.State())
		one, _ := c.Begin(10)
		two, _ := c.Begin(10)
		c.End(11, early, circuit.Failed)
		require.Equal(t, circuit.HalfOpen, c.State(), "a call from before says nothing about now")
		_, ok := c.Begin(11)
		require.False(t, ok, "two are under way")
		c.End(12, one, circuit.Ignored)
		three, ok := c.Begin(12)
		require.True(t, ok, "and a place was given back")
		c.End(13, two, 0)
		c.End(13, three, 0)
		require.Equal(t, circuit.Closed, c.State())
	})

	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		c := circuit.New(s)
		fail(&c, 0, 3)
		one, _ := c.Begin(10)
		two, _ := c.Begin(10)
		one = c.Answered(10, one, 0)
		require.Equal(t, one, c.Answered(10, one, circuit.Failed), "the first word counts")
		_, ok := c.Begin(10)
		require.True(t, ok, "an answer that has begun gives its place back")
		c.End(10, one, circuit.Failed|circuit.Ignored)
		inFlight, _ := c.Probing()
		require.EqualValues(t, 2, inFlight, "once")
		two = c.Answered(10, two, 0)
		require.Equal(t, circuit.Closed, c.State())
		for range 2 {
			stream, _ := c.Begin(11)
			stream = c.Answered(11, stream, 0)
			c.End(11, stream, circuit.Failed)
		}
		require.EqualValues(t, 2, c.Row(), "answers that broke off are failures in a row")
		require.Equal(t, circuit.Counts{Calls: 2, Failed: 2}, c.Counts(11))
		c.End(11, two, circuit.Failed)
		require.Equal(t, circuit.Open, c.State(), "also that of a probe")
		c.End(12, one, circuit.Failed)
		require.Equal(t, time.Duration(20-1), c.Wait(12))
	})

	t.Run("rates", func(t *testing.T) {
		t.Parallel()
		for r, want := range map[circuit.Result]circuit.Reason{circuit.Failed: circuit.FailureRate, circuit.Slow: circuit.SlowRate} {
			c := circuit.New(s)
			call(&c, 0, r)
			call(&c, 95, 0)
			call(&c, 95, 0)
			call(&c, 95, r)
			require.Equal(t, fmt.Sprint(circuit.Open, want), reason(&c), "two of four")
			c = circuit.New(s)
			call(&c, 0, r)
			call(&c, 100, 0)
			call(&c, 100, 0)
			call(&c, 100, r)
			require.Equal(t, circuit.Counts{Calls: 3}.Calls, c.Counts(100).Calls, "the first was forgotten")
			require.Equal(t, circuit.Closed, c.State())
			require.Zero(t, c.Counts(300))
		}
		s := s
		s.FailureRate, s.Minimum, s.Consecutive = 0.07, 100, 0
		c := circuit.New(s)
		for range 93 {
			call(&c, 0, 0)
		}
		fail(&c, 0, 7)
		require.Equal(t, circuit.Open, c.State(), "7 of 100 are 0.07 of them, which floating-point numbers deny")
	})

	t.Run("silent and slow probes", func(t *testing.T) {
		t.Parallel()
		c := circuit.New(s)
		fail(&c, 0, 3)
		_, _ = c.Begin(10)
		_, _ = c.Begin(30)
		_, ok := c.Begin(79)
		require.False(t, ok)
		require.Equal(t, circuit.HalfOpen, c.State())
		_, ok = c.Begin(80)
		require.False(t, ok)
		require.Equal(t, fmt.Sprint(circuit.Open, circuit.ProbesSilent), reason(&c))
		require.Equal(t, time.Duration(20), c.Wait(80))
		call(&c, 100, circuit.Slow)
		require.Equal(t, fmt.Sprint(circuit.Open, circuit.ProbeSlow), reason(&c))
	})

	t.Run("time that goes back", func(t *testing.T) {
		t.Parallel()
		c := circuit.New(s)
		fail(&c, 1000, 3)
		require.Equal(t, time.Duration(10), c.Wait(5))
		_, ok := c.Begin(5)
		require.False(t, ok)
	})

	t.Run("zero, and calls that end twice", func(t *testing.T) {
		t.Parallel()
		var zero circuit.Circuit
		fail(&zero, 0, 1000)
		require.Equal(t, circuit.Closed, zero.State())
		c := circuit.New(s)
		fail(&c, 0, 3)
		probe, _ := c.Begin(10)
		require.True(t, probe.Probe())
		c.End(10, probe, circuit.Ignored)
		c.End(10, probe, circuit.Ignored)
		inFlight, _ := c.Probing()
		require.Zero(t, inFlight)
	})
}

func BenchmarkCircuit(b *testing.B) {
	c := circuit.New(circuit.Settings{FailureRate: 0.5, Minimum: 20, Window: 10 * time.Second, OpenFor: time.Second, MaxOpenFor: time.Minute, Probes: 1, Successes: 1, ProbeTimeout: time.Minute})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t, _ := c.Begin(time.Duration(i) * time.Microsecond)
		c.End(time.Duration(i)*time.Microsecond, t, 0)
	}
}
