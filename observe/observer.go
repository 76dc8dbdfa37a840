package observe

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// Observer gives requests their id and logs them. It refuses nothing and changes nothing else, and passes every panic
// on. Its place is around the plugins it reports on; a request that passes two Observers is logged by both.
//
// Like an Entry it edits the header of the request in place.
//
// An Observer is immutable and safe for concurrent use. The zero Observer, and a nil one, do nothing.
type Observer struct {
	cfg   Config
	owned canonical.NameSet // RequestIDHeader
}

// New checks c and returns an Observer. The error joins all problems.
func New(c Config) (*Observer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Observer{cfg: c, owned: canonical.NewNameSet(c.RequestIDHeader)}, nil
}

// Name returns "observe". It has no name of Kong's because it does the work of several plugins there (correlation-id and
// the log plugins), and it records no decision, so that the name appears in listings only.
func (*Observer) Name() string { return "observe" }

// Contract asks for the client's address only where trusted proxies may choose request ids.
func (o *Observer) Contract() policy.Contract {
	if o != nil && o.cfg.AcceptRequestID == TrustProxies {
		return policy.Contract{Requires: []policy.Fact{policy.ClientAddress}}
	}
	return policy.Contract{}
}

// Wrap returns a handler that observes next.
func (o *Observer) Wrap(next http.Handler) http.Handler {
	if o == nil || o.cfg.RequestIDHeader == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		rw := respw.Wrap(w)
		created := w != http.ResponseWriter(rw)
		o.identify(x, rw, r)
		if o.cfg.Log == nil {
			next.ServeHTTP(rw, r)
			settle(rw, created)
			return
		}
		s := session{o: o, x: x, rw: rw, r: r, ctx: r.Context()}
		s.note()
		defer s.end()
		if o.cfg.Skip != nil && o.cfg.Skip(r) {
			s.skip = true
		}
		next.ServeHTTP(rw, r)
		s.silent = !rw.HeaderSent()
		settle(rw, created)
		s.returned = true
	})
}

// settle sends the head of an answer without a body, which a server would send without the edits of the layers.
func settle(rw *respw.Writer, created bool) {
	rw.Commit()
	if created {
		rw.Finish()
	}
}

// session is one request under observation. It lives on the stack of the request's handler.
type session struct {
	o   *Observer
	x   *policy.Exchange
	rw  *respw.Writer
	r   *http.Request
	ctx context.Context

	// The request as it came in: plugins may edit it.
	method, host, agent string
	url                 url.URL
	bodySize            int64

	skip     bool
	silent   bool // the handler returned and had sent nothing
	returned bool // false after a panic or runtime.Goexit
}

func (s *session) note() {
	r := s.r
	s.method, s.host, s.bodySize = r.Method, r.Host, r.ContentLength
	if r.URL != nil {
		s.url = *r.URL
	}
	if v := r.Header["User-Agent"]; len(v) > 0 {
		s.agent = v[0]
	}
}

// end is deferred: it logs, and passes a panic on.
func (s *session) end() {
	v := recover()
	if !s.skip {
		s.log(v)
	}
	if v != nil {
		panic(v) //nolint:forbidigo // not ours: it goes on to whoever recovers
	}
}

// log writes the record. Nothing that goes wrong here may reach the request.
func (s *session) log(v any) {
	defer func() { _ = recover() }() // a handler's panic
	e := ended{panicked: v, decisions: s.x.Decisions(), tries: s.x.Tries()}
	for i := range e.decisions {
		if e.decisions[i].Verdict == policy.Refused {
			e.refused = &e.decisions[i] // the last one counts, as in Exchange.Refusal
		}
	}
	s.judge(&e)
	level := s.level(e.status, e.outcome)
	if s.o.cfg.Log.Enabled(s.ctx, level) {
		s.write(level, &e)
	}
}

func (s *session) level(status int, o Outcome) (l slog.Level) {
	defer func() {
		if recover() != nil {
			l = slog.LevelError // the application's function panicked
		}
	}()
	return s.o.cfg.Level(status, o)
}
