package healthcheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
)

// DefaultMaxBody is the default of HTTP.MaxBody.
const DefaultMaxBody = 64 << 10

// HTTP checks by a request. The zero HTTP asks for "/" and expects a status from 200 to 299.
type HTTP struct {
	// Path is what is asked for, with a query if there is one, below the path of the target's URL. It is in canonical form.
	// Default "/".
	Path string
	// Method is GET, which is the default, HEAD, OPTIONS or any other.
	Method string
	// Scheme is http or https. Default that of the target's URL, of which the port is used all the same.
	Scheme string
	// Host is the Host of the request. Default the target's.
	Host string
	// Header has further fields, but for Host and those of the connection, such as Transfer-Encoding. It is not changed, and
	// must not be. A User-Agent of "gatehouse-healthcheck" is sent unless there is one.
	Header http.Header
	// Statuses say that a target is well. None means 200 to 299, as far as they are not in FailureStatuses.
	Statuses []int
	// FailureStatuses say that it is not. None means all that are not in Statuses; otherwise what is in neither says nothing.
	FailureStatuses []int
	// Body must match what comes as body, as far as that is within MaxBody. Nil: it is not read.
	Body *regexp.Regexp
	// MaxBody is how many bytes of a body are read. Default 64 KiB.
	MaxBody int64
	// HTTP2 has HTTP/2 spoken, also without TLS. Default: HTTP/1.1.
	HTTP2 bool
}

// Validate returns what is wrong with h, each problem naming its field; nil if nothing is.
func (h HTTP) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if h.Path != "" && !validPath(h.Path) {
		bad("HTTP.Path %q is no path, or not in canonical form; write it as /healthz, without dot segments, repeated slashes or needless escapes", h.Path)
	}
	switch {
	case h.Method != "" && !canonical.Token(h.Method):
		bad("HTTP.Method %q is no method", h.Method)
	case h.Method == http.MethodConnect:
		bad("HTTP.Method %q asks for a tunnel; use another, such as GET", h.Method)
	case h.Method == http.MethodHead && h.Body != nil:
		bad("HTTP.Body is set, and answers to HEAD have none")
	}
	if h.Scheme != "" && h.Scheme != "http" && h.Scheme != "https" {
		bad("HTTP.Scheme %q must be http or https", h.Scheme)
	}
	if h.Host != "" {
		if _, _, err := canonical.Host(h.Host); err != nil {
			bad("HTTP.Host %q is no host, or host and port", h.Host)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Header)) {
		key, values := http.CanonicalHeaderKey(name), h.Header[name]
		_, twice := h.Header[key]
		switch {
		case !canonical.Token(name):
			bad("HTTP.Header %q is no name of a field", name)
		case key == "Host":
			bad("HTTP.Header %q is not sent; set HTTP.Host", name)
		case slices.Contains(framing, key):
			bad("HTTP.Header %q is for the connection, and cannot be set", name)
		case twice && key != name:
			bad("HTTP.Header %q is there as %q, too", name, key)
		}
		for _, v := range values {
			if !canonical.FieldValue(v) {
				bad("HTTP.Header %s has a value that no field can have", name) // it may be a secret
			}
		}
	}
	for _, list := range []struct {
		name     string
		statuses []int
	}{{"Statuses", h.Statuses}, {"FailureStatuses", h.FailureStatuses}} {
		for i, s := range list.statuses {
			if s < 100 || s > 599 {
				bad("HTTP.%s[%d] %d is no status; list statuses from 100 to 599", list.name, i, s)
			}
		}
	}
	for _, s := range h.Statuses {
		if slices.Contains(h.FailureStatuses, s) {
			bad("HTTP.Statuses has %d, and so has FailureStatuses", s)
		}
	}
	if h.MaxBody < 0 {
		bad("HTTP.MaxBody %d is negative; 0 means %d", h.MaxBody, DefaultMaxBody)
	}
	return errors.Join(errs...)
}

// framing are the fields that say where a message ends, or what becomes of its connection.
var framing = []string{"Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// validPath reports whether s is a path, with a query if there is one, that can stand behind another.
func validPath(s string) bool {
	if s[0] != '/' || strings.HasPrefix(s, "//") || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }) {
		return false
	}
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	path, err := canonical.Path(u, canonical.PathOptions{AllowEncodedSlash: true})
	return err == nil && path == u.EscapedPath()
}

// Check implements [balancer.Checker].
func (h HTTP) Check(ctx context.Context, c balancer.Check) error {
	path := cmp.Or(h.Path, "/")
	u := *c.URL
	u.Scheme, u.Path = cmp.Or(h.Scheme, u.Scheme), cmp.Or(u.Path, "/") // what is joined to no path is relative
	asked, err := url.Parse(path)
	if err != nil {
		return &balancer.AnswerError{Problem: "the path of the check is none"}
	}
	canonical.SetPath(&u, strings.TrimSuffix(u.EscapedPath(), "/")+asked.EscapedPath())
	u.RawQuery, u.ForceQuery = asked.RawQuery, asked.ForceQuery
	r := (&http.Request{Method: cmp.Or(h.Method, http.MethodGet), URL: &u, Host: cmp.Or(h.Host, c.Target.Host), Header: http.Header{"User-Agent": {userAgent}}}).WithContext(ctx)
	for name, values := range h.Header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return exchange(c, r, h.HTTP2, h.judge)
}

// judge says what the answer says about the target.
func (h HTTP) judge(res *http.Response) error {
	if err := h.status(res.StatusCode); err != nil || h.Body == nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, cmp.Or(h.MaxBody, DefaultMaxBody)))
	if err != nil {
		return err //nolint:wrapcheck // it says what happened
	}
	if !h.Body.Match(body) {
		return &balancer.AnswerError{Status: res.StatusCode, Problem: "the body does not match"}
	}
	return nil
}

func (h HTTP) status(status int) error {
	switch {
	case slices.Contains(h.Statuses, status):
		return nil
	case slices.Contains(h.FailureStatuses, status):
	case len(h.Statuses) == 0 && status/100 == 2:
		return nil
	case len(h.FailureStatuses) > 0:
		return balancer.ErrInconclusive
	}
	return &balancer.AnswerError{Status: status, Problem: "it says that the target is not well"}
}
