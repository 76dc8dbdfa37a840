package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// attempt is one exchange on a [Standard]: its one timer, its request body and the body of its answer.
//
// The timer is not set anew for each wait. It is left to run; when it fires it looks what is being waited for and since
// when, and is set for the rest. Only a wait that ends earlier than the timer would fire sets it.
type attempt struct {
	owner  *Standard
	parent context.Context // the caller's
	limits Limits
	cancel context.CancelFunc
	life   <-chan struct{} // ends with cancel, or with the caller's context
	trace  httptrace.ClientTrace
	host   string
	era    *era // whose connections it uses; nil for none

	informed int           // by net/http's goroutine that reads
	upload   io.ReadCloser // nil without a body
	forsake  func() bool   // stops the watch over the caller's context; nil without a body
	answer   io.ReadCloser // belongs to the reader of the answer

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time // when the timer fires; zero when it does not run
	phase   phase
	since   time.Time     // when the phase began
	look    time.Time     // while connecting: when to look for connections held in vain
	expired string        // the code of the limit that ended the exchange
	dials   bool          // a connection was being made for it
	broken  bool          // the connection was closed while the caller's context still lived
	head    bool          // the head of the answer is there
	headed  chan struct{} // closed then; nil without a body
	asked   bool          // the target sent 100 Continue
	held    time.Time     // when the wait for 100 Continue began
	cut     bool          // reading it failed after the connection was closed
	ended   bool
	done    chan struct{} // closed when the body is not wanted any more; nil unless the request waits for 100 Continue
	isDone  bool
	conn    *http1    // nil before there is one, and for HTTP/2
	got     time.Time // when conn was there
	reused  bool      // it was used before, and nobody else uses it
	http2   bool
	streams int // of HTTP/2 that were tried
	tooMany bool
	twice   bool // it may be sent so often

	touched   bool  // the upload has been read from: it cannot be sent again
	uploading bool  // the upload is being read: it is the client that is waited for
	uploaded  int64 // bytes read of it
}

// phase is what an attempt waits for.
type phase uint8

const (
	nothing    phase = iota // for the client, or for whoever reads the answer
	connecting              // a connection
	answering               // the head of the answer
	reading                 // a part of the answer's body
)

type attemptKey struct{}

// attemptContext tells the dialler which attempt it dials for.
type attemptContext struct {
	context.Context

	a *attempt
}

// Value implements [context.Context].
func (c attemptContext) Value(key any) any {
	if key == (attemptKey{}) {
		return c.a
	}
	return c.Context.Value(key)
}

// wait says what is being waited for from now on.
func (a *attempt) wait(p phase) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waitLocked(p)
}

func (a *attempt) waitLocked(p phase) {
	now := time.Now()
	a.phase, a.since = p, now
	if p == connecting {
		a.look = now.Add(shedAfter)
	}
	due, _ := a.deadline()
	if due.IsZero() || a.ended || (!a.due.IsZero() && !due.Before(a.due)) {
		return
	}
	a.due = due
	if a.timer == nil {
		a.timer = time.AfterFunc(due.Sub(now), a.fire)
	} else {
		a.timer.Reset(due.Sub(now))
	}
}

// pause says that the target is not being waited for.
func (a *attempt) pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase = nothing
}

// answered says that the head of the answer is there.
func (a *attempt) answered() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase, a.head = nothing, true
	if a.headed != nil {
		close(a.headed)
	}
}

// earlyAnswer is how long the head of an answer is waited for once the request could not be written to its end.
const earlyAnswer = 200 * time.Millisecond

// awaitHead is called when writing the request failed. The target may have answered before it closed its side, and
// net/http, which is about to learn of the failure, would not look for that.
func (a *attempt) awaitHead(gone <-chan struct{}) {
	wait := time.NewTimer(earlyAnswer)
	defer wait.Stop()
	select {
	case <-a.headed:
	case <-gone:
	case <-a.life:
	case <-wait.C:
	}
}

func (a *attempt) isTouched() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.touched
}

// deadline returns when the wait must end, and the code of the limit that says so; zero for never. Without a code
// the wait goes on, but something is to be done about it.
func (a *attempt) deadline() (due time.Time, code string) {
	var limit time.Duration
	switch a.phase {
	case connecting:
		limit, code = a.limits.Connect, ConnectTimeout
	case answering:
		limit, code = a.limits.FirstByte, FirstByteLimit
	case reading:
		limit, code = a.limits.Idle, IdleLimit
	case nothing:
	}
	if limit > 0 {
		due = a.since.Add(limit)
	}
	if total := a.limits.Deadline; !total.IsZero() && (due.IsZero() || total.Before(due)) {
		due, code = total, TotalLimit
	}
	if a.phase == connecting && (due.IsZero() || a.look.Before(due)) {
		due, code = a.look, "" // which ends nothing
	}
	return due, code
}

