package regress_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Request ids that are taken from clients as they are carry quotes, escapes and kilobytes into logs, answers and error pages, and
// let one client's requests pass for another's.
func TestRequestIDIsNotTheClients(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	var ids []string
	for _, id := range []string{"mine", "a\"b", "<script>", strings.Repeat("x", 5000), "a\tb", "a\nX-Request-Id: b", "a\nx_request_id: c"} {
		m := r.ask("GET /admin/a HTTP/1.1\nX-Request-Id: " + id)
		require.Equal(t, 401, m.Status())
		require.Len(t, m.Values("X-Request-Id"), 1)
		require.Regexp(t, `^[0-9a-f-]{36}$`, m.Values("X-Request-Id")[0])
		require.Contains(t, m.Body, m.Values("X-Request-Id")[0])
		require.NotContains(t, ids, m.Values("X-Request-Id")[0])
		ids = append(ids, m.Values("X-Request-Id")...)
	}
	m := r.passes("GET /open/a HTTP/1.1\nX-Request-Id: mine")
	require.Regexp(t, `^[0-9a-f-]{36}$`, m.Values("X-Request-Id")[0])
}
