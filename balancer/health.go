package balancer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Defaults of [Health], [Active] and [Passive].
const (
	DefaultMaxEjected      = 0.5
	DefaultPanic           = 0.5
	DefaultFailures        = 3
	DefaultEjectionTime    = 10 * time.Second
	DefaultMaxEjectionTime = 5 * time.Minute
	DefaultFailureWindow   = 10 * time.Second
	DefaultMinRequests     = 20
	DefaultCheckInterval   = 5 * time.Second
	DefaultCheckTimeout    = time.Second
	DefaultSuccesses       = 2
	DefaultCheckers        = 128
)

const (
	maxFailures = 1 << 20
	longest     = 7 * 24 * time.Hour
	shortest    = time.Millisecond
)

// Health says how a pool finds out which of its targets can take requests, and what it does when too few can. The zero Health
// makes no checks, and goes by what becomes of requests, as [Passive] says.
//
// A target is taken out when it fails Active's checks, or is ejected because of Passive; it gets no requests until it is back,
// and begins with a slow start then, if there is one. What comes back is on probation: one failure before the first success
// takes it out again.
type Health struct {
	// Active checks the targets, whether there are requests or not. Default: no checks.
	Active Active
	// Passive watches what becomes of requests.
	Passive Passive
	// MaxEjected is the share of the weight of all targets that may be ejected at a time, above 0 up to 1; if it is less than
	// the weight of one, then one of two or more. It does not bound what refuses connections, where nothing listens, nor what
	// fails checks. Default 0.5.
	MaxEjected float64
	// Panic is the share of the weight of a tier of targets (see Target.Priority) that has to be healthy for their health to
	// be minded: where it is less, and no other tier has it, nor all together can take over, all targets of the tier get
	// requests, whether healthy or not, as it is the health that is in doubt then, and the rest could not carry everything.
	// Up to 1. Default 0.5, or none with MinHealthy; negative: none, which may leave no target.
	Panic float64
	// MinHealthy refuses all requests, with ErrNoTarget, unless more than that share of the weight of all targets is healthy,
	// so that the rest is not overrun. Below 1. It is an error beside Panic. Default 0.
	MinHealthy float64
	// OnChange is told about each change of a target's state, one at a time and in their order, by the goroutine of a request
	// or of a check: it should be quick, and must not panic. While it runs up to 16 further changes wait, of which the
	// oldest give way; HealthChange.Number shows that. Nil: nobody is told.
	OnChange func(HealthChange)
}

// Failures are how many failures in a row take a target out, with no success between them. Each kind is counted by itself. In
// each field 0 means the default, and a negative number that this kind is not counted.
type Failures struct {
	// Refused connections, where nothing listens. Default 1; negative: they count as TCP.
	Refused int
	// TCP: connections that could not be made, ended before an answer was whole, or carried what is no answer. A kept
	// connection that the target had closed while nothing was asked of it is none. Default 3.
	TCP int
	// Timeouts: what did not come in time, connections included. Default 3.
	Timeouts int
	// HTTP: answers with a status that says so. Default 3.
	HTTP int
}

// Passive judges targets by what becomes of requests. Client errors, clients that leave, and refusals by the gateway say
// nothing about a target, nor do requests that were sent before it was ejected, or came back.
type Passive struct {
	// Off: requests change nothing.
	Off bool
	// Failures eject a target.
	Failures Failures
	// Statuses of answers are failures, 100 to 599. Default 502, 503 and 504. It is copied.
	Statuses []int
	// SuccessStatuses of answers are successes, which end a row of failures. Nil means all that are not in Statuses. What is in
	// neither changes nothing. It is copied.
	SuccessStatuses []int
	// FailureRate ejects a target when that share of the requests that ended in Window failed, in whatever way, and they
	// were at least MinRequests. Above 0 up to 1. 0: this is no rule. With it each request takes a lock of its target.
	FailureRate float64
	// Window is how far back FailureRate looks. Default 10 s; at least 10 ms. MinRequests: default 20.
	Window      time.Duration
	MinRequests int
	// EjectionTime is how long a target is out, and up to an eighth more, by chance. The time doubles with each ejection, up
	// to MaxEjectionTime, and halves with each such time that the target was in. Default 10 s; at least 1 ms.
	//
	// Where Active checks what is out, it takes the success of checks instead. They bring back at once what had been ejected
	// because of connections, and not before this time what had been because of answers, which they may not see.
	EjectionTime time.Duration
	// MaxEjectionTime: default 5 min, or EjectionTime where that is longer.
	MaxEjectionTime time.Duration
}

