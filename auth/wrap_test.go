package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

var (
	ann   = &policy.Consumer{ID: "1", Username: "ann"}
	bob   = &policy.Consumer{ID: "2", Username: "bob"}
	guest = &policy.Consumer{ID: "guest"}
)

func TestWrap(t *testing.T) {
	t.Parallel()
	annID := &policy.Identity{Consumer: ann, Kind: "test", Credential: "c1"}
	judged := &policy.Error{Status: http.StatusBadRequest, Code: "odd", Err: auth.ErrNoCredential}
	tests := []struct {
		name    string
		id      *policy.Identity
		err     error
		options auth.Options

		status    int // 200: passed
		code      string
		detail    string
		who       *policy.Consumer
		anonymous bool
	}{
		{name: "valid", id: annID, status: 200, code: "authenticated", who: ann},
		{name: "valid, guests allowed", id: annID, options: auth.Options{Anonymous: guest}, status: 200, code: "authenticated", who: ann},
		{name: "absent", err: auth.NoCredential("x", "Test"), status: 401, code: "no_credential"},
		{name: "absent, bare sentinel", err: auth.ErrNoCredential, status: 401, code: "no_credential"},
		{name: "absent, guests", err: auth.NoCredential("x", "Test"), options: auth.Options{Anonymous: guest}, status: 200, code: "anonymous", who: guest, anonymous: true},
		{name: "wrong", err: auth.InvalidCredential(nil, "x", "Test"), status: 401, code: "invalid_credential"},
		{name: "wrong, bare sentinel", err: fmt.Errorf("test: %w", auth.ErrInvalidCredential), status: 401, code: "invalid_credential"},
		{name: "wrong, guests", err: auth.InvalidCredential(nil, "x", "Test"), options: auth.Options{Anonymous: guest}, status: 401, code: "invalid_credential"},
		{name: "wrong, guests also then", err: auth.InvalidCredential(auth.ErrDuplicateCredential, "x", "Test"), options: auth.Options{Anonymous: guest, AnonymousOnInvalid: true}, status: 200, code: "anonymous", detail: "duplicate_credential", who: guest, anonymous: true},
		{name: "wrong, bare, guests also then", err: auth.ErrInvalidCredential, options: auth.Options{Anonymous: guest, AnonymousOnInvalid: true}, status: 200, code: "anonymous", detail: "invalid_credential", who: guest, anonymous: true},
		{name: "down", err: errDown, status: 503, code: "store_unavailable"},
		{name: "down, never a guest", err: auth.Unavailable(errDown), options: auth.Options{Anonymous: guest, AnonymousOnInvalid: true}, status: 503, code: "store_unavailable"},
		{name: "down, bare, never a guest", err: errDown, options: auth.Options{Anonymous: guest, AnonymousOnInvalid: true}, status: 503, code: "store_unavailable"},
		{name: "cannot be judged, never a guest", err: judged, options: auth.Options{Anonymous: guest, AnonymousOnInvalid: true}, status: 400, code: "odd"},
		{name: "neither identity nor error", options: auth.Options{Anonymous: guest}, status: 503, code: "store_unavailable"},
		{name: "zero identity", id: &policy.Identity{}, options: auth.Options{Anonymous: guest}, status: 503, code: "store_unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hidden := 0
			m := method{name: "test", id: tt.id, err: tt.err, challenge: "Test", hidden: &hidden}
			x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
			w, seen := run(func(next http.Handler) http.Handler { return auth.Wrap(m, tt.options, next) }, r)

			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.status == 200, seen != nil, "passed")
			d := x.Decisions()
			require.Len(t, d, 1)
			require.Equal(t, "test", d[0].Policy)
			require.Equal(t, tt.code, d[0].Reason)
			require.Equal(t, tt.detail, d[0].Detail)
			require.Equal(t, tt.who, x.Consumer())
			require.Equal(t, tt.anonymous, x.Identity().Anonymous)
			if tt.status == 200 {
				require.Equal(t, 1, hidden, "whoever passes, the credential is hidden")
				require.Equal(t, policy.Allowed, d[0].Verdict)
				return
			}
			require.Zero(t, hidden)
			require.Equal(t, policy.Refused, d[0].Verdict)
			require.NotContains(t, w.Body.String(), "10.0.0.7")
			if tt.status == 401 {
				require.Equal(t, []string{"Test"}, w.Header()["Www-Authenticate"])
			} else {
				require.Empty(t, w.Header()["Www-Authenticate"])
			}
		})
	}
}

