package terminate

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrTerminated is what [Terminator.Check] returns, or wraps, for a request that is answered here.
var ErrTerminated = errors.New("terminate: request terminated")

// Reasons in the decision record.
const (
	reasonTerminated   = "terminated"
	reasonNotTriggered = "not_triggered"
	reasonStandby      = "standby"
)

const fieldContentType = "Content-Type"

// Terminator answers requests with one fixed answer. As a plugin it passes on those without its trigger; as a handler it
// has nobody to pass them on to and answers all.
//
// A Terminator does not change, but for whether it is active, and is safe for concurrent use. The zero Terminator, and a nil one,
// answer every request with 503.
type Terminator struct {
	standby atomic.Bool

	status  int
	message string
	trigger string // as configured, for the query
	field   string // its canonical form, for the header
	verdict policy.Verdict

	// One of these is the answer.
	refusal *policy.Error // through policy.Refuse
	echo    bool
	body    []byte

	header http.Header // of an answer that is no refusal
	shown  canonical.NameSet
	reveal []string
	report func(*http.Request) any // instead of ours
	err    error                   // of Check
}

// New checks c and returns a Terminator. The error joins all problems.
func New(c Config) (*Terminator, error) {
	if c.Status == 0 {
		c.Status = http.StatusServiceUnavailable
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &Terminator{
		status: c.Status, message: c.Message, trigger: c.Trigger, field: http.CanonicalHeaderKey(c.Trigger), echo: c.Echo,
		reveal: slices.Clone(c.Reveal), report: c.Report, err: ErrTerminated, verdict: policy.Answered,
	}
	t.standby.Store(c.Standby)
	header := make(http.Header, len(c.Header)+3)
	for name, values := range c.Header {
		name = http.CanonicalHeaderKey(name)
		header[name] = append(header[name], values...)
	}
	if c.Status == http.StatusMethodNotAllowed && header["Allow"] == nil {
		header["Allow"] = []string{""} // no method is, for now: RFC 9110 section 10.2.1
	}
	if c.Status >= http.StatusBadRequest {
		t.verdict = policy.Refused
		e := &policy.Error{Status: c.Status, Code: reasonTerminated, Message: c.Message, Header: header, Err: ErrTerminated}
		t.err = e
		if c.Body == "" && !c.Echo {
			t.refusal = e
			return t, nil
		}
	}
	if header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-store"}
	}
	switch {
	case c.Echo:
		t.shown = canonical.NewNameSet(append(slices.Clone(harmlessFields), c.Reveal...)...)
		header[fieldContentType] = []string{"application/json; charset=utf-8"}
	case c.Body != "":
		t.body = []byte(c.Body)
		header[fieldContentType] = []string{"text/plain; charset=utf-8"}
		if c.ContentType != "" {
			header[fieldContentType] = []string{c.ContentType}
		}
	case c.Message != "":
		text, err := json.Marshal(c.Message)
		if err != nil {
			return nil, err // no string has one
		}
		t.body = append(append([]byte(`{"message":`), text...), "}\n"...)
		header[fieldContentType] = []string{"application/json; charset=utf-8"}
	}
	if header[fieldContentType] != nil {
		header["X-Content-Type-Options"] = []string{"nosniff"}
	}
	t.header = header
	return t, nil
}

// Name returns "request-termination", which is Kong's name for it.
func (*Terminator) Name() string { return "request-termination" }

// Contract asks and promises nothing.
func (*Terminator) Contract() policy.Contract { return policy.Contract{} }

// SetActive has requests answered from now on, or passed on: for the time of maintenance, say. It is for those that New made.
func (t *Terminator) SetActive(active bool) {
	if t != nil {
		t.standby.Store(!active)
	}
}

// Active reports whether requests are answered, those without the Trigger apart.
func (t *Terminator) Active() bool { return !t.orZero().standby.Load() }

// Check returns nil for a request that passes on, and an error that is [ErrTerminated] for one that is answered here; it
// is also a [*policy.Error], read-only, when the answer has an error status.
func (t *Terminator) Check(r *http.Request) error {
	t = t.orZero()
	if t.passes(r) == "" {
		return t.err
	}
	return nil
}

// Preview returns the decision on r without answering it.
func (t *Terminator) Preview(r *http.Request) policy.Decision {
	t = t.orZero()
	if why := t.passes(r); why != "" {
		return policy.Decision{Policy: t.Name(), Verdict: policy.Skipped, Reason: why}
	}
	d := policy.Decision{Policy: t.Name(), Verdict: t.verdict, Reason: reasonTerminated, Status: t.status}
	if t.verdict == policy.Refused {
		d.Err = t.err
	}
	return d
}

// Wrap returns a handler that answers requests with the trigger and passes all others on to next.
func (t *Terminator) Wrap(next http.Handler) http.Handler {
	t = t.orZero()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		why := t.passes(r)
		if why == "" {
			t.answer(w, r, x)
			return
		}
		x.Record(policy.Decision{Policy: t.Name(), Verdict: policy.Skipped, Reason: why})
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers r, with or without the trigger.
func (t *Terminator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, r := policy.Ensure(r)
	t.orZero().answer(w, r, x)
}

// orZero returns t, or what stands for a Terminator nobody configured.
func (t *Terminator) orZero() *Terminator {
	if t != nil && t.status != 0 {
		return t
	}
	e := &policy.Error{Status: http.StatusServiceUnavailable, Code: reasonTerminated, Err: ErrTerminated}
	return &Terminator{status: e.Status, verdict: policy.Refused, refusal: e, err: e}
}

// passes returns why a request passes on; "" for one that is answered.
func (t *Terminator) passes(r *http.Request) string {
	switch {
	case t.standby.Load():
		return reasonStandby
	case !t.triggered(r):
		return reasonNotTriggered
	}
	return ""
}

func (t *Terminator) triggered(r *http.Request) bool {
	if t.trigger == "" {
		return true
	}
	if _, ok := r.Header[t.field]; ok {
		return true
	}
	return r.URL != nil && hasParam(r.URL.RawQuery, t.trigger)
}

// hasParam reports whether a raw query has a parameter of that name, which is case-sensitive.
func hasParam(raw, name string) bool {
	if raw == "" {
		return false
	}
	for part := range strings.SplitSeq(raw, "&") {
		got, _, _ := strings.Cut(part, "=")
		if got == name {
			return true
		}
		if strings.IndexByte(got, '%') < 0 && strings.IndexByte(got, '+') < 0 {
			continue
		}
		if got, err := url.QueryUnescape(got); err == nil && got == name {
			return true
		}
	}
	return false
}

func (t *Terminator) answer(w http.ResponseWriter, r *http.Request, x *policy.Exchange) {
	if t.refusal != nil {
		policy.Refuse(w, r, t.Name(), t.refusal)
		return
	}
	if t.verdict == policy.Refused {
		policy.RefuseWith(w, r, t.Name(), t.err, t.write)
		return
	}
	x.Record(policy.Decision{Policy: t.Name(), Verdict: t.verdict, Reason: reasonTerminated, Status: t.status})
	x.MarkGatewayMade()
	t.write(w, r)
}

// write sends the answer as it is configured.
func (t *Terminator) write(w http.ResponseWriter, r *http.Request) {
	body := t.body
	if t.echo {
		body = t.echoed(r, policy.ExchangeFrom(r.Context()))
	}
	h := w.Header()
	for name, values := range t.header {
		h[name] = slices.Clone(values) // the layers around may edit them
	}
	if !bodiless(t.status) {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	policy.ReleaseBody(w, r)
	w.WriteHeader(t.status)
	if len(body) > 0 && r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left needs no answer
	}
}
