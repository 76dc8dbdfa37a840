package balancer

import (
	"net/http"
	"slices"
	"time"
)

// Query is what a pick may depend on. The zero Query is a request nothing is known about.
type Query struct {
	// Request is the client's request, read-only; algorithms that hash take their key from it. It may be nil.
	Request *http.Request
	// Tried are the members that already failed to answer this request. They are not picked again.
	Tried []*Member
	// Now is when the request is sent. Zero means time.Now(), which is then asked for only where an algorithm or a slow start
	// depends on it.
	Now time.Time

	at   time.Duration // Now, as the pool counts time; only while draw is not 0
	draw uint64        // by which slow start decides; 0 while it holds nobody back
}

// HasTried reports whether m is in q.Tried.
func (q Query) HasTried(m *Member) bool { return slices.Contains(q.Tried, m) }

// Avoids reports whether this request must not go to m: it was tried, its health has taken it out, or a slow start gives m only
// some of the requests, and not this one. Pickers honour it.
func (q Query) Avoids(m *Member) bool {
	return m.barred.Load() || len(q.Tried) > 0 && q.HasTried(m) || q.draw != 0 && q.heldBack(m)
}

// heldBack reports whether slow start keeps the request from m.
func (q Query) heldBack(m *Member) bool {
	share := m.warmth(q.at)
	return share < 1 && q.chance(m) >= share
}

// chance is a number in [0, 1) that is drawn once for each request and member.
func (q Query) chance(m *Member) float64 { return unit(mix(q.draw ^ m.id)) }

// now returns q.Now, or the time.
func (q Query) now() time.Time {
	if q.Now.IsZero() {
		return time.Now()
	}
	return q.Now
}
