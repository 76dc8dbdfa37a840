package respw

import (
	"io"
	"math"
	"net/http"
	"os"
	"sync"
)

const (
	sniffBytes = 512 // what net/http looks at to guess a content type
	copyBytes  = 32 << 10
)

// copyBuffers holds scratch memory only: nothing in it outlives one ReadFrom.
var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// ReadFrom copies src to the body until EOF, after a head with status 200 when
// none was sent. That head waits for the first byte of src: when src fails or
// ends before it, nothing is sent and the handler may still answer otherwise.
//
// The wrapped writer's [io.ReaderFrom] does the copying where there is one, so
// that the server can use sendfile and splice. Under LimitWrites this holds for
// regular files only: any other source may wait for something itself, and is
// read here so that its waiting is not held against the client.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	w.resume()
	rf, direct := w.under.(io.ReaderFrom)
	direct = direct && w.tap == nil && (w.watch.limit == 0 || regularFile(src))
	if direct && w.sent {
		return w.readDirect(rf, src)
	}
	buf := copyBuffers.Get().(*[copyBytes]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer copyBuffers.Put(buf)
	p := buf[:]
	if direct {
		p = buf[:sniffBytes] // only to see whether src has anything to send
	}
	var total int64
	for {
		n, err := src.Read(p)
		if n > 0 {
			written, err := w.Write(p[:n])
			total += int64(written)
			if err != nil {
				return total, err
			}
		}
		switch {
		case err == io.EOF:
			return total, nil
		case err != nil:
			return total, err
		case direct && w.sent:
			rest, err := w.readDirect(rf, src)
			return total + rest, err
		}
	}
}

// readDirect lets rf, which is w.under, copy src.
func (w *Writer) readDirect(rf io.ReaderFrom, src io.Reader) (total int64, err error) {
	if w.watch.limit == 0 {
		total, err = rf.ReadFrom(src)
		w.size += total
		return total, err
	}
	w.pending = bufferedBytes
	// net/http recognises a file behind one LimitedReader, not behind two.
	whole, ok := src.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	for {
		part := io.LimitedReader{R: whole.R, N: min(whole.N, slice)}
		n, err := w.readDirectWatched(rf, &part)
		whole.N -= n
		total += n
		if err != nil || n < slice {
			return total, err
		}
	}
}

func (w *Writer) readDirectWatched(rf io.ReaderFrom, src io.Reader) (int64, error) {
	if w.watch.begin(w.under) {
		defer w.watch.end()
	}
	n, err := rf.ReadFrom(src)
	w.size += n
	return n, err
}

func regularFile(src io.Reader) bool {
	if l, ok := src.(*io.LimitedReader); ok {
		src = l.R
	}
	f, ok := src.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}
