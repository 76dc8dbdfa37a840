package transport

import (
	"errors"
	"strings"
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
