package balancer

import (
	"cmp"
	"math"
	"slices"

	"github.com/gatehouse-go/gateway/policy"
)

// Maglev is consistent hashing with nearly exact shares: the targets fill a table of slots in turns, by weight, each with the
// next free one in an order of its own (after Eisenbud and others, "Maglev", NSDI 2016). A request without a key goes to the next
// target in turn.
//
// The price is that some keys move when targets change that would not have to. When one of n targets of one weight leaves, at
// most 1.5/n of the keys do, whatever n is. A table that is filled exactly moves 2/n with 200 targets and 7/n with 1,000; so here
// shares are the less exact the more targets there are: off by up to 0.1 % with 25, 0.9 % with 50, 4 % with 100 and 8 % with
// 200, with the default of Slots, and with a thousand as much as those of [Ring], which moves no key needlessly.
type Maglev struct {
	// Key, Cookie, LoadFactor and Seed are as in Ring.
	Key        policy.Key
	Cookie     *Cookie
	LoadFactor float64
	Seed       uint64
	// Slots is as in Ring, but a table takes half the memory. With more slots shares are more exact and fewer keys move,
	// for 50 to 200 ns a slot whenever the targets change.
	Slots int
}

// NewPicker implements [Algorithm]. The error joins what is wrong with the parameters.
func (m Maglev) NewPicker(members []*Member) (Picker, error) {
	return m.common().newTable(members)
}

func (m Maglev) prepare(members []*Member) { m.common().prepare(members) }

func (m Maglev) check() error { return m.common().check() }

func (m Maglev) common() *consistent {
	return &consistent{name: "Maglev", key: m.Key, cookie: m.Cookie, loadFactor: m.LoadFactor, seed: m.Seed, slots: m.Slots, fill: takeTurns}
}

// taker is a claimant as it takes slots.
type taker struct {
	owner uint16 // a pool has at most MaxTargets
	turn  float64
	next  uint64  // which says where it looks next
	phase float64 // decides which turns may look at one slot more
}

// circle is claimants of one weight, who have their turns one after the other, again and again.
type circle struct {
	turn     float64 // of takers[next]
	interval float64 // between two turns of each
	takers   []taker
	next     int
}

// takeTurns lets the claimants take slots in turns. Nobody is next.
//
// In a nearly full table who gets which slot depends on all that happened before, so that one claimant less changes much of it.
// Hence a turn is lost in which a claimant looks at several slots and finds all taken, and the last slots go to whom their hash
// says. How many slots it looks at goes by slots/n², with which the keys that move needlessly stay in proportion; the constants
// are those of the ones tried with which shares were the most exact within 1.5/n.
func takeTurns(claimants []claimant, slots int) (owner, next []uint16) {
	const more = 1 / 1.618033988749895 // spreads the turns that look at one slot more evenly
	sum, squares := 0.0, 0.0
	for _, c := range claimants {
		sum += c.weight
		squares += c.weight * c.weight
	}
	n := sum * sum / squares // as many with equal weights would compete as much
	room := float64(slots) / (7 * n * n)
	looks := min(2+float64(room*room), math.MaxInt32) // rounded before it is added to, as on all machines
	rest := int(float64(slots) / (n * looks))
	queue := circles(claimants) // a heap
	owner = make([]uint16, slots)
	taken := make([]bool, slots)
	for left := slots; left > rest; {
		c := &queue[0]
		t := &c.takers[c.next]
		if t.phase += more; t.phase >= 1 {
			t.phase--
		}
		for range int(looks + t.phase) {
			s := below(mix(t.next), slots)
			t.next += golden
			if !taken[s] {
				owner[s], taken[s] = t.owner, true
				left--
				break
			}
		}
		t.turn += c.interval
		if c.next++; c.next == len(c.takers) {
			c.next = 0
		}
		c.turn = c.takers[c.next].turn
		sink(queue, 0)
	}
	for s := range owner {
		if !taken[s] {
			owner[s] = rendezvous(claimants, uint64(s))
		}
	}
	return owner, nil
}

// circles returns a heap of the claimants by their first turns.
func circles(claimants []claimant) []circle {
	at := make(map[float64]int)
	var heap []circle
	for i, c := range claimants {
		j, ok := at[c.weight]
		if !ok {
			j = len(heap)
			at[c.weight] = j
			heap = append(heap, circle{interval: 1 / c.weight})
		}
		heap[j].takers = append(heap[j].takers, taker{
			owner: uint16(i), turn: unit(mix(c.id^root5)) / c.weight, next: c.id, phase: unit(mix(c.id ^ root7)),
		})
	}
	for i := range heap {
		slices.SortFunc(heap[i].takers, func(a, b taker) int { return cmp.Compare(a.turn, b.turn) })
		heap[i].turn = heap[i].takers[0].turn
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	return heap
}

// sink moves the entry at i of a heap down to where it belongs.
func sink(heap []circle, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1].turn < heap[child].turn {
			child++
		}
		if heap[i].turn <= heap[child].turn {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// rendezvous returns who of all gets a slot by chance, by weight.
func rendezvous(claimants []claimant, slot uint64) uint16 {
	first, least := 0, math.Inf(1)
	for i, c := range claimants {
		if at := -math.Log(1-unit(mix(c.id+slot*golden))) / c.weight; at < least {
			first, least = i, at
		}
	}
	return uint16(first)
}
