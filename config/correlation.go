package config

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// correlationID is Kong's correlation-id.
type correlationID struct {
	HeaderName string `kong:"header_name,default=Kong-Request-ID"`
	Generator  string `kong:"generator,default=uuid#counter,oneof=uuid|uuid#counter|tracker"`
	Echo       bool   `kong:"echo_downstream"`
}

// Check implements the optional method of Schema.
func (c *correlationID) Check(check *Check) {
	if err := auth.CheckName(c.HeaderName); err != nil {
		check.Failf("header_name", "%v", err)
	}
}

// Build implements [Schema].
func (c *correlationID) Build(e *Env) (policy.Plugin, error) {
	p := &correlator{
		name: http.CanonicalHeaderKey(c.HeaderName), spellings: canonical.NewNameSet(c.HeaderName), echo: c.Echo,
		shared: e.shared, generate: uuid,
	}
	switch c.Generator {
	case "uuid#counter":
		p.generate = uuidAndCounter
	case "tracker":
		p.generate = tracker
	}
	return p, nil
}

// correlator gives each request a field by which its traces in several systems are found. It is the client's own where it
// sent one, and so nothing is decided by it: what this gateway calls a request is its RequestID.
type correlator struct {
	name      string
	spellings canonical.NameSet
	echo      bool
	shared    *shared
	generate  func(c *correlator, x *policy.Exchange, r *http.Request) string
}

// Name returns the plugin's name.
func (*correlator) Name() string { return "correlation-id" }

// Contract asks and promises nothing.
func (*correlator) Contract() policy.Contract { return policy.Contract{} }

// Wrap sets the field of requests and, where it is asked to, of answers.
func (c *correlator) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		var id string
		if sent := r.Header[c.name]; len(sent) > 0 {
			id = strings.Trim(sent[0], " \t")
		}
		if id == "" {
			id = c.generate(c, x, r)
		}
		canonical.DropNominated(r.Header) // or a client could have the field deleted further in
		for name := range r.Header {
			if c.spellings.Contains(name) {
				delete(r.Header, name) // upstreams that fold names would see two
			}
		}
		if r.Header == nil {
			r.Header = make(http.Header, 1)
		}
		r.Header[c.name] = []string{id}
		if c.echo {
			w = policy.OnHeader(w, func(_ int, h http.Header) { h[c.name] = []string{id} })
		}
		next.ServeHTTP(w, r)
	})
}

func uuid(_ *correlator, x *policy.Exchange, _ *http.Request) string { return x.RequestID() }

// uuidAndCounter numbers the requests of this process.
func uuidAndCounter(c *correlator, _ *policy.Exchange, _ *http.Request) string {
	return fmt.Sprintf("%s#%d", c.shared.id, c.shared.requests.Add(1))
}

// tracker is address, port, process, connection, request of the connection and time. A handler does not see connections:
// each request counts as the first of one.
func tracker(c *correlator, _ *policy.Exchange, r *http.Request) string {
	ip, port := "0.0.0.0", 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && a != nil {
		ip, port = a.IP.String(), a.Port
	}
	now := time.Now().UnixMilli()
	return fmt.Sprintf("%s-%d-%d-%d-1-%d.%03d", ip, port, os.Getpid(), c.shared.requests.Add(1), now/1000, now%1000)
}
