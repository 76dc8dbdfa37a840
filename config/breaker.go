package config

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

// circuitBreaker is a plugin of ours that Kong has not. Times are in seconds.
type circuitBreaker struct {
	Name         string  `kong:"name,default=breaker"`
	Consecutive  int     `kong:"consecutive_failures,min=0,default=0"`
	FailureRate  float64 `kong:"failure_rate,min=0,max=1,default=0"`
	SlowRate     float64 `kong:"slow_rate,min=0,max=1,default=0"`
	SlowAfter    float64 `kong:"slow_after,min=0,default=0"`
	Window       float64 `kong:"window,min=0.01,default=10"`
	Minimum      int     `kong:"minimum,min=1,default=20"`
	Failures     []int   `kong:"failure_statuses"`
	OpenFor      float64 `kong:"open_for,min=0.001,default=5"`
	MaxOpenFor   float64 `kong:"max_open_for,min=0.001,default=60"`
	Probes       int     `kong:"probes,min=1,default=3"`
	Successes    *int    `kong:"successes,min=1"`
	ProbeTimeout float64 `kong:"probe_timeout,min=0.001,default=60"`
	Message      string  `kong:"message"`
}

// Check implements the optional method of Schema.
func (c *circuitBreaker) Check(check *Check) {
	if c.SlowRate > 0 != (c.SlowAfter > 0) {
		field := "slow_rate"
		if c.SlowRate == 0 {
			field = "slow_after"
		}
		check.Failf(field, "slow_rate and slow_after need each other; set both, or none")
	}
	if c.MaxOpenFor < c.OpenFor && check.Has("max_open_for") {
		check.Failf("max_open_for", "max_open_for cannot be shorter than open_for")
	}
}

// Fields implements the optional method of Schema.
func (*circuitBreaker) Fields() map[string]string {
	return map[string]string{
		"Consecutive": "consecutive_failures", "FailureRate": "failure_rate", "SlowRate": "slow_rate", "SlowAfter": "slow_after",
		"Window": "window", "Minimum": "minimum", "Failures": "failure_statuses", "OpenFor": "open_for", "MaxOpenFor": "max_open_for",
		"Probes": "probes", "Successes": "successes", "ProbeTimeout": "probe_timeout",
	}
}

// StateKey tells whether the circuit of a configuration that was loaded before goes on.
func (c *circuitBreaker) StateKey() string {
	successes := 0
	if c.Successes != nil {
		successes = *c.Successes
	}
	return fmt.Sprintf("%q %d %g %g %g %g %d %v %g %g %d %d %g %q", c.Name, c.Consecutive, c.FailureRate, c.SlowRate, c.SlowAfter, c.Window,
		c.Minimum, c.Failures, c.OpenFor, c.MaxOpenFor, c.Probes, successes, c.ProbeTimeout, c.Message)
}

// Build implements [Schema].
func (c *circuitBreaker) Build(e *Env) (policy.Plugin, error) {
	config := breaker.Config{
		Name: c.Name, Consecutive: c.Consecutive, FailureRate: c.FailureRate, SlowRate: c.SlowRate, SlowAfter: seconds(c.SlowAfter),
		Window: seconds(c.Window), Minimum: c.Minimum, Failures: c.Failures, OpenFor: seconds(c.OpenFor), MaxOpenFor: seconds(c.MaxOpenFor),
		Probes: c.Probes, ProbeTimeout: seconds(c.ProbeTimeout), Message: c.Message,
	}
	config.MaxOpenFor = max(config.MaxOpenFor, config.OpenFor) // where only that one is written
	if c.Successes != nil {
		config.Successes = *c.Successes
	}
	if logger := e.Logger; logger != nil {
		config.OnChange = func(ch breaker.Change) {
			level := slog.LevelInfo
			if ch.To == breaker.Open {
				level = slog.LevelWarn
			}
			attrs := []slog.Attr{
				slog.String("breaker", ch.Name), slog.String("state", ch.To.String()), slog.String("reason", ch.Reason), slog.String("change", ch.String()),
			}
			if ch.Err != nil {
				attrs = append(attrs, slog.String("error", ch.Err.Error()))
			}
			logger.LogAttrs(context.Background(), level, "circuit breaker", attrs...) // a change is no request's
		}
	}
	return breaker.New(config)
}

// seconds is n seconds, or more than any plugin takes.
func seconds(n float64) time.Duration {
	const most = 1 << 32
	return time.Duration(min(n, most) * float64(time.Second))
}
