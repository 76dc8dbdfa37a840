package keyauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// TestMemoryHoldsNoKey searches a dump of the heap for a key that the policy accepts. The test itself knows the key only
// with every bit turned round. It is not parallel: other tests may hold anything.
func TestMemoryHoldsNoKey(t *testing.T) { //nolint:paralleltest // looks at the whole heap
	turned := make(chan []byte)
	var k *keyauth.KeyAuth
	go func() { // on a stack of its own, which is gone afterwards
		secret := []byte("key-" + rand.Text())
		k = policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{string(secret): {ID: "1"}}}))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Apikey", string(secret))
		if _, err := k.Authenticate(r); err != nil {
			t.Error(err)
		}
		turned <- turn(secret)
	}()
	secret := <-turned
	require.False(t, heapHolds(t, secret))
	kept := turn(secret)
	require.True(t, heapHolds(t, secret), "the search finds a key that is there")
	runtime.KeepAlive(kept)
	runtime.KeepAlive(k)
}

func turn(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = ^b[i]
	}
	return out
}

// heapHolds reports whether a dump of the heap has a turned secret in it.
func heapHolds(t *testing.T, secret []byte) bool {
	t.Helper()
	runtime.GC()
	runtime.GC()
	f, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	require.NoError(t, err)
	defer f.Close()
	debug.WriteHeapDump(f.Fd())
	dump, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	for i := range len(dump) - len(secret) {
		n := 0
		for n < len(secret) && dump[i+n] == ^secret[n] {
			n++
		}
		if n == len(secret) {
			return true
		}
	}
	return false
}

// TestRefusalsCannotBeToldApart: an unknown, a disabled, an expired, a revoked and an over-long key get the same answer,
// byte by byte.
func TestRefusalsCannotBeToldApart(t *testing.T) {
	t.Parallel()
	keys := &auth.MemoryKeys{}
	require.NoError(t, keys.Replace(
		auth.Key{Value: "disabled", Consumer: guest, Disabled: true},
		auth.Key{Value: "expired", Consumer: guest, Expires: time.Unix(1, 0)},
		auth.Key{Value: "revoked", ID: "r", Consumer: guest},
	))
	keys.Revoke("r")
	k := newKeyAuth(t, keyauth.Config{Consumers: keys})
	var want string
	for _, key := range []string{"unknown", "disabled", "expired", "revoked", strings.Repeat("x", 513), strings.Repeat("x", 100_000)} {
		w := httptest.NewRecorder()
		x, r := policy.Ensure(request("/", "", "apikey: "+key))
		x.SetRequestID("same")
		k.Wrap(&upstream{}).ServeHTTP(w, r)
		got := fmt.Sprintf("%d %v %s", w.Code, w.Header(), w.Body)
		if want == "" {
			want = got
			require.Contains(t, got, "401 ")
		}
		require.Equal(t, want, got)
		d := x.Decisions()
		require.Equal(t, "invalid_credential", d[0].Reason)
		require.NotContains(t, fmt.Sprintf("%+v", d), key)
	}
}

