package ratelimit_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// limitFields returns the fields of an answer that tell of limits, "Name: value", sorted.
func limitFields(h http.Header) []string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.Contains(name, "Ratelimit") || name == "Retry-After" {
			fields = append(fields, name+": "+strings.Join(h[name], " | "))
		}
	}
	return fields
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	two := []ratelimit.Limit{ratelimit.PerMinute(60), ratelimit.PerHour(60)}
	for _, tt := range []struct {
		name    string
		c       ratelimit.Config
		first   []string // of the first answer
		refused []string // of the first that is refused
	}{
		{
			"default", ratelimit.Config{Limits: minute(60)},
			[]string{
				`Ratelimit: "minute";r=59;t=1`, `Ratelimit-Policy: "minute";q=60;w=60`,
				"X-Ratelimit-Limit-Minute: 60", "X-Ratelimit-Remaining-Minute: 59",
			},
			[]string{
				`Ratelimit: "minute";r=0;t=1`, `Ratelimit-Policy: "minute";q=60;w=60`, "Retry-After: 1",
				"X-Ratelimit-Limit-Minute: 60", "X-Ratelimit-Remaining-Minute: 0",
			},
		},
		{
			"draft", ratelimit.Config{Limits: two, Headers: ratelimit.HeadersDraft},
			[]string{`Ratelimit: "minute";r=59;t=1, "hour";r=59;t=60`, `Ratelimit-Policy: "minute";q=60;w=60, "hour";q=60;w=3600`},
			// After 60 requests the next token of the hour's bucket is a minute away.
			[]string{`Ratelimit: "minute";r=0;t=1, "hour";r=0;t=60`, `Ratelimit-Policy: "minute";q=60;w=60, "hour";q=60;w=3600`, "Retry-After: 60"},
		},
		{
			"Kong", ratelimit.Config{Limits: two, Headers: ratelimit.HeadersPeriod | ratelimit.HeadersReset, Algorithm: ratelimit.FixedWindow},
			[]string{
				"Ratelimit-Limit: 60", "Ratelimit-Remaining: 59", "Ratelimit-Reset: 3600",
				"X-Ratelimit-Limit-Hour: 60", "X-Ratelimit-Limit-Minute: 60", "X-Ratelimit-Remaining-Hour: 59", "X-Ratelimit-Remaining-Minute: 59",
			},
			[]string{
				"Ratelimit-Limit: 60", "Ratelimit-Remaining: 0", "Ratelimit-Reset: 3600", "Retry-After: 3600",
				"X-Ratelimit-Limit-Hour: 60", "X-Ratelimit-Limit-Minute: 60", "X-Ratelimit-Remaining-Hour: 0", "X-Ratelimit-Remaining-Minute: 0",
			},
		},
		{
			"the limit with the least is told of", ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(100), ratelimit.PerSecond(3)}, Headers: ratelimit.HeadersReset, Algorithm: ratelimit.FixedWindow},
			[]string{"Ratelimit-Limit: 3", "Ratelimit-Remaining: 2", "Ratelimit-Reset: 1"},
			[]string{"Ratelimit-Limit: 3", "Ratelimit-Remaining: 0", "Ratelimit-Reset: 1", "Retry-After: 1"},
		},
		{
			"the longest wait is told", ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerHour(1), ratelimit.PerSecond(1)}, Headers: ratelimit.HeadersReset},
			[]string{"Ratelimit-Limit: 1", "Ratelimit-Remaining: 0", "Ratelimit-Reset: 3600"},
			[]string{"Ratelimit-Limit: 1", "Ratelimit-Remaining: 0", "Ratelimit-Reset: 3600", "Retry-After: 3600"},
		},
		{
			"hidden", ratelimit.Config{Limits: minute(60), HideHeaders: true},
			nil,
			[]string{"Retry-After: 1"},
		},
		{
			"hidden altogether", ratelimit.Config{Limits: minute(60), HideHeaders: true, HideRetryAfter: true},
			nil,
			nil,
		},
		{
			"a window below a second has no w", ratelimit.Config{Limits: []ratelimit.Limit{{Name: "tenth", Requests: 1, Window: 100 * time.Millisecond}}, Headers: ratelimit.HeadersDraft},
			[]string{`Ratelimit: "tenth";r=0;t=1`, `Ratelimit-Policy: "tenth";q=1`},
			[]string{`Ratelimit: "tenth";r=0;t=1`, `Ratelimit-Policy: "tenth";q=1`, "Retry-After: 1"},
		},
		{
			"a moment is a second", ratelimit.Config{Limits: []ratelimit.Limit{{Name: "moment", Requests: 1, Window: time.Millisecond}}, HideHeaders: true},
			nil,
			[]string{"Retry-After: 1"},
		},
		{
			"a burst beyond the limit does not show", ratelimit.Config{Limits: []ratelimit.Limit{{Requests: 1, Window: time.Minute, Burst: 5}}, Headers: ratelimit.HeadersPeriod},
			[]string{"X-Ratelimit-Limit-Minute: 1", "X-Ratelimit-Remaining-Minute: 1"},
			[]string{"Retry-After: 60", "X-Ratelimit-Limit-Minute: 1", "X-Ratelimit-Remaining-Minute: 0"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := limiter(t, tt.c).Wrap(ok)
				w := get(h)
				require.Equal(t, tt.first, limitFields(w.Header()))
				for w.Code == http.StatusOK {
					w = get(h)
				}
				require.Equal(t, http.StatusTooManyRequests, w.Code)
				require.Equal(t, tt.refused, limitFields(w.Header()))
			})
		})
	}
}

