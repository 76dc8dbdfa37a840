package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/gatehouse-go/gateway/internal/chunked"
)

// Answer is the final answer of a target.
type Answer struct {
	// StatusCode is its status, ProtoMajor and ProtoMinor the version of HTTP the target speaks.
	StatusCode, ProtoMajor, ProtoMinor int
	// Header has its fields, each name once.
	Header Header
	// ContentLength is the declared length of the body, negative when none was declared. 204 and 304 have no body.
	ContentLength int64
	// Body is never nil.
	Body io.ReadCloser
	// Switched is the connection of an answer with 101, which only comes when the request had an Upgrade field. Whoever gets
	// the answer closes it; the Body is empty.
	Switched *Switched

	trailer http.Header
	res     *http.Response // where it came from, unless that is a Direct
}

// Header is the header of an answer: a list, which is cheaper than a map and keeps the order.
type Header []HeaderField

// HeaderField is a header field with all of its lines. Its name is in canonical form.
type HeaderField struct {
	Name   string
	Values []string
}

// Values returns the lines of the field with this canonical name, nil when there is none.
func (h Header) Values(name string) []string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Values
		}
	}
	return nil
}

// asMap returns h as net/http has it.
func (h Header) asMap() http.Header {
	m := make(http.Header, len(h))
	for _, f := range h {
		m[f.Name] = f.Values
	}
	return m
}

// AnswerOf returns res as an Answer. Nobody uses res beside it.
func AnswerOf(res *http.Response) *Answer {
	a := &Answer{
		StatusCode: res.StatusCode, ProtoMajor: res.ProtoMajor, ProtoMinor: res.ProtoMinor, ContentLength: res.ContentLength, Body: res.Body, res: res,
		Header: make(Header, 0, len(res.Header)),
	}
	for name, values := range res.Header {
		a.Header = append(a.Header, HeaderField{name, values})
	}
	if c, ok := res.Body.(*Switched); ok {
		a.Switched, a.Body = c, http.NoBody
	}
	return a
}

// Trailer returns the trailers: before the end of the body the names that are announced, without values.
func (a *Answer) Trailer() http.Header {
	if a.res != nil {
		return a.res.Trailer
	}
	return a.trailer
}

// IsDirect reports whether a came by a [Direct]: the request it answers is nobody's any more once its body was closed.
func (a *Answer) IsDirect() bool {
	_, ok := a.Body.(*wireBody)
	return ok
}

// Whole returns the body of an answer that came by a [Direct] if it is there already, and takes it as read; nil when it is
// not, or empty. It is valid until the body is closed.
func (a *Answer) Whole() []byte {
	b, ok := a.Body.(*wireBody)
	if !ok || b.framing != sized || b.left > int64(b.c.to-b.c.from) || b.done || b.err != nil {
		return nil
	}
	c := b.c
	body := c.in[c.from : c.from+int(b.left)]
	c.from += int(b.left)
	b.left, b.done = 0, true
	return body
}

// framing says where the body of an answer ends.
type framing uint8

const (
	empty framing = iota
	sized
	inChunks
	untilClose
)

// wireBody is the body of an answer, as it arrives.
type wireBody struct {
	c       *wire
	framing framing
	left    int64 // of a sized body
	chunks  chunked.Reader
	done    bool      // the end was read
	last    bool      // the connection is not used after it
	doubt   bool      // the target might send a body all the same
	until   time.Time // see keptUntil
	err     error
}

// maxInformational is how many informational answers may come before the final one.
const maxInformational = 64

var (
	errHeadTooLarge  = errors.New("the head of the answer is too large")
	errInformational = errors.New("the target sends informational answers without end")
)

// readHead reads the head of the final answer.
func (c *wire) readHead(method string) error {
	budget := c.pool.d.maxHeader
	for range maxInformational {
		n, err := c.fillHead(budget)
		if err != nil {
			return err
		}
		c.body = wireBody{c: c}
		err = c.parseHead(c.in[c.from:c.from+n], method)
		budget -= n
		c.from += n
		if err != nil {
			return &Error{Code: InvalidResponse, Err: err}
		}
		if c.answer.StatusCode >= http.StatusOK {
			return nil
		}
		if r := c.limits.Receiver; r != nil && c.answer.StatusCode != http.StatusContinue {
			r.Inform(c.answer.StatusCode, c.answer.Header.asMap())
		}
	}
	return &Error{Code: InvalidResponse, Err: errInformational}
}

// fillHead reads until a whole head is in the buffer, and returns its length.
func (c *wire) fillHead(most int) (int, error) {
	for searched := 0; ; {
		if n := headEnd(c.in[c.from:c.to], searched); n > 0 {
			if n > most {
				return 0, &Error{Code: InvalidResponse, Err: errHeadTooLarge}
			}
			return n, nil
		}
		pending := c.in[c.from:c.to]
		if n := min(len(pending), len(version)); string(pending[:n]) != version[:n] {
			return 0, &Error{Code: InvalidResponse, Err: errStatusLine}
		}
		if searched = max(len(pending)-3, 0); len(pending) > most {
			return 0, &Error{Code: InvalidResponse, Err: errHeadTooLarge}
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
}

// headEnd returns the length of the head that b begins with, with the empty line at its end; 0 when that is not there yet.
// The first from bytes are known to hold no such end.
func headEnd(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch {
		case from < len(b) && b[from] == '\n':
			return from + 1
		case from+1 < len(b) && b[from] == '\r' && b[from+1] == '\n':
			return from + 2
		}
	}
}

// Read implements [io.Reader].
func (b *wireBody) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.done:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	var n int
	var err error
	switch b.framing {
	case empty:
		err = io.EOF
	case sized:
		n, err = b.c.read(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 && (err == nil || err == io.EOF) { //nolint:errorlint // a wrapped EOF is not the end
			err = io.EOF
		} else if err == io.EOF { //nolint:errorlint // likewise
			err = io.ErrUnexpectedEOF
		}
	case inChunks:
		n, err = b.readChunks(p)
	case untilClose:
		n, err = b.c.read(p)
	}
	switch {
	case err == nil:
	case err == io.EOF: //nolint:errorlint // a wrapped EOF is not the end
		b.done = true
	default:
		err = b.c.truncated(err)
		b.err = err
	}
	return n, err
}

// truncated explains why a body ended early.
func (c *wire) truncated(err error) error {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	switch {
	case cause == Canceled:
		ctxErr := c.ctx.Err()
		return &Error{Code: endOf(ctxErr), Err: ctxErr}
	case cause != "" && cause != ConnectionReset:
		return &Error{Code: cause, Err: err}
	case cause == "" && errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Code: IdleLimit, Err: err}
	}
	return &Error{Code: Truncated, Err: err}
}

// read reads what is in the buffer, or else from the connection.
func (c *wire) read(p []byte) (int, error) {
	if c.from < c.to {
		n := copy(p, c.in[c.from:c.to])
		c.from += n
		return n, nil
	}
	c.watch()
	if err := c.awaitRead(c.limits.Idle); err != nil {
		return 0, err
	}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	if len(p) >= len(c.in) {
		return c.Conn.Read(p)
	}
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(p, c.in[c.from:c.to])
	c.from += n
	return n, nil
}

// Close implements [io.Closer]. It may be called more than once, by the goroutine that reads.
func (b *wireBody) Close() error {
	c := b.c
	if c == nil {
		return nil
	}
	keep := (b.done || b.framing == empty) && b.err == nil && !b.last
	b.c = nil
	c.doubt, c.until = b.doubt, b.until
	d := c.pool.d
	c.finish(keep)
	d.leave()
	return nil
}
