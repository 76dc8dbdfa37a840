package gatewaytest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
)

// Do serves r with h and returns the answer, body included; there is nothing to close. r is used as it is, so make it
// with httptest.NewRequest. Do may be called any number of times with the same h, from any goroutine.
//
// When h aborts the answer (it panics with [http.ErrAbortHandler], as a proxy does when its upstream breaks off), the
// body ends with [io.ErrUnexpectedEOF], as a client would see it; when nothing had been sent by then, StatusCode is 0.
// Any other panic goes through to the caller.
func Do(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	rw := &recorder{ResponseRecorder: w}
	aborted := serve(h, rw, r)
	if !rw.sent {
		if aborted {
			return &http.Response{Proto: r.Proto, Header: http.Header{}, Body: body(nil, true), Request: r}
		}
		rw.WriteHeader(http.StatusOK)
	}
	res := w.Result()
	res.Request = r
	// The recorder cuts nothing off by itself: what was declared and not written is missing for the client too.
	if r.Method != http.MethodHead && res.StatusCode != http.StatusNotModified && res.ContentLength > int64(w.Body.Len()) {
		aborted = true
	}
	res.Body = body(w.Body.Bytes(), aborted)
	return res
}

// serve reports whether h aborted.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		switch v := recover(); {
		case v == nil:
		case v == http.ErrAbortHandler: //nolint:errorlint,err113 // compared as net/http does
			aborted = true
		default:
			panic(v) //nolint:forbidigo // the test shall see it
		}
	}()
	h.ServeHTTP(w, r)
	return false
}

// recorder knows whether a final head was sent, which httptest's keeps to itself, and takes informational heads for
// what they are.
type recorder struct {
	*httptest.ResponseRecorder

	sent bool
}

func (w *recorder) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.sent = true
	w.ResponseRecorder.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	w.sent = true
	return w.ResponseRecorder.Write(p)
}

func (w *recorder) WriteString(s string) (int, error) {
	w.sent = true
	return w.ResponseRecorder.WriteString(s)
}

func (w *recorder) Flush() {
	w.sent = true
	w.ResponseRecorder.Flush()
}

func body(b []byte, aborted bool) io.ReadCloser {
	var r io.Reader = bytes.NewReader(b)
	if aborted {
		r = io.MultiReader(r, brokenOff{})
	}
	return io.NopCloser(r)
}

type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Text reads the body of an answer and returns it as a string. An answer that was broken off returns what came before
// and [io.ErrUnexpectedEOF].
func Text(res *http.Response) (string, error) {
	b, err := io.ReadAll(res.Body)
	return string(b), errors.Join(err, res.Body.Close())
}
