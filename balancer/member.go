package balancer

import (
	"cmp"
	"errors"
	"math"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/policy"
)

// Member is one target in a pool and what is known about it. It stays the same value as long as its target is in the
// pool, so that its counters survive a change of the other targets or of its own weight. Its methods are safe for
// concurrent use.
type Member struct {
	target string
	url    *url.URL
	key    string
	id     uint64 // a hash of key
	home   *home

	weight  atomic.Int64 // in force: 0 for what was taken out
	place   atomic.Pointer[place]
	warming atomic.Int64 // when a slow start began, on the clock of home; 0 for none
	leaving atomic.Bool  // it is not in the pool any more
	ousted  atomic.Bool  // it was taken out, and no pick that follows returns it
	barred  atomic.Bool  // it is out, though the picker may not know yet

	inFlight    atomic.Int64
	total       atomic.Uint64
	failed      atomic.Uint64
	canceled    atomic.Uint64
	serverError atomic.Uint64
	lastError   atomic.Pointer[lastError]
	latency     latency
	firstByte   atomic.Int64 // a moving average, nanoseconds; 0 for none
	record      record

	standings atomic.Pointer[[]standing]

	mu      sync.Mutex
	pending []standing // of pickers that are being made
	out     bool       // not in the picker; guarded by the pool

	takenOut bool // by TakeOut; guarded by the pool
}

// home is what the members of a pool share.
type home struct {
	epoch     time.Time
	slowStart time.Duration
	counting  atomic.Bool  // somebody wants to know
	inFlight  atomic.Int64 // at all members together, since then
	tables    tables

	mu    sync.Mutex
	empty chan struct{} // closed when a leaving member has nothing in flight any more; nil while nobody waits
}

// since returns a time on the clock of h, which starts at 1 so that 0 can stand for never.
func (h *home) since(now time.Time) time.Duration { return max(now.Sub(h.epoch), 0) + 1 }

// at is the other way round.
func (h *home) at(since time.Duration) time.Time { return h.epoch.Add(since - 1) }

// place is where a member stands among the others, and what it is called.
type place struct {
	weight   int64 // 0 for NoTraffic
	zone     string
	priority int
	host     string // that it is asked for by; "" for that of its URL
}

type lastError struct {
	kind string
	at   time.Time
}

// standing is a member's place in a picker that goes by requests in flight.
type standing struct {
	of    *least
	index int32
}

func (p *Pool) newMember(t parsed) *Member {
	m := &Member{target: t.target.URL, url: t.url, key: t.key, id: hash(0, []byte(t.key)), home: p.home}
	m.record.was.since = p.home.since(time.Now())
	m.record.mindsFrom = math.MinInt64 // requests that began before the pool count, too
	if p.passive != nil && p.passive.FailureRate > 0 {
		m.record.window = circuit.NewWindow(p.passive.Window)
		m.record.minds.Store(true)
	}
	return m
}

func (m *Member) placed() place {
	if p := m.place.Load(); p != nil {
		return *p
	}
	return place{}
}

// set returns where the member stood before. The pool is locked.
func (m *Member) set(p place) place {
	was := m.placed()
	m.place.Store(&p)
	if m.takenOut {
		m.weight.Store(0)
	} else {
		m.weight.Store(p.weight)
	}
	return was
}

// asTarget returns the target that m stands for, but for its Socket.
func (m *Member) asTarget() Target {
	p := m.placed()
	return Target{URL: m.target, Host: p.host, Weight: int(cmp.Or(p.weight, NoTraffic)), Priority: p.priority, Zone: p.zone}
}

// Target returns the URL of the target as it was written.
func (m *Member) Target() string { return m.target }

// URL returns the parsed URL of the target. It is shared: nobody may change it.
func (m *Member) URL() *url.URL { return m.url }

// Host returns what requests ask for in Host, if that is not the host of URL; "" otherwise.
func (m *Member) Host() string { return m.placed().host }

// Weight returns the share of the traffic, 0 for a target that takes none.
func (m *Member) Weight() int { return int(m.weight.Load()) }

// InFlight returns the number of picks not yet done.
func (m *Member) InFlight() int64 { return m.inFlight.Load() }

func (m *Member) begin() {
	m.inFlight.Add(1)
	if m.home.counting.Load() {
		m.home.inFlight.Add(1)
	}
	m.total.Add(1)
	m.changed()
}

// undo takes back a begin.
func (m *Member) undo() {
	m.total.Add(^uint64(0))
	m.leave()
}

func (m *Member) leave() {
	if m.home.counting.Load() {
		m.home.inFlight.Add(-1)
	}
	if m.inFlight.Add(-1) == 0 && (m.leaving.Load() || m.ousted.Load()) {
		m.home.mu.Lock()
		if m.home.empty != nil {
			close(m.home.empty)
			m.home.empty = nil
		}
		m.home.mu.Unlock()
	}
	m.changed()
}

// changed tells the pickers that go by requests in flight.
func (m *Member) changed() {
	if all := m.standings.Load(); all != nil {
		for _, s := range *all {
			s.of.refresh(s.index)
		}
	}
}

