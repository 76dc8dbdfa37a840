// Command sse is a gateway before a service that sends events, and a page that shows them.
//
//	go run ./examples/sse                                  serves until Ctrl-C: open the address it prints
//	curl -N 'http://127.0.0.1:8080/events?apikey=ann-key'
//
// The service runs in the same process, on a loopback port of its own; a real one runs elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr, time.Second, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build is the gateway before a service of events.
func build(service string, log *slog.Logger) (*gateway.Gateway, error) {
	up, err1 := gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "events", Targets: []balancer.Target{{URL: service}},
		Timeouts: gateway.Timeouts{Idle: time.Minute}, // the service must say something that often, if only a comment
	})
	// EventSource cannot send a header field, so that the key is in the query. It is neither passed on nor logged.
	keys, err2 := keyauth.New(keyauth.Config{Consumers: auth.Static{"ann-key": {ID: "1", Username: "ann"}}, In: keyauth.Query, HideCredentials: true})
	// A stream counts when it begins.
	limit, err3 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer()})
	observer, err4 := observe.New(observe.Config{Log: log})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{observer},
		Routes: []gateway.Route{
			{Name: "page", Match: gateway.Match{Paths: []string{"/"}}, Public: true, Handler: http.HandlerFunc(page)},
			{
				Name: "events", Match: gateway.Match{Paths: []string{"/events"}, Methods: []string{http.MethodGet}},
				Plugins: []gateway.Plugin{keys, limit, untilShutdown{}}, Handler: up,
				Streaming: true, // a plugin that buffers would be an error here
			},
		},
		Owns: []io.Closer{up}, Logger: log,
	})
}

// untilShutdown is a plugin that ends requests when the gateway begins to shut down, which would otherwise wait for them:
// a browser that loses its events asks for the rest elsewhere.
type untilShutdown struct{}

// Wrap implements [gateway.Plugin].
func (untilShutdown) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(x.Ending(), cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// page shows the events.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><title>Events</title><pre></pre><script>
new EventSource('/events?apikey=ann-key').onmessage = e => document.querySelector('pre').append(e.data + '\n')
</script>`)
}

// events is the service: a number every so often, beginning behind the last that the client has seen.
func events(every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		last, _ := strconv.Atoi(r.Header.Get("Last-Event-Id"))
		tick := time.NewTicker(every)
		defer tick.Stop()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		for n := last + 1; ; n++ {
			fmt.Fprintf(w, "id: %d\ndata: event %d for %s\n\n", n, n, r.Header.Get("X-Consumer-Username"))
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

// run serves until ctx ends, and says where.
func run(ctx context.Context, addr string, every time.Duration, out, logs io.Writer) error {
	internal, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	service := &http.Server{Handler: events(every), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = service.Serve(internal) }()
	defer service.Close()

	gw, err := build("http://"+internal.Addr().String(), slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (choose another address with -listen)", err)
	}
	fmt.Fprintf(out, "listening on http://%s\n", l.Addr())
	return gw.Run(ctx, gateway.NewServer("", gw), l)
}
