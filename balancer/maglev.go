package balancer

import "github.com/gatehouse-go/gateway/policy"

// Maglev is consistent hashing with exact shares: the targets fill a table of slots in turns, by weight, each with the next
// free one in an order of its own (Eisenbud and others, "Maglev", NSDI 2016). The slots of a target differ from the share
// its weight gives it by one or two. The price is that some keys move when targets change that would not have to: when one
// of n targets leaves, 1.1/n of the keys in place of 1/n with 50 targets, 1.3/n with 100 and 2/n with 200, with the default
// of Slots. [Ring] moves none of these. A request without a key goes to the next target in turn.
type Maglev struct {
	// Key, Cookie, LoadFactor and Seed are as in Ring.
	Key        policy.Key
	Cookie     *Cookie
	LoadFactor float64
	Seed       uint64
	// Slots is the size of the table, 10 to 4194304; it is rounded up to a prime. Default 131101. With more slots fewer keys
	// move, for about 100 ns a slot whenever the targets change.
	Slots int
}

// NewPicker implements [Algorithm]. The error joins what is wrong with the parameters.
func (m Maglev) NewPicker(members []*Member) (Picker, error) {
	return m.common().newTable(members, takeTurns)
}

func (m Maglev) check() error { return m.common().check() }

func (m Maglev) common() *consistent {
	return &consistent{name: "Maglev", key: m.Key, cookie: m.Cookie, loadFactor: m.LoadFactor, seed: m.Seed, slots: m.Slots}
}

// preference is the order in which a claimant wants slots: from start in steps of skip, which comes by all when their number
// is a prime.
type preference struct {
	owner      uint16
	turn       float64 // when it is its turn next
	interval   float64
	next, skip uint64
}

// takeTurns lets the claimants take slots in turns. Nobody is next.
func takeTurns(claimants []claimant, slots int) (owner, next []uint16) {
	slots = primeFrom(slots)
	size := uint64(slots)
	queue := make([]preference, len(claimants)) // a heap by turn
	for i, c := range claimants {
		queue[i] = preference{
			owner: uint16(i), turn: unit(mix(c.id^root5)) / c.weight, interval: 1 / c.weight, // a pool has at most MaxTargets
			next: mix(c.id) % size, skip: mix(c.id+golden)%(size-1) + 1,
		}
	}
	for i := len(queue)/2 - 1; i >= 0; i-- {
		sink(queue, i)
	}
	owner = make([]uint16, slots)
	taken := make([]bool, slots)
	for range slots {
		p := &queue[0]
		for taken[p.next] {
			if p.next += p.skip; p.next >= size {
				p.next -= size
			}
		}
		owner[p.next], taken[p.next] = p.owner, true
		p.turn += p.interval
		sink(queue, 0)
	}
	return owner, nil
}

// sink moves the entry at i of a heap down to where it belongs.
func sink(heap []preference, i int) {
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

// primeFrom returns the least prime that is not below n, which is at least 3.
func primeFrom(n int) int {
	for n |= 1; ; n += 2 {
		prime := true
		for d := 3; d*d <= n; d += 2 {
			if n%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			return n
		}
	}
}
