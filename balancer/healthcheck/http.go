package healthcheck

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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

// maxHead bounds the heads of answers.
const maxHead = 64 << 10

const userAgent = "gatehouse-healthcheck"

// HTTP checks by a request. The zero HTTP asks for "/" and expects a status from 200 to 299.
type HTTP struct {
	// Path is what is asked for, with a query if there is one, below the path of the target's URL. Default "/".
	Path string
	// Method is GET, which is the default, HEAD, OPTIONS or any other.
	Method string
	// Scheme is http or https. Default that of the target's URL.
	Scheme string
	// Host is the Host of the request. Default the target's.
	Host string
	// Header has further fields. It is not changed, and must not be. A User-Agent of "gatehouse-healthcheck" is sent unless
	// there is one.
	Header http.Header
	// Statuses say that a target is well. Nil means 200 to 299, as far as they are not in FailureStatuses.
	Statuses []int
	// FailureStatuses say that it is not. Nil means all that are not in Statuses; otherwise what is in neither says nothing.
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
	if h.Path != "" {
		if u, err := url.Parse(h.Path); err != nil || h.Path[0] != '/' || strings.HasPrefix(h.Path, "//") || u.Fragment != "" || strings.ContainsAny(h.Path, "# ") {
			bad("HTTP.Path %q is no path; write it as /healthz", h.Path)
		}
	}
	if h.Method != "" && !canonical.Token(h.Method) {
		bad("HTTP.Method %q is no method", h.Method)
	}
	if h.Scheme != "" && h.Scheme != "http" && h.Scheme != "https" {
		bad("HTTP.Scheme %q must be http or https", h.Scheme)
	}
	if h.Host != "" {
		if _, _, err := canonical.Host(h.Host); err != nil {
			bad("HTTP.Host %q is no host, or host and port", h.Host)
		}
	}
	for name, values := range h.Header {
		if !canonical.Token(name) {
			bad("HTTP.Header %q is no name of a field", name)
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

// Check implements [balancer.Checker].
func (h HTTP) Check(ctx context.Context, c balancer.Check) error {
	path := cmp.Or(h.Path, "/")
	u := *c.URL
	u.Scheme, u.Path = cmp.Or(h.Scheme, u.Scheme), cmp.Or(u.Path, "/") // what is joined to no path is relative
	asked, err := url.Parse(path)
	if err != nil {
		return &balancer.AnswerError{Problem: "the path of the check is none"}
	}
	u = *u.JoinPath(asked.EscapedPath())
	u.RawQuery, u.ForceQuery = asked.RawQuery, asked.ForceQuery
	r := (&http.Request{Method: cmp.Or(h.Method, http.MethodGet), URL: &u, Host: h.Host, Header: h.Header.Clone()}).WithContext(ctx)
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", userAgent)
	}
	t := transport(c, &u, h.HTTP2)
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(r)
	if err != nil {
		return err //nolint:wrapcheck // it says what happened, and is told apart by its cause
	}
	defer func() { _ = res.Body.Close() }()
	if err := h.judge(res.StatusCode); err != nil || h.Body == nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, cmp.Or(h.MaxBody, DefaultMaxBody)))
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	if !h.Body.Match(body) {
		return &balancer.AnswerError{Status: res.StatusCode, Problem: "the body does not match"}
	}
	return nil
}

func (h HTTP) judge(status int) error {
	switch {
	case slices.Contains(h.Statuses, status):
		return nil
	case slices.Contains(h.FailureStatuses, status):
	case h.Statuses == nil && status/100 == 2:
		return nil
	case h.FailureStatuses != nil:
		return balancer.ErrInconclusive
	}
	return &balancer.AnswerError{Status: status, Problem: "it says that the target is not well"}
}

// transport sends a single request, to the target.
func transport(c balancer.Check, u *url.URL, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetHTTP2(http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	if u.Scheme == "https" {
		t.TLSClientConfig = tlsOf(c, u)
		if !http2 {
			t.TLSClientConfig.NextProtos = nil
		}
	}
	return t
}

// tlsOf returns the configuration for a connection to the target.
func tlsOf(c balancer.Check, u *url.URL) *tls.Config {
	config := c.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = cmp.Or(config.ServerName, u.Hostname())
	return config
}
