package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// Delivery is how an answer reached the client.
type Delivery struct {
	// Sent: the head of the answer went out, so that nothing else can be answered any more.
	Sent bool
	// Err is why the answer did not go through whole; nil when it did.
	Err error
	// Gone: it was the client's side that failed.
	Gone bool
	// Tunnel is what went over the connection after it switched protocols; nil when it did not.
	Tunnel *policy.Tunnel
}

var errNoProgress = errors.New("proxy: the upstream's body gives neither bytes nor an end")

// Deliver sends res to the client. It does not close the body of res. When the delivery fails after the head was sent the
// caller must abort the answer, because the client could take it for whole.
//
// The head of an answer with a declared length is sent together with the first bytes of its body, as net/http's server
// would do anyway; an answer that breaks off before them can still be answered otherwise.
func (c *Call) Deliver(w http.ResponseWriter, res *transport.Answer) Delivery {
	if res.Switched != nil {
		return c.switchOver(w, res)
	}
	if c.hasLeft() {
		return Delivery{Err: c.In.Context().Err(), Gone: true}
	}
	if s := res.StatusCode; s < http.StatusOK || s > 599 {
		return Delivery{Err: &transport.Error{Code: transport.InvalidResponse, Err: fmt.Errorf("proxy: status %d cannot be passed on", s)}}
	}
	empty := c.In.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	if empty {
		c.head(w, res, false)
		return Delivery{Sent: true}
	}
	interval := c.Forward.FlushInterval
	flush := flusher(w, res, interval)
	if flush == nil {
		if whole := res.Whole(); whole != nil { // which takes it as read
			return c.deliverWhole(w, res, whole)
		}
	}
	var body io.Writer = w
	if flush == nil && interval > 0 {
		late := &latencyWriter{w: w, flush: flushing(w), after: interval}
		defer late.stop()
		body = late
	}
	var buf []byte
	if res.ContentLength >= largeBody {
		large, _ := c.proxy.large.Get().(*[largeBufferSize]byte)
		defer c.proxy.large.Put(large)
		buf = large[:]
	} else {
		small, _ := c.proxy.buffers.Get().(*[bufferSize]byte)
		defer c.proxy.buffers.Put(small)
		buf = small[:]
	}

	n, err := 0, error(nil)
	if flush == nil {
		if n, err = readSome(res.Body, buf); n == 0 && err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is not the end
			return Delivery{Err: err}
		}
	}
	c.head(w, res, true)
	if flush != nil {
		// The client waits for the head as such, and net/http drops trailers when it can declare a length by itself.
		if failed := flush(); failed != nil {
			return Delivery{Sent: true, Err: failed, Gone: true}
		}
		n, err = readSome(res.Body, buf)
	}
	for {
		if n > 0 {
			written, failed := body.Write(buf[:n])
			if failed == nil && written < n {
				failed = io.ErrShortWrite
			}
			if failed == nil && flush != nil {
				failed = flush()
			}
			if failed != nil {
				return Delivery{Sent: true, Err: failed, Gone: true}
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is not the end
			c.trailer(w.Header(), res)
			return Delivery{Sent: true}
		case err != nil:
			return Delivery{Sent: true, Err: err}
		}
		n, err = readSome(res.Body, buf)
	}
}

// deliverWhole sends an answer whose body is there.
func (c *Call) deliverWhole(w http.ResponseWriter, res *transport.Answer, body []byte) Delivery {
	c.head(w, res, false)
	if n, err := w.Write(body); err != nil || n < len(body) {
		return Delivery{Sent: true, Err: cmp.Or(err, io.ErrShortWrite), Gone: true}
	}
	return Delivery{Sent: true}
}

