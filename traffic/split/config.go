package split

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/circuit"
	"github.com/gatehouse-go/gateway/policy"
)

// Defaults of [Config] and [Rule].
const (
	DefaultName       = "split"
	DefaultErrorShare = 0.05
	DefaultWindow     = time.Minute
	DefaultMinimum    = 20
)

const (
	mostArms      = 64
	mostOverrides = 256
	mostWeight    = 1 << 20
	mostMinimum   = 1 << 20
	longest       = 7 * 24 * time.Hour
	shortest      = circuit.Buckets * time.Millisecond
	leastRatio    = 1.0
	mostRatio     = 1 << 20
)

// Arm is a handler among which a [Split] chooses.
type Arm struct {
	// Name is a token, such as "canary" or "v1.2", and unique. Decision records and [Config.Header] show it.
	Name string
	// Weight is the arm's part of the traffic, compared with the others': 0 to 1,048,576. They need not add up to 100. An arm
	// of weight 0 gets what overrides send it.
	Weight int
	// Handler answers. It is the caller's to close, or the gateway's: see gateway.Config.Owns.
	Handler http.Handler
}

// Config configures a [Split]. Arms is all it needs.
type Config struct {
	// Name is the Split's name in decision records and rollbacks, and part of what keys are hashed with: Splits of one name have
	// the same keys in arms of the same names. One below another has a name of its own. It has no control characters. Default "split".
	Name string
	// Arms are at least one and at most 64, not all of weight 0. The slice is copied.
	Arms []Arm

	// Sticky says by what requests are told apart, such as policy.ByConsumer().Or(policy.ByHeader("X-Session")). The zero Key, and
	// requests for which a key has no value: by nothing, so that arms have them in turn.
	Sticky policy.Key
	// Cookie, where it has a name, is what tells requests apart for which Sticky has no value. A client that has no such cookie
	// gets one with its answer. A cache outside must not store that.
	Cookie Cookie
	// Seed is mixed into the hashes. A secret one keeps clients, who may know their keys, from choosing an arm. All
	// gateways that should agree have the same.
	Seed uint64
	// Overrides are looked at first, in this order; at most 256. The slice is copied.
	Overrides []Override
	// Header is a field of the answer that names the arm, also where the arm sets it itself. Default: none.
	Header string

	// Rollback takes an arm's weight away when it is worse than another. The zero Rule, which has no Arm, does nothing.
	Rollback Rule
}

// Rule says when the weight of an arm is taken away. It goes to the arm Against, at once and for good: until SetWeights, Switch or Revert
// is called, of which only the first two do anything then. Overrides choose the arm no longer, either, so that nobody is left there.
//
// A rule about errors and one about latency are independent: either is enough. Where both numbers of one are set, both must
// hold. If none of the four is set ErrorShare is 0.05.
type Rule struct {
	// Arm is watched, Against is what it is compared with: names of two arms.
	Arm, Against string
	// ErrorShare is by how much the share of errors of Arm is above that of Against: with 0.05, 7 % against 1 % is enough.
	// Above 0 up to 1.
	ErrorShare float64
	// ErrorRatio is how many times that of Against it is. More than 1. Alone it reacts to small shares, too.
	ErrorRatio float64
	// Latency is by how much the 95th percentile of Arm is above that of Against. Latencies are known within an eighth, which
	// counts in favour of Arm.
	Latency time.Duration
	// LatencyRatio is how many times that of Against it is. More than 1.
	LatencyRatio float64
	// Window is how far back it looks, and [Status]. It moves on by a tenth of its length. Default 60 s; 10 ms to a week.
	Window time.Duration
	// Minimum is how many requests must have ended within Window on each side. Default 20. With few requests a difference
	// has to be larger to be more than chance: of 20 at least 9 must fail where none of Against does.
	Minimum int
	// KeepOverrides lets overrides choose Arm after a rollback, for who is to find out what was wrong.
	KeepOverrides bool
	// OnRollback is told, by the goroutine of a request: it should be quick. Nil: nobody is told.
	OnRollback func(Rollback)
}

