package capacity_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/capacity"
)

// model is a gate as plain as it can be: it keeps each call, and sorts those that wait for each decision.
type model struct {
	s     capacity.Settings
	now   time.Duration
	calls []*call
	n     int
}

type call struct {
	number, class int
	since         time.Duration
	state         capacity.State
	ended         bool // its place was given back
	ticket        capacity.Ticket
	waiter        *capacity.Waiter
}

func (m *model) inFlight() int {
	n := 0
	for _, c := range m.calls {
		if c.state == capacity.Admitted && !c.ended {
			n++
		}
	}
	return n
}

// queue returns those that wait, in the order in which they get places.
func (m *model) queue() []*call {
	var q []*call
	for _, c := range m.calls {
		if c.state == capacity.Waiting {
			q = append(q, c)
		}
	}
	slices.SortFunc(q, func(a, b *call) int {
		if a.class != b.class {
			return a.class - b.class
		}
		if m.s.LIFO {
			return b.number - a.number
		}
		return a.number - b.number
	})
	return q
}

// arrive returns the call, and who has to go for it.
func (m *model) arrive(class int) (c, loser *call) {
	m.n++
	c = &call{number: m.n, class: class, since: m.now, state: capacity.Waiting}
	if len(m.queue()) == 0 && m.inFlight() < m.s.Limit {
		c.state = capacity.Admitted
	}
	m.calls = append(m.calls, c)
	if q := m.queue(); len(q) > m.s.Queue {
		loser = q[len(q)-1]
		loser.state = capacity.Displaced
	}
	return c, loser
}

// next returns whose waiting ends.
func (m *model) next() *call {
	q := m.queue()
	switch {
	case len(q) == 0:
		return nil
	case m.now-q[0].since >= m.s.MaxWait:
		q[0].state = capacity.Expired
		return q[0]
	case m.inFlight() < m.s.Limit:
		q[0].state = capacity.Admitted
		return q[0]
	}
	return nil
}

// TestModel: whatever happens, in whatever order, a gate with a fixed limit decides as the model does.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{s: capacity.Settings{
			Limit: rapid.IntRange(1, 4).Draw(t, "limit"), Classes: rapid.IntRange(1, 4).Draw(t, "classes"), Queue: rapid.IntRange(0, 5).Draw(t, "queue"),
			MaxWait: time.Duration(rapid.IntRange(1, 10).Draw(t, "wait")), LIFO: rapid.Bool().Draw(t, "lifo"),
		}}
		g := capacity.New(m.s)
		byWaiter := map[*capacity.Waiter]*call{}
		some := func(ok func(*call) bool) *call {
			var them []*call
			for _, c := range m.calls {
				if ok(c) {
					them = append(them, c)
				}
			}
			if len(them) == 0 {
				return nil
			}
			return rapid.SampledFrom(them).Draw(t, "which")
		}
		running := func(c *call) bool { return c.state == capacity.Admitted && !c.ended }
		settle := func() {
			for {
				w, c := g.Next(m.now), m.next()
				if w == nil || c == nil {
					require.True(t, w == nil && c == nil, "whose waiting is over")
					return
				}
				require.Equal(t, c, byWaiter[w])
				require.Equal(t, c.state, w.State)
				c.ticket = w.Ticket
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				class := rapid.IntRange(0, m.s.Classes-1).Draw(t, "class")
				room, free := g.Room(class), g.Free()
				c, loser := m.arrive(class)
				ticket, ok := g.Take(m.now, class)
				require.Equal(t, c.state == capacity.Admitted, ok)
				require.Equal(t, ok, free)
				if ok {
					c.ticket = ticket
					require.Equal(t, class, ticket.Class())
					return
				}
				require.Equal(t, loser != c, room)
				c.waiter = &capacity.Waiter{}
				byWaiter[c.waiter] = c
				out := g.Join(m.now, class, c.waiter)
				if loser == nil {
					require.Nil(t, out)
					return
				}
				require.Equal(t, loser, byWaiter[out])
				require.Equal(t, capacity.Displaced, out.State)
			},
			"leave": func(t *rapid.T) {
				if c := some(func(c *call) bool { return c.waiter != nil }); c != nil {
					how := rapid.SampledFrom([]capacity.State{capacity.Left, capacity.Expired}).Draw(t, "how")
					require.Equal(t, c.state == capacity.Waiting, g.Leave(c.waiter, how))
					if c.state == capacity.Waiting {
						c.state = how
					}
				}
			},
			"end": func(t *rapid.T) {
				if c := some(running); c != nil {
					c.ended = true
					g.End(m.now, c.ticket, capacity.Answered)
					settle()
				}
			},
			"answered": func(t *rapid.T) {
				if c := some(running); c != nil {
					c.ended = rapid.Bool().Draw(t, "gives its place back")
					c.ticket = g.Answered(m.now, c.ticket, capacity.Answered, c.ended)
					if c.ended {
						require.True(t, c.ticket.Settled())
						g.End(m.now, c.ticket, capacity.Answered) // which changes nothing
					}
					settle()
				}
			},
			"time": func(t *rapid.T) {
				m.now += time.Duration(rapid.IntRange(0, 6).Draw(t, "by"))
			},
			"": func(t *rapid.T) {
				require.Equal(t, m.inFlight(), g.InFlight())
				require.Equal(t, len(m.queue()), g.Waiting())
				require.LessOrEqual(t, g.InFlight(), m.s.Limit)
				require.LessOrEqual(t, g.Waiting(), m.s.Queue)
				want := make([]capacity.Counts, m.s.Classes)
				waiting := make([]int, m.s.Classes)
				for _, c := range m.calls {
					n := &want[c.class]
					switch c.state {
					case capacity.Admitted:
						n.Admitted++
						if c.waiter != nil {
							n.Waited++
						}
					case capacity.Displaced:
						n.Displaced++
					case capacity.Expired:
						n.Expired++
					case capacity.Left:
						n.Left++
					case capacity.Waiting:
						waiting[c.class]++
					}
				}
				for class := range want {
					require.Equal(t, want[class], g.Counts(class))
					require.Equal(t, waiting[class], g.WaitingOf(class))
				}
				if g.Waiting() > 0 {
					require.Equal(t, m.s.Limit, g.InFlight(), "nobody waits while a place is free")
				}
			},
		})
	})
}

