package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// Timeouts bound an upstream request; see [policy.Timeouts].
type Timeouts = policy.Timeouts

// Defaults of [Timeouts]. There is none for Total: a request may stream for as long as its bytes move.
const (
	DefaultConnectTimeout   = 3 * time.Second
	DefaultFirstByteTimeout = 30 * time.Second
	DefaultIdleTimeout      = 60 * time.Second
)

// UpstreamConfig configures an [Upstream]. Name and Targets (or Pool) are required; everything else has a default.
type UpstreamConfig struct {
	// Name names the upstream in logs, metrics, admissions and errors. It has no control characters.
	Name string
	// Targets are the servers, and Algorithm chooses among them; nil means balancer.RoundRobin{}.
	Targets   []balancer.Target
	Algorithm balancer.Algorithm
	// Zone and SlowStart are those of a [balancer.Config]: where the gateway is, and how long new targets are spared. Default:
	// nowhere, and not at all.
	Zone      string
	SlowStart time.Duration
	// Health says how to find out which targets can take requests. The zero Health takes out for a while those that refuse
	// connections, or fail three times in a row. Its checks connect like requests do, where it does not say otherwise.
	Health balancer.Health
	// Discovery finds targets in DNS, a file or elsewhere. With a Source Targets may be empty; NewUpstream waits for the first
	// answer then.
	Discovery balancer.Discovery
	// Pool is used instead of Targets, Algorithm, Zone, SlowStart, Health and Discovery, where several upstreams share one.
	// Close leaves it alone. It comes from balancer.NewPool; the zero Pool is an error.
	Pool *balancer.Pool
	// Admission is asked before each try, in this order: circuit breakers, limits on concurrency.
	Admission []policy.Admission
	// Retry says when a request is sent again, to another target; what a route sets in Forward.Retry comes before it. By default
	// up to two more tries are made of requests that did not reach their target, and of those that change nothing and were reset.
	Retry policy.Retry
	// RetryBudget bounds how many tries are repeated, all requests together.
	RetryBudget RetryBudget
	// HedgeBudget bounds how many tries are made beside another one, as Retry.Hedge says. Its default Share is 0.1.
	HedgeBudget RetryBudget
	// Timeouts bound each request; a route's Forward.Timeouts come before them. In each field zero means the default,
	// negative means no bound.
	Timeouts Timeouts

	// TLS configures connections to https targets. It is cloned. Nil means the system's roots, the target's host for the
	// name, TLS 1.2 or newer, and HTTP/2 where the target offers it. A GetClientCertificate of [Certificates] presents what is
	// in files; connections go on with what they presented when they began.
	TLS *tls.Config
	// Authorities are those that https targets are verified by, and no others, instead of TLS.RootCAs. Once they have changed, no
	// request gets a connection that was made before; what is in flight on one ends there, and so does a connection that has
	// switched protocols. It is an error beside TLS.RootCAs, InsecureSkipVerify and ClientSessionCache: a session that is
	// resumed was verified when it began.
	Authorities *Authorities
	// UnencryptedHTTP2 has HTTP/2 spoken to http targets, which must expect it (RFC 9113 section 3.3), as gRPC services
	// without TLS do; one that does not is answered for with 502. Requests to switch protocols still go in HTTP/1.1. Default:
	// HTTP/1.1. It changes nothing for https targets, nor for checks: healthcheck.HTTP.HTTP2 is for those.
	UnencryptedHTTP2 bool
	// Dial makes connections to targets; address is a host and a port. Targets with a Socket do without it. It returns when
	// ctx ends, or requests wait for it beyond their limits. Nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ProxyHeader tells targets the client's address by the PROXY protocol: that of policy.Exchange.ClientAddr, with port 0, or
	// that it is unknown. A connection then serves one request only, and speaks HTTP/1.1. Default NoProxyHeader.
	ProxyHeader ProxyHeader
	// Outbound wraps what sends requests in round trippers of the application, the first outermost. Each is called once,
	// here. They must keep the context of the requests they pass on, and return when it ends: with Retry.Hedge the answer of
	// one try waits for the end of the others.
	Outbound []func(http.RoundTripper) http.RoundTripper

	// MaxConns bounds the HTTP/1 connections to each target; a request that finds none waits within Timeouts.Connect. While
	// requests wait, an upload that has been slower than 8 KiB/s may lose its connection and be answered with 408.
	// Default 512, negative: no bound. Requests with Expect are counted apart.
	MaxConns int
	// MaxIdleConns bounds the idle connections kept for each target. Default 64, negative: none are kept.
	MaxIdleConns int
	// IdleConnTimeout is how long an idle connection is kept. Set it below the time the targets keep theirs, so that no request
	// meets a connection that is being closed. Where a target says how long that is (Keep-Alive: timeout=5), a connection is not
	// used again from a second before, or half the time if that is less. Default 30 s, negative: for ever.
	IdleConnTimeout time.Duration
	// MaxConnAge is how long an HTTP/1.1 connection without TLS is used at most, so that a name that leads elsewhere is noticed
	// while traffic flows. Default 5 min, negative: for ever.
	MaxConnAge time.Duration
	// MaxResponseHeaderBytes bounds the head of an answer. Default 128 KiB; a negative value is an error.
	MaxResponseHeaderBytes int64
	// MaxUpgrades bounds the connections that have switched protocols (see [Forward].Upgrade), all targets together; MaxConns
	// does not count them. Further requests to switch are answered with 503. Default 4096, negative: no bound.
	MaxUpgrades int

	// HideProxyStatus leaves Proxy-Status (RFC 9209), which says what kind of failure it was, out of the answers that the
	// upstream makes itself. What a target sends under that name is passed on all the same.
	HideProxyStatus bool
}