// TestRetryAfterIsLongEnough: who comes back when told passes, with every algorithm and from any moment.
func TestRetryAfterIsLongEnough(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		for _, limit := range []ratelimit.Limit{ratelimit.PerSecond(3), ratelimit.PerMinute(7), ratelimit.PerHour(1), ratelimit.PerMonth(11), ratelimit.PerYear(1)} {
			synctest.Test(t, func(t *testing.T) {
				h := limiter(t, ratelimit.Config{Limits: []ratelimit.Limit{limit}, Algorithm: a}).Wrap(ok)
				for i := range 40 {
					time.Sleep(time.Duration(i) * 37 * time.Millisecond)
					w := get(h)
					if w.Code == http.StatusOK {
						continue
					}
					after, err := time.ParseDuration(w.Header().Get("Retry-After") + "s")
					require.NoError(t, err)
					require.GreaterOrEqual(t, after, time.Second)
					time.Sleep(after)
					require.Equal(t, http.StatusOK, get(h).Code, "%s %s", a, limit.Name)
				}
			})
		}
	}
}

// TestHeadersReplaceTheUpstreams: an upstream that speaks of limits of its own is not mixed up with ours.
func TestHeadersReplaceTheUpstreams(t *testing.T) {
	t.Parallel()
	upstream := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 2 {
			w.Header().Add("X-Ratelimit-Limit-Minute", "1")
			w.Header().Add("Ratelimit", `"theirs";r=0`)
		}
		w.Header().Add("Ratelimit-Reset", "9")
		w.WriteHeader(http.StatusNotFound)
	})
	w := get(limiter(t, ratelimit.Config{Limits: minute(60)}).Wrap(upstream))
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Equal(t, []string{"60"}, w.Header().Values("X-Ratelimit-Limit-Minute"))
	require.Equal(t, []string{"59"}, w.Header().Values("X-Ratelimit-Remaining-Minute"))
	require.Equal(t, []string{`"minute";r=59;t=1`}, w.Header().Values("Ratelimit"))
	require.Equal(t, []string{"9"}, w.Header().Values("Ratelimit-Reset"), "a field we do not send is theirs")
}

