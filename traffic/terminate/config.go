package terminate

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Config configures a [Terminator]. The zero Config answers every request with 503.
type Config struct {
	// Status is the status of the answer, 200 to 599. 0 means 503.
	Status int
	// Message is the text of a JSON answer, {"message": …}. Empty: the standard text of an error status, and no body at
	// all below 400.
	Message string
	// Body is sent as it is, instead of a message.
	Body string
	// ContentType is that of Body. Empty means text/plain; charset=utf-8.
	ContentType string
	// Header holds further fields of the answer, such as Retry-After or Location. Answers carry Cache-Control: no-store
	// unless it says otherwise. It is copied.
	Header http.Header

	// Trigger is the name of a request header field or query parameter; only requests that have one of the two, with
	// any value, are answered. Empty: all are.
	Trigger string

	// Standby: the Terminator passes all requests on until SetActive(true) is called, for maintenance that begins and ends while
	// traffic flows. As a handler it answers all the same.
	Standby bool

	// Echo answers with a JSON report on the request as it arrived here: method, host, path, header fields, query
	// parameters, client address, route. It is for debugging, and best behind a Trigger. The values of query parameters
	// and of all but the well-known header fields that carry no secret are replaced by REDACTED; long values are cut.
	Echo bool
	// Report makes the report of Echo instead, with what it returns written as JSON; it must be safe for concurrent use.
	// Nothing is redacted or cut then. It has a meaning only with Echo, and leaves none for Reveal.
	Report func(r *http.Request) any
	// Reveal names further header fields and query parameters whose values Echo shows. Fields that carry credentials by
	// definition, such as Authorization and Cookie, cannot be revealed.
	Reveal []string
}

// ownFields are response fields that follow from the answer itself.
//
//nolint:gochecknoglobals // a constant list
var ownFields = []string{"Content-Length", "Transfer-Encoding", "Trailer", "Te", "Keep-Alive", "Content-Type"}

// credentialFields carry credentials by definition.
//
//nolint:gochecknoglobals // a constant list
var credentialFields = []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"}

const (
	fieldLocation     = "Location"
	fieldAuthenticate = "Www-Authenticate"
)

// check reports all that is wrong with c, whose Status is set.
func (c *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("terminate: "+format, args...)) }
	switch {
	case c.Status >= 100 && c.Status < 200:
		wrong("Status %d is informational and ends no request; use 200 to 599", c.Status)
	case c.Status < 200 || c.Status > 599:
		wrong("Status %d is not an HTTP status; use 200 to 599", c.Status)
	case bodiless(c.Status) && (c.Message != "" || c.Body != "" || c.Echo):
		wrong("Status %d has no body; leave out Message, Body and Echo, or use another status", c.Status)
	}
	if c.Message != "" && (c.Body != "" || c.ContentType != "") {
		wrong("Message %q excludes Body and ContentType; a message is JSON, use Body alone for anything else", c.Message)
	}
	if c.ContentType != "" && c.Body == "" {
		wrong("ContentType %q describes no Body; set Body, too", c.ContentType)
	}
	if c.Echo && (c.Body != "" || c.ContentType != "") {
		wrong("Echo excludes Body and ContentType; it answers with its own report")
	}
	if c.Report != nil && (!c.Echo || len(c.Reveal) > 0) {
		wrong("Report is of Echo, and Reveal of the report made without it; set Echo, and leave one of the two out")
	}
	if c.ContentType != "" && !canonical.FieldValue(c.ContentType) {
		wrong("ContentType %q is not a header value; use one such as \"text/html; charset=utf-8\"", c.ContentType)
	}
	if c.Trigger != "" && !canonical.Token(c.Trigger) {
		wrong("Trigger %q is not a header name; use letters, digits and hyphens", c.Trigger)
	}
	return errors.Join(slices.Concat(errs, c.checkReveal(), c.checkHeader())...)
}

func (c *Config) checkReveal() []error {
	var errs []error
	if len(c.Reveal) > 0 && !c.Echo {
		errs = append(errs, fmt.Errorf("terminate: Reveal %q has no effect without Echo; set it, or leave out Reveal", c.Reveal))
	}
	secret := canonical.NewNameSet(credentialFields...)
	for i, name := range c.Reveal {
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("terminate: Reveal[%d] %q is no name; use that of a header field or query parameter", i, name))
		case secret.Contains(name):
			errs = append(errs, fmt.Errorf("terminate: Reveal[%d] %q carries credentials and cannot be revealed; leave it out", i, name))
		}
	}
	return errs
}

func (c *Config) checkHeader() []error {
	var errs []error
	own := canonical.NewNameSet(ownFields...)
	has := make(map[string]bool, len(c.Header))
	for name, values := range c.Header {
		switch {
		case !canonical.Token(name):
			errs = append(errs, fmt.Errorf("terminate: Header[%q] is not a header name (RFC 9110 section 5.1)", name))
		case own.Contains(name):
			errs = append(errs, fmt.Errorf("terminate: Header[%q] follows from the answer; leave it out, a type goes into ContentType", name))
		}
		for i, v := range values {
			if !canonical.FieldValue(v) {
				errs = append(errs, fmt.Errorf("terminate: Header[%q][%d] %q is not a header value; control characters are not allowed", name, i, v))
			}
		}
		key := http.CanonicalHeaderKey(name)
		has[key] = has[key] || len(values) > 0
		if key == "Retry-After" && !slices.ContainsFunc(values, isRetryAfter) {
			errs = append(errs, fmt.Errorf("terminate: Header[%q] %q is neither seconds nor an HTTP date (RFC 9110 section 10.2.3)", name, values))
		}
		if key == fieldLocation && len(values) == 1 {
			if _, err := url.Parse(values[0]); err != nil {
				errs = append(errs, fmt.Errorf("terminate: Header[%q] %q is not a URL: %w", name, values[0], err))
			}
		}
	}
	need := map[int]string{
		http.StatusMovedPermanently: fieldLocation, http.StatusFound: fieldLocation, http.StatusSeeOther: fieldLocation,
		http.StatusTemporaryRedirect: fieldLocation, http.StatusPermanentRedirect: fieldLocation,
		http.StatusProxyAuthRequired: "Proxy-Authenticate", http.StatusUpgradeRequired: "Upgrade",
	}
	if c.Body != "" || c.Echo {
		need[http.StatusUnauthorized] = fieldAuthenticate // policy.WriteError sees to the others
	}
	if name := need[c.Status]; name != "" && !has[name] {
		errs = append(errs, fmt.Errorf("terminate: Status %d needs a field %q; set it in Header", c.Status, name))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) // maps have no order
	return errs
}

// bodiless reports whether an answer with that status has no body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusResetContent || status == http.StatusNotModified
}

func isRetryAfter(v string) bool {
	if _, err := strconv.ParseUint(v, 10, 31); err == nil {
		return true
	}
	_, err := http.ParseTime(v)
	return err == nil
}
