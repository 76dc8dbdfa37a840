package consul

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
)

const (
	// gap is the shortest time from one question to the next.
	gap = 250 * time.Millisecond
	// firstPatience and mostPatience are the waits after failures.
	firstPatience = time.Second
	mostPatience  = 30 * time.Second
	// slack is how long an answer may take beyond the time that Consul may wait.
	slack = 10 * time.Second
)

// Source is a [balancer.Source] that asks Consul. It may be used by several pools, each of which asks for itself.
type Source struct {
	c       Config
	agent   *url.URL
	service *url.URL // nil for http and the addresses
	socket  string
}

// New returns a Source, or all that is wrong with c. It starts nothing and asks nobody.
func New(c Config) (*Source, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Tags = slices.Clone(c.Tags)
	c.Wait = cmp.Or(c.Wait, DefaultWait)
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
	}
	s := &Source{c: c}
	var err error
	if s.agent, s.socket, err = parseAddress(c.Address); err != nil {
		return nil, err
	}
	if c.URL != "" {
		s.service = serviceURL(c.URL)
	}
	return s, nil
}

// Watch implements [balancer.Source]. It delivers after each answer. Of instances that no target can be made of, the others are
// targets nevertheless, and what is wrong is told as well.
func (s *Source) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	if s == nil || s.agent == nil {
		return errors.New("consul: this Source is empty; make one with New")
	}
	client := s.client()
	defer client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var p progress
	var last []balancer.Target
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		began := time.Now()
		got, err := s.ask(ctx, client, p.index)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			deliver(nil, err)
			timer.Reset(p.failed())
			continue
		}
		// With the same targets and a problem, the problem alone is news: else a pool would say each time that all is well again.
		if got.problem == nil || !slices.Equal(got.targets, last) {
			last = got.targets
			deliver(got.targets, nil)
		}
		if got.problem != nil {
			deliver(nil, got.problem)
		}
		timer.Reset(p.answered(got.index, time.Since(began)))
	}
}

// progress is how far a Watch has got.
type progress struct {
	index    uint64 // of the answer before; 0 asks for one at once
	failures int
	idle     int // answers in a row that came at once, and were no news
}

const mostDoubling = 7

// failed returns how long to wait after a failure. The next question is for an answer at once.
func (p *progress) failed() time.Duration {
	d := min(firstPatience<<min(p.failures, mostDoubling), mostPatience)
	p.failures++
	p.index, p.idle = 0, 0
	return d + rand.N(d/2+1) //nolint:gosec // G404: nothing depends on its being a secret
}

// answered takes the index of an answer, and returns how long to wait before the next question.
func (p *progress) answered(index uint64, took time.Duration) time.Duration {
	p.failures = 0
	index = max(index, 1) // 0 would have the next question answered at once
	if p.index > 0 && index == p.index && took < gap {
		p.idle++
	} else {
		p.idle = 0
	}
	if index < p.index { // Consul was restored, or is another one
		index = 0
	}
	p.index = index
	d := min(gap<<min(p.idle, mostDoubling), mostPatience)
	return max(d+rand.N(d/2+1)-took, 0) //nolint:gosec // G404: as above
}

// client returns what one Watch asks with.
func (s *Source) client() *http.Client {
	dial := s.c.Dial
	if dial == nil {
		d := &net.Dialer{Timeout: 5 * time.Second}
		dial = d.DialContext
		if s.socket != "" {
			dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", s.socket) }
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        s.c.TLS.Clone(),
			TLSHandshakeTimeout:    5 * time.Second,
			DisableCompression:     true, // the size of an answer is bounded as it comes
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           1,
			IdleConnTimeout:        time.Minute,
		},
		// A redirect would take the token along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
