package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

const (
	chaosClients = 24
	// chaosShort is how long TestSoakChaos runs without GATEHOUSE_SOAK.
	chaosShort = 8 * time.Second
	// chaosGoroutines is how many goroutines a client may need at a time, with the gateway and the target.
	chaosGoroutines = 40
)

// chaos is a run of TestSoakChaos.
type chaos struct {
	soak

	addr     string
	secure   string // the address where it speaks TLS
	clients  []*http.Transport
	last     atomic.Int64
	panicked atomic.Int64
}

// TestSoakChaos runs for the duration in GATEHOUSE_SOAK, or for a moment: a target that answers in every way a target should
// not, and clients that leave, stall, pipeline and send half of what they say. Each answer has the id of its own request, what
// comes whole is what the target said to that request, and in the end nothing is left: no memory, goroutine or descriptor.
func TestSoakChaos(t *testing.T) { //nolint:paralleltest // it counts the goroutines and descriptors of the process
	if testing.Short() {
		t.Skip("takes ten seconds and more")
	}
	duration := chaosShort
	if text := os.Getenv("GATEHOUSE_SOAK"); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err, "GATEHOUSE_SOAK")
	}
	log.SetOutput(io.Discard) // to which net/http reports what targets send unasked
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	nothingIsLeft(t)

	s := &chaos{soak: soak{end: time.Now().Add(duration), statuses: map[string]int{}}}
	gw, l := gateway.Must(gateway.New(s.table(t, scripted(t, chaosTarget)))), listen(t)
	s.addr = l.Addr().String()
	srv := gateway.NewServer("", gw)
	srv.ErrorLog = log.New(s, "", 0)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	ran := make(chan error, 1)
	ls := []net.Listener{gateway.Must(gateway.NewListener(l, gateway.ListenerConfig{})), s.secured(t, srv)}
	go func() { ran <- gw.Run(ctx, srv, ls...) }()

	var wg sync.WaitGroup
	for i := range chaosClients {
		wg.Go(func() {
			if i < len(chaosFaults()) {
				s.ask(t.Context(), chaosFaults()[i]) // so that none is left out
			}
			for time.Now().Before(s.end) {
				s.visit(t.Context())
			}
		})
	}
	wait(t.Context(), duration/4)
	before, most, conns := heapInUse(), 0, 0
	for ; time.Now().Before(s.end); wait(t.Context(), 100*time.Millisecond) {
		most, conns = max(most, runtime.NumGoroutine()), max(conns, descriptors())
	}
	wg.Wait()
	for _, tr := range s.clients {
		tr.CloseIdleConnections()
	}
	after := heapInUse()
	cancel()
	require.NoError(t, <-ran)

	t.Logf("%d requests in %v, at most %d goroutines and %d descriptors, heap %d KiB after a quarter and %d KiB at the end; %v",
		s.requests.Load(), duration, most, conns, before>>10, after>>10, s.statuses)
	require.Empty(t, s.wrong)
	require.Zero(t, s.panicked.Load(), "panics")
	for _, what := range []string{"whole 200", "drip 200", "hints 200", "surplus 200", "reset 502", "garbage 502", "status 502", "stall 504", "truncate chunks cut off", "tunnel 101", "HTTP/2 200", "HTTPS 200"} {
		require.Positive(t, s.statuses[what], what)
	}
	require.LessOrEqual(t, most, chaosGoroutines*chaosClients)
	require.LessOrEqual(t, after, before+soakHeap)
}

// nothingIsLeft says that goroutines and descriptors return to what they are now when all that is cleaned up later is.
func nothingIsLeft(t *testing.T) {
	t.Helper()
	require.NoError(t, listen(t).Close()) // with the first socket the runtime opens descriptors for itself
	files, existing := descriptors(), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, existing)
		require.Eventually(t, func() bool { return descriptors() <= files }, rawtest.Patience, 10*time.Millisecond, "%d descriptors before", files)
	})
}

// descriptors returns how many files the process has open, or 0 where that cannot be told.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// Write counts the panics among what the server and the gateway log.
func (s *chaos) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		s.panicked.Add(1)
		s.failf("%.300s", p)
	}
	return len(p), nil
}

