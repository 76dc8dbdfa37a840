package clientconn_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/clientconn"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

const (
	refusal = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	post    = "POST /b HTTP/1.1\r\nHost: a.test\r\n"
	chunks  = "Transfer-Encoding: chunked\r\n"
	both    = post + "Content-Length: 3\r\n" + chunks + "\r\n0\r\n\r\n"
)

var getA = fmt.Sprintf(get, "/a")

// strict serves h behind a Gate that checks framing.
func strict(t testing.TB, o clientconn.Options, h http.HandlerFunc, set ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	o.Framing = true
	return serve(t, true, h, func(srv *httptest.Server) {
		srv.Config.IdleTimeout, srv.Config.ReadHeaderTimeout = time.Minute, time.Minute
		for _, f := range set {
			f(srv)
		}
		srv.Listener = clientconn.NewGate(srv.Listener, o)
	})
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	fmt.Fprintf(w, "%s %s %q", r.Method, r.URL.Path, body)
}

// answers reads what a server says until it closes the connection: the bodies, or else the statuses, of its answers.
func answers(t testing.TB, all string) []string {
	t.Helper()
	var got []string
	for in := bufio.NewReader(strings.NewReader(all)); ; {
		if rest, _ := in.Peek(len(refusal) + 1); string(rest) == refusal {
			return append(got, "refused")
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			return got
		}
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		if res.StatusCode != http.StatusOK {
			body = []byte(res.Status)
		}
		got = append(got, string(body))
	}
}

