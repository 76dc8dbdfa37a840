package mirror

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// CheckCompare compares two bodies by the rules of one path, and holds what must be so whatever they are.
func CheckCompare(t *testing.T, a, b []byte, path string) {
	t.Helper()
	rs, err := compile(&Compare{Unordered: []string{path}, Tolerances: []Tolerance{{Path: path, Absolute: 1}}})
	if err != nil {
		return
	}
	rs.details = DefaultMaxDetails
	x, err := parseJSON(a)
	y, failed := parseJSON(b)
	if err != nil || failed != nil {
		return
	}
	same := func(x, y any, rs *rules) bool {
		d := differ{rules: rs, left: maxWork}
		same := d.values(x, y, rs.start, Tolerance{})
		require.Equal(t, same, len(d.details) == 0)
		for _, x := range d.details {
			require.LessOrEqual(t, len(x.Where), maxPath+len("body "))
			if where := x.Where[len("body "):]; len(where) < maxShown { // nothing was cut off
				_, err := parsePath(where)
				require.NoError(t, err, where)
			}
		}
		return same
	}
	require.True(t, same(x, x, rs))
	require.True(t, same(y, y, rs))
	none := &rules{details: DefaultMaxDetails}
	require.Equal(t, same(x, y, none), same(y, x, none), "either way")
	if same(x, y, none) {
		require.True(t, same(x, y, rs), "rules only allow")
	}
}
