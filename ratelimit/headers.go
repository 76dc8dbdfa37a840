package ratelimit

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// Headers is a set of header fields that tell clients how the limits stand. Combine them with |.
type Headers uint

const (
	// HeadersDraft is RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-10, with every limit:
	//
	//	RateLimit-Policy: "minute";q=60;w=60
	//	RateLimit: "minute";r=59;t=1
	HeadersDraft Headers = 1 << iota
	// HeadersPeriod is Kong's pair of fields for each limit, the limit's name in theirs:
	//
	//	X-RateLimit-Limit-Minute: 60
	//	X-RateLimit-Remaining-Minute: 59
	HeadersPeriod
	// HeadersReset is RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset as in the drafts up to 06, which Kong
	// sends too. They are about the limit that refused, else the one with the least remaining, of equals the one with
	// the longest window.
	HeadersReset

	allHeaders = HeadersDraft | HeadersPeriod | HeadersReset
)

// fields are the header fields of a Limiter: what does not depend on the request is prepared once.
type fields struct {
	style  Headers
	limits []Limit
	names  []string // canonical, in the order of values
	fixed  []string // for each limit its count as text, then the RateLimit-Policy
}

func newFields(style Headers, limits []Limit) *fields {
	f := &fields{style: style, limits: limits}
	if style&HeadersPeriod != 0 {
		for _, l := range limits {
			f.names = append(f.names, http.CanonicalHeaderKey("X-RateLimit-Limit-"+l.Name), http.CanonicalHeaderKey("X-RateLimit-Remaining-"+l.Name))
		}
	}
	if style&HeadersReset != 0 {
		f.names = append(f.names, "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset")
	}
	if style&HeadersDraft != 0 {
		f.names = append(f.names, "Ratelimit-Policy", "Ratelimit")
	}
	var p []byte
	for i, l := range limits {
		f.fixed = append(f.fixed, strconv.Itoa(l.Requests))
		if i > 0 {
			p = append(p, ", "...)
		}
		p = append(append(append(p, '"'), l.Name...), `";q=`...)
		p = strconv.AppendInt(p, int64(l.Requests), 10)
		if l.Window%time.Second == 0 { // w is in whole seconds, and optional
			p = append(p, ";w="...)
			p = strconv.AppendInt(p, int64(l.Window/time.Second), 10)
		}
	}
	f.fixed = append(f.fixed, string(p))
	return f
}

// values returns the values of f.names for states, in two allocations. worst is the limit that refused, or -1.
func (f *fields) values(sc *scratch, worst int) []string {
	if len(f.names) == 0 {
		return nil
	}
	// All that varies is written behind one another and turned into one string; ends says where each value ends.
	b, ends := sc.text[:0], sc.ends[:0]
	number := func(n int64) {
		b = strconv.AppendInt(b, n, 10)
		ends = append(ends, len(b))
	}
	if f.style&HeadersPeriod != 0 {
		for i := range f.limits {
			number(f.remaining(sc.states, i))
		}
	}
	if f.style&HeadersReset != 0 {
		if worst < 0 {
			worst = f.tightest(sc.states)
		}
		number(f.remaining(sc.states, worst))
		number(resetSeconds(sc.states[worst]))
	}
	if f.style&HeadersDraft != 0 {
		for i, l := range f.limits {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(append(append(b, '"'), l.Name...), `";r=`...)
			b = strconv.AppendInt(b, f.remaining(sc.states, i), 10)
			b = append(b, ";t="...)
			b = strconv.AppendInt(b, resetSeconds(sc.states[i]), 10)
		}
		ends = append(ends, len(b))
	}
	sc.text, sc.ends = b, ends

	text, from := string(b), 0 // the scratch is used again, so this is a copy
	next := func() string {
		v := text[from:ends[0]]
		from, ends = ends[0], ends[1:]
		return v
	}
	values := make([]string, 0, len(f.names))
	if f.style&HeadersPeriod != 0 {
		for i := range f.limits {
			values = append(values, f.fixed[i], next())
		}
	}
	if f.style&HeadersReset != 0 {
		values = append(values, f.fixed[worst], next(), next())
	}
	if f.style&HeadersDraft != 0 {
		values = append(values, f.fixed[len(f.limits)], next())
	}
	return values
}

// remaining is what clients are told: not more than the limit, though a Burst may be larger.
func (f *fields) remaining(states []State, i int) int64 {
	return int64(min(states[i].Remaining, f.limits[i].Requests))
}

// tightest returns the limit with the least remaining, of equals the one with the longest window.
func (f *fields) tightest(states []State) int {
	best := 0
	for i := range f.limits {
		a, b := f.remaining(states, i), f.remaining(states, best)
		if a < b || a == b && f.limits[i].Window > f.limits[best].Window {
			best = i
		}
	}
	return best
}

// resetSeconds agrees with Retry-After where a limit refused.
func resetSeconds(s State) int64 {
	if s.Wait > 0 {
		return seconds(s.Wait)
	}
	return seconds(s.Reset)
}

// seconds rounds up, so that nobody comes too early, but not for what the arithmetic of a bucket may be off.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - time.Microsecond) / time.Second)
}

// retryAfter is at least 1: 0 would invite a loop.
func retryAfter(d time.Duration) string { return strconv.FormatInt(max(seconds(d), 1), 10) }

// put sets the fields in h. The values share one array, which nobody else has.
func (f *fields) put(h http.Header, values []string) {
	for i := range values {
		h[f.names[i]] = values[i : i+1 : i+1]
	}
}

// onHeader returns a function that sets the fields on the head of an answer, in place of what an upstream sent under the
// same names.
func (f *fields) onHeader(values []string, x *policy.Exchange) func(int, http.Header) {
	// When the head goes out, and not before the handler runs: a proxy adds what the upstream sent to what it finds.
	return func(status int, h http.Header) {
		if status < 400 || !refusedInside(x) {
			f.put(h, values)
			return
		}
		// Another Limiter, nearer to the handler, refused. What it says is what the client must heed.
		for i, name := range f.names {
			if len(h[name]) == 0 {
				h[name] = values[i : i+1 : i+1]
			}
		}
	}
}

func refusedInside(x *policy.Exchange) bool {
	d, ok := x.Refusal()
	return ok && errors.Is(d.Err, ErrExceeded)
}

// scratch is what one decision needs room for.
type scratch struct {
	key    []byte
	text   []byte
	ends   []int
	states []State
}

// maxScratch is the most room for a key that is kept from one request to the next.
const maxScratch = 4 << 10

func newScratch(limits int) *scratch {
	return &scratch{key: make([]byte, 0, 128), text: make([]byte, 0, 128), states: make([]State, limits)}
}

// reset makes s ready for the next request; of a long key nothing is kept.
func (s *scratch) reset() {
	if cap(s.key) > maxScratch {
		s.key = nil
	}
}
