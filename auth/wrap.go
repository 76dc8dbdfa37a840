package auth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gatehouse-go/gateway/policy"
)

// Options are the choices every authentication policy offers in its own Config. The zero Options refuse every caller
// without a valid credential.
//
// A Config of this module lists the fields it offers as fields of its own, with their comments, and its New makes the
// Options of them; see keyauth.Config. It does not embed Options: a literal of the Config would have to name the embedded
// struct, and a field added here would appear in every policy before that supports it.
type Options struct {
	// Anonymous is who a caller without a credential passes as. Nil: such a caller is refused. It must be valid (see
	// [policy.Consumer.Validate]) and must not be changed afterwards.
	//
	// A method with Anonymous also steps aside when a method before it has authenticated the caller, so that several
	// in a row, each with Anonymous, accept any one credential.
	Anonymous *policy.Consumer
	// AnonymousOnInvalid lets a caller with a wrong credential pass as Anonymous, too, as Kong does. By default such a
	// caller is refused: a client whose key was revoked should learn it, and guesses should be seen.
	AnonymousOnInvalid bool
	// SkipPreflight passes CORS preflight requests on without looking at them: browsers send those without
	// credentials. They are OPTIONS requests with Origin and Access-Control-Request-Method; anybody can make one.
	// Policies inside find nobody authenticated. With a CORS policy outside, which answers preflights, it is not needed.
	SkipPreflight bool
}

// Validate reports what is wrong with o, all of it; by is the package whose Config holds the options and begins each
// error.
func (o Options) Validate(by string) error {
	var errs []error
	if o.Anonymous != nil {
		errs = prefixed(by+": Anonymous: ", o.Anonymous.Validate())
	}
	if o.AnonymousOnInvalid && o.Anonymous == nil {
		errs = append(errs, fmt.Errorf("%s: AnonymousOnInvalid is set without Anonymous; name the consumer, or leave it out", by))
	}
	return errors.Join(errs...)
}

// Wrap returns a handler that lets m decide who the caller is before it calls next. Authentication policies call it in
// their Wrap method; it also makes a plugin of a method of the application's own.
//
// It records one decision under the name of m:
//
//	authenticated          allowed  the credential is valid; the Exchange holds the identity
//	anonymous              allowed  nobody, passing as Options.Anonymous; Detail says why when a credential was shown
//	already_authenticated  skipped  a method before has authenticated the caller, and Options.Anonymous is set
//	preflight              skipped  see Options.SkipPreflight
//	no_credential          401      ErrNoCredential
//	invalid_credential     401      ErrInvalidCredential
//	duplicate_credential   401      ErrDuplicateCredential
//	store_unavailable      503      any error of m that is no *policy.Error
//
// and the codes of a [Source], or of other errors that m returns. A 401 carries the challenge of m. A caller that
// passes as anonymous is remembered with the challenge, so that a refusal further inside can say what would be accepted.
// Whoever passes, the credential is hidden first, if m hides. A nil m refuses everybody, like the zero [Any].
func Wrap(m Method, o Options, next http.Handler) http.Handler {
	if isNil(m) {
		m, o = &Any{}, Options{}
	}
	h := &handler{method: m, name: m.Name(), options: o, next: next, challenges: challengesOf(m)}
	if o.Anonymous != nil {
		h.anonymous = policy.Identity{Consumer: o.Anonymous, Kind: reasonAnonymous, Anonymous: true}
	}
	return h
}

// handler is Wrap's answer.
type handler struct {
	method     Method
	name       string
	options    Options
	anonymous  policy.Identity
	challenges []string
	next       http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, r := policy.Ensure(r)
	if reason := h.skip(x, r); reason != "" {
		h.method.Hide(r)
		x.Record(policy.Decision{Policy: h.name, Verdict: policy.Skipped, Reason: reason})
		h.next.ServeHTTP(w, r)
		return
	}
	id, err := h.method.Authenticate(r)
	if err == nil && (id == nil || id.IsZero()) {
		err = errNobody
	}
	decision := policy.Decision{Policy: h.name, Reason: reasonAuthenticated}
	if err != nil {
		reason, ok := h.mayPass(err)
		if !ok {
			h.refuse(w, r, x, err)
			return
		}
		id = &h.anonymous
		decision.Detail = reason
	}
	if id.Anonymous {
		decision.Reason = reasonAnonymous
		for _, c := range h.challenges {
			x.AddChallenge(c)
		}
	} else if id.Kind != h.name {
		decision.Detail = id.Kind
	}
	h.method.Hide(r)
	x.SetIdentity(*id)
	x.Record(decision)
	h.next.ServeHTTP(w, r)
}

var errNobody = errors.New("auth: the method returned no identity and no error")

// skip returns why the method is not asked at all, or "".
func (h *handler) skip(x *policy.Exchange, r *http.Request) string {
	if h.options.SkipPreflight && isPreflight(r) {
		return reasonPreflight
	}
	if h.options.Anonymous != nil {
		if id := x.Identity(); !id.IsZero() && !id.Anonymous {
			return reasonAlready
		}
	}
	return ""
}

// isPreflight reports whether r is a CORS preflight (Fetch standard, section "CORS-preflight fetch").
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// mayPass reports whether a caller whom err describes passes as anonymous, and what is worth recording about it.
func (h *handler) mayPass(err error) (detail string, ok bool) {
	if h.options.Anonymous == nil {
		return "", false
	}
	e := refusalIn(err)
	if e != nil && e.Status != http.StatusUnauthorized {
		return "", false // a request that could not be judged, whatever else it wraps
	}
	switch {
	case errors.Is(err, ErrInvalidCredential):
		detail = reasonInvalid
		if e != nil && e.Code != "" {
			detail = e.Code
		}
		return detail, h.options.AnonymousOnInvalid
	case errors.Is(err, ErrNoCredential):
		return "", true
	default:
		return "", false
	}
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, x *policy.Exchange, err error) {
	e := refusalIn(err)
	if e == nil {
		switch {
		case errors.Is(err, ErrInvalidCredential):
			e = InvalidCredential(err, "", h.challenges...)
		case errors.Is(err, ErrNoCredential):
			e = NoCredential("", h.challenges...)
		default:
			e = Unavailable(err)
		}
		err = e
	}
	if e.Status == http.StatusUnauthorized && e.Header["Www-Authenticate"] == nil {
		for _, c := range h.challenges {
			x.AddChallenge(c) // taken by the answer, which has none of its own
		}
	}
	policy.Refuse(w, r, h.name, err)
}

// refusalIn returns the refusal that err is or wraps, or nil.
func refusalIn(err error) *policy.Error {
	var e *policy.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