func TestWrapPreflight(t *testing.T) {
	t.Parallel()
	refuse := method{name: "test", err: auth.ErrNoCredential}
	tests := []struct {
		name   string
		method string
		header map[string]string
		passes bool
	}{
		{"preflight", http.MethodOptions, map[string]string{"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}, true},
		{"plain OPTIONS", http.MethodOptions, nil, false},
		{"OPTIONS with Origin", http.MethodOptions, map[string]string{"Origin": "https://a.example"}, false},
		{"OPTIONS without Origin", http.MethodOptions, map[string]string{"Access-Control-Request-Method": "PUT"}, false},
		{"not OPTIONS", http.MethodGet, map[string]string{"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, skip := range []bool{false, true} {
				r := httptest.NewRequest(tt.method, "/", nil)
				for k, v := range tt.header {
					r.Header.Set(k, v)
				}
				_, x := run(func(next http.Handler) http.Handler {
					return auth.Wrap(refuse, auth.Options{SkipPreflight: skip}, next)
				}, r)
				require.Equal(t, tt.passes && skip, x != nil)
				if x != nil {
					require.Equal(t, []policy.Decision{{Policy: "test", Verdict: policy.Skipped, Reason: "preflight"}}, x.Decisions())
					require.True(t, x.Identity().IsZero())
				}
			}
		})
	}
}

// TestWrapTwice holds the rules of composition: without Anonymous each method must pass, with Anonymous one is enough.
func TestWrapTwice(t *testing.T) {
	t.Parallel()
	yes := func(name string, c *policy.Consumer) method {
		return method{name: name, id: &policy.Identity{Consumer: c, Kind: name}, challenge: name}
	}
	no := func(name string) method { return method{name: name, err: auth.ErrNoCredential, challenge: name} }
	tests := []struct {
		name         string
		outer, inner method
		anonymous    bool
		passes       bool
		who          *policy.Consumer
		reasons      []string
	}{
		{"and: both", yes("a", ann), yes("b", bob), false, true, bob, []string{"authenticated", "authenticated"}},
		{"and: first only", yes("a", ann), no("b"), false, false, nil, nil},
		{"and: second only", no("a"), yes("b", bob), false, false, nil, nil},
		{"or: both", yes("a", ann), yes("b", bob), true, true, ann, []string{"authenticated", "already_authenticated"}},
		{"or: first only", yes("a", ann), no("b"), true, true, ann, []string{"authenticated", "already_authenticated"}},
		{"or: second only", no("a"), yes("b", bob), true, true, bob, []string{"anonymous", "authenticated"}},
		{"or: none", no("a"), no("b"), true, true, guest, []string{"anonymous", "anonymous"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := auth.Options{}
			if tt.anonymous {
				o.Anonymous = guest
			}
			hidden := 0
			tt.inner.hidden = &hidden
			_, x := run(func(next http.Handler) http.Handler {
				return auth.Wrap(tt.outer, o, auth.Wrap(tt.inner, o, next))
			}, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, tt.passes, x != nil)
			if x == nil {
				return
			}
			require.Equal(t, tt.who, x.Consumer())
			require.Equal(t, 1, hidden, "also when it steps aside")
			var reasons []string
			for _, d := range x.Decisions() {
				reasons = append(reasons, d.Reason)
			}
			require.Equal(t, tt.reasons, reasons)
		})
	}
}

func TestWrapAnonymousChallenges(t *testing.T) {
	t.Parallel()
	o := auth.Options{Anonymous: guest}
	refuse := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.Refuse(w, r, "inner", &policy.Error{Status: http.StatusUnauthorized})
	})
	w := httptest.NewRecorder()
	auth.Wrap(method{name: "a", err: auth.ErrNoCredential, challenge: "A"}, o,
		auth.Wrap(method{name: "b", err: auth.ErrNoCredential, challenge: "B"}, o, refuse),
	).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, []string{"A", "B"}, w.Header()["Www-Authenticate"])
}

func TestWrapReportsToErrorHandler(t *testing.T) {
	t.Parallel()
	var got error
	entry := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusTeapot)
	}}))
	w, _ := run(func(next http.Handler) http.Handler {
		return entry.Wrap(auth.Wrap(method{name: "test", err: errDown}, auth.Options{}, next))
	}, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusTeapot, w.Code)
	require.ErrorIs(t, got, errDown)
	var e *policy.Error
	require.ErrorAs(t, got, &e)
}

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, auth.Options{}.Validate("x"))
	require.NoError(t, auth.Options{Anonymous: guest, AnonymousOnInvalid: true, SkipPreflight: true}.Validate("x"))
	require.ErrorContains(t, auth.Options{AnonymousOnInvalid: true}.Validate("x"), "x: AnonymousOnInvalid")
	require.ErrorContains(t, auth.Options{Anonymous: &policy.Consumer{Username: "nobody"}}.Validate("x"), `x: Anonymous: policy: Consumer.ID is empty (Username "nobody")`)
	err := auth.Options{Anonymous: &policy.Consumer{ID: "1", Username: "a\nb", Groups: []string{"a,b"}}}.Validate("x")
	require.ErrorContains(t, err, `x: Anonymous: policy: Consumer.Username "a\nb" cannot be sent in a header field`)
	require.ErrorContains(t, err, `x: Anonymous: policy: Consumer.Groups[0] "a,b" has a comma`)
}

