package mirror

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 64
	maxValues = 1 << 14
)

var (
	errNotJSON = errors.New("mirror: the body is not one JSON value, or has a member twice")
	errTooMuch = errors.New("mirror: the body has more JSON values, or is nested deeper, than is compared")
)

// parseJSON reads one JSON value: nil, bool, string, json.Number, []any or map[string]any. It takes nothing for JSON that two
// readers could take for different values.
func parseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errNotJSON
	}
	p := parser{dec: json.NewDecoder(bytes.NewReader(data)), left: maxValues}
	p.dec.UseNumber()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	return v, nil
}

type parser struct {
	dec  *json.Decoder
	left int
}

func (p *parser) value(depth int) (any, error) {
	if p.left--; p.left < 0 || depth > maxDepth {
		return nil, errTooMuch
	}
	t, err := p.dec.Token()
	if err != nil {
		return nil, errNotJSON
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for p.dec.More() {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, p.end()
	case json.Delim('{'):
		object := map[string]any{}
		for p.dec.More() {
			t, err := p.dec.Token()
			name, ok := t.(string)
			if _, twice := object[name]; err != nil || !ok || twice {
				return nil, errNotJSON
			}
			if object[name], err = p.value(depth + 1); err != nil {
				return nil, err
			}
		}
		return object, p.end()
	}
	return t, nil
}

func (p *parser) end() error {
	if _, err := p.dec.Token(); err != nil {
		return errNotJSON
	}
	return nil
}

// gunzip returns what data is the gzip of, if that is no more than limit bytes.
func gunzip(data []byte, limit int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errNotJSON
	}
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, errNotJSON
	case int64(len(out)) > limit:
		return nil, errTooMuch
	}
	return out, nil
}

// typeOf names the type of a value of JSON.
func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

// sameNumber tells whether two numbers of JSON are the same, however they are written, or differ by no more than t allows.
func sameNumber(a, b json.Number, t Tolerance) bool {
	if a == b || decimalOf(string(a)) == decimalOf(string(b)) {
		return true
	}
	if t.Absolute == 0 && t.Relative == 0 {
		return false
	}
	x, err := strconv.ParseFloat(string(a), 64)
	y, failed := strconv.ParseFloat(string(b), 64)
	if err != nil || failed != nil { // beyond what a float64 holds
		return false
	}
	return math.Abs(x-y) <= max(t.Absolute, t.Relative*max(math.Abs(x), math.Abs(y)))
}

// decimal is a number without the ways of writing it: 0.digits times ten to the exponent.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

func decimalOf(s string) decimal {
	var d decimal
	rest, negative := strings.CutPrefix(s, "-")
	mantissa, exponent := rest, 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		var err error
		mantissa = rest[:i]
		if exponent, err = strconv.Atoi(rest[i+1:]); err != nil || exponent > math.MaxInt32 || exponent < math.MinInt32 {
			return decimal{digits: s} // who writes such numbers has to write them alike
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	d.exponent = exponent + len(digits) - len(fraction)
	if d.digits = strings.TrimRight(digits, "0"); d.digits == "" {
		return decimal{} // zero has no sign
	}
	d.negative = negative
	return d
}