// TestHeadersAreOneAnswers: no answer shares memory with another's fields.
func TestHeadersAreOneAnswers(t *testing.T) {
	t.Parallel()
	h := limiter(t, ratelimit.Config{Limits: minute(60)}).Wrap(ok)
	first := get(h).Header()
	before := limitFields(first)
	for name := range first {
		_ = append(first[name], "more")
	}
	require.Equal(t, before, limitFields(first), "nor a field with its neighbour")
	for name := range first {
		first[name][0] = "changed"
	}
	for _, field := range limitFields(get(h).Header()) {
		require.NotContains(t, field, "changed")
	}
}

// TestNested: with a limiter around another, the client hears of the one that refused; else of the outer one where the
// fields have the same name.
func TestNested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := limiter(t, ratelimit.Config{Name: "route", Limits: minute(1)})
		outer := limiter(t, ratelimit.Config{Name: "global", Limits: []ratelimit.Limit{ratelimit.PerMinute(100), ratelimit.PerHour(1000)}})
		var seen []policy.Decision
		h := recording(&seen, outer.Wrap(inner.Wrap(ok)))
		w := get(h)
		require.Equal(t, "99", w.Header().Get("X-Ratelimit-Remaining-Minute"))
		require.Equal(t, "999", w.Header().Get("X-Ratelimit-Remaining-Hour"))
		w = get(h)
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.Equal(t, "60", w.Header().Get("Retry-After"))
		require.Equal(t, "0", w.Header().Get("X-Ratelimit-Remaining-Minute"))
		require.Equal(t, `"minute";r=0;t=60`, w.Header().Get("Ratelimit"))
		require.Equal(t, "998", w.Header().Get("X-Ratelimit-Remaining-Hour"))
		require.Len(t, seen, 2)
		require.Equal(t, "global", seen[0].Policy)
		require.Equal(t, "route", seen[1].Policy)

		// A refusal of another kind inside says nothing of limits, so the outer fields stand.
		w = get(outer.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.Refuse(w, r, "acl", &policy.Error{Status: http.StatusForbidden})
		})))
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Equal(t, "97", w.Header().Get("X-Ratelimit-Remaining-Minute"))
	})
}

// TestRefusalForms: the fields are on the answer in whatever form it is written.
func TestRefusalForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header [2]string
		method string
		status int
		body   string
	}{
		{"problem", [2]string{"Accept", "application/problem+json"}, http.MethodGet, http.StatusTooManyRequests, `"code":"limit_exceeded"`},
		{"HEAD", [2]string{"Accept", "*/*"}, http.MethodHead, http.StatusTooManyRequests, ""},
		{"gRPC", [2]string{"Content-Type", "application/grpc"}, http.MethodPost, http.StatusOK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := limiter(t, ratelimit.Config{Limits: minute(1)}).Wrap(ok)
			get(h)
			r := httptest.NewRequest(tt.method, "/", nil)
			r.Header.Set(tt.header[0], tt.header[1])
			r.ProtoMajor, r.ProtoMinor = 2, 0
			w := do(h, r)
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, "60", w.Header().Get("Retry-After"))
			require.Equal(t, "0", w.Header().Get("X-Ratelimit-Remaining-Minute"))
			require.Contains(t, w.Body.String(), tt.body)
			if tt.name == "gRPC" {
				require.Equal(t, "8", w.Header().Get("Grpc-Status"))
			}
		})
	}
}

// An answer nobody writes has the fields, whatever stands around the limiter.
func TestHeadersOfEmptyAnswers(t *testing.T) {
	t.Parallel()
	limiter := policy.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(5)}}))
	empty := limiter.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	for name, h := range map[string]http.Handler{
		"alone": empty,
		"entry": entry.Wrap(empty),
		"foreign writer": entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			empty.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, "5", w.Header().Get("X-Ratelimit-Limit-Minute"), name)
	}
}
