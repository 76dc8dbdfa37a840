package mirror

import (
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"time"
)

// answer is what is kept of an answer in order to compare it: the fields that count, a hash of the body, and the body itself
// where it is JSON. Until it has ended it belongs to the goroutine that answers.
type answer struct {
	c       *duplicate
	outer   http.Header // what was in the header before: no part of the answer
	empty   bool        // the request is a HEAD
	began   time.Time
	took    time.Duration
	status  int
	header  http.Header
	names   []string // of the trailers that were announced
	trailer http.Header
	json    bool
	gzip    bool
	body    []byte
	over    bool // the body is longer than MaxBody, or what may be held
	size    int64
	hash    maphash.Hash
	held    int64
	bad     bool // it cannot be compared
}

// newAnswer returns an answer in whose header there is already what outer holds.
func newAnswer(c *duplicate, outer http.Header) *answer {
	a := &answer{c: c, empty: c.method == http.MethodHead, began: time.Now()}
	a.hash.SetSeed(c.m.seed)
	if len(outer) > 0 {
		a.outer = make(http.Header, len(outer))
		for name, values := range outer {
			a.outer[name] = values[:len(values):len(values)]
		}
	}
	return a
}

// head keeps what counts of the head.
func (a *answer) head(status int, h http.Header) {
	if a.status = status; a.c.useless.Load() {
		return
	}
	a.header = a.pick(h, false)
	contentType, encoding := h["Content-Type"], h["Content-Encoding"]
	a.gzip = len(encoding) == 1 && strings.EqualFold(encoding[0], "gzip")
	a.json = len(contentType) == 1 && isJSON(contentType[0]) && (len(encoding) == 0 || a.gzip)
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			a.names = append(a.names, http.CanonicalHeaderKey(strings.Trim(name, " \t")))
		}
	}
}

// end keeps what counts of the trailers, and sets the time.
func (a *answer) end(h http.Header) {
	if a.took == 0 {
		a.took = time.Since(a.began)
	}
	if a.c.useless.Load() {
		return
	}
	a.trailer = a.pick(h, true)
}

// pick copies the fields that count, or the trailers.
func (a *answer) pick(h http.Header, trailers bool) http.Header {
	out := http.Header{}
	for key, values := range h {
		name, isTrailer := strings.CutPrefix(key, http.TrailerPrefix)
		isTrailer = isTrailer || trailers && slices.Contains(a.names, name)
		if isTrailer != trailers || !a.c.m.fields.counts(name) {
			continue
		}
		if before, ok := a.outer[key]; ok && slices.Equal(before, values) {
			continue
		}
		out[name] = slices.Clone(values)
	}
	if !a.c.m.hold(&a.held, int64(headerBytes(out))) {
		a.bad = true
		return nil
	}
	return out
}

// write keeps what counts of the body.
func (a *answer) write(p []byte) {
	if a.empty || a.bad || a.c.m.cfg.Compare.SkipBody {
		return
	}
	if a.c.useless.Load() {
		a.free()
		return
	}
	a.size += int64(len(p))
	_, _ = a.hash.Write(p) // never fails
	if !a.json || a.over {
		return
	}
	need := int64(len(a.body) + len(p))
	if need > a.c.m.cfg.MaxBody {
		a.body, a.over = nil, true
		return
	}
	if room := int64(cap(a.body)); need > room {
		const least = 1 << 10
		size := max(need, min(max(2*room, least), a.c.m.cfg.MaxBody))
		if !a.c.m.hold(&a.held, size-room) {
			a.body, a.over = nil, true
			return
		}
		body := make([]byte, len(a.body), size)
		copy(body, a.body)
		a.body = body
	}
	a.body = append(a.body, p...)
}

// free lets go of it.
func (a *answer) free() {
	a.body, a.header, a.trailer, a.outer, a.over = nil, nil, nil, nil, true
	a.c.m.release(&a.held)
}

// isJSON tells whether a Content-Type is that of one JSON value.
func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}

// fieldRules say which header fields count.
type fieldRules struct {
	all    bool
	listed map[string]bool // those that count, or with all those that do not
}

func newFieldRules(c *Compare) fieldRules {
	r := fieldRules{listed: map[string]bool{}}
	list := c.Headers
	if c.Headers == nil {
		r.all = true
		list = slices.Concat(c.IgnoreHeaders, []string{
			"Age", "Alt-Svc", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Status", "Server-Timing", "Set-Cookie", "Trailer",
			"Transfer-Encoding", "Via", "X-Request-Id",
		})
	}
	for _, name := range list {
		r.listed[name] = true
	}
	return r
}

func (r fieldRules) counts(name string) bool { return r.listed[name] != r.all }
