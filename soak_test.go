package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

const (
	soakClients = 16
	// soakHeap is how much more the heap may hold at the end of the load than after its first quarter.
	soakHeap = 8 << 20
	// soakGoroutines is how many goroutines the load may need at a time: clients, servers and targets are all here.
	soakGoroutines = 60 * soakClients
)

// soak is a run of TestSoakGateway.
type soak struct {
	end      time.Time
	whole    string // a target without faults
	faulty   string // one that has little else
	requests atomic.Int64
	mu       sync.Mutex
	statuses map[string]int
	wrong    []string
}

func (s *soak) failf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 10 {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	}
}

// TestSoakGateway runs for the duration in GATEHOUSE_SOAK: clients over HTTP/1.1 and HTTP/2, some of which leave in the
// middle, a target that answers whole and one that does not, and a table that is swapped all the time. Each answer that
// arrives whole must be the one to its own request, and nothing may pile up.
func TestSoakGateway(t *testing.T) { //nolint:paralleltest // it counts the goroutines of the process
	text := os.Getenv("GATEHOUSE_SOAK")
	if text == "" {
		t.Skip("GATEHOUSE_SOAK is not set; make soak sets it")
	}
	duration, err := time.ParseDuration(text)
	require.NoError(t, err, "GATEHOUSE_SOAK")
	log.SetOutput(io.Discard) // to which net/http reports what targets send unasked
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	existing := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, existing) }) // runs last, when the targets have gone

	s := &soak{end: time.Now().Add(duration), statuses: map[string]int{}}
	s.whole, s.faulty = scripted(t, soakTarget(false)), scripted(t, soakTarget(true))
	gw := gateway.Must(gateway.New(s.config()))
	plain, secure := httptest.NewServer(gw), httptest.NewUnstartedServer(gw)
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()

	var wg sync.WaitGroup
	for i := range soakClients {
		base := plain.URL
		if i%2 == 0 {
			base = secure.URL
		}
		wg.Go(func() { s.client(t.Context(), i, base) })
	}
	wg.Go(func() {
		for ; time.Now().Before(s.end); wait(t.Context(), 200*time.Millisecond) {
			if err := gw.Apply(s.config()); err != nil {
				s.failf("Apply: %v", err)
			}
		}
	})
	wait(t.Context(), duration/4)
	before, most := heapInUse(), 0
	for ; time.Now().Before(s.end); wait(t.Context(), 100*time.Millisecond) {
		most = max(most, runtime.NumGoroutine())
	}
	wg.Wait()
	after := heapInUse()
	plain.Close()
	secure.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, gw.Shutdown(ctx))

	t.Logf("%d requests, at most %d goroutines, heap %d KiB after a quarter and %d KiB at the end; %v",
		s.requests.Load(), most, before>>10, after>>10, s.statuses)
	require.Empty(t, s.wrong)
	require.Positive(t, s.statuses["whole 200"])
	require.Positive(t, s.statuses["faulty 200"])
	require.Positive(t, s.statuses["faulty 502"])
	require.LessOrEqual(t, most, soakGoroutines)
	require.LessOrEqual(t, after, before+soakHeap)
}

// config makes a table with upstreams of its own, so that each swap closes some that are in use.
func (s *soak) config() gateway.Config {
	up := func(name, url string) *gateway.Upstream {
		return gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
			Name: name, Targets: []balancer.Target{{URL: url}}, MaxConns: 64,
			Timeouts: gateway.Timeouts{FirstByte: 2 * time.Second, Idle: 2 * time.Second},
		}))
	}
	whole, faulty := up("whole", s.whole), up("faulty", s.faulty)
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}, HideCredentials: true}))
	limit := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerSecond(1e6)}, Key: policy.ByHeader("X-Token")}))
	quiet := slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // records are to be written
	return gateway.Config{
		Plugins: []gateway.Plugin{gateway.Must(observe.New(observe.Config{Log: quiet}))},
		Routes: []gateway.Route{
			{Name: "whole", Match: gateway.Match{Paths: []string{"/whole"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: whole},
			{Name: "faulty", Match: gateway.Match{Paths: []string{"/faulty"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: faulty},
		},
		Owns: []io.Closer{whole, faulty}, Logger: quiet,
	}
}

// client sends one request after the other and looks at what comes back.
func (s *soak) client(ctx context.Context, number int, base string) {
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for i := 0; time.Now().Before(s.end); i++ {
		s.requests.Add(1)
		name := "whole"
		if rand.IntN(3) == 0 {
			name = "faulty"
		}
		s.request(ctx, client, base, name, fmt.Sprintf("%d-%d", number, i))
	}
}

func (s *soak) request(ctx context.Context, client *http.Client, base, name, token string) {
	leaves := rand.IntN(8) == 0
	if leaves {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(10))*time.Millisecond)
		defer cancel()
	}
	var body io.Reader
	method, size := http.MethodGet, 0
	if rand.IntN(2) == 0 {
		method, size = http.MethodPost, rand.IntN(100_000)
		body = bytes.NewReader(make([]byte, size))
	}
	req, err := http.NewRequestWithContext(ctx, method, base+"/"+name, body)
	if err != nil {
		s.failf("%v", err)
		return
	}
	req.Header.Set("X-Token", token)
	known := rand.IntN(10) > 0
	if known {
		req.Header.Set("Apikey", "k")
	}
	res, err := client.Do(req)
	if err != nil {
		s.count(name, "no answer")
		if name == "whole" && !leaves && known { // a refusal before the body was sent may close the connection
			s.failf("%s %s of %d bytes: %v", method, name, size, err)
		}
		return
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	switch {
	case err != nil:
		s.count(name, "cut off")
		if name == "whole" && !leaves {
			s.failf("%s %s of %d bytes: cut off: %v", method, name, size, err)
		}
	case !known && res.StatusCode != http.StatusUnauthorized:
		s.failf("%s without a key: %d", name, res.StatusCode)
	case known && res.StatusCode == http.StatusOK && string(answer) != soakAnswer(token, int64(size)):
		s.failf("%s: the answer to %s is %.80q", name, token, answer)
	case known && name == "whole" && res.StatusCode != http.StatusOK && !leaves:
		s.failf("whole: %d %s", res.StatusCode, answer)
	default:
		s.count(name, strconv.Itoa(res.StatusCode))
	}
}

func (s *soak) count(name, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[name+" "+what]++
}

// soakAnswer is what a target answers to a request with this token and a body of that size.
func soakAnswer(token string, size int64) string {
	return strings.Repeat(fmt.Sprintf("%s %d\n", token, size), 200)
}

// soakTarget answers each request with its token, or, when faulty, half of them and the others in every way it should not.
func soakTarget(faulty bool) func(*net.TCPConn, *bufio.Reader) {
	return func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			fault := 0
			if faulty {
				fault = rand.IntN(10)
			}
			if fault == 1 { // an answer before the body was read
				_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\nx")
				return
			}
			size, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return
			}
			answer := soakAnswer(r.Header.Get("X-Token"), size)
			whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
			switch fault {
			case 2:
				return
			case 3:
				_ = c.SetLinger(0) // a reset
				return
			case 4:
				_, _ = io.WriteString(c, whole[:len(whole)/2])
				return
			case 5:
				_, _ = io.WriteString(c, "no answer at all\r\n\r\n")
				return
			}
			if fault == 6 {
				whole += "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" // which nobody asked for
			}
			if _, err := io.WriteString(c, whole); err != nil && !errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// heapInUse returns the bytes of the heap that are reachable.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools let go in the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
