package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/internal/router"
	"github.com/gatehouse-go/gateway/policy"
)

// Config describes a gateway. It is plain data: [New] copies what it keeps.
type Config struct {
	// Routes are the routes, in an order that only matters between routes nothing else distinguishes.
	Routes []Route
	// Plugins run around every route, the first outermost, and around the answers 404, 405 and 400 the gateway gives
	// itself. They run after matching.
	Plugins []Plugin
	// NotFound answers requests no route takes. Nil answers 404.
	NotFound http.Handler
	// EntryConfig configures the guard before routing: trusted proxies, limits, the writer of refusals.
	policy.EntryConfig
	// Compat relaxes routing rules for configurations written for Kong.
	Compat Compat
	// Owns are closed once no table that owns them is in use any more: after [Gateway.Apply] replaced the table and its
	// last request has ended, or by [Gateway.Shutdown]. What the next table owns too is carried over as it is. None is
	// nil or listed twice.
	Owns []io.Closer
	// OnApply is called by New and Apply once the configuration is in force, before they return, for what is to change together with
	// it. Nil: nothing is called. It must not call methods of the gateway.
	OnApply func()
	// DrainTimeout bounds how long [Gateway.Run] waits for requests in flight. Default 30 s.
	DrainTimeout time.Duration
	// Logger gets what concerns no single request, and panics. Nil means slog.Default().
	Logger *slog.Logger
}

// DefaultDrainTimeout is the default of [Config.DrainTimeout].
const DefaultDrainTimeout = 30 * time.Second

// Compat holds switches that Kong configurations rely on. All are off by default.
type Compat struct {
	// NotFoundForMethod answers 404 where a route matches in everything but the method, instead of 405.
	NotFoundForMethod bool
	// AllowIdenticalRoutes lets routes stand that no request can tell apart, where the first written wins, and routes that
	// no request reaches. Both are warnings then.
	AllowIdenticalRoutes bool
	// AllowBrokenContracts lets plugins stand in chains that break their contracts, with a warning.
	AllowBrokenContracts bool
	// AllowPathParameters lets a path with parameters (/admin;x) through, to the route it matches as it is, also where a server
	// that drops them, as Java's do, would serve what another route is for (/admin). By default that is refused with 400,
	// unless the pattern of the route has a semicolon itself.
	AllowPathParameters bool
	// IgnoreSNIsWithoutTLS lets a route with SNIs also take requests that come over a connection without TLS, which has no
	// server name to compare.
	IgnoreSNIsWithoutTLS bool
}

// Gateway is an http.Handler that serves a table of routes. It is safe for concurrent use; Apply and Shutdown may be
// called during traffic. The zero Gateway answers 503 to everything.
type Gateway struct {
	table atomic.Pointer[table]

	mu       sync.Mutex // guards what follows
	owners   map[io.Closer]int
	version  uint64
	closed   bool
	live     sync.WaitGroup  // tables whose owned values are not closed yet
	serving  atomic.Int64    // tables that are current or have requests in flight
	ending   context.Context //nolint:containedctx // ends when the shutdown begins; the tables' requests are told
	beginEnd context.CancelFunc
}

// New checks c and returns a gateway that serves it. The error joins all problems of c, each naming the route or the
// field it concerns; then nothing was started and nothing of Owns was closed. Warnings (see [Config.Validate]) go to the
// Logger, once each.
func New(c Config) (*Gateway, error) {
	g := &Gateway{}
	if err := g.Apply(c); err != nil {
		return nil, err
	}
	return g, nil
}

// ErrShutdown is returned by Apply after Shutdown.
var ErrShutdown = errors.New("gateway: shut down")

// Apply makes c the table of the gateway. Every request sees one table whole: those in flight end with the one they
// began with. On error nothing has changed and nothing was closed; the caller still owns what it made.
func (g *Gateway) Apply(c Config) error {
	next, report := c.compile()
	if err := report.Err(); err != nil {
		return err
	}
	warnings, err := g.swap(next, report)
	next.logWarnings(warnings)
	return err
}

// swap makes next the table, and returns the warnings that the one before did not have.
func (g *Gateway) swap(next *table, report Report) ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrShutdown
	}
	if g.owners == nil {
		g.owners = map[io.Closer]int{}
		g.ending, g.beginEnd = context.WithCancel(context.Background())
	}
	next.ending = g.ending
	for _, o := range next.owns {
		g.owners[o]++
	}
	g.version++
	next.version = versionString(g.version)
	next.onEnd = g.end
	g.live.Add(1)
	g.serving.Add(1)
	old := g.table.Swap(next)
	warnings := next.warnings(report, old)
	if old != nil {
		old.release()
	}
	if next.onApply != nil {
		next.onApply()
	}
	return warnings, nil
}

