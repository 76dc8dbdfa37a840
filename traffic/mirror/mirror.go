package mirror

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// ErrStillRunning is what [Mirror.Close] returns when the shadow handler does not end although its context has.
var ErrStillRunning = errors.New("mirror: the shadow handler has not returned from copies whose context has ended")

// closeGrace is how long Close waits for that.
const closeGrace = 5 * time.Second

// reasonSampled is in the decision record of a request that is copied. Those that are dropped have the reason for that.
const reasonSampled = "sampled"

// Mirror copies requests to a shadow handler. See the package comment for what a copy is and what bounds it.
//
// What it holds is bounded by MaxBytes, and for each pair of JSON bodies that is being compared a few megabytes. It starts no goroutine before the
// first copy, has at most Workers of them, and none when there is nothing to do. It is safe for concurrent use. A nil Mirror,
// one that New did not make and one that was closed pass every request on as it is.
type Mirror struct {
	cfg     Config
	all     bool // Methods has a *
	rules   *rules
	fields  fieldRules
	root    context.Context //nolint:containedctx // ends with the Mirror; nil before New
	end     context.CancelFunc
	seed    maphash.Seed
	share   atomic.Uint64 // of all values below 1<<63
	turn    atomic.Uint64
	keys    sync.Pool // of *[]byte
	held    atomic.Int64
	pool    pool
	counts  counts
	recents recents
}

// counts are the counters of a Mirror. Those of the drops are in the order of reason.
type counts struct {
	sampled, sent, answered, failed, timedOut, cut, panicked atomic.Uint64
	equal, different, incomparable                           atomic.Uint64
	dropped                                                  [reasons]atomic.Uint64
}

// reason is why a request that was chosen is not copied.
type reason uint8

const (
	none reason = iota
	queueFull
	bodyTooLarge
	bodyAborted
	bytesHeld
	waitedTooLong
	closed
	reasons
)

// String returns the reason as decision records have it.
func (r reason) String() string {
	return [reasons]string{reasonSampled, "queue_full", "body_too_large", "body_aborted", "bytes", "waited_too_long", "closed"}[r]
}

// New checks c and returns a Mirror. The error joins all problems. It starts no goroutine.
func New(c Config) (*Mirror, error) {
	var compiled *rules
	var failed error
	if c.Compare != nil {
		compiled, failed = compile(c.Compare)
	}
	c, err := checked(c)
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	m := &Mirror{cfg: c, all: slices.Contains(c.Methods, "*"), rules: compiled, seed: maphash.MakeSeed()}
	if c.Compare != nil {
		m.fields, compiled.details = newFieldRules(c.Compare), c.Compare.MaxDetails
	}
	m.root, m.end = context.WithCancel(context.Background())
	m.keys.New = func() any { b := make([]byte, 0, 64); return &b }
	m.pool = newPool(m, c.Workers, c.Queue)
	m.share.Store(threshold(max(c.Share, 0)))
	return m, nil
}

func (m *Mirror) ready() bool { return m != nil && m.root != nil }

// Name returns [Config].Name.
func (m *Mirror) Name() string {
	if !m.ready() {
		return DefaultName
	}
	return m.cfg.Name
}

// Contract requires what Config.Key does. A Mirror buffers nothing: it looks on.
func (m *Mirror) Contract() policy.Contract {
	if !m.ready() {
		return policy.Contract{}
	}
	return policy.Contract{Requires: slices.Clone(m.cfg.Key.Requires)}
}

// Handlers returns the shadow handler, so that a gateway's Status and Explain see its upstream.
func (m *Mirror) Handlers() []http.Handler {
	if !m.ready() {
		return nil
	}
	return []http.Handler{m.cfg.Shadow}
}

// SetShare changes the share of requests that are copied, from 0 to 1, while they flow.
func (m *Mirror) SetShare(share float64) error {
	if !m.ready() {
		return errors.New("mirror: the Mirror was not made by New")
	}
	if !validShare(share) {
		return fmt.Errorf("mirror: share is %v; use 0 to 1", share)
	}
	m.share.Store(threshold(share))
	return nil
}

// one is the whole of what hashes are taken from.
const one = 1 << 63

func threshold(share float64) uint64 { return uint64(share * one) }

