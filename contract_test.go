package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
	"github.com/gatehouse-go/gateway/traffic/breaker"
	"github.com/gatehouse-go/gateway/traffic/concurrency"
)

// fakeCache stands for a cache, which is a policy of its own.
func fakeCache() gateway.Plugin {
	return policy.Describe("cache", policy.Contract{Precludes: []policy.Fact{policy.Authenticated, policy.Authorized}}, nil)
}

// TestContracts: what breaks a contract is an error that names route and plugins, what might be well is a warning.
func TestContracts(t *testing.T) {
	t.Parallel()
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}}))
	inBody := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}, In: keyauth.Body}))
	staff := gateway.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	per := []ratelimit.Limit{ratelimit.PerMinute(1)}
	byConsumer := gateway.Must(ratelimit.New(ratelimit.Config{Limits: per, Key: policy.ByConsumer()}))
	withFallback := gateway.Must(ratelimit.New(ratelimit.Config{Limits: per, Key: policy.ByConsumer().Or(policy.ByClientAddress())}))
	trip := gateway.Must(breaker.New(breaker.Config{}))
	places := gateway.Must(concurrency.New(concurrency.Config{}))
	opaque := gateway.PluginFunc(keys.Wrap)
	const needs = `requires "authenticated", and no plugin around it provides that; put one that authenticates, such as key-auth, before it`
	for name, c := range map[string]struct {
		outer, inner []gateway.Plugin
		streaming    bool
		errors       []string
		warnings     []string
	}{
		"right":                               {nil, []gateway.Plugin{keys, staff, byConsumer}, false, nil, nil},
		"a breaker asks for nothing":          {[]gateway.Plugin{trip}, []gateway.Plugin{keys, trip, staff}, true, nil, nil},
		"a limit asks for nothing":            {[]gateway.Plugin{places}, []gateway.Plugin{keys, places, staff}, true, nil, nil},
		"gateway-wide authentication":         {[]gateway.Plugin{keys}, []gateway.Plugin{staff, byConsumer}, false, nil, nil},
		"acl first":                           {nil, []gateway.Plugin{staff, keys}, false, []string{`gateway: route "r": plugin "acl" ` + needs}, nil},
		"acl alone":                           {nil, []gateway.Plugin{staff}, false, []string{`gateway: route "r": plugin "acl" ` + needs}, nil},
		"limit by consumer and nobody to say": {nil, []gateway.Plugin{byConsumer}, false, []string{`gateway: route "r": plugin "rate-limiting" ` + needs}, nil},
		"limit with a fallback":               {nil, []gateway.Plugin{withFallback}, false, nil, nil},
		"report-only keeps the contract":      {nil, []gateway.Plugin{policy.ReportOnly(staff), keys}, false, []string{`gateway: route "r": plugin "acl" ` + needs}, nil},
		"report-only provides": {nil, []gateway.Plugin{policy.ReportOnly(keys), staff}, false, nil,
			[]string{`gateway: route "r": plugin "acl" requires "authenticated", which "key-auth" provides, but that is under ReportOnly and passes on requests without it; put both under ReportOnly, or none`}},
		"report-only provides to report-only": {nil, []gateway.Plugin{policy.ReportOnly(keys), policy.ReportOnly(staff)}, false, nil, nil},
		"an opaque one may provide": {nil, []gateway.Plugin{opaque, staff}, false, nil,
			[]string{`gateway: route "r": plugin "acl" requires "authenticated", which only the opaque plugin "policy.PluginFunc" around it can provide; give that a contract with policy.Describe`}},
		"what an opaque one asks is not known": {nil, []gateway.Plugin{gateway.PluginFunc(staff.Wrap), keys}, false, nil, nil},
		"described":                            {nil, []gateway.Plugin{policy.Describe("mine", keys.Contract(), keys.Wrap), staff}, false, nil, nil},
		"cache outside authentication": {nil, []gateway.Plugin{fakeCache(), keys}, false,
			[]string{`gateway: route "r": plugin "cache" stands around "key-auth", which provides "authenticated", and would pass it by; put it inside`}, nil},
		"gateway-wide cache": {[]gateway.Plugin{fakeCache()}, []gateway.Plugin{keys}, false,
			[]string{`gateway: route "r": plugin "cache" stands around "key-auth", which provides "authenticated", and would pass it by; put it inside`}, nil},
		"cache between": {nil, []gateway.Plugin{keys, fakeCache(), staff}, false,
			[]string{`gateway: route "r": plugin "cache" stands around "acl", which provides "authorized", and would pass it by; put it inside`}, nil},
		"cache inside": {nil, []gateway.Plugin{keys, staff, fakeCache()}, false, nil, nil},
		"gateway-wide, reported once": {[]gateway.Plugin{staff, keys}, []gateway.Plugin{byConsumer}, false,
			[]string{`gateway: Config.Plugins: plugin "acl" ` + needs}, nil},
		"a buffer on a stream": {nil, []gateway.Plugin{inBody}, true, []string{`gateway: route "r": is Streaming, but plugin "key-auth" buffers; take one of them away`}, nil},
		"a buffer":             {nil, []gateway.Plugin{inBody}, false, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := gateway.Config{Plugins: c.outer, Routes: []gateway.Route{{Name: "r", Plugins: c.inner, Streaming: c.streaming, Handler: say("")}}}
			var errs, warnings []string
			for _, f := range config.Validate().Findings {
				if f.Warning {
					warnings = append(warnings, f.Message)
					require.Equal(t, gateway.UnprovenContract, f.Kind)
				} else {
					errs = append(errs, f.Message)
					require.Contains(t, []gateway.FindingKind{gateway.BrokenContract, gateway.BufferedStream}, f.Kind)
				}
				require.NotEmpty(t, f.Plugins)
			}
			require.Equal(t, c.errors, errs)
			require.Equal(t, c.warnings, warnings)
			_, err := gateway.New(config)
			require.Equal(t, c.errors != nil, err != nil)
			if c.streaming {
				return
			}
			config.Compat.AllowBrokenContracts = true
			r := config.Validate()
			require.NoError(t, r.Err())
			require.Len(t, r.Warnings(), len(errs)+len(warnings), "what Kong's configurations may have is a warning then")
		})
	}
}

