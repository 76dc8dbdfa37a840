package acl_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

func in(groups ...string) *policy.Identity {
	return &policy.Identity{Consumer: &policy.Consumer{ID: "1", Groups: groups}, Kind: "test"}
}

func guest(groups ...string) *policy.Identity {
	id := in(groups...)
	id.Anonymous = true
	return id
}

// serve sends a request with the identity through a and returns the answer, and what was decided.
func serve(t *testing.T, a *acl.ACL, id *policy.Identity, header ...string) (*httptest.ResponseRecorder, policy.Decision, bool) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	x, r := policy.Ensure(r)
	if id != nil {
		x.SetIdentity(*id)
	}
	passed := false
	w := httptest.NewRecorder()
	a.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
	require.Len(t, x.Decisions(), 1)
	require.Equal(t, "acl", x.Decisions()[0].Policy)
	return w, x.Decisions()[0], passed
}

func TestACL(t *testing.T) {
	t.Parallel()
	allow := acl.Config{Allow: []string{"staff", "ops"}}
	deny := acl.Config{Deny: []string{"suspended", "trial"}}
	both := acl.Config{Allow: []string{"staff"}, Deny: []string{"suspended"}}
	tests := []struct {
		name   string
		config acl.Config
		id     *policy.Identity
		status int
		reason string
	}{
		{"allow: in the first group", allow, in("staff"), 200, "group_allowed"},
		{"allow: in the second group", allow, in("other", "ops"), 200, "group_allowed"},
		{"allow: in another group", allow, in("other"), 403, "no_group_allowed"},
		{"allow: in no group", allow, in(), 403, "no_group_allowed"},
		{"allow: nobody", allow, nil, 401, "unauthenticated"},
		{"allow: another case", allow, in("Staff"), 403, "no_group_allowed"},
		{"allow: a prefix", allow, in("sta", "staffers"), 403, "no_group_allowed"},
		{"allow: a space", allow, in("staff "), 403, "no_group_allowed"},
		{"allow: a list in one name", allow, in("staff,ops"), 403, "no_group_allowed"},
		{"allow: empty name", allow, in(""), 403, "no_group_allowed"},
		{"allow: no consumer", allow, &policy.Identity{Kind: "jwt", Credential: "x"}, 403, "no_group_allowed"},
		{"allow: claims are not groups", allow, &policy.Identity{Kind: "jwt", Claims: map[string]any{"groups": []string{"staff"}}}, 403, "no_group_allowed"},
		{"allow: guest in the group", allow, guest("staff"), 200, "group_allowed"},
		{"allow: guest in another group", allow, guest("guests"), 403, "no_group_allowed"},
		{"allow: guest in no group", allow, guest(), 401, "unauthenticated"},
		{"allow: guest without a consumer", allow, &policy.Identity{Anonymous: true}, 401, "unauthenticated"},

		{"deny: in a denied group", deny, in("suspended"), 403, "group_denied"},
		{"deny: in another, too", deny, in("staff", "trial"), 403, "group_denied"},
		{"deny: in another group", deny, in("staff"), 200, "no_group_denied"},
		{"deny: in no group", deny, in(), 200, "no_group_denied"},
		{"deny: another case", deny, in("Suspended"), 200, "no_group_denied"},
		{"deny: nobody", deny, nil, 401, "unauthenticated"},
		{"deny: no consumer", deny, &policy.Identity{Kind: "jwt"}, 403, "no_group_allowed"},
		{"deny: guest in no group", deny, guest(), 200, "no_group_denied"},
		{"deny: guest in a denied group", deny, guest("trial"), 403, "group_denied"},
		{"deny: guest without a consumer", deny, &policy.Identity{Anonymous: true}, 401, "unauthenticated"},

		{"both: allowed", both, in("staff"), 200, "group_allowed"},
		{"both: denied wins", both, in("staff", "suspended"), 403, "group_denied"},
		{"both: in neither", both, in("other"), 403, "no_group_allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := acl.New(tt.config)
			require.NoError(t, err)
			w, d, passed := serve(t, a, tt.id)
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.status == 200, passed)
			require.Equal(t, tt.reason, d.Reason)

			err = a.Authorize(tt.id)
			if tt.status == 200 {
				require.NoError(t, err)
				require.Equal(t, policy.Allowed, d.Verdict)
				return
			}
			require.Equal(t, policy.Refused, d.Verdict)
			var e *policy.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.status, e.Status)
			if tt.status == 401 {
				require.ErrorIs(t, err, acl.ErrUnauthenticated)
				require.NotEmpty(t, w.Header().Get("Www-Authenticate"))
				require.Contains(t, w.Body.String(), `"Unauthorized"`)
			} else {
				require.ErrorIs(t, err, acl.ErrForbidden)
				require.Empty(t, w.Header().Get("Www-Authenticate"))
				require.Contains(t, w.Body.String(), `"You cannot consume this service"`)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	a := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}, Message: "Staff only"}))
	w, _, _ := serve(t, a, in())
	require.Contains(t, w.Body.String(), `"Staff only"`)
	require.NotContains(t, w.Body.String(), "no_group")
}

