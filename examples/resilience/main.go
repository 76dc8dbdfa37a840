// Command resilience shows, second by second, what a gateway makes of a service whose two targets come and go.
//
//	go run ./examples/resilience
//
// One target begins to answer 500 and is left out; then the other one goes, too, the circuit breaker opens, and a fallback
// answers in the place of the service; then both are back. The targets run in the same process, on loopback ports of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/breaker"
)

func main() {
	second := flag.Duration("second", time.Second, "how long a second of the story takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *second, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// story says what happens to the targets, and in which second.
var story = []struct {
	second int
	what   string
	status [2]int // that the targets answer
}{
	{0, "both targets are well", [2]int{200, 200}},
	{3, "the first target answers 500 to everything", [2]int{500, 200}},
	{7, "the second one, too", [2]int{500, 500}},
	{12, "both targets are well again", [2]int{200, 200}},
}

const (
	seconds = 18
	rate    = 100 // requests in a second
)

// target is a server that answers what it is told to.
type target struct {
	status atomic.Int64
	srv    *http.Server
	url    string
}

func start(ctx context.Context) (*target, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &target{url: "http://" + l.Addr().String()}
	t.status.Store(http.StatusOK)
	t.srv = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(t.status.Load()))
	})}
	go func() { _ = t.srv.Serve(l) }()
	return t, nil
}

// build makes the gateway. Where a real one would have seconds, the story has its own.
func build(targets []*target, second time.Duration, tell func(string)) (*gateway.Gateway, *breaker.Breaker, *gateway.Upstream, error) {
	up, err1 := gateway.NewUpstream(gateway.UpstreamConfig{
		Name:    "service",
		Targets: []balancer.Target{{URL: targets[0].url}, {URL: targets[1].url}},
		// What fails is asked of the other target, if it may be asked twice.
		Retry: policy.Retry{Statuses: []int{500}, BackOff: -1},
		Health: balancer.Health{
			// Three answers of that kind in a row, and a target is left out ...
			Passive: balancer.Passive{Statuses: []int{500, 502, 503, 504}, EjectionTime: second},
			// ... until it says that it is well.
			Active: balancer.Active{
				Checker: healthcheck.HTTP{Path: "/healthz"}, Interval: second / 2, UnhealthyInterval: second / 4,
				Failures: balancer.Failures{HTTP: 2},
			},
			OnChange: func(c balancer.HealthChange) {
				name := "first"
				if c.Target == targets[1].url {
					name = "second"
				}
				tell(fmt.Sprintf("the %s target is %s: %s; %d of 2 are healthy", name, c.To, c.Reason, c.Pool.Healthy))
			},
		},
	})
	trip, err2 := breaker.New(breaker.Config{
		Name: "breaker", Consecutive: 20, OpenFor: second, MaxOpenFor: 2 * second,
		Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNonAuthoritativeInfo) }),
		OnChange: func(c breaker.Change) { tell(fmt.Sprintf("the circuit breaker is %s: %s", c.To, c.Reason)) },
	})
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, nil, err
	}
	gw, err := gateway.New(gateway.Config{
		Routes: []gateway.Route{{Name: "service", Plugins: []gateway.Plugin{trip}, Handler: up, Public: true}},
		Owns:   []io.Closer{up},
	})
	return gw, trip, up, err
}

// counts are the answers of a second.
type counts struct{ well, fallback, failed atomic.Int64 }

func (c *counts) add(status int) {
	switch status {
	case http.StatusOK:
		c.well.Add(1)
	case http.StatusNonAuthoritativeInfo:
		c.fallback.Add(1)
	default:
		c.failed.Add(1)
	}
}

// run tells the story.
func run(ctx context.Context, second time.Duration, out io.Writer) error {
	var mu sync.Mutex
	tell := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintln(out, line)
	}
	a, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = a.srv.Close() }()
	b, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = b.srv.Close() }()
	targets := []*target{a, b}
	gw, trip, up, err := build(targets, second, func(line string) { tell("      " + line) })
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		_ = gw.Shutdown(context.WithoutCancel(ctx))
	}()
	ticker := time.NewTicker(second / rate)
	defer ticker.Stop()
	for s := range seconds {
		for _, turn := range story {
			if turn.second == s {
				for i, t := range targets {
					t.status.Store(int64(turn.status[i]))
				}
				tell("----- " + turn.what)
			}
		}
		var c counts
		for range rate {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			all.Go(func() {
				w := httptest.NewRecorder() // a client; the gateway serves listeners just as well
				gw.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				c.add(w.Code)
			})
		}
		all.Wait()
		tell(fmt.Sprintf("%3d s %3d answered, %3d by the fallback, %3d failed; breaker %s, %d of 2 targets healthy",
			s+1, c.well.Load(), c.fallback.Load(), c.failed.Load(), trip.State(), up.Status().Health.Healthy))
	}
	return nil
}