func (a *attempt) fire() {
	now := time.Now()
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	due, code := a.deadline()
	switch {
	case due.IsZero():
		a.due = due // the next wait sets the timer
	case due.After(now):
		a.due = due
		a.timer.Reset(due.Sub(now))
	case code == "":
		a.look = now.Add(shedAfter)
		a.due, _ = a.deadline()
		a.timer.Reset(a.due.Sub(now))
		a.mu.Unlock()
		a.owner.shed(a.host, now)
		return
	default:
		if code == TotalLimit && a.phase == nothing && a.conn != nil {
			code = ClientTooSlow // it is not the target that was waited for
		}
		a.mu.Unlock()
		a.expire(code)
		return
	}
	a.mu.Unlock()
}

// expire ends the exchange.
func (a *attempt) expire(code string) {
	a.mu.Lock()
	if a.ended || a.expired != "" {
		a.mu.Unlock()
		return
	}
	a.expired = code
	head := a.head
	a.mu.Unlock()
	a.cancel()
	a.endUpload()
	if head && a.limits.Receiver != nil {
		a.limits.Receiver.Cut()
	}
}

// gotConn is called by net/http, for each connection it tries.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	if c, ok := info.Conn.(*http1); ok {
		a.mu.Lock()
		a.conn, a.got, a.reused = c, time.Now(), info.Reused
		a.mu.Unlock()
		c.begin(a.life)
		if a.upload != nil {
			c.serve(a)
		}
	} else {
		a.mu.Lock()
		a.http2, a.reused = true, info.Reused && info.WasIdle
		a.streams++
		tooMany := a.streams > maxStreams || a.streams > 2 && !a.twice
		a.tooMany = a.tooMany || tooMany
		a.mu.Unlock()
		if tooMany { // net/http repeats what is reset with PROTOCOL_ERROR for as long as it may
			a.cancel()
			return
		}
	}
	a.wait(answering)
}

// putBack is called by net/http when others may use the connection.
func (a *attempt) putBack(err error) {
	if c := a.connection(); c != nil && err == nil {
		c.keep()
	}
}

// inform is called by net/http with each informational answer. It does not bound them where somebody listens.
func (a *attempt) inform(status int, header textproto.MIMEHeader) error {
	if a.informed++; a.informed > maxInformational {
		return errInformational
	}
	for name := range header {
		if !canonical.Token(name) {
			return errName // net/http passes such a head on, and what follows it is as doubtful as a final one's
		}
	}
	if status != http.StatusContinue && status != http.StatusSwitchingProtocols {
		a.limits.Receiver.Inform(status, http.Header(header))
	}
	return nil
}

func (a *attempt) connection() *http1 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conn
}

// hold and ask are called by net/http when it begins to wait for 100 Continue, and when that arrives.
func (a *attempt) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = time.Now()
}

func (a *attempt) ask() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = true
}

// endUpload makes a Read of the request body that waits for the client return.
func (a *attempt) endUpload() {
	if a.upload != nil {
		_ = a.upload.Close() // asked to be safe to repeat, and to be called during a Read
	}
}

// abandon is called when the caller's context ends. net/http's HTTP/2 does not look at that while it waits for a part of the
// request body; its HTTP/1 closes the connection.
func (a *attempt) abandon() {
	if a.connection() == nil {
		a.endUpload()
	}
}

// unwanted lets a Read go that waits for the body to be wanted. The caller holds the lock.
func (a *attempt) unwanted() {
	if a.done != nil && !a.isDone {
		a.isDone = true
		close(a.done)
	}
}

// broke is called when the connection is closed. The request body is ended, because net/http does not return before;
// that may end the caller's context too (net/http's server takes it for the client's leaving), so what was first is noted.
func (a *attempt) broke() {
	a.mu.Lock()
	if !a.touched && a.conn != nil && !a.conn.asked.Load() {
		a.mu.Unlock() // nothing of this exchange was written: it may go over another connection
		return
	}
	a.broken = a.broken || a.parent.Err() == nil
	a.unwanted()
	a.mu.Unlock()
	a.endUpload()
}

func (a *attempt) wasBroken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken
}

func (a *attempt) wasCut() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cut
}

// finish releases what the attempt holds. It may be called more than once.
func (a *attempt) finish() {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	a.ended = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.unwanted()
	c := a.conn
	a.mu.Unlock()
	if a.forsake != nil {
		a.forsake()
	}
	a.cancel()
	a.endUpload()
	if c != nil {
		c.user.CompareAndSwap(a, nil)
	}
	a.owner.unregister(a)
}

// expiredCode returns the code of the limit that ended the exchange, "" for none, and whether that was while it waited for others
// to give up a connection.
func (a *attempt) expiredCode() (code string, inLine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.expired, a.phase == connecting && !a.dials && (a.expired == ConnectTimeout || a.expired == TotalLimit)
}

// dialling is called when a connection is made for the exchange, which another one may get.
func (a *attempt) dialling() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dials = true
}

