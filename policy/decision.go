package policy

import (
	"log/slog"
	"strconv"
)

// Verdict is what a plugin decided about a request.
type Verdict uint8

// The verdicts. The zero Verdict is Allowed.
const (
	Allowed     Verdict = iota // the plugin looked and let the request pass
	Refused                    // the plugin answered with an error instead of those inside it
	WouldRefuse                // the plugin would have refused, but only reports
	Skipped                    // the plugin did not apply to this request
	Answered                   // the plugin gave the client what it came for, without those inside it
)

// String returns "allowed", "refused", "would_refuse", "skipped" or "answered".
func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case Refused:
		return "refused"
	case WouldRefuse:
		return "would_refuse"
	case Skipped:
		return "skipped"
	case Answered:
		return "answered"
	default:
		return "unknown"
	}
}

// Decision is one entry of a request's decision record: which plugin, what, and why.
type Decision struct {
	// Policy is the name of the plugin.
	Policy string
	// Verdict is what it decided; the zero value is Allowed.
	Verdict Verdict
	// Reason is a code in lower_snake_case from a set the plugin documents, such as "no_credential". It may become a
	// metric label: it never holds anything a client sent.
	Reason string
	// Detail says more for people, such as the name of the exceeded limit. It never holds a secret.
	Detail string
	// Status is the status the plugin answered with, or would have.
	Status int
	// Err is the cause of a refusal, for logs. It never reaches a client.
	Err error
}

// String returns a decision on one line for tests and debugging, such as "acl refused no_group_allowed 403", with Detail
// in parentheses behind it. Empty fields are left out. Err is not in it: a cause may quote what a client sent, and
// belongs into logs (see LogValue).
func (d Decision) String() string {
	b := make([]byte, 0, 64)
	if d.Policy != "" {
		b = append(append(b, d.Policy...), ' ')
	}
	b = append(b, d.Verdict.String()...)
	if d.Reason != "" {
		b = append(append(b, ' '), d.Reason...)
	}
	if d.Status != 0 {
		b = strconv.AppendInt(append(b, ' '), int64(d.Status), 10)
	}
	if d.Detail != "" {
		b = append(append(append(b, " ("...), d.Detail...), ')')
	}
	return string(b)
}

// LogValue logs a decision as a group of its non-empty fields.
func (d Decision) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs, slog.String("policy", d.Policy), slog.String("verdict", d.Verdict.String()))
	if d.Reason != "" {
		attrs = append(attrs, slog.String("reason", d.Reason))
	}
	if d.Detail != "" {
		attrs = append(attrs, slog.String("detail", d.Detail))
	}
	if d.Status != 0 {
		attrs = append(attrs, slog.Int("status", d.Status))
	}
	if d.Err != nil {
		attrs = append(attrs, slog.String("error", d.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}
