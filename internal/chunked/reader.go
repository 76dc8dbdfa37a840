package chunked

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
)

// Source is a buffered connection.
type Source interface {
	// Buffered is what was received and not taken yet. It is valid until the next call of another method.
	Buffered() []byte
	// Take takes n bytes of what is buffered.
	Take(n int)
	// More waits until more is buffered. The end of the connection is [io.ErrUnexpectedEOF].
	More() error
	// Read takes what is buffered, or else waits for something.
	Read(p []byte) (int, error)
}

// Reader reads one body.
type Reader struct {
	// MaxTrailer bounds the trailers, with the empty line at their end.
	MaxTrailer int

	next    place
	left    int64 // of a chunk
	excess  int64 // bytes that are not data
	trailer string
}

// place is what comes next of a body.
type place uint8

const (
	size place = iota
	data
	dataEnd
	trailer
)

const (
	lineEnd = "\r\n"
	// maxLine bounds the line with the size of a chunk and its extensions.
	maxLine = 4 << 10
	// maxExcess bounds the bytes that are not data, beyond a fair share for each chunk: a sender could otherwise keep us
	// busy with extensions.
	maxExcess = 16 << 10
)

// ErrMalformed is wrapped by all errors of a Reader that are not those of its Source.
var ErrMalformed = errors.New("malformed chunked coding")

var (
	errChunk      = malformed("a chunk is malformed")
	errLine       = malformed("the line of a chunk's size is too long")
	errExtensions = malformed("there are more extensions of chunks than data")
	errTrailer    = malformed("the trailers are too large")
)

type malformed string

func (m malformed) Error() string { return string(m) }

func (m malformed) Unwrap() error { return ErrMalformed }

// Trailer returns the field lines behind the last chunk, with the empty line at their end, or "" if there are none. Their ends of
// lines are checked, but nothing else. It is valid behind the end of the body.
func (r *Reader) Trailer() string { return r.trailer }

// Read reads data of as many chunks as are there. It does not wait for more once it has some. The end is [io.EOF]; where s ends
// before, the error is that of s.
func (r *Reader) Read(s Source, p []byte) (n int, err error) {
	for n < len(p) {
		switch r.next {
		case size:
			if n > 0 && bytes.IndexByte(s.Buffered(), '\n') < 0 {
				return n, nil
			}
			if err := r.size(s); err != nil {
				return n, err
			}
		case data:
			if n > 0 && len(s.Buffered()) == 0 {
				return n, nil
			}
			m, err := s.Read(p[n:min(int64(len(p)), int64(n)+r.left)])
			n += m
			if r.left -= int64(m); r.left == 0 {
				r.next = dataEnd
			}
			if err == io.EOF { //nolint:errorlint // a wrapped EOF is not the end
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return n, err
			}
		case dataEnd:
			if n > 0 && len(s.Buffered()) < len(lineEnd) {
				return n, nil
			}
			for len(s.Buffered()) < len(lineEnd) {
				if err := s.More(); err != nil {
					return n, err
				}
			}
			if string(s.Buffered()[:len(lineEnd)]) != lineEnd {
				return n, errChunk
			}
			s.Take(len(lineEnd))
			r.next = size
		case trailer:
			if b := s.Buffered(); n > 0 && !bytes.HasPrefix(b, []byte(lineEnd)) && !bytes.Contains(b, []byte(lineEnd+lineEnd)) {
				return n, nil
			}
			return n, r.readTrailer(s)
		}
	}
	return n, nil
}

// size reads the size of the next chunk.
func (r *Reader) size(s Source) error {
	var line []byte
	for searched := 0; ; {
		pending := s.Buffered()
		if i := bytes.IndexByte(pending[searched:], '\n'); i >= 0 {
			line = pending[:searched+i+1]
			break
		}
		if searched = len(pending); searched > maxLine {
			return errLine
		}
		if err := s.More(); err != nil {
			return err
		}
	}
	text, ok := bytes.CutSuffix(line, []byte(lineEnd))
	if !ok || bytes.IndexByte(text, '\r') >= 0 {
		return errChunk // a bare LF, which others do not take for the end of the line
	}
	if len(line) > maxLine {
		return errLine
	}
	// White space between the size and an extension is bad (RFC 9112 section 7.1.1) and not all remove it: it is refused. At
	// the end of the line it pads a size to a fixed width.
	digits, _, _ := bytes.Cut(bytes.TrimRight(text, " \t"), []byte(";"))
	n, err := hexSize(digits)
	if err != nil {
		return err
	}
	taken := len(line)
	s.Take(taken)
	if n == 0 {
		r.next = trailer
		return nil
	}
	// What a chunk takes beside its data may be as much as the data twice, and a little more.
	r.excess = max(r.excess+int64(taken+len(lineEnd))-16-2*min(n, maxExcess/2), 0)
	if r.excess > maxExcess {
		return errExtensions
	}
	r.left, r.next = n, data
	return nil
}

func hexSize(digits []byte) (int64, error) {
	if len(digits) == 0 || len(digits) > 16 {
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
		if n > math.MaxInt64>>4 {
			return 0, errChunk
		}
		n = n<<4 | int64(d)
	}
	return n, nil
}

// readTrailer reads what follows the last chunk; its error is [io.EOF] when that is in order.
func (r *Reader) readTrailer(s Source) error {
	for len(s.Buffered()) < len(lineEnd) {
		if err := s.More(); err != nil {
			return err
		}
	}
	if string(s.Buffered()[:len(lineEnd)]) == lineEnd {
		s.Take(len(lineEnd))
		return io.EOF
	}
	const end = lineEnd + lineEnd
	for searched := 0; ; {
		pending := s.Buffered()
		i := bytes.Index(pending[searched:], []byte(end))
		n := searched + i + len(end)
		switch {
		case i < 0 && len(pending) <= r.MaxTrailer:
			searched = max(len(pending)-len(end)+1, 0)
			if err := s.More(); err != nil {
				return err
			}
			continue
		case i < 0 || n > r.MaxTrailer:
			return errTrailer
		}
		text := string(pending[:n])
		if strings.Count(text, "\n") != strings.Count(text, lineEnd) {
			return errChunk // a bare LF, which others do not take for the end of a line
		}
		s.Take(n)
		r.trailer = text
		return io.EOF
	}
}
