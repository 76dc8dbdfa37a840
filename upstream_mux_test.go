package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// An upstream or an Entry behind somebody else's router must not resolve what that router has not: the request would
// arrive where the router never sent it.
func TestForeignRouterIsNotDeceived(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("up.test")
	defer backend.Close()
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: backend.URL()}}, Dial: backend.Dial})
	require.NoError(t, err)
	defer up.Close()
	keys, err := keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}})
	require.NoError(t, err)
	entry, err := policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	require.NoError(t, err)
	strict, err := policy.NewEntry(policy.EntryConfig{StrictPath: true})
	require.NoError(t, err)

	alone, guarded := http.NewServeMux(), http.NewServeMux()
	alone.Handle("/public/", up)
	alone.Handle("/admin/", keys.Wrap(up))
	guarded.Handle("/public/", entry.Wrap(up))
	guarded.Handle("/admin/", entry.Wrap(keys.Wrap(up)))
	byPrefix := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { strict.Wrap(up).ServeHTTP(w, r) })
	for name, h := range map[string]http.Handler{"upstream": alone, "entry": guarded, "no pattern": byPrefix} {
		before := len(backend.Requests())
		for _, path := range []string{
			"/public/%2e%2e/admin/x", "/public/%2e%2e%2e/../../admin/x", "/public/.%2e/admin/x",
			"/public/%61x", "/%70ublic/x", // of which routers that go by RawPath read something else
		} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			status := gatewaytest.Do(h, r).StatusCode
			require.Contains(t, []int{http.StatusBadRequest, http.StatusTemporaryRedirect, http.StatusMovedPermanently}, status, name+" "+path)
		}
		require.Len(t, backend.Requests(), before, name)
		require.Equal(t, http.StatusOK, gatewaytest.Do(h, httptest.NewRequest(http.MethodGet, "/public/~a%20b%c3%a9", nil)).StatusCode, name)
		require.Equal(t, "/public/~a%20b%C3%A9", backend.Last().URI, name)
	}
}

// A target that answers HEAD with a body must not have it taken for the next answer: such a connection is not used again,
// or not soon.
func TestHeadConnectionIsNotReused(t *testing.T) {
	t.Parallel()
	backend := gatewaytest.NewUpstream("up.test")
	defer backend.Close()
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "up", Targets: []balancer.Target{{URL: backend.URL()}}, Dial: backend.Dial})
	require.NoError(t, err)
	defer up.Close()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet, http.MethodGet} {
		require.Equal(t, http.StatusOK, gatewaytest.Do(up, httptest.NewRequest(method, "/", nil)).StatusCode)
	}
	require.Len(t, backend.Requests(), 4)
	require.Equal(t, 2, backend.Dials(), "one for what came up to HEAD, one for what came after")
}
