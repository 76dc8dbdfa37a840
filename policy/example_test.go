package policy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// maintenance is a plugin that refuses everything but GET.
func maintenance(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		if r.Method != http.MethodGet {
			policy.Refuse(w, r, "maintenance", &policy.Error{
				Status: http.StatusServiceUnavailable, Code: "read_only", Message: "Read-only for an hour",
				Header: http.Header{"Retry-After": {"3600"}},
			})
			return
		}
		x.Record(policy.Decision{Policy: "maintenance", Reason: "reading"})
		next.ServeHTTP(w, r)
	})
}

// A plugin of one's own: it decides, records what it decided, and refuses through Refuse.
func ExampleRefuse() {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	res := gatewaytest.Do(maintenance(ok), httptest.NewRequest("DELETE", "/", nil))
	fmt.Println(res.StatusCode, res.Header.Get("Retry-After"))
	res = gatewaytest.Do(maintenance(ok), httptest.NewRequest("GET", "/", nil))
	fmt.Println(res.StatusCode)
	// Output:
	// 503 3600
	// 200
}

// Ensure makes plugins work without a gateway: the first makes the Exchange, the others find it.
func ExampleEnsure() {
	h := maintenance(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, d := range policy.ExchangeFrom(r.Context()).Decisions() {
			fmt.Println(d.Policy, d.Verdict, d.Reason)
		}
	}))
	gatewaytest.Do(h, httptest.NewRequest("GET", "/", nil))
	// Output:
	// maintenance allowed reading
}

// An Entry guards a service without a gateway: one spelling of each path, no forged headers, the real client.
func ExampleEntry() {
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}))
	h := entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		fmt.Printf("%s %s %s %q\n", x.ClientAddr(), x.Scheme(), r.URL.Path, r.Header.Get("X-Consumer-Id"))
	}))
	r := httptest.NewRequest("GET", "/public/%2e%2e//admin", nil)
	r.RemoteAddr = "10.1.2.3:4567"
	r.Header.Set("X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.9.9.9")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Consumer-Id", "forged")
	gatewaytest.Do(h, r)

	fmt.Println(gatewaytest.Do(h, httptest.NewRequest("GET", "/public/..;/admin", nil)).StatusCode)
	// Output:
	// 192.0.2.1 https /admin ""
	// 400
}

// An ErrorHandler words all refusals of a service its own way.
func ExampleEntryConfig_errorHandler() {
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			w.Header().Set("X-Support", "https://status.example.com")
			policy.WriteError(w, r, err)
		},
	}))
	res := gatewaytest.Do(entry.Wrap(maintenance(http.NotFoundHandler())), httptest.NewRequest("POST", "/", nil))
	fmt.Println(res.StatusCode, res.Header.Get("X-Support"))
	// Output:
	// 503 https://status.example.com
}

// OnHeader edits the head of an answer somebody else writes.
func ExampleOnHeader() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = policy.OnHeader(w, func(status int, h http.Header) { h.Set("X-Seen", fmt.Sprint(status)) })
		http.NotFound(w, r)
	})
	fmt.Println(gatewaytest.Do(h, httptest.NewRequest("GET", "/", nil)).Header.Get("X-Seen"))
	// Output:
	// 404
}

// Describe gives middleware from elsewhere a name and a contract.
func ExampleDescribe() {
	p := policy.Describe("sso", policy.Contract{Provides: []policy.Fact{policy.Authenticated}}, func(next http.Handler) http.Handler { return next })
	c, ok := policy.ContractOf(p)
	fmt.Println(policy.NameOf(p), c.Provides, ok)
	// Output:
	// sso [authenticated] true
}

// A key with a fallback: by consumer, and by address for callers nobody knows.
func ExampleKey_Or() {
	key := policy.ByConsumer().Or(policy.ByClientAddress())
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:80"
	value, _ := key.Of(nil, r)
	fmt.Printf("%s %q\n", key.Name, value)

	x, r := policy.Ensure(r)
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "42"}})
	value, _ = key.Of(nil, r)
	fmt.Printf("%q\n", value)
	// Output:
	// consumer|client_address "client_address\x00192.0.2.1"
	// "consumer\x0042"
}

