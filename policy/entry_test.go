package policy_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

func trusting(t *testing.T, c policy.EntryConfig) *policy.Entry {
	t.Helper()
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:172.16.0.0/108"), netip.MustParsePrefix("2001:db8::/32")}
	e, err := policy.NewEntry(c)
	require.NoError(t, err)
	return e
}

func TestEntryLimits(t *testing.T) {
	t.Parallel()
	e, err := policy.NewEntry(policy.EntryConfig{MaxHeaderFields: 3, MaxQueryParams: 2, MaxURLLength: 10})
	require.NoError(t, err)
	off, err := policy.NewEntry(policy.EntryConfig{MaxHeaderFields: -1, MaxQueryParams: -1, MaxURLLength: -1})
	require.NoError(t, err)
	for _, c := range []struct {
		target string
		fields int
		status int
	}{
		{"/", 3, 200}, {"/", 4, 431},
		{"/?a&b", 0, 200}, {"/?a&b&c", 0, 400},
		{"/234567890", 0, 200}, {"/2345678901", 0, 414}, {"/2345?7890", 0, 200}, {"/2345?789012", 0, 414},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		for range c.fields {
			r.Header.Add("X-Many", "1")
		}
		w := httptest.NewRecorder()
		e.Wrap(http.HandlerFunc(nothing)).ServeHTTP(w, r)
		require.Equal(t, c.status, w.Code, c)
		w = httptest.NewRecorder()
		off.Wrap(http.HandlerFunc(nothing)).ServeHTTP(w, r)
		require.Equal(t, 200, w.Code, c)
	}
}

func TestEntryCleansHeaders(t *testing.T) {
	t.Parallel()
	e := trusting(t, policy.EntryConfig{OwnedHeaders: []string{"X-Tenant-Id"}, PassHeaders: []string{"X-HTTP-Method-Override"}})
	sent := http.Header{
		"X-Consumer-Id": {"1"}, "X_consumer_username": {"root"}, "X.consumer.groups": {"admin"}, "x-consumer-custom-id": {"raw"},
		"X-Tenant-Id": {"1"}, "X_tenant_id": {"1"}, "X-Forwarded-For": {"6.6.6.6"}, "X_forwarded_for": {"6.6.6.6"}, "X-Forwarded-Whatever": {"1"},
		"Forwarded": {"for=6.6.6.6"}, "X-Real-Ip": {"6.6.6.6"}, "X_real_ip": {"6.6.6.6"}, "X-Original-Url": {"/admin"}, "X-Http-Method-Override": {"PUT"},
		"Proxy": {"http://evil"}, "Client-Cert": {"x"}, "Remote_user": {"root"}, "Content_length": {"5"}, "Transfer.encoding": {"chunked"}, "Api_key": {"mine"}, "Accept": {"*/*"},
		"Connection": {"close, X-Hop, Authorization"}, "X-Hop": {"1"}, "Authorization": {"Bearer x"},
	}
	always := []string{"Accept", "Api_key", "Authorization", "Connection", "X-Http-Method-Override"}
	for peer, want := range map[string][]string{
		"192.0.2.1:1": always,
		"10.0.0.1:1":  append([]string{"Client-Cert", "X-Forwarded-For", "X-Forwarded-Whatever", "X-Original-Url", "X-Real-Ip"}, always...),
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header = peer, sent.Clone()
		var got []string
		e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for name := range r.Header {
				got = append(got, name)
			}
			require.Equal(t, "close", r.Header.Get("Connection"))
		})).ServeHTTP(httptest.NewRecorder(), r)
		require.ElementsMatch(t, want, got, peer)
	}
}