// Active checks targets. Each is checked by itself, at intervals that are up to a tenth shorter or longer by chance; no
// check waits for that of another target, as long as there are fewer than Concurrency. Targets are taken for healthy until
// they fail. With Checker [NewPool] starts checks, each in a goroutine that ends with it; [Pool.Close] ends them all.
type Active struct {
	// Checker makes a check. Package healthcheck has some. Nil: there are none.
	Checker Checker
	// Interval is the time between two checks of a healthy target, UnhealthyInterval of one that is out. Default 5 s, and 1 s
	// or Interval, whichever is shorter; at least 1 ms; negative: no checks of such targets, so that what fails a check
	// stays out until SetTargets has removed it.
	Interval, UnhealthyInterval time.Duration
	// Timeout bounds a check. Default 1 s; at least 1 ms.
	Timeout time.Duration
	// Concurrency is how many checks are made at a time. Default 128.
	Concurrency int
	// Successes in a row bring a target back. Default 2; negative: none do.
	Successes int
	// Failures take a target out.
	Failures Failures
	// Dial connects to targets: network is tcp and address a host and a port, or unix and the path of a target's Socket. Nil
	// means a net.Dialer, in a gateway.UpstreamConfig what the upstream's requests use.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS returns the configuration for https targets, anew for each check; it is not changed. Nil means the defaults, in a
	// gateway.UpstreamConfig what the upstream's requests use.
	TLS func() *tls.Config
}

// Checker makes checks of one kind. It is safe for concurrent use. If it has a method Validate() error, [NewPool] reports what
// that returns.
type Checker interface {
	// Check asks a target whether it can take requests, and returns by the time ctx ends. Nil: it can. The error says why
	// not: an [*AnswerError] counts as a failure of HTTP, [ErrInconclusive] not at all, what wraps syscall.ECONNREFUSED or ENOENT as
	// refused, what is a timeout as that, all else as TCP.
	Check(ctx context.Context, c Check) error
}

// Check is a target to be checked.
type Check struct {
	// Target is the target, URL its parsed URL, which is shared.
	Target Target
	URL    *url.URL
	// Dial makes a connection to the target, without TLS.
	Dial func(ctx context.Context) (net.Conn, error)
	// ServerName is the name that the target's certificate must have, if TLS does not say; empty for the host of URL.
	ServerName string
	// TLS is the configuration for connections with TLS, without the server's name if that is another. Nil means the
	// defaults. It is shared.
	TLS *tls.Config
}

// ErrInconclusive is returned by a [Checker] for what says nothing about the target.
var ErrInconclusive = errors.New("balancer: the answer says nothing about the target")

// AnswerError is returned by a [Checker] for an answer that says that the target cannot take requests.
type AnswerError struct {
	// Status is the HTTP status; 0 for other protocols.
	Status int
	// Problem says what was wrong with the answer. It is for logs.
	Problem string
}

// Error implements error.
func (e *AnswerError) Error() string {
	if e.Status == 0 {
		return "balancer: check: " + e.Problem
	}
	return fmt.Sprintf("balancer: check: status %d: %s", e.Status, e.Problem)
}

// withDefaults returns h with its defaults filled in, or all that is wrong with it, each a *ConfigError.
func (h Health) withDefaults() (Health, error) {
	var c healthCheck
	c.share("MaxEjected", &h.MaxEjected, 0, DefaultMaxEjected)
	switch {
	case h.MinHealthy > 0 && h.Panic > 0:
		c.bad(fmt.Sprintf("MinHealthy %v", h.MinHealthy), "and Panic are both set; with too few healthy targets requests are refused, or go to all")
	case h.MinHealthy > 0 && h.Panic == 0:
		h.Panic = -1
	case h.Panic >= 0 || h.Panic != h.Panic:
		c.share("Panic", &h.Panic, 0, DefaultPanic)
	}
	if !(h.MinHealthy >= 0 && h.MinHealthy < 1) { // nor is NaN
		c.bad(fmt.Sprintf("MinHealthy %v", h.MinHealthy), "must be a share, 0 or more and below 1; more than that has to be healthy")
	}
	c.passive(&h.Passive)
	c.active(&h.Active)
	return h, errors.Join(c.errs...)
}

// healthCheck collects what is wrong with a [Health].
type healthCheck struct{ errs []error }

func (c *healthCheck) bad(field, problem string) {
	c.errs = append(c.errs, &ConfigError{Field: "Health." + field, Problem: problem})
}

func (c *healthCheck) share(name string, v *float64, least, def float64) {
	if !(*v >= least && *v <= 1) { // nor is NaN
		c.bad(fmt.Sprintf("%s %v", name, *v), "must be a share, above 0 up to 1; 0 means the default")
		return
	}
	*v = cmp.Or(*v, def)
}

func (c *healthCheck) number(name string, n *int, def int) {
	if *n < 0 || *n > maxFailures {
		c.bad(fmt.Sprintf("%s %d", name, *n), fmt.Sprintf("must be 1 to %d, or 0 for the default of %d", maxFailures, def))
	}
	*n = cmp.Or(*n, def)
}

func (c *healthCheck) length(name string, d *time.Duration, least, def time.Duration) {
	if *d != 0 && (*d < least || *d > longest) {
		c.bad(fmt.Sprintf("%s %v", name, *d), fmt.Sprintf("must be %v to %v, or 0 for the default of %v", least, longest, def))
	}
	*d = cmp.Or(*d, def)
}

