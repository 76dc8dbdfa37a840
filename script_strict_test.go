package gateway_test

import (
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/policy"
)

// What TestScriptsOfFraming shows net/http to repair reaches neither a handler nor a target behind NewListener.
func TestScriptsOfStrictFraming(t *testing.T) {
	t.Parallel()
	const (
		post    = "POST /a HTTP/1.1\r\nHost: h\r\n"
		chunked = "Transfer-Encoding: chunked\r\n"
		abc     = "3\r\nabc\r\n0\r\n\r\n"
		first   = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n"
	)
	for about, send := range map[string]string{
		"length and coding":             post + "Content-Length: 3\r\n" + chunked + "\r\n" + abc,
		"coding and length":             post + chunked + "Content-Length: 100\r\n\r\n" + abc,
		"equal lengths":                 post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"coding in HTTP/1.0":            "POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n" + chunked + "\r\n" + abc,
		"coding and length in HTTP/1.0": "POST /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 3\r\n" + chunked + "\r\nabc",
		"coding on a line of its own":   post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + abc,
		"coding behind bare LF":         post + "A: b\nTransfer-Encoding: chunked\r\n\r\n" + abc,
		"coding with a space before":    post + "A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
		"lines that end in LF":          "GET /a HTTP/1.1\nHost: h\n\n",
		"an empty line before":          "\r\n" + first,
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			for name, secure := range map[string]bool{"direct": false, "standard": true} {
				for behind, before := range map[string]string{"alone": "", "behind another": first} {
					t.Run(name+", "+behind, func(t *testing.T) {
						t.Parallel()
						l, err := gateway.NewListener(listen(t), gateway.ListenerConfig{})
						require.NoError(t, err)
						s := newStage(t, l, policy.EntryConfig{}, secure, false)
						saw := []string{}
						if before != "" {
							s.up.Serve(rawtest.Reply{Text: answerUp})
							saw = append(saw, "GET /first HTTP/1.1\n")
						}
						c := s.dial()
						c.Send(before + send + nextBytes)
						if before != "" {
							require.Equal(s, 200, c.ReadAnswer(http.MethodGet).Status())
						}
						require.Equal(s, "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 0\nDate: *\n", c.ReadAnswer(http.MethodPost).Text())
						c.ExpectEnd()
						s.saw(saw...)
					})
				}
			}
		})
	}
}

// WebSockets are taken over with what came early, and their connections are no longer looked at.
func TestScriptsOfStrictUpgrades(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"direct": false, "standard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := gateway.NewListener(listen(t), gateway.ListenerConfig{MaxConns: 1})
			require.NoError(t, err)
			s := newStage(t, l, policy.EntryConfig{}, secure, false)
			c := s.dial()
			c.Send("GET /switch HTTP/1.1\r\nHost: h\r\nOrigin: https://app.test\r\nConnection: Upgrade\r\nUpgrade: echo/2\r\n\r\n\nearly\r")
			up := s.up.Accept()
			up.ReadRequest()
			up.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/2\r\n\r\nhello\n")
			require.Equal(s, 101, c.ReadAnswer(http.MethodGet).Status())
			c.Expect("hello\n")
			up.Expect("\nearly\r")
			c.Send("\n\nlate")
			up.Expect("\n\nlate")
			if other, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr); err == nil { // it counts as long as it is open
				defer other.Close()
				require.NoError(t, other.SetDeadline(time.Now().Add(rawtest.Patience)))
				_, err = other.Read(make([]byte, 1))
				require.Error(t, err)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			}
			up.Close()
			c.ExpectEnd()
		})
	}
}
