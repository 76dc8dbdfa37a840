package policy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

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

// ByHeader tells requests apart by a request header field. A repeated field counts as one with all its values, so that
// a client cannot choose which one is looked at. An absent or empty field has no value. The name is a token, and not
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
		for i, v := range r.Header[name] {
			if i > 0 {
				dst = append(dst, 0)
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
		c, err := r.Cookie(name)
		if err != nil || c.Value == "" {
			return dst, false
		}
		return append(dst, c.Value...), true
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