// Of the two kinds of forwarding fields a proxy writes one, and passes on what clients send under the other's names.
func TestEntryBelievesOneKindOfForwarding(t *testing.T) {
	t.Parallel()
	e := trusting(t, policy.EntryConfig{ClientAddressHeader: "Forwarded", PassHeaders: []string{"X-Forwarded-Whatever"}})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "10.0.0.1:1"
	r.Header = http.Header{
		"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Whatever": {"1"}, "X-Real-Ip": {"1.1.1.1"},
	}
	e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, http.Header{"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-Whatever": {"1"}, "X-Real-Ip": {"1.1.1.1"}}, r.Header)
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// An inner Entry deletes what it owns and nobody outside has deleted, and lets in what a plugin between has set.
func TestInnerEntry(t *testing.T) {
	t.Parallel()
	outer := policy.Must(policy.NewEntry(policy.EntryConfig{OwnedHeaders: []string{"X-Both"}}))
	middle := policy.Must(policy.NewEntry(policy.EntryConfig{OwnedHeaders: []string{"X-Middle"}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusTeapot)
	}}))
	inner := policy.Must(policy.NewEntry(policy.EntryConfig{OwnedHeaders: []string{"X-Both", "X-Middle", "X-Inner"}}))
	set := func(name string, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set(name, "ours")
			next.ServeHTTP(w, r)
		})
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, name := range []string{"X-Both", "X-Middle", "X_inner", "X-Consumer-Id"} {
		r.Header[name] = []string{"forged"}
	}
	w := httptest.NewRecorder()
	outer.Wrap(set("X-Both", middle.Wrap(set("X-Middle", inner.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Equal(t, http.Header{"X-Both": {"ours"}, "X-Middle": {"ours"}}, r.Header)
	})))))).ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)

	// Further out the inner one's ErrorHandler is not in force any more.
	w = httptest.NewRecorder()
	outer.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		middle.Wrap(http.HandlerFunc(nothing)).ServeHTTP(httptest.NewRecorder(), r)
		policy.Refuse(w, r, "outer", &policy.Error{Status: http.StatusBadGateway})
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusBadGateway, w.Code)
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("10.0.0.9, ", 40)
	for name, c := range map[string]struct {
		header string // of ClientAddressHeader
		lines  []string
		peer   string
		want   string
	}{
		"untrusted peer":           {"", []string{"1.1.1.1"}, "192.0.2.1:1", "192.0.2.1"},
		"no header":                {"", nil, "10.0.0.1:1", "10.0.0.1"},
		"one hop":                  {"", []string{"1.1.1.1"}, "10.0.0.1:1", "1.1.1.1"},
		"forged left of the hop":   {"", []string{"6.6.6.6, 1.1.1.1"}, "10.0.0.1:1", "1.1.1.1"},
		"through trusted proxies":  {"", []string{"6.6.6.6, 1.1.1.1, 10.2.3.4", " 172.16.0.1 "}, "10.0.0.1:1", "1.1.1.1"},
		"all trusted":              {"", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.1:1", "10.0.0.3"},
		"unparsable ends the walk": {"", []string{"1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.1:1", "10.0.0.2"},
		"empty ends the walk":      {"", []string{"1.1.1.1,"}, "10.0.0.1:1", "10.0.0.1"},
		"octal is no address":      {"", []string{"010.1.2.3"}, "10.0.0.1:1", "10.0.0.1"},
		"with port":                {"", []string{"1.1.1.1:80"}, "10.0.0.1:1", "1.1.1.1"},
		"v6 with port":             {"", []string{"[2001:db9::1]:80"}, "[2001:db8::1]:1", "2001:db9::1"},
		"v6 in brackets":           {"", []string{"[2001:db9::1]"}, "10.0.0.1:1", "2001:db9::1"},
		"v4 in brackets":           {"", []string{"[1.1.1.1]"}, "10.0.0.1:1", "10.0.0.1"},
		"mapped":                   {"", []string{"::ffff:1.1.1.1"}, "[::ffff:10.0.0.1]:1", "1.1.1.1"},
		"zone":                     {"", []string{"fe80::1%eth0"}, "10.0.0.1:1", "fe80::1"},
		"too many hops":            {"", []string{"1.1.1.1, " + many + "10.0.0.9"}, "10.0.0.1:1", "10.0.0.9"},
		"unix socket":              {"", []string{"1.1.1.1"}, "@", "invalid IP"},
		"real ip":                  {"X-Real-IP", []string{"1.1.1.1"}, "10.0.0.1:1", "1.1.1.1"},
		"forwarded":                {"Forwarded", []string{`for=6.6.6.6, For="1.1.1.1:4711";proto=https, for=10.0.0.5;by=10.0.0.6`}, "10.0.0.1:1", "1.1.1.1"},
		"forwarded v6":             {"Forwarded", []string{`for="[2001:db9::1]:80"`}, "10.0.0.1:1", "2001:db9::1"},
		"forwarded unknown":        {"Forwarded", []string{`for=1.1.1.1, for=unknown`}, "10.0.0.1:1", "10.0.0.1"},
		"forwarded obfuscated":     {"Forwarded", []string{`for=1.1.1.1, for=_hidden`}, "10.0.0.1:1", "10.0.0.1"},
		"forwarded twice":          {"Forwarded", []string{`for=1.1.1.1;for=2.2.2.2`}, "10.0.0.1:1", "10.0.0.1"},
		"forwarded quoted comma":   {"Forwarded", []string{`for=6.6.6.6;host="a,for=1.1.1.1", for=2.2.2.2`}, "10.0.0.1:1", "2.2.2.2"},
		"forwarded open quote":     {"Forwarded", []string{`x="a, for=2.2.2.2;proto=https`}, "10.0.0.1:1", "2.2.2.2"},
		"forwarded open before":    {"Forwarded", []string{`for="_a, for=3.3.3.3, for="10.0.0.3:80"`}, "10.0.0.1:1", "3.3.3.3"},
		"forwarded without for":    {"Forwarded", []string{`proto=https`}, "10.0.0.1:1", "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := trusting(t, policy.EntryConfig{ClientAddressHeader: c.header})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			field := "X-Forwarded-For"
			if c.header != "" {
				field = http.CanonicalHeaderKey(c.header)
			}
			r.Header[field] = c.lines
			e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				require.Equal(t, c.want, policy.ExchangeFrom(r.Context()).ClientAddr().String())
			})).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, c.peer, r.RemoteAddr, "RemoteAddr is never rewritten")
		})
	}
}