// TestExactlyOneCredential: whatever else a request shows beside a valid key, it is refused.
func TestExactlyOneCredential(t *testing.T) {
	t.Parallel()
	k := newKeyAuth(t, keyauth.Config{In: everywhere, Names: []string{"apikey", "x-api-key"}})
	places := map[string]func(r *http.Request, value string){
		"header":       func(r *http.Request, v string) { r.Header.Add("Apikey", v) },
		"other header": func(r *http.Request, v string) { r.Header.Add("X-Api-Key", v) },
		"cookie":       func(r *http.Request, v string) { r.Header.Add("Cookie", "apikey="+v) },
		"query":        func(r *http.Request, v string) { r.URL.RawQuery += "&apikey=" + v },
		"other query":  func(r *http.Request, v string) { r.URL.RawQuery += "&x-api-key=" + v },
		"form": func(r *http.Request, v string) {
			f := request("/", "apikey="+v, form)
			r.Body, r.ContentLength = f.Body, f.ContentLength
			r.Header["Content-Type"] = f.Header["Content-Type"]
		},
		"json": func(r *http.Request, v string) {
			f := request("/", `{"x-api-key":"`+v+`"}`, jsonCT)
			r.Body, r.ContentLength = f.Body, f.ContentLength
			r.Header["Content-Type"] = f.Header["Content-Type"]
		},
	}
	for a, addA := range places {
		r := request("/?q=1", "")
		addA(r, "k1")
		got, _ := serve(t, k, r)
		require.Equal(t, 200, got.status, a)
		for b, addB := range places {
			if a == b && (a == "form" || a == "json") || a == "form" && b == "json" || a == "json" && b == "form" {
				continue // a request has one body
			}
			for _, value := range []string{"k1", "k2", "wrong", ""} {
				r := request("/?q=1", "")
				addA(r, "k1")
				addB(r, value)
				got, _ := serve(t, k, r)
				require.Equal(t, answer{401, "Duplicate API key found", []string{"Key"}, "duplicate_credential"}, got, "%s and %s %q", a, b, value)
			}
		}
	}
	for _, joined := range []string{"k1,k2", "k1, k1", "k1,", ",k1"} {
		got, _ := serve(t, k, request("/", "", "apikey: "+joined))
		require.Equal(t, "duplicate_credential", got.reason, joined)
	}
}

// TestLengthIsCapped: the store, and so any hashing, never sees a key longer than 512 bytes, nor an empty one.
func TestLengthIsCapped(t *testing.T) {
	t.Parallel()
	var seen []int
	store := auth.KeyStoreFunc(func(_ context.Context, key string) (auth.Credential, bool, error) {
		seen = append(seen, len(key))
		return auth.Credential{}, false, nil
	})
	k := newKeyAuth(t, keyauth.Config{Consumers: store})
	for _, n := range []int{0, 1, 512, 513, 1 << 20} {
		got, _ := serve(t, k, request("/", "", "apikey: "+strings.Repeat("x", n)))
		require.Equal(t, 401, got.status)
	}
	require.Equal(t, []int{1, 512}, seen)
}

// TestHideRemovesEveryCopy: a key goes from the header in all spellings, the query, the cookies and the body, for those
// who pass by it and for guests, and nothing else changes.
func TestHideRemovesEveryCopy(t *testing.T) {
	t.Parallel()
	type place struct {
		name   string
		target string
		body   string
		header []string
	}
	for _, p := range []place{
		{"header", "/?a=1&b=%32", "c=3", []string{"Apikey: k1", form}},
		{"query", "/?a=1&apikey=k1&b=%32", "c=3", []string{form}},
		{"cookie", "/?a=1&b=%32", "c=3", []string{"Cookie: d=4; apikey=k1", form}},
		{"body", "/?a=1&b=%32", "c=3&apikey=k1", []string{form}},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			k := newKeyAuth(t, keyauth.Config{In: everywhere, HideCredentials: true})
			got, up := serve(t, k, request(p.target, p.body, append(p.header, "x: y")...))
			require.Equal(t, "authenticated", got.reason)
			requireHidden(t, up)
			require.Equal(t, "y", up.request.Header.Get("X"))
		})
	}
	// What is no credential where it stands is a copy that upstreams must not see, either.
	k := newKeyAuth(t, keyauth.Config{Names: []string{"X-Api-Key"}, HideCredentials: true})
	_, up := serve(t, k, request("/?X-Api-Key=k1&a=1&b=%32", "c=3", "X-Api-Key: k1", "x_api_key: k1", "X.Api.Key: k1", "Cookie: X-Api-Key=k1; d=4", form))
	requireHidden(t, up)
	// Guests: one who shows an alias only, and one whose key is wrong.
	k = newKeyAuth(t, keyauth.Config{HideCredentials: true, Anonymous: guest, AnonymousOnInvalid: true, In: everywhere})
	got, up := serve(t, k, request("/?a=1&b=%32", "c=3", "Api.Key: k1", "ApiKey: k1x", form, "Cookie: APIKEY=k1; d=4"))
	require.Equal(t, "anonymous", got.reason)
	require.Equal(t, []string{"k1"}, up.request.Header["Api.key"], "another name: it has a dot where apikey has nothing")
	up.request.Header.Del("Api.key")
	requireHidden(t, up)
	k = newKeyAuth(t, keyauth.Config{HideCredentials: true, Anonymous: guest, AnonymousOnInvalid: true, In: everywhere})
	got, up = serve(t, k, request("/?a=1&b=%32&apikey=k1&apikey=k1", "c=3&apikey=k1", form))
	require.Equal(t, "anonymous", got.reason)
	requireHidden(t, up)
	// Skipped: the one who was authenticated by another policy, and the preflight.
	x, r := policy.Ensure(request("/?a=1&b=%32&apikey=k1", "c=3&apikey=k1", form, "Cookie: d=4"))
	x.SetIdentity(policy.Identity{Consumer: guest, Kind: "other"})
	got, up = serve(t, newKeyAuth(t, keyauth.Config{HideCredentials: true, Anonymous: guest, In: everywhere}), r)
	require.Equal(t, "already_authenticated", got.reason)
	requireHidden(t, up)
}

