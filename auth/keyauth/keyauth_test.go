package keyauth_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/gatehouse-go/gateway/policy"
)

var (
	consumers = auth.Static{
		"k1": {ID: "1", Username: "ann", Groups: []string{"staff"}},
		"k2": {ID: "2", Username: "bob"},
	}
	guest = &policy.Consumer{ID: "guest"}
)

const (
	everywhere = keyauth.Header | keyauth.Query | keyauth.Cookie | keyauth.Body
	form       = "Content-Type: application/x-www-form-urlencoded"
	jsonCT     = "Content-Type: application/json"
)

func newKeyAuth(t testing.TB, c keyauth.Config) *keyauth.KeyAuth {
	t.Helper()
	if c.Consumers == nil {
		c.Consumers = consumers
	}
	k, err := keyauth.New(c)
	require.NoError(t, err)
	return k
}

// request makes a request with header fields given as "Name: value", and a body when there is one.
func request(target, body string, header ...string) *http.Request {
	method := http.MethodGet
	var reader io.Reader
	if body != "" {
		method, reader = http.MethodPost, strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// upstream is the innermost handler; it keeps what reached it.
type upstream struct {
	reached  bool
	request  *http.Request
	identity policy.Identity
	body     string
}

func (u *upstream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	u.reached, u.request = true, r
	u.identity = policy.ExchangeFrom(r.Context()).Identity()
	b, err := io.ReadAll(r.Body)
	u.body = string(b)
	if err != nil {
		u.body = "error: " + err.Error()
	}
}

// answer is what a client gets.
type answer struct {
	status    int
	message   string
	challenge []string
	reason    string
}

// serve sends r through k.
func serve(t testing.TB, k *keyauth.KeyAuth, r *http.Request) (answer, *upstream) {
	t.Helper()
	u, w := &upstream{}, httptest.NewRecorder()
	x, r := policy.Ensure(r)
	k.Wrap(u).ServeHTTP(w, r)
	a := answer{status: w.Code, challenge: w.Header()["Www-Authenticate"]}
	if !u.reached {
		var body struct {
			Message string `json:"message"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		a.message = body.Message
	}
	require.Len(t, x.Decisions(), 1)
	a.reason = x.Decisions()[0].Reason
	return a, u
}

func TestPolicyWithoutServer(t *testing.T) {
	t.Parallel()
	keys, err := keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1", Groups: []string{"staff"}}}})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	_, err = keys.Authenticate(r)
	require.ErrorIs(t, err, auth.ErrNoCredential)
	r.Header.Set("Apikey", "wrong")
	_, err = keys.Authenticate(r)
	require.ErrorIs(t, err, auth.ErrInvalidCredential)
	r.Header.Set("Apikey", "k")
	id, err := keys.Authenticate(r)
	require.NoError(t, err)
	require.Equal(t, "1", id.Consumer.ID)
	staff, err := acl.New(acl.Config{Allow: []string{"ops"}})
	require.NoError(t, err)
	var e *policy.Error
	require.ErrorAs(t, staff.Authorize(id), &e)
	require.Equal(t, http.StatusForbidden, e.Status)
}

func TestKeyAuth(t *testing.T) {
	t.Parallel()
	missing := answer{401, "No API key found in request", []string{"Key"}, "no_credential"}
	duplicate := answer{401, "Duplicate API key found", []string{"Key"}, "duplicate_credential"}
	invalid := answer{401, "Unauthorized", []string{"Key"}, "invalid_credential"}
	passed := answer{200, "", nil, "authenticated"}
	multipart := "--B\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nk1\r\n--B--\r\n"
	const multi = "Content-Type: multipart/form-data; boundary=B"
	tests := []struct {
		name   string
		config keyauth.Config
		target string
		body   string
		header []string
		want   answer
	}{
		{"no key", keyauth.Config{}, "/", "", nil, missing},
		{"empty key", keyauth.Config{}, "/", "", []string{"apikey: "}, missing},
		{"valid", keyauth.Config{}, "/", "", []string{"apikey: k1"}, passed},
		{"valid, name in another case", keyauth.Config{}, "/", "", []string{"ApiKey: k1"}, passed},
		{"wrong", keyauth.Config{}, "/", "", []string{"apikey: k3"}, invalid},
		{"wrong case", keyauth.Config{}, "/", "", []string{"apikey: K1"}, invalid},
		{"twice", keyauth.Config{}, "/", "", []string{"apikey: k1", "apikey: k1"}, duplicate},
		{"nobody is known", keyauth.Config{Consumers: auth.Static{}}, "/", "", []string{"apikey: k1"}, invalid},
		{"query is off", keyauth.Config{}, "/?apikey=k1", "", nil, missing},
		{"cookie is off", keyauth.Config{}, "/", "", []string{"Cookie: apikey=k1"}, missing},
		{"body is off", keyauth.Config{}, "/", "apikey=k1", []string{form}, missing},
		{"header is off", keyauth.Config{In: keyauth.Query}, "/", "", []string{"apikey: k1"}, missing},

		{"own name", keyauth.Config{Names: []string{"X-Key", "api_key"}}, "/", "", []string{"x-key: k1"}, passed},
		{"own name, underscore", keyauth.Config{Names: []string{"X-Key", "api_key"}}, "/", "", []string{"API_KEY: k1"}, passed},
		{"own name, wrong key", keyauth.Config{Names: []string{"X-Key", "api_key"}}, "/", "", []string{"API_KEY: x"}, invalid},
		{"own names, default is off", keyauth.Config{Names: []string{"X-Key", "api_key"}}, "/", "", []string{"apikey: k1"}, missing},
		{"own names, both", keyauth.Config{Names: []string{"X-Key", "api_key"}}, "/", "", []string{"x-key: k1", "api_key: k1"}, duplicate},

		{"query", keyauth.Config{In: everywhere}, "/?apikey=k1", "", nil, passed},
		{"query, empty", keyauth.Config{In: everywhere}, "/?apikey=", "", nil, missing},
		{"query, wrong", keyauth.Config{In: everywhere}, "/?apikey=k3", "", nil, invalid},
		{"query twice", keyauth.Config{In: everywhere}, "/?apikey=k1&apikey=k1", "", nil, duplicate},
		{"query, ambiguous", keyauth.Config{In: everywhere}, "/?a=1;apikey=k1", "", nil, answer{400, "Malformed query string", nil, "ambiguous_query"}},
		{"cookie", keyauth.Config{In: everywhere}, "/", "", []string{"Cookie: a=1; apikey=k1"}, passed},
		{"cookie, wrong", keyauth.Config{In: everywhere}, "/", "", []string{"Cookie: apikey=k3"}, invalid},
		{"header and cookie", keyauth.Config{In: everywhere}, "/", "", []string{"apikey: k1", "Cookie: apikey=k1"}, duplicate},
		{"form", keyauth.Config{In: everywhere}, "/", "a=1&apikey=k1", []string{form}, passed},
		{"form, wrong", keyauth.Config{In: everywhere}, "/", "apikey=k3", []string{form}, invalid},
		{"form, twice", keyauth.Config{In: everywhere}, "/", "apikey=k1&apikey=k2", []string{form}, duplicate},
		{"form, array names", keyauth.Config{In: everywhere}, "/", "apikey[]=k1&apikey[1]=k1", []string{form}, missing},
		{"form, key in the header", keyauth.Config{In: everywhere}, "/", "a=1", []string{form, "apikey: k1"}, passed},
		{"form, key in the query", keyauth.Config{In: everywhere}, "/?apikey=k1", "a=1", []string{form}, passed},
		{"json", keyauth.Config{In: everywhere}, "/", `{"apikey":"k1"}`, []string{jsonCT}, passed},
		{"json, wrong", keyauth.Config{In: everywhere}, "/", `{"apikey":"k3"}`, []string{jsonCT}, invalid},
		{"json, a list", keyauth.Config{In: everywhere}, "/", `{"apikey":["k1","k1"]}`, []string{jsonCT}, duplicate},
		{"json, malformed", keyauth.Config{In: everywhere}, "/", `{"apikey":"k1"`, []string{jsonCT}, answer{400, "Malformed request body", nil, "ambiguous_body"}},
		{"multipart", keyauth.Config{In: everywhere}, "/", multipart, []string{multi}, passed},
		{"unsupported type", keyauth.Config{In: everywhere}, "/", "apikey=k1", []string{"Content-Type: text/plain"}, missing},
		{"compressed", keyauth.Config{In: everywhere}, "/", "xyz", []string{form, "Content-Encoding: gzip"}, answer{415, "Unsupported encoding of the request body", nil, "unsupported_body"}},
		{"large body", keyauth.Config{In: everywhere, MaxBody: 8}, "/", "apikey=k1", []string{form}, answer{413, "Request body too large", nil, "body_too_large"}},

		{"realm", keyauth.Config{Realm: `my "api"`}, "/", "", nil, answer{401, missing.message, []string{`Key realm="my \"api\""`}, missing.reason}},
		{"own text, missing", keyauth.Config{MissingMessage: "m", DuplicateMessage: "d", InvalidMessage: "i"}, "/", "", nil, answer{401, "m", []string{"Key"}, missing.reason}},
		{"own text, duplicate", keyauth.Config{MissingMessage: "m", DuplicateMessage: "d", InvalidMessage: "i"}, "/", "", []string{"apikey: k1", "apikey: k1"}, answer{401, "d", []string{"Key"}, duplicate.reason}},
		{"own text, invalid", keyauth.Config{MissingMessage: "m", DuplicateMessage: "d", InvalidMessage: "i"}, "/", "", []string{"apikey: x"}, answer{401, "i", []string{"Key"}, invalid.reason}},

		{"guest", keyauth.Config{Anonymous: guest}, "/", "", nil, answer{200, "", nil, "anonymous"}},
		{"guest with an empty key", keyauth.Config{Anonymous: guest}, "/", "", []string{"apikey: "}, answer{200, "", nil, "anonymous"}},
		{"guests allowed, valid", keyauth.Config{Anonymous: guest}, "/", "", []string{"apikey: k1"}, passed},
		{"guests allowed, wrong", keyauth.Config{Anonymous: guest}, "/", "", []string{"apikey: x"}, invalid},
		{"guests allowed, twice", keyauth.Config{Anonymous: guest}, "/", "", []string{"apikey: k1", "apikey: k1"}, duplicate},
		{"guests also when wrong", keyauth.Config{Anonymous: guest, AnonymousOnInvalid: true}, "/", "", []string{"apikey: x"}, answer{200, "", nil, "anonymous"}},
		{"guests also when wrong, ambiguous", keyauth.Config{Anonymous: guest, AnonymousOnInvalid: true, In: keyauth.Query}, "/?a;apikey=k1", "", nil, answer{400, "Malformed query string", nil, "ambiguous_query"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, up := serve(t, newKeyAuth(t, tt.config), request(tt.target, tt.body, tt.header...))
			require.Equal(t, tt.want, got)
			require.Equal(t, got.status == 200, up.reached)
			if !up.reached {
				return
			}
			require.Equal(t, tt.body, up.body, "the body is there for those inside")
			switch got.reason {
			case "anonymous":
				require.Equal(t, policy.Identity{Consumer: guest, Kind: "anonymous", Anonymous: true}, up.identity)
			default:
				require.Equal(t, "ann", up.identity.Consumer.Username)
				require.Equal(t, []string{"staff"}, up.identity.Consumer.Groups)
				require.Equal(t, "key-auth", up.identity.Kind)
				require.NotEmpty(t, up.identity.Credential)
				require.NotEqual(t, "k1", up.identity.Credential)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	preflight := func() *http.Request {
		r := request("/", "", "Origin: https://a.example", "Access-Control-Request-Method: PUT")
		r.Method = http.MethodOptions
		return r
	}
	got, _ := serve(t, newKeyAuth(t, keyauth.Config{}), preflight())
	require.Equal(t, 401, got.status)
	got, up := serve(t, newKeyAuth(t, keyauth.Config{SkipPreflight: true}), preflight())
	require.Equal(t, 200, got.status)
	require.Equal(t, "preflight", got.reason)
	require.True(t, up.identity.IsZero())
	options := request("/", "")
	options.Method = http.MethodOptions
	got, _ = serve(t, newKeyAuth(t, keyauth.Config{SkipPreflight: true}), options)
	require.Equal(t, 401, got.status, "an OPTIONS request that is no preflight")
	got, up = serve(t, newKeyAuth(t, keyauth.Config{SkipOptions: true}), options)
	require.Equal(t, 200, got.status)
	require.Equal(t, "preflight", got.reason)
	require.True(t, up.identity.IsZero())
	got, _ = serve(t, newKeyAuth(t, keyauth.Config{SkipOptions: true}), request("/", ""))
	require.Equal(t, 401, got.status, "only OPTIONS passes")
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	k := newKeyAuth(t, keyauth.Config{})
	r := request("/pkg.Service/Method", "x", "Content-Type: application/grpc")
	r.ProtoMajor, r.ProtoMinor = 2, 0
	w := httptest.NewRecorder()
	k.Wrap(&upstream{}).ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "16", w.Header().Get("Grpc-Status"))
	require.Equal(t, "No API key found in request", w.Header().Get("Grpc-Message"))
	r.Header.Set("Apikey", "k1")
	got, up := serve(t, k, r)
	require.Equal(t, 200, got.status)
	require.Equal(t, "1", up.identity.Consumer.ID)
}

func TestStoreChangesWhileServing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := &auth.MemoryKeys{}
		k := newKeyAuth(t, keyauth.Config{Consumers: keys})
		status := func() int {
			got, _ := serve(t, k, request("/", "", "apikey: k"))
			return got.status
		}
		require.Equal(t, 401, status())
		require.NoError(t, keys.Add(auth.Key{Value: "k", ID: "c-1", Consumer: guest, Expires: time.Now().Add(time.Minute)}))
		got, up := serve(t, k, request("/", "", "apikey: k"))
		require.Equal(t, 200, got.status)
		require.Equal(t, policy.Identity{Consumer: guest, Kind: "key-auth", Credential: "c-1"}, up.identity)
		keys.Disable("c-1")
		require.Equal(t, 401, status())
		keys.Enable("c-1")
		time.Sleep(time.Minute - 1)
		require.Equal(t, 200, status())
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, status(), "expired")
	})
}

func TestStoreMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]auth.Credential{
		"no consumer":   {ID: "c"},
		"no ID":         {ID: "c", Consumer: &policy.Consumer{Username: "ann"}},
		"zero consumer": {ID: "c", Consumer: &policy.Consumer{}},
	} {
		store := auth.KeyStoreFunc(func(context.Context, string) (auth.Credential, bool, error) { return c, true, nil })
		got, up := serve(t, newKeyAuth(t, keyauth.Config{Consumers: store, Anonymous: guest, AnonymousOnInvalid: true}), request("/", "", "apikey: k"))
		require.Equal(t, answer{503, "Authentication is currently unavailable", nil, "store_unavailable"}, got, name)
		require.False(t, up.reached)
	}
}

func TestStoreGetsTheContextOfTheRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	var seen any
	store := auth.KeyStoreFunc(func(ctx context.Context, _ string) (auth.Credential, bool, error) {
		seen = ctx.Value(key{})
		return auth.Credential{}, false, ctx.Err()
	})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	cancel()
	got, _ := serve(t, newKeyAuth(t, keyauth.Config{Consumers: store}), request("/", "", "apikey: k").WithContext(ctx))
	require.Equal(t, 503, got.status)
	require.Equal(t, "v", seen)
}

func TestMethod(t *testing.T) {
	t.Parallel()
	var method auth.Method = newKeyAuth(t, keyauth.Config{Realm: "r"})
	require.Equal(t, "key-auth", method.Name())
	require.Equal(t, `Key realm="r"`, method.Challenge())
	require.Equal(t, policy.Contract{Provides: []policy.Fact{policy.Authenticated}}, newKeyAuth(t, keyauth.Config{}).Contract())
	require.True(t, newKeyAuth(t, keyauth.Config{In: keyauth.Body}).Contract().BuffersRequest)
	r := request("/", "", "apikey: k1")
	method.Hide(r)
	require.Equal(t, "k1", r.Header.Get("Apikey"), "hides only when told to")
}

func TestZeroRefuses(t *testing.T) {
	t.Parallel()
	k := new(keyauth.KeyAuth)
	got, up := serve(t, k, request("/", "", "apikey: k1"))
	require.Equal(t, 503, got.status)
	require.False(t, up.reached)
	require.Equal(t, policy.Contract{Provides: []policy.Fact{policy.Authenticated}}, k.Contract())
}

func TestWithAnyOf(t *testing.T) {
	t.Parallel()
	internal := newKeyAuth(t, keyauth.Config{Consumers: auth.Static{"in": {ID: "7"}}, Names: []string{"X-Internal-Key"}, HideCredentials: true, Realm: "internal"})
	public := newKeyAuth(t, keyauth.Config{HideCredentials: true})
	login := policy.Must(auth.AnyOf(internal, public, auth.Anonymous(guest)))
	tests := []struct {
		name   string
		header []string
		status int
		who    string
	}{
		{"first", []string{"x-internal-key: in"}, 200, "7"},
		{"second", []string{"apikey: k1"}, 200, "1"},
		{"both: the first counts", []string{"apikey: k1", "x-internal-key: in"}, 200, "7"},
		{"first wrong, second right", []string{"apikey: k1", "x-internal-key: x"}, 401, ""},
		{"neither", nil, 200, "guest"},
		{"second wrong", []string{"apikey: x"}, 401, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, w := &upstream{}, httptest.NewRecorder()
			login.Wrap(u).ServeHTTP(w, request("/", "", tt.header...))
			require.Equal(t, tt.status, w.Code)
			if w.Code != 200 {
				require.Equal(t, []string{`Key realm="internal"`, "Key"}, w.Header()["Www-Authenticate"])
				return
			}
			require.Equal(t, tt.who, u.identity.Consumer.ID)
			require.Empty(t, u.request.Header, "both are hidden, whichever counted")
		})
	}
}

func TestOneInstanceManyHandlers(t *testing.T) {
	t.Parallel()
	k := newKeyAuth(t, keyauth.Config{})
	a, b := &upstream{}, &upstream{}
	ha, hb := k.Wrap(a), k.Wrap(b)
	ha.ServeHTTP(httptest.NewRecorder(), request("/", "", "apikey: k1"))
	hb.ServeHTTP(httptest.NewRecorder(), request("/", "", "apikey: k2"))
	require.Equal(t, "1", a.identity.Consumer.ID)
	require.Equal(t, "2", b.identity.Consumer.ID)
}

func TestErrorsAreShared(t *testing.T) {
	t.Parallel()
	k := newKeyAuth(t, keyauth.Config{})
	_, first := k.Authenticate(request("/", "", "apikey: x"))
	_, second := k.Authenticate(request("/", "", "apikey: y"))
	require.Same(t, errors.Unwrap(first), errors.Unwrap(second))
	serve(t, k, request("/", "", "apikey: x"))
	var e *policy.Error
	require.ErrorAs(t, second, &e)
	require.Equal(t, http.Header{"Www-Authenticate": {"Key"}}, e.Header, "answering does not change them")
}
