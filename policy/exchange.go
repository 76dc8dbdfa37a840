package policy

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// Exchange is what is known about one request and the answer to it. There is one per request, made by an [Entry] or by
// the first plugin that calls [Ensure], and found with [ExchangeFrom]. It is never reused for another request, so a
// goroutine that outlives its request sees the values of its own request and harms no other.
//
// All methods are safe for concurrent use, and safe on a nil *Exchange: a nil one knows nothing and forgets what it is
// told.
type Exchange struct {
	parent context.Context //nolint:containedctx // the Exchange is itself the context value of the request, see exchangeContext

	mu sync.Mutex

	// From the entry.
	start        time.Time
	peer, client netip.Addr
	scheme       string
	host, port   string
	path         string
	onError      func(http.ResponseWriter, *http.Request, error)
	entry        *Entry      // the outermost
	inner        *innerEntry // further ones, as far as they had something to delete

	// From routing and the plugins.
	route, pattern string
	matched        string
	stripped       string
	forward        *Forward
	version        string
	requestID      string
	cacheStatus    string
	identity       Identity
	challenges     []string
	hooks          []TryHook
	decisions      []Decision
	tries          []Try
	body           *progressBody   // nil without a body
	ending         context.Context //nolint:containedctx // the gateway's, not the request's
	trusted        bool            // from the entry
	gatewayMade    bool
	groupsHidden   bool

	// Room for what nearly every request needs, in the same allocation.
	tryRoom [1]Try
	writer  respw.Writer
}

// exchangeContext is an Exchange seen as a context: the request's own context plus one value. Being the Exchange
// itself, it saves the allocation of a context.WithValue.
type exchangeContext Exchange

type exchangeKey struct{}

func (c *exchangeContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }
func (c *exchangeContext) Done() <-chan struct{}       { return c.parent.Done() }
func (c *exchangeContext) Err() error                  { return c.parent.Err() }

func (c *exchangeContext) Value(key any) any {
	if key == (exchangeKey{}) {
		return (*Exchange)(c)
	}
	return c.parent.Value(key)
}

// String keeps fmt from printing, and so from racing on, the guarded fields.
func (c *exchangeContext) String() string { return "policy.Exchange" }