// requireHidden asserts that what reached the upstream has no k1 in it, and is otherwise /?a=1&b=%32 with the body c=3.
func requireHidden(t *testing.T, up *upstream) {
	t.Helper()
	require.True(t, up.reached)
	r := up.request
	require.Equal(t, "a=1&b=%32", r.URL.RawQuery)
	require.Equal(t, "/?a=1&b=%32", r.RequestURI)
	require.Equal(t, "c=3", up.body)
	require.Equal(t, int64(3), r.ContentLength)
	if c := r.Header["Cookie"]; c != nil {
		require.Equal(t, []string{"d=4"}, c)
	}
	require.NotContains(t, fmt.Sprint(r.Header, r.URL, r.Form, r.PostForm), "k1")
	require.NoError(t, r.ParseForm())
	require.Empty(t, r.Form["apikey"])
}

// TestQueryIsReadOneWay: a semicolon or an escape that is none does not make gateway and upstream see different keys.
func TestQueryIsReadOneWay(t *testing.T) {
	t.Parallel()
	k := newKeyAuth(t, keyauth.Config{In: keyauth.Header | keyauth.Query})
	for _, query := range []string{"a;apikey=k1", "apikey=k1;a", "apikey=k1;apikey=k2", "%u0061pikey=k1", "apikey=%k1", "a;%apikey=k1"} {
		for _, header := range [][]string{nil, {"apikey: k1"}} {
			r := request("/", "", header...)
			r.URL.RawQuery = query
			got, up := serve(t, k, r)
			require.Equal(t, answer{400, "Malformed query string", nil, "ambiguous_query"}, got, query)
			require.False(t, up.reached)
		}
	}
	got, up := serve(t, k, request("/?a;b=1&apikey=k1", ""))
	require.Equal(t, 200, got.status)
	require.Equal(t, "a;b=1&apikey=k1", up.request.URL.RawQuery, "what is not about the key passes as it is")
}

// TestStoreErrorsFailClosed: 503, never a guest, and no word of the store's to the client.
func TestStoreErrorsFailClosed(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.7:6379: refused, key k1")
	for _, err := range []error{cause, context.DeadlineExceeded, context.Canceled, auth.Unavailable(cause)} {
		store := auth.KeyStoreFunc(func(context.Context, string) (auth.Credential, bool, error) {
			return auth.Credential{ID: "x", Consumer: guest}, true, err
		})
		for _, anonymous := range []bool{false, true} {
			c := keyauth.Config{Consumers: store}
			if anonymous {
				c.Anonymous, c.AnonymousOnInvalid = guest, true
			}
			k := newKeyAuth(t, c)
			got, up := serve(t, k, request("/", "", "apikey: k1"))
			require.Equal(t, answer{503, "Authentication is currently unavailable", nil, "store_unavailable"}, got)
			require.False(t, up.reached)
			_, failed := k.Authenticate(request("/", "", "apikey: k1"))
			require.ErrorIs(t, failed, err, "for logs")
		}
	}
}