// ByFunc makes a key of anything in the request.
func ExampleByFunc() {
	tenant := policy.ByFunc("tenant", func(r *http.Request) string { return r.PathValue("tenant") })
	r := httptest.NewRequest("GET", "/", nil)
	r.SetPathValue("tenant", "acme")
	value, ok := tenant.Of(nil, r)
	fmt.Println(string(value), ok)
	// Output:
	// acme true
}

// timing is a TryHook that adds a header to each try and looks at how it ended.
type timing struct{}

func (timing) BeginTry(ctx context.Context, t *policy.Try) context.Context {
	t.Out.Header.Set("X-Attempt", fmt.Sprint(t.Number))
	return ctx
}

func (timing) EndTry(_ context.Context, t *policy.Try) { fmt.Println(t.Upstream, t.Status, t.Err) }

// A plugin that wants to see every try registers a hook; upstreams call it.
func ExampleExchange_OnTry() {
	x, r := policy.Ensure(httptest.NewRequest("GET", "/", nil))
	x.OnTry(timing{})
	// What an upstream does for each try:
	try := policy.Try{Upstream: "users", Number: 1, Out: r}
	for _, h := range x.TryHooks() {
		ctx := h.BeginTry(r.Context(), &try)
		try.Status = 200
		h.EndTry(ctx, &try)
	}
	fmt.Println(r.Header.Get("X-Attempt"))
	// Output:
	// users 200 <nil>
	// 1
}

// A plugin under ReportOnly decides as ever, and its refusals become records: for trying an access list, or a limit, on live
// traffic.
func ExampleReportOnly() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(1)}}))
	h := policy.ReportOnly(limit).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(policy.ExchangeFrom(r.Context()).Decisions())
	}))
	for range 2 {
		fmt.Println(gatewaytest.Do(h, httptest.NewRequest("GET", "/", nil)).StatusCode)
	}
	// Output:
	// [rate-limiting allowed within_limit]
	// 200
	// [rate-limiting would_refuse limit_exceeded 429 (minute)]
	// 200
}

// What a plugin would decide, asked on a request with an Exchange of its own; a gateway's Explain does so for each.
func ExamplePreviewOf() {
	limit := policy.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}}))
	_, r := policy.Ensure(httptest.NewRequest("GET", "/", nil))
	fmt.Println(policy.PreviewOf(limit, r))
	_, ok := policy.PreviewOf(policy.PluginFunc(nil), r)
	fmt.Println(ok)
	// Output:
	// rate-limiting allowed within_limit (minute: 60 of 60 left) true
	// false
}

// A page of the plugin's own in place of the usual answer; everything else is as with Refuse.
func ExampleRefuseWith() {
	closed := policy.Describe("closed", policy.Contract{}, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.RefuseWith(w, r, "closed", &policy.Error{Status: 503, Code: "noon"}, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(503)
				_, _ = fmt.Fprint(w, "Back at noon")
			})
		})
	})
	x, r := policy.Ensure(httptest.NewRequest("GET", "/", nil))
	res := gatewaytest.Do(closed.Wrap(nil), r)
	text, _ := gatewaytest.Text(res)
	fmt.Println(res.StatusCode, text, x.Decisions())
	// Output:
	// 503 Back at noon [closed refused noon 503]
}

// A plugin asks somebody with a request of its own: what becomes of that is not in the record of the request it serves.
func ExampleNewExchange() {
	x, r := policy.Ensure(httptest.NewRequest("GET", "/users/42", nil))
	own, question := policy.NewExchange(r.Clone(r.Context()))
	policy.Refuse(httptest.NewRecorder(), question, "authority", &policy.Error{Status: 403, Code: "not_known"})
	fmt.Println(own.Decisions(), x.Decisions())
	// Output:
	// [authority refused not_known 403] []
}
