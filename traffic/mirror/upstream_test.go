package mirror_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// server is one over loopback.
func server(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func upstreamOf(t *testing.T, name string, srv *httptest.Server) *gateway.Upstream {
	t.Helper()
	u := gateway.Must(gateway.NewUpstream(gateway.UpstreamConfig{
		Name: name, Targets: []balancer.Target{{URL: srv.URL}}, Retry: policy.Retry{Tries: 1}, Health: balancer.Health{Passive: balancer.Passive{Off: true}},
	}))
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

// settled waits until the mirror has done what there was.
func settled(t *testing.T, m *mirror.Mirror) mirror.Status {
	t.Helper()
	require.Eventually(t, func() bool { s := m.Status(); return s.Running+s.Waiting == 0 }, time.Minute, time.Millisecond)
	return m.Status()
}

// handlers are answers of all kinds, by path. They are deterministic.
func handlers(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w.Header().Set("Date", "Mon, 01 Jan 2024 00:00:00 GMT")
	switch r.URL.Path {
	case "/empty":
	case "/text":
		_, _ = io.WriteString(w, "hello")
	case "/json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"a":`))
		_, _ = w.Write([]byte(`1}`))
	case "/teapot":
		http.Error(w, "short and stout", http.StatusTeapot)
	case "/no-content":
		w.WriteHeader(http.StatusNoContent)
	case "/not-modified":
		w.Header().Set("Etag", `"x"`)
		w.WriteHeader(http.StatusNotModified)
	case "/redirect":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	case "/hint":
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "hinted")
	case "/large":
		w.Header().Set("Content-Length", strconv.Itoa(300_000))
		_, _ = w.Write(bytes.Repeat([]byte("xyz"), 100_000))
	case "/large/unknown":
		for range 30 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 10_000))
		}
	case "/stream":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = control.Flush()
		}
	case "/trailer":
		w.Header().Set("Trailer", "X-Declared")
		_, _ = io.WriteString(w, strings.Repeat("t", 5000))
		w.Header().Set("X-Declared", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Prefixed", "too")
	case "/cut":
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "not all")
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	case "/cut/unknown":
		_, _ = io.WriteString(w, "not all")
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/echo":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
		_, _ = w.Write(body)
	case "/unread":
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
}

// script are requests as they go over the wire.
func script() []string {
	var list []string
	for _, path := range []string{
		"/empty", "/text", "/json", "/teapot", "/no-content", "/not-modified", "/redirect", "/hint", "/large", "/large/unknown", "/stream", "/trailer", "/cut",
		"/cut/unknown", "/abort",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			list = append(list, method+" "+path+" HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close\r\n\r\n")
		}
		list = append(list, "GET "+path+" HTTP/1.0\r\nHost: a.test\r\n\r\n")
	}
	large := strings.Repeat("z", 200_000)
	return append(list,
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n"+large,
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", // broken
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		"POST /unread HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
		// Twice on one connection.
		"POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET /text HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
	)
}

// wire returns all that a server answers, to the byte, except what time and chance make of it: Date, ids of requests and, from an
// upstream, where chunks end.
func wire(t *testing.T, addr, request string, proxied bool) string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	go func() { _, _ = io.WriteString(conn, request) }()
	answer, err := io.ReadAll(bufio.NewReader(conn))
	text := string(answer)
	if err != nil {
		text += "\n-- reset"
	}
	isChunk := regexp.MustCompile(`^[0-9a-f]{1,6}$`)
	var lines []string
	for line := range strings.SplitSeq(text, "\r\n") {
		switch {
		case strings.HasPrefix(line, "Date: "):
		case proxied && isChunk.MatchString(line):
		default:
			line, _, _ = strings.Cut(line, `"request_id":`)
			lines = append(lines, line)
		}
	}
	if proxied {
		return strings.Join(lines, "")
	}
	return strings.Join(lines, "\r\n")
}

