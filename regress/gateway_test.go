package regress_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

const up = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"

// rig is a gateway on loopback between clients and a target that speak in bytes.
type rig struct {
	*testing.T

	target *rawtest.Upstream
	addr   string
	log    *buffer // what the access log and the gateway's own log got
}

// rigged starts a gateway whose target answers with replies, the last of them again and again. Its routes are /open/*, for
// everybody, and /admin/*, for the key "k" alone; change may make others of them.
func rigged(t *testing.T, change func(c *gateway.Config, up *gateway.Upstream), replies ...rawtest.Reply) *rig {
	t.Helper()
	r := &rig{T: t, target: rawtest.Listen(t, false), log: &buffer{}}
	if len(replies) == 0 {
		replies = []rawtest.Reply{{Text: up}}
	}
	r.target.Serve(replies...)
	u, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: r.target.URL}}})
	require.NoError(t, err)
	logger := slog.New(slog.NewTextHandler(r.log, nil))
	c := gateway.Config{
		Owns: []io.Closer{u}, Logger: logger, DrainTimeout: rawtest.Patience,
		Plugins: []gateway.Plugin{must(observe.New(observe.Config{Log: logger}))},
		Routes: []gateway.Route{
			{Name: "open", Public: true, Match: paths("/open/*rest"), Handler: u},
			{Name: "admin", Match: paths("/admin/*rest"), Plugins: []gateway.Plugin{keys()}, Handler: u},
		},
	}
	if change != nil {
		change(&c, u)
	}
	gw, err := gateway.New(c)
	require.NoError(t, err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.addr = l.Addr().String()
	srv := gateway.NewServer("", gw)
	srv.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, srv, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ran, "something of the test goes on in the gateway")
	})
	return r
}

// ask sends a request over a connection of its own and returns the answer. Lines of head end with "\n", and Host is added.
func (r *rig) ask(head string) *rawtest.Message {
	r.Helper()
	c := rawtest.Dial(r, r.addr)
	defer c.Close()
	line, fields, _ := strings.Cut(head, "\n")
	if !strings.Contains(strings.ToLower("\n"+fields), "\nhost:") {
		fields = strings.TrimSuffix("Host: h\n"+fields, "\n")
	}
	c.Send(strings.ReplaceAll(line+"\n"+fields+"\n\n", "\n", "\r\n"))
	method, _, _ := strings.Cut(line, " ")
	return c.ReadAnswer(method)
}

// refused says that the answer to a request has that status and that the target saw nothing of it.
func (r *rig) refused(status int, head string) {
	r.Helper()
	before := len(r.target.Requests())
	require.Equal(r, status, r.ask(head).Status(), "%q", head)
	require.Len(r, r.target.Requests(), before, "%q reached the target", head)
}

// passes says that a request reaches the target, and returns what that saw.
func (r *rig) passes(head string) *rawtest.Message {
	r.Helper()
	before := len(r.target.Requests())
	require.Equal(r, http.StatusOK, r.ask(head).Status(), "%q", head)
	got := r.target.Requests()
	require.Len(r, got, before+1)
	return &got[before]
}

func must[T any](v T, err error) T { return policy.Must(v, err) }

func paths(list ...string) gateway.Match { return gateway.Match{Paths: list} }

// keys lets in who has the key "k", who is ann of the group staff.
func keys() *keyauth.KeyAuth {
	return must(keyauth.New(keyauth.Config{Consumers: auth.Static{
		"k":  {ID: "1", Username: "ann", Groups: []string{"staff"}},
		"k2": {ID: "2", Username: "bob", Groups: []string{"guests"}},
		"k3": {ID: "3"},
	}}))
}

// buffer is a [bytes.Buffer] for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
