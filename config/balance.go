package config

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

// Values of algorithm, hash_on and hash_fallback; hashHeader is also one of limit_by.
const (
	algorithmRoundRobin = "round-robin"
	algorithmHashing    = "consistent-hashing"
	hashNone            = "none"
	hashCookie          = "cookie"
	hashHeader          = "header"
	hashPath            = "path"
)

// fewestSlots is how many slots there are at least, as in Kong.
const fewestSlots = 1000

// hashInput is a value of hash_on or hash_fallback, with the field that says more.
type hashInput struct {
	field, value string // hash_on: header
	name         string // the field that names what is meant, such as hash_on_header; "" if the value says it all
	text         string // of that
	key          policy.Key
}

// hashInputs reads hash_on and hash_fallback.
func (up *upstream) hashInputs() (on, fallback hashInput) {
	return hashInputOf("hash_on", up.HashOn, up.HashOnHeader, up.HashOnCookie, up.HashOnQuery, up.HashOnCapture),
		hashInputOf("hash_fallback", up.HashFallback, up.HashFallbackHeader, up.HashOnCookie, up.HashFallbackQuery, up.HashFallbackCapt)
}

func hashInputOf(field, value, header, cookie, query, capture string) hashInput {
	in := hashInput{field: field, value: value}
	switch value {
	case "consumer":
		in.key = policy.ByConsumer().Or(policy.ByCredential())
	case "ip":
		in.key = policy.ByClientAddress()
	case hashPath:
		in.key = policy.ByPath()
	case hashHeader:
		in.name, in.text = field+"_header", header
		in.key = byField(header)
	case "query_arg":
		in.name, in.text = field+"_query_arg", query
		in.key = policy.ByQuery(query)
	case "uri_capture":
		in.name, in.text = field+"_uri_capture", capture
		in.key = policy.ByPathValue(capture)
	case hashCookie:
		in.name, in.text = "hash_on_cookie", cookie
		in.key = policy.ByCookie(cookie)
	}
	return in
}

// byField is the key of a header field, by the name that Kong knows it by. What the gateway sets it sets later than this, and its
// credentials have proven it.
func byField(name string) policy.Key {
	name = strings.ReplaceAll(name, "_", "-") // as in nginx
	identity := func(of func(policy.Identity) string) policy.Key {
		return policy.ByFunc("header:"+name, func(r *http.Request) string { return of(policy.ExchangeFrom(r.Context()).Identity()) }, policy.Authenticated)
	}
	consumer := func(of func(*policy.Consumer) string) policy.Key {
		return identity(func(id policy.Identity) string {
			if id.Consumer == nil {
				return ""
			}
			return of(id.Consumer)
		})
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host":
		return policy.ByFunc("header:"+name, func(r *http.Request) string { return r.Host })
	case "X-Consumer-Id":
		return consumer(func(c *policy.Consumer) string { return c.ID })
	case "X-Consumer-Username":
		return consumer(func(c *policy.Consumer) string { return c.Username })
	case "X-Consumer-Custom-Id":
		return consumer(func(c *policy.Consumer) string { return c.CustomID })
	case "X-Consumer-Groups":
		return consumer(func(c *policy.Consumer) string { return strings.Join(c.Groups, ", ") })
	case "X-Credential-Identifier":
		return identity(func(id policy.Identity) string { return id.Credential })
	}
	return policy.ByHeader(name)
}

// balancing is how an upstream chooses among its targets, and what distinguishes that from other ways for a reload.
type balancing struct {
	algorithm balancer.Algorithm
	key       string
}

