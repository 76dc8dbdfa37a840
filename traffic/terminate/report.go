package terminate

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
)

// Bounds of a report: it is no larger than an answer should be, whatever the client sent.
const (
	maxFields = 100 // header fields, and query parameters
	maxValues = 4   // of one field or parameter
	maxText   = 256 // bytes of a name or value
	maxPath   = 2048
)

const redacted = "REDACTED"

// harmlessFields are header fields whose values carry no secret. All others are redacted: nobody can list the names
// under which applications take credentials.
//
//nolint:gochecknoglobals // a constant list
var harmlessFields = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
	"Access-Control-Request-Method", "Cache-Control", "Connection", "Content-Encoding", "Content-Language", "Content-Length",
	"Content-Type", "Date", "Dnt", "Expect", "Forwarded", "Grpc-Timeout", "If-Match", "If-Modified-Since", "If-None-Match",
	"If-Range", "If-Unmodified-Since", "Max-Forwards", "Origin", "Pragma", "Priority", "Range", "Sec-Fetch-Dest",
	"Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Te", "Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade",
	"Upgrade-Insecure-Requests", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id",
}

// report is the body of an echo.
type report struct {
	Message   string        `json:"message"`
	RequestID string        `json:"request_id"`
	Trigger   string        `json:"trigger,omitempty"`
	Request   requestReport `json:"request"`
	Route     *routeReport  `json:"route,omitempty"`
}

type requestReport struct {
	Protocol      string              `json:"protocol"`
	Method        string              `json:"method"`
	Scheme        string              `json:"scheme"`
	Host          string              `json:"host"`
	Port          string              `json:"port,omitempty"`
	Path          string              `json:"path"`
	Query         map[string][]string `json:"query"`
	Headers       map[string][]string `json:"headers"`
	ClientAddress string              `json:"client_address,omitempty"`
}

type routeReport struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"`
}

func (t *Terminator) echoed(r *http.Request, x *policy.Exchange) []byte {
	if t.report != nil {
		return encoded(t.report(r))
	}
	rep := report{
		Message: t.message, RequestID: x.RequestID(), Trigger: t.trigger,
		Request: requestReport{
			Protocol: cut(r.Proto, maxText), Method: cut(r.Method, maxText), Scheme: x.Scheme(), Path: cut(x.Path(), maxPath),
			Query: map[string][]string{}, Headers: t.headers(r.Header),
		},
	}
	if rep.Message == "" {
		rep.Message = http.StatusText(t.status)
	}
	if rep.Request.Host, rep.Request.Port = x.Host(); rep.Request.Host == "" {
		rep.Request.Host = cut(r.Host, maxText)
	}
	if r.URL != nil {
		rep.Request.Query = t.query(r.URL.RawQuery)
		if rep.Request.Path == "" {
			rep.Request.Path = cut(r.URL.EscapedPath(), maxPath)
		}
	}
	if a := x.ClientAddr(); a.IsValid() {
		rep.Request.ClientAddress = a.String()
	}
	if name := x.Route(); name != "" {
		rep.Route = &routeReport{Name: name, Pattern: x.Pattern()}
	}
	return encoded(rep)
}

func encoded(report any) []byte {
	body, err := json.Marshal(report)
	if err != nil {
		body = []byte(`{}`) // of ours it cannot be: strings and maps of strings always have a JSON form
	}
	return append(body, '\n')
}

func (t *Terminator) headers(h http.Header) map[string][]string {
	shown := make(map[string][]string, min(len(h), maxFields))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if len(shown) == maxFields {
			break
		}
		shown[cut(name, maxText)] = values(h[name], t.shown.Exact(name))
	}
	return shown
}

// query lists parameters under their names as they were sent.
func (t *Terminator) query(raw string) map[string][]string {
	shown := make(map[string][]string)
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, valued := strings.Cut(part, "=")
		show := slices.Contains(t.reveal, name)
		switch {
		case !valued && !show && name != t.trigger:
			name, value = redacted, "" // it may be a bare token
		case valued && !show && value != "":
			value = redacted
		}
		name = cut(name, maxText)
		if _, seen := shown[name]; !seen && len(shown) == maxFields {
			break
		}
		if len(shown[name]) < maxValues {
			shown[name] = append(shown[name], cut(value, maxText))
		}
	}
	return shown
}

func values(all []string, show bool) []string {
	list := make([]string, 0, min(len(all), maxValues))
	for _, v := range all[:min(len(all), maxValues)] {
		if !show && v != "" {
			v = redacted
		}
		list = append(list, cut(v, maxText))
	}
	return list
}

// cut bounds a string; what it cuts through, json.Marshal makes valid again.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
