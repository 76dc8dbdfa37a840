package balancer

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// Cookie says how a cookie looks that keeps a client at its target; see [Sticky], [Ring] and [Maglev]. It is HttpOnly.
type Cookie struct {
	// Name is a token. Required.
	Name string
	// Path and Domain say to which requests the client adds it. Path defaults to "/", Domain to the host alone.
	Path, Domain string
	// MaxAge is how long the client keeps it, in whole seconds; 0 means until it is closed.
	MaxAge time.Duration
	// SameSite says whether requests from other sites carry it. Default http.SameSiteLaxMode.
	SameSite http.SameSite
	// InsecureHTTP leaves out Secure in answers to requests that came without TLS, as policy.Exchange.Scheme has it. Without
	// that clients drop the cookie there, and keep no target.
	InsecureHTTP bool
}

// problems returns what is wrong, each with its field.
func (c *Cookie) problems() []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if !canonical.Token(c.Name) {
		bad("Name %q: is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in target", c.Name)
	}
	if c.Path != "" && (c.Path[0] != '/' || !cookieBytes(c.Path)) {
		bad("Path %q: must begin with / and hold neither semicolons nor control characters", c.Path)
	}
	if _, port, err := canonical.Host(c.Domain); c.Domain != "" && (err != nil || port != "") {
		bad("Domain %q: is not a domain", c.Domain)
	}
	if c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Second {
		bad("MaxAge %v: must be at least a second, or 0 for as long as the client is open", c.MaxAge)
	}
	switch name := strings.ToLower(c.Name); { // RFC 6265bis section 4.1.3; clients drop what does not keep to it
	case strings.HasPrefix(name, "__host-") && (c.InsecureHTTP || c.Domain != "" || c.Path != "" && c.Path != "/"):
		bad("Name %q: begins with __Host-, with which there can be no Domain, no Path but / and no InsecureHTTP", c.Name)
	case strings.HasPrefix(name, "__secure-") && c.InsecureHTTP:
		bad("Name %q: begins with __Secure-, with which there can be no InsecureHTTP", c.Name)
	}
	switch c.SameSite {
	case 0, http.SameSiteDefaultMode, http.SameSiteLaxMode, http.SameSiteStrictMode:
	case http.SameSiteNoneMode:
		if c.InsecureHTTP {
			bad("SameSite: is http.SameSiteNoneMode, which clients take with Secure only; leave out InsecureHTTP")
		}
	default:
		bad("SameSite %d: is not one of the modes of net/http", c.SameSite)
	}
	return found
}

// cookieBytes reports whether all bytes may stand in an attribute of a cookie (RFC 6265 section 4.1.1).
func cookieBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ';' {
			return false
		}
	}
	return true
}

// with returns the cookie with a value, for the answer to r.
func (c *Cookie) with(value string, r *http.Request) *http.Cookie {
	cookie := &http.Cookie{
		Name: c.Name, Value: value, Path: c.Path, Domain: c.Domain, MaxAge: int(c.MaxAge / time.Second),
		SameSite: c.SameSite, HttpOnly: true, Secure: true,
	}
	if cookie.Path == "" {
		cookie.Path = "/"
	}
	if cookie.SameSite == 0 || cookie.SameSite == http.SameSiteDefaultMode {
		cookie.SameSite = http.SameSiteLaxMode
	}
	if c.InsecureHTTP {
		cookie.Secure = scheme(r) == "https"
	}
	return cookie
}

// scheme returns how the client sees the scheme of r.
func scheme(r *http.Request) string {
	if x := policy.ExchangeFrom(r.Context()); x != nil {
		return x.Scheme()
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// cookieGiver is a picker that keeps clients at their targets by cookies.
type cookieGiver interface {
	// cookieFor returns what Pool.Cookie does.
	cookieFor(q Query, m *Member) *http.Cookie
}

// cookieFor implements cookieGiver.
func (t *tiers) cookieFor(q Query, m *Member) *http.Cookie {
	for _, g := range t.groups {
		if by, ok := g.picker.(cookieGiver); ok {
			if c := by.cookieFor(q, m); c != nil {
				return c
			}
		}
	}
	return nil
}
