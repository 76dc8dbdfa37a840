package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// Each way in which an exchange fails has a type in RFC 9209 section 2.3.
func TestStatus(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		transport.ConnectRefused: "connection_refused", transport.ConnectFailed: "destination_unavailable", transport.ConnectTimeout: "connection_timeout",
		transport.DNSFailed: "dns_error", transport.TLSFailed: "tls_protocol_error", transport.FirstByteLimit: "connection_read_timeout",
		transport.IdleLimit: "connection_read_timeout", transport.TotalLimit: "http_response_timeout", transport.UploadTooSlow: "http_request_error",
		transport.ClientTooSlow: "http_request_error", transport.ConnectionReset: "connection_terminated", transport.StaleConnection: "connection_terminated",
		transport.Truncated: "http_response_incomplete", transport.InvalidResponse: "http_protocol_error", transport.InvalidRequest: "proxy_internal_error",
		transport.Closed: "destination_unavailable",
	}
	for code, want := range tests {
		cause := &transport.Error{Code: code, Err: errors.New("10.0.0.1: odd; error=other")}
		e, _ := accept(t, httptest.NewRecorder(), request("GET", "/")).Failure(cause)
		require.NotNil(t, e, code)
		require.Equal(t, "gatehouse; error="+want, proxy.Status(e), code)
	}
	for want, err := range map[string]error{
		"destination_unavailable": proxy.NoTarget(io.EOF),
		"proxy_internal_response": &policy.Error{Status: 429, Code: "busy"},
		"proxy_internal_error":    io.EOF,
		"proxy_loop_detected":     fmt.Errorf("wrapped: %w", &policy.Error{Status: 508, Code: "loop_detected"}),
		"http_request_error":      &policy.Error{Status: 400, Code: "path_rewritten"},
	} {
		require.Equal(t, "gatehouse; error="+want, proxy.Status(err))
	}
}
