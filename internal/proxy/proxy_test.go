package proxy_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/policy"
)

// trusting is an entry that trusts the peer httptest.NewRequest invents.
var trusting = policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}

// outgoing sends r through an entry and returns what would go to target.
func outgoing(t *testing.T, entry policy.EntryConfig, r *http.Request, target string, prepare ...func(*policy.Exchange, *http.Request)) (*http.Request, *policy.Error) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	e, err := policy.NewEntry(entry)
	require.NoError(t, err)
	var out *http.Request
	var refused *policy.Error
	w := httptest.NewRecorder()
	called := false
	var before, after http.Header
	e.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called = true
		for _, f := range prepare {
			f(policy.ExchangeFrom(r.Context()), r)
		}
		before, after = r.Header.Clone(), r.Header
		c, err := proxy.New().Accept(w, r)
		if err != nil {
			refused = err
			return
		}
		defer c.Release()
		out, refused = c.Outgoing(u)
		sameAsList(t, w, r, u, out, refused)
	})).ServeHTTP(w, r)
	require.True(t, called, "refused by the entry: %s", w.Body)
	require.Equal(t, before, after, "the client's header is never changed")
	return out, refused
}

// sameAsList says that OutgoingFields makes the same of r, where it makes anything.
func sameAsList(t *testing.T, w http.ResponseWriter, r *http.Request, target *url.URL, out *http.Request, refused *policy.Error) {
	t.Helper()
	c, failed := proxy.New().Accept(w, r)
	require.Nil(t, failed)
	defer c.Release()
	other, list, failed, ok := c.OutgoingFields(target)
	if !ok {
		return
	}
	require.Equal(t, refused == nil, failed == nil)
	if failed != nil {
		require.Equal(t, refused.Code, failed.Code)
		return
	}
	h := http.Header{}
	for _, f := range list {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	for name, values := range out.Header {
		require.Equal(t, values, h[name], name)
		delete(h, name)
	}
	require.Empty(t, h)
	require.Empty(t, other.Header)
	require.Equal(t, []any{out.Method, out.URL, out.Host, out.ContentLength}, []any{other.Method, other.URL, other.Host, other.ContentLength})
}

func request(method, target string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

func names(h http.Header) []string {
	out := make([]string, 0, len(h))
	for name, values := range h {
		if values != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// What Outgoing adds to a plain request.
var always = []string{"Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Real-Ip"}

func TestHopByHopFieldsAreRemoved(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		header []string
		want   []string // beyond always
	}{
		{"nothing", nil, nil},
		{"end to end", []string{"Accept", "a", "X-Own", "b", "Accept-Encoding", "br"}, []string{"Accept", "Accept-Encoding", "X-Own"}},
		{"fixed list", []string{
			"Connection", "close", "Keep-Alive", "timeout=5", "Proxy-Connection", "keep-alive", "Te", "gzip", "Trailer", "X-T",
			"Transfer-Encoding", "chunked", "Upgrade", "websocket", "Http2-Settings", "AAMAAABkAAQAAP__",
			"Proxy-Authenticate", "Basic", "Proxy-Authorization", "Basic eDp5", "Proxy-Authentication-Info", "x",
		}, nil},
		{"h2c", []string{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Http2-Settings", "AAMA"}, nil},
		{"nominated", []string{"Connection", "x-one, X-TWO\t, ,,bad name,x_three", "X-One", "1", "X-Two", "2", "X_three", "3", "X-Four", "4"}, []string{"X-Four"}},
		{"nominated on several lines", []string{"Connection", "close", "Connection", "X-One", "X-One", "1"}, nil},
		{"end-to-end fields cannot be nominated",
			[]string{"Connection", "Cache-Control, authorization, Cookie, Content-Type, Range", "Cache-Control", "no-store", "Authorization", "b", "Cookie", "c", "Content-Type", "d", "Range", "e"},
			[]string{"Authorization", "Cache-Control", "Content-Type", "Cookie", "Range"}},
		{"framing", []string{"Content-Length", "17", "Host", "evil.test"}, nil},
		{"Expect without a body", []string{"Expect", "100-continue"}, nil},
		{"trailers to an HTTP/1 client", []string{"Te", "trailers"}, nil},
		{"trailers for gRPC", []string{"Te", "gzip, trailers;q=1", "Content-Type", "application/grpc"}, []string{"Content-Type", "Te"}},
	}
	for _, tt := range tests {
		out, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a", tt.header...), "http://up.test")
		require.Nil(t, err, tt.name)
		want := append(slices.Clone(always), tt.want...)
		slices.Sort(want)
		require.Equal(t, want, names(out.Header), tt.name)
		require.Empty(t, out.Header["User-Agent"])
		require.Contains(t, out.Header, "User-Agent", "or net/http would invent one")
		require.Equal(t, "up.test", out.Host)
		require.Nil(t, out.Body)
		require.Zero(t, out.ContentLength)
		require.Nil(t, out.Trailer)
	}
}

func TestTrailersTokenOverHTTP2(t *testing.T) {
	t.Parallel()
	r := request(http.MethodGet, "/", "Te", "trailers")
	r.ProtoMajor, r.ProtoMinor, r.Proto = 2, 0, "HTTP/2.0"
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up.test")
	require.Nil(t, err)
	require.Equal(t, []string{"trailers"}, out.Header["Te"])
	require.Equal(t, []string{"2.0 gatehouse"}, out.Header["Via"])
}

func TestBodyFramingIsOurs(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello"))
	r.Header.Set("Content-Length", "3")
	r.Header.Set("Expect", "100-Continue")
	r.Header.Set("Trailer", "X-T")
	r.Trailer = http.Header{"X-T": nil}
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up.test")
	require.Nil(t, err)
	require.EqualValues(t, 5, out.ContentLength)
	require.NotNil(t, out.Body)
	require.Equal(t, []string{"100-continue"}, out.Header["Expect"])
	require.NotContains(t, out.Header, "Content-Length")
	require.NotContains(t, out.Header, "Trailer")
	require.Nil(t, out.Trailer)
	require.Nil(t, out.GetBody)

	r = httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("hello")))
	out, err = outgoing(t, policy.EntryConfig{}, r, "http://up.test")
	require.Nil(t, err)
	require.EqualValues(t, -1, out.ContentLength)
}

func TestForwardingFields(t *testing.T) {
	t.Parallel()
	strip := func(path, matched string) func(*policy.Exchange, *http.Request) {
		return func(x *policy.Exchange, r *http.Request) {
			x.SetRoute("r", "p", matched)
			x.SetForward(&policy.Forward{StripPath: true})
			if path != "" {
				x.SetStrippedPath(matched)
				r.URL.Path = path
			}
		}
	}
	none := []string{"X-Forwarded-Prefix", "Forwarded"}
	rfc7239 := trusting
	rfc7239.ClientAddressHeader = "Forwarded"
	tests := []struct {
		name    string
		entry   policy.EntryConfig
		target  string
		peer    string
		tls     bool
		header  []string
		prepare func(*policy.Exchange, *http.Request)
		want    map[string]string
		absent  []string
	}{
		{
			name: "plain", target: "http://Shop.test/a/b?q=1", peer: "203.0.113.9:1234",
			want: map[string]string{
				"X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.test",
				"X-Forwarded-Port": "80", "X-Forwarded-Path": "/a/b", "Via": "1.1 gatehouse",
			}, absent: none,
		},
		{
			name: "TLS, port, IPv6", target: "https://shop.test:8443/", peer: "[2001:db8::7]:1", tls: true,
			want: map[string]string{
				"X-Forwarded-For": "2001:db8::7", "X-Real-Ip": "2001:db8::7", "X-Forwarded-Proto": "https",
				"X-Forwarded-Host": "shop.test:8443", "X-Forwarded-Port": "8443",
			}, absent: none,
		},
		{name: "TLS without port", target: "https://[2001:db8::1]/", tls: true, want: map[string]string{"X-Forwarded-Host": "[2001:db8::1]", "X-Forwarded-Port": "443"}},
		{
			name: "forged by an untrusted peer", target: "http://shop.test/", peer: "203.0.113.9:1234",
			header: []string{
				"X-Forwarded-For", "10.0.0.1", "X-Real-Ip", "10.0.0.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil", "X-Forwarded-Port", "1",
				"X-Forwarded-Path", "/evil", "X-Forwarded-Prefix", "/evil", "Forwarded", "for=10.0.0.1", "X-Forwarded-Server", "evil", "X_Forwarded_For", "10.0.0.1",
			},
			want: map[string]string{
				"X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.test",
				"X-Forwarded-Port": "80", "X-Forwarded-Path": "/",
			},
			absent: append([]string{"X-Forwarded-Server", "X_Forwarded_For"}, none...),
		},
		{
			name: "appended as Kong does", entry: policy.EntryConfig{InsecureAppendForwardedFor: true}, target: "http://shop.test/", peer: "203.0.113.9:1",
			header: []string{"X-Forwarded-For", "10.0.0.1"}, want: map[string]string{"X-Forwarded-For": "10.0.0.1, 203.0.113.9", "X-Real-Ip": "203.0.113.9"},
		},
		{
			name: "a trusted proxy", entry: trusting, target: "http://inner/x", peer: "192.0.2.1:99",
			header: []string{
				"X-Forwarded-For", "198.51.100.7", "X-Forwarded-For", "192.0.2.200", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.test",
				"X-Forwarded-Port", "444", "X-Forwarded-Path", "/outer/x", "X-Forwarded-Prefix", "/outer", "Via", "1.1 edge", "Via", "2 cdn",
			},
			want: map[string]string{
				"X-Forwarded-For": "198.51.100.7, 192.0.2.200, 192.0.2.1", "X-Real-Ip": "198.51.100.7", "X-Forwarded-Proto": "https",
				"X-Forwarded-Host": "shop.test", "X-Forwarded-Port": "444", "X-Forwarded-Path": "/outer/x", "X-Forwarded-Prefix": "/outer",
				"Via": "1.1 edge, 2 cdn, 1.1 gatehouse",
			}, absent: []string{"Forwarded"},
		},
		{
			name: "a trusted proxy with Forwarded", entry: rfc7239, target: "http://inner:81/x", peer: "192.0.2.1:99",
			header: []string{"Forwarded", "for=198.51.100.7;proto=https"},
			want:   map[string]string{"Forwarded": `for=198.51.100.7;proto=https, for=192.0.2.1;host="inner:81";proto=http`, "X-Forwarded-For": "192.0.2.1"},
		},
		{
			name:   "a trusted IPv6 proxy with Forwarded",
			entry:  policy.EntryConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}, ClientAddressHeader: "Forwarded"},
			target: "https://inner/x", tls: true, peer: "[2001:db8::2]:99", header: []string{"Forwarded", "for=198.51.100.7"},
			want: map[string]string{"Forwarded": `for=198.51.100.7, for="[2001:db8::2]";host="inner";proto=https`},
		},
		{name: "no address", target: "http://shop.test/", peer: "@", want: map[string]string{"X-Forwarded-Proto": "http"}, absent: []string{"X-Forwarded-For", "X-Real-Ip"}},
		{
			name: "no address, kept list", entry: policy.EntryConfig{InsecureAppendForwardedFor: true}, target: "http://shop.test/", peer: "@",
			header: []string{"X-Forwarded-For", "10.0.0.1"}, want: map[string]string{"X-Forwarded-For": "10.0.0.1"},
		},
		{name: "stripped", target: "http://shop.test/v1/users/42", prepare: strip("/42", "/v1/users/"), want: map[string]string{"X-Forwarded-Prefix": "/v1/users", "X-Forwarded-Path": "/v1/users/42"}},
		{name: "stripped a slash", target: "http://shop.test/a", prepare: strip("/a", "/"), absent: none},
		{name: "not stripped", target: "http://shop.test/v1/a", prepare: strip("", "/v1"), absent: none},
		{
			name: "stripped twice", entry: trusting, target: "http://shop.test/v1/a", peer: "192.0.2.1:9", header: []string{"X-Forwarded-Prefix", "/outer/"},
			prepare: strip("/a", "/v1"), want: map[string]string{"X-Forwarded-Prefix": "/outer/v1"},
		},
		{
			name: "stripped by two gateways", target: "http://shop.test/v1/a/b", prepare: func(x *policy.Exchange, r *http.Request) {
				x.SetStrippedPath("/v1/")
				x.SetStrippedPath("/a")
				r.URL.Path = "/b"
			}, want: map[string]string{"X-Forwarded-Prefix": "/v1/a", "X-Forwarded-Path": "/v1/a/b"},
		},
	}
	for _, tt := range tests {
		r := request(http.MethodGet, tt.target, tt.header...)
		if tt.peer != "" {
			r.RemoteAddr = tt.peer
		}
		if !tt.tls {
			r.TLS = nil
		} else {
			r.TLS = &tls.ConnectionState{}
		}
		prepare := []func(*policy.Exchange, *http.Request){}
		if tt.prepare != nil {
			prepare = append(prepare, tt.prepare)
		}
		out, err := outgoing(t, tt.entry, r, "http://up.test", prepare...)
		require.Nil(t, err, tt.name)
		for name, value := range tt.want {
			require.Equal(t, []string{value}, out.Header[name], "%s: %s", tt.name, name)
		}
		for _, name := range tt.absent {
			require.NotContains(t, out.Header, name, tt.name)
		}
	}
}

func TestClientCannotRemoveWhatTheGatewaySets(t *testing.T) {
	t.Parallel()
	nominated := append(slices.Clone(always), "X-Consumer-Id", "x-consumer-id", "X-Consumer-Username", "Forwarded", "X-Forwarded-Prefix", "Host", "Content-Length", "Te", "Expect")
	r := request(http.MethodGet, "/", "Connection", strings.Join(nominated, ", "))
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up.test", func(x *policy.Exchange, _ *http.Request) {
		x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "7", Username: "ann"}, Credential: "k1"})
	})
	require.Nil(t, err)
	want := append(slices.Clone(always), "X-Consumer-Id", "X-Consumer-Username", "X-Credential-Identifier")
	slices.Sort(want)
	require.Equal(t, want, names(out.Header))
}

