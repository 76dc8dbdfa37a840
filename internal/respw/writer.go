package respw

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// inlineHooks is the number of OnHeader functions kept without allocating.
const inlineHooks = 4

var errInHook = errors.New("respw: an OnHeader function must not write the body")

// Writer wraps an [http.ResponseWriter]. It may be embedded by value in another
// struct and must not be copied once used; Init comes before any other call.
// Like every ResponseWriter it belongs to the handler's goroutine: no two of its
// methods may run at the same time.
type Writer struct {
	under  http.ResponseWriter
	status int
	size   int64

	sent     bool // the final head went out, or is about to without our doing
	hijacked bool
	inHooks  bool
	lingers  bool // Finish left a deadline
	broken   bool // what was sent is not whole, and never will be
	refusal  int  // the status heads below 400 get instead; 0 when they may go out

	nhooks int
	hooks  [inlineHooks]func(status int, h http.Header)
	more   []func(status int, h http.Header) // those beyond the first four

	onHijack func()
	tap      func(p []byte, err error)

	pending int // body bytes since the last flush, up to bufferedBytes
	watch   watch
}

// Wrap returns a Writer over under: under itself when that is a *Writer,
// otherwise a new one.
func Wrap(under http.ResponseWriter) *Writer {
	if w, ok := under.(*Writer); ok {
		return w
	}
	w := new(Writer)
	w.Init(under)
	return w
}

// Init makes w a fresh wrapper of under, which must not be nil. It must not be
// called while w is in use.
func (w *Writer) Init(under http.ResponseWriter) {
	*w = Writer{under: under}
}

// Unwrap returns the wrapped writer, for [http.ResponseController].
func (w *Writer) Unwrap() http.ResponseWriter { return w.under }

// OnHeader registers f to run once, just before the final response head is sent
// (101 included, other 1xx heads not), with the status and the header of that
// head; f may edit the header. The function registered last runs first, so that
// inner layers edit before outer ones. f may register further functions, which
// run next; it must not write the body, and cannot change the status. A panic
// of f goes through to whoever sent the head; f is not run again, the remaining
// functions run when a head is sent after all.
//
// The call does nothing when f is nil or the head was sent already, and the
// functions never run when the connection is hijacked before a head is sent.
// The first four functions are kept without allocating.
func (w *Writer) OnHeader(f func(status int, h http.Header)) {
	if f == nil || w.sent || w.hijacked {
		return
	}
	if w.nhooks < inlineHooks {
		w.hooks[w.nhooks] = f
	} else {
		w.more = append(w.more, f)
	}
	w.nhooks++
}

// OnHijack registers f to run when a handler has taken the connection over
// through w, before it gets it: the last sign of such a handler until it
// returns. The function registered last runs first; the first one is kept
// without allocating. The call does nothing when f is nil or that has happened.
func (w *Writer) OnHijack(f func()) {
	if f == nil || w.hijacked {
		return
	}
	if before := w.onHijack; before != nil {
		w.onHijack = func() { f(); before() }
		return
	}
	w.onHijack = f
}

// Status returns the status of the final response head, 0 before it was sent.
func (w *Writer) Status() int { return w.status }

// Size returns the number of body bytes the wrapped writer accepted so far. To a
// HEAD request that may be more than was sent: net/http's HTTP/1 server accepts
// a body and drops it.
func (w *Writer) Size() int64 { return w.size }

// HeaderSent reports whether the final response head was sent. Nothing can
// change it any more then, and a failure has to abort the connection.
func (w *Writer) HeaderSent() bool { return w.sent }

// Hijacked reports whether a handler took the connection over through w.
func (w *Writer) Hijacked() bool { return w.hijacked }

// Header returns the wrapped writer's header.
func (w *Writer) Header() http.Header { return w.under.Header() }

// WriteHeader sends the response head. Informational heads (1xx other than 101)
// go straight through. Only the first final head is sent, later ones and those
// after a hijack are dropped, without the complaint net/http would log. A status
// net/http does not accept (below 100 or above 999) becomes 500.
func (w *Writer) WriteHeader(status int) {
	if w.sent || w.hijacked {
		return
	}
	if status < 100 || status > 999 {
		status = http.StatusInternalServerError
	}
	if w.refusal != 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		status = w.permitted(status)
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		if w.watch.begin(w.under) {
			defer w.watch.end()
		}
		w.under.WriteHeader(status)
		return
	}
	if w.commit(status) {
		w.under.WriteHeader(status)
	}
}

