package policy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// refuser refuses requests that have the header it is named after, and marks answers to those it lets pass.
func refuser(name string) policy.Plugin {
	return policy.Describe(name, policy.Contract{Provides: []policy.Fact{policy.Fact(name)}}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x, r := policy.Ensure(r)
			if r.Header.Get(name) != "" {
				policy.Refuse(w, r, name, &policy.Error{Status: http.StatusForbidden, Code: "named", Header: http.Header{"X-Refused": {name}}})
				return
			}
			x.Record(policy.Decision{Policy: name, Reason: "not_named"})
			w = policy.OnHeader(w, func(_ int, h http.Header) { h.Add("X-Passed", name) })
			next.ServeHTTP(w, r)
		})
	})
}

// decisions serves r by h, which is around a handler that answers 200, and returns the record.
func decisions(h func(http.Handler) http.Handler, r *http.Request) (status int, header http.Header, record []string) {
	x, r := policy.Ensure(r)
	res := gatewaytest.Do(h(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })), r)
	for _, d := range x.Decisions() {
		record = append(record, d.String())
	}
	return res.StatusCode, res.Header, record
}

// TestReportOnly: a refusal is a record and the request goes on, with what p does for others left undone.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	a, b := refuser("A"), refuser("B")
	for name, c := range map[string]struct {
		chain  []policy.Plugin
		named  []string
		status int
		passed []string
		record []string
	}{
		"passes":                    {[]policy.Plugin{policy.ReportOnly(a)}, nil, 200, []string{"A"}, []string{"A allowed not_named"}},
		"would refuse":              {[]policy.Plugin{policy.ReportOnly(a)}, []string{"A"}, 200, nil, []string{"A would_refuse named 403"}},
		"inner refusal is real":     {[]policy.Plugin{policy.ReportOnly(a), b}, []string{"A", "B"}, 403, nil, []string{"A would_refuse named 403", "B refused named 403"}},
		"inner refusal alone":       {[]policy.Plugin{policy.ReportOnly(a), b}, []string{"B"}, 403, []string{"A"}, []string{"A allowed not_named", "B refused named 403"}},
		"outer refusal is real":     {[]policy.Plugin{a, policy.ReportOnly(b)}, []string{"A", "B"}, 403, nil, []string{"A refused named 403"}},
		"inner one report-only":     {[]policy.Plugin{a, policy.ReportOnly(b)}, []string{"B"}, 200, []string{"A"}, []string{"A allowed not_named", "B would_refuse named 403"}},
		"two in a row":              {[]policy.Plugin{policy.ReportOnly(a), policy.ReportOnly(b)}, []string{"A", "B"}, 200, nil, []string{"A would_refuse named 403", "B would_refuse named 403"}},
		"real between report-only":  {[]policy.Plugin{policy.ReportOnly(a), b, policy.ReportOnly(a)}, []string{"A"}, 200, []string{"B"}, []string{"A would_refuse named 403", "B allowed not_named", "A would_refuse named 403"}},
		"twice report-only is once": {[]policy.Plugin{policy.ReportOnly(policy.ReportOnly(a)), b}, []string{"A", "B"}, 403, nil, []string{"A would_refuse named 403", "B refused named 403"}},
		"nothing":                   {[]policy.Plugin{policy.ReportOnly(nil)}, nil, 200, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for _, n := range c.named {
				r.Header.Set(n, "1")
			}
			status, header, record := decisions(func(h http.Handler) http.Handler {
				for i := len(c.chain) - 1; i >= 0; i-- {
					h = c.chain[i].Wrap(h)
				}
				return h
			}, r)
			require.Equal(t, c.status, status)
			require.Equal(t, c.passed, header["X-Passed"])
			require.Equal(t, c.record, record)
			require.Equal(t, c.status != 200, header.Get("X-Refused") != "")
		})
	}
}

// TestReportOnlyKeepsNameAndContract: and can be told from what is enforced.
func TestReportOnlyKeepsNameAndContract(t *testing.T) {
	t.Parallel()
	p := policy.ReportOnly(refuser("A"))
	require.Equal(t, "A", policy.NameOf(p))
	c, ok := policy.ContractOf(p)
	require.True(t, ok)
	require.Equal(t, []policy.Fact{"A"}, c.Provides)
	require.True(t, policy.IsReportOnly(p))
	require.True(t, policy.IsReportOnly(wrapping{p}))
	require.False(t, policy.IsReportOnly(refuser("A")))
	require.False(t, policy.IsReportOnly(nil))
	_, ok = policy.ContractOf(policy.ReportOnly(policy.PluginFunc(nil)))
	require.False(t, ok)
	broken := policy.PluginFunc(func(http.Handler) http.Handler { return nil })
	require.Nil(t, policy.ReportOnly(broken).Wrap(http.NotFoundHandler()), "left for whoever builds the chain to report")
}

