package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// method is a Method that answers what a test tells it.
type method struct {
	name      string
	id        *policy.Identity
	err       error
	challenge string
	asked     *int
	hidden    *int
}

func (m method) Name() string { return m.name }
func (m method) Authenticate(*http.Request) (*policy.Identity, error) {
	if m.asked != nil {
		*m.asked++
	}
	return m.id, m.err
}
func (m method) Challenge() string { return m.challenge }
func (m method) Hide(*http.Request) {
	if m.hidden != nil {
		*m.hidden++
	}
}

var errDown = errors.New("dial tcp 10.0.0.7:6379: connection refused")

// run sends r through a handler made of wrap and returns the answer, and the Exchange as the innermost handler saw it;
// nil when it was not reached.
func run(wrap func(http.Handler) http.Handler, r *http.Request) (*httptest.ResponseRecorder, *policy.Exchange) {
	var seen *policy.Exchange
	w := httptest.NewRecorder()
	wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = policy.ExchangeFrom(r.Context())
	})).ServeHTTP(w, r)
	return w, seen
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := auth.NoCredential("Log in", "Key", "", `Basic realm="x"`)
	require.Equal(t, http.StatusUnauthorized, e.Status)
	require.Equal(t, "no_credential", e.Code)
	require.Equal(t, "Log in", e.Message)
	require.Equal(t, []string{"Key", `Basic realm="x"`}, e.Header["Www-Authenticate"])
	require.ErrorIs(t, e, auth.ErrNoCredential)
	require.NotErrorIs(t, e, auth.ErrInvalidCredential)
	require.Empty(t, auth.NoCredential("").Header)

	e = auth.InvalidCredential(nil, "")
	require.Equal(t, http.StatusUnauthorized, e.Status)
	require.Equal(t, "invalid_credential", e.Code)
	require.ErrorIs(t, e, auth.ErrInvalidCredential)
	e = auth.InvalidCredential(errDown, "")
	require.ErrorIs(t, e, auth.ErrInvalidCredential, "a cause of the method's own is added")
	require.ErrorIs(t, e, errDown)
	e = auth.InvalidCredential(auth.ErrDuplicateCredential, "")
	require.Equal(t, "duplicate_credential", e.Code)
	require.ErrorIs(t, e, auth.ErrInvalidCredential)

	e = auth.Unavailable(errDown)
	require.Equal(t, http.StatusServiceUnavailable, e.Status)
	require.Equal(t, "store_unavailable", e.Code)
	require.ErrorIs(t, e, errDown)
	require.NotContains(t, e.Message, "10.0.0.7")
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	tests := []struct{ scheme, realm, want, err string }{
		{"Key", "", "Key", ""},
		{"Key", "orders", `Key realm="orders"`, ""},
		{"Key", `a "b" \c, d`, `Key realm="a \"b\" \\c, d"`, ""},
		{"Key", "a\r\nSet-Cookie: x=1", "", "not printable"},
		{"Key", "caf\u00e9", "", "not printable"},
		{"Key", "a\x7f", "", "not printable"},
		{"", "", "", "not a token"},
		{"Ke y", "", "", `"Ke y" is not a token`},
	}
	for _, tt := range tests {
		got, err := auth.Challenge(tt.scheme, tt.realm)
		require.Equal(t, tt.want, got)
		if tt.err == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, tt.err)
		}
	}
}
