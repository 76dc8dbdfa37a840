package config

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// names is the source of targets of which some may be names. The others stay as they are. What a name was found at is remembered as
// long as there is such a target, so that others take its place only when it was looked up, however that goes.
type names struct {
	resolver discovery.Resolver

	mu      sync.Mutex
	targets []balancer.Target
	known   map[string]finding // by URL
	lookups map[string]*lookup // by URL, those of targets that take traffic
	watch   *watching          // nil while nobody does
	late    bool               // names that are not known yet are not waited for any more
}

// finding is what DNS has said of a name.
type finding struct {
	targets []balancer.Target
	weight  int // that it was asked for
}

// lookup asks about a name again and again.
type lookup struct {
	weight int
	cancel context.CancelFunc
	heard  bool  // it has said something, or has failed to
	err    error // why it has said nothing since
}

// watching is a call of Watch.
type watching struct {
	ctx     context.Context //nolint:containedctx // of the call
	deliver func([]balancer.Target, error)
	running sync.WaitGroup
	last    []balancer.Target // what was delivered
}

// newNames returns a source that knows what before, which may be nil, has found.
func newNames(r discovery.Resolver, targets []balancer.Target, before *names) *names {
	n := &names{resolver: r, targets: slices.Clone(targets), known: map[string]finding{}}
	if before != nil {
		before.mu.Lock()
		defer before.mu.Unlock()
		for _, t := range targets {
			if f, ok := before.known[t.URL]; ok {
				n.known[t.URL] = f
			}
		}
	}
	return n
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

// newName is how long others wait for a name that was not looked up before.
const newName = time.Second

// set replaces the targets: at once where all names were found before.
func (n *names) set(targets []balancer.Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.targets, targets) {
		return
	}
	n.targets = slices.Clone(targets)
	for u := range n.known {
		if !slices.ContainsFunc(targets, func(t balancer.Target) bool { return t.URL == u }) {
			delete(n.known, u)
		}
	}
	if n.watch != nil {
		n.change()
	}
}

// Watch implements [balancer.Source].
func (n *names) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watching{ctx: ctx, deliver: deliver}
	n.mu.Lock()
	n.watch, n.lookups = w, map[string]*lookup{}
	n.change()
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	n.watch = nil
	n.mu.Unlock()
	w.running.Wait()
	return ctx.Err()
}

// change takes other targets to what they stand for. The caller holds the lock, as that of all that follow but for ask.
func (n *names) change() {
	n.look()
	n.late = false
	if n.tell() {
		return
	}
	w := n.watch
	w.running.Go(func() {
		timer := time.NewTimer(newName)
		defer timer.Stop()
		select {
		case <-w.ctx.Done():
			return
		case <-timer.C:
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.watch == w {
			n.late = true
			n.tell()
		}
	})
}

// end ends all questions: what is known stays.
func (n *names) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, serves := n.found()
	if !serves {
		return
	}
	n.targets = all
	if n.watch != nil {
		n.look()
	}
}

// look has all names looked up, and no others.
func (n *names) look() {
	wanted := make(map[string]bool, len(n.targets))
	for _, t := range n.targets {
		if !isNamed(t) {
			continue
		}
		wanted[t.URL] = true
		l := n.lookups[t.URL]
		if l != nil && l.weight == t.Weight {
			continue
		}
		if l != nil {
			l.cancel()
		}
		_, known := n.known[t.URL]
		n.lookups[t.URL] = n.begin(t, known)
	}
	for u, l := range n.lookups {
		if !wanted[u] {
			l.cancel()
			delete(n.lookups, u)
		}
	}
}

// begin has a name looked up.
func (n *names) begin(t balancer.Target, known bool) *lookup {
	w := n.watch
	ctx, cancel := context.WithCancel(w.ctx)
	l := &lookup{weight: t.Weight, cancel: cancel, heard: known}
	w.running.Go(func() {
		for ctx.Err() == nil {
			n.ask(ctx, t, l)
			timer := time.NewTimer(discovery.DefaultInterval)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	})
	return l
}

// ask looks a name up until ctx ends, or the Resolver panics.
func (n *names) ask(ctx context.Context, t balancer.Target, l *lookup) {
	heard := func(found []balancer.Target, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if ctx.Err() != nil || n.watch == nil || n.lookups[t.URL] != l {
			return
		}
		switch l.heard, l.err = true, err; {
		case err != nil:
		case len(found) == 0:
			l.err = fmt.Errorf("config: %q has no addresses", t.URL)
		default:
			n.known[t.URL] = finding{found, t.Weight}
		}
		n.tell()
	}
	defer func() {
		if v := recover(); v != nil {
			heard(nil, fmt.Errorf("config: the Resolver panicked: %v", v))
		}
	}()
	dns := discovery.DNS{URL: t.URL, Weight: t.Weight, SRV: true, Resolver: n.resolver}
	if err := dns.Watch(ctx, heard); ctx.Err() == nil {
		heard(nil, err)
	}
}

// tell delivers what there is, and reports whether it has: not before something is known of each name, or they are late. Where no name
// was found, and nothing else takes traffic, the targets of before are better than none.
func (n *names) tell() bool {
	all, serves := n.found()
	var errs []error
	for _, t := range n.targets {
		switch l := n.lookups[t.URL]; {
		case l == nil:
		case !l.heard && !n.late:
			return false
		case !l.heard:
			errs = append(errs, fmt.Errorf("config: %q was not found within %v", t.URL, newName))
		case l.err != nil:
			errs = append(errs, l.err)
		}
	}
	w := n.watch
	if len(errs) == 0 || serves && !slices.Equal(all, w.last) {
		w.last = all
		w.deliver(all, nil)
	}
	if len(errs) > 0 {
		w.deliver(nil, errors.Join(errs...))
	}
	return true
}

// found returns what is known of the targets, each once, and whether one of them takes traffic.
func (n *names) found() (all []balancer.Target, serves bool) {
	seen := map[string]bool{}
	add := func(t balancer.Target) {
		if !seen[t.URL] { // else it is that of the first
			seen[t.URL] = true
			all = append(all, t)
			serves = serves || t.Weight != balancer.NoTraffic
		}
	}
	for _, t := range n.targets {
		if !isNamed(t) {
			add(t)
			continue
		}
		f := n.known[t.URL]
		for _, at := range f.targets {
			if at.Weight == f.weight { // and not what an SRV record says
				at.Weight = t.Weight
			}
			add(at)
		}
	}
	return all, serves
}

// first returns what a pool begins with: what is known, or else the targets as they are.
func (n *names) first(targets []balancer.Target) []balancer.Target {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.targets {
		if _, known := n.known[t.URL]; isNamed(t) && !known {
			return targets
		}
	}
	if all, serves := n.found(); serves {
		return all
	}
	return targets
}
