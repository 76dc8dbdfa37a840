package canonical_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/race"
)

func TestNameSet(t *testing.T) {
	t.Parallel()
	long := "X-" + strings.Repeat("Long-", 40) + "Name"
	set := canonical.NewNameSet("X-Consumer-ID", "x-request-id", "Host", "", "X.Forwarded.For", long)
	for _, tt := range []struct {
		name            string
		contains, exact bool
	}{
		{"X-Consumer-Id", true, true},
		{"X-Consumer-ID", true, false},
		{"x-consumer-id", true, false},
		{"X_Consumer_Id", true, false},
		{"x.consumer.id", true, false},
		{"X-Consumer_Id", true, false},
		{"X\x80Consumer Id", true, false},
		{"X-Request-Id", true, true},
		{"X_REQUEST_ID", true, false},
		{"Host", true, true},
		{"hOST", true, false},
		{"X-Forwarded-For", true, false}, // the member is spelled with dots
		{strings.ReplaceAll(long, "-", "_"), true, false},
		{long, true, true},

		{"", false, false},
		{"X-Consumer-Idx", false, false},
		{"X-Consumer-I", false, false},
		{"X--Consumer-Id", false, false},
		{"XConsumerId", false, false},
		{"X-Consumer-1d", false, false},
		{"Hos7", false, false},
		{"Most", false, false},
		{"Accept", false, false},
		{long + "s", false, false},
		{strings.Repeat("x", 64+4), false, false}, // shares a length bit with "Host"
	} {
		require.Equal(t, tt.contains, set.Contains(tt.name), "Contains(%q)", tt.name)
		require.Equal(t, tt.exact, set.Exact(tt.name), "Exact(%q)", tt.name)
	}
}

func TestNameSetZeroValueIsEmpty(t *testing.T) {
	t.Parallel()
	for _, set := range []canonical.NameSet{{}, canonical.NewNameSet(), canonical.NewNameSet("")} {
		require.False(t, set.Contains("X-Request-Id"))
		require.False(t, set.Exact("X-Request-Id"))
		require.False(t, set.Contains(""))
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":               "",
		"x-user-1":       "x-user-1",
		"X_User.ID":      "x-user-id",
		"X User\x00\xff": "x-user--",
		"[Z]@z`{":        "-z--z--",
	} {
		require.Equal(t, want, canonical.Fold(in), "%q", in)
		require.True(t, canonical.Alias(in, want), "%q", in)
		require.False(t, canonical.Alias(in, want+"-"), "%q", in)
		require.False(t, canonical.Alias(in+"a", want+"-"), "%q", in)
	}
}

func TestNameSetAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	set := canonical.NewNameSet(ownedNames...)
	for _, name := range []string{"Accept", "X-Consumer-Id", "x_consumer_id", strings.Repeat("X-", 60)} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_ = set.Contains(name)
			_ = set.Exact(name)
		}), "%q", name)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = canonical.Fold("x-consumer-id") }))
}
