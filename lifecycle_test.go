package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// When Run has returned, whatever was in flight: no goroutine of ours runs, and no connection is open.
func TestRunEndsEverything(t *testing.T) { //nolint:paralleltest // it counts the goroutines and descriptors of the process
	for _, tt := range []struct {
		name   string
		drain  time.Duration
		drains bool // all that is in flight ends when it is told
	}{
		{"drained", rawtest.Patience, true},
		{"cut", 100 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nothingIsLeft(t)
			endEverything(t, tt.drain, tt.drains)
		})
	}
}

func endEverything(t *testing.T, drain time.Duration, drains bool) {
	t.Helper()
	target := rawtest.Listen(t, false)
	u := upstream(t, gateway.UpstreamConfig{Timeouts: gateway.Timeouts{Idle: -1, FirstByte: -1}}, target.URL)
	began := make(chan struct{}, 1)
	gw := gateway.Must(gateway.New(gateway.Config{
		Logger: quiet(), DrainTimeout: drain, Owns: []io.Closer{u},
		Routes: []gateway.Route{
			{Name: "events", Match: gateway.Match{Paths: []string{"/events"}}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				<-policy.ExchangeFrom(r.Context()).Ending().Done()
				_, _ = io.WriteString(w, "data: last\n\n")
			})},
			{Name: "all", Handler: u, Forward: gateway.Forward{Upgrade: policy.Upgrade{Protocols: []string{"websocket", "echo/2"}}}},
			{Name: "reads", Match: gateway.Match{Paths: []string{"/reads"}}, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				began <- struct{}{}
				_, _ = io.Copy(io.Discard, r.Body)
			})},
		},
	}))
	l := listen(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- gw.Run(ctx, gateway.NewServer("", gw), l) }()
	t.Cleanup(cancel)
	dial := func(text string) *rawtest.Conn {
		c := rawtest.Dial(t, l.Addr().String())
		c.SendMeanwhile(text)
		return c
	}
	proxied := func(text string) (client, far *rawtest.Conn) {
		client = dial(text)
		far = target.Accept()
		far.ReadHead()
		return client, far
	}

	rawtest.Dial(t, l.Addr().String()) // a client that says nothing
	events := dial(getBytes("/events"))
	events.Expect("HTTP/1.1 200 OK\r\n")
	socket, farSocket := proxied(wsAsks)
	farSocket.Send(wsAnswers)
	require.Equal(t, 101, socket.ReadAnswer(http.MethodGet).Status())
	farSocket.Send(frame(1, "hello"))
	socket.Expect(frame(1, "hello"))
	stream, farStream := proxied(getBytes("/stream"))
	farStream.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	stream.Expect("HTTP/1.1 200 OK\r\n")
	upload, farUpload := proxied("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
	farUpload.Expect("hello")
	waiting, farWaiting := proxied(getBytes("/waiting"))
	dial("GET /half HTTP/1.1\r\nHo") // a head that does not end

	if drains {
		cancel()
		require.NotEmpty(t, events.ReadToEnd(), "the stream ends itself when it is told")
		require.Contains(t, events.Received(), "data: last")
		socket.Expect(wsGoingAway)
		socket.Send("\x88\x82\x00\x00\x00\x00\x03\xe9")
		farSocket.Expect("\x88\x82\x00\x00\x00\x00\x03\xe9")
		farSocket.Close()
		farStream.Send("0\r\n\r\n")
		require.True(t, strings.HasSuffix(stream.ReadToEnd(), "0\r\n\r\n"))
		upload.Send("world")
		farUpload.Expect("world")
		for _, far := range []*rawtest.Conn{farUpload, farWaiting} {
			far.Send(answerUp)
		}
		for _, c := range []*rawtest.Conn{upload, waiting} {
			require.Equal(t, "up", c.ReadAnswer(http.MethodGet).Body)
			c.ExpectEnd()
		}
		require.NoError(t, <-ran)
	} else {
		farSocket.Close() // what waits for its target has no other end than the cut
		// Clients that stall: one in its upload to a handler, one that does not read.
		dial("POST /reads HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
		<-began
		_, farFull := proxied(getBytes("/full"))
		farFull.Send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
		full := farFull.SendMeanwhile(strings.Repeat("x", 20_000_000))
		tunnel, farTunnel := proxied(echoAsks)
		farTunnel.Send(echoAnswers)
		require.Equal(t, 101, tunnel.ReadAnswer(http.MethodGet).Status())
		began := time.Now()
		cancel()
		require.ErrorIs(t, <-ran, context.DeadlineExceeded)
		require.Less(t, time.Since(began), drain+3*time.Second)
		require.Error(t, <-full)
		for _, c := range []*rawtest.Conn{stream, upload, waiting, tunnel} {
			text := c.ReadToEnd()
			require.False(t, strings.HasSuffix(text, "0\r\n\r\n"), "cut off, and not ended: %q", text)
		}
		for _, far := range []*rawtest.Conn{farStream, farUpload, farWaiting, farTunnel} {
			far.ReadToEnd()
		}
	}
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	require.Error(t, err, "nobody listens any more")
	require.Equal(t, 503, gatewaytest.Do(gw, get("/")).StatusCode)
}
