package policy

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// Error is a refusal as its author words it. Status, Message and Header are the only things about it that reach a
// client; Code and Err are for records and logs (Code also reaches clients that ask for problem details).
type Error struct {
	// Status is the HTTP status, 400 to 599. Anything else is answered as 500.
	Status int
	// Code says why in lower_snake_case; it becomes the reason of the decision record. Empty means "error".
	Code string
	// Message is the text for the client; empty means the standard text of Status.
	Message string
	// Detail says more in the decision record, such as the name of the exceeded limit. It is not sent.
	Detail string
	// Header holds fields the answer must carry, such as WWW-Authenticate or Retry-After. It is copied.
	Header http.Header
	// Err is the cause, for errors.Is, errors.As and logs. It is never sent.
	Err error
}

// Error describes e for logs, cause included.
func (e *Error) Error() string {
	s := strconv.Itoa(e.Status) + " " + e.reason()
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) reason() string {
	if e.Code == "" {
		return "error"
	}
	return e.Code
}

// asError turns any error into one a client may see.
func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) || e == nil {
		return &Error{Status: http.StatusInternalServerError, Code: "internal_error", Message: internalMessage, Err: err}
	}
	if e.Status < 400 || e.Status > 599 {
		return &Error{Status: http.StatusInternalServerError, Code: "invalid_status", Message: internalMessage,
			Err: fmt.Errorf("policy: Error.Status %d is not an error status: %w", e.Status, err)}
	}
	return e
}

const internalMessage = "An unexpected error occurred"

// Refuse answers a request that the plugin named by will not pass on. It is the one way to refuse: it appends to the
// decision record, marks the answer as made by the gateway, and has it written by the gateway's ErrorHandler, or by
// [WriteError] when there is none. An err that is not an [*Error], nor wraps one, is answered as 500 without its text.
//
// Neither Refuse nor WriteError changes err, and the header they send is a copy: a plugin may make its refusals once, in
// its constructor, and use one value for many requests at the same time. The decision record keeps err, and an
// ErrorHandler is given it; neither is a reason to change it.
//
// The plugin returns after calling it. When the head of an answer was sent already, it aborts the answer by panicking
// with [http.ErrAbortHandler]: a half-sent answer is never completed.
//
// For a plugin under [ReportOnly] it records [WouldRefuse] and, instead of answering, calls what is inside the plugin.
func Refuse(w http.ResponseWriter, r *http.Request, by string, err error) {
	refuse(w, r, by, err, nil)
}

// RefuseWith is [Refuse] for a plugin with an answer of its own, such as a page: neither an ErrorHandler nor [WriteError]
// has a say in it, and nothing of err is in it. The answer should have the status of err, which is the one in the record.
// A nil answer is that of Refuse.
func RefuseWith(w http.ResponseWriter, r *http.Request, by string, err error, answer http.HandlerFunc) {
	refuse(w, r, by, err, answer)
}

func refuse(w http.ResponseWriter, r *http.Request, by string, err error, answer http.HandlerFunc) {
	e := asError(err)
	x := ExchangeFrom(r.Context())
	d := Decision{Policy: by, Verdict: Refused, Reason: e.reason(), Detail: e.Detail, Status: e.Status, Err: err}
	if s := reportScopeFrom(r.Context()); s.concerns(w, r) {
		d.Verdict = WouldRefuse
		x.Record(d)
		s.pass(w, r)
		return
	}
	x.Record(d)
	x.MarkGatewayMade()
	abortIfSent(w)
	if answer != nil {
		answer(w, r)
		return
	}
	if handler := x.errorHandler(); handler != nil {
		prepare(w, r, x, e)
		handler(w, r, err)
		return
	}
	WriteError(w, r, err)
}

func (x *Exchange) errorHandler() func(http.ResponseWriter, *http.Request, error) {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.onError
}

// WriteError answers r with err: a JSON object with the members "message" and "request_id", an RFC 9457 problem when
// the client prefers application/problem+json, or for a gRPC call HTTP 200 with grpc-status and grpc-message. It sets
// the header fields of the [*Error] in err, gives every 401 a challenge, and Cache-Control: no-store. It does not
// wait for an unread request body: where one is not there yet, the connection is closed after the answer.
//
// It never calls an ErrorHandler, so an ErrorHandler may call it. Like [Refuse] it aborts an answer whose head was sent.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	x := ExchangeFrom(r.Context())
	x.MarkGatewayMade()
	abortIfSent(w)
	prepare(w, r, x, e)
	h := w.Header()
	if isGRPC(r) {
		writeGRPC(w, e)
		return
	}
	body := make([]byte, 0, 256)
	if prefersProblem(r.Header) {
		h["Content-Type"] = []string{"application/problem+json"}
		body = appendProblem(body, e, x.RequestID())
	} else {
		h["Content-Type"] = []string{"application/json; charset=utf-8"}
		body = appendMessage(body, e, x.RequestID())
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left needs no answer
	}
}

