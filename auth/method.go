package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// What an [*policy.Error] returned by a [Method] wraps. [AnyOf] goes on to the next method after the first of them and
// stops at the second.
var (
	// ErrNoCredential: the request shows no credential of this kind.
	ErrNoCredential = errors.New("auth: no credential in the request")
	// ErrInvalidCredential: the request shows a credential, and it is unknown, expired, malformed or not the only one.
	ErrInvalidCredential = errors.New("auth: invalid credential")
	// ErrDuplicateCredential: the request shows more than one. It wraps ErrInvalidCredential.
	ErrDuplicateCredential = fmt.Errorf("%w: more than one", ErrInvalidCredential)
)

// Reason codes of the decisions that [Wrap] records; methods may add their own.
const (
	reasonAuthenticated = "authenticated"
	reasonAnonymous     = "anonymous"
	reasonAlready       = "already_authenticated"
	reasonPreflight     = "preflight"
	reasonNoCredential  = "no_credential"
	reasonInvalid       = "invalid_credential"
	reasonUnavailable   = "store_unavailable"
)

// Method is one way to authenticate a caller: an API key, a password, a token. It is safe for concurrent use.
type Method interface {
	// Name names the method in decision records, such as "key-auth".
	Name() string
	// Authenticate decides who the caller is. It answers with an identity that is not zero, or with an error:
	// one that wraps [ErrNoCredential] or [ErrInvalidCredential] (see the functions of the same names), another
	// [*policy.Error] for a request that cannot be judged, or any other error when the method could not find out.
	// It may buffer the body of r and put the buffer in its place; it changes nothing else.
	Authenticate(r *http.Request) (*policy.Identity, error)
	// Challenge is the WWW-Authenticate challenge (RFC 9110 section 11.6.1) that asks for this credential; "" when
	// there is none.
	Challenge() string
	// Hide removes the credential from r, so that those inside do not see it, if the method is configured to. It is
	// called for every request that passes, authenticated or not, and may change the header and URL of r in place.
	Hide(r *http.Request)
}

// NoCredential returns the refusal of a request without a credential: 401 with the challenges, the reason
// "no_credential", wrapping [ErrNoCredential]. An empty message is "Unauthorized".
func NoCredential(message string, challenges ...string) *policy.Error {
	return unauthorized(reasonNoCredential, message, challenges, ErrNoCredential)
}

// InvalidCredential returns the refusal of a request with a wrong credential: 401 with the challenges, the reason
// "invalid_credential", wrapping cause, or [ErrInvalidCredential] when cause is not one. An empty message is
// "Unauthorized". A cause that is [ErrDuplicateCredential] has the reason "duplicate_credential".
//
// A policy makes its refusals once, in New: then an unknown credential and a disabled one cannot be told apart.
func InvalidCredential(cause error, message string, challenges ...string) *policy.Error {
	if !errors.Is(cause, ErrInvalidCredential) {
		cause = errors.Join(ErrInvalidCredential, cause)
	}
	reason := reasonInvalid
	if errors.Is(cause, ErrDuplicateCredential) {
		reason = "duplicate_credential"
	}
	return unauthorized(reason, message, challenges, cause)
}

func unauthorized(reason, message string, challenges []string, cause error) *policy.Error {
	e := &policy.Error{Status: http.StatusUnauthorized, Code: reason, Message: message, Err: cause}
	for _, c := range challenges {
		if c == "" {
			continue
		}
		if e.Header == nil {
			e.Header = http.Header{}
		}
		e.Header["Www-Authenticate"] = append(e.Header["Www-Authenticate"], c)
	}
	return e
}

// Unavailable returns the refusal of a request whose credential could not be verified because something the method
// depends on failed: 503 with the reason "store_unavailable". The cause is for logs.
func Unavailable(cause error) *policy.Error {
	return &policy.Error{
		Status: http.StatusServiceUnavailable, Code: reasonUnavailable,
		Message: "Authentication is currently unavailable", Err: cause,
	}
}

// Challenge formats a challenge with an optional realm: `Key`, or `Key realm="orders"` with the realm quoted as RFC 9110
// section 5.6.4 has it. The scheme must be a token and the realm printable ASCII; other characters mean different things
// to different clients.
func Challenge(scheme, realm string) (string, error) {
	if !canonical.Token(scheme) {
		return "", fmt.Errorf("auth: challenge scheme %q is not a token (RFC 9110 section 11.1)", scheme)
	}
	if realm == "" {
		return scheme, nil
	}
	var b strings.Builder
	b.WriteString(scheme + ` realm="`)
	for i := range len(realm) {
		c := realm[i]
		if c < ' ' || c >= 0x7f {
			return "", fmt.Errorf("auth: realm %q has a character that is not printable ASCII", realm)
		}
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
	return b.String(), nil
}