// TestHideGroups: the groups of those who pass are for the gateway alone.
func TestHideGroups(t *testing.T) {
	t.Parallel()
	for _, hide := range []bool{false, true} {
		a := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}, HideGroups: hide}))
		x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		x.SetIdentity(*in("staff"))
		a.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, hide, x.GroupsHidden())
		require.Equal(t, []string{"staff"}, x.Consumer().Groups)
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	_, err := acl.New(acl.Config{})
	require.ErrorContains(t, err, "acl: Allow and Deny are empty; name the groups that may pass, or those that may not")
	_, err = acl.New(acl.Config{Allow: []string{}, Deny: []string{}})
	require.Error(t, err)
	_, err = acl.New(acl.Config{Allow: []string{"a", ""}, Deny: []string{""}})
	require.ErrorContains(t, err, `acl: Allow[1] "" is empty`)
	require.ErrorContains(t, err, `acl: Deny[0] "" is empty`)
	_, err = acl.New(acl.Config{Allow: []string{"a", "b", "a", " a", "b\t"}, Deny: []string{"c", "b", "c"}})
	require.EqualError(t, err, `acl: Allow[2] "a" is Allow[0] again; leave it out
acl: Allow[3] " a" has white space at an end, which no group of a consumer has; write "a"
acl: Allow[4] "b\t" has white space at an end, which no group of a consumer has; write "b"
acl: Deny[2] "c" is Deny[0] again; leave it out
acl: Deny[1] "b" is Allow[1] too, and Deny wins; remove one of them`)

	groups := []string{"staff"}
	a := policy.Must(acl.New(acl.Config{Allow: groups}))
	groups[0] = "other"
	require.NoError(t, a.Authorize(in("staff")), "the slice is copied")
	require.Error(t, a.Authorize(in("other")))
}

func TestZeroRefuses(t *testing.T) {
	t.Parallel()
	for _, a := range []*acl.ACL{nil, {}} {
		for id, status := range map[*policy.Identity]int{nil: 401, in(): 403, in("staff"): 403, in(""): 403, guest(): 401} {
			w, _, passed := serve(t, a, id)
			require.Equal(t, status, w.Code)
			require.False(t, passed)
		}
		require.Contains(t, a.Authorize(in()).Error(), "You cannot consume this service")
	}
}

// TestGroupsComeFromTheIdentityOnly: nothing a client sends makes a group.
func TestGroupsComeFromTheIdentityOnly(t *testing.T) {
	t.Parallel()
	a := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	forged := []string{"X-Consumer-Groups", "staff", "X-Authenticated-Groups", "staff", "X_Consumer_Groups", "staff", "X-Consumer-Id", "1"}
	w, _, passed := serve(t, a, nil, forged...)
	require.False(t, passed)
	require.Equal(t, 401, w.Code)
	w, _, passed = serve(t, a, in("other"), forged...)
	require.False(t, passed)
	require.Equal(t, 403, w.Code)
}

// TestContract: a chain without a policy that authenticates before the list is seen when the chain is built.
func TestContract(t *testing.T) {
	t.Parallel()
	a := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	c, ok := policy.ContractOf(a)
	require.True(t, ok)
	require.Equal(t, policy.Contract{Requires: []policy.Fact{policy.Authenticated}, Provides: []policy.Fact{policy.Authorized}}, c)
	require.Equal(t, "acl", policy.NameOf(a))
}

// TestWrongOrderRefuses: and one that was built all the same lets nobody pass.
func TestWrongOrderRefuses(t *testing.T) {
	t.Parallel()
	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1", Groups: []string{"staff"}}}}))
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	for _, tt := range []struct {
		wrap   func(http.Handler) http.Handler
		status int
	}{
		{func(next http.Handler) http.Handler { return keys.Wrap(staff.Wrap(next)) }, 200},
		{func(next http.Handler) http.Handler { return staff.Wrap(keys.Wrap(next)) }, 401},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Apikey", "k")
		w := httptest.NewRecorder()
		tt.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		require.Equal(t, tt.status, w.Code)
	}
}

// TestChallengesOfGuests: a guest who may not pass learns what would have been accepted.
func TestChallengesOfGuests(t *testing.T) {
	t.Parallel()
	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{}, Realm: "orders", Anonymous: &policy.Consumer{ID: "guest"}}))
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	w := httptest.NewRecorder()
	keys.Wrap(staff.Wrap(http.NotFoundHandler())).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 401, w.Code)
	require.Equal(t, []string{`Key realm="orders"`}, w.Header()["Www-Authenticate"])
}

func TestSeveralListsAllApply(t *testing.T) {
	t.Parallel()
	staff := policy.Must(acl.New(acl.Config{Allow: []string{"staff"}}))
	eu := policy.Must(acl.New(acl.Config{Allow: []string{"eu"}}))
	for _, tt := range []struct {
		id     *policy.Identity
		status int
	}{{in("staff", "eu"), 200}, {in("staff"), 403}, {in("eu"), 403}} {
		x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
		x.SetIdentity(*tt.id)
		w := httptest.NewRecorder()
		staff.Wrap(eu.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))).ServeHTTP(w, r)
		require.Equal(t, tt.status, w.Code)
	}
}
