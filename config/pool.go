package config

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gatehouse-go/gateway/balancer"
)

// keptPool is the pool that all services of an upstream share, for as long as its checks stay the same.
type keptPool struct {
	pool  *balancer.Pool
	names *names // nil without Options.Resolver

	mu        sync.Mutex
	algorithm string // see balancing.key
	targets   []balancer.Target
}

// set makes the pool what a snapshot says that is served now.
func (k *keptPool) set(by balancing, targets []balancer.Target) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.algorithm != by.key {
		if err := k.pool.SetAlgorithm(by.algorithm); err != nil {
			return err
		}
		k.algorithm = by.key
	}
	k.targets = targets
	if k.names == nil {
		return k.pool.SetTargets(targets)
	}
	k.names.set(targets)
	return nil
}

// is reports whether set would change nothing.
func (k *keptPool) is(by balancing, targets []balancer.Target) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.algorithm == by.key && slices.Equal(k.targets, targets)
}

// sharedPool returns the pool that all services of an upstream share; the gateway owns it once.
func (b *builder) sharedPool(up *upstream, scheme string) (*balancer.Pool, error) {
	at := poolKey{up, scheme}
	if p := b.pools[at]; p != nil {
		return p, nil
	}
	targets := targetsOf(up, scheme)
	first := targets
	if !slices.ContainsFunc(targets, func(t balancer.Target) bool { return t.Weight != balancer.NoTraffic }) {
		b.warnf(up.node, "no target of upstream %q takes traffic: requests for it are answered with 503", up.Name)
		// A pool begins with one that does, which can be taken away from it then.
		none := balancer.Target{URL: scheme + "://no-target.invalid", Weight: balancer.NoTraffic}
		first = append(slices.Clone(targets), balancer.Target{URL: none.URL})
		targets = append(targets, none)
	}
	by, h := b.balancing[up], b.health[up]
	key := fmt.Sprintf("pool %q %q %t %s", up.Name, scheme, b.options.Resolver != nil, h.key)
	k, stays := b.kept(key).(*keptPool)
	source := fmt.Sprintf("names %q %q", up.Name, scheme)
	known, _ := b.kept(source).(*names)
	if !stays || !k.is(by, targets) {
		made, err := b.newPool(balancer.Config{Targets: first, Algorithm: by.algorithm, Health: h.config}, targets, known, stays)
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", up.Name, err)
		}
		if !stays {
			k = made
			k.algorithm = by.key
			b.keep(key, k)
			if k.names != nil {
				b.keep(source, k.names)
			}
		}
	}
	b.warnAboutScheme(up, scheme)
	// What was taken over may change in a gateway only that serves this snapshot.
	b.out.applied = append(b.out.applied, func() error { return k.set(by, targets) })
	b.pools[at] = k.pool
	b.out.Gateway.Owns = append(b.out.Gateway.Owns, k.pool)
	return k.pool, nil
}

// newPool makes a pool that begins with the targets of c. One that is made on trial only, to see whether it can be, asks nobody for
// anything, and is closed.
func (b *builder) newPool(c balancer.Config, targets []balancer.Target, known *names, onTrial bool) (*keptPool, error) {
	k := &keptPool{targets: targets}
	switch {
	case onTrial || b.d.problems.count() > 0:
		c.Health.Active = balancer.Active{}
	case b.options.Resolver != nil: // also where there is no name yet
		k.names = newNames(b.options.Resolver, targets, known)
		c.Targets, c.Discovery.Source = k.names.first(c.Targets), k.names
	}
	var err error
	k.pool, err = balancer.NewPool(c)
	if err == nil && (k.names == nil || !slices.ContainsFunc(targets, isNamed)) { // not behind the back of a source that may have answered
		err = k.pool.SetTargets(targets)
	}
	if err != nil || onTrial {
		_ = k.pool.Close()
	}
	return k, err
}

// end ends what goes on by itself, for a pool that only requests in flight still use.
func (k *keptPool) end() {
	k.pool.EndChecks()
	if k.names != nil {
		k.names.end()
	}
}

// Close closes the pool, if it was made for nothing.
func (k *keptPool) Close() error { return k.pool.Close() }