// Nor what a trusted proxy said about it, where that passes on the Connection field of its client.
func TestClientCannotRemoveWhatAProxySays(t *testing.T) {
	t.Parallel()
	rfc7239 := trusting
	rfc7239.ClientAddressHeader = "Forwarded"
	for name, entry := range map[string]policy.EntryConfig{"X-Forwarded-For": trusting, "Forwarded": rfc7239} {
		value := "198.51.100.7"
		if name == "Forwarded" {
			value = "for=198.51.100.7"
		}
		r := request(http.MethodGet, "/", "Connection", "forwarded, via, x-real-ip, x-forwarded-for, X-FORWARDED-PROTO", name, value, "X-Forwarded-Proto", "https", "Via", "1.1 edge")
		r.RemoteAddr = "192.0.2.1:99"
		out, err := outgoing(t, entry, r, "http://up.test")
		require.Nil(t, err)
		require.Contains(t, out.Header.Get(name), value+", ", name)
		require.Equal(t, "198.51.100.7", out.Header.Get("X-Real-Ip"))
		require.Equal(t, "1.1 edge, 1.1 gatehouse", out.Header.Get("Via"))
	}
}

func TestIdentityFields(t *testing.T) {
	t.Parallel()
	all := []string{"X-Consumer-Id", "X-Consumer-Custom-Id", "X-Consumer-Username", "X-Consumer-Groups", "X-Credential-Identifier", "X-Anonymous-Consumer"}
	tests := []struct {
		name string
		id   policy.Identity
		want map[string]string
		bad  bool
	}{
		{"nobody", policy.Identity{}, nil, false},
		{"everything", policy.Identity{
			Consumer: &policy.Consumer{ID: "7", CustomID: "c-7", Username: "ann", Groups: []string{"staff", "", "ops"}, Tags: []string{"t"}}, Credential: "key-1", Kind: "key-auth",
		}, map[string]string{
			"X-Consumer-Id": "7", "X-Consumer-Custom-Id": "c-7", "X-Consumer-Username": "ann", "X-Consumer-Groups": "staff, ops", "X-Credential-Identifier": "key-1",
		}, false},
		{"credential only", policy.Identity{Credential: "sub", Kind: "jwt"}, map[string]string{"X-Credential-Identifier": "sub"}, false},
		{"anonymous", policy.Identity{Consumer: &policy.Consumer{ID: "0", Username: "guest"}, Credential: "wrong", Anonymous: true},
			map[string]string{"X-Consumer-Id": "0", "X-Consumer-Username": "guest", "X-Anonymous-Consumer": "true"}, false},
		{"UTF-8", policy.Identity{Consumer: &policy.Consumer{ID: "7", Username: "Zoë"}}, map[string]string{"X-Consumer-Id": "7", "X-Consumer-Username": "Zoë"}, false},
		{"line feed", policy.Identity{Consumer: &policy.Consumer{ID: "7\nX-Admin: 1"}}, nil, true},
		{"carriage return", policy.Identity{Consumer: &policy.Consumer{Username: "a\r"}}, nil, true},
		{"NUL", policy.Identity{Consumer: &policy.Consumer{CustomID: "a\x00"}}, nil, true},
		{"DEL", policy.Identity{Credential: "\x7f"}, nil, true},
		{"space in front, which recipients drop", policy.Identity{Consumer: &policy.Consumer{ID: " 7"}}, nil, true},
		{"tab behind", policy.Identity{Consumer: &policy.Consumer{Username: "admin\t"}}, nil, true},
		{"group that would read as two", policy.Identity{Consumer: &policy.Consumer{Groups: []string{"a,admin"}}}, nil, true},
		{"group with a line feed", policy.Identity{Consumer: &policy.Consumer{Groups: []string{"ok", "a\nb"}}}, nil, true},
	}
	for _, tt := range tests {
		var header []string
		for _, name := range all {
			header = append(header, name, "forged", strings.ReplaceAll(name, "-", "_"), "forged")
		}
		out, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/", header...), "http://up.test", func(x *policy.Exchange, r *http.Request) {
			x.SetIdentity(tt.id)
			r.Header["X-Consumer-Id"] = []string{"from a plugin"} // Set semantics: only the Exchange counts
		})
		if tt.bad {
			require.NotNil(t, err, tt.name)
			require.Equal(t, http.StatusInternalServerError, err.Status)
			require.Equal(t, "invalid_identity", err.Code)
			require.NotContains(t, err.Error(), "admin", "the value is for nobody's eyes")
			continue
		}
		require.Nil(t, err, tt.name)
		for _, name := range all {
			if want, ok := tt.want[name]; ok {
				require.Equal(t, []string{want}, out.Header[name], tt.name)
			} else {
				require.NotContains(t, out.Header, name, tt.name)
			}
			require.NotContains(t, out.Header, strings.ReplaceAll(name, "-", "_"))
		}
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target, in, want string
	}{
		{"http://up", "/", "http://up/"},
		{"http://up/", "/a", "http://up/a"},
		{"http://up:8080/base", "/a/", "http://up:8080/base/a/"},
		{"http://up/base/", "/", "http://up/base/"},
		{"https://up/b%2Fc", "/a%2Fd", "https://up/b%2Fc/a%2Fd"},
		{"http://up/base", "/a%3Fb%25?x=%2f&y=a+b&&=;", "http://up/base/a%3Fb%25?x=%2f&y=a+b&&=;"},
		{"http://up", "/a?", "http://up/a?"},
		{"http://up", "/a?a=http://b/?c", "http://up/a?a=http://b/?c"},
	}
	for _, tt := range tests {
		out, err := outgoing(t, policy.EntryConfig{AllowEncodedSlash: true}, request(http.MethodGet, tt.in), tt.target)
		require.Nil(t, err, tt.in)
		require.Equal(t, tt.want, out.URL.String())
	}
	// A mux that strips the whole path leaves none: the target's own is asked for, with the client's slash at its end.
	out, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a"), "http://up/base", func(_ *policy.Exchange, r *http.Request) { r.URL.Path = "" })
	require.Nil(t, err)
	require.Equal(t, "/base", out.URL.Path)
	out, err = outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a/"), "http://up/base", func(_ *policy.Exchange, r *http.Request) { r.URL.Path = "/" })
	require.Nil(t, err)
	require.Equal(t, "/base/", out.URL.Path)
	// A plugin that makes a query of client data.
	for _, q := range []string{"a b", "a\r\nb", "a#b", "\x7f"} {
		_, err = outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a"), "http://up", func(_ *policy.Exchange, r *http.Request) { r.URL.RawQuery = q })
		require.NotNil(t, err, q)
		require.Equal(t, "invalid_request", err.Code)
	}
}