// table leads to one target over both transports, and lets clients switch.
func (s *chaos) table(t *testing.T, target string) gateway.Config {
	t.Helper()
	up := func(name string, outbound ...func(http.RoundTripper) http.RoundTripper) *gateway.Upstream {
		u, err := gateway.NewUpstream(gateway.UpstreamConfig{
			Name: name, Targets: []balancer.Target{{URL: target}}, MaxConns: 64, Outbound: outbound,
			Timeouts: gateway.Timeouts{FirstByte: 5 * time.Second, Idle: 5 * time.Second, Connect: 10 * time.Second},
		})
		require.NoError(t, err)
		return u
	}
	direct := up("direct")
	standard := up("standard", func(next http.RoundTripper) http.RoundTripper { return next })
	logger := slog.New(slog.NewJSONHandler(s, nil))
	c := gateway.Config{
		Owns: []io.Closer{direct, standard}, Logger: logger, DrainTimeout: rawtest.Patience,
		Plugins: []gateway.Plugin{gateway.Must(observe.New(observe.Config{Log: logger, AcceptRequestID: observe.TrustAnyone}))},
	}
	c.ReadProgress, c.WriteProgress = 20*time.Second, 20*time.Second
	for name, u := range map[string]*gateway.Upstream{"direct": direct, "standard": standard} {
		c.Routes = append(c.Routes, gateway.Route{
			Name: name, Match: gateway.Match{Paths: []string{"/" + name}}, Handler: u,
			Forward: gateway.Forward{Upgrade: policy.Upgrade{Protocols: []string{"echo"}, Idle: time.Second}},
		})
	}
	return c
}

// chaosFaults are what a client asks the target for; the first five are answers that arrive whole.
func chaosFaults() []string {
	return []string{
		"whole", "chunks", "drip", "hints", "surplus",
		"reset", "stall", "stall within", "truncate", "truncate chunks", "flood", "status", "close", "early", "early close", "garbage", "switch", "head", "framing",
	}
}

func arrivesWhole(fault string) bool { return slices.Contains(chaosFaults()[:5], fault) }

// chaosTarget does what each request asks for.
func chaosTarget(c *net.TCPConn, in *bufio.Reader) {
	say := func(text string) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		id, fault := r.Header.Get("X-Token"), r.Header.Get("X-Fault")
		if r.Header.Get("Upgrade") != "" {
			chaosTunnel(c, in, fault)
			return
		}
		switch fault {
		case "close":
			return
		case "early", "early close":
			if !say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Token: "+id+"\r\n\r\nno") || fault == "early close" {
				return
			}
		}
		size, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		if fault == "early" {
			continue
		}
		body := soakAnswer(id, size)
		head := "HTTP/1.1 200 OK\r\nX-Token: " + id + "\r\n"
		whole := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
		chunks := fmt.Sprintf("%sTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n%x\r\n%s\r\n0\r\nX-End: %s\r\n\r\n", head, len(body), body, id)
		const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
		switch fault {
		case "chunks":
			whole = chunks
		case "drip":
			for _, b := range []byte(whole[:100]) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
			whole = whole[100:]
		case "hints":
			whole = strings.Repeat(hint, 7) + whole
		case "flood":
			whole = strings.Repeat(hint, 5000) + whole
		case "surplus":
			whole += "HTTP/1.1 200 OK\r\nX-Token: evil\r\nContent-Length: 4\r\n\r\nevil"
		case "reset":
			_ = c.SetLinger(0)
			return
		case "stall", "stall within":
			if fault == "stall within" {
				say(whole[:len(whole)/2])
			}
			_, _ = io.Copy(io.Discard, in) // until the gateway gives up
			return
		case "truncate":
			say(whole[:len(whole)-rand.IntN(len(body))-1])
			return
		case "truncate chunks":
			say(chunks[:len(chunks)-rand.IntN(len(body))-1])
			return
		case "status":
			whole = strings.Replace(whole, "200", []string{"099", "000", "1000", "2x0", "-20"}[rand.IntN(5)], 1)
		case "garbage":
			whole = strings.Repeat("\x16\x03\x01 nothing", 20) + "\r\n\r\n"
		case "switch":
			whole = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + whole
		case "head":
			whole = strings.Replace(whole, "\r\n", "\r\nX-Long: "+strings.Repeat("x", 200<<10)+"\r\n", 1)
		case "framing":
			whole = strings.Replace(whole, "\r\n", []string{"\r\nContent-Length: 1\r\n", "\r\nContent-Length: +1\r\n", "\r\nA b: c\r\n", "\r\nTransfer-Encoding: gzip\r\n"}[rand.IntN(4)], 1)
		}
		if !say(whole) {
			return
		}
	}
}

