package observe_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

func goexit() { runtime.Goexit() }

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// idOf sends a request through an Observer and returns the id the handler, the client and the Exchange were given, which
// must be one.
func idOf(t *testing.T, wrap func(http.Handler) http.Handler, r *http.Request) string {
	t.Helper()
	var up, exchange string
	var many bool
	h := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		many = len(r.Header["X-Request-Id"]) != 1
		up, exchange = r.Header.Get("X-Request-ID"), policy.ExchangeFrom(r.Context()).RequestID()
		w.Header().Add("X-Request-ID", "the upstream's own")
	}))
	w, panicked := serve(h, r)
	require.Nil(t, panicked)
	require.False(t, many)
	require.Equal(t, []string{up}, w.Header()["X-Request-Id"])
	require.Equal(t, up, exchange)
	return up
}

func TestRequestIDAcceptance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		sent []string
		ok   bool
	}{
		{[]string{"7f3c1e52-58a5-7a39-9a51-6f1f5b0c9d3e"}, true},
		{[]string{"01J9ZQ3T9W8X7Y6V5U4T3S2R1Q"}, true},
		{[]string{"q83vEjRWeJA="}, true},
		{[]string{"a+b/c=="}, true},
		{[]string{"7f3c1e52#12"}, true},
		{[]string{"abc:def:0:1"}, true},
		{[]string{"a"}, true},
		{[]string{strings.Repeat("a", 128)}, true},
		{[]string{strings.Repeat("a", 129)}, false},
		{nil, false},
		{[]string{""}, false},
		{[]string{"a", "a"}, false},
		{[]string{"a,b"}, false},
		{[]string{"a b"}, false},
		{[]string{" a"}, false},
		{[]string{"a\r\nb"}, false},
		{[]string{"a\x1b[31m"}, false},
		{[]string{"a\u2028"}, false},
		{[]string{"a\xff"}, false},
		{[]string{"a\x00"}, false},
		{[]string{"ä"}, false},
		{[]string{`a"`}, false},
		{[]string{"a\\"}, false},
		{[]string{"a%0a"}, false},
		{[]string{"a;b"}, false},
		{[]string{"<a>"}, false},
		{[]string{"${jndi:ldap://x}"}, false},
		{[]string{"../etc/passwd"}, false},
		{[]string{"-rf"}, false},
		{[]string{"=cmd"}, false},
	}
	anyone := policy.Must(observe.New(observe.Config{AcceptRequestID: observe.TrustAnyone}))
	nobody := policy.Must(observe.New(observe.Config{}))
	for _, tt := range tests {
		r := func() *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header["X-Request-Id"] = tt.sent
			return r
		}
		if tt.ok {
			require.Equal(t, tt.sent[0], idOf(t, anyone.Wrap, r()))
		} else {
			require.Regexp(t, uuid7, idOf(t, anyone.Wrap, r()), "%q", tt.sent)
		}
		require.Regexp(t, uuid7, idOf(t, nobody.Wrap, r()), "by default nobody is trusted")
	}
}

func TestRequestIDFromTrustedProxies(t *testing.T) {
	t.Parallel()
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}))
	o := policy.Must(observe.New(observe.Config{AcceptRequestID: observe.TrustProxies}))
	inside := func(h http.Handler) http.Handler { return entry.Wrap(o.Wrap(h)) }
	outside := func(h http.Handler) http.Handler { return o.Wrap(entry.Wrap(h)) }
	tests := []struct {
		name   string
		remote string
		wrap   func(http.Handler) http.Handler
		ok     bool
	}{
		{"proxy", "10.1.2.3:1", inside, true},
		{"anybody else", "192.0.2.1:1", inside, false},
		{"no Entry around", "10.1.2.3:1", outside, false},
		{"no Entry at all", "10.1.2.3:1", o.Wrap, false},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.remote
		r.Header.Set("X-Request-ID", "from-proxy")
		require.Equal(t, tt.ok, idOf(t, tt.wrap, r) == "from-proxy", tt.name)
	}
}

