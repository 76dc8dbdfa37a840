package testing_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	example "github.com/gatehouse-go/gateway/examples/testing"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// A decision is a method: no server, no response writer, not even a handler.
func TestDecisions(t *testing.T) {
	t.Parallel()
	keys, err := keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1", Groups: []string{"staff"}}}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	_, err = keys.Authenticate(r)
	require.ErrorIs(t, err, auth.ErrNoCredential)

	r.Header.Set("Apikey", "k")
	id, err := keys.Authenticate(r)
	require.NoError(t, err)

	ops, err := acl.New(acl.Config{Allow: []string{"ops"}})
	require.NoError(t, err)
	var refusal *policy.Error
	require.ErrorAs(t, ops.Authorize(id), &refusal)
	require.Equal(t, http.StatusForbidden, refusal.Status)
}

// Sixty requests pass in a minute, the sixty-first does not, and a minute later it does. The minute is the bubble's:
// the test takes milliseconds.
func TestSixtyRequestsAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := gatewaytest.NewUpstream("users.test", gatewaytest.Respond(http.StatusOK, "hello"))
		defer users.Close()
		gw, err := example.New(gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: users.URL()}}, Dial: users.Dial})
		require.NoError(t, err)
		defer gw.Shutdown(t.Context())

		ask := func(key string) *http.Response {
			r := httptest.NewRequest(http.MethodGet, "/users/42", nil)
			r.Header.Set("Apikey", key)
			return gatewaytest.Do(gw, r)
		}
		for range 60 {
			require.Equal(t, http.StatusOK, ask("k1").StatusCode)
		}
		refused := ask("k1")
		require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
		require.NotEmpty(t, refused.Header.Get("Retry-After"))
		require.Equal(t, http.StatusOK, ask("k2").StatusCode, "another consumer has a limit of his own")
		require.Len(t, users.Requests(), 61, "a refused request never reaches the upstream")

		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, ask("k1").StatusCode)
		require.Equal(t, "ann", users.Last().Header.Get("X-Consumer-Username"))
	})
}

// A backend that breaks off must not look like a whole answer.
func TestBrokenUpstream(t *testing.T) {
	t.Parallel()
	users := gatewaytest.NewUpstream("users.test", gatewaytest.Truncate("half an ans", 5), gatewaytest.Reset())
	defer users.Close()
	gw, err := example.New(gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: users.URL()}}, Dial: users.Dial})
	require.NoError(t, err)
	defer gw.Shutdown(t.Context())
	ask := func() *http.Response {
		r := httptest.NewRequest(http.MethodGet, "/users/42", nil)
		r.Header.Set("Apikey", "k1")
		return gatewaytest.Do(gw, r)
	}
	_, err = gatewaytest.Text(ask())
	require.Error(t, err)
	require.Equal(t, http.StatusBadGateway, ask().StatusCode)
}

// Who refused a request, and why, is in its decision record.
func TestWhoRefused(t *testing.T) {
	t.Parallel()
	users := gatewaytest.NewUpstream("users.test")
	defer users.Close()
	gw, err := example.New(gateway.UpstreamConfig{Name: "users", Targets: []balancer.Target{{URL: users.URL()}}, Dial: users.Dial})
	require.NoError(t, err)
	defer gw.Shutdown(t.Context())

	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/users/42", nil))
	require.Equal(t, http.StatusUnauthorized, gatewaytest.Do(gw, r).StatusCode)
	refusal, refused := x.Refusal()
	require.True(t, refused)
	require.Equal(t, "key-auth refused no_credential 401", refusal.String())
	require.Empty(t, x.Tries(), "the upstream was not asked")
}