func TestHost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target string
		f      policy.Forward
		want   string
	}{
		{"http://up:80", policy.Forward{}, "up"},
		{"https://up:443", policy.Forward{}, "up"},
		{"https://up:80", policy.Forward{}, "up:80"},
		{"http://up:8080/x", policy.Forward{}, "up:8080"},
		{"http://up", policy.Forward{PreserveHost: true}, "shop.test:99"},
		{"http://up", policy.Forward{Host: "shop.test:99"}, "shop.test:99"},
	}
	for _, tt := range tests {
		out, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "http://shop.test:99/"), tt.target, func(x *policy.Exchange, _ *http.Request) { x.SetForward(&tt.f) })
		require.Nil(t, err)
		require.Equal(t, tt.want, out.Host, tt.target)
	}
	r := request(http.MethodGet, "/")
	r.Host = ""
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up", func(x *policy.Exchange, _ *http.Request) { x.SetForward(&policy.Forward{PreserveHost: true}) })
	require.Nil(t, err)
	require.Equal(t, "up", out.Host, "HTTP/1.0 has no Host to preserve")
	require.NotContains(t, out.Header, "X-Forwarded-Host")
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/a?b=c", strings.NewReader("body"))
	r.Header.Set("Connection", "X-Added")
	r.Header.Set("X-Gone", "1")
	rewrite := func(in, out *http.Request) {
		require.Equal(t, "/a", in.URL.Path)
		require.NotContains(t, out.Header, "Connection", "hop-by-hop fields have gone")
		require.NotContains(t, out.Header, "Via", "owned fields are not set yet")
		out.URL = &url.URL{Scheme: "ftp", Host: "evil.test", Path: "/new path", RawQuery: "n=1", Fragment: "f"}
		out.Host = "evil.test"
		out.Method = http.MethodHead
		out.Body, out.ContentLength, out.TransferEncoding, out.Close = nil, 99, []string{"chunked"}, true
		out.Trailer = http.Header{"X-T": nil}
		out.Header.Del("X-Gone")
		out.Header.Set("X-Added", "yes")
		out.Header["content-length"] = []string{"7"}
		out.Header.Set("Transfer-Encoding", "chunked")
		out.Header.Set("Connection", "upgrade")
		out.Header.Set("Host", "evil.test")
		out.Header.Set("X-Consumer-Id", "forged")
		out.Header["x_consumer_id"] = []string{"forged"}
		out.Header.Set("X-Authenticated-Groups", "forged")
		out.Header.Set("X-Forwarded-For", "10.0.0.1")
	}
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up.test/base", func(x *policy.Exchange, _ *http.Request) { x.SetForward(&policy.Forward{Rewrite: rewrite}) })
	require.Nil(t, err)
	require.Equal(t, "http://up.test/new%20path?n=1", out.URL.String())
	require.Equal(t, "up.test", out.Host)
	require.Equal(t, http.MethodPost, out.Method)
	require.EqualValues(t, 4, out.ContentLength)
	require.NotNil(t, out.Body)
	require.False(t, out.Close)
	require.Nil(t, out.TransferEncoding)
	require.Nil(t, out.Trailer)
	want := append(slices.Clone(always), "X-Added")
	slices.Sort(want)
	require.Equal(t, want, names(out.Header))
	require.Equal(t, "192.0.2.1", out.Header.Get("X-Forwarded-For"))

	// One that throws everything away.
	out, err = outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a"), "http://up.test", func(x *policy.Exchange, _ *http.Request) {
		x.SetForward(&policy.Forward{Rewrite: func(_, out *http.Request) { out.URL, out.Header = nil, nil }})
	})
	require.Nil(t, err)
	require.Equal(t, "http://up.test/a", out.URL.String())
	require.Equal(t, always, names(out.Header))
	_, err = outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/a"), "http://up.test", func(x *policy.Exchange, _ *http.Request) {
		x.SetForward(&policy.Forward{Rewrite: func(in, out *http.Request) { out.URL.Path, out.URL.RawQuery = "relative", "a b" }})
	})
	require.NotNil(t, err)
}