// readSome reads at least one byte, or an error.
func readSome(r io.Reader, p []byte) (int, error) {
	for range 100 {
		if n, err := r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, errNoProgress
}

// flusher returns how to flush after every write, or nil when the answer need not be: its length is declared, so that the
// client does not take it for a stream. One that is empty must not be: over HTTP/2 its head would no longer end it, and
// then gRPC finds no status in it.
func flusher(w http.ResponseWriter, res *transport.Answer, interval time.Duration) func() error {
	if res.ContentLength == 0 || res.ContentLength > 0 && interval >= 0 && !streams(res.Header.Values("Content-Type")) {
		return nil
	}
	return flushing(w)
}

// flushing returns how to flush.
func flushing(w http.ResponseWriter) func() error {
	control := http.NewResponseController(w)
	return func() error {
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
}

func streams(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	const longest = len("text/event-stream")
	t := contentType[0]
	return len(t) >= longest && strings.EqualFold(t[:longest], "text/event-stream") || hasPrefixFold(t, "application/grpc")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// head writes the head of the answer. Fields of the upstream replace those prepared by plugins under the same name,
// except where both have something to add; plugins that must have the last word use policy.OnHeader.
func (c *Call) head(w http.ResponseWriter, res *transport.Answer, trailers bool) {
	h := w.Header()
	if connection := res.Header.Values("Connection"); nominates(connection) {
		res.Header = withoutNominated(res.Header, connection)
	}
	c.addCookie(h)
	length := fieldsOf(h, res)
	if res.ContentLength >= 0 && res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified {
		h["Content-Length"] = lengthField(res.ContentLength, length)
	} else {
		delete(h, "Content-Length")
	}
	if trailers {
		if announced := c.announced(h, res); len(announced) > 0 {
			h["Trailer"] = []string{strings.Join(announced, ", ")}
		}
	}
	c.Detach(w)
	c.send(w)
	w.WriteHeader(res.StatusCode)
}

// addCookie puts SetCookie beside what plugins prepared.
func (c *Call) addCookie(h http.Header) {
	if c.SetCookie != "" {
		h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), c.SetCookie)
	}
}

// fieldsOf puts the fields of an answer into the header h of ours, but for those of one connection. It returns the lines of its
// Content-Length.
func fieldsOf(h http.Header, res *transport.Answer) (length []string) {
	var via []string
	for i := range res.Header {
		f := &res.Header[i]
		switch {
		case f.Name == "Via":
			via = f.Values
		case f.Name == "Content-Length":
			length = f.Values
		case hopByHop(f.Name) || framing(f.Name):
		case adds(f.Name) && len(h[f.Name]) > 0:
			h[f.Name] = append(slices.Clip(h[f.Name]), f.Values...)
		default:
			h[f.Name] = f.Values
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess one from the body
	}
	h["Via"] = []string{appendVia(via, res.ProtoMajor, res.ProtoMinor)}
	return length
}

// lengthField returns the value of Content-Length: what the upstream sent where that is written as we would.
func lengthField(length int64, sent []string) []string {
	var room [20]byte
	text := strconv.AppendInt(room[:0], length, 10)
	if len(sent) == 1 && sent[0] == string(text) {
		return sent[:1:1]
	}
	return []string{string(text)}
}

// adds reports whether an upstream's field stands beside what a plugin prepared under the same name.
func adds(name string) bool {
	switch name {
	case "Set-Cookie", "Vary", "Link", "Www-Authenticate", "Server-Timing":
		return true
	}
	return false
}

// announced returns the trailers the upstream announced that may be passed on beside the head h, sorted.
func (c *Call) announced(h http.Header, res *transport.Answer) []string {
	var names []string
	for name := range res.Trailer() {
		// One that is also in the head would be sent as a trailer with the value it has there.
		if _, both := h[name]; !both && c.mayTrail(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *Call) mayTrail(name string) bool {
	return !untrailed.Contains(name) && !strings.HasPrefix(name, "X-Forwarded-")
}

// trailer writes the trailers, announced or not, in the way net/http has for those it did not know of before.
func (c *Call) trailer(h http.Header, res *transport.Answer) {
	for name, values := range res.Trailer() {
		if len(values) > 0 && c.mayTrail(name) {
			h[http.TrailerPrefix+name] = values
		}
	}
}
