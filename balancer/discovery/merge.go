package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Static is a source that says the same for ever.
type Static []balancer.Target

// Watch implements [balancer.Source].
func (s Static) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	deliver(slices.Clone(s), nil)
	<-ctx.Done()
	return ctx.Err()
}

// Merge is a source of what several sources say, each with what it has said last. It begins when each has said something, or has
// failed to. A target that more than one has is that of the first. While one fails, the error of each that does is what it says,
// and the targets only when they have changed. When one gives up, all do.
type Merge []balancer.Source

// Validate returns what is wrong with m and its sources; nil if nothing is.
func (m Merge) Validate() error {
	var errs []error
	if len(m) == 0 {
		errs = append(errs, errors.New("discovery: Merge is empty; give it sources"))
	}
	for i, s := range m {
		if s == nil {
			errs = append(errs, fmt.Errorf("discovery: Merge[%d] is nil", i))
			continue
		}
		if v, ok := s.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("discovery: Merge[%d]: %w", i, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Watch implements [balancer.Source].
func (m Merge) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // also has deliver called by one at a time
	said := make([][]balancer.Target, len(m))
	failed := make([]error, len(m))
	var last []balancer.Target // what was delivered
	heard := make([]bool, len(m))
	waiting := len(m)
	ended := make(chan error, len(m))
	for i, s := range m {
		go func() {
			defer func() {
				if v := recover(); v != nil {
					ended <- fmt.Errorf("discovery: Merge[%d] panicked: %v", i, v)
				}
			}()
			ended <- s.Watch(ctx, func(targets []balancer.Target, err error) {
				mu.Lock()
				defer mu.Unlock()
				if ctx.Err() != nil {
					return
				}
				if !heard[i] {
					heard[i] = true
					waiting--
				}
				if failed[i] = err; err == nil {
					said[i] = targets
				}
				if waiting > 0 {
					return
				}
				all, err := union(said), errors.Join(failed...)
				if err == nil || !slices.Equal(all, last) {
					last = all
					deliver(all, nil)
				}
				if err != nil {
					deliver(nil, err)
				}
			})
		}()
	}
	var first error
	for range m {
		if err := <-ended; first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// union returns all targets, each once.
func union(lists [][]balancer.Target) []balancer.Target {
	seen := map[string]bool{}
	var all []balancer.Target
	for _, list := range lists {
		for _, t := range list {
			if key := keyOf(t.URL); !seen[key] {
				seen[key] = true
				all = append(all, t)
			}
		}
	}
	return all
}

// keyOf returns the same for URLs that are one target: of those that differ in case, in a port that goes without saying, or in a slash
// at the end, a pool takes none.
func keyOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return target // which a pool reports
	}
	host, port, err := canonical.Host(u.Host)
	if err != nil {
		return target
	}
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return u.Scheme + "://" + host + ":" + port + strings.TrimSuffix(u.EscapedPath(), "/")
}
