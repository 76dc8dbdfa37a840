package gatewaytest

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// CheckExchange draws a request, serves it with gw, and checks what reached the upstreams by what the request's
// [policy.Exchange] knows afterwards:
//
//   - When a plugin or the gateway has refused the request, no upstream got it. A refusal by an upstream itself, such as
//     the 502 for an answer that makes no sense, comes too late for that.
//   - An upstream was told who the caller is, and nothing else: each request has exactly the identity fields that
//     [policy.Exchange.Identity] implies, as [github.com/gatehouse-go/gateway.Upstream] lists them, each with one value
//     and in no other spelling of its name.
//   - The path is in its canonical form, and it is the one that the policies saw, [policy.Exchange.Path], behind that of the
//     target's URL, as far as the route's [policy.Forward] leaves it alone or strips it.
//
// gw is a [github.com/gatehouse-go/gateway.Gateway], or any handler that passes requests on to a
// [github.com/gatehouse-go/gateway.Upstream]. Set p's Headers to credentials that it knows, and to some that it does not, or
// all requests end alike. It is asked for one request, and may serve others meanwhile; the request is known again by a
// header field of its own. upstreams are all that gw may send requests to.
//
// It is not for plugins that send another path than they got, nor for those that call [policy.Refuse] when they have seen
// the upstream's answer. What is sent to an upstream after the answer was given is not seen.
func (p Properties) CheckExchange(t *rapid.T, gw http.Handler, upstreams ...*Upstream) {
	t.Helper()
	x, r := policy.Ensure(p.Request().Draw(t, "request"))
	text := requestText(r)
	before := make([]int, len(upstreams))
	for i, u := range upstreams {
		before[i] = len(u.since(0))
	}
	tag := rand.Text()
	r.Header.Set(tagField, tag)
	x.OnTry(tagged(tag))
	res := Do(gw, r)
	res.Body.Close()
	for i, u := range upstreams {
		for _, got := range u.since(before[i]) {
			if !slices.Contains(got.Header[tagField], tag) {
				continue
			}
			if wrong := wrongly(x, got); wrong != "" {
				t.Fatalf("gatewaytest: %s\nrequest: %s\nanswer: %d\ndecisions: %v\nidentity: %s\nupstream %s got: %s",
					wrong, text, res.StatusCode, x.Decisions(), identityText(x.Identity()), u.host, gotText(got))
			}
		}
	}
}

// since returns what reached u after the first n requests. Read-only.
func (u *Upstream) since(n int) []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clip(u.requests[n:])
}

// tagField tells the request of one check from others. The entry and the policies let it pass.
const tagField = "Gatewaytest-Request"

// tagged sees to it that each try has the tag, whatever plugins have done to the header.
type tagged string

func (tag tagged) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	t.Out.Header.Set(tagField, string(tag))
	return ctx
}

func (tagged) EndTry(context.Context, *policy.Try) {}

// refusedByUpstream is the name under which an upstream's own refusals are recorded.
const refusedByUpstream = "upstream"

// wrongly says what is wrong with got having reached an upstream; "" when nothing is.
func wrongly(x *policy.Exchange, got Request) string {
	if d, refused := x.Refusal(); refused && d.Policy != refusedByUpstream {
		return fmt.Sprintf("the request was refused (%s), and reached an upstream all the same", d)
	}
	if wrong := wrongIdentity(x.Identity(), got.Header); wrong != "" {
		return wrong
	}
	return wrongPath(x, got)
}

// wrongIdentity compares the fields that speak of the caller with what an identity implies.
func wrongIdentity(id policy.Identity, h http.Header) string {
	want := identityFields(id)
	known := map[string]bool{}
	for _, name := range canonical.IdentityHeaders() {
		known[canonical.Fold(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		switch value, ok := want[name]; {
		case !known[canonical.Fold(name)]:
		case !ok:
			return fmt.Sprintf("the upstream was told %s: %q, which nothing in the identity implies", name, h[name])
		case len(h[name]) != 1 || h[name][0] != value:
			return fmt.Sprintf("the upstream was told %s: %q, and the identity implies %q", name, h[name], value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if len(h[name]) == 0 {
			return fmt.Sprintf("the upstream was not told %s, and the identity implies %q", name, want[name])
		}
	}
	return ""
}

// identityFields returns the fields that an upstream gets with an identity.
func identityFields(id policy.Identity) map[string]string {
	fields := map[string]string{}
	if c := id.Consumer; c != nil {
		fields["X-Consumer-Id"], fields["X-Consumer-Username"], fields["X-Consumer-Custom-Id"] = c.ID, c.Username, c.CustomID
		fields["X-Consumer-Groups"] = strings.Join(slices.DeleteFunc(slices.Clone(c.Groups), func(g string) bool { return g == "" }), ", ")
	}
	if id.Anonymous {
		fields["X-Anonymous-Consumer"] = "true"
	} else {
		fields["X-Credential-Identifier"] = id.Credential
	}
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	return fields
}

// wrongPath compares the path that an upstream got with that of the exchange.
func wrongPath(x *policy.Exchange, got Request) string {
	path, _, _ := strings.Cut(got.URI, "?")
	clean, err := canonical.Literal(path, canonical.PathOptions{AllowEncodedSlash: true})
	if err != nil || clean != path {
		return fmt.Sprintf("the upstream got the path %q, which is not in its canonical form %q", path, clean)
	}
	if want, ok := expectedPath(x); ok && !strings.HasSuffix(path, want) {
		return fmt.Sprintf("the upstream got the path %q, and the policies saw %q, of which %q is to be sent", path, x.Path(), want)
	}
	return ""
}

// expectedPath returns how the path at the upstream ends. It reports false where a function of the route has the last word,
// and where nothing is left, so that it ends as that of the target does.
func expectedPath(x *policy.Exchange) (string, bool) {
	path, f := x.Path(), x.Forward()
	if f != nil && f.StripPath {
		path = "/" + strings.TrimPrefix(strings.TrimPrefix(path, x.MatchedPath()), "/")
		// What is left when a raw prefix is taken off may be dot segments, which are resolved.
		clean, err := canonical.Literal(path, canonical.PathOptions{AllowEncodedSlash: true})
		if err != nil {
			return "", false
		}
		path = clean
	}
	return path, path != "/" && (f == nil || f.Rewrite == nil)
}

func identityText(id policy.Identity) string {
	if id.IsZero() {
		return "nobody"
	}
	return fmt.Sprintf("%q by %s", identityFields(id), id.Kind)
}

// gotText writes a request that reached an upstream.
func gotText(got Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s at %s", got.Method, got.URI, got.Host)
	for _, name := range slices.Sorted(maps.Keys(got.Header)) {
		if name != tagField {
			fmt.Fprintf(&b, "\n\t%s: %q", name, got.Header[name])
		}
	}
	return b.String()
}
