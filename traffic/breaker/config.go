package breaker

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/circuit"
)

// Defaults of [Config].
const (
	DefaultName         = "breaker"
	DefaultFailureRate  = 0.5
	DefaultMinimum      = 20
	DefaultWindow       = 10 * time.Second
	DefaultOpenFor      = 5 * time.Second
	DefaultMaxOpenFor   = time.Minute
	DefaultProbes       = 3
	DefaultProbeTimeout = time.Minute
)

const (
	defaultMessage = "Service temporarily unavailable"

	most     = 1 << 20            // of what is counted one by one
	longest  = 7 * 24 * time.Hour // of all durations
	shortest = time.Millisecond   // of those that bound how often something happens
)

// Config configures a [Breaker]. The zero Config opens when half of at least 20 requests within 10 s have failed.
type Config struct {
	// Name is the Breaker's name in decision records, changes and its status. It has no control characters. Default
	// "breaker".
	Name string

	// Consecutive opens the circuit after so many failures in a row, with no success between them. An answer that has begun
	// is one, unless it has broken off by then. 0: this is no rule.
	Consecutive int
	// FailureRate opens the circuit when that share of the requests within the last Window failed, above 0 up to 1. 0: this
	// is no rule; but if none of Consecutive, FailureRate and SlowRate is set it is 0.5.
	FailureRate float64
	// SlowRate opens the circuit when that share of the requests within the last Window was slow, above 0 up to 1. A slow
	// probe counts as failed then. 0: this is no rule. It needs SlowAfter.
	SlowRate float64
	// SlowAfter is the time to the first byte of an answer, or to the end where there is none, from which on a request is
	// slow. 0: none is.
	SlowAfter time.Duration
	// Window is how far back the rates look. It moves on by a tenth of its length. Default 10 s; at least 10 ms.
	Window time.Duration
	// Minimum is how many requests must have ended within Window for a rate to count. Default 20.
	Minimum int
	// Failures are the statuses of answers that count as failures, from 400 to 599. Nil or empty means all from 500. It is
	// copied.
	Failures []int

	// OpenFor is how long the circuit is open before it asks for probes. The time doubles each time it opens again, up to
	// MaxOpenFor, until it has been closed for Window and for as long as it was open last. Default 5 s; at least 1 ms.
	OpenFor time.Duration
	// MaxOpenFor bounds that. Default 60 s, or OpenFor where that is longer; at least OpenFor.
	MaxOpenFor time.Duration
	// Probes is how many requests pass at the same time while the circuit is half-open; the others are refused. Default 3.
	Probes int
	// Successes is how many probes must succeed for the circuit to close; one failure opens it again. Default Probes.
	Successes int
	// ProbeTimeout is how long probes that do not answer may keep all places: after that the circuit opens again. It is for
	// handlers that never end; upstreams give up by themselves. Default 60 s; at least 1 ms.
	ProbeTimeout time.Duration

	// Message is the text of a refusal. Default "Service temporarily unavailable".
	Message string
	// Fallback answers requests that the plugin would refuse. Nil: they are refused with 503. It says how it answers itself,
	// and is not told anything. The decision record has the refusal all the same, and the answer counts as the gateway's
	// own, so that a cache does not keep it. It has no meaning for an upstream's admission.
	Fallback http.Handler
	// OnChange is told about each change of state, one at a time, in their order, by the goroutine of a request: it should
	// be quick. While it runs, up to 16 further changes wait, of which the oldest give way; Change.Number shows that. Nil:
	// nobody is told.
	OnChange func(Change)
}

// withDefaults returns c with its defaults filled in, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("breaker: "+format, args...)) }
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		wrong("Name %q has control characters, or is not UTF-8; logs and metrics show it", c.Name)
	}
	number := func(name string, n *int, def int) {
		if *n < 0 || *n > most {
			wrong("%s is %d; use 0 for its default, or 1 to %d", name, *n, most)
		}
		*n = cmp.Or(*n, def)
	}
	length := func(name string, d *time.Duration, least, def time.Duration) {
		if *d != 0 && (*d < least || *d > longest) {
			wrong("%s is %s; use 0 for its default, or %s to %s", name, *d, least, longest)
		}
		*d = cmp.Or(*d, def)
	}
	rate := func(name string, r float64) {
		if !(r >= 0 && r <= 1) { // nor is NaN
			wrong("%s is %v; use a share above 0 up to 1, or 0 for no such rule", name, r)
		}
	}
	number("Consecutive", &c.Consecutive, 0)
	rate("FailureRate", c.FailureRate)
	rate("SlowRate", c.SlowRate)
	length("SlowAfter", &c.SlowAfter, 1, 0)
	switch {
	case c.SlowRate > 0 && c.SlowAfter == 0:
		wrong("SlowRate is %v without SlowAfter, so that no request is slow; set both, or none", c.SlowRate)
	case c.SlowAfter > 0 && c.SlowRate == 0:
		wrong("SlowAfter is %s without SlowRate, which would count the slow ones; set both, or none", c.SlowAfter)
	}
	if c.Consecutive == 0 && c.FailureRate == 0 && c.SlowRate == 0 {
		c.FailureRate = DefaultFailureRate
	}
	length("Window", &c.Window, circuit.Buckets*shortest, DefaultWindow)
	number("Minimum", &c.Minimum, DefaultMinimum)
	for i, s := range c.Failures {
		if s < http.StatusBadRequest || s > 599 {
			wrong("Failures[%d] is %d; use error statuses, 400 to 599", i, s)
		}
	}
	length("OpenFor", &c.OpenFor, shortest, DefaultOpenFor)
	length("MaxOpenFor", &c.MaxOpenFor, shortest, max(DefaultMaxOpenFor, c.OpenFor))
	if c.MaxOpenFor < c.OpenFor {
		wrong("MaxOpenFor is %s, and OpenFor %s; it cannot be shorter", c.MaxOpenFor, c.OpenFor)
	}
	number("Probes", &c.Probes, DefaultProbes)
	number("Successes", &c.Successes, c.Probes)
	length("ProbeTimeout", &c.ProbeTimeout, shortest, DefaultProbeTimeout)
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	c.Name, c.Message = cmp.Or(c.Name, DefaultName), cmp.Or(c.Message, defaultMessage)
	return c, nil
}

// settings returns what the circuit is told. All numbers fit: they were checked.
func (c Config) settings() circuit.Settings {
	count := func(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }
	return circuit.Settings{
		Consecutive: count(c.Consecutive), FailureRate: c.FailureRate, SlowRate: c.SlowRate, Minimum: count(c.Minimum), Window: c.Window,
		OpenFor: c.OpenFor, MaxOpenFor: c.MaxOpenFor, Probes: count(c.Probes), Successes: count(c.Successes), ProbeTimeout: c.ProbeTimeout,
	}
}
