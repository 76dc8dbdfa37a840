package transport

import "errors"

// maxStreams is on how many streams of HTTP/2 an exchange may be tried; twice if it may change something. net/http would go on for as
// long as the target resets them with PROTOCOL_ERROR, with which it may have acted on the request, or with REFUSED_STREAM, and it
// tells nobody which of the two it was.
const maxStreams = 4

var (
	errEndless = errors.New("the target has reset the request again and again")
	errTwice   = errors.New("the target has reset the request twice, and it may change something")
)

// RefusedPerhaps reports whether err says that the target has reset a request twice that may change something: most likely it had too
// many others at that moment.
func RefusedPerhaps(err error) bool { return errors.Is(err, errTwice) }

// endless returns the error of an exchange that was tried on too many streams; nil for any other.
func (a *attempt) endless() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.tooMany:
		return nil
	case a.twice:
		return errEndless
	default:
		return errTwice
	}
}

// unprocessed reports whether the target said in HTTP/2 that it has not acted on the request, and net/http would repeat it but
// for its body, or has done so to no avail.
func (a *attempt) unprocessed(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.http2 && (errors.Is(err, errTouched) || err.Error() == "http2: Transport received Server's graceful shutdown GOAWAY" || isRefusedStream(err.Error()))
}
