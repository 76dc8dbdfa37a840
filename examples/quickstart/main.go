// Command quickstart is a whole gateway in one file: two upstreams, API keys, an access list and a rate limit.
//
//	go run ./examples/quickstart             serves until Ctrl-C and prints commands to try
//	go run ./examples/quickstart -selftest   runs those commands against itself
//
// The upstreams run in the same process, on loopback ports of their own; a real gateway's run elsewhere.
package main

import (
	"bytes"
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
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	selftest := flag.Bool("selftest", false, "run the commands against itself and exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if *selftest {
		*addr = "127.0.0.1:0"
	}
	err := run(ctx, *addr, *selftest)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build is the gateway: everything an application writes.
func build(orders, reports string, why *reasons, log *slog.Logger) (*gateway.Gateway, error) {
	consumers := auth.Static{
		"ann-key": {ID: "1", Username: "ann", Groups: []string{"staff"}},
		"bob-key": {ID: "2", Username: "bob"},
	}
	ordersUp, err1 := gateway.NewUpstream(gateway.UpstreamConfig{Name: "orders", Targets: []balancer.Target{{URL: orders}}})
	reportsUp, err2 := gateway.NewUpstream(gateway.UpstreamConfig{Name: "reports", Targets: []balancer.Target{{URL: reports}}})
	keys, err3 := keyauth.New(keyauth.Config{Consumers: consumers, HideCredentials: true})
	staff, err4 := acl.New(acl.Config{Allow: []string{"staff"}})
	limit, err5 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(5)}, Key: policy.ByConsumer()})
	observer, err6 := observe.New(observe.Config{Log: log})
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{observer, why},
		Routes: []gateway.Route{
			{Name: "hello", Match: gateway.Match{Paths: []string{"/hello"}, Methods: []string{"GET"}}, Public: true, Handler: http.HandlerFunc(hello)},
			{Name: "orders", Match: gateway.Match{Paths: []string{"/orders/*rest"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: ordersUp},
			{Name: "reports", Match: gateway.Match{Paths: []string{"/reports/*rest"}}, Plugins: []gateway.Plugin{keys, staff}, Handler: reportsUp},
		},
		Owns: []io.Closer{ordersUp, reportsUp},
	})
}

// hello is a handler of the application's own, beside the proxied ones.
func hello(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "hello from the gateway\n")
}

func run(ctx context.Context, addr string, selftest bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders, err := startUpstream(ctx, "orders")
	if err != nil {
		return err
	}
	reports, err := startUpstream(ctx, "reports")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if selftest {
		log = slog.New(slog.DiscardHandler)
	}
	why := newReasons()
	gw, err := build(orders, reports, why, log)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (choose another address with -listen)", err)
	}
	base := "http://" + l.Addr().String()
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, gateway.NewServer("", gw), l) }()

	fmt.Println("The route table; \"reasons\" is a plugin of this program, which notes who refused what:")
	fmt.Print(gw.Status().Routes, "\n")
	if selftest {
		failed := try(ctx, base, why)
		cancel()
		if err := <-ran; err != nil {
			return err
		}
		if failed > 0 {
			return fmt.Errorf("%d requests were not answered as expected", failed)
		}
		fmt.Println("\nall as expected")
		return nil
	}
	fmt.Println("Try these in another terminal:")
	for _, c := range calls() {
		fmt.Printf("\n  # %s: %d\n  %s\n", c.about, c.status, c.curl(base))
	}
	fmt.Printf("\nServing on %s. Press Ctrl-C to end.\n", base)
	return <-ran
}

// call is one request to try.
type call struct {
	about  string
	method string
	path   string
	header [2]string
	times  int // how often it is sent; the last answer counts
	status int
	why    string // what the decision record says of the refusal
	body   string // what the answer must hold
	lacks  string // what it must not hold
}

