package acl

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
)

// What the [*policy.Error] of a refusal wraps.
var (
	// ErrUnauthenticated: nobody is authenticated. The answer is 401.
	ErrUnauthenticated = errors.New("acl: nobody is authenticated")
	// ErrForbidden: the caller's groups do not let it pass. The answer is 403.
	ErrForbidden = errors.New("acl: the groups of the consumer do not permit it")
)

// Config configures an [ACL]. Allow, Deny or both must have a group: two empty lists are an error of New, because a
// mistake should not close a route silently, nor open it. So is a group that is listed twice, in one list or in both, or
// has white space at an end: groups are compared exactly.
type Config struct {
	// Allow are the groups that may pass: a consumer must be in one of them. Empty: everybody who is authenticated as a
	// consumer may, unless Deny says otherwise.
	Allow []string
	// Deny are the groups that may not pass. It wins over Allow.
	Deny []string
	// HideGroups keeps the groups of callers that pass from upstreams, which otherwise get them in X-Consumer-Groups.
	HideGroups bool
	// Message is the text of refusals with 403. Default: "You cannot consume this service".
	Message string
}

// ACL is an access list of groups. It is a [policy.Plugin]. Make one with [New]; the zero ACL, and a nil one, let nobody
// pass. It is immutable and safe for concurrent use.
type ACL struct {
	allow, deny map[string]struct{}
	message     string
	hide        bool
}

// New checks c and returns an ACL. The error joins all problems. The slices are not kept.
func New(c Config) (*ACL, error) {
	var errs []error
	if len(c.Allow) == 0 && len(c.Deny) == 0 {
		errs = append(errs, errors.New("acl: Allow and Deny are empty; name the groups that may pass, or those that may not"))
	}
	a := &ACL{message: c.Message, hide: c.HideGroups}
	a.allow = groupSet("Allow", c.Allow, &errs)
	a.deny = groupSet("Deny", c.Deny, &errs)
	for i, g := range c.Deny {
		if at := slices.Index(c.Allow, g); at >= 0 && g != "" {
			errs = append(errs, fmt.Errorf("acl: Deny[%d] %q is Allow[%d] too, and Deny wins; remove one of them", i, g, at))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return a, nil
}

func groupSet(field string, groups []string, errs *[]error) map[string]struct{} {
	set := make(map[string]struct{}, len(groups))
	for i, g := range groups {
		switch first := slices.Index(groups, g); {
		case g == "":
			*errs = append(*errs, fmt.Errorf("acl: %s[%d] %q is empty; a group has a name", field, i, g))
		case g != strings.TrimSpace(g):
			*errs = append(*errs, fmt.Errorf("acl: %s[%d] %q has white space at an end, which no group of a consumer has; write %q", field, i, g, strings.TrimSpace(g)))
		case first < i:
			*errs = append(*errs, fmt.Errorf("acl: %s[%d] %q is %s[%d] again; leave it out", field, i, g, field, first))
		}
		set[g] = struct{}{}
	}
	return set
}

// Name returns "acl".
func (*ACL) Name() string { return "acl" }

// Contract asks for a policy outside that authenticates, and says that whoever gets further in is authorized.
func (*ACL) Contract() policy.Contract {
	return policy.Contract{Requires: []policy.Fact{policy.Authenticated}, Provides: []policy.Fact{policy.Authorized}}
}

// Wrap returns a handler that calls next for callers whose groups permit it, and refuses the others.
func (a *ACL) Wrap(next http.Handler) http.Handler {
	if a == nil {
		a = &ACL{}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		d, err := a.decide(x)
		if err != nil {
			policy.Refuse(w, r, a.Name(), err)
			return
		}
		x.Record(d)
		if a.hide {
			x.HideGroups()
		}
		next.ServeHTTP(w, r)
	})
}

// Preview tells what Wrap would decide about r, for explanations.
func (a *ACL) Preview(r *http.Request) policy.Decision {
	if a == nil {
		a = &ACL{}
	}
	d, err := a.decide(policy.ExchangeFrom(r.Context()))
	if err != nil {
		d.Verdict, d.Reason, d.Status, d.Err = policy.Refused, err.Code, err.Status, err
	}
	return d
}

func (a *ACL) decide(x *policy.Exchange) (policy.Decision, *policy.Error) {
	id := x.Identity()
	d := policy.Decision{Policy: a.Name(), Reason: "group_allowed"}
	if len(a.allow) == 0 {
		d.Reason = "no_group_denied"
	}
	return d, a.authorize(&id)
}

// Authorize returns nil when id may pass. Otherwise the error is an [*policy.Error]: 401 wrapping [ErrUnauthenticated]
// for a nil or zero id, and for an anonymous one without groups; 403 wrapping [ErrForbidden] for every other, an id
// without a consumer included, since there is nothing to judge it by.
func (a *ACL) Authorize(id *policy.Identity) error {
	if a == nil {
		a = &ACL{}
	}
	if err := a.authorize(id); err != nil {
		return err
	}
	return nil // not a nil *policy.Error
}

func (a *ACL) authorize(id *policy.Identity) *policy.Error {
	if id == nil || id.IsZero() {
		return unauthenticated()
	}
	var groups []string
	if id.Consumer != nil {
		groups = id.Consumer.Groups
	}
	for _, g := range groups {
		if _, ok := a.deny[g]; ok {
			return a.forbidden("group_denied")
		}
	}
	for _, g := range groups {
		if _, ok := a.allow[g]; ok {
			return nil
		}
	}
	switch {
	case len(a.allow) == 0 && len(a.deny) > 0 && id.Consumer != nil:
		return nil // only a deny list, and it names none of the groups
	case id.Anonymous && len(groups) == 0:
		return unauthenticated()
	default:
		return a.forbidden("no_group_allowed")
	}
}

func unauthenticated() *policy.Error {
	return &policy.Error{
		Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "Unauthorized", Err: ErrUnauthenticated,
	}
}

func (a *ACL) forbidden(code string) *policy.Error {
	message := a.message
	if message == "" {
		message = "You cannot consume this service"
	}
	return &policy.Error{Status: http.StatusForbidden, Code: code, Message: message, Err: ErrForbidden}
}
