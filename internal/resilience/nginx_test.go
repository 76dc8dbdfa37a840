package resilience_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// nginx is a server as many have behind their gateways.
type nginx struct {
	dir, addr string
	cmd       *exec.Cmd
}

// The connections it keeps end after 200 ms, and after 50 requests.
const nginxConf = `
daemon off;
master_process on;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	types { text/plain txt; }
	gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/plain;
	server {
		listen %[2]s;
		root %[1]s/www;
		keepalive_timeout 200ms;
		keepalive_requests 50;
		client_max_body_size 1m;
		location = /healthz { return 200 "well\n"; }
		location = /empty { return 204; }
		location = /moved { return 302 /healthz; }
		location = /busy { return 503; }
		location = /taken { dav_methods PUT; return 201; }
		location = /rude { return 444; }
	}
}
`

// startNginx starts nginx on a free port; the test is skipped where it is not installed, but never in CI.
func startNginx(t *testing.T) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx is not installed")
		}
		t.Skip("nginx is not installed: apt-get install nginx")
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &nginx{dir: t.TempDir(), addr: l.Addr().String()}
	require.NoError(t, l.Close())
	require.NoError(t, os.Mkdir(filepath.Join(n.dir, "www"), 0o755))
	require.NoError(t, os.Chmod(n.dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(n.dir), 0o755))
	n.write(t, "text.txt", bytes.Repeat([]byte("0123456789abcdef"), 40_000))
	conf := filepath.Join(n.dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, nginxConf, n.dir, n.addr), 0o600))
	n.cmd = exec.Command(path, "-c", conf, "-e", filepath.Join(n.dir, "error.log"))
	n.cmd.Stdout, n.cmd.Stderr = os.Stdout, os.Stderr
	require.NoError(t, n.cmd.Start())
	t.Cleanup(func() {
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
		_ = n.cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, rawtest.Patience, 10*time.Millisecond)
	return n
}

func (n *nginx) write(t *testing.T, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "www", name), content, 0o644))
}

// What nginx answers goes through as it is, over connections that it ends all the time.
func TestNginx(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	up := upstream(t, gateway.UpstreamConfig{
		Targets: []balancer.Target{{URL: "http://" + n.addr}},
		Health: balancer.Health{Active: balancer.Active{
			Checker: healthcheck.HTTP{Path: "/healthz"}, Interval: 50 * time.Millisecond,
		}},
	})
	ask := func(method, path string, body io.Reader, header ...string) *http.Response {
		r := httptest.NewRequest(method, path, body)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return gatewaytest.Do(up, r)
	}
	text := func(res *http.Response) string {
		s, err := gatewaytest.Text(res)
		require.NoError(t, err)
		return s
	}
	whole, err := os.ReadFile(filepath.Join(n.dir, "www", "text.txt"))
	require.NoError(t, err)
	res := ask(http.MethodGet, "/text.txt", nil)
	require.Equal(t, sha256.Sum256(whole), sha256.Sum256([]byte(text(res))))
	require.Contains(t, res.Header.Get("Server"), "nginx")
	etag := res.Header.Get("Etag")
	require.NotEmpty(t, etag)
	for _, tt := range []struct {
		about, method, path string
		body                io.Reader
		header              []string
		status              int
		check               func(res *http.Response)
	}{
		{"HEAD", http.MethodHead, "/text.txt", nil, nil, 200, func(res *http.Response) {
			require.Equal(t, fmt.Sprint(len(whole)), res.Header.Get("Content-Length"))
			require.Empty(t, text(res))
		}},
		{"a range", http.MethodGet, "/text.txt", nil, []string{"Range", "bytes=16-31"}, 206, func(res *http.Response) {
			require.Equal(t, "0123456789abcdef", text(res))
		}},
		{"not modified", http.MethodGet, "/text.txt", nil, []string{"If-None-Match", etag}, 304, nil},
		{"compressed, in chunks", http.MethodGet, "/text.txt", nil, []string{"Accept-Encoding", "gzip"}, 200, func(res *http.Response) {
			require.Equal(t, "gzip", res.Header.Get("Content-Encoding"))
			require.Less(t, len(text(res)), len(whole))
		}},
		{"no body", http.MethodGet, "/empty", nil, nil, 204, nil},
		{"a redirect", http.MethodGet, "/moved", nil, nil, 302, nil},
		{"not there", http.MethodGet, "/none", nil, nil, 404, nil},
		{"busy", http.MethodGet, "/busy", nil, nil, 503, nil},
		{"an upload", http.MethodPut, "/taken", strings.NewReader(strings.Repeat("b", 100_000)), nil, 201, nil},
		{"an upload that is too large for it", http.MethodPut, "/taken", strings.NewReader(strings.Repeat("b", 2<<20)), nil, 413, nil},
		{"nothing, but the end of the connection", http.MethodGet, "/rude", nil, nil, 502, nil},
	} {
		res := ask(tt.method, tt.path, tt.body, tt.header...)
		require.Equal(t, tt.status, res.StatusCode, tt.about)
		if tt.check != nil {
			tt.check(res)
		}
	}
	require.Equal(t, balancer.Healthy, up.Status().Targets[0].Health)

	// Connections end when they have been idle, when they have served, and when nginx gets its configuration anew.
	l := begin(up, 400, func(int) *http.Request { return httptest.NewRequest(http.MethodGet, "/empty", nil) })
	for range 5 {
		l.during(t, 100)
		require.NoError(t, n.cmd.Process.Signal(syscall.SIGHUP))
	}
	l.during(t, 100)
	require.Empty(t, failures(l.end()))
	var clients sync.WaitGroup
	var failed atomic.Int64
	for i := range 16 { // just when it closes them
		clients.Go(func() {
			for n := range 10 {
				time.Sleep(190*time.Millisecond + time.Duration(i*n%20)*time.Millisecond)
				w := httptest.NewRecorder()
				if up.ServeHTTP(w, get(n)); w.Code != http.StatusForbidden { // the directory
					failed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	require.Zero(t, failed.Load())

	// It ends.
	require.NoError(t, n.cmd.Process.Signal(syscall.SIGQUIT))
	_ = n.cmd.Wait()
	require.Eventually(t, func() bool { return up.Status().Targets[0].Health == balancer.Failing }, rawtest.Patience, time.Millisecond)
	require.Equal(t, http.StatusBadGateway, ask(http.MethodGet, "/empty", nil).StatusCode)
}
