package proxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ends are those of a tunnel that runs, as the client and the target have them.
type ends struct {
	client, target net.Conn
	end            context.CancelFunc
	over           chan struct{}
	began          time.Time
	t              *testing.T
}

// open runs a tunnel, within a bubble.
func open(t *testing.T, idle, lifetime time.Duration, webSocket bool) *ends {
	t.Helper()
	inner, client := net.Pipe()
	outer, target := net.Pipe()
	e := &ends{client: client, target: target, over: make(chan struct{}), began: time.Now(), t: t}
	tun := &tunnel{
		client: inner, in: inner, target: outer, idle: idle, lifetime: lifetime,
		buffers: &sync.Pool{New: func() any { return new([bufferSize]byte) }},
	}
	if webSocket {
		tun.toClient.frames, tun.toTarget.frames = &frames{}, &frames{}
	}
	var ending context.Context
	ending, e.end = context.WithCancel(context.Background())
	go func() {
		defer close(e.over)
		tun.run(ending)
	}()
	return e
}

// drain takes what comes on c, and returns it once c has ended.
func drain(c net.Conn) <-chan string {
	ch := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(c)
		ch <- string(b)
	}()
	return ch
}

func TestTunnelsInTime(t *testing.T) {
	t.Parallel()
	const idle, lifetime = time.Minute, time.Hour
	send := func(e *ends, from, to net.Conn, text string) {
		t := e.t
		t.Helper()
		go func() { _, _ = io.WriteString(from, text) }()
		got := make([]byte, len(text))
		_, err := io.ReadFull(to, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	for _, tt := range []struct {
		about    string
		idle     time.Duration
		lifetime time.Duration
		frames   bool
		play     func(e *ends)
		after    time.Duration
		client   string // what came last
	}{
		{"nothing is said", idle, 0, false, nil, idle, ""},
		{"the client speaks", idle, 0, false, func(e *ends) {
			for range 10 {
				time.Sleep(idle - time.Second)
				send(e, e.client, e.target, "x")
			}
		}, 10*(idle-time.Second) + idle, ""},
		{"the target speaks", idle, 0, false, func(e *ends) {
			for range 10 {
				time.Sleep(idle - time.Second)
				send(e, e.target, e.client, "x")
			}
		}, 10*(idle-time.Second) + idle, ""},
		{"they live for too long", idle, lifetime, false, func(e *ends) {
			for time.Since(e.began) < lifetime-time.Second {
				time.Sleep(time.Second)
				send(e, e.target, e.client, "x")
			}
		}, lifetime, ""},
		{"a WebSocket on which nothing is said", idle, 0, true, nil, idle + closing, goingAway},
		{"a WebSocket that lives for too long", -1, lifetime, true, nil, lifetime + closing, goingAway},
		{"a WebSocket within a frame", idle, 0, true, func(e *ends) { send(e, e.target, e.client, "\x82\x05hel") }, idle + closing, ""},
		{"a WebSocket within a head", idle, 0, true, func(e *ends) { send(e, e.target, e.client, "\x82\x7e\x05") }, idle + closing, ""},
		{"a WebSocket whose client answers", idle, 0, true, func(e *ends) {
			time.Sleep(idle)
			got := make([]byte, len(goingAway))
			_, err := io.ReadFull(e.client, got)
			require.NoError(e.t, err)
			require.Equal(e.t, goingAway, string(got))
			send(e, e.client, e.target, "\x88\x82\x00\x00\x00\x00\x03\xe9")
			_, err = io.WriteString(e.target, frame)
			require.NoError(e.t, err, "taken, and not passed on")
			require.NoError(e.t, e.target.Close())
		}, idle, ""},
		{"the shutdown of a WebSocket", -1, -1, true, func(e *ends) {
			time.Sleep(time.Second)
			e.end()
		}, time.Second + closing, goingAway},
		{"the shutdown of something else", idle, 0, false, func(e *ends) { e.end() }, idle, ""},
		{"a client that does not read", idle, 0, true, func(e *ends) {
			go func() { _, _ = io.WriteString(e.target, "\x82\x01x") }()
			<-e.over
		}, idle + closing, ""},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := open(t, tt.idle, tt.lifetime, tt.frames)
				defer e.end()
				if tt.play != nil {
					tt.play(e)
				}
				client, target := drain(e.client), drain(e.target)
				<-e.over
				require.Equal(t, tt.after, time.Since(e.began))
				require.Equal(t, tt.client, <-client)
				require.Empty(t, <-target)
			})
		})
	}
}

const frame = "\x81\x05hello"

func TestFrames(t *testing.T) {
	t.Parallel()
	long := func(op byte, n uint64) []byte {
		return append(binary.BigEndian.AppendUint64([]byte{0x80 | op, 127}, n), make([]byte, n)...)
	}
	for _, tt := range []struct {
		about    string
		data     []byte
		messages int64
		between  bool
	}{
		{"nothing", nil, 0, true},
		{"one message", []byte(frame), 1, true},
		{"an empty one", []byte("\x81\x00"), 1, true},
		{"masked", []byte("\x81\x85abcdhello"), 1, true},
		{"in three frames, with a ping between", []byte("\x01\x03hel\x89\x00\x00\x01l\x80\x01o"), 1, true},
		{"control frames are no messages", []byte("\x88\x00\x89\x00\x8a\x00"), 0, true},
		{"16 bits", append([]byte("\x82\x7e\x01\x00"), make([]byte, 256)...), 1, true},
		{"64 bits", long(opBinary, 70000), 1, true},
		{"half a head", []byte("\x82"), 0, false},
		{"half a length", []byte("\x82\x7e\x01"), 0, false},
		{"half a mask", []byte("\x82\x81ab"), 0, false},
		{"half a payload", []byte("\x82\x02a"), 1, false},
		{"a length without end", []byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff0123456789"), 1, false},
	} {
		for _, step := range []int{1, 3, 1 << 20} {
			f := &frames{}
			for rest := tt.data; len(rest) > 0; {
				n := min(step, len(rest))
				f.feed(rest[:n])
				rest = rest[n:]
			}
			require.Equal(t, tt.messages, f.messages, tt.about)
			require.Equal(t, tt.between, f.between(), tt.about)
		}
	}
}

// FuzzFrames: however the bytes come, the same is made of them, and a frame of ours is found where it stands.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(frame), 1)
	f.Add([]byte("\x01\x03hel\x89\x00\x00\x01l\x80\x01o"), 2)
	f.Add([]byte("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a\x82\x7e\x00\x01b"), 5)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		whole, pieces := &frames{}, &frames{}
		whole.feed(data)
		if cut < 0 || cut > len(data) {
			cut = len(data) / 2
		}
		for i := range data[:cut] {
			pieces.feed(data[i : i+1])
		}
		pieces.feed(data[cut:])
		require.Equal(t, whole.messages, pieces.messages)
		require.Equal(t, whole.left, pieces.left)
		require.Equal(t, whole.between(), pieces.between())
		if whole.between() {
			before := whole.messages
			whole.feed([]byte(frame))
			require.True(t, whole.between())
			require.Equal(t, before+1, whole.messages)
		}
		require.LessOrEqual(t, whole.have, len(whole.head))
	})
}
