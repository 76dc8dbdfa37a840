//go:build linux

package main

import (
	"bytes"
	"strconv"
)

// maxHead is the longest head of a request that is waited for.
const maxHead = 64 << 10

// conn is one client connection.
type conn struct {
	fd      int
	in      []byte
	body    int      // bytes of a request's body still to come
	chunked bool     // a chunked body is coming
	pending bool     // a body is or was coming, and its request has no answer yet
	out     [][]byte // answers to be written, the first perhaps in part
	waits   bool     // for the socket to take more
}

// verdict is what is to be done next.
type verdict int

const (
	needMore verdict = iota
	answerSmall
	answerLarge
	giveUp
)

// next takes one request, or as much of it as has come, from what was read. It trusts the proxies it stands behind: a
// chunked body is over at the first thing that looks like its end.
func (c *conn) next() verdict {
	if c.chunked {
		end := []byte("0\r\n\r\n")
		i := bytes.Index(c.in, end)
		if i < 0 {
			c.drop(max(0, len(c.in)-len(end)+1))
			return needMore
		}
		c.drop(i + len(end))
		c.chunked = false
	}
	if c.body > 0 {
		n := min(c.body, len(c.in))
		c.drop(n)
		c.body -= n
		if c.body > 0 {
			return needMore
		}
	}
	if c.pending {
		c.pending = false
		return answerSmall
	}
	head, _, ok := bytes.Cut(c.in, []byte("\r\n\r\n"))
	if !ok {
		if len(c.in) > maxHead {
			return giveUp
		}
		return needMore
	}
	v := answerSmall
	if bytes.HasPrefix(head, []byte("GET /1m")) {
		v = answerLarge
	}
	if bytes.HasPrefix(head, []byte("P")) {
		if !c.expect(bytes.ToLower(head)) {
			v = giveUp
		}
	}
	c.drop(len(head) + len("\r\n\r\n"))
	if c.pending {
		return c.next()
	}
	return v
}

// expect reads from a head in lower case which body comes, and reports whether that is to be understood.
func (c *conn) expect(head []byte) bool {
	if bytes.Contains(head, []byte("\r\ntransfer-encoding: chunked")) {
		c.chunked, c.pending = true, true
		return true
	}
	_, value, ok := bytes.Cut(head, []byte("\r\ncontent-length:"))
	if !ok {
		return true
	}
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
	if err != nil || n < 0 {
		return false
	}
	c.body, c.pending = n, n > 0
	return true
}

// drop forgets the first n bytes, and keeps the memory.
func (c *conn) drop(n int) { c.in = append(c.in[:0], c.in[n:]...) }
