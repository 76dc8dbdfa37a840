package split_test

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// ring is a handler that leads to others.
type ring struct{ inside []http.Handler }

func (r *ring) Handlers() []http.Handler                   { return r.inside }
func (*ring) ServeHTTP(http.ResponseWriter, *http.Request) {}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	loop := &ring{}
	loop.inside = []http.Handler{say("x"), &ring{[]http.Handler{loop}}}
	deep := say("x")
	for range 20 {
		deep = &ring{[]http.Handler{deep}}
	}
	// A Split that contains itself, by way of a handler that is told later.
	late := &ring{}
	self := made(t, split.Config{Name: "self", Arms: []split.Arm{{Name: "a", Weight: 1, Handler: late}}})
	late.inside = []http.Handler{self}
	one := func(h http.Handler) []split.Arm { return []split.Arm{{Name: "a", Weight: 1, Handler: h}} }
	for name, c := range map[string]struct {
		config split.Config
		want   []string
	}{
		"nothing": {split.Config{}, []string{`split: Arms has 0 arms; use 1 to 64`}},
		"all at once": {split.Config{
			Name: "a\nb",
			Arms: []split.Arm{
				{Name: "", Weight: -1, Handler: say("")}, {Name: "a b", Weight: 1 << 21, Handler: (*split.Split)(nil)}, {Name: "a", Handler: http.HandlerFunc(nil)}, {Name: "a", Handler: say("")},
			},
			Sticky: policy.ByHeader("a b").Or(policy.ByCookie("c d")),
			Cookie: split.Cookie{Name: "a b", Path: "x", Domain: "a b", MaxAge: 1, SameSite: 9},
			Overrides: []split.Override{
				{Arm: "b", Group: "g"}, {Arm: "a"}, {Arm: "a", Header: "X-A", Cookie: "c"}, {Arm: "a", Group: "h", Value: "v"}, {Arm: "a", Header: "a b"},
				{Arm: "a", Header: "host"}, {Arm: "a", Cookie: "c d"}, {Arm: "a", Header: "X-A", Value: "\n"}, {Arm: "a", Header: "x-a"}, {Arm: "a", Header: "X-A"},
			},
			Header: "a b",
			Rollback: split.Rule{
				Arm: "c", Against: "c", ErrorShare: math.NaN(), ErrorRatio: 0.5, Latency: -1, LatencyRatio: 1, Window: time.Millisecond, Minimum: -1,
			},
		}, []string{
			`split: Name "a\nb" has control characters, or is not UTF-8; logs and metrics show it`,
			`split: Arms[0].Name "" is no token; use letters, digits, hyphens and dots, as in canary`,
			`split: Arms[0].Weight is -1; use 0 to 1048576`,
			`split: Arms[1].Name "a b" is no token; use letters, digits, hyphens and dots, as in canary`,
			`split: Arms[1].Weight is 2097152; use 0 to 1048576`,
			`split: Arms[1].Handler is nil; set an *Upstream or any http.Handler, and check the error of its constructor`,
			`split: Arms[2].Handler is nil; set an *Upstream or any http.Handler, and check the error of its constructor`,
			`split: Arms[2] and Arms[3] are both named "a"; names are unique`,
			`split: Sticky: policy: ByHeader: "a b" is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Tenant`,
			`split: Sticky: policy: ByCookie: "c d" is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in session`,
			`split: Cookie.Name "a b" is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in arm`,
			`split: Cookie.Path "x" must begin with / and hold neither semicolons nor control characters`,
			`split: Cookie.Domain "a b" is not a domain`,
			`split: Cookie.MaxAge 1ns must be at least a second, or 0 for as long as the client is open`,
			`split: Cookie.SameSite 9 is not one of the modes of net/http`,
			`split: Overrides[0].Arm "b" is no arm; name one of Arms`,
			`split: Overrides[1] has 0 of Header, Cookie and Group; set exactly one`,
			`split: Overrides[2] has 2 of Header, Cookie and Group; set exactly one`,
			`split: Overrides[3].Value "v" has no meaning with Group; leave it out`,
			`split: Overrides[4].Header "a b" is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Arm`,
			`split: Overrides[5].Header "host" is not among the header fields of a request; give that host a route of its own`,
			`split: Overrides[6].Cookie "c d" is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in arm`,
			`split: Overrides[7].Value "\n" cannot come in a field; use no control characters, and no space at the ends`,
			`split: Overrides[8] and Overrides[9] are both for Header "X-A" with "a"; the second never applies, leave it out`,
			`split: Header "a b" is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Arm`,
			`split: Rollback.Window is 1ms; use 0 for its default, or 10ms to 168h0m0s`,
			`split: Rollback.Arm "c" is no arm; name one of Arms`,
			`split: Rollback.Against "c" is no arm; name one of Arms`,
			`split: Rollback.Arm and Against are both "c"; an arm is compared with another`,
			`split: Rollback.ErrorShare is NaN; use a share above 0 up to 1, or 0 for no such rule`,
			`split: Rollback.ErrorRatio is 0.5; use more than 1, as 2 for twice as many, or 0 for no such rule`,
			`split: Rollback.LatencyRatio is 1; use more than 1, as 2 for twice as many, or 0 for no such rule`,
			`split: Rollback.Latency is -1ns; use 0 for no such rule, or up to 168h0m0s`,
			`split: Rollback.Minimum is -1; use 0 for its default, or 1 to 1048576`,
		}},
		"no weight":         {split.Config{Arms: two(0, 0)}, []string{`split: all Weights are 0; give one arm at least some of the traffic`}},
		"a rule for nobody": {split.Config{Arms: two(1, 1), Rollback: split.Rule{ErrorShare: 0.1}}, []string{`split: Rollback.Arm is empty, and other fields of Rollback are set; name the arm that is to be watched`}},
		"half a cookie":     {split.Config{Arms: two(1, 1), Cookie: split.Cookie{Path: "/"}}, []string{`split: Cookie.Name is empty, and other fields of Cookie are set; set it, too, as to "arm"`}},
		"a cookie for all sites": {split.Config{Arms: two(1, 1), Cookie: split.Cookie{Name: "a", SameSite: http.SameSiteNoneMode, InsecureHTTP: true}},
			[]string{`split: Cookie.SameSite is http.SameSiteNoneMode, which clients take with Secure only; leave out InsecureHTTP`}},
		"a field that is taken": {split.Config{Arms: two(1, 1), Header: "set-cookie"}, []string{`split: Header "set-cookie" means something else in an answer; use a name of your own, as X-Arm`}},
		"a key without a value": {split.Config{Arms: two(1, 1), Sticky: policy.Key{Name: "k"}}, []string{`split: Sticky "k" has no Of, and so the same value for all requests; use a key such as policy.ByConsumer()`}},
		"a cycle":               {split.Config{Arms: one(loop)}, []string{`split: Arms[0].Handler leads back to itself, by the Handlers of a *split_test.ring; a request would go round until the process ends`}},
		"itself":                {split.Config{Arms: one(self)}, []string{`split: Arms[0].Handler leads back to itself, by the Handlers of a *split.Split; a request would go round until the process ends`}},
		"no end":                {split.Config{Arms: one(deep)}, []string{`split: Arms[0].Handler has more than 16 levels, or 1000 handlers, below it; it leads back to itself, perhaps`}},
		"the same name below": {split.Config{Arms: one(made(t, split.Config{Arms: two(1, 1)}))},
			[]string{`split: Arms[0].Handler has a Split below it that is named "split", too; give one another Name, or keys would meet in the same arms`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := split.New(c.config)
			require.Nil(t, s)
			require.Error(t, err)
			require.Equal(t, c.want, strings.Split(err.Error(), "\n"))
		})
	}
	shared := &ring{[]http.Handler{say("x")}}
	_, err := split.New(split.Config{Arms: []split.Arm{{Name: "a", Weight: 1, Handler: shared}, {Name: "b", Handler: &ring{[]http.Handler{shared, shared}}}}})
	require.NoError(t, err, "the same handler in several places is no cycle")
	arms := two(1, 1)
	overrides := []split.Override{{Header: "X-A", Arm: "canary"}}
	s := made(t, split.Config{Arms: arms, Overrides: overrides})
	arms[0], overrides[0] = split.Arm{}, split.Override{}
	r := get()
	r.Header.Set("X-A", "canary")
	require.Equal(t, "canary", s.Preview(r).Detail, "what New was given is the caller's")
}