func TestFramingOfServers(t *testing.T) {
	t.Parallel()
	const (
		a = `GET /a ""`
		b = `POST /b "abc"`
	)
	tests := []struct {
		about, send string
		want        []string
	}{
		{"in order", getA + post + "Content-Length: 3\r\n\r\nabc" + post + chunks + "\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n" + getA, []string{a, b, b, a}},
		{"length and chunked in one request", both + getA, []string{"refused"}},
		{"length and chunked behind another request", getA + both + getA, []string{a, "refused"}},
		{"length and chunked behind a body", post + "Content-Length: 3\r\n\r\nabc" + both, []string{b, "refused"}},
		{"length and chunked behind chunks", post + chunks + "\r\n3\r\nabc\r\n0\r\n\r\n" + both, []string{b, "refused"}},
		{"length and chunked inside a body", post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(both)) + both + getA, []string{fmt.Sprintf("POST /b %q", both), a}},
		{"chunked in HTTP/1.0", "POST /b HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n" + chunks + "\r\n0\r\n\r\n", []string{"refused"}},
		{"bare LF", getA + "GET /a HTTP/1.1\nHost: a.test\n\n", []string{a, "refused"}},
		{"bare CR", getA + "GET /a HTTP/1.1\r\nHost: a.test\rX: y\r\n\r\n", []string{a, "refused"}},
		{"a field that goes on", getA + "GET /a HTTP/1.1\r\nHost: a.test\r\nX: y\r\n z\r\n\r\n", []string{a, "refused"}},
		{"an empty line", post + "Content-Length: 3\r\n\r\nabc\r\n" + getA, []string{b, "refused"}},
		{"a chunk that is no chunk", post + chunks + "\r\n3\nabc\r\n0\r\n\r\n" + getA, []string{"422 Unprocessable Entity"}},
		{"a trailer that ends in a bare LF", post + chunks + "\r\n0\r\nX: y\n\r\n" + getA, []string{"422 Unprocessable Entity"}},
		// What no server reads otherwise is refused by net/http as it always was.
		{"NUL", getA + "GET /a HTTP/1.1\r\nHost: a.test\r\nX: \x00\r\n\r\n", []string{a, "400 Bad Request"}},
		{"space before a colon", getA + "GET /a HTTP/1.1\r\nHost: a.test\r\nX : y\r\n\r\n", []string{a, "400 Bad Request: invalid header name"}},
		{"another coding", getA + post + "Transfer-Encoding: gzip, chunked\r\n\r\n", []string{a, "501 Not Implemented"}},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + both, []string{`PRI * ""`}},
		{"TLS", "\x16\x03\x01\x00\x05\n\n\n\n\n\r\n\r\n", []string{"400 Bad Request"}},
		{"an upgrade nobody does", "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + getA, []string{a, a}},
		{"length and chunked behind such", "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + both + getA, []string{a, "refused"}},
		{"and later", "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + getA + both, []string{a, a, "refused"}},
		{"behind several", strings.Repeat("GET /a HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n", 3) + both, []string{a, a, a, "refused"}},
		{"a bare LF behind such", "GET /a HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n\n" + getA, []string{a, "refused"}},
		{"CONNECT nobody does", "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n" + getA, []string{`CONNECT  ""`}},
	}
	for _, network := range []string{"tcp", "unix"} {
		for _, tt := range tests {
			t.Run(network+"/"+tt.about, func(t *testing.T) {
				t.Parallel()
				srv := strict(t, clientconn.Options{}, echo, func(srv *httptest.Server) {
					if network == "unix" {
						l, err := (&net.ListenConfig{}).Listen(t.Context(), network, filepath.Join(t.TempDir(), "s"))
						require.NoError(t, err)
						require.NoError(t, srv.Listener.Close())
						srv.Listener = l
					}
				})
				for _, pieces := range []int{1, 2, len(tt.send)} {
					raw, err := (&net.Dialer{}).DialContext(t.Context(), network, srv.Listener.Addr().String())
					require.NoError(t, err)
					defer raw.Close()
					require.NoError(t, raw.SetDeadline(time.Now().Add(rawtest.Patience)))
					go func() { // which fails when the server does not want all of it
						for i := range pieces {
							if _, err := io.WriteString(raw, tt.send[len(tt.send)*i/pieces:len(tt.send)*(i+1)/pieces]); err != nil {
								return
							}
						}
						_ = raw.(interface{ CloseWrite() error }).CloseWrite()
					}()
					all, _ := io.ReadAll(raw) // the end of it may be a reset
					require.Equal(t, tt.want, answers(t, string(all)), "%d %q", pieces, all)
				}
			})
		}
	}
}

// takesOver takes over what it is asked for, and says back what comes.
func takesOver(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect && r.Header.Get("Upgrade") == "" {
		echo(w, r)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	_, _ = io.Copy(conn, rw)
}

// What comes after a connection was taken over is nobody's business here.
func TestFramingEnds(t *testing.T) {
	t.Parallel()
	const switched = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
	for about, head := range map[string]string{
		"upgrade": "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"CONNECT": "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n",
	} {
		anything := "\n\x00\r\r" + both + strings.Repeat("\nx", 8<<10) + "."
		t.Run(about+", with early bytes", func(t *testing.T) {
			t.Parallel()
			c := rawtest.Dial(t, strict(t, clientconn.Options{}, takesOver).Listener.Addr().String())
			done := c.SendMeanwhile(head + anything)
			c.Expect(switched + anything)
			require.NoError(t, <-done)
		})
		t.Run(about+", with a single one", func(t *testing.T) {
			t.Parallel()
			c := rawtest.Dial(t, strict(t, clientconn.Options{}, takesOver).Listener.Addr().String())
			c.Send(head + "\n")
			c.Expect(switched + "\n")
			c.Send("\r" + both)
			c.Expect("\r" + both)
		})
		t.Run(about+", behind a request", func(t *testing.T) {
			t.Parallel()
			c := rawtest.Dial(t, strict(t, clientconn.Options{}, takesOver).Listener.Addr().String())
			c.Send(getA + head)
			c.ReadAnswer(http.MethodGet)
			c.Expect(switched)
			c.Send(anything[:100])
			c.Expect(anything[:100])
			c.CloseWrite()
			c.ExpectEOF()
		})
		t.Run(about+", as soon as it may", func(t *testing.T) {
			t.Parallel()
			handler := make(chan struct{})
			c := rawtest.Dial(t, strict(t, clientconn.Options{}, func(w http.ResponseWriter, r *http.Request) {
				<-handler
				takesOver(w, r)
			}).Listener.Addr().String())
			c.Send(head)
			c.Send("\n") // what net/http reads to see whether the client leaves
			after(t, brief)
			close(handler)
			c.Expect(switched + "\n")
			c.Send("\n")
			c.Expect("\n")
		})
	}
	t.Run("what came was refused already", func(t *testing.T) {
		t.Parallel()
		c := rawtest.Dial(t, strict(t, clientconn.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, err = conn.Read(make([]byte, 100))
			fmt.Fprint(conn, err)
		}).Listener.Addr().String())
		c.Send(getA + both)
		require.Contains(t, c.ReadToEnd(), clientconn.ErrFraming.Error())
	})
	t.Run("a copy of the rest", func(t *testing.T) {
		t.Parallel()
		c := rawtest.Dial(t, strict(t, clientconn.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.CopyN(conn, rw, int64(rw.Reader.Buffered()))
			_, _ = conn.(io.WriterTo).WriteTo(struct{ io.Writer }{conn})
		}).Listener.Addr().String())
		c.Send("GET /a HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\nearly\n")
		c.Expect("early\n")
		c.Send("late\n")
		c.Expect("late\n")
		c.CloseWrite()
		c.ExpectEOF()
	})
}

