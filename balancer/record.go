package balancer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/policy"
)

// Reasons of a [HealthChange].
const (
	reasonRefused   = "connect_refused"
	reasonTCP       = "tcp_failures"
	reasonTimeouts  = "timeouts"
	reasonHTTP      = "http_failures"
	reasonRate      = "failure_rate"
	reasonProbation = "failed_on_probation"
	reasonChecks    = "checks_succeeded"
	reasonTimeOver  = "ejection_over"
	reasonRequest   = "request_succeeded"
)

func (k kind) reason() string {
	switch k {
	case refused:
		return reasonRefused
	case tcp:
		return reasonTCP
	case timeouts:
		return reasonTimeouts
	}
	return reasonHTTP
}

// record is what requests and checks say about a member.
type record struct {
	// A success changes something: without that nothing else is looked at.
	minds atomic.Bool

	mu        sync.Mutex
	mindsFrom time.Duration // requests sent before say nothing
	rows      [kinds]int
	probation bool
	window    circuit.Window

	// Guarded by the pool.
	failing   bool          // the checks
	ejected   atomic.Bool   // written by the pool
	byAnswer  bool          // ejected because of answers
	until     time.Duration // the end of the ejection
	back      time.Duration // when the last one ended
	level     int           // how often the time has doubled, and once more
	ejections uint64
	timer     *time.Timer // of its end; nil where checks bring it back
	was       stateOf     // of the last change
	check     *checking   // nil while it is not checked
}

// stateOf is what there is to say about a member's state.
type stateOf struct {
	since  time.Duration
	reason string
}

// verdict is what a request says about its target: nothing, good, or bad and a kind.
type verdict uint8

const (
	silent verdict = iota
	good
	bad
)

func (v verdict) kind() kind { return kind(v - bad) }

// passive is a [Passive] made ready.
type passive struct {
	Passive

	answers [600]verdict // of statuses
}

func newPassive(c Passive) *passive {
	p := &passive{Passive: c}
	for _, s := range c.SuccessStatuses {
		p.answers[s] = good
	}
	if len(c.SuccessStatuses) == 0 {
		for s := 100; s < len(p.answers); s++ {
			p.answers[s] = good
		}
	}
	for _, s := range c.Statuses {
		p.answers[s] = bad + verdict(answer)
	}
	p.Statuses, p.SuccessStatuses = nil, nil // the caller's
	return p
}

// verdict says what a request that ended so says about its target.
func (p *passive) verdict(o *policy.Outcome) verdict {
	switch {
	case o.Canceled || p.Off || o.Fault == policy.FaultNone:
		return silent
	case o.Err == nil && o.Fault == policy.FaultUnknown:
		if o.Status < 0 || o.Status >= len(p.answers) {
			return silent
		}
		return p.answers[o.Status]
	case o.Fault == policy.FaultRefused:
		return bad + verdict(p.Failures.counted(refused))
	case o.Fault == policy.FaultTimeout:
		return bad + verdict(timeouts)
	}
	return bad + verdict(tcp)
}

// counts reports whether failures of that kind can take a member out.
func (p *passive) counts(k kind) bool {
	return p.FailureRate > 0 || p.Failures.limit(k) != never
}

// count takes in what a request said that was sent then, and returns the reason for which the member has to go, or to come back;
// "" for none.
func (r *record) count(sent, now time.Duration, v verdict, p *passive) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sent < r.mindsFrom {
		return ""
	}
	out := r.ejected.Load() // looked at under the lock, as restart follows what changes it
	why := ""
	if v == good {
		r.rows, r.probation = [kinds]int{}, false
		r.minds.Store(p.FailureRate > 0 || out)
		if out {
			why = reasonRequest
		}
	} else {
		r.minds.Store(true)
		k := v.kind()
		switch r.rows[k]++; {
		case r.probation && p.counts(k):
			why = reasonProbation
		case r.rows[k] >= p.Failures.limit(k):
			why = k.reason()
		}
	}
	if p.FailureRate > 0 {
		n := circuit.Counts{Calls: 1}
		if v != good {
			n.Failed = 1
		}
		r.window.Add(now, n)
		sum := r.window.Sum()
		if why == "" && sum.Calls >= uint64(p.MinRequests) && float64(sum.Failed) >= p.FailureRate*float64(sum.Calls) {
			why = reasonRate
		}
	}
	return why
}

// restart forgets what was counted, and what requests that are on their way will say.
func (r *record) restart(now time.Duration, probation bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mindsFrom = now
	r.rows, r.probation = [kinds]int{}, probation
	r.window.Clear()
	r.minds.Store(true)
}

// judge takes in how a request ended.
func (p *Pool) judge(m *Member, o *policy.Outcome) {
	if p == nil || p.passive == nil {
		return
	}
	r := &m.record
	v := p.passive.verdict(o)
	if v == silent || v == good && !r.minds.Load() {
		return
	}
	now := p.home.since(time.Now())
	why := r.count(now-o.Duration, now, v, p.passive)
	switch {
	case why == "":
		return
	case why == reasonRequest:
		p.restore(m, why, now)
	case v == good: // a rate that only now has requests enough
		p.eject(m, answer, why, &policy.Outcome{}, now)
	default:
		p.eject(m, v.kind(), why, o, now)
	}
	p.follow()
}