func FuzzClientAddress(f *testing.F) {
	for _, s := range []string{"1.1.1.1", "1.1.1.1, 10.0.0.1", `for="[::1]:80";by=x, for=_y`, ",,", `"`, `for="\"`} {
		f.Add(s)
	}
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	var entries []*policy.Entry
	for _, h := range []string{"X-Forwarded-For", "Forwarded"} {
		e, err := policy.NewEntry(policy.EntryConfig{TrustedProxies: []netip.Prefix{prefix}, ClientAddressHeader: h})
		require.NoError(f, err)
		entries = append(entries, e)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for i, h := range []string{"X-Forwarded-For", "Forwarded"} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = "10.0.0.1:1"
			r.Header[h] = []string{value}
			entries[i].Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got := policy.ExchangeFrom(r.Context()).ClientAddr()
				require.True(t, got.IsValid())
				if got.String() == "10.0.0.1" || h != "X-Forwarded-For" {
					return
				}
				// Everything to the right of what was found is a trusted hop.
				hops := strings.Split(value, ",")
				for n := len(hops) - 1; n >= 0; n-- {
					hop := strings.Trim(hops[n], " \t")
					a, err := netip.ParseAddr(hop)
					if err != nil {
						ap, err := netip.ParseAddrPort(hop)
						if err != nil {
							return // brackets without a port, or the end of the walk
						}
						a = ap.Addr()
					}
					a = a.Unmap().WithZone("")
					if !prefix.Contains(a) {
						require.Equal(t, a, got)
						return
					}
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		}
	})
}

