package config

import (
	"fmt"
	"slices"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// loadShedding is a plugin of ours that Kong has not. Times are in seconds.
type loadShedding struct {
	Name          string   `kong:"name,default=concurrency"`
	Limit         int      `kong:"limit,min=0,default=0"`
	Initial       *int     `kong:"initial_limit,min=1"`
	Min           int      `kong:"min_limit,min=1,default=1"`
	Max           int      `kong:"max_limit,min=1,default=1000"`
	Window        float64  `kong:"window,min=0.001,default=0.2"`
	Samples       int      `kong:"samples,min=1,default=50"`
	Tolerance     float64  `kong:"tolerance,min=1,max=10,default=1.2"`
	Probe         float64  `kong:"probe_interval,min=0.001,default=10"`
	Overloaded    []int    `kong:"overload_statuses"`
	Queue         int      `kong:"queue,min=0,default=100"`
	Order         string   `kong:"order,oneof=fifo|lifo,default=fifo"`
	MaxWait       float64  `kong:"max_wait,min=0.001,default=0.5"`
	Groups        []string `kong:"class_groups"`
	UntilAnswered bool     `kong:"until_answered,default=false"`
	RetryAfter    float64  `kong:"retry_after,min=0.001,default=1"`
	Message       string   `kong:"message"`
}

// Check implements the optional method of Schema.
func (c *loadShedding) Check(check *Check) {
	if c.Limit > 0 {
		for _, field := range []string{"initial_limit", "min_limit", "max_limit", "window", "samples", "tolerance", "probe_interval", "overload_statuses"} {
			if check.Has(field) {
				check.Failf(field, "%s says how a limit is found, and limit gives one; set one of them", field)
			}
		}
	}
	if c.Max < c.Min {
		check.Failf("max_limit", "max_limit cannot be lower than min_limit")
	}
	if c.Initial != nil && (*c.Initial < c.Min || *c.Initial > c.Max) {
		check.Failf("initial_limit", "initial_limit is from min_limit to max_limit")
	}
	if len(c.Groups) >= concurrency.MaxClasses {
		check.Failf("class_groups", "has %d groups; use up to %d, since those in none are a class, too", len(c.Groups), concurrency.MaxClasses-1)
	}
	if len(c.Groups) > 0 && c.Queue == 0 {
		check.Failf("class_groups", "class_groups say who waits first, and with a queue of 0 nobody waits")
	}
}

// Fields implements the optional method of Schema.
func (*loadShedding) Fields() map[string]string {
	return map[string]string{
		"Limit": "limit", "Adaptive.Initial": "initial_limit", "Adaptive.Min": "min_limit", "Adaptive.Max": "max_limit", "Adaptive.Window": "window",
		"Adaptive.Samples": "samples", "Adaptive.Tolerance": "tolerance", "Adaptive.Probe": "probe_interval", "Adaptive.Overloaded": "overload_statuses",
		"Queue": "queue", "Order": "order", "MaxWait": "max_wait", "Classes": "class_groups", "RetryAfter": "retry_after",
	}
}

// StateKey tells whether the limit that a configuration loaded before has found goes on.
func (c *loadShedding) StateKey() string {
	initial := 0
	if c.Initial != nil {
		initial = *c.Initial
	}
	return fmt.Sprintf("%q %d %d %d %d %g %d %g %g %v %d %s %g %q %t %g %q", c.Name, c.Limit, initial, c.Min, c.Max, c.Window, c.Samples, c.Tolerance,
		c.Probe, c.Overloaded, c.Queue, c.Order, c.MaxWait, c.Groups, c.UntilAnswered, c.RetryAfter, c.Message)
}

// Build implements [Schema].
func (c *loadShedding) Build(*Env) (policy.Plugin, error) {
	config := concurrency.Config{
		Name: c.Name, Limit: c.Limit, Queue: c.Queue, MaxWait: seconds(c.MaxWait), UntilAnswered: c.UntilAnswered,
		RetryAfter: seconds(c.RetryAfter), Message: c.Message,
	}
	if c.Queue == 0 {
		config.Queue = -1
	}
	if c.Order == "lifo" {
		config.Order = concurrency.LIFO
	}
	if c.Limit == 0 {
		config.Adaptive = concurrency.Adaptive{
			Min: c.Min, Max: c.Max, Window: seconds(c.Window), Samples: c.Samples, Tolerance: c.Tolerance, Probe: seconds(c.Probe), Overloaded: c.Overloaded,
		}
		if c.Initial != nil {
			config.Adaptive.Initial = *c.Initial
		}
	}
	if groups := c.Groups; len(groups) > 0 {
		config.Classes = len(groups) + 1
		config.Class = func(x *policy.Exchange) int {
			if consumer := x.Consumer(); consumer != nil {
				for class, group := range groups {
					if slices.Contains(consumer.Groups, group) {
						return class
					}
				}
			}
			return len(groups)
		}
	}
	return concurrency.New(config)
}
