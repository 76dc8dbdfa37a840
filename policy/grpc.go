package policy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// isGRPC reports whether r is a gRPC call. gRPC-Web is not: its clients read the HTTP status.
func isGRPC(r *http.Request) bool {
	return r.Method == http.MethodPost && r.ProtoMajor >= 2 && canonical.GRPC(r.Header) // gRPC has no HTTP/1
}

// writeGRPC answers with headers only, as the gRPC protocol has it for calls that fail before a message ("Trailers-Only").
func writeGRPC(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h["Content-Type"] = []string{"application/grpc"}
	h["Grpc-Status"] = []string{strconv.Itoa(grpcStatus(e.Status))}
	h["Grpc-Message"] = []string{grpcMessage(e.message())}
	w.WriteHeader(http.StatusOK)
}

// grpcStatus maps an HTTP status as Kong does, but for 405, which is unimplemented, and 502, which is unavailable.
func grpcStatus(status int) int {
	const (
		canceled, invalidArgument, deadlineExceeded, notFound, alreadyExists = 1, 3, 4, 5, 6
		permissionDenied, resourceExhausted, failedPrecondition              = 7, 8, 9
		unimplemented, internal, unavailable, unauthenticated                = 12, 13, 14, 16
	)
	switch status {
	case http.StatusConflict:
		return alreadyExists
	case http.StatusUnauthorized:
		return unauthenticated
	case http.StatusForbidden:
		return permissionDenied
	case http.StatusNotFound:
		return notFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return unimplemented
	case http.StatusPreconditionFailed:
		return failedPrecondition
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return resourceExhausted
	case 499:
		return canceled
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return unavailable
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return deadlineExceeded
	}
	if status >= http.StatusInternalServerError {
		return internal
	}
	return invalidArgument
}

// grpcMessage percent-encodes as the gRPC protocol asks: everything but printable ASCII, and the percent sign.
func grpcMessage(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&0xf])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
