package auth

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
)

// Any is several methods of which one must accept the caller. It is itself a [Method] and a [policy.Plugin]. Make one
// with [AnyOf]; the zero Any, and the Wrap of a nil one, refuse everybody. It is immutable and safe for concurrent use.
type Any struct {
	methods    []Method
	challenges []string
	buffers    bool
}

// AnyOf returns the policy that asks methods in order, the first one first. A method that finds no credential passes
// the question on; the first that accepts one decides who the caller is. A wrong credential ends the search, also when
// a later method would have accepted another one: whoever shows a wrong credential is refused. So does an error of a
// store. A 401 carries the challenges of all methods.
//
// The Options of the methods, such as the Anonymous of a keyauth.Config, play no part; [Anonymous] as the last method
// lets callers without any credential pass. Each method still hides its credential if it is configured to, whichever
// of them accepted.
//
// There must be at least one method and none may be nil, also not a nil pointer. The error joins all problems.
func AnyOf(methods ...Method) (*Any, error) {
	var errs []error
	if len(methods) == 0 {
		errs = append(errs, errors.New("auth: AnyOf has no methods; nobody could pass"))
	}
	a := &Any{methods: slices.Clone(methods)}
	for i, m := range methods {
		if isNil(m) {
			errs = append(errs, fmt.Errorf("auth: AnyOf: method %d is nil; check the error of its constructor", i))
			continue
		}
		if guest, ok := m.(*anonymous); ok {
			errs = append(errs, prefixed(fmt.Sprintf("auth: AnyOf: method %d is Anonymous: ", i), guest.id.Consumer.Validate())...)
			if i < len(methods)-1 {
				errs = append(errs, fmt.Errorf("auth: AnyOf: method %d is Anonymous, which accepts everybody; put it last", i))
			}
		}
		for _, c := range challengesOf(m) {
			if !slices.Contains(a.challenges, c) {
				a.challenges = append(a.challenges, c)
			}
		}
		if c, ok := m.(interface{ Contract() policy.Contract }); ok && c.Contract().BuffersRequest {
			a.buffers = true
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return a, nil
}

// isNil reports whether m is nil or holds a nil pointer, as the unchecked result of a failed constructor does.
func isNil(m Method) bool {
	v := reflect.ValueOf(m)
	return m == nil || v.Kind() == reflect.Pointer && v.IsNil()
}

// prefixed returns the problems that err joins, each behind prefix, so that every line says what it is about.
func prefixed(prefix string, err error) []error {
	if err == nil {
		return nil
	}
	problems := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		problems = joined.Unwrap()
	}
	out := make([]error, len(problems))
	for i, p := range problems {
		out[i] = fmt.Errorf("%s%w", prefix, p)
	}
	return out
}

// Name returns "any-of". The decision record's Detail names the method that accepted.
func (*Any) Name() string { return "any-of" }

// Contract says that the caller is known to everything inside, and whether one of the methods buffers the body.
func (a *Any) Contract() policy.Contract {
	return policy.Contract{Provides: []policy.Fact{policy.Authenticated}, BuffersRequest: a != nil && a.buffers}
}

// Wrap returns a handler that calls next for callers that one of the methods accepts; see the function [Wrap].
func (a *Any) Wrap(next http.Handler) http.Handler { return Wrap(a, Options{}, next) }

// Preview tells what Wrap would decide; see [Preview].
func (a *Any) Preview(r *http.Request) policy.Decision { return Preview(a, Options{}, r) }

// Authenticate returns the identity that the first method with a credential to judge finds.
func (a *Any) Authenticate(r *http.Request) (*policy.Identity, error) {
	for _, m := range a.methods {
		id, err := m.Authenticate(r)
		if err == nil {
			return id, nil
		}
		if e := refusalIn(err); e != nil && e.Status != http.StatusUnauthorized {
			return nil, err // a request that could not be judged, whatever else it wraps
		}
		if errors.Is(err, ErrInvalidCredential) {
			return nil, a.invalid(err)
		}
		if !errors.Is(err, ErrNoCredential) {
			return nil, err
		}
	}
	return nil, NoCredential("", a.challenges...)
}

// invalid is err with the challenges of all methods.
func (a *Any) invalid(err error) error {
	e := refusalIn(err)
	if e == nil {
		return InvalidCredential(err, "", a.challenges...)
	}
	all := *e
	all.Header = e.Header.Clone()
	if all.Header == nil {
		all.Header = http.Header{}
	}
	all.Header["Www-Authenticate"] = slices.Clone(a.challenges)
	all.Err = err
	if err == error(e) { //nolint:errorlint // only this very value may be unwrapped without loss
		all.Err = e.Err
	}
	return &all
}

// Challenge returns the challenges of all methods as one list (RFC 9110 section 11.6.1).
func (a *Any) Challenge() string { return strings.Join(a.challenges, ", ") }

// Hide hides the credentials of all methods.
func (a *Any) Hide(r *http.Request) {
	for _, m := range a.methods {
		m.Hide(r)
	}
}

// challengesOf returns the challenges of m, one by one.
func challengesOf(m Method) []string {
	if a, ok := m.(*Any); ok {
		return slices.Clone(a.challenges)
	}
	if c := m.Challenge(); c != "" {
		return []string{c}
	}
	return nil
}

// Anonymous returns the method that accepts everybody as c, marked anonymous. It is the last argument of [AnyOf]: it is
// reached only by callers who show no credential at all. c must be valid (see [policy.Consumer.Validate]), which AnyOf
// checks, and must not be changed afterwards.
func Anonymous(c *policy.Consumer) Method {
	return &anonymous{policy.Identity{Consumer: c, Kind: reasonAnonymous, Anonymous: true}}
}

type anonymous struct{ id policy.Identity }

func (*anonymous) Name() string { return reasonAnonymous }

func (a *anonymous) Authenticate(*http.Request) (*policy.Identity, error) {
	id := a.id
	return &id, nil
}

func (*anonymous) Challenge() string  { return "" }
func (*anonymous) Hide(*http.Request) {}
