package http1_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a client gets of a handler is what it gets from net/http's server, on every kind of connection.
func TestAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcdef", 8<<10)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(long), 0o600))
	say := func(w io.Writer, s string) { _, _ = io.WriteString(w, s) }
	set := func(fields ...string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(fields); i += 2 {
				w.Header().Add(fields[i], fields[i+1])
			}
		}
	}
	handlers := map[string]http.HandlerFunc{
		"nothing":        func(http.ResponseWriter, *http.Request) {},
		"a word":         func(w http.ResponseWriter, _ *http.Request) { say(w, "hello") },
		"markup":         func(w http.ResponseWriter, _ *http.Request) { say(w, "<html><body>") },
		"an empty write": func(w http.ResponseWriter, _ *http.Request) { say(w, "") },
		"2048 bytes":     func(w http.ResponseWriter, _ *http.Request) { say(w, long[:2048]) },
		"2049 bytes":     func(w http.ResponseWriter, _ *http.Request) { say(w, long[:2049]) },
		"many small writes": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1000 {
				say(w, long[i:i+7])
			}
		},
		"a large write":       func(w http.ResponseWriter, _ *http.Request) { say(w, long) },
		"a small and a large": func(w http.ResponseWriter, _ *http.Request) { say(w, "x"); say(w, long) },
		"flush":               func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"flush, word":         func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); say(w, "hello") },
		"word, flush":         func(w http.ResponseWriter, _ *http.Request) { say(w, "hello"); w.(http.Flusher).Flush() },
		"word, flush, word":   func(w http.ResponseWriter, _ *http.Request) { say(w, "a"); w.(http.Flusher).Flush(); say(w, "b") },
		"404":                 func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) },
		"an unknown status":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299); say(w, "x") },
		"999":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(999) },
		"204":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"204 with a length": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "3")(w)
			w.WriteHeader(204)
			say(w, "abc")
		},
		"304": func(w http.ResponseWriter, _ *http.Request) {
			set("Etag", `"x"`, "Content-Type", "a/b", "Content-Length", "9")(w)
			w.WriteHeader(304)
		},
		"304 with a body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); say(w, "abc") },
		"two statuses":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500); say(w, "x") },
		"a length":        func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "5")(w); say(w, "hello") },
		"a length, large": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", fmt.Sprint(len(long)))(w)
			say(w, long)
		},
		"a length, in pieces": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "5")(w)
			for _, c := range "hello" {
				say(w, string(c))
			}
		},
		"a length of nothing": func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "0")(w) },
		"too little":          func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "9")(w); say(w, "hello") },
		"too little, flushed": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "9")(w)
			say(w, "hello")
			w.(http.Flusher).Flush()
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "3")(w)
			say(w, "abc")
			say(w, "d")
		},
		"too much at once":     func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "3")(w); say(w, "abcd") },
		"a bad length":         func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "-3")(w); say(w, "abc") },
		"a length with a word": func(w http.ResponseWriter, _ *http.Request) { set("Content-Length", "3 bytes")(w); say(w, "abc") },
		"fields": func(w http.ResponseWriter, _ *http.Request) {
			set("X-A", "1", "x-b", "2", "X-A", "3", "Set-Cookie", "a", "Set-Cookie", "b", "Content-Type", "a/b")(w)
			say(w, "x")
		},
		"fields set too late": func(w http.ResponseWriter, _ *http.Request) {
			set("X-A", "1")(w)
			w.WriteHeader(200)
			set("X-B", "2")(w)
			say(w, "x")
		},
		"fields set behind a word": func(w http.ResponseWriter, _ *http.Request) { say(w, "x"); set("X-B", "2")(w) },
		"bad fields": func(w http.ResponseWriter, _ *http.Request) {
			set("X A", "1", "X-Nl", "a\r\nX-Evil: b", "X-Sp", "  a ", "", "x", "X:Y", "z")(w)
			say(w, "x")
		},
		"no type":     func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; say(w, "x") },
		"an encoding": func(w http.ResponseWriter, _ *http.Request) { set("Content-Encoding", "gzip")(w); say(w, "x") },
		"no date":     func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil; say(w, "x") },
		"a date":      func(w http.ResponseWriter, _ *http.Request) { set("Date", "yesterday")(w); say(w, "x") },
		"closes":      func(w http.ResponseWriter, _ *http.Request) { set("Connection", "close")(w); say(w, "x") },
		"keeps": func(w http.ResponseWriter, _ *http.Request) {
			set("Connection", "keep-alive", "Content-Length", "1")(w)
			say(w, "x")
		},
		"an option":         func(w http.ResponseWriter, _ *http.Request) { set("Connection", "x-foo")(w); say(w, "x") },
		"identity":          func(w http.ResponseWriter, _ *http.Request) { set("Transfer-Encoding", "identity")(w); say(w, "x") },
		"chunked by itself": func(w http.ResponseWriter, _ *http.Request) { set("Transfer-Encoding", "chunked")(w); say(w, "x") },
		"chunked beside a length": func(w http.ResponseWriter, _ *http.Request) {
			set("Transfer-Encoding", "chunked", "Content-Length", "1")(w)
			say(w, "x")
		},
		"identity beside a length": func(w http.ResponseWriter, _ *http.Request) {
			set("Transfer-Encoding", "identity", "Content-Length", "1")(w)
			say(w, "x")
		},
		"a trailer": func(w http.ResponseWriter, _ *http.Request) {
			set("Trailer", "X-T, X-U")(w)
			say(w, "x")
			set("X-T", "1", "Content-Length", "7")(w)
		},
		"a trailer that has no body": func(w http.ResponseWriter, _ *http.Request) {
			set("Trailer", "X-T")(w)
			w.WriteHeader(200)
			set("X-T", "1")(w)
		},
		"a trailer unannounced": func(w http.ResponseWriter, _ *http.Request) {
			say(w, "x")
			w.(http.Flusher).Flush()
			set(http.TrailerPrefix+"X-T", "1", http.TrailerPrefix+"X-U", "2\n3")(w)
		},
		"a trailer unannounced, early": func(w http.ResponseWriter, _ *http.Request) { set(http.TrailerPrefix+"X-T", "1")(w); say(w, "x") },
		"early hints": func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMinor == 1 {
				set("Link", "</a>", "Content-Length", "1")(w)
				w.WriteHeader(103)
				w.WriteHeader(103)
			}
			say(w, "x")
		},
		"continues": func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMinor == 1 {
				w.WriteHeader(100)
			}
			say(w, "x")
		},
		"reads": func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%q %v", b, err)
		},
		"reads twice": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			n, err := r.Body.Read(make([]byte, 9))
			fmt.Fprint(w, n, err)
		},
		"closes the body": func(w http.ResponseWriter, r *http.Request) { _ = r.Body.Close(); say(w, "x") },
		"reads, closed": func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			n, err := r.Body.Read(make([]byte, 9))
			fmt.Fprint(w, n, err)
		},
		"panics": func(http.ResponseWriter, *http.Request) { panic("x") },
		"aborts": func(w http.ResponseWriter, _ *http.Request) { say(w, long); panic(http.ErrAbortHandler) },
		"aborts, flushed": func(w http.ResponseWriter, _ *http.Request) {
			say(w, "a")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"aborts by a length": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "100000")(w)
			say(w, long[:50000])
			panic(http.ErrAbortHandler)
		},
		"copies": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader(long)) },
		"copies a file": func(w http.ResponseWriter, _ *http.Request) {
			f, err := os.Open(file)
			if err == nil {
				defer f.Close()
				_, _ = io.Copy(w, f)
			}
		},
		"copies a file of known length": func(w http.ResponseWriter, _ *http.Request) {
			f, err := os.Open(file)
			if err == nil {
				defer f.Close()
				set("Content-Length", fmt.Sprint(len(long)))(w)
				_, _ = io.Copy(w, f)
			}
		},
		"copies more than is known": func(w http.ResponseWriter, _ *http.Request) {
			set("Content-Length", "40000")(w)
			_, err := io.Copy(w, strings.NewReader(long))
			_ = err
		},
		"serves a file": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.txt", testTime(), strings.NewReader(long))
		},
		"takes over": func(w http.ResponseWriter, r *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err == nil {
				rest := make([]byte, rw.Reader.Buffered())
				_, _ = io.ReadFull(rw, rest)
				_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\n" + string(rest[:min(4, len(rest))])))
				_ = c.Close()
			}
		},
		"switches and takes over": func(w http.ResponseWriter, _ *http.Request) {
			set("Connection", "Upgrade", "Upgrade", "x")(w)
			w.WriteHeader(101)
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = c.Write([]byte("raw"))
				_ = c.Close()
			}
		},
		"takes over behind a word": func(w http.ResponseWriter, _ *http.Request) {
			say(w, "x")
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, werr := w.Write([]byte("y"))
				_, _ = fmt.Fprint(c, werr)
				_ = c.Close()
			}
		},
	}
	requests := map[string]string{
		"GET":                   "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"HEAD":                  "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET, closes":           "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"GET, old":              "GET / HTTP/1.0\r\n\r\n",
		"GET, old and kept":     "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"HEAD, old and kept":    "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"POST":                  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
		"POST in chunks":        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"POST, nothing":         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST, old and kept":    "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
		"POST, expecting":       "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"POST, expecting more":  "POST / HTTP/1.1\r\nHost: h\r\nExpect: the-best\r\nContent-Length: 3\r\n\r\nabc",
		"POST, expecting, none": "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
	}
	// Where the servers differ, this is what ours does with a POST that is kept.
	const fine, typed = "POST: HTTP/1.1 200 OK\n", `  Content-Type: ["text/plain; charset=utf-8"]` + "\n"
	const next = "GET: HTTP/1.1 200 OK\n" + `  Content-Length: ["4"]` + "\n" + typed + "  Date: [\"*\"]\n  length 4, [], closes false\n  body 4 \"next\" <nil>\n  trailer map[]\nrest \"\"\n"
	differs := map[string]string{
		// net/http goes over to chunks, and does not find fault with a second word for clients of HTTP/1.0.
		"a bad length":         fine + "  Content-Length: [\"3\"]\n" + typed + "  Date: [\"*\"]\n  length 3, [], closes false\n  body 3 \"abc\" <nil>\n  trailer map[]\n" + next,
		"a length with a word": fine + "  Content-Length: [\"3\"]\n" + typed + "  Date: [\"*\"]\n  length 3, [], closes false\n  body 3 \"abc\" <nil>\n  trailer map[]\n" + next,
		// It promises clients of HTTP/1.0 to keep a connection that ends the answer.
		"chunked beside a length": fine + "  Date: [\"*\"]\n  length -1, [chunked], closes false\n  body 1 \"x\" <nil>\n  trailer map[]\n" + next,
		// It does not read the body that it has asked for, and so closes.
		"continues": "POST: HTTP/1.1 100 Continue\n" + fine + "  Content-Length: [\"1\"]\n" + typed + "  Date: [\"*\"]\n  length 1, [], closes false\n  body 1 \"x\" <nil>\n  trailer map[]\n" + next,
		// It forgets the word.
		"takes over behind a word": fine + typed + "  Date: [\"*\"]\n  length -1, [chunked], closes false\n  body 1 \"x\" unexpected EOF\n  trailer map[]\nrest \"\"\n",
		// It sends another part of what there was.
		"aborts":             fine + typed + "  Date: [\"*\"]\n  length -1, [chunked], closes false\n  body 131072 \"" + long[:80] + "\" unexpected EOF\n  trailer map[]\nrest \"\"\n",
		"aborts by a length": fine + "  Content-Length: [\"100000\"]\n" + typed + "  Date: [\"*\"]\n  length 100000, [], closes false\n  body 50000 \"" + long[:80] + "\" unexpected EOF\n  trailer map[]\nrest \"\"\n",
	}
	for about, h := range handlers {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			ours, theirs := servers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/next" {
					say(w, "next")
					return
				}
				h(w, r)
			}), nil)
			if want, ok := differs[about]; ok {
				require.Equal(t, want, told(t, ours(requests["POST"]+"GET /next HTTP/1.1\r\nHost: h\r\n\r\n", nil), "POST", "GET"))
				return
			}
			for kind, in := range requests {
				method, _, _ := strings.Cut(in, " ")
				in += "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
				require.Equal(t, told(t, theirs(in, nil), method, "GET"), told(t, ours(in, nil), method, "GET"), kind)
			}
		})
	}
}
