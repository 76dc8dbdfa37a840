package balancer

import (
	"errors"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// Member is one target in a pool and what is known about it. It stays the same value as long as its target is in the
// pool, so that its counters survive a change of the other targets or of its own weight. Its methods are safe for
// concurrent use.
type Member struct {
	target string
	url    *url.URL
	key    string
	weight atomic.Int64

	inFlight    atomic.Int64
	total       atomic.Uint64
	failed      atomic.Uint64
	canceled    atomic.Uint64
	serverError atomic.Uint64
	lastError   atomic.Pointer[lastError]
}

type lastError struct {
	kind string
	at   time.Time
}

func newMember(p parsed) *Member { return &Member{target: p.target.URL, url: p.url, key: p.key} }

// Target returns the URL of the target as it was written.
func (m *Member) Target() string { return m.target }

// URL returns the parsed URL of the target. It is shared: nobody may change it.
func (m *Member) URL() *url.URL { return m.url }

// Weight returns the share of the traffic, 0 for a target that takes none.
func (m *Member) Weight() int { return int(m.weight.Load()) }

// InFlight returns the number of picks not yet done.
func (m *Member) InFlight() int64 { return m.inFlight.Load() }

func (m *Member) begin() {
	m.inFlight.Add(1)
	m.total.Add(1)
}

func (m *Member) end(o policy.Outcome) {
	m.inFlight.Add(-1)
	switch {
	case o.Canceled:
		m.canceled.Add(1)
	case o.Err != nil:
		m.failed.Add(1)
		m.lastError.Store(&lastError{kind: errorKind(o.Err), at: time.Now()})
	case o.Status >= 500:
		m.serverError.Add(1)
	}
}

// errorKind is the code of a *policy.Error, since texts of other errors may hold addresses.
func errorKind(err error) string {
	var e *policy.Error
	if errors.As(err, &e) && e != nil && e.Code != "" {
		return e.Code
	}
	return "error"
}

// MemberStatus is a snapshot of a [Member].
type MemberStatus struct {
	// URL is the target as it was written.
	URL string
	// Weight is its share of the traffic, 0 when it takes none.
	Weight int
	// InFlight is the number of requests it is working on.
	InFlight int64
	// Requests counts the requests it was picked for, those in flight included. Of the others, Failed got no whole
	// answer, ServerErrors a whole one with a status of 500 or more, and Canceled were given up because the client left.
	Requests, Failed, ServerErrors, Canceled uint64
	// LastError is the code of the last failure, such as "connect_refused", and LastErrorAt when it was counted. They
	// are zero when there was none, and stay when later requests succeed.
	LastError   string
	LastErrorAt time.Time
}

func (m *Member) status() MemberStatus {
	s := MemberStatus{
		URL: m.target, Weight: m.Weight(), InFlight: m.inFlight.Load(), Requests: m.total.Load(),
		Failed: m.failed.Load(), ServerErrors: m.serverError.Load(), Canceled: m.canceled.Load(),
	}
	if e := m.lastError.Load(); e != nil {
		s.LastError, s.LastErrorAt = e.kind, e.at
	}
	return s
}
