package transport

import (
	"io"
	"net/http"
)

// maxTrailer bounds the trailers of an answer.
const maxTrailer = 4 << 10

// readChunks reads data of a body in chunks.
func (b *wireBody) readChunks(p []byte) (int, error) {
	n, err := b.chunks.Read((*source)(b.c), p)
	if err != io.EOF || b.chunks.Trailer() == "" { //nolint:errorlint // a wrapped EOF is not the end
		return n, err
	}
	fields, err := parseFields(nil, b.chunks.Trailer(), nil)
	if err != nil {
		return n, err
	}
	a := &b.c.answer
	if a.trailer == nil {
		a.trailer = make(http.Header, len(fields))
	}
	for _, f := range fields {
		a.trailer[f.Name] = f.Values
	}
	return n, io.EOF
}

// source is a wire as chunks are read from it.
type source wire

// Buffered implements [chunked.Source].
func (s *source) Buffered() []byte { return s.in[s.from:s.to] }

// Take implements [chunked.Source].
func (s *source) Take(n int) { s.from += n }

// Read implements [chunked.Source].
func (s *source) Read(p []byte) (int, error) { return (*wire)(s).read(p) }

// More implements [chunked.Source].
func (s *source) More() error {
	c := (*wire)(s)
	c.watch()
	if err := c.awaitRead(c.limits.Idle); err != nil {
		return err
	}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	if err := c.fill(); err != io.EOF { //nolint:errorlint // a wrapped EOF is not the end
		return err
	}
	return io.ErrUnexpectedEOF
}