// TestContractsAgreeWithModel: random chains are judged as by a reading of the rules that looks at each pair of plugins.
func TestContractsAgreeWithModel(t *testing.T) {
	t.Parallel()
	facts := []policy.Fact{policy.Authenticated, policy.Authorized, policy.ClientAddress, "a", "b"}
	rapid.Check(t, func(t *rapid.T) {
		type link struct {
			contract policy.Contract
			opaque   bool
			reports  bool
		}
		some := func(label string, chance int) []policy.Fact {
			if rapid.IntRange(0, chance).Draw(t, label) > 0 {
				return nil
			}
			return rapid.SliceOfN(rapid.SampledFrom(facts), 0, 3).Draw(t, label+" facts")
		}
		links := make([]link, rapid.IntRange(0, 6).Draw(t, "plugins"))
		var chain []gateway.Plugin
		for i := range links {
			l := &links[i]
			l.opaque = rapid.IntRange(0, 5).Draw(t, "opaque") == 0
			l.contract = policy.Contract{Requires: some("requires", 2), Provides: some("provides", 2), Precludes: some("precludes", 4)}
			l.reports = rapid.IntRange(0, 3).Draw(t, "report-only") == 0
			var p gateway.Plugin = gateway.PluginFunc(func(h http.Handler) http.Handler { return h })
			if !l.opaque {
				p = policy.Describe(fmt.Sprint(i), l.contract, nil)
			}
			if l.reports {
				p = policy.ReportOnly(p)
			}
			chain = append(chain, p)
		}
		broken, unproven := map[string]bool{}, map[string]bool{}
		for i, l := range links {
			if l.opaque {
				continue
			}
			for _, f := range l.contract.Requires {
				provided, mayBe := f == policy.ClientAddress, false
				for _, outer := range links[:i] {
					provides := !outer.opaque && slices.Contains(outer.contract.Provides, f)
					mayBe = mayBe || outer.opaque || provides
					provided = provided || provides && (l.reports || !outer.reports)
				}
				if !provided {
					map[bool]map[string]bool{true: unproven, false: broken}[mayBe][fmt.Sprintf(`plugin "%d" requires %q`, i, f)] = true
				}
			}
			for _, f := range l.contract.Precludes {
				for j, inner := range links[i+1:] {
					// Of several that preclude the same, the outermost is named.
					first := !slices.ContainsFunc(links[:i], func(o link) bool { return !o.opaque && slices.Contains(o.contract.Precludes, f) })
					if first && !inner.opaque && slices.Contains(inner.contract.Provides, f) {
						broken[fmt.Sprintf(`plugin "%d" stands around "%d", which provides %q`, i, i+1+j, f)] = true
					}
				}
			}
		}
		split := rapid.IntRange(0, len(chain)).Draw(t, "gateway-wide")
		report := gateway.Config{
			Plugins: chain[:split], Routes: []gateway.Route{{Name: "r", Plugins: chain[split:], Handler: say("")}},
		}.Validate()
		for kind, want := range map[gateway.FindingKind]map[string]bool{gateway.BrokenContract: broken, gateway.UnprovenContract: unproven} {
			n := 0
			for _, f := range report.Findings {
				if f.Kind != kind {
					continue
				}
				n++
				require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(w string) bool { return strings.Contains(f.Message, w) }), f.Message)
			}
			require.Len(t, want, n)
		}
		require.Equal(t, len(broken) > 0, report.Err() != nil)
	})
}