// TestOrder says in words what the model holds: higher classes first, then who came first or last, and who has to go.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lifo        bool
		served, out string
	}{
		{false, "a1 a2 b1 c1", "c2 c3"},
		{true, "a2 a1 b1 c3", "c1 c2"},
	} {
		g := capacity.New(capacity.Settings{Limit: 1, Classes: 3, Queue: 4, MaxWait: time.Second, LIFO: c.lifo})
		first, ok := g.Take(0, 2)
		require.True(t, ok)
		names := map[*capacity.Waiter]string{}
		var served, out []string
		for i, name := range []string{"c1", "b1", "c2", "a1", "c3", "a2"} {
			w := &capacity.Waiter{}
			names[w] = name
			class := int(name[0] - 'a')
			_, ok := g.Take(time.Duration(i), class)
			require.False(t, ok)
			if loser := g.Join(time.Duration(i), class, w); loser != nil {
				out = append(out, names[loser])
			}
		}
		g.End(10, first, capacity.Answered)
		for w := g.Next(10); w != nil; w = g.Next(10) {
			served = append(served, names[w])
			g.End(10, w.Ticket, capacity.Answered)
		}
		slices.Sort(out)
		require.Equal(t, fmt.Sprint(c.served, " / ", c.out), fmt.Sprint(join(served), " / ", join(out)))
	}
}

func join(s []string) string {
	out := ""
	for i, x := range s {
		if i > 0 {
			out += " "
		}
		out += x
	}
	return out
}

// TestMisuse: who ends a call twice gives nobody more places.
func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, s := range []capacity.Settings{{Limit: 1, Classes: 1}, {Search: search(), Classes: 1}} {
		g := capacity.New(s)
		a, _ := g.Take(0, 0)
		for range 3 {
			g.End(0, a, capacity.Answered)
		}
		require.Zero(t, g.InFlight())
		_, ok := g.Take(0, 0)
		require.True(t, ok)
		require.Equal(t, 1, g.InFlight())
	}
	var zero capacity.Gate
	require.False(t, zero.Room(0))
	require.Nil(t, zero.Next(0))
	require.Zero(t, zero.Limit())
}