// TestRequestIDAliases holds that no second spelling of the field reaches an upstream.
func TestRequestIDAliases(t *testing.T) {
	t.Parallel()
	for _, trust := range []observe.Trust{observe.TrustNobody, observe.TrustAnyone} {
		o := policy.Must(observe.New(observe.Config{AcceptRequestID: trust}))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, alias := range []string{"X_Request_Id", "x-request-id", "X.Request.Id", "X_REQUEST-ID"} {
			r.Header[alias] = []string{"forged"}
		}
		r.Header["X-Request-Ids"] = []string{"another field"}
		_, panicked := serve(o.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), r)
		require.Nil(t, panicked)
		require.Len(t, r.Header, 2)
		require.Regexp(t, uuid7, r.Header.Get("X-Request-ID"))
		require.Equal(t, "another field", r.Header.Get("X-Request-Ids"))
	}
}

func TestRequestIDHeader(t *testing.T) {
	t.Parallel()
	o := policy.Must(observe.New(observe.Config{RequestIDHeader: "kong-request-id", HideRequestID: true}))
	var up http.Header
	h := o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up = r.Header.Clone()
		r.Header["Kong-Request-Id"][0] = "edited"
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Request-ID", "kept")
	w, panicked := serve(h, r)
	require.Nil(t, panicked)
	require.Regexp(t, uuid7, up.Get("Kong-Request-Id"))
	require.Equal(t, "kept", up.Get("X-Request-ID"))
	require.Empty(t, w.Header(), "not echoed")
}

// TestRequestIDOfRefusals holds that the id is in the head and the body of a refusal, and in its record.
func TestRequestIDOfRefusals(t *testing.T) {
	t.Parallel()
	var j journal
	h := observer(t, &j, observe.Config{}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header["X-Request-Id"][0] = "edited by a plugin"
		policy.Refuse(w, r, "acl", &policy.Error{Status: 403})
	}))
	w, _ := serve(h, httptest.NewRequest(http.MethodGet, "/", nil))
	id := w.Header().Get("X-Request-ID")
	require.Regexp(t, uuid7, id)
	require.Contains(t, w.Body.String(), `"request_id":"`+id+`"`)
	require.Equal(t, id, j.line(t)["gateway.request_id"])
}

// TestTwoObservers holds that an inner Observer goes on with the outer one's id.
func TestTwoObservers(t *testing.T) {
	t.Parallel()
	outer := policy.Must(observe.New(observe.Config{}))
	for _, trust := range []observe.Trust{observe.TrustNobody, observe.TrustAnyone} {
		inner := policy.Must(observe.New(observe.Config{AcceptRequestID: trust}))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Request-ID", "client")
		require.Regexp(t, uuid7, idOf(t, func(h http.Handler) http.Handler { return outer.Wrap(inner.Wrap(h)) }, r))
	}
}

func FuzzRequestID(f *testing.F) {
	for _, s := range []string{"", "a", "7f3c1e52-58a5-7a39-9a51-6f1f5b0c9d3e", "a\r\nb", "a\x1b", "a\u2028", "../x", strings.Repeat("a", 129)} {
		f.Add(s)
	}
	accepted := regexp.MustCompile(`\A[A-Za-z0-9][-._~+/=:#A-Za-z0-9]{0,127}\z`)
	o := policy.Must(observe.New(observe.Config{AcceptRequestID: observe.TrustAnyone, Log: slog.New(slog.DiscardHandler)}))
	f.Fuzz(func(t *testing.T, sent string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Request-Id"] = []string{sent}
		id := idOf(t, o.Wrap, r)
		if accepted.MatchString(sent) {
			require.Equal(t, sent, id)
		} else {
			require.Regexp(t, uuid7, id)
		}
	})
}

// A client cannot have the field deleted further in by naming it in Connection.
func TestRequestIDIsNotNominated(t *testing.T) {
	t.Parallel()
	o := policy.Must(observe.New(observe.Config{}))
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "close, X-Request-Id")
	o.Wrap(entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Len(t, r.Header["X-Request-Id"], 1)
		require.Equal(t, "close", r.Header.Get("Connection"))
	}))).ServeHTTP(httptest.NewRecorder(), r)
}
