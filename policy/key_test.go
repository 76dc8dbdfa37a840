package policy_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	plain := httptest.NewRequest(http.MethodGet, "/a/./b?x=1", nil)
	plain.RemoteAddr = "192.0.2.7:1234"
	x, full := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "42"}, Kind: "jwt", Credential: "kid"})
	x.SetRoute("users", "/users", "/users")
	full.Header["X-Tenant"] = []string{"a", "b"}
	full.AddCookie(&http.Cookie{Name: "s", Value: "v"})
	v6 := httptest.NewRequest(http.MethodGet, "/", nil)
	v6.RemoteAddr = "[2001:db8:1:2:3:4:5:6]:80"
	withID := httptest.NewRequest(http.MethodGet, "/users/42", nil)
	withID.SetPathValue("id", "42")
	unix := httptest.NewRequest(http.MethodGet, "/", nil)
	unix.RemoteAddr = "@"
	for name, c := range map[string]struct {
		key  policy.Key
		r    *http.Request
		want string
		ok   bool
	}{
		"consumer":            {policy.ByConsumer(), full, "42", true},
		"no consumer":         {policy.ByConsumer(), plain, "", false},
		"credential":          {policy.ByCredential(), full, "jwt\x00kid", true},
		"no credential":       {policy.ByCredential(), plain, "", false},
		"address":             {policy.ByClientAddress(), plain, "192.0.2.7", true},
		"address v6 by /64":   {policy.ByClientAddress(), v6, "2001:db8:1:2::", true},
		"no address":          {policy.ByClientAddress(), unix, "", false},
		"header, all values":  {policy.ByHeader("x-tenant"), full, "a, b", true},
		"no header":           {policy.ByHeader("x-tenant"), plain, "", false},
		"cookie":              {policy.ByCookie("s"), full, "v", true},
		"no cookie":           {policy.ByCookie("s"), plain, "", false},
		"path, canonical":     {policy.ByPath(), plain, "/a/b", true},
		"path, escaped":       {policy.ByPath(), httptest.NewRequest(http.MethodGet, "/s/%40a", nil), "/s/@a", true},
		"query":               {policy.ByQuery("x"), plain, "1", true},
		"query, all values":   {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=1&y=2&%78=a+%C3%A9", nil), "1\x00a é", true},
		"query, other order":  {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=b&x=c&x=a&x=b", nil), "a\x00b\x00b\x00c", true},
		"query, twice empty":  {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=&x=", nil), "", false},
		"query, one empty":    {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=&x=b&x&x=a", nil), "a\x00b", true},
		"query, bad escape":   {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=%zz&x=%4", nil), "", false},
		"query, empty":        {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?x=&y=1", nil), "", false},
		"query, part of name": {policy.ByQuery("x"), httptest.NewRequest(http.MethodGet, "/?xx=1&=1&x%4=1", nil), "", false},
		"no query":            {policy.ByQuery("x"), full, "", false},
		"no URL":              {policy.ByQuery("x"), &http.Request{}, "", false},
		"path value":          {policy.ByPathValue("id"), withID, "42", true},
		"no path value":       {policy.ByPathValue("id"), plain, "", false},
		"route":               {policy.ByRoute(), full, "users", true},
		"no route":            {policy.ByRoute(), plain, "", false},
		"function":            {policy.ByFunc("f", func(r *http.Request) string { return r.Method }), plain, "GET", true},
		"function, no value":  {policy.ByFunc("f", func(*http.Request) string { return "" }), plain, "", false},
		"fallback not needed": {policy.ByConsumer().Or(policy.ByClientAddress()), full, "consumer\x0042", true},
		"fallback":            {policy.ByConsumer().Or(policy.ByClientAddress()), plain, "client_address\x00192.0.2.7", true},
		"fallback exhausted":  {policy.ByConsumer().Or(policy.ByRoute()), plain, "", false},
	} {
		got, ok := c.key.Of([]byte("prefix:"), c.r)
		require.Equal(t, c.ok, ok, name)
		if ok {
			require.Equal(t, "prefix:"+c.want, string(got), name)
		}
	}
	require.Equal(t, []policy.Fact{policy.Authenticated}, policy.ByConsumer().Requires)
	require.Empty(t, policy.ByConsumer().Or(policy.ByClientAddress()).Requires, "a fallback makes a preference of a requirement")
	require.Equal(t, "consumer|client_address", policy.ByConsumer().Or(policy.ByClientAddress()).Name)
}

// TestBrokenKeys: a key made of wrong arguments says so, and has no value.
func TestBrokenKeys(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header[""] = []string{"x"}
	f := func(*http.Request) string { return "x" }
	for _, c := range []struct {
		key  policy.Key
		want string
	}{
		{policy.ByFunc("x", nil), `policy: ByFunc: the function of "x" is nil; give the function that returns a request's value`},
		{policy.ByFunc("", f), `policy: ByFunc: the name "" is empty; it is part of what is counted, and keeps different keys apart`},
		{policy.ByHeader(""), `policy: ByHeader: "" is not a header name (RFC 9110 section 5.1); use letters, digits and hyphens, as in X-Tenant`},
		{policy.ByHeader("a b"), `policy: ByHeader: "a b" is not a header name`},
		{policy.ByHeader("host"), `policy: ByHeader: "Host" is not among the header fields of a request; use ByFunc with a function that returns r.Host`},
		{policy.ByQuery(""), `policy: ByQuery: "" is not a parameter's name; write the one in front of the =`},
		{policy.ByPathValue(""), `policy: ByPathValue: "" is not a parameter's name; write the one behind the colon`},
		{policy.ByCookie(""), `policy: ByCookie: "" is not a cookie's name (RFC 6265 section 4.1.1); use letters, digits and hyphens, as in session`},
		{policy.ByCookie("a;b"), `policy: ByCookie: "a;b" is not a cookie's name`},
	} {
		require.ErrorContains(t, c.key.Err(), c.want)
		got, ok := c.key.Of([]byte("before"), r)
		require.False(t, ok)
		require.Equal(t, "before", string(got))

		good := policy.ByFunc("f", f)
		for _, either := range []policy.Key{c.key.Or(good), good.Or(c.key)} {
			require.ErrorContains(t, either.Err(), c.want)
			got, ok = either.Of(nil, r)
			require.True(t, ok, "the other one has a value")
			require.Equal(t, "f\x00x", string(got))
		}
	}
	both := policy.ByFunc("a", nil).Or(policy.ByFunc("b", nil)).Or(policy.ByFunc("c", nil))
	for _, name := range []string{"a", "b", "c"} {
		require.ErrorContains(t, both.Err(), `the function of "`+name+`" is nil`)
	}
	require.NoError(t, policy.Key{}.Err())
	require.NoError(t, policy.ByConsumer().Or(policy.ByHeader("X-Tenant")).Or(policy.ByCookie("s")).Err())
}

// Limits and balancers ask for each request.
func TestKeysAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/a?x=1&y=2&y=1", nil))
	x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "42"}, Kind: "jwt", Credential: "kid"})
	x.SetRoute("users", "/a", "/a")
	r.Header["X-Tenant"] = []string{"a"}
	r.AddCookie(&http.Cookie{Name: "s", Value: "v"})
	r.SetPathValue("id", "1")
	dst := make([]byte, 0, 128)
	for _, key := range []policy.Key{
		policy.ByConsumer(), policy.ByCredential(), policy.ByClientAddress(), policy.ByHeader("X-Tenant"), policy.ByCookie("s"), policy.ByPath(),
		policy.ByRoute(), policy.ByQuery("x"), policy.ByQuery("y"), policy.ByPathValue("id"), policy.ByQuery("none").Or(policy.ByCookie("s")),
	} {
		_, ok := key.Of(dst, r)
		require.True(t, ok, key.Name)
		require.Zero(t, testing.AllocsPerRun(100, func() { key.Of(dst, r) }), key.Name)
	}
}

// FuzzByQuery compares with net/url, which also refuses semicolons.
func FuzzByQuery(f *testing.F) {
	for _, q := range []string{"x=1", "a=b&x=%41+b&x=c", "%78=2&x", "x=%zz&x=1", "x=%", "=x&&x=&x=="} {
		f.Add(q)
	}
	key := policy.ByQuery("x")
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, ";") {
			return
		}
		values, _ := url.ParseQuery(query)
		filled := slices.DeleteFunc(values["x"], func(v string) bool { return v == "" })
		want := strings.Join(filled, "\x00")
		if len(filled) > 1 { // in whatever order
			parts := strings.Split(want, "\x00")
			slices.Sort(parts)
			want = strings.Join(parts, "\x00")
		}
		got, ok := key.Of(nil, &http.Request{URL: &url.URL{RawQuery: query}})
		if string(got) != want || ok != (want != "") {
			t.Fatalf("%q: got %q %t, net/url %q", query, got, ok, want)
		}
	})
}
