package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func TestWriteError(t *testing.T) {
	t.Parallel()
	teapot := &policy.Error{Status: 418, Code: "short", Message: `a "pot" <b>` + "\x01\u2028", Err: errors.New("secret cause")}
	for name, c := range map[string]struct {
		err       error
		accept    string
		method    string
		grpc      bool
		status    int
		mediaType string
		message   string
	}{
		"json":                 {err: teapot, status: 418, mediaType: "application/json; charset=utf-8", message: "a \"pot\" <b>\x01\u2028"},
		"problem":              {err: teapot, accept: "application/problem+json", status: 418, mediaType: "application/problem+json"},
		"problem less wanted":  {err: teapot, accept: "application/problem+json;q=0.5, application/json", status: 418, mediaType: "application/json; charset=utf-8"},
		"problem not wanted":   {err: teapot, accept: "application/problem+json;q=0", status: 418, mediaType: "application/json; charset=utf-8"},
		"problem, bad quality": {err: teapot, accept: "application/problem+json;q=x", status: 418, mediaType: "application/json; charset=utf-8"},
		"problem among many":   {err: teapot, accept: "text/html, Application/Problem+JSON ; Q=0.9, */*;q=0.1", status: 418, mediaType: "application/problem+json"},
		"head":                 {err: teapot, method: http.MethodHead, status: 418, mediaType: "application/json; charset=utf-8"},
		"any error":            {err: errors.New("secret cause"), status: 500, mediaType: "application/json; charset=utf-8", message: "An unexpected error occurred"},
		"no error status":      {err: &policy.Error{Status: 200, Message: "secret"}, status: 500, mediaType: "application/json; charset=utf-8", message: "An unexpected error occurred"},
		"default message":      {err: &policy.Error{Status: 404}, status: 404, mediaType: "application/json; charset=utf-8", message: "Not Found"},
		"wrapped":              {err: errors.Join(errors.New("secret"), &policy.Error{Status: 403, Message: "no"}), status: 403, mediaType: "application/json; charset=utf-8", message: "no"},
		"grpc":                 {err: &policy.Error{Status: 429, Message: "slow down: 5%"}, grpc: true, status: 200, mediaType: "application/grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method := http.MethodPost
			if c.method != "" {
				method = c.method
			}
			r := httptest.NewRequest(method, "/", nil)
			if c.accept != "" {
				r.Header.Set("Accept", c.accept)
			}
			if c.grpc {
				r.Header.Set("Content-Type", "application/grpc+proto")
				r.ProtoMajor, r.ProtoMinor = 2, 0
			}
			x, r := policy.Ensure(r)
			w := httptest.NewRecorder()
			w.Header().Set("Content-Encoding", "gzip") // half-prepared by an inner handler
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Length", "9999")
			policy.WriteError(w, r, c.err)
			require.Equal(t, c.status, w.Code)
			require.Equal(t, c.mediaType, w.Header().Get("Content-Type"))
			require.NotContains(t, w.Body.String(), "secret")
			require.Empty(t, w.Header().Get("Content-Encoding")+w.Header().Get("Etag"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			require.True(t, x.GatewayMade())
			switch {
			case c.grpc:
				require.Equal(t, "8", w.Header().Get("Grpc-Status"))
				require.Equal(t, "slow down: 5%25", w.Header().Get("Grpc-Message"))
				require.Empty(t, w.Body.String())
			case method == http.MethodHead:
				require.Empty(t, w.Body.String())
				require.NotEqual(t, "9999", w.Header().Get("Content-Length"))
			default:
				var body map[string]any
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
				require.Equal(t, x.RequestID(), body["request_id"])
				if c.message != "" {
					require.Equal(t, c.message, body["message"])
				}
				if strings.Contains(c.mediaType, "problem") {
					require.EqualValues(t, c.status, body["status"])
					require.Equal(t, "short", body["code"])
					require.Equal(t, "about:blank", body["type"])
				}
			}
		})
	}
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	refuse := func(e *policy.Error, challenges ...string) []string {
		x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		for _, c := range challenges {
			x.AddChallenge(c)
		}
		w := httptest.NewRecorder()
		policy.Refuse(w, r, "test", e)
		return w.Header()["Www-Authenticate"]
	}
	require.Equal(t, []string{"Key"}, refuse(&policy.Error{Status: 401}), "no 401 without a challenge")
	require.Equal(t, []string{"Basic", "Bearer"}, refuse(&policy.Error{Status: 401}, "Basic", "Bearer", "Basic", ""))
	require.Equal(t, []string{"Own"}, refuse(&policy.Error{Status: 401, Header: http.Header{"www-authenticate": {"Own"}}}, "Basic"))
	require.Empty(t, refuse(&policy.Error{Status: 403}, "Basic"))
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	refusal := &policy.Error{Status: 429, Code: "limit", Detail: "minute", Message: "slow", Header: http.Header{"Retry-After": {"7"}}, Err: cause}
	require.ErrorIs(t, refusal, cause)
	require.Equal(t, "429 limit: slow: cause", refusal.Error())
	handled := 0
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		handled++
		require.ErrorIs(t, err, cause)
		require.Equal(t, "7", w.Header().Get("Retry-After"), "the header that belongs is there already")
		w.Header().Set("X-Mine", "1")
		policy.WriteError(w, r, err) // never calls back
	}}))
	var x *policy.Exchange
	h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x = policy.ExchangeFrom(r.Context())
		policy.Refuse(w, r, "mine", refusal)
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 1, handled)
	require.Equal(t, 429, w.Code)
	require.Equal(t, "1", w.Header().Get("X-Mine"))
	require.True(t, x.GatewayMade())
	require.Equal(t, []policy.Decision{{Policy: "mine", Verdict: policy.Refused, Reason: "limit", Detail: "minute", Status: 429, Err: refusal}}, x.Decisions())
	refusal.Header["Retry-After"][0] = "8"
	require.Equal(t, "7", w.Header().Get("Retry-After"), "header values are copied")
}

