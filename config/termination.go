package config

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// requestTermination is Kong's request-termination.
type requestTermination struct {
	StatusCode  int    `kong:"status_code,default=503,min=100,max=599"`
	Message     string `kong:"message"`
	ContentType string `kong:"content_type"`
	Body        string `kong:"body"`
	Echo        bool   `kong:"echo"`
	Trigger     string `kong:"trigger"`
}

// Check implements the optional method of Schema.
func (r *requestTermination) Check(c *Check) {
	if r.Message != "" && (r.ContentType != "" || r.Body != "") {
		c.Failf("message", "message cannot be used with content_type or body")
	}
	if r.ContentType != "" && r.Body == "" {
		c.Failf("content_type", "content_type requires a body")
	}
	if r.StatusCode < http.StatusOK {
		c.Failf("status_code", "%d is informational and ends no request; use 200 to 599", r.StatusCode)
	} else if r.StatusCode >= http.StatusMultipleChoices && r.StatusCode < http.StatusBadRequest && r.StatusCode != http.StatusNotModified {
		c.Failf("status_code", "%d is a redirect, which needs a Location that this plugin cannot send; use another status", r.StatusCode)
	}
	if r.Echo && (r.ContentType != "" || r.Body != "") {
		c.Failf("echo", "echo cannot be used with content_type and body")
	}
}

// Fields implements the optional method of Schema.
func (*requestTermination) Fields() map[string]string {
	return map[string]string{
		"Status": "status_code", "Message": "message", "Body": "body", "ContentType": "content_type", "Trigger": "trigger", "Echo": "echo",
	}
}

// kongMessage is the text Kong has for an answer without one; "" where it has none.
func kongMessage(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "Unauthorized"
	case http.StatusNotFound:
		return "Not found"
	case http.StatusMethodNotAllowed:
		return "Method not allowed"
	case http.StatusInternalServerError:
		return "An unexpected error occurred"
	case http.StatusBadGateway:
		return "Bad Gateway"
	case http.StatusServiceUnavailable:
		return "Service unavailable"
	default:
		return ""
	}
}

// Build implements [Schema].
func (r *requestTermination) Build(e *Env) (policy.Plugin, error) {
	c := terminate.Config{Status: r.StatusCode, Message: r.Message, Body: r.Body, ContentType: r.ContentType, Trigger: r.Trigger}
	if c.Status == http.StatusUnauthorized {
		c.Header = http.Header{"WWW-Authenticate": {"Key"}} // RFC 9110 section 15.5.2 asks for one
	}
	message := r.Message
	if message == "" {
		message = kongMessage(c.Status)
	}
	switch {
	case r.Echo:
		shared, routes := e.shared, e.tables.routes // a route without a name is called otherwise in the next file
		c.Message, c.Echo = "", true
		c.Report = func(req *http.Request) any { return shared.echo(routes, message, req) }
	case c.Body == "" && c.Status >= http.StatusBadRequest && message != "":
		body, err := json.Marshal(map[string]string{"message": message})
		if err != nil {
			return nil, err
		}
		c.Message, c.Body, c.ContentType = "", string(body), "application/json; charset=utf-8"
	}
	return terminate.New(c)
}

// maxEchoedBody is how much of a request body is echoed.
const maxEchoedBody = 64 << 10

// echo is what Kong answers with to show a request. Of the service it tells the name only, and of the credentials that
// browsers send by themselves, which scripts must not read, nothing.
func (s *shared) echo(routes map[string]*matchedRoute, message string, r *http.Request) any {
	x := policy.ExchangeFrom(r.Context())
	host, port := x.Host()
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && a != nil {
		port = strconv.Itoa(a.Port)
	}
	number, err := strconv.Atoi(port)
	if number = max(number, 0); err != nil && x.Scheme() == schemeHTTPS {
		number = 443
	} else if err != nil {
		number = 80
	}
	raw := []byte{}
	if r.Body != nil {
		raw, _ = io.ReadAll(io.LimitReader(r.Body, maxEchoedBody)) // what came is echoed
	}
	headers := map[string]any{"host": r.Host}
	for name, values := range r.Header {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie":
			values = []string{"REDACTED"}
		}
		headers[strings.ToLower(name)] = oneOrAll(values)
	}
	query := map[string]any{}
	for name, values := range r.URL.Query() {
		query[name] = oneOrAll(values)
	}
	report := map[string]any{
		"kong": map[string]any{"node_id": s.id},
		"request": map[string]any{
			"scheme": x.Scheme(), "host": host, "port": number, "headers": headers, "query": query, "method": r.Method,
			"path": x.Path(), "raw_body": string(raw), "body": parsedBody(r.Header.Get("Content-Type"), raw), "uri_captures": captures(x, r),
		},
	}
	if message != "" {
		report["message"] = message
	}
	if rt := routes[x.Route()]; rt != nil {
		report["matched_route"] = rt
		if rt.Service != nil {
			report["matched_service"] = rt.Service
		}
	}
	return report
}

