package clientconn_test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-go/gateway/internal/clientconn"
)

// BenchmarkGate compares ordinary connections, those of this package, and those whose framing is checked, in one run.
func BenchmarkGate(b *testing.B) {
	for _, fields := range []int{0, 20} {
		message := strings.Replace(fmt.Sprintf(get, "/a"), "\r\n\r\n", strings.Repeat("\r\nX-Some-Field: with a value of forty bytes, say one", fields)+"\r\n\r\n", 1)
		for name, wrap := range map[string]func(net.Listener) net.Listener{
			"net":        func(l net.Listener) net.Listener { return l },
			"clientconn": func(l net.Listener) net.Listener { return clientconn.NewGate(l, clientconn.Options{}) },
			"framing":    func(l net.Listener) net.Listener { return clientconn.NewGate(l, clientconn.Options{Framing: true}) },
		} {
			b.Run(fmt.Sprintf("%d fields/%s", fields, name), func(b *testing.B) {
				srv := serve(b, true, path, func(srv *httptest.Server) {
					srv.Listener = wrap(srv.Listener)
					srv.Config.IdleTimeout, srv.Config.ReadHeaderTimeout = time.Minute, 5*time.Second
				})
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					c, _ := dial(b, srv)
					sent, buf := []byte(message), make([]byte, 1<<10)
					for pb.Next() {
						if _, err := c.Write(sent); err != nil {
							b.Fatal(err)
						}
						if _, err := c.Read(buf); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