// Upstream is a reverse proxy to a pool of targets, and an [http.Handler] for any mux. It streams both ways, sends
// forwarding and identity fields of its own in place of what clients sent, never follows redirects, and answers 502, 503
// or 504 when there is no answer to pass on, and 400, 408 or 413 when it was the client's own body that failed. An answer
// that breaks off after its head was sent breaks off the client's connection, by a panic with [http.ErrAbortHandler]; so
// does a client that left, to whom nothing is written.
//
// Algorithm chooses the target of each try. One that fails before the client got anything of an answer may be repeated at another
// target: see [policy.Retry] and RetryBudget. Health takes out targets that fail.
//
// A request that did not pass a [policy.Entry] passes a default one here: without it clients could forge what upstreams
// trust.
//
// Each answer it makes itself says why in Proxy-Status, as one of the types of RFC 9209 section 2.3 and nothing else:
//
//	Proxy-Status: gatehouse; error=connection_refused
//
// The refusal of an admission is destination_unavailable when its status is 503, and proxy_internal_response otherwise; one
// with a Proxy-Status of its own in policy.Error.Header keeps that. See UpstreamConfig.HideProxyStatus.
//
// # What the target gets
//
// The client's method, path, query and body, the path behind that of the target's URL and as [Forward] changes it; Host
// is the target's unless Forward says otherwise. The client's header fields go along, User-Agent and Accept-Encoding as
// they are or not at all, except those that speak of one connection: Connection and what it names, Keep-Alive,
// Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, HTTP2-Settings, Proxy-Authenticate, Proxy-Authorization and
// Proxy-Authentication-Info. TE: trailers is sent again for gRPC and from HTTP/2 clients, Expect: 100-continue with a
// body. Upgrades are forwarded where Forward.Upgrade allows the protocol, trailers of requests where Forward.RequestTrailers
// says so. These fields are the gateway's, set last, and absent when there is nothing to say; "kept" means what the
// [policy.Entry] left standing: of a trusted proxy's fields X-Forwarded-*, or Forwarded where ClientAddressHeader names
// that, and what PassHeaders allows:
//
//	X-Consumer-ID            the consumer's ID
//	X-Consumer-Username      its Username
//	X-Consumer-Custom-ID     its CustomID
//	X-Consumer-Groups        its Groups, separated by ", "
//	X-Credential-Identifier  the name of the credential, not for anonymous callers
//	X-Anonymous-Consumer     "true" for an anonymous caller
//	X-Forwarded-For          kept, and the TCP peer's address appended
//	X-Real-IP                the client's address, as policy.Exchange.ClientAddr has it
//	X-Forwarded-Proto        http or https, as the client sees it
//	X-Forwarded-Host         kept, or the host asked for, with its port if one was named; see Forward.KongForwarded
//	X-Forwarded-Port         kept, or that port, or the scheme's own
//	X-Forwarded-Path         kept, or the canonical path before Forward changed it
//	X-Forwarded-Prefix       kept, and what StripPath took off appended
//	Forwarded                only if kept: with an element for this hop appended (RFC 7239)
//	Via                      what came in, and "1.1 gatehouse" appended; with more than eight of these the answer is 508
//
// A consumer or credential with a value that no header field can carry, or a group with a comma, is answered with 500
// when a store has let it through. X-Request-Id is sent where package observe is in the chain.
//
// # What the client gets
//
// The target's status, body, trailers and header fields, without those of the list above that speak of one connection
// (beside Connection: close, net/http hides what else the target names there); an answer with 101 that nobody asked for is a 502. Of informational
// answers the first eight with 102 and 103 are passed on, without cookies. Via is appended to. Set-Cookie, Vary, Link,
// WWW-Authenticate and Server-Timing stand beside what plugins prepared under these names, any other field of the target
// replaces it. Date is the target's, or else net/http's; a Proxy-Status of the target is passed on as it is. Trailers that
// a recipient would have had to know before the body, such as Set-Cookie, and those under the gateway's own names are
// removed. Location and the other contents of fields are not rewritten. Algorithms that keep clients at their targets by
// cookies, such as balancer.Sticky, add a Set-Cookie of theirs; a cache outside must not store that.
//
// An Upstream is safe for concurrent use. Without Health.Active and Discovery it starts no goroutine before its first request. The zero Upstream, and a nil
// one, answer 503.
type Upstream struct {
	name      string
	pool      *balancer.Pool
	ownsPool  bool
	admission []policy.Admission
	watchers  []policy.AnswerWatcher // those of admission at their places, or nil
	retry     policy.Retry
	budget    *retryBudget
	hedging   *retryBudget
	timeouts  Timeouts
	silent    bool          // HideProxyStatus
	upgrades  chan struct{} // has room for those there may be; nil for no bound
	transport transport.Transport
	direct    *transport.Direct // transport, if it is one
	proxy     *proxy.Proxy
	guarded   func() http.Handler // serve behind a default Entry
	tries     sync.Pool           // *try

	inFlight atomic.Int64 // requests, and closing once Close was called
	once     sync.Once
	idle     chan struct{} // closed when inFlight reached closing
	ending   sync.Once
	ended    chan struct{} // closed by Close
}

