// Command overload shows what becomes of a service that is asked for twice what it can do, with and without a limit that finds its
// capacity.
//
//	go run ./examples/overload
//
// The service can work on ten requests at once, each for 20 ms on average, and runs in the same process, on a loopback port of
// its own. A fifth of its clients are in the group "gold"; all give up when there is no answer within half a second.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

const (
	workers  = 10
	work     = 20 * time.Millisecond
	patience = 500 * time.Millisecond
	rate     = 2 * workers * int(time.Second/work) // requests in a second
)

func main() {
	length := flag.Duration("length", 10*time.Second, "how long each half of the comparison takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *length, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// service works on ten requests at once, in the order in which they come. It does not notice that a client has left.
type service struct {
	jobs chan chan struct{}
}

func startService(ctx context.Context) (url string, end func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &service{jobs: make(chan chan struct{}, 1<<20)}
	over := make(chan struct{})
	for range workers {
		go s.work(over)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	return "http://" + l.Addr().String(), func() {
		_ = srv.Close()
		close(over)
	}, nil
}

func (s *service) work(over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case done := <-s.jobs:
			time.Sleep(time.Duration(rand.Float64() * 2 * float64(work))) //nolint:gosec // no secret
			close(done)
		}
	}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	done := make(chan struct{})
	s.jobs <- done
	select {
	case <-done:
		w.WriteHeader(http.StatusOK)
	case <-r.Context().Done():
	}
}

// class puts those who pay before the others.
func class(x *policy.Exchange) int {
	if c := x.Consumer(); c != nil && slices.Contains(c.Groups, "gold") {
		return 0
	}
	return 1
}

// build makes a gateway in front of url. A nil limit is none.
func build(url string, limit *concurrency.Limiter) (*gateway.Gateway, error) {
	config := gateway.UpstreamConfig{Name: "service", Targets: []balancer.Target{{URL: url}}, MaxConns: -1}
	if limit != nil {
		config.Admission = []policy.Admission{limit}
	}
	up, err := gateway.NewUpstream(config)
	if err != nil {
		return nil, err
	}
	consumers := auth.Static{"gold-key": {ID: "1", Username: "ann", Groups: []string{"gold"}}, "plain-key": {ID: "2", Username: "bob"}}
	keys, err := keyauth.New(keyauth.Config{Consumers: consumers, HideCredentials: true})
	if err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Routes: []gateway.Route{{Name: "service", Plugins: []gateway.Plugin{keys}, Handler: up}},
		Owns:   []io.Closer{up},
	})
}

// counts are what clients of one kind got.
type counts struct {
	asked, answered, shed int
}

func (c counts) String() string {
	share := func(n int) float64 { return 100 * float64(n) / float64(max(c.asked, 1)) }
	return fmt.Sprintf("%4d asked, %5.1f %% answered in time, %5.1f %% refused at once", c.asked, share(c.answered), share(c.shed))
}

// load asks gw for more than it can do, and returns what those who pay got, and the others.
func load(ctx context.Context, gw http.Handler, length time.Duration) (gold, plain counts) {
	var mu sync.Mutex
	var all sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	end := time.After(length)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			all.Wait()
			return gold, plain
		case <-end:
			all.Wait()
			return gold, plain
		case <-ticker.C:
		}
		key, kind := "plain-key", &plain
		if n%5 == 0 {
			key, kind = "gold-key", &gold
		}
		all.Go(func() {
			status := ask(ctx, gw, key)
			mu.Lock()
			defer mu.Unlock()
			kind.asked++
			switch status {
			case http.StatusOK:
				kind.answered++
			case http.StatusServiceUnavailable:
				kind.shed++
			}
		})
	}
}

// ask is a client: it returns the status it got, or 0 when it gave up.
func ask(ctx context.Context, gw http.Handler, key string) (status int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(patience, cancel).Stop()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set("apikey", key)
	w := httptest.NewRecorder() // the gateway serves listeners just as well
	defer func() {
		if recover() != nil { // nobody is there to be answered
			status = 0
		}
	}()
	gw.ServeHTTP(w, r)
	return w.Code
}

func run(ctx context.Context, length time.Duration, out io.Writer) error {
	_, _ = fmt.Fprintf(out, "%d requests/s for a service that can do %d\n", rate, rate/2)
	for _, limited := range []bool{false, true} {
		if err := half(ctx, length, limited, out); err != nil {
			return err
		}
	}
	return nil
}

// half is one half of the comparison.
func half(ctx context.Context, length time.Duration, limited bool, out io.Writer) error {
	url, end, err := startService(ctx)
	if err != nil {
		return err
	}
	defer end()
	name, limit := "without a limit", (*concurrency.Limiter)(nil)
	if limited {
		name = "with a limit that finds the capacity"
		limit, err = concurrency.New(concurrency.Config{Name: "service", Classes: 2, Class: class, MaxWait: patience / 4})
		if err != nil {
			return err
		}
	}
	gw, err := build(url, limit)
	if err != nil {
		return err
	}
	defer func() { _ = gw.Shutdown(context.WithoutCancel(ctx)) }()
	gold, plain := load(ctx, gw, length)
	goodput := float64(gold.answered+plain.answered) / (float64(rate) / 2 * length.Seconds())
	_, _ = fmt.Fprintf(out, "\n%s: goodput %.0f %% of what the service can do\n  gold  %s\n  plain %s\n", name, 100*goodput, gold, plain)
	if limit != nil {
		s := limit.Status()
		_, _ = fmt.Fprintf(out, "  the limit is %d, %d workers are there; an answer takes %s at rest, and now %s\n",
			s.Limit, workers, s.AtRest.Round(time.Millisecond), s.Latency.Round(time.Millisecond))
	}
	return nil
}
