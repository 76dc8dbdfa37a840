// Command canary shows, second by second, how a gateway brings a new version of a service in, and how it takes a bad one out.
//
//	go run ./examples/canary
//
// Version 2 gets 5 % of the traffic, then half of it, then all. Version 3 gets 5 %, fails, and loses it by itself. The versions
// run in the same process, on loopback ports of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
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

const (
	rate  = 100 // requests in a second
	users = 400
)

// story is who tells what happens.
type story struct {
	ctx    context.Context //nolint:containedctx // that of the program
	second time.Duration
	mu     sync.Mutex
	out    io.Writer
	gw     *gateway.Gateway
	arms   map[string]string // which version a user was answered by last
}

func (s *story) tellf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

// serve starts a version of the service: one that answers with its name, or fails.
func serve(ctx context.Context, version string, status int) (*gateway.Upstream, func(), error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, version)
	})}
	go func() { _ = srv.Serve(l) }()
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: version, Targets: []balancer.Target{{URL: "http://" + l.Addr().String()}}})
	return up, func() { _ = srv.Close() }, err
}

// release has a new version stand beside the one that serves.
func (s *story) release(stable, canary *gateway.Upstream) (*split.Split, error) {
	return split.New(split.Config{
		Name: "app",
		Arms: []split.Arm{{Name: "stable", Weight: 95, Handler: stable}, {Name: "canary", Weight: 5, Handler: canary}},
		// Who is in the canary stays there, and testers may ask for it.
		Sticky:    policy.ByHeader("X-User"),
		Overrides: []split.Override{{Header: "X-Arm", Arm: "canary"}},
		Rollback: split.Rule{
			Arm: "canary", Against: "stable", Window: 10 * s.second,
			OnRollback: func(r split.Rollback) {
				s.tellf("      rolled back: %s, %d of %d against %d of %d", r.Reason, r.Errors, r.Requests, r.AgainstErrors, r.AgainstRequests)
			},
		},
	})
}

// table is what the gateway serves.
func table(h http.Handler, owns ...io.Closer) gateway.Config {
	return gateway.Config{Routes: []gateway.Route{{Name: "app", Handler: h, Public: true}}, Owns: owns}
}

// ask sends the requests of some seconds, and tells who answered.
func (s *story) ask(seconds int) error {
	ticker := time.NewTicker(s.second / rate)
	defer ticker.Stop()
	for range seconds {
		answers := map[string]int{}
		moved := 0
		for n := range rate {
			select {
			case <-s.ctx.Done():
				return s.ctx.Err()
			case <-ticker.C:
			}
			user := fmt.Sprint("user-", (n*7919)%users)
			r := httptest.NewRequestWithContext(s.ctx, http.MethodGet, "/", nil)
			r.Header.Set("X-User", user)
			w := httptest.NewRecorder() // a client; the gateway serves listeners just as well
			s.gw.ServeHTTP(w, r)
			answer := w.Body.String()
			if w.Code != http.StatusOK {
				answer = "failed"
			}
			if before := s.arms[user]; before != "" && before != answer {
				moved++
			}
			s.arms[user] = answer
			answers[answer]++
		}
		var parts []string
		for _, version := range slices.Sorted(maps.Keys(answers)) {
			parts = append(parts, fmt.Sprintf("%s %3d", version, answers[version]))
		}
		s.tellf("      %s; %d users got another version than before", strings.Join(parts, ", "), moved)
	}
	return nil
}

// run tells the story.
func run(ctx context.Context, second time.Duration, out io.Writer) error {
	s := &story{ctx: ctx, second: second, out: out, arms: map[string]string{}}
	v1, stop1, err1 := serve(ctx, "v1", http.StatusOK)
	v2, stop2, err2 := serve(ctx, "v2", http.StatusOK)
	v3, stop3, err3 := serve(ctx, "v3", http.StatusInternalServerError)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	defer stop1()
	defer stop2()
	defer stop3()
	canary, err := s.release(v1, v2)
	if err != nil {
		return err
	}
	if s.gw, err = gateway.New(table(canary, v1, v2)); err != nil {
		return err
	}
	defer func() { _ = s.gw.Shutdown(context.WithoutCancel(ctx)) }()

	s.tellf("----- v2 gets 5 %%")
	if err := s.ask(3); err != nil {
		return err
	}
	for _, percent := range []int{50, 100} {
		s.tellf("----- v2 gets %d %%", percent)
		if err := canary.SetWeights(map[string]int{"stable": 100 - percent, "canary": percent}); err != nil {
			return err
		}
		if err := s.ask(2); err != nil {
			return err
		}
	}
	for _, a := range canary.Status().Arms {
		s.tellf("      %s had %d requests and %d errors, and has %d in flight", a.Name, a.Requests, a.Errors, a.InFlight)
	}

	s.tellf("----- v2 is stable now; v3 gets 5 %%, and v1 is closed after its last request")
	next, err := s.release(v2, v3)
	if err != nil {
		return errors.Join(err, v3.Close())
	}
	if err := s.gw.Apply(table(next, v2, v3)); err != nil {
		return errors.Join(err, v3.Close()) // on an error the caller still owns what it made
	}
	if err := s.ask(6); err != nil {
		return err
	}
	s.tellf("      weights: %v", next.Weights())
	s.tellf("      %s", next.Status().Rollback)
	return nil
}