func TestEntryScheme(t *testing.T) {
	t.Parallel()
	e := trusting(t, policy.EntryConfig{})
	for _, c := range []struct{ peer, proto, want string }{
		{"10.0.0.1:1", "https", "https"}, {"10.0.0.1:1", "http, HTTPS", "https"}, {"10.0.0.1:1", "gopher", "http"}, {"192.0.2.1:1", "https", "http"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-Proto", c.proto)
		e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.Equal(t, c.want, policy.ExchangeFrom(r.Context()).Scheme(), c)
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestEntryNests(t *testing.T) {
	t.Parallel()
	outer := trusting(t, policy.EntryConfig{})
	inner := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	var first *policy.Exchange
	h := outer.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first = policy.ExchangeFrom(r.Context())
		r.URL.Path = "/x/y" // a handler in between changes the path
		inner.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x := policy.ExchangeFrom(r.Context())
			require.Same(t, first, x)
			require.Equal(t, "/x/y", r.URL.Path)
			require.Equal(t, "1.1.1.1", x.ClientAddr().String(), "the outer entry knows the proxies")
		})).ServeHTTP(w, r)
	}))
	r := httptest.NewRequest(http.MethodGet, "/a", nil)
	r.RemoteAddr = "10.0.0.1:1"
	r.Header.Set("X-Forwarded-For", "1.1.1.1")
	h.ServeHTTP(httptest.NewRecorder(), r)

	// A plugin before the entry made the Exchange already.
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/a/../b", nil))
	outer.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		require.Same(t, x, policy.ExchangeFrom(r.Context()))
		require.Equal(t, "/b", x.Path())
	})).ServeHTTP(httptest.NewRecorder(), r)
}

func TestNewEntryReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := policy.NewEntry(policy.EntryConfig{
		TrustedProxies: []netip.Prefix{{}}, ClientAddressHeader: "a b", OwnedHeaders: []string{""}, PassHeaders: []string{"X_Consumer_ID", "c:d"},
	})
	for _, want := range []string{"TrustedProxies[0]", `ClientAddressHeader "a b"`, `OwnedHeaders[0] ""`, `PassHeaders[0] "X_Consumer_ID"`, `PassHeaders[1] "c:d"`} {
		require.ErrorContains(t, err, want)
	}
}

func TestNewEntryRefuses(t *testing.T) {
	t.Parallel()
	proxies := func(networks ...string) []netip.Prefix {
		var p []netip.Prefix
		for _, n := range networks {
			p = append(p, netip.MustParsePrefix(n))
		}
		return p
	}
	for _, c := range []struct {
		config policy.EntryConfig
		want   string // "" for none
	}{
		{policy.EntryConfig{TrustedProxies: proxies("10.0.0.0/8", "0.0.0.0/0")},
			`policy: EntryConfig.TrustedProxies[1] "0.0.0.0/0" is everybody, so that each client chooses its own address; list the networks of the proxies, or set InsecureTrustAll where nobody else can connect`},
		{policy.EntryConfig{TrustedProxies: proxies("::/0")}, `TrustedProxies[0] "::/0" is everybody`},
		{policy.EntryConfig{TrustedProxies: proxies("::ffff:0.0.0.0/96")}, `TrustedProxies[0] "::ffff:0.0.0.0/96" is everybody`},
		{policy.EntryConfig{TrustedProxies: proxies("0.0.0.0/0", "::/0"), InsecureTrustAll: true}, ""},
		{policy.EntryConfig{InsecureTrustAll: true}, `EntryConfig.InsecureTrustAll true is without effect, because no network in TrustedProxies is everybody; leave it out, or list 0.0.0.0/0 and ::/0`},
		{policy.EntryConfig{MaxHops: 1}, `EntryConfig.MaxHops 1 is set without TrustedProxies`},
		{policy.EntryConfig{TrustedProxies: proxies("10.0.0.0/8"), MaxHops: -1}, `EntryConfig.MaxHops -1 is negative; 0 means 32`},
		{policy.EntryConfig{ClientAddressHeader: "X-Real-IP"}, `EntryConfig.ClientAddressHeader "X-Real-IP" is set without TrustedProxies, so that it is never read; list the networks of the proxies that send it, or leave it out`},
		{policy.EntryConfig{PassHeaders: []string{"Nope"}}, `EntryConfig.PassHeaders[0] "Nope" is not a forwarding or override field and passes anyway; leave it out`},
		{policy.EntryConfig{PassHeaders: []string{"Host"}}, `PassHeaders[0] "Host" is not a forwarding`},
		{policy.EntryConfig{PassHeaders: []string{"x-forwarded-anything", "x-real-ip", "Forwarded"}}, ""},
		{policy.EntryConfig{TrustedProxies: proxies("10.0.0.0/8"), ClientAddressHeader: "Edge-Ip", PassHeaders: []string{"Edge-IP"}}, ""},
		{policy.EntryConfig{PassHeaders: []string{"X-Tenant"}, OwnedHeaders: []string{"X-Tenant"}}, `PassHeaders[0] "X-Tenant" belongs to the gateway and cannot be passed; leave it out`},
	} {
		_, err := policy.NewEntry(c.config)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n", "one mistake is one problem")
	}
}

