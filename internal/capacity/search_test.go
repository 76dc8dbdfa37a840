package capacity_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/capacity"
	"github.com/gatehouse-go/gateway/internal/race"
)

func search() capacity.SearchSettings {
	return capacity.SearchSettings{Initial: 20, Min: 1, Max: 1000, Window: 200 * time.Millisecond, Samples: 50, Tolerance: 1.2, Probe: 10 * time.Second}
}

// simulated returns a simulation at twice the capacity, of whose length the first third does not count.
func simulated(seed uint64, workers int, mean time.Duration, s service, length time.Duration) *world {
	return &world{
		seed: seed, workers: workers, mean: mean, service: s, offered: 2, patience: max(time.Second, 20*mean), shares: []float64{1}, length: length, from: length / 3,
		gate: capacity.New(capacity.Settings{Search: search(), Classes: 1, Queue: 20, MaxWait: 10 * mean}),
	}
}

// TestSearch: whatever the server is, at twice what it can do its workers are busy, and not much more than that waits in it.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name    string
		service service
	}{{"constant", constant}, {"exponential", exponential}, {"mixed", mixed}} {
		for _, workers := range []int{1, 3, 10, 50, 200} {
			for _, mean := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s %d %s", s.name, workers, mean), func(t *testing.T) {
					t.Parallel()
					if workers == 1 && s.name != "constant" {
						t.Skip("see TestFewCalls")
					}
					length := max(time.Minute, 1500*mean/time.Duration(workers)) // it learns from calls
					if workers > 10 {
						length = max(20*time.Second, 500*mean)
						if race.Enabled || testing.Short() {
							t.Skip("takes long, and there is one goroutine")
						}
					}
					w := simulated(1, workers, mean, s.service, length)
					w.run()
					found := w.gate.Search()
					t.Logf("limit %6.1f, goodput %.3f, at rest %v", w.limit(), w.goodput(), found.Rest().Round(time.Millisecond))
					require.Greater(t, w.goodput(), 0.9)
					require.Less(t, w.limit(), 2.5*float64(workers)+15)
				})
			}
		}
	}
}

// TestFewCalls: what ten or thirty calls in a second that are not alike tell is little. It takes minutes, and a single worker is
// sometimes left without work.
func TestFewCalls(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name    string
		workers int
		service service
		least   float64
	}{{"constant", 1, constant, 0.95}, {"exponential", 1, exponential, 0.5}, {"exponential", 3, exponential, 0.9}, {"mixed", 3, mixed, 0.85}} {
		var goodput []float64
		for seed := range uint64(8) {
			w := simulated(seed+1, s.workers, 100*time.Millisecond, s.service, 5*time.Minute)
			w.run()
			goodput = append(goodput, math.Round(100*w.goodput()))
		}
		slices.Sort(goodput)
		t.Logf("%d workers of 100 ms, %s: goodput of %v %%", s.workers, s.name, goodput)
		require.GreaterOrEqual(t, goodput[0], 100*s.least)
	}
}

// TestStuckServer: a server in which so much waits that no client gets its answer in time, from the beginning on, is left alone
// until it has caught up.
func TestStuckServer(t *testing.T) {
	t.Parallel()
	w := simulated(1, 1, 100*time.Millisecond, constant, 3*time.Minute)
	w.patience = time.Second // 20 that wait take two
	w.from = 90 * time.Second
	w.gate = capacity.New(capacity.Settings{Search: search(), Classes: 1, Queue: 20, MaxWait: 300 * time.Millisecond})
	w.run()
	require.Greater(t, w.goodput(), 0.9)
	require.Less(t, w.limit(), 10.0)
}

// TestChanges: the server becomes slower, or loses workers, and is well again.
func TestChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		workers    int
		mean       time.Duration
		least, top float64 // of the limit meanwhile
	}{
		"slower by deployment": {20, 80 * time.Millisecond, 18, 50},
		"workers lost":         {4, 20 * time.Millisecond, 4, 20},
		"both":                 {5, 80 * time.Millisecond, 5, 25},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := simulated(2, 20, 20*time.Millisecond, exponential, 90*time.Second)
			w.from, w.every = 0, time.Second
			var good [91]int
			var limits [91]float64
			w.change = func(w *world, now time.Duration) {
				second := int(now / time.Second)
				good[second], limits[second] = w.stats[0].good, float64(w.gate.Limit())
				switch second {
				case 20:
					w.workers, w.mean = c.workers, c.mean
				case 60:
					w.workers, w.mean = 20, 20*time.Millisecond
				}
			}
			w.run()
			meanwhile, after := float64(c.workers)/c.mean.Seconds(), 1000.0
			goodput := func(from, to int, rate float64) float64 {
				return float64(good[to]-good[from]) / (float64(to-from) * rate)
			}
			t.Logf("before %.2f, in the first 5 s %.2f, then %.2f, in the 5 s behind it %.2f, then %.2f of what it can do", goodput(5, 20, after),
				goodput(20, 25, meanwhile), goodput(25, 60, meanwhile), goodput(60, 65, after), goodput(65, 89, after))
			require.Greater(t, goodput(25, 60, meanwhile), 0.9)
			require.Greater(t, goodput(65, 89, after), 0.9)
			sum := 0.0
			for _, l := range limits[30:60] {
				sum += l / 30
			}
			require.Greater(t, sum, c.least*0.9)
			require.Less(t, sum, c.top)
		})
	}
}

// TestUnused: a limit that nobody needs stays, and is there when it is needed.
func TestUnused(t *testing.T) {
	t.Parallel()
	w := simulated(1, 20, 20*time.Millisecond, exponential, 30*time.Second)
	w.offered, w.from = 0.2, 0
	w.run()
	require.Zero(t, w.stats[0].shed)
	require.GreaterOrEqual(t, w.gate.Limit(), 10)
	require.Less(t, w.gate.Limit(), 40)
}

