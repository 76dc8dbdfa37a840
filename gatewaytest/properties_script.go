package gatewaytest

import (
	"fmt"
	"net/http"

	"pgregory.net/rapid"
)

// Script draws scripts for an [Upstream], of one to four steps: answers with several statuses, bodies and header fields,
// whole, in parts, or early; bodies that break off, connections that do, and bytes that are no answer. None waits for
// anything but its request. A step prints as the call that makes it.
func (p Properties) Script() *rapid.Generator[[]http.Handler] {
	return rapid.SliceOfN(rapid.Custom(drawStep), 1, 4)
}

// drawnStep is a step that says how it is made.
type drawnStep struct {
	http.Handler

	call string
}

// GoString returns the call that makes the step.
func (s drawnStep) GoString() string { return s.call }

// GoString returns the call that makes the step.
func (e early) GoString() string { return fmt.Sprintf("gatewaytest.Early(%#v)", e.Handler) }

func drawStep(t *rapid.T) http.Handler {
	body := sample(t, "body", "ok", "", "a longer answer, with\nlines\n")
	switch sample(t, "step", "respond", "respond", "respond", "stream", "truncate", "reset", "raw", "early") {
	case "stream":
		return drawnStep{Stream(0, body, "end"), fmt.Sprintf("gatewaytest.Stream(0, %q, %q)", body, "end")}
	case "truncate":
		return drawnStep{Truncate(body, 3), fmt.Sprintf("gatewaytest.Truncate(%q, 3)", body)}
	case "reset":
		return drawnStep{Reset(), "gatewaytest.Reset()"}
	case "raw":
		answer := sample(t, "raw", rawAnswers...)
		return drawnStep{Raw(answer), fmt.Sprintf("gatewaytest.Raw(%q)", answer)}
	case "early":
		return Early(drawResponse(t, body))
	default:
		return drawResponse(t, body)
	}
}

// rawAnswers are answers of servers that are broken, malicious or something else.
var rawAnswers = []string{
	"",
	"220 smtp ready\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw",
	"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nraw",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.0 200 OK\r\n\r\nuntil the end",
}

// drawResponse draws a whole answer.
func drawResponse(t *rapid.T, body string) http.Handler {
	status := sample(t, "status", http.StatusOK, http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusNotModified,
		http.StatusFound, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable)
	field := sample(t, "field", nil, []string{"Content-Type", "application/json"}, []string{"Set-Cookie", "a=b"}, []string{"Location", "/elsewhere"},
		[]string{"Retry-After", "1"}, []string{"X-Consumer-Id", "1"}, []string{"Connection", "close"})
	call := fmt.Sprintf("gatewaytest.Respond(%d, %q)", status, body)
	if len(field) > 0 {
		call = fmt.Sprintf("gatewaytest.Respond(%d, %q, %q, %q)", status, body, field[0], field[1])
	}
	return drawnStep{Respond(status, body, field...), call}
}
