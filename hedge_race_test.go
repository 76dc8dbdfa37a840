package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

// Over any transport each client gets the answer to its own request, whole, when its tries race at targets that are slow now and
// then; clients leave at any moment, and nothing stays behind.
func TestHedgingUnderLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"HTTP/1.1", "net/http's", "TLS", "HTTP/2", "unencrypted HTTP/2", "PROXY"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			gate := new(gates)
			roots := x509.NewCertPool()
			c := gateway.UpstreamConfig{
				Retry: policy.Retry{Hedge: 2 * time.Millisecond, Statuses: []int{503}}, Health: inTurn, Admission: []policy.Admission{gate},
				HedgeBudget: gateway.RetryBudget{Share: 1, Min: 1000}, Timeouts: gateway.Timeouts{FirstByte: 5 * time.Second},
			}
			var n atomic.Int64
			for range 3 {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					turn := n.Add(1)
					if turn%3 == 0 {
						time.Sleep(time.Duration(turn%8) * time.Millisecond)
					}
					id := r.URL.Query().Get("id")
					w.Header().Set("X-Id", id)
					switch turn % 7 {
					case 1:
						w.WriteHeader(http.StatusServiceUnavailable)
					case 2:
						w.Header().Set("Content-Type", "text/event-stream")
						for range 3 {
							_, _ = io.WriteString(w, id)
							_ = http.NewResponseController(w).Flush()
						}
						return
					case 3:
						panic(http.ErrAbortHandler)
					}
					_, _ = io.WriteString(w, id+id+id)
				}))
				s.Config.ErrorLog = log.New(io.Discard, "", 0)
				switch kind {
				case "TLS", "HTTP/2":
					s.EnableHTTP2 = kind == "HTTP/2"
					s.StartTLS()
					roots.AddCert(s.Certificate())
				case "unencrypted HTTP/2":
					s.Config.Protocols = new(http.Protocols)
					s.Config.Protocols.SetUnencryptedHTTP2(true)
					s.Start()
				case "PROXY":
					s.Listener = &prefaced{Listener: s.Listener, v2: true}
					s.Start()
				default:
					s.Start()
				}
				t.Cleanup(s.Close)
				c.Targets = append(c.Targets, balancer.Target{URL: s.URL})
			}
			c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			c.UnencryptedHTTP2 = kind == "unencrypted HTTP/2"
			switch kind {
			case "net/http's":
				c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
			case "PROXY":
				c.ProxyHeader = gateway.ProxyHeaderV2
			}
			up := retrying(t, c)
			srv := front(t, gateway.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(up))
			var wg sync.WaitGroup
			var answers atomic.Int64
			for client := range 8 {
				wg.Go(func() {
					hc := &http.Client{Transport: &http.Transport{}}
					defer hc.CloseIdleConnections()
					for i := range 40 {
						id := fmt.Sprintf("<%d.%d>", client, i)
						ctx, cancel := context.WithCancel(context.Background())
						if i%5 == 0 {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(i%4)*time.Millisecond)
						}
						r, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/?id="+id, nil)
						res, err := hc.Do(r)
						if err == nil {
							body, err := io.ReadAll(res.Body)
							_ = res.Body.Close()
							if err == nil && res.StatusCode == 200 {
								answers.Add(1)
								if res.Header.Get("X-Id") != id || string(body) != id+id+id {
									t.Errorf("%s got %s %q", id, res.Header.Get("X-Id"), body)
								}
							}
						}
						cancel()
					}
				})
			}
			wg.Wait()
			require.Greater(t, answers.Load(), int64(150))
			require.Eventually(t, func() bool { return up.Status().InFlight == 0 }, 10*time.Second, time.Millisecond)
			require.Equal(t, gate.in.Load(), gate.out.Load())
			for _, s := range up.Status().Targets {
				require.Zero(t, s.InFlight)
			}
			inTime(t, func() { require.NoError(t, up.Close()) })
		})
	}
}

// Answers that are no ordinary ones win races, too.
func TestHedgedAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, answer string
		status         int
		body           string
		broken         bool
	}{
		{"GET", "HTTP/1.1 204 No\r\n\r\n", 204, "", false},
		{"GET", "HTTP/1.1 304 No\r\nEtag: \"a\"\r\n\r\n", 304, "", false},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, "", false},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: b\r\n\r\n", 200, "a", false},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 200, "", true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 502, "", false},
		{"GET", "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200, "a", false},
	} {
		t.Run(tt.method+" "+tt.answer[:min(len(tt.answer), 60)], func(t *testing.T) {
			t.Parallel()
			_, targets := mishaps(t, "stall", "")
			targets[1].URL = scripted(t, closing(tt.answer))
			up := retrying(t, gateway.UpstreamConfig{Targets: targets, Health: inTurn, Retry: policy.Retry{Hedge: 5 * time.Millisecond}})
			w := httptest.NewRecorder()
			ask := func() { up.ServeHTTP(w, httptest.NewRequest(tt.method, "/", nil)) }
			if tt.broken {
				require.PanicsWithValue(t, http.ErrAbortHandler, ask)
			} else {
				ask()
				require.Equal(t, tt.status, w.Code)
				require.True(t, tt.status >= 500 || bytes.Equal([]byte(tt.body), w.Body.Bytes()), w.Body)
			}
			require.Zero(t, up.Status().InFlight)
		})
	}
}

// The answer of the first does not wait for the other try to notice that it is given up, over either transport.
func TestHedgesEndAtOnce(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("the race detector is slow")
	}
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	fast := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(2 * time.Millisecond) }))
	t.Cleanup(func() {
		slow.Close()
		fast.Close()
	})
	median := func(outbound ...func(http.RoundTripper) http.RoundTripper) time.Duration {
		up := retrying(t, gateway.UpstreamConfig{
			Targets: []balancer.Target{{URL: slow.URL}, {URL: fast.URL, Priority: 1}}, Outbound: outbound,
			Retry: policy.Retry{Hedge: time.Millisecond}, HedgeBudget: gateway.RetryBudget{Share: 1},
		})
		took := make([]time.Duration, 61)
		for i := range took {
			began := time.Now()
			w := httptest.NewRecorder()
			up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, 200, w.Code)
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	standard := median(func(next http.RoundTripper) http.RoundTripper { return next })
	direct := median()
	t.Log("over Standard", standard, "and Direct", direct)
	require.Less(t, direct, 3*standard)
}

// Close ends races as it ends other requests.
func TestCloseWhileTriesRace(t *testing.T) {
	t.Parallel()
	all, targets := mishaps(t, "stall", "stall", "stall")
	for _, wrap := range []bool{false, true} {
		c := gateway.UpstreamConfig{Name: "up", Targets: targets, Health: inTurn, Retry: policy.Retry{Hedge: time.Millisecond}}
		if wrap {
			c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
		}
		up, err := gateway.NewUpstream(c)
		require.NoError(t, err)
		before := all[2].got.Load()
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		}()
		require.Eventually(t, func() bool { return all[2].got.Load() > before }, 10*time.Second, time.Millisecond)
		inTime(t, func() { require.NoError(t, up.Close()) })
		<-done
		require.Equal(t, 503, w.Code)
	}
}