// drive is calls of which each takes as long as it is said to, as many at a time as there are places.
func drive(g *capacity.Gate, now time.Duration, calls int, took time.Duration, r capacity.Result) time.Duration {
	for range calls {
		var tickets []capacity.Ticket
		for t, ok := g.Take(now, 0); ok; t, ok = g.Take(now, 0) {
			tickets = append(tickets, t)
		}
		now += took
		for _, t := range tickets {
			g.End(now, t, r)
		}
	}
	return now
}

// TestOutcomes: what lowers the limit, and what does not.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	after := func(r capacity.Result) int {
		g := capacity.New(capacity.Settings{Search: search(), Classes: 1})
		now := drive(g, 0, 200, 10*time.Millisecond, capacity.Answered)
		before := g.Limit()
		require.Greater(t, before, 40)
		drive(g, now, 300, 10*time.Millisecond, r)
		return g.Limit() - before
	}
	require.Positive(t, after(capacity.Answered))
	require.Negative(t, after(capacity.Overloaded))
	g := capacity.New(capacity.Settings{Search: search(), Classes: 1})
	now := drive(g, 0, 200, 10*time.Millisecond, capacity.Answered)
	drive(g, now, 2000, 10*time.Millisecond, capacity.Overloaded)
	require.Equal(t, 1, g.Limit(), "nothing but refusals")

	// Half of the clients leave, as they came: the answers take no longer for it.
	g = capacity.New(capacity.Settings{Search: search(), Classes: 1})
	now = drive(g, 0, 100, 10*time.Millisecond, capacity.Answered)
	for range 300 {
		a, ok := g.Take(now, 0)
		require.True(t, ok)
		b, _ := g.Take(now, 0)
		now += 5 * time.Millisecond
		g.End(now, a, capacity.Unknown)
		now += 5 * time.Millisecond
		g.End(now, b, capacity.Answered)
	}
	require.Greater(t, g.Limit(), 20)
}

// TestBounds: whatever happens, the limit stays within its bounds and as many calls are in flight as have not ended.
func TestBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := search()
		s.Min = rapid.IntRange(1, 5).Draw(t, "min")
		s.Max = s.Min + rapid.IntRange(0, 40).Draw(t, "range")
		s.Initial = rapid.IntRange(s.Min, s.Max).Draw(t, "initial")
		s.Window = time.Duration(rapid.IntRange(1, 10).Draw(t, "window")) * time.Millisecond
		s.Samples = rapid.IntRange(1, 30).Draw(t, "samples")
		s.Probe = 20 * s.Window
		g := capacity.New(capacity.Settings{Search: s, Classes: 1})
		now := time.Duration(0)
		var tickets []capacity.Ticket
		for range rapid.IntRange(1, 600).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if ticket, ok := g.Take(now, 0); ok {
					tickets = append(tickets, ticket)
				}
			case 2:
				now += time.Duration(rapid.IntRange(-10, 3000).Draw(t, "by")) * time.Microsecond
			case 3:
				r := capacity.Result(rapid.IntRange(0, 2).Draw(t, "result"))
				if len(tickets) > 0 && rapid.Bool().Draw(t, "its answer begins") {
					tickets[0] = g.Answered(now, tickets[0], r, false)
				} else if len(tickets) > 0 {
					g.End(now, tickets[0], r)
					tickets = tickets[1:]
				}
			}
			found := g.Search()
			require.GreaterOrEqual(t, g.Limit(), s.Min)
			require.LessOrEqual(t, g.Limit(), found.Found())
			require.LessOrEqual(t, found.Found(), s.Max)
			require.GreaterOrEqual(t, found.Found(), s.Min)
			require.GreaterOrEqual(t, found.Rest(), time.Duration(0))
			require.GreaterOrEqual(t, found.Last(), time.Duration(0))
			require.Len(t, tickets, g.InFlight())
		}
	})
}

// TestProbeBesideStreams: calls whose answers have begun and do not end keep the gate from getting to a lower level. A probe must
// not wait for them with everybody else outside.
func TestProbeBesideStreams(t *testing.T) {
	t.Parallel()
	g := capacity.New(capacity.Settings{Search: search(), Classes: 1, Queue: 20, MaxWait: 500 * time.Millisecond})
	now := time.Duration(0)
	var streams []capacity.Ticket // of which no end is seen
	for range 15 {
		ticket, ok := g.Take(now, 0)
		require.True(t, ok)
		streams = append(streams, ticket)
	}
	now += 10 * time.Millisecond
	for _, ticket := range streams {
		g.Answered(now, ticket, capacity.Answered, false)
	}
	admitted, longest, last := 0, time.Duration(0), now
	for now < 2*time.Minute {
		ticket, ok := g.Take(now, 0)
		if ok {
			admitted++
			longest, last = max(longest, now-last), now
		} else {
			var w capacity.Waiter // who is asked for by somebody without a place, as a Limiter has it
			require.Nil(t, g.Join(now, 0, &w))
			for next := g.Next(now); next != nil; next = g.Next(now) {
				if next == &w && w.State == capacity.Admitted {
					admitted++
					longest, last = max(longest, now-last), now
					ticket, ok = w.Ticket, true
				}
			}
			g.Leave(&w, capacity.Left)
		}
		now += 10 * time.Millisecond
		if ok {
			g.End(now, ticket, capacity.Answered)
		}
	}
	longest = max(longest, now-last)
	t.Logf("%d calls in two minutes, with a pause of %v", admitted, longest)
	require.Less(t, longest, 3*time.Second)
}
