package gateway_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
)

// A stream over which nothing is said goes on, without more pings than gRPC's servers bear, of which each has to be five minutes behind
// the one before; and a target that does not answer one has gone.
func TestSilentStreams(t *testing.T) {
	t.Parallel()
	const headers, settings, ping = 1, 4, 6
	synctest.Test(t, func(t *testing.T) {
		pings := make(chan time.Time, 1000)
		var deaf atomic.Bool
		serve := func(c net.Conn) {
			defer c.Close()
			frames := make(chan []byte, 100) // a pipe holds nothing, and neither side may wait for the other
			defer close(frames)
			go func() {
				for f := range frames {
					_, _ = c.Write(f)
				}
			}()
			in := bufio.NewReader(c)
			_, _ = in.Discard(24) // the preface
			frames <- h2Frame(settings, 0, 0)
			for {
				var head [9]byte
				if _, err := io.ReadFull(in, head[:]); err != nil {
					return
				}
				payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
				if _, err := io.ReadFull(in, payload); err != nil {
					return
				}
				switch kind, isAck := head[3], head[4]&1 != 0; {
				case deaf.Load():
				case kind == settings && !isAck:
					frames <- h2Frame(settings, 1, 0)
				case kind == ping && !isAck:
					pings <- time.Now()
					frames <- h2Frame(ping, 1, 0, payload...)
				case kind == headers:
					frames <- h2Frame(headers, 4, binary.BigEndian.Uint32(head[5:]), 0x88) // 200, and there is more of it
				}
			}
		}
		up := retrying(t, gateway.UpstreamConfig{
			Targets: []balancer.Target{{URL: "http://a.test"}}, UnencryptedHTTP2: true, Timeouts: gateway.Timeouts{Idle: -1},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go serve(server)
				return client, nil
			},
		})
		ended := make(chan any, 1)
		go func() {
			defer func() { ended <- recover() }()
			up.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}()
		began := time.Now()
		time.Sleep(3 * time.Hour)
		require.Empty(t, ended)
		require.Greater(t, len(pings), 10, "it is noticed whether the target is there")
		for range len(pings) {
			at := <-pings
			require.Greater(t, at.Sub(began), 5*time.Minute)
			began = at
		}
		deaf.Store(true)
		require.Equal(t, http.ErrAbortHandler, <-ended)
		require.Less(t, time.Since(began), 15*time.Minute)
	})
}