func (m *Member) end(o policy.Outcome) {
	switch {
	case o.Canceled:
		m.canceled.Add(1)
	case o.Err != nil:
		m.failed.Add(1)
		m.lastError.Store(&lastError{kind: errorKind(o.Err), at: time.Now()})
	case o.Status >= 500:
		m.serverError.Add(1)
	}
	if o.FirstByte > 0 && !o.Canceled {
		m.took(o.FirstByte)
	}
	if (!o.Canceled || o.Fault == policy.FaultOvertaken) && m.latency.wanted() {
		m.latency.observe(m.home.since(time.Now()), o)
	}
	m.leave()
}

// took takes in how long an answer took to begin. Of those that end at the same moment one may be missing.
func (m *Member) took(d time.Duration) {
	const share = 8 // of the latest
	old := m.firstByte.Load()
	if old == 0 {
		m.firstByte.CompareAndSwap(0, int64(d))
		return
	}
	m.firstByte.CompareAndSwap(old, max(old+(int64(d)-old)/share, 1))
}

// errorKind is the code of a *policy.Error, since texts of other errors may hold addresses.
func errorKind(err error) string {
	var e *policy.Error
	if errors.As(err, &e) && e != nil && e.Code != "" {
		return e.Code
	}
	return "error"
}

// minWarmth is the share of its weight with which a slow start begins.
const minWarmth = 0.1

// warmth returns which share of its weight the member has in a slow start, 1 outside of one.
func (m *Member) warmth(at time.Duration) float64 {
	began := time.Duration(m.warming.Load())
	if began == 0 || at >= began+m.home.slowStart {
		return 1
	}
	return max(float64(at-began)/float64(m.home.slowStart), minWarmth)
}

// stand remembers a place in a picker that is being made.
func (m *Member) stand(s standing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = append(m.pending, s)
}

// forget drops the places remembered.
func (m *Member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = nil
}

// settle takes the places remembered for those that count. What was missed meanwhile is made good.
func (m *Member) settle() {
	m.mu.Lock()
	pending := m.pending
	m.pending = nil
	m.mu.Unlock()
	if len(pending) == 0 {
		m.standings.Store(nil)
		return
	}
	m.standings.Store(&pending)
	m.changed()
}

// MemberStatus is a snapshot of a [Member].
type MemberStatus struct {
	// URL is the target as it was written.
	URL string
	// Host is what it is asked for by, if that is not the host of URL.
	Host string
	// Weight is its share of the traffic, 0 when it takes none.
	Weight int
	// Priority and Zone are those of its Target.
	Priority int
	Zone     string
	// InFlight is the number of requests it is working on.
	InFlight int64
	// Requests counts the requests it was picked for, those in flight included. Of the others, Failed got no whole
	// answer, ServerErrors a whole one with a status of 500 or more, and Canceled were given up because the client left, or
	// because another try was answered first.
	Requests, Failed, ServerErrors, Canceled uint64
	// FirstByte is how long its answers took to begin: a moving average, in which the latest has an eighth; 0 before the first.
	FirstByte time.Duration
	// Latency is what PeakEWMA expects of it; 0 when that is not known, or another algorithm is in use.
	Latency time.Duration
	// Warming: a slow start still gives it less than its weight.
	Warming bool
	// TakenOut: TakeOut keeps requests from it.
	TakenOut bool
	// Draining: it was removed, gets no requests any more, and is listed until those in flight have ended.
	Draining bool
	// Health is what is known about its health, HealthReason why that changed last, as HealthChange.Reason, "" while it has not,
	// and HealthSince since when it is so: since the target is in the pool, while it has not.
	Health       HealthState
	HealthReason string
	HealthSince  time.Time
	// Ejections is how often it was ejected, EjectedUntil when that ends, or may end by its checks; zero unless it is.
	Ejections    uint64
	EjectedUntil time.Time
	// CheckedAt is when it was checked last, which took CheckDuration and found CheckError, nil if all was well. They are zero
	// before the first check. The error may quote addresses and what the target sent; it is for logs.
	CheckedAt     time.Time
	CheckDuration time.Duration
	CheckError    error
	// LastError is the code of the last failure, such as "connect_refused", and LastErrorAt when it was counted. They
	// are zero when there was none, and stay when later requests succeed.
	LastError   string
	LastErrorAt time.Time
}

// status is called with the pool locked.
func (m *Member) status(at time.Duration) MemberStatus {
	s := MemberStatus{
		Health: m.state(), Ejections: m.record.ejections,
		URL: m.target, Weight: m.Weight(), InFlight: m.inFlight.Load(), Requests: m.total.Load(),
		Failed: m.failed.Load(), ServerErrors: m.serverError.Load(), Canceled: m.canceled.Load(),
		TakenOut: m.takenOut, Draining: m.leaving.Load(), Warming: m.warmth(at) < 1,
	}
	if p := m.place.Load(); p != nil {
		s.Priority, s.Zone, s.Host = p.priority, p.zone, p.host
	}
	s.HealthReason, s.HealthSince = m.record.was.reason, m.home.at(m.record.was.since)
	if m.record.ejected.Load() {
		s.EjectedUntil = m.home.at(m.record.until)
	}
	if c := m.record.check; c != nil {
		s.CheckedAt, s.CheckDuration, s.CheckError = c.at, c.took, c.err
	}
	s.FirstByte = time.Duration(m.firstByte.Load())
	if expected, known := m.latency.expect(at, false); known {
		s.Latency = expected
	}
	if e := m.lastError.Load(); e != nil {
		s.LastError, s.LastErrorAt = e.kind, e.at
	}
	return s
}
