package policy_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type named struct{ policy.PluginFunc }

func (named) Name() string { return "named" }

type wrapping struct{ policy.Plugin }

func (w wrapping) Unwrap() policy.Plugin { return w.Plugin }

func TestNamesAndContracts(t *testing.T) {
	t.Parallel()
	contract := policy.Contract{Requires: []policy.Fact{policy.Authenticated}, BuffersResponse: true}
	d := policy.Describe("mine", contract, nil)
	contract.Requires[0] = "changed"
	require.Equal(t, "mine", policy.NameOf(d))
	got, ok := policy.ContractOf(wrapping{wrapping{d}})
	require.True(t, ok)
	require.Equal(t, policy.Contract{Requires: []policy.Fact{policy.Authenticated}, BuffersResponse: true}, got, "the contract is copied")
	require.Equal(t, "mine", policy.NameOf(wrapping{d}))
	require.Equal(t, "named", policy.NameOf(named{}))
	_, ok = policy.ContractOf(named{})
	require.False(t, ok)
	require.Equal(t, "policy.PluginFunc", policy.NameOf(policy.PluginFunc(nil)))
	require.Equal(t, "nil", policy.NameOf(nil))
	next := http.NotFoundHandler()
	require.NotNil(t, policy.PluginFunc(nil).Wrap(next))
	require.NotNil(t, d.Wrap(next))
}

func TestMust(t *testing.T) {
	t.Parallel()
	require.Equal(t, 1, policy.Must(1, nil))
	err := errors.New("bad")
	require.PanicsWithValue(t, err, func() { policy.Must(1, err) })
}

func TestOnHeader(t *testing.T) {
	t.Parallel()
	var order []string
	note := func(name string) func(int, http.Header) {
		return func(status int, h http.Header) {
			order = append(order, name)
			h.Set("Status", http.StatusText(status))
		}
	}
	rec := httptest.NewRecorder()
	outer := policy.OnHeader(rec, note("outer"))
	inner := policy.OnHeader(outer, note("inner"))
	require.Same(t, outer, inner, "one writer for all layers")
	inner.WriteHeader(103)
	require.Empty(t, order)
	inner.WriteHeader(404)
	inner.WriteHeader(200)
	require.Equal(t, []string{"inner", "outer"}, order)
	require.Equal(t, "Not Found", rec.Header().Get("Status"))
	require.NoError(t, http.NewResponseController(inner).Flush())
	policy.OnHeader(inner, note("late"))
	_, _ = inner.Write([]byte("x"))
	require.Len(t, order, 2)
}