// withDefaults returns c with its defaults filled in and without anything the caller could change, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("split: "+format, args...)) }
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		wrong("Name %q has control characters, or is not UTF-8; logs and metrics show it", c.Name)
	}
	c.Name = cmp.Or(c.Name, DefaultName)
	names := c.checkArms(wrong)
	c.Arms = slices.Clone(c.Arms)
	c.checkSticky(wrong)
	c.Cookie.check(wrong)
	c.Overrides = checkOverrides(c.Overrides, names, wrong)
	if c.Header != "" {
		switch name := http.CanonicalHeaderKey(c.Header); {
		case !canonical.Token(c.Header):
			wrong("Header %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Arm", c.Header)
		case canonical.EndToEnd(name) || slices.Contains(otherFields, name):
			wrong("Header %q means something else in an answer; use a name of your own, as X-Arm", c.Header)
		default:
			c.Header = name
		}
	}
	c.Rollback.check(names, wrong)
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// otherFields are further fields that are no place for a name.
//
//nolint:gochecknoglobals // a constant list
var otherFields = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Retry-After", "Allow", "Link", "Age",
}

// checkArms returns the names of the arms.
func (c Config) checkArms(wrong func(format string, args ...any)) map[string]int {
	names := make(map[string]int, len(c.Arms))
	if n := len(c.Arms); n == 0 || n > mostArms {
		wrong("Arms has %d arms; use 1 to %d", n, mostArms)
	}
	sum, usable := 0, len(c.Arms) > 0
	for i, a := range c.Arms {
		if !canonical.Token(a.Name) {
			wrong("Arms[%d].Name %q is no token; use letters, digits, hyphens and dots, as in canary", i, a.Name)
		} else if first, twice := names[a.Name]; twice {
			wrong("Arms[%d] and Arms[%d] are both named %q; names are unique", first, i, a.Name)
		} else {
			names[a.Name] = i
		}
		if a.Weight < 0 || a.Weight > mostWeight {
			wrong("Arms[%d].Weight is %d; use 0 to %d", i, a.Weight, mostWeight)
			usable = false
		}
		sum += max(min(a.Weight, mostWeight), 0)
		if isNil(a.Handler) {
			wrong("Arms[%d].Handler is nil; set an *Upstream or any http.Handler, and check the error of its constructor", i)
			continue
		}
		w := walk{name: c.Name, left: mostHandlers}
		if problem := w.look(a.Handler, mostDepth); problem != "" {
			wrong("Arms[%d].Handler %s", i, problem)
		}
	}
	if sum == 0 && usable {
		wrong("all Weights are 0; give one arm at least some of the traffic")
	}
	return names
}

// isNil reports whether h is nil or holds a nil pointer or func, as the result of a constructor whose error was not looked at does.
func isNil(h http.Handler) bool {
	if h == nil {
		return true
	}
	switch v := reflect.ValueOf(h); v.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice, reflect.Chan:
		return v.IsNil()
	default:
		return false
	}
}

const (
	mostDepth    = 16
	mostHandlers = 1000
)

// walk looks at handlers below an arm, which an application may have tied into a cycle.
type walk struct {
	name string // of the Split they would be in
	way  []http.Handler
	left int
}

// look returns what is wrong with h as the handler of an arm, or "".
func (w *walk) look(h http.Handler, depth int) string {
	if s, ok := h.(*Split); ok && s.ready() != nil && s.cfg.Name == w.name {
		return fmt.Sprintf("has a Split below it that is named %q, too; give one another Name, or keys would meet in the same arms", w.name)
	}
	inner, ok := h.(interface{ Handlers() []http.Handler })
	if !ok {
		return ""
	}
	if reflect.TypeOf(h).Comparable() {
		if slices.ContainsFunc(w.way, func(o http.Handler) bool { return reflect.TypeOf(o).Comparable() && o == h }) {
			return fmt.Sprintf("leads back to itself, by the Handlers of a %T; a request would go round until the process ends", h)
		}
	}
	if w.left--; depth == 0 || w.left < 0 {
		return fmt.Sprintf("has more than %d levels, or %d handlers, below it; it leads back to itself, perhaps", mostDepth, mostHandlers)
	}
	w.way = append(w.way, h)
	defer func() { w.way = w.way[:len(w.way)-1] }()
	for _, h := range inner.Handlers() {
		if problem := w.look(h, depth-1); problem != "" {
			return problem
		}
	}
	return ""
}

func (c Config) checkSticky(wrong func(format string, args ...any)) {
	switch k, err := c.Sticky, c.Sticky.Err(); {
	case err != nil:
		for problem := range strings.Lines(err.Error()) { // one for each side of an Or
			wrong("Sticky: %s", strings.TrimSuffix(problem, "\n"))
		}
	case k.Of == nil && (k.Name != "" || len(k.Requires) > 0):
		wrong("Sticky %q has no Of, and so the same value for all requests; use a key such as policy.ByConsumer()", k.Name)
	}
}