// closing marks an Upstream that takes no more requests, in a bit that the number of requests cannot reach.
const closing = 1 << 62

const defaultMaxUpgrades = 4096

// NewUpstream checks c and returns an upstream. The error joins all problems, each naming the field and its value.
func NewUpstream(c UpstreamConfig) (*Upstream, error) {
	errs := c.check()
	pool, err := c.pool()
	errs = append(errs, err)
	made := false
	defer func() { // also when an Outbound panics
		if !made && c.Pool == nil {
			_ = pool.Close()
		}
	}()
	settings := transport.Config{
		TLS: c.TLS, Dial: c.dialer(pool), MaxConns: c.MaxConns, MaxIdleConns: c.MaxIdleConns, IdleTimeout: c.IdleConnTimeout, MaxAge: c.MaxConnAge,
		MaxHeaderBytes: max(c.MaxResponseHeaderBytes, 0), Preface: c.ProxyHeader.preface(),
		ClearHTTP2: c.UnencryptedHTTP2,
	}
	if pool != nil {
		settings.ServerName = pool.ServerName
	}
	if c.Authorities != nil {
		settings.Authorities = c.Authorities.current
	}
	var t transport.Transport
	var direct *transport.Direct
	switch {
	case len(c.Outbound) == 0 && settings.Preface == nil:
		direct = transport.NewDirect(settings)
		t = direct
	case !containsNil(c.Outbound): // a round tripper may keep an answer, which a Direct does not allow
		var failed int
		if t, failed = transport.Through(transport.NewStandard(settings), c.Outbound); failed >= 0 {
			errs = append(errs, fmt.Errorf("gateway: UpstreamConfig.Outbound[%d] returned a nil http.RoundTripper", failed))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	u := &Upstream{
		name: c.Name, pool: pool, ownsPool: c.Pool == nil, admission: append([]policy.Admission{}, c.Admission...),
		retry: c.Retry, budget: newRetryBudget(c.RetryBudget, defaultRetryShare), hedging: newRetryBudget(c.HedgeBudget, defaultHedgeShare),
		timeouts: c.Timeouts, silent: c.HideProxyStatus, transport: t, direct: direct, proxy: proxy.New(), idle: make(chan struct{}), ended: make(chan struct{}),
	}
	if c.MaxUpgrades >= 0 {
		u.upgrades = make(chan struct{}, cmp.Or(c.MaxUpgrades, defaultMaxUpgrades))
	}
	u.watchers = make([]policy.AnswerWatcher, len(u.admission))
	for i, a := range u.admission {
		u.watchers[i], _ = a.(policy.AnswerWatcher)
	}
	u.tries.New = func() any { return new(try) }
	u.guarded = sync.OnceValue(func() http.Handler { // few need it
		return policy.Must(policy.NewEntry(policy.EntryConfig{StrictPath: true})).Wrap(http.HandlerFunc(u.serve)) // a mux outside has routed
	})
	made = true
	return u, nil
}

// dialer returns how to connect to the targets of pool; nil for a net.Dialer, which spares asking.
func (c *UpstreamConfig) dialer(pool *balancer.Pool) func(ctx context.Context, network, address string) (net.Conn, error) {
	hasSocket := func(t balancer.Target) bool { return t.Socket != "" }
	if c.Pool == nil && c.Discovery.Source == nil && !slices.ContainsFunc(c.Targets, hasSocket) {
		return c.Dial
	}
	dial := c.Dial
	if dial == nil {
		dial = transport.NewDialer().DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if socket := pool.Socket(address); socket != "" {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
		return dial(ctx, network, address)
	}
}

// check reports what is wrong with c, its pool apart.
func (c *UpstreamConfig) check() []error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("gateway: UpstreamConfig."+format, args...))
	}
	switch {
	case c.Name == "":
		bad("Name is empty; logs, metrics and status tell upstreams apart by it")
	case !printable(c.Name):
		bad("Name %q has control characters, or is not UTF-8; logs and metrics show it", c.Name)
	}
	for i, a := range c.Admission {
		if isNil(a) {
			bad("Admission[%d] is nil; check the error of its constructor", i)
		}
	}
	for i, f := range c.Outbound {
		if f == nil {
			bad("Outbound[%d] is nil", i)
		}
	}
	errs = append(errs, c.Authorities.check(c.TLS)...)
	if c.ProxyHeader != NoProxyHeader && c.UnencryptedHTTP2 {
		bad("ProxyHeader and UnencryptedHTTP2 are both set; connections that tell of one client speak HTTP/1.1")
	}
	if c.ProxyHeader > ProxyHeaderV2 {
		bad("ProxyHeader %d is no version; use ProxyHeaderV1 or ProxyHeaderV2", c.ProxyHeader)
	}
	errs = append(errs, checkRetry("gateway: UpstreamConfig.Retry", c.Retry)...)
	if s := c.RetryBudget.Share; s > 1 || s != s {
		bad("RetryBudget.Share %v is no share of the requests, or more than all; 0.2 is usual", s)
	}
	if s := c.HedgeBudget.Share; s > 1 || s != s {
		bad("HedgeBudget.Share %v is no share of the requests, or more than all; 0.1 is usual", s)
	}
	if c.MaxResponseHeaderBytes < 0 {
		bad("MaxResponseHeaderBytes %d is negative; 0 means %d", c.MaxResponseHeaderBytes, transport.DefaultMaxHeaderBytes)
	}
	return errs
}

