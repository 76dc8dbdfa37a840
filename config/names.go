package config

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"sync"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// names is the source of targets of which some are names. The others stay as they are.
type names struct {
	resolver discovery.Resolver

	mu      sync.Mutex
	targets []balancer.Target
	changed chan struct{} // closed when there are others
}

func newNames(r discovery.Resolver, targets []balancer.Target) *names {
	return &names{resolver: r, targets: slices.Clone(targets), changed: make(chan struct{})}
}

// isNamed reports whether a target is a name that has to be looked up.
func isNamed(t balancer.Target) bool {
	u, err := url.Parse(t.URL)
	if err != nil {
		return false // reported by others
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err != nil && t.Weight != balancer.NoTraffic
}

// set replaces the targets. It returns nil.
func (n *names) set(targets []balancer.Target) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.targets, targets) {
		n.targets = slices.Clone(targets)
		close(n.changed)
		n.changed = make(chan struct{})
	}
	return nil
}

// Watch implements [balancer.Source].
func (n *names) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	for {
		n.mu.Lock()
		targets, changed := n.targets, n.changed
		n.mu.Unlock()
		err := n.watch(ctx, targets, changed, deliver)
		select {
		case <-changed:
		default:
			return err
		}
	}
}

// watch looks the targets up until there are others.
func (n *names) watch(ctx context.Context, targets []balancer.Target, changed <-chan struct{}, deliver func([]balancer.Target, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	var all discovery.Merge
	for _, t := range targets {
		if isNamed(t) {
			all = append(all, discovery.DNS{URL: t.URL, Weight: t.Weight, SRV: true, Resolver: n.resolver})
		} else {
			all = append(all, discovery.Static{t})
		}
	}
	return all.Watch(ctx, deliver)
}
