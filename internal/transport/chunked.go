package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
)

// chunkState is what comes next of a chunked body.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkDataEnd
)

const (
	// maxChunkLine bounds the line with the size of a chunk and its extensions.
	maxChunkLine = 4 << 10
	// maxExcess bounds the bytes that are not data, beyond a fair share for each chunk: a target could otherwise keep us
	// busy with extensions.
	maxExcess = 16 << 10
	// maxTrailer bounds the trailers.
	maxTrailer = 4 << 10
)

var (
	errChunk      = errors.New("the answer has a malformed chunk")
	errChunkLine  = errors.New("the line of a chunk's size is too long")
	errExtensions = errors.New("the answer has more extensions of chunks than data")
	errTrailer    = errors.New("the trailers of the answer are too large")
)

// readChunked reads data of chunks (RFC 9112 section 7.1), of as many as are there. It does not wait for more once it has
// some.
func (b *wireBody) readChunked(p []byte) (n int, err error) {
	c := b.c
	for n < len(p) {
		switch b.chunk {
		case chunkSize:
			if n > 0 && !c.hasLine() {
				return n, nil
			}
			size, err := b.chunkSize()
			if err != nil {
				return n, err
			}
			if size == 0 {
				if n > 0 && !c.hasTrailer() {
					b.chunk, b.left = chunkData, 0 // the trailers are read next time
					return n, nil
				}
				return n, b.readTrailer()
			}
			b.left, b.chunk = size, chunkData
		case chunkData:
			if b.left == 0 {
				return n, b.readTrailer()
			}
			if n > 0 && c.from == c.to {
				return n, nil
			}
			m, err := c.read(p[n:min(int64(len(p)), int64(n)+b.left)])
			n += m
			if b.left -= int64(m); b.left == 0 {
				b.chunk = chunkDataEnd
			}
			if err != nil {
				return n, noEOF(err)
			}
		case chunkDataEnd:
			if n > 0 && c.to-c.from < len(chunkEnd) {
				return n, nil
			}
			if err := c.expect(chunkEnd); err != nil {
				return n, err
			}
			b.chunk = chunkSize
		}
	}
	return n, nil
}

// noEOF makes the end of a connection what it is within a chunked body.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // a wrapped EOF is not the end
		return io.ErrUnexpectedEOF
	}
	return err
}

// hasLine tells whether a whole line is in the buffer.
func (c *wire) hasLine() bool { return bytes.IndexByte(c.in[c.from:c.to], '\n') >= 0 }

// hasTrailer tells whether what follows the last chunk is in the buffer.
func (c *wire) hasTrailer() bool {
	b := c.in[c.from:c.to]
	return bytes.HasPrefix(b, []byte(chunkEnd)) || bytes.Contains(b, []byte("\r\n\r\n"))
}

// expect takes text from what the target sends.
func (c *wire) expect(text string) error {
	for c.to-c.from < len(text) {
		if err := c.more(); err != nil {
			return err
		}
	}
	if string(c.in[c.from:c.from+len(text)]) != text {
		return errChunk
	}
	c.from += len(text)
	return nil
}

// more waits for more of the body.
func (c *wire) more() error {
	c.watch()
	if err := c.awaitRead(c.limits.Idle); err != nil {
		return err
	}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	return noEOF(c.fill())
}

// chunkSize reads the size of the next chunk.
func (b *wireBody) chunkSize() (int64, error) {
	c := b.c
	var line []byte
	for searched := 0; ; {
		pending := c.in[c.from:c.to]
		if i := bytes.IndexByte(pending[searched:], '\n'); i >= 0 {
			line = pending[:searched+i+1]
			break
		}
		if searched = len(pending); searched > maxChunkLine {
			return 0, errChunkLine
		}
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	c.from += len(line)
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(text, '\r') >= 0 {
		return 0, errChunk // a bare LF, which others do not take for the end of the line
	}
	if len(line) > maxChunkLine {
		return 0, errChunkLine
	}
	// White space between the size and an extension is bad (RFC 9112 section 7.1.1) and not all remove it: it is refused. At
	// the end of the line it pads a size to a fixed width.
	digits, _, _ := bytes.Cut(bytes.TrimRight(text, " \t"), []byte(";"))
	size, err := hexSize(digits)
	if err != nil {
		return 0, err
	}
	// What a chunk takes beside its data may be as much as the data twice, and a little more.
	b.excess = max(b.excess+int64(len(line)+len(chunkEnd))-16-min(2*size, maxExcess), 0)
	if size == 0 {
		b.excess = 0
	}
	if b.excess > maxExcess {
		return 0, errExtensions
	}
	return size, nil
}

func hexSize(digits []byte) (int64, error) {
	if len(digits) == 0 || len(digits) > 15 {
		return 0, errChunk
	}
	var n int64
	for _, d := range digits {
		switch {
		case '0' <= d && d <= '9':
			d -= '0'
		case 'a' <= d && d <= 'f':
			d -= 'a' - 10
		case 'A' <= d && d <= 'F':
			d -= 'A' - 10
		default:
			return 0, errChunk
		}
		n = n<<4 | int64(d)
	}
	return n, nil
}

// readTrailer reads what follows the last chunk; its error is [io.EOF] when that is in order.
func (b *wireBody) readTrailer() error {
	c := b.c
	for c.to-c.from < 2 {
		if err := c.more(); err != nil {
			return err
		}
	}
	if c.in[c.from] == '\r' && c.in[c.from+1] == '\n' {
		c.from += 2
		return io.EOF
	}
	for {
		pending := c.in[c.from:c.to]
		n := bytes.Index(pending, []byte("\r\n\r\n")) + 4
		switch {
		case n < 4 && len(pending) <= maxTrailer:
			if err := c.more(); err != nil {
				return err
			}
			continue
		case n < 4 || n > maxTrailer:
			return errTrailer
		}
		text := string(pending[:n])
		if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
			return errChunk // a bare LF, which others do not take for the end of a line
		}
		fields, err := parseFields(nil, text, nil)
		if err != nil {
			return err
		}
		if c.answer.trailer == nil {
			c.answer.trailer = make(http.Header, len(fields))
		}
		for _, f := range fields {
			c.answer.trailer[f.Name] = f.Values
		}
		c.from += n
		return io.EOF
	}
}