// Whatever path a Rewrite makes, the target gets it in its canonical form, or not at all.
func TestRewrittenPathIsCanonical(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/a/../../etc": "/etc", "//x": "/x", "/a?b": "/a%3Fb", "/a b": "/a%20b", "/./": "/", "/\x00": "", "/a\\..\\b": ""} {
		out, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/"), "http://up.test", func(x *policy.Exchange, _ *http.Request) {
			x.SetForward(&policy.Forward{Rewrite: func(_, out *http.Request) { out.URL.Path, out.URL.RawPath = path, "" }})
		})
		if want == "" {
			require.NotNil(t, err, path)
			require.Equal(t, http.StatusInternalServerError, err.Status)
			continue
		}
		require.Nil(t, err, path)
		require.Equal(t, want, out.URL.RequestURI(), path)
	}
}

// A hook that adds to a field must not write into the client's header, which a second try reads again.
func TestOutgoingSharesNoRoom(t *testing.T) {
	t.Parallel()
	r := request(http.MethodGet, "/")
	r.Header["X-List"] = append(make([]string, 0, 4), "a")
	out, err := outgoing(t, policy.EntryConfig{}, r, "http://up.test")
	require.Nil(t, err)
	out.Header.Add("X-List", "b")
	require.Equal(t, []string{"a", ""}, r.Header["X-List"][:2])
}

