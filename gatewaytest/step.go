package gatewaytest

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// Respond answers with a status and a body. Further arguments are header names and values in turn.
func Respond(status int, body string, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // refused by net/http where the status has no body
	})
}

// After waits before it goes on with next, or gives up when the client has left.
func After(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait(r, d) {
			next.ServeHTTP(w, r)
		}
	})
}

// wait reports whether d passed before the client left.
func wait(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// Stream answers 200 with the parts, each sent on its own and pause apart. The length is not declared.
func Stream(pause time.Duration, parts ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		for i, part := range parts {
			if i > 0 && !wait(r, pause) {
				return
			}
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
			if control.Flush() != nil {
				return
			}
		}
	})
}

// Truncate answers 200, declares more than body, sends body and breaks the connection off.
func Truncate(body string, missing int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+max(missing, 1)))
		_, _ = io.WriteString(w, body)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to cut the connection
	})
}

// Stall answers nothing until the client leaves.
func Stall() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// Reset breaks the connection off without an answer; the client sees "connection reset by peer".
func Reset() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, func(c *conn) { c.reset() })
	})
}

// Raw sends the bytes as they are, whatever they are, and closes the connection.
func Raw(answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, func(c *conn) {
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		})
	})
}

func hijack(w http.ResponseWriter, f func(*conn)) {
	raw, _, err := http.NewResponseController(w).Hijack()
	c, ok := raw.(*conn)
	if err != nil || !ok {
		panic(http.ErrAbortHandler) //nolint:forbidigo // no upstream of this package: at least cut the connection
	}
	f(c)
}

// Early marks a step that answers before it has read the request body, or reads it while it answers: the body is then
// not recorded, and h gets it as it streams in.
func Early(h http.Handler) http.Handler { return early{h} }

type early struct{ http.Handler }