// pool returns the pool c asks for, or what is wrong with that.
func (c *UpstreamConfig) pool() (*balancer.Pool, error) {
	if c.Pool == nil {
		p, err := balancer.NewPool(balancer.Config{Targets: c.Targets, Algorithm: c.Algorithm, Zone: c.Zone, SlowStart: c.SlowStart, Health: c.health(), Discovery: c.Discovery})
		return p, renamed(err)
	}
	var errs []error
	if len(c.Pool.Status()) == 0 { // a pool that NewPool made has targets for ever
		errs = append(errs, errors.New("gateway: UpstreamConfig.Pool is the zero balancer.Pool, which has no targets; make it with balancer.NewPool"))
	}
	for _, field := range []struct {
		name string
		set  bool
		what string
	}{
		{"Targets", len(c.Targets) > 0, "targets of a shared pool are"}, {"Algorithm", c.Algorithm != nil, "algorithm of a shared pool is"},
		{"Zone", c.Zone != "", "zone of a shared pool is"}, {"SlowStart", c.SlowStart != 0, "slow start of a shared pool is"},
		{"Health", !reflect.ValueOf(c.Health).IsZero(), "health of a shared pool is"},
		{"Discovery", !reflect.ValueOf(c.Discovery).IsZero(), "discovery of a shared pool is"},
	} {
		if field.set {
			errs = append(errs, fmt.Errorf("gateway: UpstreamConfig.%s and Pool are both set; the %s set there", field.name, field.what))
		}
	}
	return c.Pool, errors.Join(errs...)
}

