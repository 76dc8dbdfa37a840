package clientconn

import (
	"bytes"
	"math"
)

// framing follows a stream of HTTP/1 requests, however it is cut into pieces, from head to head. It refuses what two servers
// could read in two ways; what is wrong in every reading it leaves to net/http, which refuses that itself.
type framing struct {
	at      place
	request bool   // the line is a request line
	want    string // what the line has to begin with to matter
	matched int    // how much of want it has
	last    byte   // the last byte of the line so far
	later   bool   // there was a request before
	fields  bool   // the head has a field

	old, connect, preface    bool // HTTP/1.0, CONNECT, and what an HTTP/2 connection begins with
	sized, coded, upgradable bool // Content-Length, Transfer-Encoding, Upgrade
	digits                   int
	left                     uint64 // the value of the length that is read, and then what is left of the body or chunk
}

// place is what the next byte belongs to.
type place uint8

const (
	atStart     place = iota // the first byte of a request
	inName                   // a line that may yet be one that matters
	inLine                   // any other part of a line in a head
	inLength                 // the value of Content-Length
	behindCR                 // the LF of a line in a head
	atLine                   // the first byte of a field line
	atBlank                  // the LF of the line that ends a head
	inBody                   // a body with a length
	atSize                   // the size of a chunk
	inExtension              // what follows it
	atSizeLF                 // the LF behind it
	inChunk                  // the bytes of the chunk
	atChunkCR                // the CR behind them
	atChunkLF                // and the LF
	atTrailer                // the first byte of a line behind the chunks
	inTrailer                // the rest of it
	atTrailerLF              // the LF behind it
	atEnd                    // the LF that ends the message
)

// What a request line or field line begins with that matters.
const (
	connectLine   = "CONNECT "
	prefaceLine   = "PRI * HTTP/2.0"
	lengthField   = "content-length:"
	codingField   = "transfer-encoding:"
	upgradeField  = "upgrade:"
	tlsHandshake  = 0x16 // the type of a TLS record: no method begins with it
	maxSizeDigits = 16   // of a chunk, as net/http has it
)

// event is how a scan ended.
type event uint8

const (
	goesOn    event = iota // with the last byte
	badHead                // before a head that is refused
	badBody                // before a byte of a body that is refused
	mayPause               // behind a request after which the connection may be another protocol's
	mustClose              // behind a request after which nothing can be a request
	opened                 // it is no HTTP/1, which net/http takes or refuses as a whole
)

// scan reads on in p and returns how many bytes may be handed on before what the event says. Behind badHead, badBody and
// opened there is nothing to scan.
func (f *framing) scan(p []byte) (int, event) {
	head := 0 // where that which is read begins
	for i := 0; i < len(p); {
		if f.at == atStart {
			if p[i] == tlsHandshake && !f.later {
				return len(p), opened
			}
			head = i
			f.begin(p[i])
		}
		var n int
		var e event
		if f.at < inBody {
			n, e = f.head(p[i:])
		} else {
			n, e = f.body(p[i:])
		}
		i += n
		switch e {
		case goesOn:
		case badHead:
			return head, e
		case opened:
			return len(p), e
		default:
			return i, e
		}
	}
	return len(p), goesOn
}

// head reads something of a head.
func (f *framing) head(p []byte) (int, event) {
	b, ok := p[0], true
	switch f.at {
	case inName:
		if !f.request && 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		if b != f.want[f.matched] {
			f.at = inLine
			return 0, goesOn
		}
		if f.matched++; f.matched == len(f.want) {
			ok = f.recognise()
		}
	case inLine:
		n, ok := f.line(p, behindCR)
		if !ok {
			return n, badHead
		}
		return n, goesOn
	case inLength:
		ok = f.length(b)
	case behindCR:
		ok = b == '\n'
		f.at = atLine
		if f.request {
			f.request, f.old = false, f.last == '0'
		}
	case atLine:
		switch b {
		case ' ', '\t', '\n': // a line that goes on may be a field of its own elsewhere
			ok = false
		case '\r':
			f.at = atBlank
		default:
			f.fields = true
			f.name(b)
			return 0, goesOn
		}
	case atBlank:
		if ok = b == '\n' && (!f.coded || !f.sized && !f.old); ok {
			return 1, f.endHead()
		}
	default: // an empty line before a request
		ok = false
	}
	if !ok {
		return 0, badHead
	}
	return 1, goesOn
}

// body reads something of a body.
func (f *framing) body(p []byte) (int, event) {
	switch f.at {
	case inBody, inChunk:
		n := min(f.left, uint64(len(p)))
		f.left -= n
		switch {
		case f.left > 0:
		case f.at == inChunk:
			f.at = atChunkCR
		default:
			return int(n), f.endRequest()
		}
		return int(n), goesOn
	case inExtension, inTrailer:
		next := atTrailerLF
		if f.at == inExtension {
			next = atSizeLF
		}
		n, ok := f.line(p, next)
		if !ok {
			return n, badBody
		}
		return n, goesOn
	}
	switch {
	case !f.chunked(p[0]):
		return 0, badBody
	case f.at == atStart:
		return 1, f.endRequest()
	}
	return 1, goesOn
}