// checkOverrides returns the overrides with their defaults.
func checkOverrides(list []Override, arms map[string]int, wrong func(format string, args ...any)) []Override {
	list = slices.Clone(list)
	if n := len(list); n > mostOverrides {
		wrong("Overrides has %d; use at most %d", n, mostOverrides)
	}
	seen := make(map[string]int, len(list))
	for i := range list {
		o := &list[i]
		if _, ok := arms[o.Arm]; !ok {
			wrong("Overrides[%d].Arm %q is no arm; name one of Arms", i, o.Arm)
		}
		set := 0
		for _, v := range [...]string{o.Header, o.Cookie, o.Group} {
			if v != "" {
				set++
			}
		}
		if set != 1 {
			wrong("Overrides[%d] has %d of Header, Cookie and Group; set exactly one", i, set)
			continue
		}
		switch {
		case o.Group != "":
			if o.Value != "" {
				wrong("Overrides[%d].Value %q has no meaning with Group; leave it out", i, o.Value)
			}
		default:
			o.Value = cmp.Or(o.Value, o.Arm)
			if !canonical.ExactFieldValue(o.Value) {
				wrong("Overrides[%d].Value %q cannot come in a field; use no control characters, and no space at the ends", i, o.Value)
			}
		}
		switch {
		case o.Header != "" && !canonical.Token(o.Header):
			wrong("Overrides[%d].Header %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Arm", i, o.Header)
		case http.CanonicalHeaderKey(o.Header) == "Host":
			wrong("Overrides[%d].Header %q is not among the header fields of a request; give that host a route of its own", i, o.Header)
		case o.Cookie != "" && !canonical.Token(o.Cookie):
			wrong("Overrides[%d].Cookie %q is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in arm", i, o.Cookie)
		}
		o.Header = http.CanonicalHeaderKey(o.Header)
		if first, twice := seen[o.describe()]; twice {
			wrong("Overrides[%d] and Overrides[%d] are both for %s; the second never applies, leave it out", first, i, o.describe())
			continue
		}
		seen[o.describe()] = i
	}
	return list
}

// check fills in the defaults of a rule, and reports what is wrong with it.
func (r *Rule) check(arms map[string]int, wrong func(format string, args ...any)) {
	if r.Window != 0 && (r.Window < shortest || r.Window > longest) {
		wrong("Rollback.Window is %s; use 0 for its default, or %s to %s", r.Window, shortest, longest)
	}
	r.Window = cmp.Or(r.Window, DefaultWindow)
	if r.Arm == "" {
		rest := *r
		rest.Window = 0
		if !reflect.ValueOf(rest).IsZero() {
			wrong("Rollback.Arm is empty, and other fields of Rollback are set; name the arm that is to be watched")
		}
		return
	}
	for _, f := range [...]struct{ field, name string }{{"Arm", r.Arm}, {"Against", r.Against}} {
		if _, ok := arms[f.name]; !ok {
			wrong("Rollback.%s %q is no arm; name one of Arms", f.field, f.name)
		}
	}
	if r.Arm == r.Against {
		wrong("Rollback.Arm and Against are both %q; an arm is compared with another", r.Arm)
	}
	if !(r.ErrorShare >= 0 && r.ErrorShare <= 1) { // nor is NaN
		wrong("Rollback.ErrorShare is %v; use a share above 0 up to 1, or 0 for no such rule", r.ErrorShare)
	}
	for _, f := range [...]struct {
		field string
		v     float64
	}{{"ErrorRatio", r.ErrorRatio}, {"LatencyRatio", r.LatencyRatio}} {
		if f.v != 0 && !(f.v > leastRatio && f.v <= mostRatio) {
			wrong("Rollback.%s is %v; use more than 1, as 2 for twice as many, or 0 for no such rule", f.field, f.v)
		}
	}
	if r.Latency < 0 || r.Latency > longest {
		wrong("Rollback.Latency is %s; use 0 for no such rule, or up to %s", r.Latency, longest)
	}
	if r.ErrorShare == 0 && r.ErrorRatio == 0 && r.Latency == 0 && r.LatencyRatio == 0 {
		r.ErrorShare = DefaultErrorShare
	}
	if r.Minimum < 0 || r.Minimum > mostMinimum {
		wrong("Rollback.Minimum is %d; use 0 for its default, or 1 to %d", r.Minimum, mostMinimum)
	}
	r.Minimum = cmp.Or(r.Minimum, DefaultMinimum)
}
