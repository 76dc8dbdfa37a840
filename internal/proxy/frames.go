package proxy

import "encoding/binary"

// frames follows the frames of a WebSocket through a stream of bytes in any pieces (RFC 6455 section 5.2). It changes
// nothing and judges nothing: that is for the two that speak.
type frames struct {
	head     [14]byte
	have     int
	left     uint64 // of the payload
	messages int64
}

const (
	opBinary = 0x2
)

// feed goes on by p.
func (f *frames) feed(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(uint64(len(p)), f.left)
			f.left -= n
			p = p[n:]
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		if f.have < 2 || f.have < f.headLength() {
			continue
		}
		if fin, op := f.head[0]&0x80 != 0, f.head[0]&0xf; fin && op <= opBinary {
			f.messages++
		}
		f.left, f.have = f.payload(), 0
	}
}

// between reports whether one frame has ended and no other begun.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// headLength is how long the head is that begins with the first two bytes.
func (f *frames) headLength() int {
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4 // the mask
	}
	return n
}

func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}
