package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// MaxKeyLength is how long an API key may be, in bytes. Longer ones are refused before anything is computed from them.
const MaxKeyLength = 512

// KeyStore knows API keys. Implementations are safe for concurrent use.
//
// Lookup returns the credential that key is; false when there is none, or when it is expired or disabled. An error
// means that the store could not find out: the request is refused with 503. It returns soon after ctx, which is the
// request's, has ended.
//
// The key is a secret that a client made up, not empty and at most [MaxKeyLength] bytes long: keep and compare digests
// of keys, and put the key neither into errors nor into logs. A credential without a Consumer, or with one that has no
// ID, counts as an error of the store.
type KeyStore interface {
	Lookup(ctx context.Context, key string) (Credential, bool, error)
}

// KeyStoreFunc makes a [KeyStore] of a function.
type KeyStoreFunc func(ctx context.Context, key string) (Credential, bool, error)

// Lookup calls f. A nil f is a store that cannot answer.
func (f KeyStoreFunc) Lookup(ctx context.Context, key string) (Credential, bool, error) {
	if f == nil {
		return Credential{}, false, errNilStore
	}
	return f(ctx, key)
}

var errNilStore = errors.New("auth: the key store is nil; use an auth.Static, an *auth.MemoryKeys or a store of your own")

// Credential is what a store knows about a key.
type Credential struct {
	// ID names the credential in logs, limits and headers. It is not the key, and nobody can compute the key from it.
	ID string
	// Consumer is whose key it is. It is shared and not changed.
	Consumer *policy.Consumer
}

// Static is a fixed set of API keys and the consumers they belong to, as a literal in a program:
//
//	auth.Static{"k1": {ID: "1", Username: "ann", Groups: []string{"staff"}}}
//
// One consumer may have several keys, under one ID and one Username. Policies do not keep it: [OpenKeys] copies it into a [MemoryKeys] and forgets the keys. A Static prints as its
// length only, in logs and in JSON too.
type Static map[string]policy.Consumer

// Lookup compares key with every key of the set, in time that does not depend on where they differ. It is slow, and
// there so that a Static is a [KeyStore]; its credentials have no ID.
func (s Static) Lookup(_ context.Context, key string) (Credential, bool, error) {
	var found Credential
	ok := false
	want := sha256.Sum256([]byte(key))
	for k, c := range s {
		got := sha256.Sum256([]byte(k))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			found, ok = Credential{Consumer: &c}, true
		}
	}
	return found, ok, nil
}

// Digest returns a new store with the digests of the keys of s and copies of their consumers. The error joins all
// problems and names consumers, never keys.
func (s Static) Digest() (*MemoryKeys, error) {
	var errs []error
	keys := make([]Key, 0, len(s))
	names := map[string][]string{} // by ID
	for value, c := range s {
		k := Key{Value: value, Consumer: copyOf(c)}
		errs = append(errs, prefixed("auth: Static: a key ", k.check())...)
		keys = append(keys, k)
		if c.ID != "" && !slices.Contains(names[c.ID], c.Username) {
			names[c.ID] = append(names[c.ID], c.Username)
		}
	}
	for id, list := range names {
		if slices.Sort(list); len(list) > 1 {
			errs = append(errs, fmt.Errorf("auth: Static: the consumer with the ID %q has the Usernames %q; one consumer has one, and each its own ID", id, list))
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) // maps have no order
		return nil, errors.Join(errs...)
	}
	m := &MemoryKeys{}
	if err := m.Add(keys...); err != nil {
		return nil, err
	}
	return m, nil
}

// String returns the number of keys, and nothing of them.
func (s Static) String() string { return fmt.Sprintf("auth.Static(%d keys)", len(s)) }

// Format prints String for every verb, so that no way of printing shows a key.
func (s Static) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue logs String.
func (s Static) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON encodes String.
func (s Static) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// OpenKeys returns the store a policy keeps for the one in its Config: a digested copy of a [Static], and any other
// store as it is. It is an error when there is none, or when the Static is wrong.
func OpenKeys(s KeyStore) (KeyStore, error) {
	switch s := s.(type) {
	case nil:
		return nil, errNilStore
	case Static:
		return s.Digest()
	case *MemoryKeys:
		if s == nil {
			return nil, errNilStore
		}
	case *KeyCache:
		if s == nil {
			return nil, errNilStore
		}
	case KeyStoreFunc:
		if s == nil {
			return nil, errNilStore
		}
	}
	return s, nil
}

// checkKey returns what is wrong with a key that is to be stored, or "". Only keys that survive every place they may be
// sent in are stored: a comma, for one, would be taken for two repeated header fields.
func checkKey(key string) string {
	if key == "" {
		return "is empty"
	}
	if len(key) > MaxKeyLength {
		return fmt.Sprintf("is %d bytes long; use at most %d", len(key), MaxKeyLength)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c >= 0x7f || c == ',' {
			return "holds a character a header field cannot carry as it is; use visible ASCII without commas"
		}
	}
	return ""
}

func copyOf(c policy.Consumer) *policy.Consumer {
	c.Groups = append([]string(nil), c.Groups...)
	c.Tags = append([]string(nil), c.Tags...)
	return &c
}

// redacted is how a key prints.
const redacted = "[redacted]"

// Key is an API key to be stored, with what it stands for.
type Key struct {
	// Value is the key itself: visible ASCII without commas, at most [MaxKeyLength] bytes. It should be random, 128 bits
	// or more; the store cannot make up for one that can be guessed.
	Value string
	// ID names the credential; see [Credential]. Several keys may share one and are then revoked together. Empty: an ID
	// is made that tells the store's keys apart for as long as the store lives. Upstreams get it in a header field: it has
	// no control characters, and no white space at its ends.
	ID string
	// Consumer is whose key it is. It must be valid (see [policy.Consumer.Validate]), is shared, and must not be changed
	// afterwards.
	Consumer *policy.Consumer
	// Expires is when the key ceases to be valid. Zero: never. [MemoryKeys.Add] takes no key that has expired.
	Expires time.Time
	// Disabled keys are known but refused until [MemoryKeys.Enable] is called.
	Disabled bool
}

// String returns the ID and consumer of k, and not its value.
func (k Key) String() string {
	consumer := ""
	if k.Consumer != nil {
		consumer = k.Consumer.ID
	}
	return fmt.Sprintf("auth.Key(%s, ID %q, consumer %q)", redacted, k.ID, consumer)
}

// Format prints String for every verb, so that no way of printing shows the value.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue logs String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON encodes String.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }
