//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	const (
		post    = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
		chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
		empty   = "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
		get     = "GET / HTTP/1.1\r\n\r\n"
		large   = "GET /1m HTTP/1.1\r\n\r\n"
	)
	tests := []struct {
		in   string
		want []verdict
	}{
		{get, []verdict{answerSmall}},
		{large, []verdict{answerLarge}},
		{post, []verdict{answerSmall}},
		{empty, []verdict{answerSmall}},
		{chunked, []verdict{answerSmall}},
		{get + large + post + chunked + empty + get, []verdict{answerSmall, answerLarge, answerSmall, answerSmall, answerSmall, answerSmall}},
		{post[:len(post)-1], nil},
		{chunked[:len(chunked)-1], nil},
	}
	for _, tt := range tests {
		// Whole, and byte by byte.
		for _, step := range []int{len(tt.in), 1} {
			var c conn
			var got []verdict
			for i := 0; i < len(tt.in); i += step {
				c.in = append(c.in, tt.in[i:i+step]...)
				for v := c.next(); v != needMore; v = c.next() {
					got = append(got, v)
				}
			}
			require.Equal(t, tt.want, got, "%q by %d", tt.in, step)
		}
	}
	for _, bad := range []string{"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", string(make([]byte, maxHead+1))} {
		c := conn{in: []byte(bad)}
		require.Equal(t, giveUp, c.next())
	}
}
