package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

func TestNilExchange(t *testing.T) {
	t.Parallel()
	x := policy.ExchangeFrom(context.Background())
	require.Nil(t, x)
	require.Nil(t, policy.ExchangeFrom(nil)) //nolint:staticcheck // a nil context is a caller's mistake, and harmless
	x.SetRoute("a", "b", "c")
	x.SetIdentity(policy.Identity{Anonymous: true})
	x.SetForward(&policy.Forward{})
	x.SetRequestID("id")
	x.SetCacheStatus("hit")
	x.SetVersion("1")
	x.Record(policy.Decision{})
	x.RecordTry(policy.Try{})
	x.OnTry(nil)
	x.AddChallenge("Key")
	x.MarkGatewayMade()
	x.HideGroups()
	addr, trusted := x.PeerAddr()
	host, port := x.Host()
	refusal, refused := x.Refusal()
	require.False(t, addr.IsValid() || trusted || refused)
	require.Empty(t, host+port)
	require.Zero(t, refusal)
	require.True(t, x.Start().IsZero())
	require.False(t, x.ClientAddr().IsValid())
	require.False(t, x.GatewayMade() || x.GroupsHidden())
	require.Empty(t, x.Scheme()+x.Path()+x.Route()+x.Pattern()+x.MatchedPath()+x.RequestID()+x.CacheStatus()+x.Version())
	require.True(t, x.Identity().IsZero())
	require.Nil(t, x.Consumer())
	require.Nil(t, x.Forward())
	require.Empty(t, x.Decisions())
	require.Empty(t, x.Tries())
	require.Empty(t, x.TryHooks())
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "[::ffff:192.0.2.1%eth0]:80"
	x, r2 := policy.Ensure(r)
	require.NotSame(t, r, r2)
	require.Nil(t, policy.ExchangeFrom(r.Context()), "the caller's request is untouched")
	again, r3 := policy.Ensure(r2)
	require.Same(t, x, again)
	require.Same(t, r2, r3)
	require.Equal(t, "192.0.2.1", x.ClientAddr().String(), "neither mapped nor zoned")
	require.Equal(t, "http", x.Scheme())
	require.Empty(t, x.Path())
}

func TestExchangeIsAContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil).WithContext(parent))
	ctx := r.Context()
	require.Equal(t, "v", ctx.Value(key{}))
	require.Equal(t, "policy.Exchange", fmt.Sprint(ctx))
	child, stop := context.WithTimeout(ctx, time.Hour)
	defer stop()
	require.Same(t, x, policy.ExchangeFrom(child))
	ran := make(chan struct{})
	context.AfterFunc(ctx, func() { close(ran) })
	cause := errors.New("cause")
	cancel(cause)
	<-ran
	<-child.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.ErrorIs(t, context.Cause(child), cause)
	_, ok := ctx.Deadline()
	require.False(t, ok)
}

func TestExchangeKeepsWhatItIsTold(t *testing.T) {
	t.Parallel()
	x, _ := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	ann := &policy.Consumer{ID: "1", Username: "ann"}
	x.SetIdentity(policy.Identity{Consumer: ann, Kind: "key-auth"})
	x.SetRoute("users", "/users/:id", "/users/1")
	x.SetCacheStatus("hit")
	x.SetVersion("3")
	require.Same(t, ann, x.Consumer())
	require.Equal(t, "users /users/:id /users/1 hit 3", fmt.Sprint(x.Route(), " ", x.Pattern(), " ", x.MatchedPath(), " ", x.CacheStatus(), " ", x.Version()))

	for i := range 100 {
		x.Record(policy.Decision{Policy: fmt.Sprint(i)})
		x.RecordTry(policy.Try{Number: i, Out: httptest.NewRequest(http.MethodGet, "/", nil)})
	}
	require.Len(t, x.Decisions(), 64, "bounded")
	require.Len(t, x.Tries(), 64, "bounded")
	require.Nil(t, x.Tries()[0].Out)
	x.Decisions()[0].Policy = "changed"
	require.Equal(t, "0", x.Decisions()[0].Policy, "copies are handed out")
}

func TestRefusalIsTheOuterOne(t *testing.T) {
	t.Parallel()
	x, _ := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	_, ok := x.Refusal()
	require.False(t, ok)
	x.Record(policy.Decision{Policy: "inner", Verdict: policy.Refused})
	x.Record(policy.Decision{Policy: "shadow", Verdict: policy.WouldRefuse})
	x.Record(policy.Decision{Policy: "outer", Verdict: policy.Refused})
	x.Record(policy.Decision{Policy: "log"})
	d, ok := x.Refusal()
	require.True(t, ok)
	require.Equal(t, "outer", d.Policy)
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		x, _ := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		id := x.RequestID()
		require.Regexp(t, shape, id)
		require.Equal(t, id, x.RequestID())
		require.False(t, seen[id])
		seen[id] = true
	}
	x, _ := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	x.SetRequestID("mine")
	require.Equal(t, "mine", x.RequestID())
}

// A plugin's goroutine that outlives its request writes into its own request's Exchange, and races with nobody.
func TestGoroutineOutlivesTheRequest(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	var wg sync.WaitGroup
	release := make(chan struct{})
	h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		wg.Go(func() {
			for range 100 {
				x.Record(policy.Decision{Policy: "late"})
				x.SetIdentity(policy.Identity{Kind: "late"})
				_ = x.RequestID()
				_ = fmt.Sprintf("%v", r.Context())
			}
			<-release
			x.Record(policy.Decision{Policy: "after the request"})
		})
		policy.Refuse(w, r, "test", &policy.Error{Status: 403})
		_, _ = x.Refusal()
	}))
	for range 8 {
		wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) })
	}
	close(release)
	wg.Wait()
}
