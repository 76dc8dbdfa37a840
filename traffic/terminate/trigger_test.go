package terminate

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHasParam compares with net/url wherever that accepts the query.
func FuzzHasParam(f *testing.F) {
	for _, raw := range []string{"", "debug", "debug=1", "a=b&debug", "%64ebug=1", "debug+=1", "a=debug", "&&", "=", "%", "a;debug=1"} {
		f.Add(raw, "debug")
	}
	f.Fuzz(func(t *testing.T, raw, name string) {
		got := hasParam(raw, name)
		all, err := url.ParseQuery(raw)
		if err != nil || strings.ContainsAny(name, "%+") || name == "" {
			return // raw names are recognised before they are decoded, and a Trigger is not empty
		}
		require.Equal(t, all.Has(name), got, "%q", raw)
	})
}
