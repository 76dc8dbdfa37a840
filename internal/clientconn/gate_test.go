package clientconn_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/proxyproto"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// gate serves whose address a request has behind a Gate, and returns where, and what the Gate has refused.
func gate(t *testing.T, o clientconn.Options) (string, <-chan error) {
	t.Helper()
	refused := make(chan error, 100)
	o.Refused = func(_ net.Addr, err error) { refused <- err }
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }, func(srv *httptest.Server) {
		srv.Listener = clientconn.NewGate(srv.Listener, o)
	})
	return srv.Listener.Addr().String(), refused
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

const (
	ann    = "PROXY TCP4 192.0.2.1 192.0.2.9 1234 443\r\n"
	ben    = "PROXY TCP4 192.0.2.2 192.0.2.9 1234 443\r\n"
	nobody = "PROXY UNKNOWN\r\n"
	v6     = "PROXY TCP6 2001:db8:0:1::1 2001:db8::9 1234 443\r\n"
	v6same = "PROXY TCP6 2001:db8:0:1:ffff::2 2001:db8::9 1234 443\r\n"
	v6else = "PROXY TCP6 2001:db8:0:2::1 2001:db8::9 1234 443\r\n"
)

// served asks over a connection for its client's address.
func served(t *testing.T, addr, header string) (*rawtest.Conn, string) {
	t.Helper()
	c := rawtest.Dial(t, addr)
	c.Send(header + getA)
	return c, c.ReadAnswer(http.MethodGet).Body
}

// turnedAway says that a connection on which header is sent is ended without a word, maybe before it is known to be one.
func turnedAway(t *testing.T, addr, header string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(rawtest.Patience)))
	_, _ = io.WriteString(c, header)
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// eventually asks until a place is free: a server learns of a client that has left when it learns.
func eventually(t *testing.T, addr, header string) {
	t.Helper()
	for by := time.Now().Add(rawtest.Patience); time.Now().Before(by); after(t, time.Millisecond) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err = io.WriteString(c, header+getA); err != nil {
			continue
		}
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			require.NoError(t, res.Body.Close())
			return
		}
	}
	require.Fail(t, "no place was ever free")
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	for about, o := range map[string]clientconn.Options{
		"accepted by Accept":                 {MaxConns: 2},
		"accepted by a goroutine":            {MaxConns: 2, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		"of a proxy":                         {MaxConns: 2, Proxies: loopback, HeaderTimeout: time.Minute},
		"beside a limit for each address":    {MaxConns: 2, MaxConnsPerAddr: 2},
		"beside a limit that is not reached": {MaxConns: 2, MaxConnsPerAddr: 9, Framing: true},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			addr, refused := gate(t, o)
			header := ""
			if o.HeaderTimeout > 0 {
				header = nobody
			}
			first, _ := served(t, addr, header)
			served(t, addr, header)
			for range 3 {
				turnedAway(t, addr, "")
				require.ErrorIs(t, <-refused, clientconn.ErrConns)
			}
			first.Send(getA)
			first.ReadAnswer(http.MethodGet)
			first.Close()
			eventually(t, addr, header)
		})
	}
}

func TestMaxConnsPerAddr(t *testing.T) {
	t.Parallel()
	t.Run("of peers", func(t *testing.T) {
		t.Parallel()
		addr, refused := gate(t, clientconn.Options{MaxConnsPerAddr: 2})
		first, _ := served(t, addr, "")
		served(t, addr, "")
		turnedAway(t, addr, "")
		require.ErrorIs(t, <-refused, clientconn.ErrAddrConns)
		first.Close()
		eventually(t, addr, "")
	})
	for _, headers := range [][3]string{{ann, ann, ben}, {v6, v6same, v6else}, {nobody, nobody, ann}} {
		t.Run("of clients of a proxy: "+headers[0], func(t *testing.T) {
			t.Parallel()
			addr, refused := gate(t, clientconn.Options{MaxConnsPerAddr: 1, MaxConns: 3, Proxies: loopback, HeaderTimeout: time.Minute})
			first, _ := served(t, addr, headers[0])
			for range 5 { // none of which keeps a place
				turnedAway(t, addr, headers[1])
				require.ErrorIs(t, <-refused, clientconn.ErrAddrConns)
			}
			served(t, addr, headers[2])
			first.Close()
			eventually(t, addr, headers[1])
		})
	}
}

