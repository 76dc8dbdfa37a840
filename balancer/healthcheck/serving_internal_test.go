package healthcheck

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// framed returns a message in its frame.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// field returns an encoded field that is none of a HealthCheckResponse's, of a kind and a number that n chooses.
func field(n uint16, data []byte) []byte {
	number, number8 := uint64(n%1000)+2, append(data, make([]byte, 8)...)
	switch n / 1000 % 4 {
	case 0:
		return binary.AppendUvarint(binary.AppendUvarint(nil, number<<3), uint64(len(data))*uint64(n))
	case 1:
		return append(binary.AppendUvarint(nil, number<<3|1), number8[:8]...)
	case 2:
		return append(binary.AppendUvarint(binary.AppendUvarint(nil, number<<3|2), uint64(len(data))), data...)
	}
	return append(binary.AppendUvarint(nil, number<<3|5), number8[:4]...)
}

func FuzzServing(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"), uint32(1), uint16(2000), []byte("ab"))
	f.Add([]byte("\x00\x00\x00\x00\x04\x08\x01\x08\x02"), uint32(2), uint16(1), []byte{})
	f.Add([]byte("\x01\x00\x00\x00\x00"), uint32(0), uint16(1001), []byte{1})
	f.Add([]byte("\x00\xff\xff\xff\xff\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), uint32(1<<31), uint16(3000), []byte{})
	f.Fuzz(func(t *testing.T, frame []byte, status uint32, n uint16, data []byte) {
		said := serving(frame)
		if said {
			require.GreaterOrEqual(t, len(frame), frameHead+2)
			require.Zero(t, frame[0])
			require.False(t, serving(frame[:len(frame)-1]), "it is cut")
			require.False(t, serving(append(frame[:len(frame):len(frame)], 0)), "there is more")
		}
		if len(data) > 1000 {
			return
		}
		message := binary.AppendUvarint([]byte{wellKnown << 3}, uint64(status))
		for _, m := range [][]byte{
			message,
			append(field(n, data), message...),
			append(message[:len(message):len(message)], field(n, data)...),
			append([]byte{wellKnown << 3, 3}, message...), // the last one counts
		} {
			require.Equal(t, status == isServing, serving(framed(m)), "%x", m)
			m = append(m[:len(m):len(m)], wellKnown<<3, 3)
			require.False(t, serving(framed(m)), "%x", m)
		}
		require.False(t, serving(framed(field(n, data))))
	})
}

// What was asked for reads as what it is.
func FuzzMessage(f *testing.F) {
	f.Add("")
	f.Add("a.B")
	f.Fuzz(func(t *testing.T, service string) {
		g := GRPC{Service: service}
		if g.Validate() != nil {
			return
		}
		frame := g.message()
		require.Equal(t, uint32(len(frame)-frameHead), binary.BigEndian.Uint32(frame[1:]))
		if service == "" {
			require.Len(t, frame, frameHead)
			return
		}
		size, n := binary.Uvarint(frame[frameHead+1:])
		require.Equal(t, byte(0x0a), frame[frameHead])
		require.Equal(t, service, string(frame[frameHead+1+n:]))
		require.Equal(t, uint64(len(service)), size)
	})
}