// balancingOf reads the algorithm of an upstream. What is wrong with its fields is reported.
func (b *builder) balancingOf(up *upstream) balancing {
	on, fallback := up.hashInputs()
	if !b.checkHashing(up, on, fallback) {
		b.bad[up] = true
		return balancing{}
	}
	if on.value != hashNone && up.Algorithm != algorithmHashing && up.Algorithm != algorithmRoundRobin {
		b.warnf(up.node.get("hash_on"), "hash_on is without effect, as the algorithm is %s", up.Algorithm)
	}
	switch {
	case up.Algorithm == "least-connections":
		return balancing{balancer.LeastConnections{}, up.Algorithm}
	case up.Algorithm == "latency":
		return balancing{balancer.PeakEWMA{}, up.Algorithm}
	case on.value != hashNone: // which makes hashing of a round robin, as in Kong
	case up.Algorithm == algorithmHashing:
		b.warnf(up.node.get("algorithm"), "the algorithm is %s, and hash_on is none: requests go round", algorithmHashing)
		fallthrough
	default:
		return balancing{balancer.RoundRobin{}, algorithmRoundRobin}
	}
	ring := balancer.Ring{Slots: max(up.Slots, fewestSlots)}
	for _, in := range []hashInput{on, fallback} {
		switch {
		case in.value == hashNone:
		case in.value == hashCookie:
			ring.Cookie = &balancer.Cookie{Name: in.text, Path: up.HashOnCookiePath, InsecureHTTP: !isSecureCookie(in.text)}
		case ring.Key.Of == nil:
			ring.Key = in.key
		default:
			ring.Key = ring.Key.Or(in.key)
		}
	}
	return balancing{ring, fmt.Sprintf("%s %d %q %+v", algorithmHashing, up.Slots, ring.Key.Name, ring.Cookie)}
}

// isSecureCookie reports whether clients take a cookie of that name over TLS only (RFC 6265bis section 4.1.3).
func isSecureCookie(name string) bool { return hasPrefixFold(name, "__Secure-") || isHostCookie(name) }

// isHostCookie reports whether they take it for all paths only, too.
func isHostCookie(name string) bool { return hasPrefixFold(name, "__Host-") }

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// checkHashing reports what is wrong with the fields about hashing.
func (b *builder) checkHashing(up *upstream, on, fallback hashInput) bool {
	good := true
	bad := func(field, problem string) {
		good = false
		n := up.node.get(field)
		if n == nil {
			b.d.problems.add(up.node, "", field+" "+problem, "")
			return
		}
		b.d.fail(n, problem)
	}
	for field, name := range map[string]string{"hash_on_header": up.HashOnHeader, "hash_fallback_header": up.HashFallbackHeader} {
		if name != "" && byField(name).Err() != nil {
			bad(field, "is not a header name that can be hashed on")
		}
	}
	if up.HashOnCookie != "" && policy.ByCookie(up.HashOnCookie).Err() != nil {
		bad("hash_on_cookie", "is not the name of a cookie")
	}
	if p := up.HashOnCookiePath; !strings.HasPrefix(p, "/") {
		bad("hash_on_cookie_path", "should start with: /")
	} else if strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c > '~' || c == ';' }) {
		bad("hash_on_cookie_path", "has a character that no cookie's path can have")
	} else if p != "/" && isHostCookie(up.HashOnCookie) {
		bad("hash_on_cookie_path", fmt.Sprintf("must be / for the cookie %s, which clients drop otherwise", up.HashOnCookie))
	}
	for _, in := range []hashInput{on, fallback} {
		if in.name != "" && in.text == "" {
			bad(in.field, fmt.Sprintf("%s needs %s", in.value, in.name))
		}
	}
	switch {
	case on.value == hashNone && fallback.value != hashNone:
		bad("hash_fallback", "has no hash_on to stand in for")
	case on.value == hashCookie && fallback.value != hashNone:
		bad("hash_fallback", "never comes: who has no cookie gets one")
	case on.value != hashNone && on.value == fallback.value && (on.text == fallback.text || on.value == hashHeader && http.CanonicalHeaderKey(on.text) == http.CanonicalHeaderKey(fallback.text)):
		bad("hash_fallback", "is the same as hash_on")
	}
	return good
}