// end closes what no other table owns. It runs once per table, after its last request, and never on a request's time.
func (g *Gateway) end(t *table) {
	g.serving.Add(-1)
	go func() {
		defer g.live.Done()
		var last []io.Closer
		g.mu.Lock()
		for _, o := range t.owns {
			switch n := g.owners[o]; n {
			case 0: // Shutdown was not willing to wait and has closed it
			case 1:
				delete(g.owners, o)
				last = append(last, o)
			default:
				g.owners[o] = n - 1
			}
		}
		g.mu.Unlock()
		closeAll(last, t.log)
	}()
}

func closeAll(closers []io.Closer, log panicLogger) {
	for _, o := range closers {
		func() {
			defer func() {
				if v := recover(); v != nil {
					log.log(context.Background(), v)
				}
			}()
			if err := o.Close(); err != nil {
				log.get().LogAttrs(context.Background(), slog.LevelError, "closing failed", slog.String("type", fmt.Sprintf("%T", o)), slog.Any("error", err))
			}
		}()
	}
}

// current returns the table in force, in which the caller takes part until it releases it; nil after Shutdown.
func (g *Gateway) current() *table {
	for {
		t := g.table.Load()
		if t == nil || t.acquire() {
			return t
		}
		// Replaced between Load and acquire: its successor is there already.
	}
}

// ServeHTTP serves r: entry, routing, plugins, handler. It sets r.Pattern and the path values on r itself, so that
// middleware outside the gateway sees them, and deletes from r.Header what only a gateway may set.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := g.current()
	if t == nil {
		w.Header().Set("Connection", "close")
		_, r = policy.Ensure(r)
		policy.Refuse(w, r, "gateway", &policy.Error{
			Status: http.StatusServiceUnavailable, Code: "shut_down", Message: "The gateway is shutting down",
			Header: http.Header{"Retry-After": {"1"}},
		})
		return
	}
	defer t.release()
	v, err := t.entry.Enter(w, r)
	complete := false
	defer func() { v.Leave(complete) }()
	x := v.Exchange()
	x.SetVersion(t.version)
	x.SetEnding(t.ending)
	by := t.entry.Name()
	var h http.Handler
	if err == nil {
		by = "gateway"
		var m router.Match
		h, err = t.lookup(v, r, &m, t.log)
	}
	r = v.Bind(r)
	if err != nil {
		h, r = t.refusing, withRefusal(r, by, err)
	}
	h.ServeHTTP(v.Writer(), r)
	complete = true
}

// announceEnd tells the requests in flight that the gateway begins to shut down.
func (g *Gateway) announceEnd() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.beginEnd != nil {
		g.beginEnd()
	}
}

// closeGrace is how long Shutdown waits for closers after its context has ended.
const closeGrace = time.Second

// Shutdown ends the gateway: new requests get 503, those in flight are told (see [policy.Exchange.Ending]; WebSockets are
// closed with status 1001) and waited for, and what the gateway owns is closed.
// When ctx ends first, it closes what is owned all the same, which breaks off what still runs through it, waits for that
// for another second at most, and returns the context's error. It does not touch the server, which is shut down before;
// [Gateway.Run] does both. Further calls wait likewise.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.announceEnd()
	g.mu.Lock()
	g.closed = true
	old := g.table.Swap(nil)
	g.mu.Unlock()
	if old != nil {
		old.release()
	}
	done := make(chan struct{})
	go func() {
		g.live.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	if g.serving.Load() == 0 {
		select {
		case <-done:
			return nil
		case <-time.After(closeGrace):
			return fmt.Errorf("gateway: what it owns was still closing: %w", context.Cause(ctx))
		}
	}
	g.mu.Lock()
	var rest []io.Closer
	for o := range g.owners {
		rest = append(rest, o)
	}
	g.owners = map[io.Closer]int{}
	g.mu.Unlock()
	var log panicLogger
	if old != nil {
		log = old.log
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closeAll(rest, log)
	}()
	select {
	case <-closed:
	case <-time.After(closeGrace):
	}
	return fmt.Errorf("gateway: requests were still in flight: %w", context.Cause(ctx))
}
