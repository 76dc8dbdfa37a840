package resilience_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// A process with these is a target, and no test.
const (
	envAddress = "GATEHOUSE_TARGET"     // where it listens
	envLog     = "GATEHOUSE_TARGET_LOG" // a file to which it writes the path of each POST before it answers
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(envAddress); addr != "" {
		if err := beTarget(addr, os.Getenv(envLog)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// beTarget serves until the process ends.
func beTarget(addr, log string) error {
	out := io.Discard
	if log != "" {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		out = f
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(out, r.URL.Path+"\n")
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	})}
	return srv.Serve(l)
}

// process is a target in a process of its own.
type process struct {
	addr, log string
	cmd       *exec.Cmd
}

// startProcess starts a target on a free port. It ends with the test.
func startProcess(t *testing.T, log string) *process {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &process{addr: l.Addr().String(), log: log}
	require.NoError(t, l.Close())
	p.start(t)
	t.Cleanup(func() { p.kill(t) })
	return p
}

func (p *process) url() string { return "http://" + p.addr }

// start starts the process again, and returns when it listens.
func (p *process) start(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { // the port may be another's for a moment
		p.cmd = exec.Command(os.Args[0])
		p.cmd.Env = append(os.Environ(), envAddress+"="+p.addr, envLog+"="+p.log)
		out, err := p.cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, p.cmd.Start())
		line, _ := bufio.NewReader(out).ReadString('\n')
		if strings.TrimSpace(line) == "ready" {
			return true
		}
		_ = p.cmd.Wait()
		return false
	}, rawtest.Patience, time.Millisecond)
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// kill ends the process at once. It may have ended.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState == nil {
		p.signal(t, syscall.SIGKILL)
		_ = p.cmd.Wait()
	}
}

// load sends requests at a rate until it is stopped. Those that take long do not hold up the others.
type load struct {
	stop chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex
	results []result
}

type result struct {
	at     time.Time
	took   time.Duration
	status int // 0 for an answer that was cut off
}

// begin has a handler asked so often in a second.
func begin(h http.Handler, rate int, request func(n int) *http.Request) *load {
	l := &load{stop: make(chan struct{})}
	l.all.Go(func() {
		const tick = 10 * time.Millisecond
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for n := 0; ; {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
			}
			for range rate / int(time.Second/tick) {
				r := request(n)
				n++
				l.all.Go(func() { l.ask(h, r) })
			}
		}
	})
	return l
}

func (l *load) ask(h http.Handler, r *http.Request) {
	res := result{at: time.Now()}
	w := httptest.NewRecorder()
	defer func() {
		if v := recover(); v == nil {
			res.status = w.Code
		} else if v != http.ErrAbortHandler { //nolint:errorlint // the very value
			panic(v)
		}
		res.took = time.Since(res.at)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.results = append(l.results, res)
	}()
	h.ServeHTTP(w, r)
}

// asked returns how many requests were answered.
func (l *load) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.results)
}

// during returns when so many more were answered.
func (l *load) during(t *testing.T, n int) {
	t.Helper()
	end := l.asked() + n
	require.Eventually(t, func() bool { return l.asked() >= end }, 6*rawtest.Patience, time.Millisecond)
}

// end stops the load and returns what became of it.
func (l *load) end() []result {
	close(l.stop)
	l.all.Wait()
	return l.results
}

// failures returns those that were not answered as they should.
func failures(results []result) []result {
	var bad []result
	for _, r := range results {
		if r.status != http.StatusNoContent {
			bad = append(bad, r)
		}
	}
	return bad
}

func get(int) *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// upstream makes an upstream that is closed at the end.
func upstream(t *testing.T, c gateway.UpstreamConfig) *gateway.Upstream {
	t.Helper()
	c.Name = "up"
	up, err := gateway.NewUpstream(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	return up
}