// Commit sends a head with status 200 when no head was sent and the connection
// was not hijacked: what a server does by itself when a handler returns without
// a word, but with the OnHeader functions run. It is for a layer that wants to
// see the status after the handler returned; Finish does it, too. Like Finish it
// must not run after a panic.
func (w *Writer) Commit() { w.WriteHeader(http.StatusOK) }

// commit runs the hooks and records the status. It returns false when the head
// must not be sent because a hook asked for it.
func (w *Writer) commit(status int) bool {
	if w.inHooks {
		return false
	}
	if w.nhooks > 0 {
		w.runHooks(status)
	}
	w.status, w.sent = status, true
	return true
}

func (w *Writer) runHooks(status int) {
	w.inHooks = true
	defer func() { w.inHooks = false }() // whoever recovers must be able to answer
	h := w.under.Header()
	for w.nhooks > 0 {
		w.nhooks--
		var f func(int, http.Header)
		if i := w.nhooks - inlineHooks; i >= 0 {
			f, w.more = w.more[i], w.more[:i]
		} else {
			f, w.hooks[w.nhooks] = w.hooks[w.nhooks], nil
		}
		f(status, h)
	}
}

// beginBody runs before anything that makes the wrapped writer send a head by
// itself. That head is left to it, because it may derive fields from the body.
func (w *Writer) beginBody() error {
	w.resume()
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.sent:
		return nil
	case !w.commit(w.permitted(http.StatusOK)):
		return errInHook
	case w.refusal != 0:
		w.under.WriteHeader(w.status)
	}
	return nil
}

// RefuseOnly makes status, of 400 or more, the status of all final heads that would have one below 400.
func (w *Writer) RefuseOnly(status int) { w.refusal = status }

// permitted returns the status of a final head for which a handler wants status.
func (w *Writer) permitted(status int) int {
	if w.refusal != 0 && status < http.StatusBadRequest {
		return w.refusal
	}
	return status
}

// resume lifts the deadline that Finish left.
func (w *Writer) resume() {
	if w.lingers {
		w.lingers = false
		_ = deadliner(w.under).SetWriteDeadline(time.Time{}) // it did take one before
	}
}

// Write writes body bytes, after a head with status 200 when none was sent.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.beginBody(); err != nil {
		return 0, err
	}
	if !w.reachesNetwork(len(p)) {
		n, err := w.under.Write(p)
		w.wrote(p, n, err)
		return n, err
	}
	written := 0
	for {
		part := p[written:min(len(p), written+slice)]
		n, err := w.writeWatched(part)
		written += n
		if err != nil || written >= len(p) {
			return written, err
		}
		if n < len(part) {
			return written, io.ErrShortWrite
		}
	}
}

func (w *Writer) writeWatched(p []byte) (int, error) {
	if w.watch.begin(w.under) {
		defer w.watch.end()
	}
	n, err := w.under.Write(p)
	w.wrote(p, n, err)
	return n, err
}

func (w *Writer) wrote(p []byte, n int, err error) {
	w.size += int64(n)
	if w.tap != nil {
		w.tap(p[:min(max(n, 0), len(p))], err)
	}
}

// Tap has f see the body from now on, and returns the function that did so far; nil, as at first, is none. After each write
// f gets the bytes that the wrapped writer took, which it must not keep, and its error. Who sets it sets it back before it
// returns. While there is one the wrapped writer copies no files by itself.
func (w *Writer) Tap(f func(p []byte, err error)) (before func(p []byte, err error)) {
	before, w.tap = w.tap, f
	return before
}

// WriteString is Write for a string; it does not copy s when the wrapped writer
// takes strings.
func (w *Writer) WriteString(s string) (int, error) {
	if err := w.beginBody(); err != nil {
		return 0, err
	}
	if !w.reachesNetwork(len(s)) {
		n, err := io.WriteString(w.under, s)
		w.wroteString(s, n, err)
		return n, err
	}
	written := 0
	for {
		part := s[written:min(len(s), written+slice)]
		n, err := w.writeStringWatched(part)
		written += n
		if err != nil || written >= len(s) {
			return written, err
		}
		if n < len(part) {
			return written, io.ErrShortWrite
		}
	}
}