// chaosTunnel switches, and echoes until it breaks off in one of several ways.
func chaosTunnel(c *net.TCPConn, in *bufio.Reader, how string) {
	const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
	if how == "truncate" {
		_, _ = io.WriteString(c, answer[:len(answer)/2])
		return
	}
	if _, err := io.WriteString(c, answer); err != nil {
		return
	}
	if how == "whole" {
		_, _ = io.Copy(c, in)
		_ = c.CloseWrite()
		return
	}
	_, _ = io.CopyN(c, in, rand.Int64N(2000))
	switch how {
	case "reset":
		_ = c.SetLinger(0)
	case "close":
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, in)
	case "stall":
		_, _ = io.Copy(io.Discard, in)
	}
}

// chaosRequest is one request of a visit.
type chaosRequest struct {
	id, fault string
	size      int
	text      string
}

func (s *chaos) request(fault string) chaosRequest {
	r := chaosRequest{id: strconv.FormatInt(s.last.Add(1), 36), fault: fault}
	path := "/direct"
	if rand.IntN(2) == 0 {
		path = "/standard"
	}
	method, framing := "GET", ""
	if rand.IntN(3) == 0 {
		method, r.size = "POST", rand.IntN(50_000)
		framing = "Content-Length: " + strconv.Itoa(r.size) + "\r\n"
	}
	r.text = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: h\r\nX-Request-Id: %s\r\nX-Token: %s\r\nX-Fault: %s\r\n%s\r\n%s", method, path, r.id, r.id, fault, framing, strings.Repeat("b", r.size))
	s.requests.Add(1)
	return r
}

// dial returns a connection of a client.
func (s *chaos) dial(ctx context.Context) (*net.TCPConn, *bufio.Reader) {
	raw, err := (&net.Dialer{Timeout: rawtest.Patience}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		s.failf("%v", err)
		return nil, nil
	}
	_ = raw.SetDeadline(time.Now().Add(3 * rawtest.Patience))
	return raw.(*net.TCPConn), bufio.NewReader(raw)
}

// ask sends one request, over a connection of its own.
func (s *chaos) ask(ctx context.Context, fault string) {
	c, in := s.dial(ctx)
	if c == nil {
		return
	}
	defer c.Close()
	r := s.request(fault)
	go func() { _, _ = io.WriteString(c, r.text) }()
	s.answered(in, []chaosRequest{r}, false)
}

// visit is a connection of a client, which may leave before its end.
func (s *chaos) visit(ctx context.Context) {
	c, in := s.dial(ctx)
	if c == nil {
		return
	}
	defer c.Close()
	if rand.IntN(4) == 0 {
		defer func() { _ = c.SetLinger(0) }()
	}
	var requests []chaosRequest
	var text strings.Builder
	for range 1 + rand.IntN(5) {
		fault := chaosFaults()[rand.IntN(len(chaosFaults()))]
		if strings.HasPrefix(fault, "stall") && rand.IntN(40) > 0 { // which takes its time
			fault = "whole"
		}
		r := s.request(fault)
		requests = append(requests, r)
		text.WriteString(r.text)
	}
	switch kind := rand.IntN(14); kind {
	case 0: // leaves in the middle of what it sends
		_, _ = io.WriteString(c, text.String()[:rand.IntN(text.Len())])
	case 1: // or behind it
		_, _ = io.WriteString(c, text.String())
		wait(ctx, time.Duration(rand.IntN(5))*time.Millisecond)
	case 2: // or within the answer
		_, _ = io.WriteString(c, requests[0].text)
		_, _ = in.Peek(1 + rand.IntN(100))
	case 3: // sends no request, or something behind one
		_, _ = io.WriteString(c, []string{"\x16\x03\x01\x00\xa5", "GET / HTTP/1.1\r\nHost", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "\r\n\r\n"}[rand.IntN(4)])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, in)
	case 4: // half-closes
		_, _ = io.WriteString(c, requests[0].text)
		_ = c.CloseWrite()
		s.answered(in, requests[:1], true)
	case 5, 6: // pipelines
		go func() { _, _ = io.WriteString(c, text.String()) }()
		s.answered(in, requests, false)
	case 7: // switches protocols
		s.tunnel(c, in)
	case 8: // reads slowly
		_, _ = io.WriteString(c, requests[0].text)
		s.answered(bufio.NewReaderSize(&slowly{ctx: ctx, from: in}, 16), requests[:1], false)
	case 9, 10: // speaks TLS
		_ = c.Close()
		s.askSecurely(ctx, s.clients[kind-9], requests[0])
	default: // does all as it should
		for i := range requests {
			go func() { _, _ = io.WriteString(c, requests[i].text) }()
			if !s.answered(in, requests[i:i+1], false) {
				return
			}
		}
	}
}

