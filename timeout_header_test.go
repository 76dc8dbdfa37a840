package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// Each try is told what is left for it, over any version of HTTP, whatever the client or a Rewrite write under a form of the name.
func TestTimeoutHeaderOfEachTry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about string
		retry policy.Retry
		first string // what the first target does
	}{
		{"hedged", policy.Retry{Hedge: time.Second}, "stall"},
		{"repeated", policy.Retry{PerTry: 2 * time.Second}, "stall"},
		{"repeated because of an answer", policy.Retry{Statuses: []int{503}, BackOff: 400 * time.Millisecond}, "503"},
	} {
		for _, kind := range []string{"HTTP/1.1", "net/http's", "TLS", "HTTP/2"} {
			for _, rewritten := range []bool{false, true} {
				t.Run(tt.about+", "+kind+", "+strconv.FormatBool(rewritten), func(t *testing.T) {
					t.Parallel()
					var mu sync.Mutex
					var got []http.Header
					roots := x509.NewCertPool()
					c := gateway.UpstreamConfig{Health: inTurn, Retry: tt.retry, Timeouts: gateway.Timeouts{Total: 20 * time.Second}}
					for i := range 2 {
						s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							mu.Lock()
							got = append(got, r.Header.Clone())
							mu.Unlock()
							switch {
							case i == 1:
							case tt.first == "503":
								w.WriteHeader(503)
							default:
								<-r.Context().Done()
							}
						}))
						s.EnableHTTP2 = kind == "HTTP/2"
						if kind == "TLS" || kind == "HTTP/2" {
							s.StartTLS()
							roots.AddCert(s.Certificate())
						} else {
							s.Start()
						}
						t.Cleanup(s.Close)
						c.Targets = append(c.Targets, balancer.Target{URL: s.URL})
					}
					c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
					if kind == "net/http's" {
						c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper { return next }}
					}
					up := retrying(t, c)
					x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
					f := &policy.Forward{TimeoutHeader: "x-request-timeout-ms"}
					if rewritten {
						f.Rewrite = func(_, out *http.Request) { out.Header["x_request_timeout_ms"] = []string{"5"} }
					}
					x.SetForward(f)
					for _, name := range []string{"X_Request_Timeout_Ms", "X.request.Timeout-Ms", "X-Request-Timeout-Ms"} {
						r.Header[name] = []string{"999999"}
					}
					w := httptest.NewRecorder()
					up.ServeHTTP(w, r)
					require.Equal(t, 200, w.Code)
					mu.Lock()
					defer mu.Unlock()
					require.Len(t, got, 2)
					var left [2]int
					for i, h := range got {
						for name := range h {
							require.NotContains(t, name, "_")
							require.NotContains(t, name, ".")
						}
						require.Len(t, h["X-Request-Timeout-Ms"], 1)
						var err error
						left[i], err = strconv.Atoi(h["X-Request-Timeout-Ms"][0])
						require.NoError(t, err)
					}
					if tt.retry.PerTry > 0 {
						for _, ms := range left { // on a machine that is busy with all of these at once
							require.InDelta(t, 1250, ms, 750)
						}
					} else {
						require.InDelta(t, 19_500, left[0], 500)
						require.Less(t, left[1], left[0]-150)
					}
				})
			}
		}
	}
}
