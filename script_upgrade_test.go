package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

const (
	// The handshake of RFC 6455 section 1.3, and its answer.
	wsAsks = "GET /switch HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n"
	wsAnswers = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
	wsSees = "GET /switch HTTP/1.1\nConnection: Upgrade\nSec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-Websocket-Protocol: chat, superchat\n" +
		"Sec-Websocket-Version: 13\nUpgrade: websocket\n"

	echoAsks    = "GET /switch HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo/2\r\n\r\n"
	echoAnswers = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/2\r\nConnection: upgrade\r\n\r\n"

	wsGoingAway = "\x88\x02\x03\xe9"
)

// opened is a connection that has switched, from both ends.
func (s *stage) opened(asks, answers string) (client, target *rawtest.Conn) {
	s.Helper()
	client = s.dial()
	client.Send(asks)
	target = s.up.Accept()
	target.ReadHead()
	target.Send(answers)
	require.Equal(s, http.StatusSwitchingProtocols, client.ReadAnswer(http.MethodGet).Status())
	return client, target
}

func TestScriptOfAWebSocket(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		client := s.dial()
		client.Send(wsAsks + "early")
		target := s.up.Accept()
		head := target.ReadHead()
		require.Equal(s, s.forwarded(wsSees), head.Text())
		target.ExpectSilence() // nothing is sent on before the target has switched
		target.Send(wsAnswers + "at once")
		require.Equal(s, "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nDate: *\nSec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"+
			"Sec-Websocket-Protocol: chat\nUpgrade: websocket\nVia: 1.1 gatehouse\n", client.ReadAnswer(http.MethodGet).Text())
		client.Expect("at once")
		target.Expect("early")
		for i := range 3 {
			client.Send(fmt.Sprintf("c%d", i))
			target.Expect(fmt.Sprintf("c%d", i))
			target.Send(fmt.Sprintf("t%d", i))
			client.Expect(fmt.Sprintf("t%d", i))
		}
		client.CloseWrite()
		target.ExpectEOF()
		target.Send("last")
		client.Expect("last")
		target.Close()
		client.ExpectEOF()
	})
}

func TestScriptOfATargetThatEndsFirst(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		client, target := s.opened(echoAsks, echoAnswers)
		target.Send("last")
		target.CloseWrite()
		client.Expect("last")
		client.ExpectEOF()
		client.Send("and yet")
		target.Expect("and yet")
		client.Close()
		target.ExpectEnd()
		target.Close()
	})
}

func TestScriptsOfTunnelsThatBreak(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			client, target := s.opened(wsAsks, wsAnswers)
			client.Reset()
			target.ExpectEnd()
		})
	})
	t.Run("target", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			client, target := s.opened(wsAsks, wsAnswers)
			target.Reset()
			client.ExpectEnd()
		})
	})
}

// What goes through is not looked at, and as much as there is.
func TestScriptOfALargeTransfer(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		client, target := s.opened(echoAsks, echoAnswers)
		large := strings.Repeat("0123456789abcdef", 1<<17)
		for _, c := range [...][2]*rawtest.Conn{{client, target}, {target, client}} {
			sent := c[0].SendMeanwhile(large)
			c[1].Expect(large)
			require.NoError(s, <-sent)
		}
		client.Close()
		target.ExpectEnd()
		target.Close()
	})
}

// A handshake that is none never reaches a target.
func TestScriptsOfHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ about, old, new, status string }{
		{"no key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400 Bad Request"},
		{"two keys", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "400 Bad Request"},
		{"a short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", "400 Bad Request"},
		{"a key that is no base64", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ?==", "400 Bad Request"},
		{"no version", "Sec-WebSocket-Version: 13\r\n", "", "426 Upgrade Required"},
		{"another version", "Version: 13", "Version: 8", "426 Upgrade Required"},
		{"two versions", "Version: 13", "Version: 13, 8", "426 Upgrade Required"},
		{"another method", "GET", "POST", "400 Bad Request"},
		{"a body", "\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nbody", "400 Bad Request"},
		{"a body in chunks", "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "400 Bad Request"},
		{"a page of another site", "Host: h\r\n", "Host: h\r\nOrigin: https://evil.test\r\n", "403 Forbidden"},
		{"two origins", "Host: h\r\n", "Host: h\r\nOrigin: https://app.test\r\nOrigin: https://app.test\r\n", "403 Forbidden"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				client := s.dial()
				client.Send(strings.Replace(wsAsks, tt.old, tt.new, 1))
				m := client.ReadAnswer(http.MethodGet)
				require.Equal(s, "HTTP/1.1 "+tt.status, m.Start)
				if m.Status() == http.StatusUpgradeRequired {
					require.Equal(s, []string{"13"}, m.Values("Sec-WebSocket-Version"))
				}
				require.Equal(s, []string{"gatehouse; error=http_request_error"}, m.Values("Proxy-Status"))
				require.Zero(s, s.up.Connections())
			})
		})
	}
}