// TestSameAnswers: what clients get is the same to the byte with a mirror and without, whatever the shadow does.
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	backend := server(t, http.HandlerFunc(handlers))
	plain := http.HandlerFunc(handlers)
	proxied := upstreamOf(t, "real", backend)
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	for name, next := range map[string]http.Handler{"a handler": plain, "an upstream": proxied} {
		for kind, around := range map[string]func(http.Handler) http.Handler{
			"alone": func(h http.Handler) http.Handler { return h }, "behind an entry": entry.Wrap,
		} {
			want := map[string]string{}
			without := server(t, around(next))
			for _, request := range script() {
				want[request] = wire(t, without.Listener.Addr().String(), request, name == "an upstream")
			}
			for how, shadow := range map[string]http.Handler{
				"the same":     http.HandlerFunc(handlers),
				"an upstream":  upstreamOf(t, "shadow", backend),
				"one that has": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("other plans") }),
			} {
				for _, compare := range []*mirror.Compare{nil, {}} {
					t.Run(fmt.Sprint(name, " ", kind, ", the shadow is ", how, compare != nil), func(t *testing.T) {
						t.Parallel()
						m := made(t, mirror.Config{Shadow: shadow, Methods: []string{"*"}, Compare: compare, Queue: 1 << 10})
						srv := server(t, around(m.Wrap(next)))
						for _, request := range script() {
							require.Equal(t, want[request], wire(t, srv.Listener.Addr().String(), request, name == "an upstream"), "%.60q", request)
						}
						s := settled(t, m)
						require.Equal(t, s.Sampled, s.Sent+s.Dropped.Total())
						require.Zero(t, s.Held)
						if compare != nil && how == "the same" && name == "a handler" {
							require.Zero(t, s.Different, "%v", m.Recent())
							require.Greater(t, s.Equal, uint64(25))
						}
						require.NoError(t, m.Close())
					})
				}
			}
		}
	}
}

// TestHintsAndStreams: informational answers and events come when they are sent, with comparison.
func TestHintsAndStreams(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	m := made(t, mirror.Config{Shadow: http.NotFoundHandler(), Compare: &mirror.Compare{}})
	srv := server(t, m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		<-next
		for i := range 3 {
			_, _ = fmt.Fprintln(w, i)
			w.(http.Flusher).Flush()
			<-next
		}
	})))
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		next <- struct{}{}
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for i := range 3 {
		require.True(t, lines.Scan())
		require.Equal(t, strconv.Itoa(i), lines.Text())
		next <- struct{}{}
	}
	require.False(t, lines.Scan())
}

// rudeShadow does something bad by turns.
type rudeShadow struct{ n atomic.Int64 }

func (s *rudeShadow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // or net/http would not see that the gateway has left
	switch s.n.Add(1) % 6 {
	case 0:
		<-r.Context().Done() // stalls
	case 1:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close() // resets
		}
	case 2: // has no end
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	case 3: // is slow
		for range 5 {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	case 4: // breaks off
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("x"))
		panic(http.ErrAbortHandler)
	default:
		_, _ = w.Write(body)
	}
}

