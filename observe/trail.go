package observe

import (
	"strconv"

	"github.com/gatehouse-go/gateway/policy"
)

// safeError is the text of an error after errorText.
type safeError string

func (e safeError) Error() string { return string(e) }

func safe(err error) error {
	if e, ok := err.(*policy.Error); ok && e != nil { //nolint:errorlint // what wraps one says more than it
		err = e.Err // all else about it is in the record already
	}
	if err == nil {
		return nil
	}
	return safeError(errorText(err))
}

// decisionTrail is the decision record as one attribute. JSON handlers show a list of objects, text handlers one string.
type decisionTrail []policy.Decision

// newDecisionTrail makes what d holds safe to log, in place.
func newDecisionTrail(d []policy.Decision) decisionTrail {
	for i := range d {
		d[i].Policy = visible(d[i].Policy, maxName)
		d[i].Reason = visible(d[i].Reason, maxName)
		d[i].Detail = scrub(d[i].Detail)
		d[i].Err = safe(d[i].Err)
	}
	return d
}

// MarshalJSON implements json.Marshaler.
func (t decisionTrail) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+96*len(t))
	b = append(b, '[')
	for i, d := range t {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"policy":`...)
		b = quote(b, d.Policy)
		b = append(b, `,"verdict":`...)
		b = quote(b, d.Verdict.String())
		b = member(b, `,"reason":`, d.Reason)
		b = member(b, `,"detail":`, d.Detail)
		if d.Status != 0 {
			b = append(b, `,"status":`...)
			b = strconv.AppendInt(b, int64(d.Status), 10)
		}
		if d.Err != nil {
			b = member(b, `,"error":`, d.Err.Error())
		}
		b = append(b, '}')
	}
	return append(b, ']'), nil
}

// MarshalText implements encoding.TextMarshaler: "key-auth allowed; acl refused not_in_group 403".
func (t decisionTrail) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 40*len(t))
	for i, d := range t {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(append(append(b, d.Policy...), ' '), d.Verdict.String()...)
		if d.Reason != "" {
			b = append(append(b, ' '), d.Reason...)
		}
		if d.Status != 0 {
			b = strconv.AppendInt(append(b, ' '), int64(d.Status), 10)
		}
	}
	return b, nil
}

// String is for handlers that print values with fmt.
func (t decisionTrail) String() string { return text(t.MarshalText()) }

// tryTrail is the tries as one attribute, like decisionTrail.
type tryTrail []policy.Try

// newTryTrail makes what t holds safe to log, in place.
func newTryTrail(t []policy.Try) tryTrail {
	for i := range t {
		t[i].Upstream = visible(t[i].Upstream, maxName)
		t[i].Target = targetText(t[i].Target)
		t[i].Err = safe(t[i].Err)
	}
	return t
}

// MarshalJSON implements json.Marshaler.
func (t tryTrail) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+160*len(t))
	b = append(b, '[')
	for i := range t {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"number":`...)
		b = strconv.AppendInt(b, int64(t[i].Number), 10)
		b = member(b, `,"upstream":`, t[i].Upstream)
		b = member(b, `,"target":`, t[i].Target)
		if t[i].Status != 0 {
			b = append(b, `,"status":`...)
			b = strconv.AppendInt(b, int64(t[i].Status), 10)
		}
		if t[i].FirstByte > 0 {
			b = append(b, `,"first_byte":`...)
			b = strconv.AppendFloat(b, t[i].FirstByte.Seconds(), 'f', -1, 64)
		}
		b = append(b, `,"duration":`...)
		b = strconv.AppendFloat(b, t[i].Duration.Seconds(), 'f', -1, 64)
		if t[i].Canceled {
			b = append(b, `,"canceled":true`...)
		}
		if t[i].Err != nil {
			b = member(b, `,"error":`, t[i].Err.Error())
		}
		b = append(b, '}')
	}
	return append(b, ']'), nil
}

// MarshalText implements encoding.TextMarshaler: "http://10.0.0.1:80 refused 0.001s; http://10.0.0.2:80 200 0.02s".
func (t tryTrail) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 64*len(t))
	for i := range t {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(append(b, t[i].Target...), ' ')
		if t[i].Status != 0 {
			b = append(strconv.AppendInt(b, int64(t[i].Status), 10), ' ')
		}
		b = append(strconv.AppendFloat(b, t[i].Duration.Seconds(), 'f', -1, 64), 's')
		if t[i].Err != nil {
			b = append(append(b, ' '), t[i].Err.Error()...)
		}
	}
	return b, nil
}

// String is for handlers that print values with fmt.
func (t tryTrail) String() string { return text(t.MarshalText()) }

func text(b []byte, _ error) string { return string(b) }

// quote appends a string that visible made as a JSON string: with only printable runes in it, Go's rules and JSON's are
// the same.
func quote(b []byte, s string) []byte { return strconv.AppendQuote(b, s) }

func member(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return quote(append(b, key...), value)
}