// Who asks for what it may not have is served as if it had not asked (RFC 9110 section 7.8).
func TestScriptsOfUpgradesThatAreIgnored(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ about, asks, sees string }{
		{"HTTP/2", "GET /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", "GET /switch HTTP/1.1\n"},
		{"another protocol", "GET /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, echo\r\n\r\n", "GET /switch HTTP/1.1\n"},
		{"a route that allows none", strings.Replace(wsAsks, "/switch", "/a", 1), strings.Replace(strings.NewReplacer("Connection: Upgrade\n", "", "Upgrade: websocket\n", "").Replace(wsSees), "/switch", "/a", 1)},
		{"Connection does not say so", strings.Replace(echoAsks, "Connection: upgrade\r\n", "", 1), "GET /switch HTTP/1.1\n"},
		{"with a body, where it is not allowed", "POST /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi", "POST /switch HTTP/1.1\nContent-Length: 2\n\nhi"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				s.up.Serve(rawtest.Reply{Text: answerUp}, rawtest.Reply{Text: answerUp})
				client := s.dial()
				for range 2 {
					client.Send(tt.asks)
					require.Equal(s, 200, client.ReadAnswer(http.MethodGet).Status())
				}
				s.saw(tt.sees, tt.sees)
			})
		})
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			s.up.Serve(rawtest.Reply{Text: answerUp})
			client := s.dial()
			client.Send(strings.Replace(echoAsks, "HTTP/1.1", "HTTP/1.0", 1))
			require.Equal(s, 200, client.ReadAnswer(http.MethodGet).Status())
			s.saw("GET /switch HTTP/1.1\nVia: 1.0 gatehouse\n")
		})
	})
	t.Run("the first that is allowed is taken", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			client := s.dial()
			client.Send("GET /switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c, ECHO/2\r\nUpgrade: websocket\r\n\r\n")
			target := s.up.Accept()
			require.Equal(s, []string{"ECHO/2"}, target.ReadHead().Values("Upgrade"))
			target.Send(echoAnswers)
			require.Equal(s, 101, client.ReadAnswer(http.MethodGet).Status())
			client.Close()
			target.ExpectEnd()
			target.Close()
		})
	})
}

// A target may decline, in any way.
func TestScriptOfATargetThatDeclines(t *testing.T) {
	t.Parallel()
	play(t, func(s *stage) {
		client := s.dial()
		for _, answer := range []string{answerUp, "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"} {
			client.Send(wsAsks)
			target := s.up.Accept() // no connection over which it was asked for is used again
			target.ReadHead()
			target.Send(answer)
			require.Len(s, client.ReadAnswer(http.MethodGet).Body, 2)
			target.ExpectEnd()
		}
		client.Send(wsAsks + "GET /a HTTP/1.1\r\nHost: h\r\n\r\n") // a client that is too sure of itself has sent another request
		target := s.up.Accept()
		target.ReadHead()
		target.Send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		require.Equal(s, 404, client.ReadAnswer(http.MethodGet).Status())
	})
}

// A target that switches to something else than was asked for has not understood.
func TestScriptsOfSwitchesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ about, asks, answers, old, new string }{
		{"another protocol", wsAsks, wsAnswers, "Upgrade: websocket", "Upgrade: h2c"},
		{"no protocol", wsAsks, wsAnswers, "Upgrade: websocket\r\n", ""},
		{"two protocols", wsAsks, wsAnswers, "Upgrade: websocket\r\n", "Upgrade: websocket\r\nUpgrade: websocket\r\n"},
		{"no Connection", wsAsks, wsAnswers, "Connection: Upgrade\r\n", ""},
		{"the answer to another key", wsAsks, wsAnswers, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="},
		{"no answer to the key", wsAsks, wsAnswers, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", ""},
		{"a protocol within it that was not offered", wsAsks, wsAnswers, "Protocol: chat", "Protocol: Chat"},
		{"an extension that was not offered", wsAsks, wsAnswers, "Connection:", "Sec-WebSocket-Extensions: permessage-deflate\r\nConnection:"},
		{"another version of the protocol", echoAsks, echoAnswers, "echo/2", "echo/3"},
		{"nobody asked", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", echoAnswers, "", ""},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			play(t, func(s *stage) {
				client := s.dial()
				client.Send(tt.asks)
				target := s.up.Accept()
				target.ReadHead()
				target.Send(strings.Replace(tt.answers, tt.old, tt.new, 1) + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
				m := client.ReadAnswer(http.MethodGet)
				require.Equal(s, 502, m.Status())
				require.Equal(s, []string{"gatehouse; error=http_protocol_error"}, m.Values("Proxy-Status"))
				target.ExpectEnd()
				s.up.Serve(rawtest.Reply{Text: answerUp})
				client.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
				require.Equal(s, "up", client.ReadAnswer(http.MethodGet).Body, "the client's connection is as good as before")
			})
		})
	}
}

// frame is one of a WebSocket, as a server sends it.
func frame(op byte, payload string) string {
	return string([]byte{0x80 | op, byte(len(payload))}) + payload
}

// A gateway that shuts down closes WebSockets, between two frames.
func TestScriptsOfAShutdown(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			client, target := s.opened(wsAsks, wsAnswers)
			target.Send(frame(1, "hello"))
			client.Expect(frame(1, "hello"))
			go s.shutdown()
			client.Expect(wsGoingAway)
			client.Send("\x88\x82\x00\x00\x00\x00\x03\xe9") // as it has to
			target.Expect("\x88\x82\x00\x00\x00\x00\x03\xe9")
			target.Send("\x88\x02\x03\xe9") // nothing follows a Close frame
			target.Close()
			client.ExpectEOF()
			client.Close()
			s.shutdown()
		})
	})
	t.Run("within a frame", func(t *testing.T) {
		t.Parallel()
		play(t, func(s *stage) {
			client, target := s.opened(wsAsks, wsAnswers)
			whole := frame(1, "hello")
			target.Send(whole[:4])
			client.Expect(whole[:4])
			go s.shutdown()
			target.Send(whole[4:])
			client.Expect(whole[4:] + wsGoingAway)
			client.Close()
			target.ExpectEnd()
			target.Close()
			s.shutdown()
		})
	})
}
