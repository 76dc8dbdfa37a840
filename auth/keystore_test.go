package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

func lookup(t *testing.T, s auth.KeyStore, key string) (auth.Credential, bool) {
	t.Helper()
	c, ok, err := s.Lookup(t.Context(), key)
	require.NoError(t, err)
	if !ok {
		require.Zero(t, c, "what is refused is not told")
	}
	return c, ok
}

func TestStatic(t *testing.T) {
	t.Parallel()
	s := auth.Static{"k1": {ID: "1", Groups: []string{"staff"}}, "k2": {ID: "2"}}
	opened, err := auth.OpenKeys(s)
	require.NoError(t, err)
	for _, store := range []auth.KeyStore{s, opened} {
		c, ok := lookup(t, store, "k1")
		require.True(t, ok)
		require.Equal(t, "1", c.Consumer.ID)
		c, ok = lookup(t, store, "k2")
		require.True(t, ok)
		require.Equal(t, "2", c.Consumer.ID)
		for _, key := range []string{"", "k", "k11", "K1", "k3"} {
			_, ok = lookup(t, store, key)
			require.False(t, ok, key)
		}
	}
}

func TestStaticIsCopied(t *testing.T) {
	t.Parallel()
	groups := []string{"staff"}
	s := auth.Static{"k1": {ID: "1", Groups: groups}}
	opened, err := auth.OpenKeys(s)
	require.NoError(t, err)
	groups[0] = "admin"
	delete(s, "k1")
	s["k2"] = policy.Consumer{ID: "2"}
	c, ok := lookup(t, opened, "k1")
	require.True(t, ok)
	require.Equal(t, []string{"staff"}, c.Consumer.Groups)
	_, ok = lookup(t, opened, "k2")
	require.False(t, ok)
}

func TestStaticErrors(t *testing.T) {
	t.Parallel()
	_, err := auth.OpenKeys(auth.Static{
		"secret-1":               {Username: "ann"},
		"":                       {ID: "2"},
		strings.Repeat("x", 513): {ID: "3", Username: "cat"},
		"secret,4":               {ID: "4"},
		"secret 5":               {ID: "5"},
		"secr\u00e9t6":           {ID: "6"},
		"secret-7":               {ID: "7", Username: "a\nb", Groups: []string{"", "a,b"}},
		"secret-8":               {ID: "8", Username: "eve"},
		"secret-9":               {ID: "8", Username: "bob"},
		"secret-10":              {ID: "8", Username: "bob"},
	})
	require.ErrorContains(t, err, `of consumer "" ("ann") has a bad Consumer: policy: Consumer.ID is empty`)
	require.ErrorContains(t, err, `auth: Static: a key of consumer "7" ("a\nb") has a bad Consumer: policy: Consumer.Username "a\nb" cannot be sent in a header field`)
	require.ErrorContains(t, err, `auth: Static: a key of consumer "7" ("a\nb") has a bad Consumer: policy: Consumer.Groups[0] "" is empty`)
	require.ErrorContains(t, err, `policy: Consumer.Groups[1] "a,b" has a comma`)
	require.ErrorContains(t, err, `auth: Static: the consumer with the ID "8" has the Usernames ["bob" "eve"]; one consumer has one, and each its own ID`)
	for line := range strings.Lines(err.Error()) {
		require.True(t, strings.HasPrefix(line, "auth: Static: "), line)
	}
	require.ErrorContains(t, err, `of consumer "2" ("") is empty`)
	require.ErrorContains(t, err, `of consumer "3" ("cat") is 513 bytes long; use at most 512`)
	for _, id := range []string{"4", "5", "6"} {
		require.ErrorContains(t, err, `of consumer "`+id+`" ("") holds a character`)
	}
	require.NotContains(t, err.Error(), "secr")
	require.NotContains(t, err.Error(), "xxx")
}

func TestOpenKeys(t *testing.T) {
	t.Parallel()
	m := &auth.MemoryKeys{}
	s, err := auth.OpenKeys(m)
	require.NoError(t, err)
	require.Same(t, m, s)
	f := auth.KeyStoreFunc(func(context.Context, string) (auth.Credential, bool, error) {
		return auth.Credential{ID: "x"}, true, nil
	})
	s, err = auth.OpenKeys(f)
	require.NoError(t, err)
	c, ok := lookup(t, s, "k")
	require.True(t, ok)
	require.Equal(t, "x", c.ID)

	for _, none := range []auth.KeyStore{nil, (*auth.MemoryKeys)(nil), (*auth.KeyCache)(nil), auth.KeyStoreFunc(nil)} {
		_, err = auth.OpenKeys(none)
		require.ErrorContains(t, err, "is nil")
	}
	_, ok, err = auth.KeyStoreFunc(nil).Lookup(t.Context(), "k")
	require.Error(t, err)
	require.False(t, ok)
	empty, err := auth.OpenKeys(auth.Static(nil))
	require.NoError(t, err, "an empty set lets nobody in, and is no error")
	_, ok = lookup(t, empty, "k")
	require.False(t, ok)
}

// TestNothingPrintsAKey holds that no way of printing or logging what holds keys shows one, or its digest.
func TestNothingPrintsAKey(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-v4lue"
	consumer := &policy.Consumer{ID: "1", Username: "ann"}
	key := auth.Key{Value: secret, ID: "key-7", Consumer: consumer, Expires: time.Unix(1e9, 0)}
	memory := &auth.MemoryKeys{}
	require.NoError(t, memory.Add(auth.Key{Value: secret, ID: "key-7", Consumer: consumer}))
	cache := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: memory}))
	_, ok := lookup(t, cache, secret)
	require.True(t, ok)
	type holder struct {
		Store auth.KeyStore
		Keys  []auth.Key
		One   auth.Key
	}
	static := auth.Static{secret: *consumer}
	values := []any{
		static, key, &key, []auth.Key{key}, map[string]auth.Key{"a": key}, memory, cache,
		holder{static, []auth.Key{key}, key}, &holder{memory, nil, key}, holder{Store: cache},
		auth.KeyCacheConfig{Store: static},
	}
	var out bytes.Buffer
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(b)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", slog.Any("v", v))
		}
	}
	require.NotContains(t, out.String(), secret)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", secret))
	require.Contains(t, out.String(), "auth.Static(1 keys)")
	require.Contains(t, out.String(), "auth.MemoryKeys(1 keys)")
	require.Contains(t, out.String(), `auth.Key([redacted], ID "key-7", consumer "1")`)
	require.Contains(t, auth.Key{}.String(), "[redacted]")

	err := memory.Add(key, auth.Key{Value: secret + ",", Consumer: consumer}, auth.Key{Value: secret})
	require.Error(t, err)
	require.NotContains(t, err.Error(), secret)
}