// failure explains why there was no answer.
func (a *attempt) failure(err error, sent http.Header) *Error {
	if e := a.ending(err); e != nil {
		return e
	}
	if again := a.endless(); again != nil {
		return &Error{Code: ConnectionReset, Err: again}
	}
	var known *Error
	switch {
	case a.unprocessed(err):
		return &Error{Code: StaleConnection, Err: err, Unprocessed: true}
	case errors.As(err, &known):
		return known
	case !validHeader(sent):
		return &Error{Code: InvalidRequest, Err: err}
	case err.Error() == "http: server closed idle connection", a.wasReused() && (a.hasEnded(err) || a.wasCut()): // net/http does not export the former
		return &Error{Code: StaleConnection, Err: err, HTTP1: a.connection() != nil}
	case isReset(err) || a.wasCut(): // then err is that of the request body
		return &Error{Code: ConnectionReset, Err: err}
	default:
		return &Error{Code: InvalidResponse, Err: err}
	}
}

// hasEnded reports whether err says that the connection has ended, and not only the exchange, or that the answer is malformed.
func (a *attempt) hasEnded(err error) bool {
	if !isReset(err) {
		return false
	}
	text := err.Error()
	return a.connection() != nil || !strings.HasPrefix(text, "stream error: ") &&
		(!strings.HasPrefix(text, "http2: ") || strings.HasPrefix(text, "http2: server sent GOAWAY") || text == "http2: client connection lost")
}

func (a *attempt) wasReused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reused
}

// ending returns the error of an exchange that we ended ourselves, which net/http reports as one of many.
func (a *attempt) ending(err error) *Error {
	if code, inLine := a.expiredCode(); code != "" {
		if inLine {
			err = errWait
		}
		return &Error{Code: code, Err: err}
	}
	switch cause := a.parent.Err(); {
	case cause == nil || a.wasBroken():
		return nil
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Code: TotalLimit, Err: cause}
	default:
		return &Error{Code: Canceled, Err: cause}
	}
}

// validHeader reports whether net/http would send h.
func validHeader(h http.Header) bool {
	for name, values := range h {
		if !canonical.Token(name) {
			return false
		}
		for _, v := range values {
			if !canonical.FieldValue(v) {
				return false
			}
		}
	}
	return true
}

// uploadBody is an attempt as the request body net/http reads. While a Read waits for the client, the target is not to
// blame.
type uploadBody attempt

// Read implements [io.Reader].
func (b *uploadBody) Read(p []byte) (int, error) {
	a := (*attempt)(b)
	if !a.pauseUpload() {
		// The target answered at once instead of asking for the body. net/http would send it all the same, to keep the
		// connection, and so ask the client for it.
		select {
		case <-a.done:
		case <-a.life:
		}
		return 0, errNotAsked
	}
	n, err := a.upload.Read(p)
	a.resumeUpload(n, err)
	return n, err
}

// again is the request's GetBody: net/http asks for the body anew when it goes to another connection.
func (a *attempt) again() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.touched || a.ended {
		return nil, &Error{Code: ConnectionReset, Err: errTouched}
	}
	return (*uploadBody)(a), nil
}

var errTouched = errors.New("the request body has been read and cannot be sent again")

var errNotAsked = errors.New("the target did not ask for the request body")

// Close implements [io.Closer].
func (b *uploadBody) Close() error {
	a := (*attempt)(b)
	a.mu.Lock()
	touched := a.touched
	if touched {
		a.unwanted()
	}
	a.mu.Unlock()
	if !touched {
		return nil // finish closes it
	}
	return a.upload.Close()
}

// pauseUpload reports false when the body must not be asked for: the request waits for 100 Continue, and it was neither
// that nor the end of the waiting time that made net/http go on.
func (a *attempt) pauseUpload() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done != nil && !a.asked {
		if time.Since(a.held) < expectContinueTimeout {
			return false
		}
		a.asked = true
	}
	if a.phase == answering {
		a.phase = nothing
	}
	a.touched, a.uploading = true, true
	return true
}

func (a *attempt) resumeUpload(n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uploading = false
	a.uploaded += int64(n)
	a.cut = a.cut || a.broken && err != nil && !errors.Is(err, io.EOF)
	if !a.head {
		a.waitLocked(answering)
	}
}

// answerBody is an attempt as the body of its answer.
type answerBody attempt

// Read implements [io.Reader].
func (b *answerBody) Read(p []byte) (int, error) {
	a := (*attempt)(b)
	a.wait(reading)
	n, err := a.answer.Read(p)
	a.pause()
	if err != nil && err != io.EOF { // a wrapped EOF is not the end
		if e := a.ending(err); e != nil {
			return n, e
		}
		return n, &Error{Code: Truncated, Err: err}
	}
	return n, err
}

// Close implements [io.Closer].
func (b *answerBody) Close() error {
	err := b.answer.Close()
	(*attempt)(b).finish()
	return err
}