func TestAnyOf(t *testing.T) {
	t.Parallel()
	yes := method{name: "yes", id: &policy.Identity{Consumer: ann, Kind: "yes"}, challenge: "Yes"}
	absent := method{name: "absent", err: auth.ErrNoCredential, challenge: "Absent"}
	wrong := method{name: "wrong", err: auth.InvalidCredential(auth.ErrDuplicateCredential, "Twice", "Wrong"), challenge: "Wrong"}
	bareWrong := method{name: "bare", err: auth.ErrInvalidCredential, challenge: "Bare"}
	down := method{name: "down", err: errDown, challenge: "Down"}
	odd := method{name: "odd", err: &policy.Error{Status: 400, Code: "odd", Err: auth.ErrNoCredential}, challenge: "Odd"}
	tests := []struct {
		name       string
		methods    []auth.Method
		status     int
		code       string
		detail     string
		challenges []string
	}{
		{"first", []auth.Method{yes, wrong}, 200, "authenticated", "yes", nil},
		{"absent, then valid", []auth.Method{absent, yes}, 200, "authenticated", "yes", nil},
		{"wrong, then valid: refused", []auth.Method{wrong, yes}, 401, "duplicate_credential", "", []string{"Wrong", "Yes"}},
		{"wrong without words", []auth.Method{bareWrong, yes}, 401, "invalid_credential", "", []string{"Bare", "Yes"}},
		{"down, then valid: refused", []auth.Method{down, yes}, 503, "store_unavailable", "", nil},
		{"cannot be judged", []auth.Method{odd, yes}, 400, "odd", "", nil},
		{"none", []auth.Method{absent, absent}, 401, "no_credential", "", []string{"Absent"}},
		{"none, guests", []auth.Method{absent, auth.Anonymous(guest)}, 200, "anonymous", "", nil},
		{"wrong, guests", []auth.Method{wrong, auth.Anonymous(guest)}, 401, "duplicate_credential", "", []string{"Wrong"}},
		{"down, guests", []auth.Method{down, auth.Anonymous(guest)}, 503, "store_unavailable", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := policy.Must(auth.AnyOf(tt.methods...))
			x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
			w, seen := run(a.Wrap, r)
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.status == 200, seen != nil)
			require.Equal(t, tt.challenges, w.Header()["Www-Authenticate"])
			d := x.Decisions()
			require.Len(t, d, 1)
			require.Equal(t, "any-of", d[0].Policy)
			require.Equal(t, tt.code, d[0].Reason)
			require.Equal(t, tt.detail, d[0].Detail)
		})
	}
}

func TestAnyOfWords(t *testing.T) {
	t.Parallel()
	wrong := auth.InvalidCredential(nil, "Wrong password", "Basic")
	a := policy.Must(auth.AnyOf(method{name: "a", err: wrong, challenge: "Basic"}, method{name: "b", challenge: "Key"}))
	_, err := a.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
	var e *policy.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "Wrong password", e.Message, "the method's own")
	require.Equal(t, []string{"Basic", "Key"}, e.Header["Www-Authenticate"])
	require.Equal(t, []string{"Basic"}, wrong.Header["Www-Authenticate"], "a shared refusal is not changed")
	require.ErrorIs(t, err, auth.ErrInvalidCredential)
	require.Equal(t, "Basic, Key", a.Challenge())

	wrapped := fmt.Errorf("user 7: %w", wrong)
	a = policy.Must(auth.AnyOf(method{name: "a", err: wrapped, challenge: "Basic"}))
	_, err = a.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorIs(t, err, wrapped)

	bare := &policy.Error{Status: 401, Err: auth.ErrInvalidCredential}
	a = policy.Must(auth.AnyOf(method{name: "a", err: bare, challenge: "Basic"}))
	_, err = a.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
	require.ErrorAs(t, err, &e)
	require.Equal(t, []string{"Basic"}, e.Header["Www-Authenticate"])
}

func TestAnyOfHidesAll(t *testing.T) {
	t.Parallel()
	first, second := 0, 0
	a := policy.Must(auth.AnyOf(
		method{name: "a", id: &policy.Identity{Consumer: ann}, hidden: &first},
		method{name: "b", err: auth.ErrNoCredential, hidden: &second},
	))
	run(a.Wrap, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 1, first)
	require.Equal(t, 1, second, "a credential that nobody looked at is one, too")
}

