package transport

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxUpload is how much of a request body is passed on at once.
	maxUpload = 32 << 10
	// chunkRoom is the room for the size of a chunk in front of it, and chunkEnd what stands behind it.
	chunkRoom = 8
	chunkEnd  = "\r\n"
)

// uploadBuffer has room for a piece of a request body, and for what makes a chunk of it.
type uploadBuffer [chunkRoom + maxUpload + len(chunkEnd)]byte

func emptyUploadBuffer() any { return new(uploadBuffer) }

var (
	errShortBody = errors.New("the request body is shorter than its declared length")
	errBodyRead  = errors.New("the request body could not be read")
)

// startUpload sends body on a goroutine of its own; length is negative when none was declared. The values of trailer are
// there when the body has been read.
func (c *wire) startUpload(body io.ReadCloser, length int64, trailer http.Header) {
	sent := make(chan struct{})
	c.mu.Lock()
	c.upload, c.sent, c.begun, c.uploaded, c.asking = body, sent, time.Now(), 0, false
	cut, which, limit := c.cause != "", c.number, c.limits.FirstByte
	c.mu.Unlock()
	if cut { // nobody has told the body
		_ = body.Close()
	}
	c.pool.uploading(c)
	go func() {
		defer close(sent)
		if err := c.sendBody(body, length, trailer, limit); err != nil {
			c.cut(bodyFailure(err), which)
		}
	}()
}

// bodyFailure is the code of an exchange whose request body could not be sent: one that is longer than declared, or whose
// trailers cannot be sent, was made so by a plugin, anything else is known to whom the body belongs.
func bodyFailure(err error) string {
	if errors.Is(err, errLong) || errors.Is(err, errField) {
		return InvalidRequest
	}
	return ConnectionReset
}

// sendBody sends body to its end. It returns an error when the client's side failed; when the target's did, the head of an
// answer may still be on its way.
func (c *wire) sendBody(body io.ReadCloser, length int64, trailer http.Header, limit time.Duration) error {
	d := c.pool.d
	buf, _ := d.uploads.Get().(*uploadBuffer)
	defer d.uploads.Put(buf)
	left := length
	for {
		if !c.ask() {
			return nil
		}
		n, err := body.Read(buf[chunkRoom : chunkRoom+maxUpload])
		if c.asked(n, limit) != nil {
			return nil // the exchange was cut
		}
		if length >= 0 {
			if left -= int64(n); left < 0 {
				return errLong
			}
		}
		if n > 0 {
			data := buf[chunkRoom : chunkRoom+n]
			if length < 0 {
				data = asChunk(buf[:], n)
			}
			if _, failed := c.Conn.Write(data); failed != nil {
				c.hurry()
				return nil
			}
		}
		switch {
		case err == nil:
		case err != io.EOF:
			return errBodyRead
		case left > 0:
			return errShortBody
		default:
			if length < 0 {
				end, failed := appendTrailers(buf[:0], trailer)
				if failed != nil {
					return failed
				}
				if _, failed := c.Conn.Write(end); failed != nil {
					c.hurry()
					return nil
				}
			}
			_ = body.Close()
			c.mu.Lock()
			c.whole = true
			c.mu.Unlock()
			return nil
		}
	}
}

// asChunk makes a chunk of the n bytes behind chunkRoom.
func asChunk(buf []byte, n int) []byte {
	var size [chunkRoom]byte
	digits := strconv.AppendInt(size[:0], int64(n), 16)
	start := chunkRoom - len(digits) - len(chunkEnd)
	copy(buf[start:], digits)
	copy(buf[chunkRoom-len(chunkEnd):], chunkEnd)
	return append(buf[start:chunkRoom+n], chunkEnd...)
}

// ask notes that the client is waited for, which is not the target's fault. It reports false when the exchange was cut.
func (c *wire) ask() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = true
	if c.headed {
		return c.cause == ""
	}
	return c.awaitReadLocked(0) == nil
}

// asked notes that the client has sent n bytes.
func (c *wire) asked(n int, limit time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = false
	c.uploaded += int64(n)
	if !c.headed {
		if err := c.awaitReadLocked(limit); err != nil {
			return err
		}
	}
	return c.awaitWriteLocked(limit, time.Now())
}

// hurry is called when the target does not take the body any more: it may have answered before it closed its side.
func (c *wire) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.headed {
		_ = c.awaitReadLocked(earlyAnswer)
	}
}

// inVain tells whether the exchange holds its connection while its client is too slow, and which it is.
func (c *wire) inVain(now time.Time) (exchange uint64, rate float64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := now.Sub(c.begun)
	if !c.running || c.upload == nil || !c.asking || c.headed || c.cause != "" || since < shedHeld {
		return 0, 0, false
	}
	rate = float64(c.uploaded) / since.Seconds()
	return c.number, rate, rate < shedRate
}