// abortIfSent finds the one writer of all layers below those that plugins added.
func abortIfSent(w http.ResponseWriter) {
	for w := range below(w) {
		if rw, ok := w.(*respw.Writer); ok && (rw.HeaderSent() || rw.Hijacked()) {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to abort a half-sent answer
		}
	}
}

// below yields w and the writers it wraps, as far as they say so.
func below(w http.ResponseWriter) iter.Seq[http.ResponseWriter] {
	return func(yield func(http.ResponseWriter) bool) {
		for w != nil && yield(w) {
			u, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				return
			}
			w = u.Unwrap()
		}
	}
}

// prepare makes the header of an answer that e describes, and sees to it that the answer does not wait for the rest of
// the request.
func prepare(w http.ResponseWriter, r *http.Request, x *Exchange, e *Error) {
	h := w.Header()
	// What an inner handler prepared for its own answer does not describe this one.
	for _, name := range [...]string{
		"Content-Length", "Content-Encoding", "Content-Range", "Transfer-Encoding", "Trailer", "Etag", "Last-Modified", "Age", "Expires",
	} {
		delete(h, name)
	}
	h["Cache-Control"] = []string{"no-store"}
	for name, values := range e.Header {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if e.Status == http.StatusUnauthorized && len(h["Www-Authenticate"]) == 0 {
		h["Www-Authenticate"] = x.challengesOr("Key")
	}
	ReleaseBody(w, r)
}

func (x *Exchange) challengesOr(fallback string) []string {
	if x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(x.challenges) > 0 {
			return slices.Clone(x.challenges)
		}
	}
	return []string{fallback}
}

const (
	// maxDrain is how much of an unread request body is taken in so that its connection can be used again.
	maxDrain = 64 << 10
	// drainGrace is how long the answer waits for it.
	drainGrace = 50 * time.Millisecond
)

// ReleaseBody lets an answer go out although the request body is unread: net/http would otherwise read up to 256 KiB of
// it first, at the client's pace. A short body that is there already is read away; with any other the connection is
// closed after the answer. A plugin that answers without [Refuse] or [WriteError], which call it, calls it before it
// sends the head.
func ReleaseBody(w http.ResponseWriter, r *http.Request) {
	// EnableFullDuplex would not do: in Go 1.26 a connection with a body left unread in that mode is broken for the
	// requests after it.
	x := ExchangeFrom(r.Context())
	if r.ProtoMajor != 1 || r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	untouched, ended := true, false
	if x != nil {
		untouched, ended = x.body.state()
	}
	if ended {
		return
	}
	short := r.ContentLength > 0 && r.ContentLength <= maxDrain
	if untouched && short && len(r.Header["Expect"]) == 0 && drain(w, r, x) {
		return
	}
	w.Header()["Connection"] = []string{"close"}
}

// drain reads a body away that has arrived, and reports whether it did.
func drain(w http.ResponseWriter, r *http.Request, x *Exchange) bool {
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(drainGrace)) != nil {
		return false // no connection, so nothing to keep
	}
	if x != nil {
		x.body.release()
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	_ = control.SetReadDeadline(time.Time{})
	return true
}

func appendMessage(b []byte, e *Error, id string) []byte {
	b = append(b, `{"message":`...)
	b = appendJSON(b, e.message())
	b = append(b, `,"request_id":`...)
	b = appendJSON(b, id)
	return append(b, "}\n"...)
}

// appendProblem writes an RFC 9457 problem of the type about:blank, whose title is the status text.
func appendProblem(b []byte, e *Error, id string) []byte {
	b = append(b, `{"type":"about:blank","title":`...)
	b = appendJSON(b, http.StatusText(e.Status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, `,"detail":`...)
	b = appendJSON(b, e.message())
	b = append(b, `,"code":`...)
	b = appendJSON(b, e.reason())
	b = append(b, `,"request_id":`...)
	b = appendJSON(b, id)
	return append(b, "}\n"...)
}

func (e *Error) message() string {
	if e.Message != "" {
		return e.Message
	}
	if t := http.StatusText(e.Status); t != "" {
		return t
	}
	return "Error"
}

// appendJSON appends s as a JSON string (RFC 8259 section 7), with what could break out of HTML escaped too.
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		case c == '\u2028' || c == '\u2029':
			b = append(b, `\u202`...)
			b = append(b, hex[c&0xf])
		default:
			b = append(b, string(c)...)
		}
	}
	return append(b, '"')
}

// prefersProblem reports whether Accept names application/problem+json, and no less than application/json.
func prefersProblem(h http.Header) bool {
	problem, plain := -1.0, -1.0
	for _, line := range h["Accept"] {
		for item := range strings.SplitSeq(line, ",") {
			mediaType, params, _ := strings.Cut(item, ";")
			q := quality(params)
			switch strings.ToLower(strings.TrimSpace(mediaType)) {
			case "application/problem+json":
				problem = max(problem, q)
			case "application/json":
				plain = max(plain, q)
			}
		}
	}
	return problem > 0 && problem >= plain
}

func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) { // also refuses NaN
			return 0
		}
		return q
	}
	return 1
}