// TestReportOnlyPolicies: those of this module, and the request is whole behind them.
func TestReportOnlyPolicies(t *testing.T) {
	t.Parallel()
	keys := policy.Must(keyauth.New(keyauth.Config{
		Consumers: auth.Static{"good": {ID: "1", Groups: []string{"staff"}}}, In: keyauth.Header | keyauth.Body, MaxBody: 16, HideCredentials: true,
	}))
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	limit := policy.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(1)}, Key: policy.ByHeader("X-Limit")}))
	for name, c := range map[string]struct {
		key, body string
		record    []string
		consumer  bool
	}{
		"good":      {"good", "", []string{"key-auth allowed authenticated", "acl allowed group_allowed", "rate-limiting allowed within_limit"}, true},
		"bad":       {"bad", "", []string{"key-auth would_refuse invalid_credential 401", "acl would_refuse unauthenticated 401", "rate-limiting allowed within_limit"}, false},
		"none":      {"", "", []string{"key-auth would_refuse no_credential 401", "acl would_refuse unauthenticated 401", "rate-limiting allowed within_limit"}, false},
		"too large": {"", "apikey=good&x=" + strings.Repeat("y", 100), []string{"key-auth would_refuse body_too_large 413", "acl would_refuse unauthenticated 401", "rate-limiting allowed within_limit"}, false},
		"in a body": {"", "apikey=nobody", []string{"key-auth would_refuse invalid_credential 401", "acl would_refuse unauthenticated 401", "rate-limiting allowed within_limit"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for pass := range 2 {
				r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(strings.NewReader(c.body))) // of unknown length
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("X-Limit", name)
				if c.key != "" {
					r.Header.Set("apikey", c.key)
				}
				var got string
				var consumer *policy.Consumer
				x, r := policy.Ensure(r)
				h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					require.NoError(t, err)
					got, consumer = string(b), policy.ExchangeFrom(r.Context()).Consumer()
				}))
				for _, p := range []policy.Plugin{limit, staff, keys} {
					h = policy.ReportOnly(p).Wrap(h)
				}
				res := gatewaytest.Do(h, r)
				require.Equal(t, 200, res.StatusCode)
				require.Empty(t, res.Header.Get("Www-Authenticate"))
				require.Empty(t, res.Header.Get("Retry-After"))
				require.Equal(t, c.body, got)
				require.Equal(t, c.consumer, consumer != nil)
				want := c.record
				if pass == 1 {
					want = append(want[:2:2], "rate-limiting would_refuse limit_exceeded 429 (hour)")
				}
				var record []string
				for _, d := range x.Decisions() {
					record = append(record, d.String())
				}
				require.Equal(t, want, record)
				_, refused := x.Refusal()
				require.False(t, refused)
				require.False(t, x.GatewayMade())
			}
		})
	}
}

// TestReportOnlyAfterTheAnswer: a plugin that refuses what is inside it has answered already only reports.
func TestReportOnlyAfterTheAnswer(t *testing.T) {
	t.Parallel()
	late := policy.Describe("late", policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			policy.Refuse(w, r, "late", &policy.Error{Status: http.StatusBadGateway, Code: "late"})
		})
	})
	calls := 0
	inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = io.WriteString(w, "whole")
	})
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	text, err := gatewaytest.Text(gatewaytest.Do(policy.ReportOnly(late).Wrap(inner), r))
	require.NoError(t, err)
	require.Equal(t, "whole", text)
	require.Equal(t, 1, calls)
	require.Equal(t, "late would_refuse late 502", x.Decisions()[0].String())
}

// TestReportOnlyOfAnotherRequest: a plugin may ask somebody with a request of its own. When that is refused, it is the plugin's
// to decide what it makes of it, and nothing else is called.
func TestReportOnlyOfAnotherRequest(t *testing.T) {
	t.Parallel()
	asks := policy.Describe("asks", policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec, question := httptest.NewRecorder(), r.Clone(r.Context())
			question.Method = http.MethodHead
			policy.Refuse(rec, question, "authority", &policy.Error{Status: http.StatusBadGateway, Code: "unreachable"})
			if rec.Code != http.StatusOK {
				policy.Refuse(w, r, "asks", &policy.Error{Status: http.StatusForbidden, Code: "not_known"})
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	var calls []string
	x, r := policy.Ensure(httptest.NewRequest(http.MethodPost, "/", nil))
	policy.ReportOnly(asks).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method)
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, []string{http.MethodPost}, calls)
	require.Equal(t, "[authority refused unreachable 502 asks would_refuse not_known 403]", fmt.Sprint(x.Decisions()))
}

// TestReportOnlyWithoutAnAnswer: where a plugin gives up what is inside it, and nobody else answers, its refusal does.
func TestReportOnlyWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	deadline := policy.Describe("deadline", policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				next.ServeHTTP(httptest.NewRecorder(), r)
			}()
			select {
			case <-done:
			case <-time.After(time.Second):
				policy.Refuse(w, r, "deadline", &policy.Error{Status: http.StatusGatewayTimeout, Code: "too_slow"})
			}
			<-done
		})
	})
	synctest.Test(t, func(t *testing.T) {
		x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		e := policy.Must(policy.NewEntry(policy.EntryConfig{}))
		res := gatewaytest.Do(e.Wrap(policy.ReportOnly(deadline).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(time.Minute)
		}))), r)
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
		require.Equal(t, "[deadline refused too_slow 504]", fmt.Sprint(x.Decisions()))
	})
}

// TestReportOnlyBehindAWriterThatHides: the writer of another middleware that does not unwrap changes nothing.
func TestReportOnlyBehindAWriterThatHides(t *testing.T) {
	t.Parallel()
	limited := policy.PluginFunc(func(next http.Handler) http.Handler {
		return http.TimeoutHandler(refuser("A").Wrap(next), time.Hour, "")
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("A", "1")
	status, _, record := decisions(policy.ReportOnly(limited).Wrap, r)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, []string{"A would_refuse named 403"}, record)
}

// wrapsItself is a plugin that never comes to an end.
type wrapsItself struct{ policy.PluginFunc }

func (p *wrapsItself) Unwrap() policy.Plugin { return p }

func TestPluginThatWrapsItself(t *testing.T) {
	t.Parallel()
	p := &wrapsItself{}
	require.False(t, policy.IsReportOnly(p))
	require.Equal(t, "*policy_test.wrapsItself", policy.NameOf(p))
	_, known := policy.ContractOf(p)
	require.False(t, known)
	_, known = policy.PreviewOf(p, httptest.NewRequest(http.MethodGet, "/", nil))
	require.False(t, known)
}