// TestRandomKeysAreBounded: a flood of unknown keys fills no memory, and asks the store no more than once per key and
// time to live.
func TestRandomKeysAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		store := auth.KeyStoreFunc(func(_ context.Context, key string) (auth.Credential, bool, error) {
			asked++
			return auth.Credential{ID: "x", Consumer: guest}, key == "good", nil
		})
		cache := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: store, Size: 100}))
		k := newKeyAuth(t, keyauth.Config{Consumers: cache})
		status := func(key string) int {
			got, _ := serve(t, k, request("/", "", "apikey: "+key))
			return got.status
		}
		require.Equal(t, 200, status("good"))
		for i := range 5000 {
			require.Equal(t, 401, status("bad-"+strconv.Itoa(i)))
		}
		require.LessOrEqual(t, cache.Len(), 101)
		asked = 0
		for range 100 {
			require.Equal(t, 401, status("bad-4999"))
			require.Equal(t, 200, status("good"))
		}
		require.Zero(t, asked)
		time.Sleep(auth.DefaultKeyCacheNegativeTTL)
		require.Equal(t, 401, status("bad-4999"))
		require.Equal(t, 1, asked)
	})
}

// TestRevocationTakesEffect within the time each store states: the next request, or the cache's time to live.
func TestRevocationTakesEffect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := &auth.MemoryKeys{}
		require.NoError(t, keys.Add(auth.Key{Value: "old", ID: "old", Consumer: guest}))
		direct := newKeyAuth(t, keyauth.Config{Consumers: keys})
		cached := newKeyAuth(t, keyauth.Config{Consumers: policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: keys, TTL: time.Minute}))})
		status := func(k *keyauth.KeyAuth, key string) int {
			got, _ := serve(t, k, request("/", "", "apikey: "+key))
			return got.status
		}
		require.Equal(t, 200, status(direct, "old"))
		require.Equal(t, 200, status(cached, "old"))
		require.NoError(t, keys.Add(auth.Key{Value: "new", ID: "new", Consumer: guest}))
		require.Equal(t, 1, keys.Revoke("old"))
		require.Equal(t, 401, status(direct, "old"), "the next request")
		require.Equal(t, 200, status(direct, "new"))
		time.Sleep(time.Minute - 1)
		require.Equal(t, 200, status(cached, "old"))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, status(cached, "old"))
		require.Equal(t, 200, status(cached, "new"))
	})
}

// TestNoSecretIsPrinted: no key in configurations, policies, errors and decision records, however they are printed.
func TestNoSecretIsPrinted(t *testing.T) {
	t.Parallel()
	const secret, wrong = "s3cr3t-v4lue", "wr0ng-v4lue"
	c := keyauth.Config{Consumers: auth.Static{secret: {ID: "1"}}, In: everywhere}
	k := newKeyAuth(t, c)
	x, r := policy.Ensure(request("/", "", "apikey: "+secret))
	k.Wrap(&upstream{}).ServeHTTP(httptest.NewRecorder(), r)
	id, err := k.Authenticate(r)
	require.NoError(t, err)
	y, r := policy.Ensure(request("/", "", "apikey: "+wrong))
	w := httptest.NewRecorder()
	k.Wrap(&upstream{}).ServeHTTP(w, r)
	_, refused := k.Authenticate(r)
	require.Error(t, refused)
	_, twice := k.Authenticate(request("/?apikey="+wrong, "", "apikey: "+wrong))
	require.Error(t, twice)

	var out bytes.Buffer
	out.Write(w.Body.Bytes())
	for _, v := range []any{c, &c, k, *k, id, *id, x.Decisions(), y.Decisions(), refused, twice, []error{refused}, y.Identity()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", slog.Any("v", v))
		}
	}
	require.Contains(t, out.String(), "invalid_credential")
	require.NotContains(t, out.String(), "v4lue")
}
