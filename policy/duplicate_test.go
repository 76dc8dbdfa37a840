package policy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

// TestDuplicateExchange: a copy knows who asks for what, and nothing of what is done with the other.
func TestDuplicateExchange(t *testing.T) {
	t.Parallel()
	refused := false
	e := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(http.ResponseWriter, *http.Request, error) { refused = true }}))
	ending, end := context.WithCancel(t.Context())
	defer end()
	e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		x.SetRoute("users", "/users/:id", "/users/42")
		x.SetForward(&policy.Forward{PreserveHost: true})
		x.SetStrippedPath("/users")
		x.SetIdentity(policy.Identity{Kind: "key", Consumer: &policy.Consumer{ID: "1"}})
		x.HideGroups()
		x.SetVersion("7")
		x.SetEnding(ending)
		x.Record(policy.Decision{Policy: "acl"})
		x.RecordTry(policy.Try{Upstream: "users"})
		x.SetCacheStatus("hit")
		x.MarkGatewayMade()

		d, r2 := policy.DuplicateExchange(r)
		require.NotSame(t, x, d)
		require.Same(t, d, policy.ExchangeFrom(r2.Context()))
		require.Same(t, x, policy.ExchangeFrom(r.Context()))
		require.Equal(t, x.ClientAddr(), d.ClientAddr())
		require.Equal(t, "/users/42", d.Path())
		require.Equal(t, []string{"users", "/users/:id", "/users/42", "/users", "7"}, []string{d.Route(), d.Pattern(), d.MatchedPath(), d.StrippedPath(), d.Version()})
		host, _ := d.Host()
		require.Equal(t, "example.com", host)
		require.Equal(t, "http", d.Scheme())
		require.Same(t, x.Forward(), d.Forward())
		require.Equal(t, "1", d.Consumer().ID)
		require.True(t, d.GroupsHidden())
		require.Equal(t, x.RequestID(), d.RequestID())
		require.Same(t, ending, d.Ending())
		require.Empty(t, d.Decisions())
		require.Empty(t, d.Tries())
		require.Empty(t, d.CacheStatus())
		require.False(t, d.GatewayMade())
		d.Record(policy.Decision{Policy: "shadow"})
		require.Len(t, x.Decisions(), 1)

		w := httptest.NewRecorder()
		policy.Refuse(w, r2, "shadow", &policy.Error{Status: http.StatusTeapot})
		require.Equal(t, http.StatusTeapot, w.Code)
		require.False(t, refused, "the ErrorHandler is the other's")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/users/42", nil))

	d, r := policy.DuplicateExchange(httptest.NewRequest(http.MethodGet, "/", nil))
	require.Same(t, d, policy.ExchangeFrom(r.Context()))
	require.Equal(t, "192.0.2.1", d.ClientAddr().String())
}

// TestDuplicateUnderReportOnly: what refuses a copy concerns nobody else.
func TestDuplicateUnderReportOnly(t *testing.T) {
	t.Parallel()
	entered := false
	p := policy.ReportOnly(policy.PluginFunc(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, r2 := policy.DuplicateExchange(r)
			rec := httptest.NewRecorder()
			policy.Refuse(rec, r2, "shadow", &policy.Error{Status: http.StatusTeapot})
			require.Equal(t, http.StatusTeapot, rec.Code)
			require.False(t, entered)
			next.ServeHTTP(w, r)
		})
	}))
	p.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered = true })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	require.True(t, entered)
}