// renamed names the fields of a balancer's problems as the user of this package wrote them.
func renamed(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, renamed(e))
		}
		return errors.Join(errs...)
	}
	var problem *balancer.ConfigError
	if errors.As(err, &problem) {
		return fmt.Errorf("gateway: UpstreamConfig.%s: %s", problem.Field, problem.Problem)
	}
	return err
}

func containsNil(fs []func(http.RoundTripper) http.RoundTripper) bool {
	for _, f := range fs {
		if f == nil {
			return true
		}
	}
	return false
}

// Name returns the name of the upstream.
func (u *Upstream) Name() string {
	if u == nil {
		return ""
	}
	return u.name
}

// UpstreamStatus is a snapshot of an [Upstream].
type UpstreamStatus struct {
	// Name is the name of the upstream.
	Name string
	// Targets are the targets of its pool, in the order they were configured, and behind them those that were removed and
	// still work on requests.
	Targets []balancer.MemberStatus
	// Health is what their health means for all of them.
	Health balancer.PoolHealth
	// Discovery is what the source of the targets has said last.
	Discovery balancer.DiscoveryStatus
	// InFlight is the number of requests it is working on.
	InFlight int
	// Closed: Close was called, and new requests are refused.
	Closed bool
}

// Status returns a snapshot.
func (u *Upstream) Status() UpstreamStatus {
	if u == nil {
		return UpstreamStatus{Closed: true}
	}
	n := u.inFlight.Load()
	return UpstreamStatus{Name: u.name, Targets: u.pool.Status(), Health: u.pool.Health(), Discovery: u.pool.Discovery(), InFlight: int(n &^ closing), Closed: n&closing != 0 || u.transport == nil}
}

// Close refuses further requests with 503, breaks off those in flight, closes all connections, and returns when all that
// has happened. It closes the pool, unless that was given. A gateway that owns the upstream calls it when no request can
// reach the upstream any more. It may be called more than once and returns nil.
func (u *Upstream) Close() error {
	if u == nil || u.transport == nil {
		return nil
	}
	if u.inFlight.Or(closing) == 0 {
		u.once.Do(func() { close(u.idle) })
	}
	u.ending.Do(func() { close(u.ended) })
	err := u.transport.Close()
	<-u.idle
	if u.ownsPool {
		err = errors.Join(err, u.pool.Close())
	}
	return err
}