func TestLoops(t *testing.T) {
	t.Parallel()
	via := func(n int, entry string) []string {
		var h []string
		for range n {
			h = append(h, "Via", entry)
		}
		return h
	}
	tests := []struct {
		name   string
		header []string
		loop   bool
	}{
		{"none", nil, false},
		{"eight", via(8, "1.1 gatehouse"), false},
		{"nine", via(9, "1.1 gatehouse"), true},
		{"nine on one line", []string{"Via", strings.Repeat("1.1 gatehouse,", 9)}, true},
		{"with comments and case", via(9, "HTTP/1.1  GateHouse (v1)"), true},
		{"others", via(50, "1.1 gatehouse-2"), false},
		{"garbage", []string{"Via", strings.Repeat(",gatehouse,,  ,", 20)}, false},
	}
	for _, tt := range tests {
		_, err := outgoing(t, policy.EntryConfig{}, request(http.MethodGet, "/", tt.header...), "http://up.test")
		if !tt.loop {
			require.Nil(t, err, tt.name)
			continue
		}
		require.NotNil(t, err, tt.name)
		require.Equal(t, http.StatusLoopDetected, err.Status)
		require.Equal(t, "loop_detected", err.Code)
		require.Error(t, errors.Unwrap(err))
	}
}

// FuzzOutgoing sends arbitrary Connection, Via, Te and forwarding fields through an entry that trusts the client and one
// that does not. What the gateway owns must be what the gateway says, and nothing hop-by-hop may remain.
func FuzzOutgoing(f *testing.F) {
	f.Add("close, X-Consumer-Id", "1.1 gatehouse", "trailers", "10.0.0.1", "for=\"_x\";by=y", "/a/", true)
	f.Add("x-real-ip,,\tTE;q=1", "a b (c, d)", "", ",", "", "", false)
	f.Fuzz(func(t *testing.T, connection, via, te, xff, forwarded, prefix string, trusted bool) {
		for _, v := range []string{connection, via, te, xff, forwarded, prefix} {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return // net/http's server lets no such value in
			}
		}
		r := request(http.MethodGet, "/", "Connection", connection, "Via", via, "Te", te, "X-Forwarded-For", xff, "Forwarded", forwarded, "X-Forwarded-Prefix", prefix)
		entry := policy.EntryConfig{}
		if trusted {
			entry = trusting
		}
		out, err := outgoing(t, entry, r, "http://up.test", func(x *policy.Exchange, _ *http.Request) {
			x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "7"}, Credential: "c"})
		})
		if err != nil {
			require.Equal(t, "loop_detected", err.Code)
			return
		}
		require.Equal(t, []string{"7"}, out.Header["X-Consumer-Id"])
		require.Equal(t, []string{"c"}, out.Header["X-Credential-Identifier"])
		require.True(t, strings.HasSuffix(out.Header["Via"][0], "1.1 gatehouse"))
		require.True(t, strings.HasSuffix(out.Header["X-Forwarded-For"][0], "192.0.2.1"))
		if !trusted {
			require.Equal(t, "192.0.2.1", out.Header["X-Forwarded-For"][0])
			require.NotContains(t, out.Header, "Forwarded")
			require.NotContains(t, out.Header, "X-Forwarded-Prefix")
		}
		for _, name := range []string{"Connection", "Te", "Upgrade", "Transfer-Encoding", "Content-Length"} {
			require.NotContains(t, out.Header, name)
		}
	})
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