func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		about, send string
		want        string // "peer" for that of the connection, "" when it is closed
	}{
		{"a header", ann, "192.0.2.1:1234"},
		{"IPv6", v6, "[2001:db8:0:1::1]:1234"},
		{"unknown", nobody, "peer"},
		{"version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x09\x04\xd2\x01\xbb", "192.0.2.1:1234"},
		{"version 2, the proxy's own", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "peer"},
		{"none", "", ""},
		{"a port beyond", "PROXY TCP4 192.0.2.1 192.0.2.9 65536 443\r\n", ""},
		{"two", ann + ben, ""},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			addr, refused := gate(t, clientconn.Options{Proxies: loopback, HeaderTimeout: time.Minute, Framing: true})
			for _, pieces := range []string{tt.send + getA, strings.Join(strings.Split(tt.send+getA, ""), "|")} {
				c := rawtest.Dial(t, addr)
				go func() { // which fails when the server does not want all of it
					for p := range strings.SplitSeq(pieces, "|") {
						if <-c.SendMeanwhile(p) != nil {
							return
						}
					}
				}()
				if tt.want == "" {
					require.NotContains(t, c.ReadToEnd(), "200 OK")
					if tt.about != "two" { // which net/http refuses
						require.ErrorIs(t, <-refused, clientconn.ErrHeader)
					}
					continue
				}
				got := c.ReadAnswer(http.MethodGet).Body
				if tt.want == "peer" {
					require.Contains(t, got, "127.0.0.1:")
					continue
				}
				require.Equal(t, tt.want, got)
			}
		})
	}
	t.Run("from somebody else", func(t *testing.T) {
		t.Parallel()
		addr, _ := gate(t, clientconn.Options{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, HeaderTimeout: time.Minute})
		c := rawtest.Dial(t, addr)
		c.Send(ann)
		require.Equal(t, 400, c.ReadAnswer(http.MethodGet).Status(), "it is no request")
		_, got := served(t, addr, "")
		require.Contains(t, got, "127.0.0.1:")
	})
	t.Run("half of one", func(t *testing.T) {
		t.Parallel()
		addr, refused := gate(t, clientconn.Options{Proxies: loopback, HeaderTimeout: brief})
		c := rawtest.Dial(t, addr)
		c.Send(ann[:20])
		c.ExpectEnd()
		err := <-refused
		require.ErrorIs(t, err, clientconn.ErrHeader)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())

		c = rawtest.Dial(t, addr)
		c.Send(ann[:20])
		c.CloseWrite()
		c.ExpectEnd()
		require.ErrorIs(t, <-refused, proxyproto.ErrInvalid)
	})
	t.Run("a slow one holds up nobody", func(t *testing.T) {
		t.Parallel()
		addr, _ := gate(t, clientconn.Options{Proxies: loopback, HeaderTimeout: time.Hour})
		slow := rawtest.Dial(t, addr)
		slow.Send(ann[:20])
		for range 10 {
			rawtest.Dial(t, addr)
		}
		_, got := served(t, addr, ben)
		require.Equal(t, "192.0.2.2:1234", got)
		slow.Send(ann[20:] + getA)
		require.Equal(t, "192.0.2.1:1234", slow.ReadAnswer(http.MethodGet).Body)
	})
	t.Run("below TLS", func(t *testing.T) {
		t.Parallel()
		srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }, func(srv *httptest.Server) {
			srv.Listener = clientconn.NewGate(srv.Listener, clientconn.Options{Proxies: loopback, HeaderTimeout: time.Minute, Framing: true})
			srv.TLS = new(tls.Config)
		})
		transport := srv.Client().Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		transport.DialContext = nil
		raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer raw.Close()
		_, err = io.WriteString(raw, ann)
		require.NoError(t, err)
		c := tls.Client(raw, &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: "example.com"})
		_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		require.NoError(t, err)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Contains(t, string(got), "192.0.2.1:1234")
	})
}

