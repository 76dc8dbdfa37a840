package gateway_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// BenchmarkTunnel sends messages of a kibibyte there and back over a connection that has switched protocols, and beside it over
// one without a gateway.
func BenchmarkTunnel(b *testing.B) {
	message := make([]byte, 1<<10)
	roundTrips := func(b *testing.B, c net.Conn) {
		b.Helper()
		b.SetBytes(2 * int64(len(message)))
		b.ReportAllocs()
		buf := make([]byte, len(message))
		for b.Loop() {
			if _, err := c.Write(message); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, through := range []bool{true, false} {
		b.Run(map[bool]string{true: "gateway", false: "none"}[through], func(b *testing.B) {
			l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
			require.NoError(b, err)
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				if through {
					_, _ = c.Read(make([]byte, 4<<10)) // the handshake
					_, _ = io.WriteString(c, echoAnswers)
				}
				_, _ = io.Copy(c, c)
			}()
			if !through {
				c, err := new(net.Dialer).DialContext(b.Context(), "tcp", l.Addr().String())
				require.NoError(b, err)
				defer c.Close()
				roundTrips(b, c)
				return
			}
			addr, _ := switching(b, gateway.UpstreamConfig{}, policy.Upgrade{Protocols: []string{"echo/2"}}, "http://"+l.Addr().String())
			c, err := new(net.Dialer).DialContext(b.Context(), "tcp", addr)
			require.NoError(b, err)
			defer c.Close()
			_, _ = io.WriteString(c, echoAsks)
			head := make([]byte, 0, 1<<10)
			for one := make([]byte, 1); len(head) < 4 || string(head[len(head)-4:]) != "\r\n\r\n"; head = append(head, one...) {
				if _, err := c.Read(one); err != nil {
					b.Fatal(err)
				}
			}
			require.Contains(b, string(head), http.StatusText(http.StatusSwitchingProtocols))
			roundTrips(b, c)
		})
	}
}