func TestAnyOfNested(t *testing.T) {
	t.Parallel()
	inner := policy.Must(auth.AnyOf(method{name: "a", err: auth.ErrNoCredential, challenge: "A"}, method{name: "b", err: auth.ErrNoCredential, challenge: "B"}))
	outer := policy.Must(auth.AnyOf(inner, method{name: "c", err: auth.ErrNoCredential, challenge: "C"}))
	w, _ := run(outer.Wrap, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, []string{"A", "B", "C"}, w.Header()["Www-Authenticate"])
}

func TestAnyOfErrors(t *testing.T) {
	t.Parallel()
	ok := method{name: "ok"}
	_, err := auth.AnyOf()
	require.ErrorContains(t, err, "no methods")
	_, err = auth.AnyOf(ok, nil, auth.Anonymous(nil), auth.Anonymous(&policy.Consumer{}), (*auth.Any)(nil), (*method)(nil),
		auth.Anonymous(&policy.Consumer{ID: "1", Groups: []string{"a\x00"}}))
	for _, want := range []string{
		"auth: AnyOf: method 1 is nil; check the error of its constructor",
		"auth: AnyOf: method 2 is Anonymous: policy: Consumer is nil",
		"auth: AnyOf: method 2 is Anonymous, which accepts everybody; put it last",
		"auth: AnyOf: method 3 is Anonymous: policy: Consumer.ID is empty",
		"auth: AnyOf: method 4 is nil; check the error of its constructor",
		"auth: AnyOf: method 5 is nil; check the error of its constructor",
		`auth: AnyOf: method 6 is Anonymous: policy: Consumer.Groups[0] "a\x00" cannot be sent`,
	} {
		require.ErrorContains(t, err, want)
	}

	methods := []auth.Method{ok}
	a, err := auth.AnyOf(methods...)
	require.NoError(t, err)
	methods[0] = nil
	require.NotPanics(t, func() { run(a.Wrap, httptest.NewRequest(http.MethodGet, "/", nil)) }, "the slice is copied")
}

func TestZeroAnyRefuses(t *testing.T) {
	t.Parallel()
	of := func(m auth.Method) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler { return auth.Wrap(m, auth.Options{Anonymous: guest}, next) }
	}
	for _, wrap := range []func(http.Handler) http.Handler{
		new(auth.Any).Wrap, (*auth.Any)(nil).Wrap, of(nil), of((*auth.Any)(nil)), of((*method)(nil)),
	} {
		w, x := run(wrap, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Nil(t, x)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.NotEmpty(t, w.Header().Get("Www-Authenticate"))
	}
	require.NotPanics(t, func() { (*auth.Any)(nil).Contract() })
}

type bufferingMethod struct{ method }

func (bufferingMethod) Contract() policy.Contract { return policy.Contract{BuffersRequest: true} }

func TestAnyOfContract(t *testing.T) {
	t.Parallel()
	c := policy.Must(auth.AnyOf(method{name: "a"})).Contract()
	require.Equal(t, policy.Contract{Provides: []policy.Fact{policy.Authenticated}}, c)
	c = policy.Must(auth.AnyOf(method{name: "a"}, bufferingMethod{method{name: "b"}})).Contract()
	require.True(t, c.BuffersRequest)
}

func TestWrapAddsMissingChallenge(t *testing.T) {
	t.Parallel()
	m := method{name: "test", err: &policy.Error{Status: http.StatusUnauthorized, Code: "odd"}, challenge: "Test"}
	w, _ := run(func(next http.Handler) http.Handler { return auth.Wrap(m, auth.Options{}, next) },
		httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusUnauthorized, w.Code)
	require.Equal(t, []string{"Test"}, w.Header()["Www-Authenticate"])
}

func TestAnonymousMethod(t *testing.T) {
	t.Parallel()
	m := auth.Anonymous(guest)
	require.Equal(t, "anonymous", m.Name())
	require.Empty(t, m.Challenge())
	first, err := m.Authenticate(nil)
	require.NoError(t, err)
	require.Equal(t, &policy.Identity{Consumer: guest, Kind: "anonymous", Anonymous: true}, first)
	second, _ := m.Authenticate(nil)
	require.NotSame(t, first, second)
}

func TestWrapErrorsDoNotHideEachOther(t *testing.T) {
	t.Parallel()
	// A store's error joined with a sentinel must not let a guest in.
	err := errors.Join(auth.Unavailable(errDown), auth.ErrNoCredential)
	w, x := run(func(next http.Handler) http.Handler {
		return auth.Wrap(method{name: "test", err: err}, auth.Options{Anonymous: guest}, next)
	}, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Nil(t, x)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}
