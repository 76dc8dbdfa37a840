package regress_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// fiber's proxy added its fields to those that the client had sent under the same names, and targets read the first.
func TestFieldsAreSetAndNotAdded(t *testing.T) {
	t.Parallel()
	r := rigged(t, nil)
	m := r.passes("GET /admin/a HTTP/1.1\nApikey: k\nX-Consumer-Id: 0\nX-Consumer-Id: 9\nX-Real-Ip: 192.0.2.1\nX-Forwarded-For: 192.0.2.1\n" +
		"X-Forwarded-For: 192.0.2.2\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil.test\nX-Credential-Identifier: root\nX-Request-Id: mine\nX-Mine: 1\nX-Mine: 2")
	for name, want := range map[string]string{
		"X-Consumer-Id": "1", "X-Consumer-Username": "ann", "X-Real-Ip": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "h",
	} {
		require.Equal(t, []string{want}, m.Values(name))
	}
	require.Len(t, m.Values("X-Credential-Identifier"), 1)
	require.Len(t, m.Values("X-Request-Id"), 1)
	require.NotContains(t, m.Head, "mine")
	require.NotContains(t, m.Head, "root")
	require.Equal(t, []string{"1", "2"}, m.Values("X-Mine"), "what is the client's own stays as it is")
}
