package http1_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/http1"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

type failing struct {
	net.Listener

	fails atomic.Int32
	err   error
}

func (l *failing) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, l.err
	}
	return l.Listener.Accept()
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }
func (temporary) Timeout() bool   { return false }

func TestAcceptFails(t *testing.T) {
	t.Parallel()
	f := &failing{err: temporary{errors.New("too many files")}}
	f.fails.Store(2)
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener {
		f.Listener = l
		return f
	}, nil)
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
	require.Equal(t, 2, strings.Count(s.log.String(), "Accept error: too many files"))

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	broken := &failing{Listener: l, err: errors.New("broken")}
	broken.fails.Store(1)
	require.ErrorIs(t, http1.New(&http.Server{ReadHeaderTimeout: time.Second}).Serve(broken), broken.err)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	signed := httptest.NewUnstartedServer(nil)
	signed.StartTLS()
	defer signed.Close()
	pool := signed.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	config := &tls.Config{Certificates: signed.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	told := make(chan error, 9)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.TLS != nil && r.TLS.HandshakeComplete)
	},
		func(l net.Listener) net.Listener {
			return tls.NewListener(clientconn.NewGate(l, clientconn.Options{Framing: true, Refused: func(_ net.Addr, err error) { told <- err }}), config)
		}, func(hs *http.Server) { hs.TLSConfig = config })
	dial := func(protos ...string) *tls.Conn {
		d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: protos, MinVersion: tls.VersionTLS12}}
		c, err := d.DialContext(t.Context(), "tcp", s.addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(rawtest.Patience)))
		return c.(*tls.Conn)
	}
	for _, protos := range [][]string{nil, {"http/1.1"}} {
		c := dial(protos...)
		in := bufio.NewReader(c)
		for range 2 {
			say(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 true", string(body))
		}
		require.Empty(t, told)
		say(c, post+"Content-Length: 3\r\n"+chunked+"\r\n"+abc)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 400, res.StatusCode)
		require.ErrorIs(t, <-told, clientconn.ErrFraming)
	}
	for _, h2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2}
		t.Cleanup(tr.CloseIdleConnections)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr, nil)
		require.NoError(t, err)
		res, err := tr.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, map[bool]string{true: "HTTP/2.0 true", false: "HTTP/1.1 true"}[h2], string(body))
	}
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.Equal(t, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", c.ReadToEnd())
	require.Contains(t, s.log.String(), "client sent an HTTP request to an HTTPS server")
}

func TestUnencryptedHTTP2(t *testing.T) {
	t.Parallel()
	eachListener(t, func(t on) {
		for _, allowed := range []bool{true, false} {
			s := start(t, func(w http.ResponseWriter, r *http.Request) { say(w, r.Proto) }, t.behind, func(hs *http.Server) {
				hs.Protocols = new(http.Protocols)
				hs.Protocols.SetHTTP1(true)
				hs.Protocols.SetUnencryptedHTTP2(allowed)
			})
			var only http.Protocols
			only.SetUnencryptedHTTP2(true)
			tr := &http.Transport{Protocols: &only}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr, nil)
			require.NoError(t, err)
			res, err := tr.RoundTrip(req)
			if !allowed {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, "HTTP/2.0", string(body))
			tr.CloseIdleConnections()
			c := rawtest.Dial(t, s.addr)
			c.Drip("P")
			c.Send("RI / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.Equal(t, answered("HTTP/1.1"), c.ReadAnswer("PRI").Text())
		}
	})
}

func TestLeftToNetHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, func(http.ResponseWriter, *http.Request) {}, nil, func(hs *http.Server) {
		hs.Protocols = new(http.Protocols)
		hs.Protocols.SetUnencryptedHTTP2(true)
	})
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.ExpectEnd()
	s = start(t, func(w http.ResponseWriter, _ *http.Request) { say(w, "x") }, func(l net.Listener) net.Listener { return clientconn.NewGate(l, clientconn.Options{}) }, nil)
	c = rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\nHost: h\n\n")
	require.Equal(t, answered("x"), c.ReadAnswer("GET").Text())
}

func TestAmbiguous(t *testing.T) {
	t.Parallel()
	told := make(chan error, 9)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		require.Error(t, err)
		require.NoError(t, r.Context().Err(), "the client is there")
		w.WriteHeader(400)
	}, func(l net.Listener) net.Listener {
		return clientconn.NewGate(l, clientconn.Options{Framing: true, Refused: func(_ net.Addr, err error) { told <- err }})
	}, nil)
	for _, send := range []string{post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc, "GET / HTTP/1.1\nHost: h\r\n\r\n", post + chunked + "\r\n3\nabc\r\n0\r\n\r\n"} {
		c := rawtest.Dial(t, s.addr)
		c.Send(send)
		require.Equal(t, 400, c.ReadAnswer("GET").Status())
		require.ErrorIs(t, <-told, clientconn.ErrFraming)
		c.ExpectEnd()
	}
	c := rawtest.Dial(t, s.addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n") // malformed for all
	require.Equal(t, "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 32\nContent-Type: text/plain; charset=utf-8\nDate: *\n\nBad Request: invalid header name",
		c.ReadAnswer("GET").Text())
	require.Empty(t, told)
}
