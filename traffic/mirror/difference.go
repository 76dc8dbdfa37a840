package mirror

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Difference is what differed between the answers to one request. It holds no values of query parameters, header fields or
// bodies, unless Compare.InsecureShowValues is set.
type Difference struct {
	// Mirror is the name of the Mirror, Route that of the route, "" outside of a gateway.
	Mirror, Route string
	// Method and Path are the request's, the path canonical where an Entry has seen it, and cut off at 256 bytes. RequestID is
	// its id, which the shadow got in Config.Header.
	Method, Path, RequestID string
	// At is when the answers were compared, Took and ShadowTook how long both took.
	At               time.Time
	Took, ShadowTook time.Duration
	// Status and ShadowStatus are those of the answers.
	Status, ShadowStatus int
	// Details are what differed, the first of them, and More counts the others. It is never empty.
	Details []Detail
	More    int
}

// Detail is one thing that differed.
type Detail struct {
	// Where is "status", "header NAME", "trailer NAME", "body", or "body PATH" with a path as in [Compare].
	Where string
	// What is
	//   - "value": the values differ, "type": so do their types in JSON, "length": so do numbers of bytes or elements,
	//   - "missing": the shadow has none, "added": only the shadow has one,
	//   - "unmatched": an element of an unordered array has no counterpart in the shadow's.
	What string
	// Shown and ShadowShown are the values, quoted and cut off at 64 bytes, where Compare.InsecureShowValues is set; for
	// the status they are always there, and for a length.
	Shown, ShadowShown string
}

// String says the detail in a few words, such as "body items[2].price value" or "status 200, shadow 500".
func (d Detail) String() string {
	s := d.Where
	if d.Where != statusField {
		s += " " + d.What
	}
	switch {
	case d.Shown != "" && d.ShadowShown != "":
		s += " " + d.Shown + ", shadow " + d.ShadowShown
	case d.Shown != "":
		s += " " + d.Shown
	case d.ShadowShown != "":
		s += " shadow " + d.ShadowShown
	}
	return s
}

// String says the difference on one line, such as
//
//	users: GET /v1/users/42: header Cache-Control missing; body items[2].price value; and 3 more
func (d Difference) String() string {
	var b strings.Builder
	if d.Route != "" {
		b.WriteString(d.Route + ": ")
	}
	b.WriteString(d.Method + " " + d.Path + ": ")
	for i, x := range d.Details {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(x.String())
	}
	if d.More > 0 {
		b.WriteString("; and " + strconv.Itoa(d.More) + " more")
	}
	return b.String()
}

const (
	statusField  = "status"
	maxShown     = 64
	maxPathShown = 256
)

// shorten cuts a text off, at a character.
func shorten(s string) string { return cut(s, maxShown) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// shown is a value as differences have it.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(shorten(v))
	case []string:
		return strconv.Quote(shorten(strings.Join(v, ", ")))
	case []any:
		return fmt.Sprintf("array of %d", len(v))
	case map[string]any:
		return fmt.Sprintf("object of %d", len(v))
	case nil:
		return "null"
	default:
		return shorten(fmt.Sprint(v))
	}
}

// recents holds the differences that came last.
type recents struct {
	mu   sync.Mutex
	list []Difference
}

// keptDifferences is how many.
const keptDifferences = 16

func (r *recents) add(d Difference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == keptDifferences {
		r.list = append(r.list[:0], r.list[1:]...)
	}
	r.list = append(r.list, d)
}

// Recent returns the differences that were found last, 16 at most, the oldest first. Their Details are read-only.
func (m *Mirror) Recent() []Difference {
	if !m.ready() {
		return nil
	}
	m.recents.mu.Lock()
	defer m.recents.mu.Unlock()
	return append([]Difference{}, m.recents.list...)
}
