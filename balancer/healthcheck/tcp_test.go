package healthcheck_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	silent := raw(t, untilClosed)
	require.NoError(t, check(t, healthcheck.TCP{}, silent, nil))
	secure, config := server(t, true, true, true, answers(200))
	require.NoError(t, check(t, healthcheck.TCP{}, secure, nil), "nobody asks for a certificate")
	require.NoError(t, check(t, healthcheck.TCP{TLS: true}, secure, config))
	require.Error(t, check(t, healthcheck.TCP{TLS: true}, secure, nil), "it is not trusted")
	require.Error(t, check(t, healthcheck.TCP{TLS: true}, raw(t, says("")), config), "it ends")
}
