package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// mostPatience is the longest wait after a failure, or for a name without records.
const mostPatience = 30 * time.Second

// Source is a [balancer.Source] that asks DNS. It may be used by several pools, each of which asks for itself.
type Source struct {
	c    Config
	conf []string // the servers of ResolvConf at first
}

// New returns a Source, or all that is wrong with c. It starts nothing and asks nobody.
func New(c Config) (*Source, error) {
	c.Servers = slices.Clone(c.Servers)
	if err := c.check(); err != nil {
		return nil, err
	}
	for i, s := range c.Servers {
		c.Servers[i], _ = serverAddr(s)
	}
	c.MinTTL, c.MaxTTL = cmp.Or(c.MinTTL, DefaultMinTTL), cmp.Or(c.MaxTTL, DefaultMaxTTL)
	c.Timeout, c.Attempts = cmp.Or(c.Timeout, DefaultTimeout), cmp.Or(c.Attempts, DefaultAttempts)
	c.ResolvConf = cmp.Or(c.ResolvConf, resolvConf)
	s := &Source{c: c}
	if len(c.Servers) == 0 {
		var err error
		if s.conf, err = readServers(c.ResolvConf); err != nil {
			return nil, fmt.Errorf("dns: Config.ResolvConf %q: %w", c.ResolvConf, err)
		}
	}
	return s, nil
}

// Watch implements [balancer.Source]. It delivers after each answer. Of SRV records whose names cannot all be found out, those keep the
// addresses that they had; what is wrong with them is told as well.
func (s *Source) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	if s == nil || s.c.MaxTTL == 0 {
		return errors.New("dns: this Source is empty; make one with New")
	}
	a := &asker{Config: &s.c, conf: s.conf}
	var last []balancer.Target
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		r := a.begin()
		targets, err := s.ask(ctx, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		problem := errors.Join(r.problems...)
		// With the same targets and a problem, the problem alone is news: else a pool would say each time that all is well again.
		if err == nil && (problem == nil || !slices.Equal(targets, last)) {
			last = targets
			deliver(targets, nil)
		}
		if err == nil {
			err = problem
		}
		if err != nil {
			deliver(nil, err)
		}
		if r.failed {
			failures++
		} else {
			failures = 0
		}
		timer.Reset(s.wait(r.ttl, r.found, failures))
	}
}

// wait returns how long to wait before the next round.
func (s *Source) wait(ttl time.Duration, found bool, failures int) time.Duration {
	const most, shares = 16, 10
	limit := max(min(mostPatience, s.c.MaxTTL), s.c.MinTTL)
	switch {
	case failures > 0:
		limit = min(s.c.MinTTL<<min(failures-1, most), limit)
		return limit + rand.N(limit/2+1) //nolint:gosec // G404: nothing depends on its being a secret
	case found:
		limit = s.c.MaxTTL
	}
	ttl = max(min(ttl, limit), s.c.MinTTL)
	return ttl + rand.N(ttl/shares+1) //nolint:gosec // G404: as above
}

// ask asks all there is to ask in a round.
func (s *Source) ask(ctx context.Context, r *round) ([]balancer.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit())
	defer cancel()
	if s.c.SRV != "" {
		return discovery.SRV{Name: s.c.SRV, URL: s.c.URL, Zone: s.c.Zone, Resolver: r}.Ask(ctx)
	}
	return discovery.DNS{URL: s.c.URL, Weight: s.c.Weight, Priority: s.c.Priority, Zone: s.c.Zone, Family: s.c.Family, Resolver: r}.Ask(ctx)
}
