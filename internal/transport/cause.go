package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// AtLimit reports whether err says that all the connections that [Config.MaxConns] allows were in use.
func AtLimit(err error) bool { return errors.Is(err, errWait) }

// HeadTooLarge reports whether err says that the head of an answer was larger than [Config.MaxHeaderBytes]. The error that
// net/http has for that has no type.
func HeadTooLarge(err error) bool {
	return errors.Is(err, errHeadTooLarge) || contains(err, "response headers exceeded")
}

// UnknownCoding reports whether err says that an answer has a Transfer-Encoding that is not understood. The error that
// net/http has for that has no type, either.
func UnknownCoding(err error) bool {
	return errors.Is(err, errCoding) || contains(err, "unsupported transfer encoding")
}

// contains looks for text in what net/http says.
func contains(err error, text string) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(e.Err.Error(), text)
}

// isRefusedStream reports whether net/http says of a stream that the target has refused it. It exports no such error, and other
// texts may quote what the target has sent.
func isRefusedStream(text string) bool {
	rest, ok := strings.CutPrefix(text, "stream error: stream ID ")
	rest = strings.TrimLeft(rest, "0123456789")
	return ok && (rest == "; REFUSED_STREAM" || rest == "; REFUSED_STREAM; received from peer")
}

// isReset tells a connection that broke from an answer that is malformed. HTTP/2's errors have no exported types.
func isReset(err error) bool {
	for _, e := range [...]error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, os.ErrDeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	text := err.Error()
	return strings.HasPrefix(text, "http2: ") || strings.HasPrefix(text, "stream error: ")
}
