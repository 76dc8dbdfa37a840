package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"

	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// Status returns the value of Proxy-Status (RFC 9209) for an answer that stands in the place of the upstream's, because of
// err: the name by which Via knows us, and one of the types of section 2.3. It has no other parameter, so that nothing of
// the inside gets out.
func Status(err error) string { return pseudonym + "; error=" + errorType(err) }

// errorType returns the type that says best what err, which is an [*policy.Error] or wraps one, is about.
func errorType(err error) string {
	var e *policy.Error
	if !errors.As(err, &e) {
		return "proxy_internal_error"
	}
	switch e.Code {
	case transport.ConnectRefused:
		return "connection_refused"
	case transport.ConnectFailed:
		if errors.Is(e, syscall.EHOSTUNREACH) || errors.Is(e, syscall.ENETUNREACH) {
			return "destination_ip_unroutable"
		}
		return "destination_unavailable"
	case transport.ConnectTimeout:
		if transport.AtLimit(e) {
			return "connection_limit_reached"
		}
		return "connection_timeout"
	case transport.DNSFailed:
		if dns := (*net.DNSError)(nil); errors.As(e, &dns) && dns.IsTimeout {
			return "dns_timeout"
		}
		return "dns_error"
	case transport.TLSFailed:
		return tlsType(e, "tls_protocol_error")
	case transport.FirstByteLimit, transport.IdleLimit:
		return "connection_read_timeout"
	case transport.TotalLimit:
		return "http_response_timeout"
	case transport.ConnectionReset, transport.StaleConnection:
		return "connection_terminated"
	case transport.Truncated:
		return "http_response_incomplete"
	case transport.InvalidResponse:
		switch {
		case transport.HeadTooLarge(e):
			return "http_response_header_section_size"
		case transport.UnknownCoding(e):
			return "http_response_transfer_coding"
		}
		return tlsType(e, "http_protocol_error") // an alert may come after the handshake
	case transport.UploadTooSlow, transport.ClientTooSlow, bodyInvalid, bodyTooLarge, bodyTimeout, trailersTooLarge, pathRewritten,
		upgradeInvalid, upgradeVersion, upgradeOrigin:
		return "http_request_error"
	case transport.InvalidRequest, invalidIdentity, bodyPanicked:
		return "proxy_internal_error"
	case upgradesInUse:
		return "connection_limit_reached"
	case loopDetected:
		return "proxy_loop_detected"
	}
	// Nobody was asked: there is no target, or an admission, such as a circuit breaker, lets none be asked.
	if e.Status == http.StatusServiceUnavailable {
		return "destination_unavailable"
	}
	return "proxy_internal_response"
}

// tlsType tells what is wrong with the target's TLS, if it is that, from other.
func tlsType(err error, other string) string {
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &certificate):
		return "tls_certificate_error"
	case errors.As(err, &op) && op.Op == "remote error": // what crypto/tls makes of an alert, whose type it does not export
		return "tls_alert_received"
	}
	return other
}
