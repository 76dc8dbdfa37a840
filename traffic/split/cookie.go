package split

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// Cookie keeps clients in their arm that have nothing else to be known by. It is HttpOnly and holds a random number, which says
// nothing and stays good when the weights change. Clients can choose its value.
type Cookie struct {
	// Name is a token. "" means that there is none.
	Name string
	// Path and Domain say to which requests the client adds it. Path defaults to "/", Domain to the host alone.
	Path, Domain string
	// MaxAge is how long the client keeps it, in whole seconds; 0 means until it is closed.
	MaxAge time.Duration
	// SameSite says whether requests from other sites carry it. Default http.SameSiteLaxMode.
	SameSite http.SameSite
	// InsecureHTTP leaves out Secure in answers to requests that came without TLS, as policy.Exchange.Scheme has it. Without
	// that clients drop the cookie there, and go to an arm anew each time.
	InsecureHTTP bool
}

// check returns what is wrong, each with its field.
func (c *Cookie) check(wrong func(format string, args ...any)) {
	if c.Name == "" {
		if *c != (Cookie{}) {
			wrong("Cookie.Name is empty, and other fields of Cookie are set; set it, too, as to \"arm\"")
		}
		return
	}
	if !canonical.Token(c.Name) {
		wrong("Cookie.Name %q is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in arm", c.Name)
	}
	if c.Path != "" && (c.Path[0] != '/' || !canonical.FieldValue(c.Path) || strings.Contains(c.Path, ";")) {
		wrong("Cookie.Path %q must begin with / and hold neither semicolons nor control characters", c.Path)
	}
	if _, port, err := canonical.Host(c.Domain); c.Domain != "" && (err != nil || port != "") {
		wrong("Cookie.Domain %q is not a domain", c.Domain)
	}
	if c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Second {
		wrong("Cookie.MaxAge %s must be at least a second, or 0 for as long as the client is open", c.MaxAge)
	}
	switch c.SameSite {
	case 0, http.SameSiteDefaultMode, http.SameSiteLaxMode, http.SameSiteStrictMode:
	case http.SameSiteNoneMode:
		if c.InsecureHTTP {
			wrong("Cookie.SameSite is http.SameSiteNoneMode, which clients take with Secure only; leave out InsecureHTTP")
		}
	default:
		wrong("Cookie.SameSite %d is not one of the modes of net/http", c.SameSite)
	}
}

// of returns the value that r has; "" for none.
func (c *Cookie) of(r *http.Request) string {
	if c.Name == "" {
		return ""
	}
	value, _ := canonical.Cookie(r.Header["Cookie"], c.Name)
	return value
}

// newValue returns the value for a client that has none.
func newValue() string {
	var room [8]byte
	_, _ = rand.Read(room[:]) // never fails
	return hex.EncodeToString(room[:])
}

// line returns the field that gives a client its value.
func (c *Cookie) line(value string, x *policy.Exchange) string {
	cookie := http.Cookie{ //nolint:gosec // without Secure only by InsecureHTTP, and with a SameSite below
		Name: c.Name, Value: value, Path: c.Path, Domain: c.Domain, MaxAge: int(c.MaxAge / time.Second),
		SameSite: c.SameSite, HttpOnly: true, Secure: !c.InsecureHTTP || x.Scheme() == "https",
	}
	if cookie.Path == "" {
		cookie.Path = "/"
	}
	if cookie.SameSite == 0 || cookie.SameSite == http.SameSiteDefaultMode {
		cookie.SameSite = http.SameSiteLaxMode
	}
	return cookie.String()
}

// Override sends some requests to an arm whatever the weights say, such as those of testers. Exactly one of Header, Cookie and
// Group is set. Who knows a header or a cookie can use it: an override by these is no secret door, and what must not be reached by everybody
// needs authentication.
type Override struct {
	// Header is the name of a request header field whose value is Value. A field that is repeated chooses nothing.
	Header string
	// Cookie is the name of a cookie whose value is Value.
	Cookie string
	// Value defaults to Arm, so that X-Arm: canary asks for the canary. It is compared exactly, and has no meaning with Group.
	Value string
	// Group is a group of the consumer's, which an authentication further out found.
	Group string
	// Arm is where these requests go.
	Arm string
}

// matches returns the reason why o is meant for r; "" when it is not.
func (o *Override) matches(r *http.Request, groups []string) string {
	switch {
	case o.Header != "":
		if v := r.Header[o.Header]; len(v) == 1 && v[0] == o.Value {
			return reasonByHeader
		}
	case o.Cookie != "":
		if v, _ := canonical.Cookie(r.Header["Cookie"], o.Cookie); v == o.Value {
			return reasonByCookie
		}
	default:
		if slices.Contains(groups, o.Group) {
			return reasonByGroup
		}
	}
	return ""
}

// describe names an override in errors, without its position.
func (o *Override) describe() string {
	switch {
	case o.Header != "":
		return fmt.Sprintf("Header %q with %q", o.Header, o.Value)
	case o.Cookie != "":
		return fmt.Sprintf("Cookie %q with %q", o.Cookie, o.Value)
	default:
		return fmt.Sprintf("Group %q", o.Group)
	}
}