// wants reports whether a request is one to copy. Cheapest first: nearly all requests go no further.
func (m *Mirror) wants(r *http.Request) bool {
	share := m.share.Load()
	if share == 0 || !m.takes(r.Method) || len(r.Header["Upgrade"]) > 0 {
		return false
	}
	if _, marked := r.Header[m.cfg.Header]; marked {
		return false
	}
	return m.position(r) < share && r.Context().Value(copyKey{}) == nil
}

func (m *Mirror) takes(method string) bool {
	if method == "" {
		method = http.MethodGet
	}
	if m.all {
		return method != http.MethodConnect && method != http.MethodTrace
	}
	return slices.Contains(m.cfg.Methods, method)
}

// position returns where a request stands among all, from 0 to one.
func (m *Mirror) position(r *http.Request) uint64 {
	if m.cfg.Key.Of != nil {
		if h, ok := m.hash(r); ok {
			return h >> 1
		}
	}
	// Multiples of the golden ratio: of any n in a row the share is met within a few, and no period of the clients' is.
	const golden = 0x9e3779b97f4a7c15
	return m.turn.Add(1) * golden >> 1
}

// hash returns one that is the same in every process, of the value of the Key.
func (m *Mirror) hash(r *http.Request) (uint64, bool) {
	buf, _ := m.keys.Get().(*[]byte)
	defer m.keys.Put(buf)
	value, ok := m.cfg.Key.Of((*buf)[:0], r)
	if cap(value) <= 1<<10 {
		*buf = value[:0]
	}
	h := uint64(14695981039346656037) // FNV-1a, whose upper bits say little of the last bytes
	for _, c := range value {
		h = (h ^ uint64(c)) * 1099511628211
	}
	high, low := bits.Mul64(h^h>>32, 0xd6e8feb86659fd93)
	return high ^ low, ok
}

// Wrap returns a handler that hands every request to next, and copies of some to the shadow. A copy is what next gets, so put
// the Mirror inside of what refuses requests, and around the Handler of a route where its Forward changes path or host:
//
//	gateway.Route{Name: "users", Handler: m.Wrap(users), Forward: gateway.Forward{StripPath: true}, …}
//
// In Route.Plugins a copy has the path that came in. The handler has a method Handlers, which returns next and the shadow.
func (m *Mirror) Wrap(next http.Handler) http.Handler {
	if !m.ready() || next == nil {
		return next
	}
	return &handler{m, next}
}

type handler struct {
	m    *Mirror
	next http.Handler
}

// Handlers returns what answers, and the shadow.
func (h *handler) Handlers() []http.Handler { return []http.Handler{h.next, h.m.cfg.Shadow} }

// Name returns the name of what answers.
func (h *handler) Name() string {
	if n, ok := h.next.(interface{ Name() string }); ok {
		return n.Name()
	}
	return fmt.Sprintf("%T", h.next)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.m.wants(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	h.m.serve(w, r, h.next)
}

// serve has next answer, and makes a copy of what it gets.
func (m *Mirror) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	m.counts.sampled.Add(1)
	x, r := policy.Ensure(r)
	c, why := m.copyOf(r)
	if why == none && c.complete {
		why = c.submit()
	}
	if why != none {
		m.counts.dropped[why].Add(1)
		x.Record(policy.Decision{Policy: m.cfg.Name, Verdict: policy.Skipped, Reason: why.String()})
		next.ServeHTTP(w, r)
		return
	}
	x.Record(policy.Decision{Policy: m.cfg.Name, Reason: reasonSampled})
	if !c.complete {
		out := new(http.Request)
		*out = *r
		out.Body = &tee{r.Body, c}
		r = out
	}
	returned := false
	if m.cfg.Compare == nil {
		defer c.left()
	} else {
		w = c.watch(w)
		defer func() { c.realEnded(x, r, returned) }()
	}
	next.ServeHTTP(w, r)
	returned = true
}

// Close ends the Mirror: what waits is dropped, the contexts of the copies under way end, and their goroutines are waited for,
// 5 s at most; then the error is [ErrStillRunning]. It does not close the shadow. From then on requests are not copied. It may be
// called more than once. A gateway that owns the Mirror (Config.Owns) calls it when no request can reach it any more.
func (m *Mirror) Close() error {
	if !m.ready() {
		return nil
	}
	idle := m.pool.close()
	m.end()
	t := time.NewTimer(closeGrace)
	defer t.Stop()
	select {
	case <-idle:
		return nil
	case <-t.C:
		return ErrStillRunning
	}
}