// slowly hands on little at a time, and pauses now and then.
type slowly struct {
	ctx  context.Context //nolint:containedctx // of one read
	from io.Reader
}

// Read reads a little.
func (s *slowly) Read(p []byte) (int, error) {
	if rand.IntN(50) == 0 {
		wait(s.ctx, time.Millisecond)
	}
	return s.from.Read(p[:min(len(p), 16)])
}

// answered reads the answers to requests, and reports whether another may follow over the connection.
func (s *chaos) answered(in *bufio.Reader, requests []chaosRequest, leaving bool) bool {
	for _, r := range requests {
		method, _, _ := strings.Cut(r.text, " ")
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		for err == nil && res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			res, err = http.ReadResponse(in, &http.Request{Method: method})
		}
		if err != nil {
			s.unanswered(r, err, leaving)
			return false
		}
		if !s.isRight(r, res, leaving) || res.Close {
			return false
		}
	}
	return true
}

// unanswered counts a request to which no answer came.
func (s *chaos) unanswered(r chaosRequest, err error, leaving bool) {
	s.count(r.fault, "no answer")
	if arrivesWhole(r.fault) && !leaving {
		s.failf("%s of %d bytes, %s: no answer: %v", r.fault, r.size, r.id, err)
	}
}

// isRight looks at an answer, and reports whether it came to its end.
func (s *chaos) isRight(r chaosRequest, res *http.Response, leaving bool) bool {
	if id := res.Header.Get("X-Request-Id"); id != r.id {
		s.failf("crossed: %s %s was answered with %d of %q", r.fault, r.id, res.StatusCode, id)
	}
	if id := res.Header.Get("X-Token"); id != "" && id != r.id {
		s.failf("crossed: %s %s was answered with %d and the answer to %q", r.fault, r.id, res.StatusCode, id)
	}
	body, err := io.ReadAll(res.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.failf("%s %s: %d without an end", r.fault, r.id, res.StatusCode)
		return false
	case err != nil:
		s.count(r.fault, "cut off")
		if arrivesWhole(r.fault) && !leaving {
			s.failf("%s of %d bytes, %s: cut off: %v", r.fault, r.size, r.id, err)
		}
		return false
	case res.StatusCode == http.StatusOK && string(body) != soakAnswer(r.id, int64(r.size)):
		s.failf("%s %s was answered with %.80q of %d bytes", r.fault, r.id, body, len(body))
	case res.StatusCode != http.StatusOK && arrivesWhole(r.fault) && !leaving && r.size == 0: // a POST may have met a connection that has just ended
		path, _, _ := strings.Cut(r.text, " HTTP")
		s.failf("%s: %s %s was answered with %d, %s", path, r.fault, r.id, res.StatusCode, res.Header.Get("Proxy-Status"))
	}
	s.count(r.fault, strconv.Itoa(res.StatusCode))
	return true
}

// tunnel switches, and says something of which an echo may come back.
func (s *chaos) tunnel(c *net.TCPConn, in *bufio.Reader) {
	how := []string{"whole", "reset", "close", "truncate", "end", "stall"}[min(rand.IntN(20)/3, 5)]
	id := strconv.FormatInt(s.last.Add(1), 36)
	path := []string{"direct", "standard"}[rand.IntN(2)]
	s.requests.Add(1)
	fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Request-Id: %s\r\nX-Token: %s\r\nX-Fault: %s\r\n\r\n", path, id, id, how)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		s.failf("tunnel %s, %s: %v", how, id, err)
		return
	}
	if got := res.Header.Get("X-Request-Id"); got != id {
		s.failf("crossed: tunnel %s was answered with %d of %q", id, res.StatusCode, got)
	}
	s.count("tunnel", strconv.Itoa(res.StatusCode))
	if res.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	said := strings.Repeat(id+" ", 400)
	go func() {
		_, _ = io.WriteString(c, said)
		if rand.IntN(2) == 0 {
			_ = c.CloseWrite()
		}
	}()
	if rand.IntN(4) == 0 {
		return
	}
	echo, err := io.ReadAll(in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.failf("tunnel %s, %s: no end", how, id)
	}
	if !strings.HasPrefix(said, string(echo)) {
		s.failf("crossed: tunnel %s, %s: the echo is %.80q", how, id, echo)
	}
}
