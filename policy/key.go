package policy

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Key tells requests apart: rate limits count by it, hash balancing places by it. Make one with ByConsumer,
// ByClientAddress, … or [ByFunc]. The zero Key puts all requests together.
//
// A key that could not be made well, such as ByHeader("a b"), remembers why: [Key.Err] says it, and a policy's constructor
// reports it. Used all the same, it has no value.
type Key struct {
	// Name says what the key is made of, such as "consumer" or "header:X-Tenant". It is part of the counted key, so
	// that equal values of different keys never share a counter.
	Name string
	// Requires lists the facts that must be known before Of can answer; a Contract takes them over.
	Requires []Fact
	// Of appends the request's value to dst and reports whether there is one. A value is any bytes. It is safe for
	// concurrent use, and must not keep dst.
	Of func(dst []byte, r *http.Request) ([]byte, bool)

	err error
}

// Err returns what was wrong with the arguments k was made of, all problems joined; nil for a good key. Constructors of
// policies that take a Key call it.
func (k Key) Err() error { return k.err }

// broken is a key without a value, which remembers why.
func broken(name, format string, args ...any) Key {
	return Key{
		Name: name, err: fmt.Errorf("policy: "+format, args...),
		Of: func(dst []byte, _ *http.Request) ([]byte, bool) { return dst, false },
	}
}

// Or returns a key that uses the next one where k has no value. It requires what k requires only when there is no next:
// a fallback makes a requirement a preference. Its Err joins those of both.
func (k Key) Or(next Key) Key {
	first, second := k, next
	return Key{
		Name:     first.Name + "|" + second.Name,
		Requires: slices.Clone(second.Requires),
		err:      errors.Join(first.err, second.err),
		Of: func(dst []byte, r *http.Request) ([]byte, bool) {
			// The name goes before the value, or a consumer could choose an id that is another client's address.
			n := len(dst)
			if b, ok := first.appendTo(append(append(dst, first.Name...), 0), r); ok {
				return b, true
			}
			return second.appendTo(append(append(dst[:n], second.Name...), 0), r)
		},
	}
}

func (k Key) appendTo(dst []byte, r *http.Request) ([]byte, bool) {
	if k.Of == nil {
		return dst, true
	}
	return k.Of(dst, r)
}

// ByConsumer tells requests apart by the consumer's id. Without a consumer it has no value.
func ByConsumer() Key {
	return Key{Name: "consumer", Requires: []Fact{Authenticated}, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		c := ExchangeFrom(r.Context()).Consumer()
		if c == nil || c.ID == "" {
			return dst, false
		}
		return append(dst, c.ID...), true
	}}
}

// ByCredential tells requests apart by the kind and the name of the credential used, so that a consumer's keys count
// separately. Without a credential it has no value.
func ByCredential() Key {
	return Key{Name: "credential", Requires: []Fact{Authenticated}, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		id := ExchangeFrom(r.Context()).Identity()
		if id.Credential == "" {
			return dst, false
		}
		dst = append(append(dst, id.Kind...), 0)
		return append(dst, id.Credential...), true
	}}
}

// ByClientAddress tells requests apart by the client's address: an IPv4 address as it is, an IPv6 address by its first
// 64 bits, because one host commands that many addresses. Where the address is not known it has no value.
func ByClientAddress() Key {
	return Key{Name: "client_address", Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		x := ExchangeFrom(r.Context())
		addr := x.ClientAddr()
		if x == nil {
			addr = peerAddr(r.RemoteAddr)
		}
		if !addr.IsValid() {
			return dst, false
		}
		if addr.Is6() {
			a := addr.As16()
			clear(a[8:])
			addr = netip.AddrFrom16(a)
		}
		return addr.AppendTo(dst), true
	}}
}

// ByHeader tells requests apart by a request header field. A repeated field counts as one with all its values, separated by
// ", " (RFC 9110 section 5.3), so that a client cannot choose which one is looked at. An absent or empty field has no value. The name is a token, and not
// Host, which net/http keeps elsewhere.
func ByHeader(name string) Key {
	if !canonical.Token(name) {
		return broken("header:"+name, "ByHeader: %q is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Tenant", name)
	}
	name = http.CanonicalHeaderKey(name)
	if name == "Host" {
		return broken("header:"+name, "ByHeader: %q is not among the header fields of a request; use ByFunc with a function that returns r.Host", name)
	}
	return Key{Name: "header:" + name, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		n := len(dst)
		for _, v := range r.Header[name] {
			if v != "" && len(dst) > n {
				dst = append(dst, ", "...)
			}
			dst = append(dst, v...)
		}
		return dst, len(dst) > n
	}}
}

// ByCookie tells requests apart by the first cookie of that name, a token. An absent or empty cookie has no value.
func ByCookie(name string) Key {
	if !canonical.Token(name) {
		return broken("cookie:"+name, "ByCookie: %q is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in session", name)
	}
	return Key{Name: "cookie:" + name, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		value, _ := canonical.Cookie(r.Header["Cookie"], name)
		return append(dst, value...), value != ""
	}}
}