func (w *Writer) writeStringWatched(s string) (int, error) {
	if w.watch.begin(w.under) {
		defer w.watch.end()
	}
	n, err := io.WriteString(w.under, s)
	w.wroteString(s, n, err)
	return n, err
}

func (w *Writer) wroteString(s string, n int, err error) {
	w.size += int64(n)
	if w.tap != nil {
		w.tap([]byte(s[:min(max(n, 0), len(s))]), err)
	}
}

// Flush implements [http.Flusher]; it drops the error of FlushError.
func (w *Writer) Flush() { _ = w.FlushError() }

// FlushError sends what the server holds back, after a head with status 200
// when none was sent. When no wrapped writer can flush, it sends nothing and
// returns an error that is [http.ErrNotSupported].
func (w *Writer) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if !w.sent && !canFlush(w.under) {
		return http.NewResponseController(w.under).Flush() // not supported, in net/http's words
	}
	if err := w.beginBody(); err != nil {
		return err
	}
	if w.watch.begin(w.under) {
		defer w.watch.end()
	}
	w.pending = 0
	return http.NewResponseController(w.under).Flush()
}

// canFlush reports whether a ResponseController could flush rw.
func canFlush(rw http.ResponseWriter) bool {
	for {
		switch t := rw.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			rw = t.Unwrap()
		default:
			return false
		}
	}
}

// Hijack implements [http.Hijacker]. When no wrapped writer can be hijacked the
// error is [http.ErrNotSupported]. After a success w forwards nothing more.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.under).Hijack()
	if err == nil {
		w.hijacked = true
		w.watch.stop() // deadlines are the new owner's
		if f := w.onHijack; f != nil {
			w.onHijack = nil
			f()
		}
	}
	return conn, rw, err
}

// LimitWrites bounds how long the client may keep w waiting. A write to the
// network that is still in progress after d is ended by a write deadline in the
// past: it fails, as does all that is written after it. Large writes count as
// one for every 64 KiB, so who takes that much in d is served to the end. Time
// in which the handler writes nothing does not count: idle streams live on.
//
// Zero or less, the default, is no limit. A server with a WriteTimeout needs
// none, and where no wrapped writer takes write deadlines it has no effect. On
// HTTP/2 the limit resets the stream; a client that stops reading the whole
// connection is for [http.HTTP2Config].WriteByteTimeout, which no handler can
// replace. The first 2048 bytes after a flush are not watched, as servers hold
// back at least these; Finish covers what they still hold back at the end.
func (w *Writer) LimitWrites(d time.Duration) { w.watch.setLimit(max(d, 0)) }

// Finish ends the response on w's side. Whoever created w calls it once the
// handler returned; never deferred, because after a panic it would answer in
// place of whoever recovers. It does what Commit does, and then ends the limit of
// LimitWrites: for what the server itself still has to send, one write deadline
// of that length is left, which net/http lifts when the response is complete. A
// layer that still writes through w lifts it, too. Without a limit, after a
// hijack and when called again Finish leaves nothing.
func (w *Writer) Finish() {
	w.Commit()
	d := w.watch.limit
	if d == 0 || w.hijacked {
		return
	}
	w.watch.stop()
	if w.watch.wasCut() || w.size == 0 && isHTTP2(w.under) {
		// A connection that was cut off must not come back to life, and a head
		// on HTTP/2 does not wait for the client.
		return
	}
	// Small answers need this as well: each fits the server's buffer, but a
	// client may ask for many in one go and take none.
	if c := deadliner(w.under); c != nil {
		w.lingers = c.SetWriteDeadline(time.Now().Add(d)) == nil
	}
}

// Break says that the answer broke off: if its head was sent, whoever ends the request has to end the connection, too,
// although some middleware may have recovered from the panic that says so.
func (w *Writer) Break() { w.broken = w.broken || w.sent }

// Broken reports whether Break was called behind a head.
func (w *Writer) Broken() bool { return w.broken }

// Stalled reports whether the limit of LimitWrites cut a write through w off.
func (w *Writer) Stalled() bool { return w.watch.wasCut() }

// reachesNetwork reports whether a write of n body bytes has to be watched.
func (w *Writer) reachesNetwork(n int) bool {
	if w.watch.limit == 0 {
		return false
	}
	w.pending = min(w.pending+min(n, bufferedBytes), bufferedBytes)
	return w.pending == bufferedBytes
}