func TestZeroEntryRefuses(t *testing.T) {
	t.Parallel()
	for _, e := range []*policy.Entry{nil, {}} {
		for _, target := range []string{"/", "/a?b=c", "*"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.URL.Path = target
			e.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })).ServeHTTP(w, r)
			require.GreaterOrEqual(t, w.Code, 400)
		}
	}
}

func TestForwardedSchemeIsReadFromOneField(t *testing.T) {
	t.Parallel()
	e := trusting(t, policy.EntryConfig{ClientAddressHeader: "forwarded"})
	for forwarded, want := range map[string]string{"for=1.1.1.1;proto=http": "http", "proto=http, for=1.1.1.1;Proto=\"HTTPS\"": "https", "for=1.1.1.1": "http"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header.Set("Forwarded", forwarded)
		r.Header.Set("X-Forwarded-Proto", "https") // the client's own, passed on by a proxy that does not speak it
		e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.Equal(t, want, policy.ExchangeFrom(r.Context()).Scheme(), forwarded)
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

// TestAbsoluteFormWithoutPath: RFC 9112 section 3.2.4.
func TestAbsoluteFormWithoutPath(t *testing.T) {
	t.Parallel()
	e := policy.Must(policy.NewEntry(policy.EntryConfig{}))
	for target, want := range map[string]struct {
		uri    string
		status int
	}{
		"GET http://x.test":      {"/", 200},
		"GET http://x.test?q=1":  {"/?q=1", 200},
		"OPTIONS http://x.test":  {"", 400}, // which means *
		"OPTIONS http://x.test/": {"/", 200},
		"GET ?q=1":               {"", 400},
	} {
		method, uri, _ := strings.Cut(target, " ")
		u, err := url.Parse(uri)
		require.NoError(t, err)
		r := httptest.NewRequest(method, "/", nil)
		r.Host, r.URL, r.RequestURI = "x.test", u, uri
		got := ""
		res := gatewaytest.Do(e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.RequestURI() })), r)
		require.Equal(t, want.status, res.StatusCode, target)
		require.Equal(t, want.uri, got, target)
	}
}

// TestMaxHops: how far the walk through the proxies goes.
func TestMaxHops(t *testing.T) {
	t.Parallel()
	for hops, want := range map[int]string{0: "1.1.1.1", 1: "10.0.0.3", 2: "10.0.0.2", 3: "1.1.1.1", 9: "1.1.1.1"} {
		for name, field := range map[string][]string{
			"":          {"9.9.9.9, 1.1.1.1", "10.0.0.2,10.0.0.3"},
			"Forwarded": {"for=9.9.9.9, for=1.1.1.1", "for=10.0.0.2,for=10.0.0.3"},
		} {
			e := trusting(t, policy.EntryConfig{ClientAddressHeader: name, MaxHops: hops})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = "10.0.0.4:1"
			if name == "" {
				name = "X-Forwarded-For"
			}
			r.Header[name] = field
			var got netip.Addr
			gatewaytest.Do(e.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = policy.ExchangeFrom(r.Context()).ClientAddr()
			})), r)
			require.Equal(t, want, got.String(), "%d %s", hops, name)
		}
	}
}
