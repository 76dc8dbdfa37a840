package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

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
	// SkipOptions passes every OPTIONS request on in the same way, as Kong does with run_on_preflight: false. What is inside
	// must then give nothing away on OPTIONS.
	SkipOptions bool
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
//	preflight              skipped  see Options.SkipPreflight and SkipOptions
//	no_credential          401      ErrNoCredential
//	invalid_credential     401      ErrInvalidCredential
//	duplicate_credential   401      ErrDuplicateCredential
//	store_unavailable      503      any error of m that is no *policy.Error
//
// and the codes of a [Source], or of other errors that m returns. A 401 carries the challenge of m. A caller that
// passes as anonymous is remembered with the challenge, so that a refusal further inside can say what would be accepted.
// Whoever passes, the credential is hidden first, if m hides. A nil m refuses everybody, like the zero [Any].
func Wrap(m Method, o Options, next http.Handler) http.Handler {
	h := newHandler(m, o)
	h.next = next
	return h
}

// Preview returns the decision that [Wrap] would make about r, puts the identity it would set into the Exchange of r, and
// hides the credential where m does, so r must be a copy with an Exchange of its own (see [policy.Previewer]). The Detail names the consumer. Authentication policies call it in
// their Preview method. Like Authenticate it may put a buffer in the place of the body of r.
func Preview(m Method, o Options, r *http.Request) policy.Decision {
	h := newHandler(m, o)
	x := policy.ExchangeFrom(r.Context())
	id, d, err := h.decide(x, r)
	switch {
	case err != nil:
		e, err := h.refusal(err)
		return policy.Decision{Policy: h.name, Verdict: policy.Refused, Reason: e.Code, Detail: e.Detail, Status: e.Status, Err: err}
	case d.Verdict == policy.Skipped:
		h.method.Hide(r)
		return d
	}
	h.method.Hide(r)
	h.pass(x, id)
	if c := id.Consumer; c != nil {
		d.Detail = strings.TrimSpace(fmt.Sprintf("consumer %q %s", c.ID, c.Username))
	}
	return d
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

func newHandler(m Method, o Options) *handler {
	if isNil(m) {
		m, o = &Any{}, Options{}
	}
	h := &handler{method: m, name: m.Name(), options: o, challenges: challengesOf(m)}
	if o.Anonymous != nil {
		h.anonymous = policy.Identity{Consumer: o.Anonymous, Kind: reasonAnonymous, Anonymous: true}
	}
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, r := policy.Ensure(r)
	id, decision, err := h.decide(x, r)
	if err != nil {
		h.refuse(w, r, x, err)
		return
	}
	h.method.Hide(r)
	if decision.Verdict != policy.Skipped {
		h.pass(x, id)
	}
	x.Record(decision)
	h.next.ServeHTTP(w, r)
}

// decide finds out who the caller is, nil when the method is not asked, and changes nothing but the body of r.
func (h *handler) decide(x *policy.Exchange, r *http.Request) (*policy.Identity, policy.Decision, error) {
	d := policy.Decision{Policy: h.name, Reason: reasonAuthenticated}
	if reason := h.skip(x, r); reason != "" {
		d.Verdict, d.Reason = policy.Skipped, reason
		return nil, d, nil
	}
	id, err := h.method.Authenticate(r)
	if err == nil && (id == nil || id.IsZero()) {
		err = errNobody
	}
	if err != nil {
		reason, ok := h.mayPass(err)
		if !ok {
			return nil, d, err
		}
		id = &h.anonymous
		d.Detail = reason
	}
	if id.Anonymous {
		d.Reason = reasonAnonymous
	} else if id.Kind != h.name {
		d.Detail = id.Kind
	}
	return id, d, nil
}

// pass makes id the caller.
func (h *handler) pass(x *policy.Exchange, id *policy.Identity) {
	if id.Anonymous {
		for _, c := range h.challenges {
			x.AddChallenge(c)
		}
	}
	x.SetIdentity(*id)
}

var errNobody = errors.New("auth: the method returned no identity and no error")

// skip returns why the method is not asked at all, or "".
func (h *handler) skip(x *policy.Exchange, r *http.Request) string {
	if h.options.SkipPreflight && isPreflight(r) || h.options.SkipOptions && r.Method == http.MethodOptions {
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
	e, err := h.refusal(err)
	if e.Status == http.StatusUnauthorized && e.Header["Www-Authenticate"] == nil {
		for _, c := range h.challenges {
			x.AddChallenge(c) // taken by the answer, which has none of its own
		}
	}
	policy.Refuse(w, r, h.name, err)
}

// refusal gives an error of the method that is none the words of one.
func (h *handler) refusal(err error) (*policy.Error, error) {
	if e := refusalIn(err); e != nil {
		return e, err
	}
	var e *policy.Error
	switch {
	case errors.Is(err, ErrInvalidCredential):
		e = InvalidCredential(err, "", h.challenges...)
	case errors.Is(err, ErrNoCredential):
		e = NoCredential("", h.challenges...)
	default:
		e = Unavailable(err)
	}
	return e, e
}

// refusalIn returns the refusal that err is or wraps, or nil.
func refusalIn(err error) *policy.Error {
	var e *policy.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