// hiding is a writer some plugin put around the shared one.
type hiding struct{ http.ResponseWriter }

func (h hiding) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func TestHalfSentAnswersAreAborted(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"plain":   func(w http.ResponseWriter) http.ResponseWriter { return w },
		"wrapped": func(w http.ResponseWriter) http.ResponseWriter { return hiding{w} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
			h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half")
				policy.Refuse(wrap(w), r, "late", &policy.Error{Status: 403})
			}))
			require.PanicsWithValue(t, http.ErrAbortHandler, func() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			})
		})
	}
}

func TestVerdictsAndLogValues(t *testing.T) {
	t.Parallel()
	for v, want := range map[policy.Verdict]string{policy.Allowed: "allowed", policy.Refused: "refused", policy.WouldRefuse: "would_refuse", policy.Skipped: "skipped", 99: "unknown"} {
		require.Equal(t, want, v.String())
	}
	d := policy.Decision{Policy: "p", Verdict: policy.Refused, Reason: "r", Detail: "d", Status: 403, Err: errors.New("e")}
	require.Equal(t, "[policy=p verdict=refused reason=r detail=d status=403 error=e]", d.LogValue().String())
	id := policy.Identity{Consumer: &policy.Consumer{ID: "1", Username: "ann"}, Kind: "jwt", Claims: map[string]any{"email": "private"}}
	require.NotContains(t, id.LogValue().String(), "private")
	require.Contains(t, id.LogValue().String(), "ann")
	require.Empty(t, (*policy.Consumer)(nil).LogValue().String())
}

func TestDecisionString(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]policy.Decision{
		"allowed":                               {},
		"key-auth allowed":                      {Policy: "key-auth"},
		"key-auth allowed authenticated":        {Policy: "key-auth", Reason: "authenticated"},
		"p skipped preflight":                   {Policy: "p", Verdict: policy.Skipped, Reason: "preflight"},
		"p refused r 403 (d)":                   {Policy: "p", Verdict: policy.Refused, Reason: "r", Detail: "d", Status: 403, Err: errors.New("e")},
		"p would_refuse limit_exceeded 429 (m)": {Policy: "p", Verdict: policy.WouldRefuse, Reason: "limit_exceeded", Detail: "m", Status: 429},
	} {
		require.Equal(t, want, d.String())
		require.Equal(t, want, fmt.Sprint(d))
		require.Equal(t, "["+want+"]", fmt.Sprint([]policy.Decision{d}))
	}
}

// TestSharedRefusal: one value serves all requests, at the same time and whatever becomes of the answers.
func TestSharedRefusal(t *testing.T) {
	t.Parallel()
	shared := &policy.Error{Status: 401, Code: "c", Message: "m", Header: http.Header{"www-authenticate": {"A", "B"}}, Err: errors.New("cause")}
	before := *shared
	before.Header = shared.Header.Clone()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: policy.WriteError}))
	handlers := []http.Handler{nil, nil}
	handlers[0] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = policy.OnHeader(w, func(_ int, h http.Header) {
			h["Www-Authenticate"][0] = "changed"
			h["Www-Authenticate"] = append(h["Www-Authenticate"], "more")
		})
		policy.Refuse(w, r, "p", shared)
	})
	handlers[1] = entry.Wrap(handlers[0])
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			handlers[i%2].ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		})
	}
	wg.Wait()
	require.Equal(t, before, *shared)
}

// TestRefuseWith: the answer is the plugin's, all else is that of a refusal.
func TestRefuseWith(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<p>Back at noon")
	}
	closed := policy.Describe("closed", policy.Contract{}, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.RefuseWith(w, r, "closed", &policy.Error{Status: http.StatusServiceUnavailable, Code: "noon", Header: http.Header{"X-Err": {"1"}}}, page)
		})
	})
	e := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(http.ResponseWriter, *http.Request, error) { t.Error("it has no say") }}))
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "open") })

	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	res := gatewaytest.Do(e.Wrap(closed.Wrap(ok)), r)
	text, err := gatewaytest.Text(res)
	require.NoError(t, err)
	require.Equal(t, "<p>Back at noon", text)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.Empty(t, res.Header.Get("X-Err"))
	require.True(t, x.GatewayMade())
	d, refused := x.Refusal()
	require.True(t, refused)
	require.Equal(t, "closed refused noon 503", d.String())

	x, r = policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	text, err = gatewaytest.Text(gatewaytest.Do(e.Wrap(policy.ReportOnly(closed).Wrap(ok)), r))
	require.NoError(t, err)
	require.Equal(t, "open", text)
	require.Equal(t, "closed would_refuse noon 503", x.Decisions()[0].String())
}
