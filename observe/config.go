package observe

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// Config configures an [Observer]. The zero Config gives requests an id and logs nothing.
type Config struct {
	// Log gets one record for each request. Nil: no access log. Its handler decides format and destination. A handler
	// that fails or panics does not fail the request; what it could not write is lost.
	Log *slog.Logger
	// Skip leaves requests out of the log, health checks say, whatever becomes of them. It is asked before the request
	// passes on. Nil leaves out none.
	Skip func(r *http.Request) bool
	// Level is the level of a record, by the logged status (0 when there was none) and the outcome. Nil: Error for
	// panics, Warn for aborted answers and statuses from 500 on, Info for the rest, which clients can cause at will.
	Level func(status int, o Outcome) slog.Level
	// Attrs returns attributes to add to a record; x and r are read-only. It runs when the handler has ended, so r's
	// header may have been edited by plugins. Strings and errors among the values, also within groups, are made safe as
	// all others are; values of other kinds are logged as they are. Nil adds none.
	Attrs func(x *policy.Exchange, r *http.Request) []slog.Attr
	// QueryValues are the query parameters whose values may be logged, spelled as in the URL. Empty: none.
	QueryValues []string

	// RequestIDHeader is the header field of the request id, sent to the upstream and back to the client. Empty means
	// X-Request-Id. What clients send under this name, in any alias form, is replaced. It is not to be one of the
	// Entry's OwnedHeaders: an Entry inside the Observer would delete the id.
	RequestIDHeader string
	// AcceptRequestID says whose request ids are taken over instead. Default: nobody's. Only an id of 1 to 128 letters,
	// digits and - . _ ~ + / = : #, the first of them a letter or digit, sent in a single field, is; any other is
	// replaced.
	AcceptRequestID Trust
	// HideRequestID keeps the id out of the header of answers. The bodies of refusals still name it.
	HideRequestID bool
}

// Trust says whose word is taken.
type Trust uint8

// The degrees of trust. The zero Trust is TrustNobody.
const (
	TrustNobody Trust = iota
	// TrustProxies trusts peers that the Entry around the Observer names as trusted proxies; without one, nobody.
	TrustProxies
	// TrustAnyone trusts every client; two requests may then have the same id.
	TrustAnyone
)

// notForIDs are fields in which a request id would break the message or be taken for something else.
//
//nolint:gochecknoglobals // a constant list
var notForIDs = []string{
	"Connection", "Content-Length", "Content-Type", "Expect", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "Forwarded",
}

func (c *Config) check() error {
	var errs []error
	switch name := c.RequestIDHeader; {
	case name == "":
		c.RequestIDHeader = "X-Request-Id"
	case !canonical.Token(name):
		errs = append(errs, fmt.Errorf("observe: RequestIDHeader %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens", name))
	case canonical.NewNameSet(notForIDs...).Contains(name):
		errs = append(errs, fmt.Errorf("observe: RequestIDHeader %q has a meaning of its own; use a field such as \"X-Request-Id\"", name))
	}
	c.RequestIDHeader = http.CanonicalHeaderKey(c.RequestIDHeader)
	if c.AcceptRequestID > TrustAnyone {
		errs = append(errs, fmt.Errorf("observe: AcceptRequestID %d is unknown; use TrustNobody, TrustProxies or TrustAnyone", c.AcceptRequestID))
	}
	for i, name := range c.QueryValues {
		if name == "" || strings.ContainsAny(name, "&=#? ") {
			errs = append(errs, fmt.Errorf("observe: QueryValues[%d] %q is not the name of a query parameter; use it as it stands in the URL", i, name))
		}
	}
	c.QueryValues = slices.Clone(c.QueryValues)
	if c.Level == nil {
		c.Level = defaultLevel
	}
	return errors.Join(errs...)
}
