package http1_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/http1"
)

// roundTrip returns a function that has a server answer a request that says little, over a connection that is kept.
func roundTrip(t testing.TB, serve func(*http.Server, net.Listener) error) func() {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	length := []string{"1024"}
	body := []byte(strings.Repeat("x", 1024))
	hs := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = length
		_, _ = w.Write(body)
	})}
	ended := make(chan error, 1)
	go func() { ended <- serve(hs, clientconn.NewGate(l, clientconn.Options{Framing: true})) }()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = c.Close()
		_ = hs.Close()
		<-ended
	})
	request := []byte("GET /some/path?with=query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: agent/1.0\r\nAccept: */*\r\n\r\n")
	p := make([]byte, 4<<10)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 1024; { // the head and the body come together
			k, err := c.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
}

func ours(hs *http.Server, l net.Listener) error { return http1.New(hs).Serve(l) }

func BenchmarkServer(b *testing.B) {
	for name, serve := range map[string]func(*http.Server, net.Listener) error{"ours": ours, "nethttp": (*http.Server).Serve} {
		b.Run(name, func(b *testing.B) {
			once := roundTrip(b, serve)
			b.ReportAllocs()
			for b.Loop() {
				once()
			}
		})
	}
}

// What a request costs: the request, its URL, its fields with the list of their values and the text of both, the context and what
// ends it, the exchange, and the fields of the answer, of which the handler above sets one.
func TestAllocations(t *testing.T) {
	once := roundTrip(t, ours)
	once()
	require.LessOrEqual(t, testing.AllocsPerRun(200, once), 11.0)
}