// ExchangeFrom returns the Exchange of the request whose context this is, or nil when there is none. The methods of a
// nil Exchange may be called.
func ExchangeFrom(ctx context.Context) *Exchange {
	if ctx == nil {
		return nil
	}
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// Ensure returns the Exchange of r, and r itself. When there is none it makes one and returns a shallow copy of r that
// carries it; plugins go on with the request it returns. An Exchange made here takes the TCP peer for the client and
// knows no trusted proxies: put an [Entry] in front for those.
func Ensure(r *http.Request) (*Exchange, *http.Request) {
	if x := ExchangeFrom(r.Context()); x != nil {
		return x, r
	}
	x := newExchange(r)
	x.client, x.scheme = x.peer, schemeOf(r)
	return x, x.attach(r)
}

// NewExchange is [Ensure] for a request that is a matter of its own although the context of r, which it goes on with, has an
// Exchange: one that a plugin makes in order to ask somebody, or one that is only looked at. An [Entry] takes it for a
// request as it arrives, and a plugin under [ReportOnly] that makes it is not concerned by what refuses it. It returns a
// shallow copy of r.
func NewExchange(r *http.Request) (*Exchange, *http.Request) {
	if ctx := r.Context(); reportScopeFrom(ctx) != nil {
		r = r.WithContext(context.WithValue(ctx, scopeKey{}, (*reportScope)(nil)))
	}
	x := newExchange(r)
	x.client, x.scheme = x.peer, schemeOf(r)
	return x, x.attach(r)
}

func newExchange(r *http.Request) *Exchange {
	x := &Exchange{parent: r.Context(), start: time.Now(), peer: peerAddr(r.RemoteAddr)}
	x.tries = x.tryRoom[:0]
	return x
}

// attach puts x into a shallow copy of r.
func (x *Exchange) attach(r *http.Request) *http.Request {
	return r.WithContext((*exchangeContext)(x))
}

// Start returns when the request reached the gateway.
func (x *Exchange) Start() time.Time {
	if x == nil {
		return time.Time{}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.start
}

// ClientAddr returns the client's address: the TCP peer, or what the trusted proxies say. Its zero value means that
// the address is not known, as on a Unix socket. IPv4 addresses are never in their IPv6-mapped form and no address has
// a zone.
func (x *Exchange) ClientAddr() netip.Addr {
	if x == nil {
		return netip.Addr{}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.client
}

// PeerAddr returns the address of the TCP peer, which is the client itself or a proxy, and whether the peer is a
// trusted proxy, whose forwarding headers may be believed.
func (x *Exchange) PeerAddr() (addr netip.Addr, trusted bool) {
	if x == nil {
		return netip.Addr{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.peer, x.trusted
}

// Scheme returns "http" or "https" as the client sees it: what a trusted proxy says in X-Forwarded-Proto, else whether
// the connection uses TLS.
func (x *Exchange) Scheme() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.scheme
}

// Host returns the requested host, in lower case, and the port, each "" when not given. An IPv6 address has no brackets.
// Both are "" when the request did not pass an [Entry].
func (x *Exchange) Host() (host, port string) {
	if x == nil {
		return "", ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.host, x.port
}

// Path returns the canonical, escaped path of the request as it arrived. It is "" when the request did not pass an
// [Entry].
func (x *Exchange) Path() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.path
}

// SetRoute records the route that took the request, the pattern it matched, and the beginning of the canonical path
// that the pattern matched. Routers call it.
func (x *Exchange) SetRoute(name, pattern, matched string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.route, x.pattern, x.matched = name, pattern, matched
}

// Route returns the name of the route that took the request; "" when none did.
func (x *Exchange) Route() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.route
}

// Pattern returns the pattern the request matched; "" when it matched none.
func (x *Exchange) Pattern() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pattern
}

// MatchedPath returns the beginning of [Exchange.Path] that the route's pattern matched: all of it for an exact pattern
// or one with parameters, the part before the wildcard for a subtree, the prefix, or what the expression matched.
func (x *Exchange) MatchedPath() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.matched
}

// SetStrippedPath records that prefix was taken off the beginning of the path for what is further in. Who is there may
// take off more, which is put behind.
func (x *Exchange) SetStrippedPath(prefix string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stripped += strings.TrimSuffix(prefix, "/")
}

// StrippedPath returns what was taken off the beginning of [Exchange.Path], without a slash at its end.
func (x *Exchange) StrippedPath() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stripped
}

// SetForward records how the route wants its upstream request made. Gateways call it; f is not changed afterwards.
func (x *Exchange) SetForward(f *Forward) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forward = f
}

// SetStreaming says that the body of the request is a stream, in which pauses mean nothing: the client may send less than
// [EntryConfig.MinReadRate]. Gateways call it for routes that are Streaming, before the body is read.
func (x *Exchange) SetStreaming() {
	if x != nil && x.body != nil {
		x.body.rate = 0
	}
}

// Forward returns how the route wants its upstream request made, or nil when it does not say. Read-only.
func (x *Exchange) Forward() *Forward {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.forward
}

// SetIdentity records who the caller is, replacing what was known.
func (x *Exchange) SetIdentity(id Identity) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.identity = id
}

// BodyWait returns how long those who read the request body have waited for the client so far. It is 0 for a request without
// one, and where no [Entry] watches it.
func (x *Exchange) BodyWait() time.Duration {
	if x == nil {
		return 0
	}
	return x.body.wait()
}

// Identity returns who the caller is; the zero Identity when nobody authenticated.
func (x *Exchange) Identity() Identity {
	if x == nil {
		return Identity{}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.identity
}

// HideGroups keeps the consumer's groups out of what upstreams are told; policies still see them.
func (x *Exchange) HideGroups() {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.groupsHidden = true
}

// GroupsHidden reports whether HideGroups was called.
func (x *Exchange) GroupsHidden() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.groupsHidden
}

