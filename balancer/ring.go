package balancer

import (
	"math"

	"github.com/gatehouse-go/gateway/policy"
)

// Ring is consistent hashing in the strict sense: requests with one key go to one target, and when the targets change, only
// those keys move whose target left, or which a new one takes over. It is the same for all gateways that have the same
// targets, in whatever order. A request without a key goes to the next target in turn.
//
// A ring has a fixed number of slots, and a key belongs to a slot. Each target claims slots in an order of its own, faster the
// heavier it is, and a slot belongs to who claims it first; who claims it next is where its keys go when the first was
// tried, is out, or in a slow start. How many slots a target has differs by chance from the share that its weight gives it:
// by up to 15 %, with the default of Slots and up to 200 targets of about one weight. [Maglev] is more exact, and moves more.
type Ring struct {
	// Key tells requests apart; required, unless there is a Cookie. A fallback is written as policy.ByConsumer().Or(…).
	Key policy.Key
	// Cookie, where it is set, is hashed when Key has no value: whatever the client's cookie of that name holds. A client that
	// has none gets one, by Pool.Cookie, that leads to the target it was sent to. Clients can read and choose its value.
	Cookie *Cookie
	// LoadFactor bounds what a popular key does: a target that has as many times its share of all requests in flight gets no
	// more, and the key's requests go to its next choice. At least 1, 1.25 is usual; with few requests in flight it then
	// sends keys elsewhere often. 0 means no bound.
	LoadFactor float64
	// Slots is the size of the ring, 10 to 4194304: some hundred for each target, as one without a slot gets no keyed request.
	// Default 131101: half a MiB, and about 30 ms to fill when the targets change. The last four tables are kept, so that one
	// that goes and comes back costs nothing.
	Slots int
	// Seed goes into every hash. Gateways with one Seed agree; who does not know it cannot make keys that all belong to one
	// target.
	Seed uint64
}

// NewPicker implements [Algorithm]. The error joins what is wrong with the parameters.
func (r Ring) NewPicker(members []*Member) (Picker, error) {
	return r.common().newTable(members)
}

func (r Ring) prepare(members []*Member) { r.common().prepare(members) }

func (r Ring) check() error { return r.common().check() }

func (r Ring) common() *consistent {
	return &consistent{name: "Ring", key: r.Key, cookie: r.Cookie, loadFactor: r.LoadFactor, seed: r.Seed, slots: r.Slots, fill: claim}
}

// slot is who claimed a slot first and next, and when.
type slot struct {
	first, next     uint16
	firstAt, nextAt float64
}

// claim gives each slot to the claimant that claims it first. The claims of one come in even intervals, which are the shorter
// the heavier it is, at slots that depend on nobody else.
func claim(claimants []claimant, slots int) (owner, next []uint16) {
	const (
		start = 4  // as many claims as there are slots, times this, leave 1 of 55 unclaimed
		last  = 96 // leave one unclaimed in 1 of 1e36 rings
	)
	sum := 0.0
	for _, c := range claimants {
		sum += c.weight
	}
	ring := make([]slot, slots)
	for i := range ring {
		ring[i].firstAt, ring[i].nextAt = math.Inf(1), math.Inf(1)
	}
	claims := make([]uint64, len(claimants)) // made so far
	left := slots
	for end := float64(start); left > 0 && end <= last; end *= 1.25 {
		until := end * float64(slots) / sum
		for i, c := range claimants {
			who, offset := uint16(i), unit(mix(c.id^root5)) // a pool has at most MaxTargets
			n := claims[i]
			for ; ; n++ {
				at := (float64(n) + offset) / c.weight
				if at >= until {
					break
				}
				s := &ring[below(mix(c.id+n*golden), slots)]
				switch {
				case at < s.firstAt:
					if math.IsInf(s.firstAt, 1) {
						left--
					} else {
						s.next, s.nextAt = s.first, s.firstAt
					}
					s.first, s.firstAt = who, at
				case at < s.nextAt && who != s.first:
					s.next, s.nextAt = who, at
				}
			}
			claims[i] = n
		}
	}
	owner, next = make([]uint16, slots), make([]uint16, slots)
	for i, s := range ring {
		owner[i], next[i] = s.first, s.next
		if math.IsInf(s.nextAt, 1) {
			next[i] = s.first
		}
	}
	return owner, next
}
