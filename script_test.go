package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// The tests of the files script_… have three actors: a client that sends bytes, a gateway as its users make it, and a target
// that does what the script says. Each runs once for each of the transports, and once for each of the servers, which must not
// differ in what can be seen from outside, but that net/http's repairs what it should refuse.

// stage is where a script is played.
type stage struct {
	*testing.T

	up       *rawtest.Upstream
	repairs  bool   // the server is net/http's
	addr     string // of the gateway
	shutdown func() // ends the gateway, which must have nothing more to do; the end of the script does that, too
}

// play runs script over both transports, of which net/http's is in use with TLS, and over the other server.
func play(t *testing.T, script func(s *stage)) {
	t.Helper()
	playWith(t, policy.EntryConfig{}, script)
}

// playWith is play with bounds for clients.
func playWith(t *testing.T, entry policy.EntryConfig, script func(s *stage)) {
	t.Helper()
	for name, secure := range map[string]bool{"direct": false, "standard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script(newStage(t, listen(t), entry, secure, false))
		})
	}
	t.Run("over net/http", func(t *testing.T) {
		t.Parallel()
		script(newStage(t, listen(t), entry, false, true))
	})
}

// newStage returns a stage whose gateway listens on l.
func newStage(t *testing.T, l net.Listener, entry policy.EntryConfig, secure, overNetHTTP bool) *stage {
	t.Helper()
	s := &stage{T: t, up: rawtest.Listen(t, secure), repairs: overNetHTTP}
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: s.up.URL}}, TLS: s.up.TLS})
	require.NoError(t, err)
	gw, err := gateway.New(gateway.Config{
		EntryConfig:  entry,
		Owns:         []io.Closer{up},
		Logger:       slog.New(slog.DiscardHandler),
		DrainTimeout: rawtest.Patience,
		Routes: []gateway.Route{
			{Name: "keyed", Match: gateway.Match{Prefixes: []string{"/keyed"}}, Plugins: []gateway.Plugin{keysIn(0)}, Handler: up},
			{
				Name: "switching", Public: true, Match: gateway.Match{Prefixes: []string{"/switch"}}, Handler: up,
				Forward: gateway.Forward{Upgrade: policy.Upgrade{Protocols: []string{"WebSocket", "echo/2"}, Origins: []string{"https://app.test"}}},
			},
			{Name: "all", Public: true, Match: gateway.Match{Prefixes: []string{"/"}}, Handler: up},
		},
	})
	require.NoError(t, err)
	s.addr = l.Addr().String()
	srv := gateway.NewServer("", gw)
	srv.ErrorLog = nil
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() {
		if !overNetHTTP {
			ran <- gw.Run(ctx, srv, l)
			return
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), rawtest.Patience)
		defer cancel()
		shut := make(chan error, 1)
		go func() { shut <- gw.Shutdown(drain) }() // which ends what was taken over
		err := errors.Join(srv.Shutdown(drain), <-shut)
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		ran <- err
	}()
	s.shutdown = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ran, "something of the script goes on in the gateway")
	})
	t.Cleanup(func() { s.shutdown() })
	return s
}

// dial returns a client.
func (s *stage) dial() *rawtest.Conn {
	s.Helper()
	return rawtest.Dial(s, s.addr)
}

var credential = regexp.MustCompile(`(X-Credential-Identifier:) [0-9a-f]+`)

// saw says which requests the target got, each in lines as forwarded has it, and that all of them were whole.
func (s *stage) saw(requests ...string) {
	s.Helper()
	got := []string{}
	for _, m := range s.up.Requests() {
		require.NoError(s, m.Broken)
		got = append(got, credential.ReplaceAllString(m.Text(), "$1 *"))
	}
	want := []string{}
	for _, r := range requests {
		want = append(want, s.forwarded(r))
	}
	require.Equal(s, want, got)
}

// forwarded is text, a request as a target gets it, with the fields that every request has, unless text has them. A field that
// ends with its colon is not there. Lines end with "\n" here.
func (s *stage) forwarded(text string) string {
	path, _, _ := strings.Cut(strings.Split(text, " ")[1], "?")
	return withFields(text, "Host: "+s.up.Addr, "Via: 1.1 gatehouse", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Path: "+path,
		"X-Forwarded-Port: 80", "X-Forwarded-Proto: http", "X-Real-Ip: 127.0.0.1")
}

func withFields(text string, fields ...string) string {
	head, body, hasBody := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	for _, f := range fields {
		name, _, _ := strings.Cut(f, " ")
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) }) {
			lines = append(lines, f)
		}
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasSuffix(l, ":") })
	slices.Sort(lines[1:])
	text = strings.Join(lines, "\n") + "\n"
	if hasBody {
		text += "\n" + body
	}
	return text
}

const (
	answerUp  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"
	nextBytes = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
	next      = "GET /next HTTP/1.1\n"
)
