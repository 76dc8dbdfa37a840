package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// Defaults of [Config].
const (
	DefaultName      = "mirror"
	DefaultHeader    = "X-Gatehouse-Mirror"
	DefaultMaxBody   = 64 << 10
	DefaultMaxBytes  = 32 << 20
	DefaultMaxAnswer = 10 << 20
	DefaultWorkers   = 16
	DefaultQueue     = 256
	DefaultTimeout   = 10 * time.Second
)

const (
	mostBytes   = 1 << 30
	mostWorkers = 1 << 14
	mostQueue   = 1 << 20
	longest     = time.Hour
	shortest    = time.Millisecond
)

// Config configures a [Mirror]. Shadow and Share are required.
type Config struct {
	// Name is the Mirror's name in decision records, differences and its status. It has no control characters. Default
	// "mirror".
	Name string
	// Shadow gets the copies, usually a *gateway.Upstream of its own. It should return when the context of its request ends:
	// one that does not holds a worker for as long as it likes. Its answers go nowhere.
	Shadow http.Handler

	// Share is which part of the requests is copied, above 0 up to 1. A negative one copies none until [Mirror.SetShare].
	Share float64
	// Key has the same values copied always, or never, in every process: requests are chosen by a hash of the value, those
	// without one by turns. The zero Key, the default: by turns, spread evenly, also over clients that come in turns
	// themselves.
	Key policy.Key
	// Methods are those of requests that are copied, in upper case; "*" stands for all. CONNECT and TRACE never are. Nil or
	// empty means GET, HEAD and OPTIONS, which change nothing. A copy of anything else is done twice: what the shadow shares
	// with the service (a database, a queue, a provider of payments) is written to a second time. It is copied.
	Methods []string

	// Header is the field that tells the shadow that its request is a copy; its value is the id of the request. Requests that
	// come with it are not copied again. What clients send as X-Gatehouse-Mirror every [policy.Entry] deletes, unless it comes
	// from a trusted proxy; another name belongs into EntryConfig.OwnedHeaders. Default X-Gatehouse-Mirror.
	Header string
	// SkipHeader leaves the field out, so that the shadow cannot tell. Between processes nothing stops a circle of mirrors then.
	SkipHeader bool
	// DropHeaders are further request fields that copies do not have, such as Authorization and Cookie where the shadow is
	// less trusted than the service. They are copied.
	DropHeaders []string
	// DropIdentity has the shadow not told who the caller is: the copy's Exchange has no Identity, so that an upstream sends no
	// X-Consumer-* fields. By default a copy is the same caller's, since a service would answer another one otherwise.
	DropIdentity bool

	// MaxBody bounds the request body of a copy, and each answer that is compared, in bytes. A request with more is not
	// copied. Default 64 KiB, negative: only requests without a body are copied, and only answers of which no part has to
	// be kept are compared.
	MaxBody int64
	// MaxBytes bounds what all copies hold together: heads, bodies and answers, waiting and under way. Beyond it requests are
	// not copied. Default 32 MiB.
	MaxBytes int64
	// MaxAnswer is how much of the body of a shadow's answer is taken in, and dropped; beyond it the copy is ended. Default
	// 10 MiB, negative: no bound but Timeout.
	MaxAnswer int64
	// Workers is how many copies are under way at a time, Queue how many wait for that; when they do all, further ones are
	// dropped. Default 16 and 256; a negative Queue: none waits.
	Workers, Queue int
	// Timeout bounds a copy from when its request is complete, waiting included. Default 10 s; at least 1 ms, at most 1 h.
	Timeout time.Duration

	// Compare says how to compare answers. Nil: they are not.
	Compare *Compare
}