// Consumer returns the caller's consumer, or nil when there is none.
func (x *Exchange) Consumer() *Consumer {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.identity.Consumer
}

// AddChallenge adds a WWW-Authenticate challenge for refusals with 401 that carry none of their own: an authentication
// method that let an anonymous caller pass says here what would have been accepted.
func (x *Exchange) AddChallenge(challenge string) {
	if x == nil || challenge == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.Contains(x.challenges, challenge) {
		x.challenges = append(x.challenges, challenge)
	}
}

// RequestID returns the id of the request. It is made on first use, a UUID of version 7, unless a plugin set one.
func (x *Exchange) RequestID() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.requestID == "" {
		x.requestID = newRequestID(x.start)
	}
	return x.requestID
}

// SetRequestID sets the id of the request. The caller has checked it: it appears in answers and logs.
func (x *Exchange) SetRequestID(id string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.requestID = id
}

// Record appends to the decision record. Beyond 64 decisions, which only a loop can reach, it drops further ones.
func (x *Exchange) Record(d Decision) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.decisions == nil {
		x.decisions = make([]Decision, 0, usualRecords)
	}
	if len(x.decisions) < maxRecords {
		x.decisions = append(x.decisions, d)
	}
}

const (
	// maxRecords bounds the decisions and the tries of one request.
	maxRecords = 64
	// usualRecords is for how many decisions there is room at first.
	usualRecords = 4
)

// Decisions returns a copy of the decision record, oldest first.
func (x *Exchange) Decisions() []Decision {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.decisions)
}

// Refusal returns the decision that refused the request, and whether there is one. It is the last one when an outer
// plugin refused after an inner one had.
func (x *Exchange) Refusal() (Decision, bool) {
	if x == nil {
		return Decision{}, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range slices.Backward(x.decisions) {
		if d.Verdict == Refused {
			return d, true
		}
	}
	return Decision{}, false
}

// OnTry registers a hook for the tries of this request. Hooks begin in the order registered and end in reverse. One
// registered while a try runs takes part from the next try on. A nil hook is ignored.
func (x *Exchange) OnTry(h TryHook) {
	if x == nil || h == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hooks = append(x.hooks, h)
}

// TryHooks returns the hooks registered so far. Upstreams call it before each try; the slice is read-only.
func (x *Exchange) TryHooks() []TryHook {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clip(x.hooks)
}

// RecordTry adds a finished try. Upstreams call it. Beyond 64 tries it drops further ones.
func (x *Exchange) RecordTry(t Try) {
	if x == nil {
		return
	}
	t.Out = nil
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tries) < maxRecords {
		x.tries = append(x.tries, t)
	}
}

// Tries returns a copy of the finished tries, in the order in which they ended. It is empty when no upstream was asked.
func (x *Exchange) Tries() []Try {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.tries)
}

// SetCacheStatus records what a cache did, such as "hit".
func (x *Exchange) SetCacheStatus(status string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cacheStatus = status
}

// CacheStatus returns what a cache did; "" when none was involved.
func (x *Exchange) CacheStatus() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cacheStatus
}

// SetVersion records the version of the configuration that serves the request. Gateways call it.
func (x *Exchange) SetVersion(version string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.version = version
}

// Version returns the version of the configuration that serves the request; "" when it has none.
func (x *Exchange) Version() string {
	if x == nil {
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.version
}

// MarkGatewayMade says that the answer is the gateway's own and not an upstream's. [WriteError] does so by itself; a
// plugin that answers without it, such as one that terminates requests, calls it. Caches store no such answer.
func (x *Exchange) MarkGatewayMade() {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gatewayMade = true
}

// GatewayMade reports whether the answer is the gateway's own.
func (x *Exchange) GatewayMade() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.gatewayMade
}
