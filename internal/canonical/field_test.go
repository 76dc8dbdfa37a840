package canonical_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

func TestToken(t *testing.T) {
	t.Parallel()
	const marks = "!#$%&'*+-.^_`|~"
	for c := range 256 {
		s := string([]byte{byte(c)})
		alphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		require.Equal(t, alphanumeric || strings.Contains(marks, s), canonical.Token("a"+s), "%q", s)
	}
	require.False(t, canonical.Token(""))
}

func TestFieldValue(t *testing.T) {
	t.Parallel()
	for s, want := range map[string][2]bool{
		"": {true, true}, "a b": {true, true}, "a\tb": {true, true}, "ü\xff": {true, true}, " a": {true, false}, "a\t": {true, false},
		"a\nb": {}, "\x00": {}, "\x7f": {}, "a\r": {},
	} {
		require.Equal(t, want, [2]bool{canonical.FieldValue(s), canonical.ExactFieldValue(s)}, "%q", s)
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"application/grpc", "Application/GRPC+proto", "application/grpc; charset=x"} {
		require.True(t, canonical.GRPC(http.Header{"Content-Type": {v}}), v)
	}
	for _, v := range []string{"", "application/grp", "application/grpc-web", "application/grpcx", "text/plain"} {
		require.False(t, canonical.GRPC(http.Header{"Content-Type": {v}}), v)
	}
	require.False(t, canonical.GRPC(http.Header{"Content-Type": {"application/grpc", "text/plain"}}))
	require.False(t, canonical.GRPC(nil))
}

func TestHasOption(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		lines []string
		want  bool
	}{
		{nil, false}, {[]string{""}, false}, {[]string{"close"}, true}, {[]string{"Close"}, true}, {[]string{"keep-alive,\tCLOSE "}, true},
		{[]string{"x", "a,close,b"}, true}, {[]string{"closed, xclose, clo se"}, false}, {[]string{"\"close\""}, false},
	} {
		require.Equal(t, tt.want, canonical.HasOption(tt.lines, "close"), "%q", tt.lines)
	}
}