// ByQuery tells requests apart by a query parameter. One that is repeated counts with all its values, in whatever order they
// come. An absent or empty parameter has no value; neither has one that is escaped wrongly.
func ByQuery(name string) Key {
	if name == "" {
		return broken("query:", "ByQuery: %q is not a parameter's name; write the one in front of the =", name)
	}
	return Key{Name: "query:" + name, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		if r.URL == nil {
			return dst, false
		}
		n, found, more := len(dst), false, false
		for query := r.URL.RawQuery; query != ""; {
			var pair string
			pair, query, _ = strings.Cut(query, "&")
			key, value, _ := strings.Cut(pair, "=")
			if !unescapesTo(key, name) {
				continue
			}
			at := len(dst)
			if found {
				dst = append(dst, 0)
			}
			start := len(dst)
			var ok bool
			if dst, ok = appendUnescaped(dst, value); !ok || len(dst) == start {
				dst = dst[:at]
				continue
			}
			found, more = true, found
		}
		if more {
			dst = sorted(dst, n)
		}
		return dst, len(dst) > n
	}}
}

// sorted sorts the values in dst from n on, which have a zero byte between them.
func sorted(dst []byte, n int) []byte {
	var room [8][]byte // more than that are rare
	values := room[:0]
	for rest, more := dst[n:], true; more; {
		var v []byte
		v, rest, more = bytes.Cut(rest, []byte{0})
		values = append(values, v)
	}
	slices.SortFunc(values, bytes.Compare)
	end := len(dst)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, 0)
		}
		dst = append(dst, v...) // values stay where they are, also when dst moves
	}
	return append(dst[:n], dst[end:]...)
}

// ByPathValue tells requests apart by a parameter of the path that their route has, such as :id: what
// [http.Request.PathValue] says. Without that parameter, or when it is empty, it has no value.
func ByPathValue(name string) Key {
	if name == "" {
		return broken("path_value:", "ByPathValue: %q is not a parameter's name; write the one behind the colon, or the number of a group", name)
	}
	return Key{Name: "path_value:" + name, Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		v := r.PathValue(name)
		return append(dst, v...), v != ""
	}}
}

// ByPath tells requests apart by their canonical path, without the query. All spellings of a path are one.
func ByPath() Key {
	return Key{Name: "path", Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		p := ExchangeFrom(r.Context()).Path()
		if p == "" {
			var err error
			if p, err = canonical.Path(r.URL, canonical.PathOptions{AllowEncodedSlash: true}); err != nil {
				return dst, false
			}
		}
		return append(dst, canonical.MatchKey(p)...), true
	}}
}

// ByRoute tells requests apart by the route that took them. Outside a gateway it has no value.
func ByRoute() Key {
	return Key{Name: "route", Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		route := ExchangeFrom(r.Context()).Route()
		return append(dst, route...), route != ""
	}}
}

// ByFunc makes a key of a function of the application's. The function is safe for concurrent use; "" means no value.
// requires lists the facts it relies on. Neither name nor f may be missing.
func ByFunc(name string, f func(*http.Request) string, requires ...Fact) Key {
	switch {
	case f == nil:
		return broken(name, "ByFunc: the function of %q is nil; give the function that returns a request's value", name)
	case name == "":
		return broken(name, "ByFunc: the name %q is empty; it is part of what is counted, and keeps different keys apart", name)
	}
	return Key{Name: name, Requires: slices.Clone(requires), Of: func(dst []byte, r *http.Request) ([]byte, bool) {
		v := f(r)
		return append(dst, v...), v != ""
	}}
}

// unescapesTo reports whether a part of a query stands for text.
func unescapesTo(part, text string) bool {
	for i := range len(text) {
		c, size := unescape(part)
		if size == 0 || c != text[i] {
			return false
		}
		part = part[size:]
	}
	return part == ""
}

// appendUnescaped appends what a part of a query stands for, as [net/url.QueryUnescape] has it; false if that is nothing.
func appendUnescaped(dst []byte, part string) ([]byte, bool) {
	for part != "" {
		c, size := unescape(part)
		if size == 0 {
			return dst, false
		}
		dst, part = append(dst, c), part[size:]
	}
	return dst, true
}

// unescape returns the first byte that s stands for and how much of s that takes, which is 0 for an escape that is none.
func unescape(s string) (c byte, size int) {
	switch {
	case s == "":
		return 0, 0
	case s[0] == '+':
		return ' ', 1
	case s[0] != '%':
		return s[0], 1
	case len(s) < 3:
		return 0, 0
	}
	high, low := hexDigit(s[1]), hexDigit(s[2])
	if high < 0 || low < 0 {
		return 0, 0
	}
	return byte(high<<4 | low), 3
}

// hexDigit returns the value of a hexadecimal digit, -1 for what is none.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