// Compare says what of two answers has to be the same: the status, the header fields and trailers, and the body, byte by byte or,
// where both are JSON, by value: then the order of members, spaces and the spelling of numbers and strings do not count. Where the
// statuses differ, nothing else is looked at.
//
// Paths say where in a JSON body a rule holds: names of members behind dots, elements of arrays in brackets.
//
//	items[*].updated_at     that member in each element of items
//	items[0].*              each member of the first element
//	**.etag                 that member at any depth
//	$[*].id                 $ is the body as a whole
//	meta["next.page"]       a name as a JSON string, for those with a dot, a bracket or a space
//
// A path stands for the value there and all that is below it.
type Compare struct {
	// Headers are the fields that are compared; nil means all but IgnoreHeaders. It is copied.
	Headers []string
	// IgnoreHeaders are fields that are not, beside those that differ from answer to answer or are about a connection: Age,
	// Alt-Svc, Connection, Content-Length, Date, Keep-Alive, Proxy-Status, Server-Timing, Set-Cookie, Trailer,
	// Transfer-Encoding, Via and X-Request-Id, unless Headers names them. It is copied.
	IgnoreHeaders []string
	// SkipBody leaves the bodies out.
	SkipBody bool
	// Ignore are the paths of values that may differ, or be there on one side only. It is copied.
	Ignore []string
	// Unordered are the paths of arrays whose elements may come in any order. An element is paired with the first that it
	// equals. It is copied.
	Unordered []string
	// Tolerances say where numbers need not be the same. It is copied.
	Tolerances []Tolerance
	// InsecureShowValues has a [Difference] show the values of header fields and bodies, 64 bytes of each. They may be personal
	// data and secrets, and end where OnDifference writes them.
	InsecureShowValues bool
	// MaxDetails bounds what a Difference lists. Default 16, at most 1000.
	MaxDetails int
	// OnDifference is told about each pair of answers that differ, by the goroutine of a worker, which it keeps from its work
	// meanwhile. It is called by several at a time. A panic is counted. Nil: nobody is told; see [Mirror.Recent].
	OnDifference func(Difference)
}

// Tolerance says by how much numbers at or below a path may differ: by Absolute, or by that share of the larger one, whichever
// is more.
type Tolerance struct {
	Path               string
	Absolute, Relative float64
}

// DefaultMaxDetails is the default of [Compare].MaxDetails.
const DefaultMaxDetails = 16

// problems collects what is wrong with a Config.
type problems []error

