package canonical_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	require.True(t, canonical.EndToEnd("Authorization"))
	require.True(t, canonical.EndToEnd("Set-Cookie"))
	for _, name := range []string{"Forwarded", "Via", "X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Proto"} {
		require.True(t, canonical.EndToEnd(name), name)
	}
	require.False(t, canonical.EndToEnd("X-Hop"))
	require.False(t, canonical.EndToEnd("Connection"))
}

func TestDropNominated(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		connection, want []string
		left             []string
	}{
		"nothing":      {nil, nil, []string{"A", "Authorization", "B"}},
		"close":        {[]string{"Close"}, []string{"Close"}, []string{"A", "Authorization", "B"}},
		"names":        {[]string{"a, close", "B,,upgrade, Close"}, []string{"close, upgrade"}, []string{"Authorization"}},
		"end to end":   {[]string{"authorization"}, nil, []string{"A", "Authorization", "B"}},
		"only a name":  {[]string{"a"}, nil, []string{"Authorization", "B"}},
		"absent names": {[]string{"x, \t , te"}, []string{"te"}, []string{"A", "Authorization", "B"}},
	}
	for name, tt := range tests {
		h := http.Header{"A": {"1"}, "B": {"2"}, "Authorization": {"3"}}
		if tt.connection != nil {
			h["Connection"] = tt.connection
		}
		canonical.DropNominated(h)
		require.Equal(t, tt.want, h["Connection"], name)
		delete(h, "Connection")
		require.Len(t, h, len(tt.left), name)
		for _, n := range tt.left {
			require.Contains(t, h, n, name)
		}
	}
}