func oneOrAll(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

// parsedBody returns the fields of a form or what a JSON text says; nil for any other body.
func parsedBody(contentType string, raw []byte) any {
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
	case kind == "application/json":
		var v any
		if json.NewDecoder(bytes.NewReader(raw)).Decode(&v) == nil {
			return v
		}
	case kind == "application/x-www-form-urlencoded":
		if form, err := url.ParseQuery(string(raw)); err == nil {
			fields := map[string]any{}
			for name, values := range form {
				fields[name] = oneOrAll(values)
			}
			return fields
		}
	}
	return nil
}

// captures lists what the groups of the route's expression took.
func captures(x *policy.Exchange, r *http.Request) any {
	named, unnamed := map[string]string{}, []string{}
	if expr, err := regexp.Compile(x.Pattern()); err == nil {
		for i, name := range expr.SubexpNames() {
			if i > 0 {
				unnamed = append(unnamed, r.PathValue(strconv.Itoa(i)))
			}
			if name != "" {
				named[name] = r.PathValue(name)
			}
		}
	}
	return map[string]any{"named": named, "unnamed": unnamed}
}

// matchedRoute is a route as an echo shows it.
type matchedRoute struct {
	ID             string              `json:"id,omitempty"`
	Name           string              `json:"name,omitempty"`
	Protocols      []string            `json:"protocols"`
	Methods        []string            `json:"methods,omitempty"`
	Hosts          []string            `json:"hosts,omitempty"`
	Paths          []string            `json:"paths,omitempty"`
	Headers        map[string][]string `json:"headers,omitempty"`
	SNIs           []string            `json:"snis,omitempty"`
	Tags           []string            `json:"tags,omitempty"`
	RedirectStatus int                 `json:"https_redirect_status_code"`
	RegexPriority  int                 `json:"regex_priority"`
	StripPath      bool                `json:"strip_path"`
	PathHandling   string              `json:"path_handling"`
	PreserveHost   bool                `json:"preserve_host"`
	RequestBuffer  bool                `json:"request_buffering"`
	ResponseBuffer bool                `json:"response_buffering"`
	Service        *matchedService     `json:"service,omitempty"`
}

type matchedService struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// written returns the values as the file has them, with references in the place of what they stand for.
func written(values []string, n *node) []string {
	if n == nil || len(n.items) != len(values) || !slices.ContainsFunc(n.items, isVault) {
		return values
	}
	values = slices.Clone(values)
	for i, item := range n.items {
		if isVault(item) {
			values[i] = item.text
		}
	}
	return values
}

func newMatchedRoute(r *route) *matchedRoute {
	headers := r.Headers
	if n := r.node.get("headers"); n != nil && n.holdsVault() {
		headers = make(map[string][]string, len(r.Headers))
		for name, values := range r.Headers {
			headers[name] = written(values, n.get(name))
		}
	}
	list := func(values []string, name string) []string { return written(values, r.node.get(name)) }
	m := &matchedRoute{
		ID: r.ID, Name: r.Name, Protocols: r.Protocols, Methods: list(r.Methods, "methods"), Hosts: list(r.Hosts, "hosts"),
		Paths: list(r.Paths, "paths"), Headers: headers, SNIs: list(r.SNIs, "snis"), Tags: list(r.Tags, "tags"), RedirectStatus: r.RedirectStatus, RegexPriority: r.RegexPriority, StripPath: r.StripPath, PathHandling: r.PathHandling,
		PreserveHost: r.PreserveHost, RequestBuffer: r.RequestBuffering, ResponseBuffer: r.ResponseBuffering,
	}
	if r.of != nil {
		m.Service = &matchedService{r.of.ID, r.of.Name}
	}
	return m
}
