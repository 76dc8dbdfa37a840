package canonical_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/race"
)

// authorities are Host values with what becomes of them: host and port, or "!"
// and the reason of the refusal.
var authorities = []struct{ authority, host, port string }{
	{"example.com", "example.com", ""},
	{"Example.COM", "example.com", ""},
	{"example.com.", "example.com", ""},
	{"EXAMPLE.com.:8080", "example.com", "8080"},
	{"example.com:1", "example.com", "1"},
	{"example.com:65535", "example.com", "65535"},
	{"localhost", "localhost", ""},
	{"my_service:80", "my_service", "80"},
	{"xn--bcher-kva.example", "xn--bcher-kva.example", ""},
	{"127.0.0.1:80", "127.0.0.1", "80"},
	{"127.1", "127.1", ""},
	{strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a", ""},
	{strings.Repeat("a.", 127) + ":80", strings.Repeat("a.", 126) + "a", "80"},
	{"[::1]", "::1", ""},
	{"[::1]:443", "::1", "443"},
	{"[2001:DB8:0:0::1]:443", "2001:db8::1", "443"},
	{"[2001:db8::1]", "2001:db8::1", ""},
	{"[::ffff:10.0.0.1]", "::ffff:10.0.0.1", ""},

	{"", "!empty", ""},
	{".", "!empty", ""},
	{":80", "!empty", ""},
	{"..", "!empty_label", ""},
	{"a..b", "!empty_label", ""},
	{".a", "!empty_label", ""},
	{"a..", "!empty_label", ""},
	{"a..:80", "!empty_label", ""},
	{"user@example.com", "!userinfo", ""},
	{"user:password@example.com:80", "!userinfo", ""},
	{"@", "!userinfo", ""},
	{"[::1]@example.com", "!userinfo", ""},
	{"example.com:", "!bad_port", ""},
	{"example.com:0", "!bad_port", ""},
	{"example.com:080", "!bad_port", ""},
	{"example.com:65536", "!bad_port", ""},
	{"example.com:999999", "!bad_port", ""},
	{"example.com:+80", "!bad_port", ""},
	{"example.com:-1", "!bad_port", ""},
	{"example.com:http", "!bad_port", ""},
	{"example.com:80 ", "!bad_port", ""},
	{"example.com:80:80", "!bad_port", ""},
	{"::1", "!bad_port", ""},
	{"2001:db8::1", "!bad_port", ""},
	{"exa mple.com", "!bad_byte", ""},
	{" example.com", "!bad_byte", ""},
	{"example.com\t", "!bad_byte", ""},
	{"example.com\r\n", "!bad_byte", ""},
	{"example.com\x00", "!bad_byte", ""},
	{"b\u00fccher.example", "!bad_byte", ""},
	{"example%2ecom", "!bad_byte", ""},
	{"example.com/x", "!bad_byte", ""},
	{`example.com\x`, "!bad_byte", ""},
	{"a,b", "!bad_byte", ""},
	{"a;b", "!bad_byte", ""},
	{"*.example.com", "!bad_byte", ""},
	{"http://example.com", "!bad_port", ""},
	{strings.Repeat("a.", 127) + "a", "!too_long", ""},
	{strings.Repeat("a", 254), "!too_long", ""},
	{"[", "!bad_literal", ""},
	{"[]", "!bad_literal", ""},
	{"[::1", "!bad_literal", ""},
	{"[127.0.0.1]", "!bad_literal", ""},
	{"[fe80::1%eth0]", "!bad_literal", ""},
	{"[fe80::1%25eth0]", "!bad_literal", ""},
	{"[v1.x]", "!bad_literal", ""},
	{"[" + strings.Repeat("0", 300) + "::1]", "!bad_literal", ""},
	{"[::1]80", "!bad_port", ""},
	{"[::1].", "!bad_port", ""},
	{"[::1]:", "!bad_port", ""},
	{"[::1]:0", "!bad_port", ""},
}

func TestHost(t *testing.T) {
	t.Parallel()
	for _, tt := range authorities {
		t.Run(tt.authority, func(t *testing.T) {
			t.Parallel()
			host, port, err := canonical.Host(tt.authority)
			if reason, refused := strings.CutPrefix(tt.host, "!"); refused {
				var hostErr *canonical.HostError
				require.ErrorAs(t, err, &hostErr)
				require.Equal(t, reason, hostErr.Reason)
				require.Equal(t, "canonical: host refused: "+reason, err.Error())
				require.Empty(t, host+port)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.host, host)
			require.Equal(t, tt.port, port)
		})
	}
}

func TestHostAllocatesNothingWhenCanonical(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, authority := range []string{"example.com", "example.com:8080", "example.com.", "127.0.0.1:80", "[2001:db8::1]:443"} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, _, _ = canonical.Host(authority)
		}), "%q", authority)
	}
}