func calls() []call {
	ann, bob := [2]string{"apikey", "ann-key"}, [2]string{"apikey", "bob-key"}
	return []call{
		{about: "a handler of the application itself", method: "GET", path: "/hello", status: 200, body: "hello"},
		{about: "orders needs a key", method: "GET", path: "/orders/7", status: 401, why: "key-auth: no_credential"},
		{about: "a key nobody has", method: "GET", path: "/orders/7", header: [2]string{"apikey", "guess"}, status: 401, why: "key-auth: invalid_credential"},
		{about: "bob may see orders", method: "GET", path: "/orders/7", header: bob, status: 200, body: "X-Consumer-Username: bob", lacks: "bob-key"},
		{about: "bob is not staff", method: "GET", path: "/reports/q3", header: bob, status: 403, why: "acl: "},
		{about: "ann is", method: "GET", path: "/reports/q3", header: ann, status: 200, body: "X-Consumer-Username: ann"},
		{about: "another spelling is the same path, and the same rules", method: "GET", path: "/hello/%2e%2e/reports/q3", status: 401, why: "key-auth: no_credential"},
		{about: "an identity cannot be forged", method: "GET", path: "/hello", header: [2]string{"X_Consumer_Username", "root"}, status: 200},
		{about: "hello is read-only", method: "DELETE", path: "/hello", status: 405, why: "gateway: method_not_allowed"},
		{about: "no such route", method: "GET", path: "/nowhere", status: 404, why: "gateway: no_route"},
		{about: "five orders at once are bob's limit, the last of six in a row is refused", method: "GET", path: "/orders/7", header: bob, times: 6, status: 429, why: "rate-limiting: "},
	}
}

// curl returns the call as a command to paste.
func (c call) curl(base string) string {
	var b strings.Builder
	if c.times > 1 {
		fmt.Fprintf(&b, "for i in $(seq %d); do ", c.times)
	}
	b.WriteString("curl -i --path-as-is")
	if c.method != http.MethodGet {
		b.WriteString(" -X " + c.method)
	}
	if c.header[0] != "" {
		fmt.Fprintf(&b, " -H '%s: %s'", c.header[0], c.header[1])
	}
	fmt.Fprintf(&b, " '%s%s'", base, c.path)
	if c.times > 1 {
		b.WriteString("; done")
	}
	return b.String()
}

// try sends all calls, prints request, status and reason, and returns how many were not answered as they should.
func try(ctx context.Context, base string, why *reasons) (failed int) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer out.Flush()
	fmt.Println("WHY is the decision record's refusal, policy and reason; it is empty where nobody refused.")
	fmt.Fprintln(out, "REQUEST\tSTATUS\tWHY\t")
	for _, c := range calls() {
		status, body, reason, err := c.send(ctx, base, why)
		verdict := ""
		if err != nil || status != c.status || !strings.HasPrefix(reason, c.why) || !strings.Contains(body, c.body) ||
			c.lacks != "" && strings.Contains(body, c.lacks) {
			failed++
			verdict = fmt.Sprintf("NOT AS EXPECTED: want %d %q with %q in the body, %v", c.status, c.why, c.body, err)
		}
		fmt.Fprintf(out, "%s %s (%s)\t%d\t%s\t%s\n", c.method, c.path, c.about, status, reason, verdict)
	}
	return failed
}

func (c call) send(ctx context.Context, base string, why *reasons) (status int, body, reason string, err error) {
	for range max(c.times, 1) {
		req, err := http.NewRequestWithContext(ctx, c.method, base+c.path, nil)
		if err != nil {
			return 0, "", "", err
		}
		if c.header[0] != "" {
			req.Header[c.header[0]] = []string{c.header[1]} // as written: http.Header.Set would mend the spelling
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", "", err
		}
		b, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			return 0, "", "", err
		}
		status, body, reason = res.StatusCode, string(b), why.of(res.Header.Get("X-Request-Id"))
	}
	return status, body, reason, nil
}

// reasons is a plugin of this program's: it keeps for each request who refused it, and why.
type reasons struct {
	mu   sync.Mutex
	byID map[string]string
}

func newReasons() *reasons { return &reasons{byID: map[string]string{}} }

// Name names the plugin in the route table.
func (*reasons) Name() string { return "reasons" }

// Wrap reads the decision record once the inner plugins have written it.
func (k *reasons) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		// Before the head is sent, so that a client that has the answer finds the reason.
		next.ServeHTTP(policy.OnHeader(w, func(int, http.Header) { k.keep(x) }), r)
	})
}

func (k *reasons) keep(x *policy.Exchange) {
	d, refused := x.Refusal()
	if !refused {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.byID) >= 1000 { // a demonstration need not remember for ever
		clear(k.byID)
	}
	k.byID[x.RequestID()] = d.Policy + ": " + d.Reason
}

func (k *reasons) of(id string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byID[id]
}

// startUpstream starts a backend on a free loopback port until ctx ends. It answers with the request it got.
func startUpstream(ctx context.Context, name string) (url string, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s got %s %s\n", name, r.Method, r.URL.RequestURI())
		_ = r.Header.Write(&b)
		_, _ = w.Write(bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n")))
	})}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }()
	return "http://" + l.Addr().String(), nil
}
