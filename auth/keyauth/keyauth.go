package keyauth

import (
	"errors"
	"net/http"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// KeyAuth authenticates callers by an API key. It is a [policy.Plugin] and an [auth.Method]. Make one with [New]; the
// zero KeyAuth, and the Wrap of a nil one, refuse everybody. It is immutable, safe for concurrent use, and may wrap any number of handlers; what
// its store knows may change meanwhile.
type KeyAuth struct {
	keys                        auth.KeyStore
	source                      *auth.Source
	hide                        bool
	challenge                   string
	options                     auth.Options
	missing, duplicate, invalid *policy.Error // shared by all requests, never changed
}

// Name returns "key-auth".
func (*KeyAuth) Name() string { return "key-auth" }

// Contract says that the caller is known to everything inside, and that the body is buffered when it is searched. A
// preflight that SkipPreflight lets pass is the exception: nobody is authenticated then.
func (k *KeyAuth) Contract() policy.Contract {
	return policy.Contract{
		Provides:       []policy.Fact{policy.Authenticated},
		BuffersRequest: k != nil && k.source != nil && k.source.Buffers(),
	}
}

// Wrap returns a handler that calls next for callers with a valid key, and for anonymous ones where Config allows them.
// The decisions it records and what it answers to the others is listed at [auth.Wrap].
func (k *KeyAuth) Wrap(next http.Handler) http.Handler {
	if k == nil {
		k = &KeyAuth{}
	}
	return auth.Wrap(k, k.options, next)
}

// Preview tells what Wrap would decide about r, for explanations; see [auth.Preview]. It asks the store.
func (k *KeyAuth) Preview(r *http.Request) policy.Decision {
	if k == nil {
		k = &KeyAuth{}
	}
	return auth.Preview(k, k.options, r)
}

// Authenticate returns whose key r shows. The identity names the key by the ID its store gives it, never by its value.
// The error is an [*policy.Error] that wraps [auth.ErrNoCredential], [auth.ErrInvalidCredential] or the error of the
// store; it is shared and read-only. With Body the body of r is read and replaced by a buffer.
func (k *KeyAuth) Authenticate(r *http.Request) (*policy.Identity, error) {
	if k.keys == nil {
		return nil, auth.Unavailable(errZero)
	}
	key, err := k.source.Find(r)
	if err != nil {
		return nil, k.refusal(err)
	}
	if len(key) > auth.MaxKeyLength {
		return nil, k.invalid
	}
	credential, ok, err := k.keys.Lookup(r.Context(), key)
	switch {
	case err != nil:
		return nil, auth.Unavailable(err)
	case !ok:
		return nil, k.invalid
	case credential.Consumer == nil || credential.Consumer.ID == "":
		return nil, auth.Unavailable(errNoConsumer)
	}
	return &policy.Identity{Consumer: credential.Consumer, Kind: "key-auth", Credential: credential.ID}, nil
}

var (
	errZero       = errors.New("keyauth: the zero KeyAuth knows no keys; use New")
	errNoConsumer = errors.New("keyauth: the store returned a credential without a consumer, or one without an ID")
)

// refusal gives what Find returned the words of the Config.
func (k *KeyAuth) refusal(err error) error {
	switch {
	case errors.Is(err, auth.ErrNoCredential):
		return k.missing
	case errors.Is(err, auth.ErrDuplicateCredential):
		return k.duplicate
	case errors.Is(err, auth.ErrInvalidCredential):
		return k.invalid
	default:
		return err // the request could not be searched: 400, 413 or 415
	}
}

// Challenge returns `Key`, with the realm when there is one. The scheme is not registered; it is Kong's.
func (k *KeyAuth) Challenge() string { return k.challenge }

// Hide removes the key from r if Config.HideCredentials is set; see [auth.Source.Hide].
func (k *KeyAuth) Hide(r *http.Request) {
	if k.hide {
		k.source.Hide(r)
	}
}