// TestLoad: many clients, some of which leave, before a shadow that does everything wrong. All that stay are answered by the
// service, and afterwards everything is accounted for and given back.
func TestLoad(t *testing.T) {
	t.Parallel()
	backend := server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"length":%d,"for":%q}`, len(body), r.Header.Get("X-For"))
	}))
	rude := server(t, &rudeShadow{})
	var told atomic.Int64
	m := made(t, mirror.Config{
		Shadow: upstreamOf(t, "shadow", rude), Methods: []string{"GET", "POST"}, Workers: 4, Queue: 8, Timeout: 200 * time.Millisecond, MaxBytes: 512 << 10,
		MaxBody: 16 << 10, MaxAnswer: 1 << 20, Compare: &mirror.Compare{OnDifference: func(mirror.Difference) { told.Add(1) }},
	})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "all", Handler: m.Wrap(upstreamOf(t, "real", backend))}}, Owns: []io.Closer{m}}))
	srv := server(t, gw)
	var clients sync.WaitGroup
	const each = 60
	for c := range 8 {
		clients.Go(func() {
			for i := range each {
				ctx, cancel := context.WithCancel(t.Context())
				body := strings.Repeat("x", i*i*10)
				var reader io.Reader = strings.NewReader(body)
				if i%3 == 0 {
					reader = onlyReader{reader}
				}
				leaves := i%10 == 9
				if leaves {
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
					reader = io.MultiReader(reader, &pausing{ctx})
				}
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/x", reader)
				if err != nil {
					t.Error(err)
				}
				r.Header.Set("X-For", fmt.Sprint(c, "-", i))
				res, err := srv.Client().Do(r)
				if err == nil {
					answer, _ := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if want := fmt.Sprintf(`{"length":%d,"for":"%d-%d"}`, len(body), c, i); !leaves && string(answer) != want {
						t.Errorf("%d: got %d %q, want %q", i, res.StatusCode, answer, want)
					}
				} else if !leaves {
					t.Error(err)
				}
				cancel()
				if held := m.Status().Held; held > 512<<10 {
					t.Errorf("%d bytes are held", held)
				}
			}
		})
	}
	clients.Wait()
	srv.Close()
	s := settled(t, m)
	require.NoError(t, gw.Shutdown(t.Context()))
	t.Logf("%+v", s)
	require.GreaterOrEqual(t, s.Sampled, uint64(8*each*9/10), "those that did not leave")
	require.Equal(t, s.Sampled, s.Sent+s.Dropped.Total())
	require.Equal(t, s.Sent, s.Answered+s.Failed+s.TimedOut+s.CutOff+s.Panicked)
	require.LessOrEqual(t, s.Compared+s.Incomparable, s.Sent)
	require.EqualValues(t, s.Different, told.Load())
	require.Zero(t, s.Held)
}

// pausing is the rest of a body that does not come.
type pausing struct{ ctx context.Context }

func (p *pausing) Read([]byte) (int, error) {
	<-p.ctx.Done()
	return 0, p.ctx.Err()
}

// TestShadowUpstream: what a shadow upstream sends to its target, behind a gateway and without one.
func TestShadowUpstream(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	target := server(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("Got", r.Method+" "+r.URL.RequestURI())
		got <- r.Header
	}))
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	m := made(t, mirror.Config{Shadow: upstreamOf(t, "shadow", target)})
	identify := policy.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.ExchangeFrom(r.Context()).SetIdentity(policy.Identity{Kind: "key", Credential: "c", Consumer: &policy.Consumer{ID: "7"}})
			next.ServeHTTP(w, r)
		})
	})
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "users", Match: gateway.Match{Prefixes: []string{"/v1/"}}, Plugins: []gateway.Plugin{identify}, Handler: m.Wrap(page),
		Forward: gateway.Forward{StripPath: true, Path: "/base"},
	}}}))
	t.Cleanup(func() { require.NoError(t, gw.Shutdown(context.WithoutCancel(t.Context()))) })
	for name, h := range map[string]http.Handler{"gateway": gw, "mux": m.Wrap(page)} {
		r := httptest.NewRequest(http.MethodGet, "/v1/a?b=c", nil)
		r.Header.Set("Connection", "X-Gatehouse-Mirror")
		r.Header.Set("X-Consumer-Id", "forged")
		h.ServeHTTP(httptest.NewRecorder(), r)
		header := <-got
		require.Len(t, header.Get("X-Gatehouse-Mirror"), 36, name)
		require.Equal(t, "192.0.2.1", header.Get("X-Forwarded-For"), name)
		if name == "mux" {
			require.Equal(t, "GET /v1/a?b=c", header.Get("Got"))
			require.Empty(t, header.Get("X-Consumer-Id"))
			continue
		}
		require.Equal(t, "GET /base/a?b=c", header.Get("Got"))
		require.Equal(t, []string{"7", "/v1", "/v1/a"}, []string{header.Get("X-Consumer-Id"), header.Get("X-Forwarded-Prefix"), header.Get("X-Forwarded-Path")})
	}
	require.Equal(t, "shadow", gw.Status().Upstreams[0].Name)
	names := []string{}
	for _, h := range gw.Explain(httptest.NewRequest(http.MethodGet, "/v1/a", nil)).Handler.Handlers {
		names = append(names, h.Name)
	}
	require.Equal(t, []string{"http.HandlerFunc", "shadow"}, names)
	settled(t, m)
	require.NoError(t, m.Close())
}

// TestAsPlugin: also among the plugins of a gateway its upstream is seen, and is no unused one.
func TestAsPlugin(t *testing.T) {
	t.Parallel()
	srv := server(t, http.HandlerFunc(handlers))
	users, shadow := upstreamOf(t, "real", srv), upstreamOf(t, "shadow", srv)
	m := made(t, mirror.Config{Shadow: shadow})
	c := gateway.Config{
		Plugins: []gateway.Plugin{policy.ReportOnly(m)}, Owns: []io.Closer{users, shadow, m},
		Routes: []gateway.Route{{Name: "all", Match: gateway.Match{Prefixes: []string{"/v1"}}, Handler: users, Forward: gateway.Forward{StripPath: true}}},
	}
	require.Empty(t, c.Validate().Findings)
	gw := gateway.Must(gateway.New(c))
	names := []string{}
	for _, u := range gw.Status().Upstreams {
		names = append(names, u.Name)
	}
	require.Equal(t, []string{"real", "shadow"}, names)
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/text", nil))
	require.Equal(t, "hello", w.Body.String())
	require.EqualValues(t, 1, settled(t, m).Answered)
	require.NoError(t, gw.Shutdown(t.Context()))
}

// TestTrailersBehindALength: in HTTP/2 a body whose length is known may have trailers, which come behind it.
func TestTrailersBehindALength(t *testing.T) {
	t.Parallel()
	got := make(chan string, 2)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %v %q", body, err, r.Trailer)
	})
	m := gateway.Must(mirror.New(mirror.Config{Shadow: h, Share: 1, Methods: []string{"*"}}))
	defer func() { require.NoError(t, m.Close()) }()
	srv := httptest.NewUnstartedServer(m.Wrap(h))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("hello"))
	require.NoError(t, err)
	r.Trailer = http.Header{"X-Sum": {"5"}}
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 2, res.ProtoMajor)
	settled(t, m)
	const want = `hello <nil> map["X-Sum":["5"]]`
	require.Equal(t, []string{want, want}, []string{<-got, <-got})
}
