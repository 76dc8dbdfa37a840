package keyauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// Location is a set of places in a request: Header|Query is both.
type Location uint8

// The places a key may stand in.
const (
	// Header is a request header field.
	Header Location = 1 << iota
	// Query is a parameter of the URL's query. URLs end up in logs, histories and Referer fields.
	Query
	// Cookie is a cookie. Browsers send it by themselves: protect routes that change something against forged requests.
	Cookie
	// Body is a field of a form or a member of a JSON object. Every form and JSON body is read before it is passed on.
	Body

	everywhere = Header | Query | Cookie | Body
)

// Config configures a [KeyAuth]. Consumers is the only field that must be set.
type Config struct {
	// Consumers knows the keys: an [auth.Static], an [*auth.MemoryKeys], or any other store. A Static is copied into
	// digests, the plain keys are not kept. An empty Static is allowed and lets nobody in. The consumers of a Static must
	// be valid (see [policy.Consumer.Validate]).
	Consumers auth.KeyStore
	// Names are what the header field, parameter, cookie or body field with the key may be called. Each must be a token;
	// in header fields case does not matter, so that with Header two that differ in nothing else are an error. Default:
	// apikey.
	Names []string
	// In says where to look. Default: Header alone. A request with keys in two of these places is refused.
	In Location
	// FirstPlace takes the key of the first place that has one, for each name in turn header, query, cookie and body, as Kong
	// does, and looks at no other. Default: two keys are a refusal.
	FirstPlace bool
	// MaxBody bounds the bodies searched, in bytes; larger forms and JSON bodies are refused with 413. It has a meaning
	// only with Body. Default 64 KiB.
	MaxBody int64
	// HideCredentials removes the key from requests that pass. Default: off, as in Kong. The upstream then gets the key
	// with each request and may log or use it: set it unless the upstream needs the key. The key is removed from the
	// header in every spelling that an upstream may take for a name (X_Api_Key for X-Api-Key), from the query and from
	// cookies, wherever In lets it count, and from the body with Body. It changes the request's own header.
	HideCredentials bool

	// Realm is named in the challenge: printable ASCII. Default: none.
	Realm string
	// Anonymous is who a caller without a key passes as; see [auth.Options]. Nil: such a caller is refused.
	Anonymous *policy.Consumer
	// AnonymousOnInvalid lets a caller with a wrong key pass as Anonymous, too. Default: refused.
	AnonymousOnInvalid bool
	// SkipPreflight passes CORS preflights on unauthenticated; see [auth.Options]. Default: they need a key, too.
	SkipPreflight bool
	// SkipOptions passes every OPTIONS request on unauthenticated. Default: they need a key, too.
	SkipOptions bool

	// The texts of refusals with 401. Default: "No API key found in request", "Duplicate API key found" and
	// "Unauthorized".
	MissingMessage, DuplicateMessage, InvalidMessage string
}

// New checks c and returns a KeyAuth. The error joins all problems and names fields and values, but no keys.
func New(c Config) (*KeyAuth, error) {
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	k := &KeyAuth{options: auth.Options{
		Anonymous: c.Anonymous, AnonymousOnInvalid: c.AnonymousOnInvalid, SkipPreflight: c.SkipPreflight, SkipOptions: c.SkipOptions,
	}}
	fail(k.options.Validate("keyauth"))

	store, err := auth.OpenKeys(c.Consumers)
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the very value of errors.Join
		for _, problem := range joined.Unwrap() {
			fail(fmt.Errorf("keyauth: Consumers: %w", problem))
		}
	} else if err != nil {
		fail(fmt.Errorf("keyauth: Consumers: %w", err))
	}
	k.keys = store

	fail(c.checkNames())
	if c.In&^everywhere != 0 {
		fail(fmt.Errorf("keyauth: In %#x has unknown places; use Header, Query, Cookie and Body", uint8(c.In)))
	}
	if c.MaxBody < 0 {
		fail(fmt.Errorf("keyauth: MaxBody %d is negative; use 0 for %d", c.MaxBody, auth.DefaultMaxBody))
	}
	if c.MaxBody > 0 && c.In&Body == 0 {
		fail(fmt.Errorf("keyauth: MaxBody %d has no meaning without Body in In", c.MaxBody))
	}
	if k.challenge, err = auth.Challenge("Key", c.Realm); err != nil {
		fail(fmt.Errorf("keyauth: Realm: %w", err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	if k.source, err = auth.NewSource(c.source()); err != nil {
		return nil, fmt.Errorf("keyauth: %w", err)
	}
	k.hide = c.HideCredentials
	// One value for every request, so that no refusal can differ from another of its kind.
	k.missing = auth.NoCredential(or(c.MissingMessage, "No API key found in request"), k.challenge)
	k.duplicate = auth.InvalidCredential(auth.ErrDuplicateCredential, or(c.DuplicateMessage, "Duplicate API key found"), k.challenge)
	k.invalid = auth.InvalidCredential(auth.ErrInvalidCredential, or(c.InvalidMessage, "Unauthorized"), k.challenge)
	return k, nil
}

func (c Config) checkNames() error {
	var errs []error
	for i, name := range c.Names {
		if err := auth.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("keyauth: Names[%d] %w", i, err))
		}
		first := slices.IndexFunc(c.Names, func(n string) bool {
			return n == name || (c.In == 0 || c.In&Header != 0) && strings.EqualFold(n, name)
		})
		if first < i {
			why := ""
			if c.Names[first] != name {
				why = fmt.Sprintf(" (%q: case does not matter in header fields)", c.Names[first])
			}
			errs = append(errs, fmt.Errorf("keyauth: Names[%d] %q is Names[%d] again%s; leave it out", i, name, first, why))
		}
	}
	return errors.Join(errs...)
}

// source says where to look in the terms of package auth.
func (c Config) source() auth.SourceConfig {
	names := c.Names
	if len(names) == 0 {
		names = []string{"apikey"}
	}
	if c.In == 0 {
		c.In = Header
	}
	s := auth.SourceConfig{MaxBody: c.MaxBody, FirstPlace: c.FirstPlace}
	for place, list := range map[Location]*[]string{Header: &s.Headers, Query: &s.Query, Cookie: &s.Cookies, Body: &s.Fields} {
		if c.In&place != 0 {
			*list = names
		}
	}
	return s
}

func or(text, def string) string {
	if text == "" {
		return def
	}
	return text
}