func (u *Upstream) enter() bool {
	if u == nil || u.transport == nil {
		return false
	}
	if u.inFlight.Add(1)&closing != 0 {
		u.leave()
		return false
	}
	return true
}

func (u *Upstream) leave() {
	if u.inFlight.Add(-1) == closing {
		u.once.Do(func() { close(u.idle) })
	}
}

// ServeHTTP sends r to a target and passes the answer on.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !u.enter() {
		_, r = policy.Ensure(r)
		u.refuse(w, r, proxy.Unavailable(transport.Closed, errClosed))
		return
	}
	defer u.leave()
	if policy.ExchangeFrom(r.Context()).Path() == "" {
		u.guarded().ServeHTTP(w, r)
		return
	}
	u.serve(w, r)
}

// refusedBy is the name under which refusals are recorded; it is no metric label's business which upstream it was.
const refusedBy = "upstream"

var (
	errClosed    = errors.New("gateway: the upstream is closed")
	errAbandoned = errors.New("gateway: the try was given up by a panic")
)

// serve is ServeHTTP for a request that passed an Entry.
func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	c, refused := u.proxy.Accept(w, r)
	if refused != nil {
		u.refuse(w, r, refused)
		return
	}
	over := false
	defer func() {
		if !over {
			c.Release()
		}
	}()
	if c.Switches() && u.upgrades != nil {
		select {
		case u.upgrades <- struct{}{}:
			defer func() { <-u.upgrades }()
		default:
			over = true
			u.conclude(w, c, result{refusal: proxy.TooManyUpgrades()})
			return
		}
	}
	t, end := u.attempt(w, c)
	u.conclude(w, c, end)
	over = true
	t.recycle()
}

// conclude ends a request after its last try.
func (u *Upstream) conclude(w http.ResponseWriter, c *proxy.Call, end result) {
	c.Release()
	if v := c.Panicked(); v != nil {
		panic(v) //nolint:forbidigo // a plugin's, from a goroutine where it would have ended the process
	}
	switch {
	case end.answered:
	case end.refusal != nil:
		c.Detach(w)
		u.refuse(w, c.In, end.refusal)
	default:
		markBroken(w)
		panic(http.ErrAbortHandler) //nolint:forbidigo // what was sent is not whole, or nobody is there to answer
	}
}

// markBroken tells the writers of the gateway that the answer is not whole, whoever may recover from the panic.
func markBroken(w http.ResponseWriter) {
	for w != nil {
		if own, ok := w.(*respw.Writer); ok {
			own.Break()
		}
		inside, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = inside.Unwrap()
	}
}

// refuse answers in the place of a target, because of err.
func (u *Upstream) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if u == nil || !u.silent {
		w.Header()["Proxy-Status"] = []string{proxy.Status(err)}
	}
	policy.Refuse(w, r, refusedBy, err)
}

// limits returns the bounds of a request.
func (u *Upstream) limits(c *proxy.Call) transport.Limits {
	b := u.bounds(c.Forward.Timeouts)
	l := transport.Limits{Connect: b.Connect, FirstByte: b.FirstByte, Idle: b.Idle}
	if b.Total > 0 {
		l.Deadline = time.Now().Add(b.Total)
	}
	return l
}

// bounds returns the timeouts in force below a route: the route's, then the upstream's, then the defaults.
func (u *Upstream) bounds(route Timeouts) Timeouts {
	return Timeouts{
		Connect:   firstSet(route.Connect, u.timeouts.Connect, DefaultConnectTimeout),
		FirstByte: firstSet(route.FirstByte, u.timeouts.FirstByte, DefaultFirstByteTimeout),
		Idle:      firstSet(route.Idle, u.timeouts.Idle, DefaultIdleTimeout),
		Total:     firstSet(route.Total, u.timeouts.Total, 0),
	}
}

func firstSet(route, upstream, def time.Duration) time.Duration {
	switch {
	case route != 0:
		return route
	case upstream != 0:
		return upstream
	default:
		return def
	}
}