func (p *problems) addf(format string, args ...any) {
	*p = append(*p, fmt.Errorf("mirror: "+format, args...))
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// checked returns c with its defaults filled in and what it refers to copied, or all that is wrong with it.
func checked(c Config) (Config, error) {
	var p problems
	if !printable(c.Name) {
		p.addf("Name %q has control characters, or is not UTF-8; logs and metrics show it", c.Name)
	}
	if c.Shadow == nil {
		p.addf("Shadow is nil; set the handler that gets the copies, such as a *gateway.Upstream")
	}
	if c.Share == 0 || !validShare(max(c.Share, 0)) {
		p.addf("Share is %v; use the share of requests to copy, above 0 up to 1, or a negative one for none until SetShare", c.Share)
	}
	if err := c.Key.Err(); err != nil {
		p.addf("Key: %w", err)
	}
	c.Methods = methods(c.Methods, &p)
	c.Header, c.DropHeaders = markOf(c, &p), headerNames("DropHeaders", c.DropHeaders, &p)
	bytes := func(name string, n *int64, def int64, off bool) {
		if *n < 0 && !off || *n > mostBytes {
			p.addf("%s is %d; use 0 for its default, or up to %d bytes", name, *n, int64(mostBytes))
		}
		*n = cmp.Or(*n, def)
	}
	bytes("MaxBody", &c.MaxBody, DefaultMaxBody, true)
	bytes("MaxBytes", &c.MaxBytes, DefaultMaxBytes, false)
	if c.MaxAnswer = cmp.Or(c.MaxAnswer, DefaultMaxAnswer); c.MaxAnswer < 0 {
		c.MaxAnswer = math.MaxInt64
	}
	if c.Workers < 0 || c.Workers > mostWorkers {
		p.addf("Workers is %d; use 0 for its default, or 1 to %d", c.Workers, mostWorkers)
	}
	if c.Queue > mostQueue {
		p.addf("Queue is %d; use 0 for its default, a negative number for none, or 1 to %d", c.Queue, mostQueue)
	}
	c.Workers, c.Queue = cmp.Or(c.Workers, DefaultWorkers), max(cmp.Or(c.Queue, DefaultQueue), 0)
	if c.Timeout != 0 && (c.Timeout < shortest || c.Timeout > longest) {
		p.addf("Timeout is %s; use 0 for its default, or %s to %s", c.Timeout, shortest, longest)
	}
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	if c.Compare != nil {
		compare := c.Compare.withDefaults(&p)
		c.Compare = &compare
	}
	if err := errors.Join(p...); err != nil {
		return Config{}, err
	}
	c.Name = cmp.Or(c.Name, DefaultName)
	return c, nil
}

// meaningful are fields that cannot be the mark of a copy.
//
//nolint:gochecknoglobals // a constant list
var meaningful = [...]string{
	"Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Expect", "Host", "Keep-Alive", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Via",
}

func validShare(s float64) bool { return s >= 0 && s <= 1 } // nor is NaN

// methods returns a copy of the names, or the default.
func methods(names []string, p *problems) []string {
	for i, name := range names {
		switch {
		case name == "*":
		case !canonical.Token(name) || strings.ToUpper(name) != name:
			p.addf("Methods[%d] %q is no method; write it in upper case, as POST, or * for all", i, name)
		case name == http.MethodConnect || name == http.MethodTrace:
			p.addf("Methods[%d] %q is never copied; leave it out", i, name)
		}
	}
	if len(names) == 0 {
		return []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	}
	return slices.Clone(names)
}

// markOf returns the name of the field that copies have, and by which they are known.
func markOf(c Config, p *problems) string {
	name := cmp.Or(c.Header, DefaultHeader)
	switch {
	case c.SkipHeader && c.Header != "":
		p.addf("Header %q and SkipHeader are both set; leave one out", c.Header)
	case !canonical.Token(name):
		p.addf("Header %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens", name)
	case slices.Contains(meaningful[:], http.CanonicalHeaderKey(name)):
		p.addf("Header %q has a meaning of its own; use a field such as %q", name, DefaultHeader)
	}
	return http.CanonicalHeaderKey(name)
}

// headerNames returns names in their canonical form.
func headerNames(field string, names []string, p *problems) []string {
	out := make([]string, 0, len(names))
	for i, name := range names {
		if !canonical.Token(name) {
			p.addf("%s[%d] %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens", field, i, name)
		}
		out = append(out, http.CanonicalHeaderKey(name))
	}
	return out
}

func (c Compare) withDefaults(p *problems) Compare {
	if c.Headers != nil && len(c.IgnoreHeaders) > 0 {
		p.addf("Compare.Headers and IgnoreHeaders are both set; what Headers does not name is ignored, leave one out")
	}
	headers := c.Headers
	c.Headers = headerNames("Compare.Headers", c.Headers, p)
	if headers == nil {
		c.Headers = nil // which means all
	}
	c.IgnoreHeaders = headerNames("Compare.IgnoreHeaders", c.IgnoreHeaders, p)
	if c.SkipBody && len(c.Ignore)+len(c.Unordered)+len(c.Tolerances) > 0 {
		p.addf("Compare.SkipBody is set beside Ignore, Unordered or Tolerances, which are about bodies; leave it out, or them")
	}
	if c.MaxDetails < 0 || c.MaxDetails > 1000 {
		p.addf("Compare.MaxDetails is %d; use 0 for its default, or 1 to 1000", c.MaxDetails)
	}
	c.MaxDetails = cmp.Or(c.MaxDetails, DefaultMaxDetails)
	return c
}