// begin begins a request with its first byte, which is not consumed.
func (f *framing) begin(b byte) {
	*f = framing{at: inName, request: true, later: f.later}
	switch b {
	case '\r', '\n':
		f.at = atStart
	case 'C':
		f.want = connectLine
	case 'P':
		f.want = prefaceLine
	default:
		f.at = inLine
	}
}

// name begins a field line with its first byte, which is not consumed.
func (f *framing) name(b byte) {
	f.at, f.matched = inName, 0
	switch b | 0x20 {
	case 'c':
		f.want = lengthField
	case 't':
		f.want = codingField
	case 'u':
		f.want = upgradeField
	default:
		f.at = inLine
	}
}

// recognise notes that a line begins with something that matters.
func (f *framing) recognise() bool {
	f.at = inLine
	switch f.want {
	case connectLine:
		f.connect = true
	case prefaceLine:
		f.preface = true
	case upgradeField:
		f.upgradable = true
	case codingField:
		f.coded = true // if it is anything but chunked, net/http refuses it
	case lengthField:
		if f.sized {
			return false
		}
		f.sized, f.at, f.left, f.digits = true, inLength, 0, 0
	}
	return true
}

// line reads up to the CR that ends a line, behind which is next, and returns how much that was. It reports false before an LF.
func (f *framing) line(p []byte, next place) (int, bool) {
	n := bytes.IndexByte(p, '\r')
	line := p
	if n >= 0 {
		line = p[:n]
	}
	if lf := bytes.IndexByte(line, '\n'); lf >= 0 {
		return lf, false
	}
	if len(line) > 0 {
		f.last = line[len(line)-1]
		f.preface = f.preface && !f.request
	}
	if n < 0 {
		return len(p), true
	}
	f.at = next
	return n + 1, true
}

// length reads a byte of the value of Content-Length.
func (f *framing) length(b byte) bool {
	const ended = -1
	switch {
	case '0' <= b && b <= '9':
		d := uint64(b - '0')
		if f.digits == ended || f.left > (math.MaxInt64-d)/10 {
			return false
		}
		f.left = f.left*10 + d
		f.digits = 1
	case b == ' ' || b == '\t':
		if f.digits > 0 {
			f.digits = ended
		}
	case b == '\r' && f.digits != 0:
		f.at = behindCR
	default:
		return false
	}
	return true
}

// endHead decides what follows a head.
func (f *framing) endHead() event {
	switch {
	case f.preface && !f.fields && !f.later:
		return opened
	case f.preface:
		f.connect = true
	}
	switch {
	case f.coded:
		f.at, f.left, f.digits = atSize, 0, 0
	case f.sized && f.left > 0:
		f.at = inBody
	default:
		return f.endRequest()
	}
	return goesOn
}

// endRequest ends a request with its body.
func (f *framing) endRequest() event {
	f.at, f.later = atStart, true
	switch {
	case f.connect:
		return mustClose
	case f.upgradable:
		return mayPause
	}
	return goesOn
}

// chunked reads a byte of the chunked coding that is no content. Behind the last one f is at the start of a request.
func (f *framing) chunked(b byte) bool {
	if f.at == atSize {
		return f.size(b)
	}
	want := byte('\n')
	switch f.at {
	case atSizeLF:
		f.at = inChunk
		if f.left == 0 {
			f.at = atTrailer
		}
	case atChunkCR:
		want = '\r'
		f.at = atChunkLF
	case atChunkLF:
		f.at, f.digits = atSize, 0
	case atTrailerLF:
		f.at = atTrailer
	case atEnd:
		f.at = atStart
	case atTrailer:
		switch b {
		case ' ', '\t', '\n':
			return false
		case '\r':
			f.at = atEnd
		default:
			f.at = inTrailer
		}
		return true
	}
	return b == want
}

// size reads a byte of the size of a chunk.
func (f *framing) size(b byte) bool {
	var d byte
	switch {
	case '0' <= b && b <= '9':
		d = b - '0'
	case 'a' <= b && b <= 'f':
		d = b - 'a' + 10
	case 'A' <= b && b <= 'F':
		d = b - 'A' + 10
	case f.digits == 0:
		return false
	case b == '\r':
		f.at = atSizeLF
		return true
	case b == ';' || b == ' ' || b == '\t':
		f.at = inExtension
		return true
	default:
		return false
	}
	if f.digits == 0 {
		f.left = 0
	}
	if f.digits++; f.digits > maxSizeDigits {
		return false
	}
	f.left = f.left<<4 | uint64(d)
	return true
}