// A Gate ends with what it has begun.
func TestGateClose(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{false, true} {
		inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		g := clientconn.NewGate(inner, clientconn.Options{Proxies: loopback, HeaderTimeout: time.Hour})
		if !begun {
			require.NoError(t, g.Close())
			_, err = g.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
			continue
		}
		whole, half := rawtest.Dial(t, inner.Addr().String()), rawtest.Dial(t, inner.Addr().String())
		half.Send(ann[:20])
		whole.Send(ann)
		c, err := g.Accept()
		require.NoError(t, err)
		require.Equal(t, "192.0.2.1:1234", c.RemoteAddr().String())
		nobodys := rawtest.Dial(t, inner.Addr().String()) // whom nobody accepts
		nobodys.Send(ann)
		require.NoError(t, g.Close())
		require.ErrorIs(t, g.Close(), net.ErrClosed)
		_, err = g.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		half.ExpectEnd()
		nobodys.ExpectEnd()
		whole.ExpectSilence()
		require.NoError(t, c.Close())
		whole.ExpectEnd()
	}
}

// failing is a listener whose errors pass.
type failing struct {
	net.Listener

	once sync.Once
}

var errPasses = errors.New("it passes")

func (f *failing) Accept() (net.Conn, error) {
	first := false
	f.once.Do(func() { first = true })
	if first {
		return nil, errPasses
	}
	return f.Listener.Accept()
}

func TestGateErrors(t *testing.T) {
	t.Parallel()
	for _, proxies := range [][]netip.Prefix{nil, loopback} {
		inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		g := clientconn.NewGate(&failing{Listener: inner}, clientconn.Options{Proxies: proxies, HeaderTimeout: time.Hour})
		_, err = g.Accept()
		require.ErrorIs(t, err, errPasses)
		rawtest.Dial(t, inner.Addr().String()).Send(nobody)
		c, err := g.Accept()
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, inner.Close(), "somebody else does")
		for range 3 {
			_, err = g.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
		}
		_ = g.Close()
	}
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := clientconn.NewGate(tls.NewListener(inner, new(tls.Config)), clientconn.Options{})
	defer g.Close()
	rawtest.Dial(t, inner.Addr().String())
	_, err = g.Accept()
	require.ErrorContains(t, err, "TLS belongs around it")
}

// Somebody who has taken a connection over may close what is below it.
func TestPlaceOfNobody(t *testing.T) {
	t.Parallel()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := clientconn.NewGate(inner, clientconn.Options{MaxConns: 1})
	defer g.Close()
	rawtest.Dial(t, inner.Addr().String())
	func() {
		c, err := g.Accept()
		require.NoError(t, err)
		require.NoError(t, c.(*clientconn.Conn).NetConn().Close())
	}()
	next := make(chan error, 1)
	go func() {
		_, err := g.Accept()
		next <- err
	}()
	for by := time.Now().Add(rawtest.Patience); len(next) == 0 && time.Now().Before(by); after(t, brief) {
		runtime.GC()
		if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String()); err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	require.NoError(t, <-next)
}

func TestFramingAllocations(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := clientconn.NewGate(inner, clientconn.Options{Framing: true, MaxConns: 1, MaxConnsPerAddr: 1})
	defer g.Close()
	client, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	c, err := g.Accept()
	require.NoError(t, err)
	defer c.Close()
	message, buf := []byte(getA+post+chunks+"\r\n3\r\nabc\r\n0\r\n\r\n"), make([]byte, 4<<10)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		_, err := client.Write(message)
		require.NoError(t, err)
		n, err := c.Read(buf)
		require.NoError(t, err)
		if n != len(message) {
			t.Fatal(n)
		}
	}))
}