func (c *healthCheck) failures(name string, f *Failures) {
	for _, field := range []struct {
		name string
		n    *int
		def  int
	}{{"Refused", &f.Refused, 1}, {"TCP", &f.TCP, DefaultFailures}, {"Timeouts", &f.Timeouts, DefaultFailures}, {"HTTP", &f.HTTP, DefaultFailures}} {
		if *field.n > maxFailures {
			c.bad(fmt.Sprintf("%s.%s %d", name, field.name, *field.n), fmt.Sprintf("must be 1 to %d, 0 for the default of %d, or negative: not counted", maxFailures, field.def))
		}
		*field.n = cmp.Or(*field.n, field.def)
	}
}

func (c *healthCheck) statuses(name string, list []int) {
	for i, s := range list {
		if s < 100 || s > 599 {
			c.bad(fmt.Sprintf("%s[%d] %d", name, i, s), "is no status; list statuses from 100 to 599, such as 503")
		}
	}
}

func (c *healthCheck) passive(p *Passive) {
	c.failures("Passive.Failures", &p.Failures)
	c.statuses("Passive.Statuses", p.Statuses)
	c.statuses("Passive.SuccessStatuses", p.SuccessStatuses)
	for _, s := range p.SuccessStatuses {
		if slices.Contains(p.Statuses, s) {
			c.bad(fmt.Sprintf("Passive.SuccessStatuses %d", s), "is in Passive.Statuses, too; an answer is a failure, or a success")
		}
	}
	if len(p.Statuses) == 0 {
		p.Statuses = []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
		p.Statuses = slices.DeleteFunc(p.Statuses, func(s int) bool { return slices.Contains(p.SuccessStatuses, s) })
	}
	if !(p.FailureRate >= 0 && p.FailureRate <= 1) { // nor is NaN
		c.bad(fmt.Sprintf("Passive.FailureRate %v", p.FailureRate), "must be a share, above 0 up to 1; 0 means no such rule")
	}
	c.length("Passive.Window", &p.Window, 10*shortest, DefaultFailureWindow)
	c.number("Passive.MinRequests", &p.MinRequests, DefaultMinRequests)
	c.length("Passive.EjectionTime", &p.EjectionTime, shortest, DefaultEjectionTime)
	c.length("Passive.MaxEjectionTime", &p.MaxEjectionTime, shortest, max(DefaultMaxEjectionTime, min(p.EjectionTime, longest)))
	if p.MaxEjectionTime < p.EjectionTime {
		c.bad(fmt.Sprintf("Passive.MaxEjectionTime %v", p.MaxEjectionTime), fmt.Sprintf("is less than EjectionTime, %v", p.EjectionTime))
	}
}

func (c *healthCheck) active(a *Active) {
	if a.Checker == nil {
		set := *a
		if set.Interval != 0 || set.UnhealthyInterval != 0 || set.Timeout != 0 || set.Concurrency != 0 || set.Successes != 0 || set.Failures != (Failures{}) {
			c.bad("Active.Checker", "is nil, and other fields of Active are set; give a checker, such as healthcheck.HTTP{}")
		}
		a.Interval, a.UnhealthyInterval = -1, -1
		return
	}
	if isNil(a.Checker) {
		c.bad("Active.Checker", "is a nil pointer; give a checker, such as healthcheck.HTTP{}")
		a.Checker = nil
		return
	}
	if v, ok := a.Checker.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			c.errs = append(c.errs, renamed("Health.Active.Checker", err))
		}
	}
	if a.Interval >= 0 {
		c.length("Active.Interval", &a.Interval, shortest, DefaultCheckInterval)
	}
	if a.UnhealthyInterval >= 0 {
		def := time.Second
		if a.Interval > 0 {
			def = min(def, a.Interval)
		}
		c.length("Active.UnhealthyInterval", &a.UnhealthyInterval, shortest, def)
	}
	if a.Interval < 0 && a.UnhealthyInterval < 0 {
		c.bad("Active.Interval", "and UnhealthyInterval are both negative, so that nothing is checked; leave Checker nil then")
	}
	c.length("Active.Timeout", &a.Timeout, shortest, DefaultCheckTimeout)
	c.number("Active.Concurrency", &a.Concurrency, DefaultCheckers)
	if a.Successes > maxFailures {
		c.bad(fmt.Sprintf("Active.Successes %d", a.Successes), fmt.Sprintf("must be 1 to %d, 0 for the default of %d, or negative: no check brings a target back", maxFailures, DefaultSuccesses))
	}
	a.Successes = cmp.Or(a.Successes, DefaultSuccesses)
	c.failures("Active.Failures", &a.Failures)
}

// kind is what a failure is counted as.
type kind uint8

const (
	refused kind = iota
	tcp
	timeouts
	answer
	kinds
)

// never is the limit of what is not counted.
const never = math.MaxInt

// limit returns how many failures of that kind in a row take a target out, 1 or more.
func (f *Failures) limit(k kind) int {
	n := [kinds]int{f.Refused, f.TCP, f.Timeouts, f.HTTP}[k]
	if n < 0 {
		return never
	}
	return n
}

// counted returns what a failure is counted as.
func (f *Failures) counted(k kind) kind {
	if k == refused && f.Refused < 0 {
		return tcp
	}
	return k
}
