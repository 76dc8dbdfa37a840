package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// CheckRoutes checks that a gateway with the routes of c gives each request to the route that the rules of [gateway.Match]
// say, and says so in [gateway.Gateway.Explain]. It draws some requests that are near the table: to its hosts, along its
// patterns, with the methods, header fields, parameters and server names that it asks for, and with some of that missing
// or changed. What p's fields have is mixed in. For each it compares route, pattern and path values, and the methods that
// a refusal with 405 allows, with those of a matcher that has read the rules once more: one pass over every host and path
// of every route, without an index.
//
// It is for tables that a program makes of something else, and for the predicates in them: those are called in both, more
// than once, and have to answer the same for the same request. Only matching is checked. The handlers, plugins and
// upstreams of c are not called, and nothing of Owns is closed; the [policy.EntryConfig] is in force, but for its
// ErrorHandler. A c that [gateway.New] refuses fails the test.
func (p Properties) CheckRoutes(t *rapid.T, c gateway.Config) {
	t.Helper()
	s := newTableServer(t, c)
	defer s.close()
	near := p.filled().near(c)
	for range rapid.IntRange(1, 10).Draw(t, "requests") {
		s.check(t, near.draw(t))
	}
}

// tableServer is a gateway that only notes what it routes where, and what it should.
type tableServer struct {
	config  gateway.Config
	gateway *gateway.Gateway
	entry   *policy.Entry
	naive   naiveTable
	served  *served // by the handler that was called last
}

// served is a request that reached the handler of a route, "" for that of none.
type served struct {
	route   string
	request *http.Request
}

func newTableServer(t *rapid.T, c gateway.Config) *tableServer {
	t.Helper()
	s := &tableServer{}
	s.config = gateway.Config{EntryConfig: c.EntryConfig, Compat: c.Compat, Logger: slog.New(slog.DiscardHandler), NotFound: s.note("")}
	s.config.ErrorHandler = nil
	for _, r := range c.Routes {
		s.config.Routes = append(s.config.Routes, gateway.Route{Name: r.Name, Match: r.Match, Priority: r.Priority, Public: true, Handler: s.note(r.Name)})
	}
	var err, entryErr error
	s.gateway, err = gateway.New(s.config)
	s.entry, entryErr = policy.NewEntry(s.config.EntryConfig)
	if err = errors.Join(err, entryErr); err != nil {
		t.Fatalf("gatewaytest: CheckRoutes was given a Config that no gateway takes: %v", err)
	}
	s.naive = newNaive(s.config.Routes)
	return s
}

// close ends the gateway, which has nothing to wait for.
func (s *tableServer) close() { _ = s.gateway.Shutdown(context.Background()) }

// note returns the handler of a route.
func (s *tableServer) note(name string) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.served = &served{name, r} })
}

func (s *tableServer) check(t *rapid.T, r *http.Request) {
	t.Helper()
	text := requestText(r)
	want, admitted := s.want(r.Clone(r.Context()))
	explained := s.gateway.Explain(r)
	s.served = nil
	x, in := policy.Ensure(r)
	res := Do(s.gateway, in)
	res.Body.Close()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("gatewaytest: %s\nrequest: %s\nthe gateway's own account:\n%s\ntable:\n%s", fmt.Sprintf(format, args...), text, explained, s.table(x.Route(), want.route))
	}
	refusal, refused := x.Refusal()
	switch {
	case !admitted:
		if s.served != nil || explained.Route != "" {
			fail("the entry refuses the request, but route %q took it", explained.Route)
		}
		return
	case refused && refusal.Policy == "entry":
		fail("the request was refused (%s), and an entry with the same configuration lets it in", refusal)
	case refused && refusal.Reason == "path_parameters": // which is no matter of the rules
		if s.served != nil || explained.Route != "" || !strings.ContainsAny(x.Path(), ";%") {
			fail("the path was refused for its parameters, but route %q took it", explained.Route)
		}
		return
	case x.Route() != want.route:
		fail("the request went to %s, and by the rules it is one for %s", routeText(x.Route()), routeText(want.route))
	case explained.Route != want.route:
		fail("Explain says %s, and the request went to %s", routeText(explained.Route), routeText(want.route))
	}
	if len(want.allow) > 0 && !s.config.Compat.NotFoundForMethod {
		var e *policy.Error
		allow := ""
		if errors.As(refusal.Err, &e) {
			allow = e.Header.Get("Allow")
		}
		if all := strings.Join(want.allow, ", "); allow != all {
			fail("no route takes the method: the answer was %d with Allow: %q, and by the rules it is 405 with Allow: %q", res.StatusCode, allow, all)
		}
		return
	}
	if s.served == nil || s.served.route != want.route {
		fail("the answer %d did not come from the handler of %s (%v)", res.StatusCode, routeText(want.route), x.Decisions())
	}
	if want.route == "" {
		return
	}
	if got := s.served.request.Pattern; got != want.pattern {
		fail("it matched %s by the pattern %q, and by the rules by %q", routeText(want.route), got, want.pattern)
	}
	for name, value := range want.values {
		if got := s.served.request.PathValue(name); got != value {
			fail("the pattern %q of %s found the path value %s %q, and by the rules it is %q", want.pattern, routeText(want.route), name, got, value)
		}
	}
}

// want returns what has to become of r, and whether an entry lets it in at all. It is asked before the gateway is.
func (s *tableServer) want(r *http.Request) (a naiveAnswer, admitted bool) {
	s.entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		a, admitted = s.naive.answer(r), true
	})).ServeHTTP(httptest.NewRecorder(), r)
	return a, admitted
}

// maxTable is how many routes a failure lists, beside those that it is about.
const maxTable = 30

// table lists the routes.
func (s *tableServer) table(about ...string) string {
	var b strings.Builder
	left := 0
	for i, r := range s.config.Routes {
		if i >= maxTable && !slices.Contains(about, r.Name) {
			left++
			continue
		}
		fmt.Fprintf(&b, "\t%s %s", r.Name, describe(r.Match))
		if r.Priority != 0 {
			fmt.Fprintf(&b, " Priority: %d", r.Priority)
		}
		b.WriteByte('\n')
	}
	if left > 0 {
		fmt.Fprintf(&b, "\tand %d more\n", left)
	}
	return b.String()
}

func routeText(name string) string {
	if name == "" {
		return "no route"
	}
	return "route " + strconv.Quote(name)
}

// requestText writes a request so that a reader can make it again.
func requestText(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s://%s%s from %s", r.Method, scheme, r.Host, r.RequestURI, r.RemoteAddr)
	if r.TLS != nil {
		fmt.Fprintf(&b, ", server name %q", r.TLS.ServerName)
	}
	if r.Body != nil && r.Body != http.NoBody {
		fmt.Fprintf(&b, ", with a body of length %d", r.ContentLength)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "\n\t%s: %q", name, r.Header[name])
	}
	return b.String()
}