// While a request is served, what is wrong with the next one does not disturb it; that the client leaves is noticed.
func TestFramingWaits(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("the client leaves: %v", leaves), func(t *testing.T) {
			t.Parallel()
			there, more := make(chan struct{}), make(chan struct{})
			left := make(chan bool, 1)
			refused := make(chan error, 1)
			srv := strict(t, clientconn.Options{Refused: func(_ net.Addr, err error) { refused <- err }}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "begun,")
				_ = http.NewResponseController(w).Flush()
				close(there)
				select {
				case <-more:
					left <- false
				case <-r.Context().Done():
					left <- true
				}
				_, _ = io.WriteString(w, "ended")
			})
			c := rawtest.Dial(t, srv.Listener.Addr().String())
			c.Send(getA + both)
			<-there
			after(t, 2*brief)
			c.Send(both)
			if leaves {
				c.Close()
				require.True(t, <-left)
				return
			}
			close(more)
			require.False(t, <-left)
			require.Equal(t, "begun,ended", c.ReadAnswer(http.MethodGet).Body)
			c.Expect(refusal)
			c.ExpectEOF()
			c.Close()
			require.ErrorIs(t, <-refused, clientconn.ErrFraming)
		})
	}
}

func TestFramingOfLargeBodies(t *testing.T) {
	t.Parallel()
	srv := strict(t, clientconn.Options{}, echo)
	body := strings.Repeat("\nabcdef\r", 1<<16)
	for _, r := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} { // with a length, and in chunks
		res, err := srv.Client().Post(srv.URL+"/b", "", r)
		require.NoError(t, err)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, fmt.Sprintf("POST /b %q", body), string(got))
	}
}

func TestFramingBelowTLSAndHTTP2(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		srv := serve(t, true, echo, func(srv *httptest.Server) {
			srv.Listener = clientconn.NewGate(srv.Listener, clientconn.Options{Framing: true})
			srv.EnableHTTP2, srv.TLS = http2, new(tls.Config)
		})
		for range 3 {
			res, err := srv.Client().Get(srv.URL + "/a")
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, http2, res.ProtoMajor == 2)
		}
	}
	srv := strict(t, clientconn.Options{}, echo, func(srv *httptest.Server) {
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Config.Protocols.SetHTTP1(true)
	})
	client := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer client.CloseIdleConnections()
	res, err := client.Post(srv.URL+"/b", "", strings.NewReader("abc\n"))
	require.NoError(t, err)
	got, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 2, res.ProtoMajor)
	require.Equal(t, `POST /b "abc\n"`, string(got))
	c := rawtest.Dial(t, srv.Listener.Addr().String())
	c.Send(both)
	c.Expect(refusal)
	c.ExpectEOF()
}
