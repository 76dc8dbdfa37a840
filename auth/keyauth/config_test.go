package keyauth_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	_, err := keyauth.New(keyauth.Config{
		Consumers:          auth.Static{"secret": {Username: "ann"}, "other": {ID: "2", Groups: []string{"a\nb"}}},
		Names:              []string{"apikey", "a b", "", "Content-Length", "apikey"},
		In:                 1 << 6,
		MaxBody:            -1,
		Realm:              "a\nb",
		Anonymous:          &policy.Consumer{Username: "nobody"},
		AnonymousOnInvalid: true,
	})
	for _, want := range []string{
		`keyauth: Consumers: auth: Static: a key of consumer "" ("ann") has a bad Consumer: policy: Consumer.ID is empty`,
		`keyauth: Consumers: auth: Static: a key of consumer "2" ("") has a bad Consumer: policy: Consumer.Groups[0] "a\nb" cannot be sent`,
		`keyauth: Names[1] "a b" is not a header name; use letters, digits and hyphens`,
		`keyauth: Names[2] "" is not a header name`,
		`keyauth: Names[3] "Content-Length" is a header field of the message itself`,
		`keyauth: Names[4] "apikey" is Names[0] again; leave it out`,
		`keyauth: In 0x40 has unknown places; use Header, Query, Cookie and Body`,
		`keyauth: MaxBody -1 is negative; use 0 for 65536`,
		`keyauth: Realm: auth: realm "a\nb" has a character that is not printable ASCII`,
		`keyauth: Anonymous: policy: Consumer.ID is empty (Username "nobody")`,
	} {
		require.ErrorContains(t, err, want)
	}
	for line := range strings.Lines(err.Error()) {
		require.True(t, strings.HasPrefix(line, "keyauth: "), line)
	}
	require.NotContains(t, err.Error(), "use an auth.Static", "there is a store")
	require.NotContains(t, err.Error(), "secret")

	_, err = keyauth.New(keyauth.Config{})
	require.ErrorContains(t, err, "keyauth: Consumers: auth: the key store is nil; use an auth.Static")
	_, err = keyauth.New(keyauth.Config{Consumers: auth.Static{}, MaxBody: 1})
	require.ErrorContains(t, err, "keyauth: MaxBody 1 has no meaning without Body in In")
	_, err = keyauth.New(keyauth.Config{Consumers: auth.Static{}, AnonymousOnInvalid: true})
	require.ErrorContains(t, err, "keyauth: AnonymousOnInvalid is set without Anonymous")

	for in, ok := range map[keyauth.Location]bool{0: false, keyauth.Header: false, keyauth.Header | keyauth.Query: false, keyauth.Query | keyauth.Body: true} {
		_, err = keyauth.New(keyauth.Config{Consumers: auth.Static{}, Names: []string{"apikey", "ApiKey"}, In: in})
		if ok {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, `keyauth: Names[1] "ApiKey" is Names[0] again ("apikey": case does not matter in header fields); leave it out`)
	}
}

func TestNilRefuses(t *testing.T) {
	t.Parallel()
	got, _ := serve(t, nil, request("/", ""))
	require.Equal(t, 503, got.status)
	require.NotPanics(t, func() { (*keyauth.KeyAuth)(nil).Contract() })
}

func TestConfigIsCopied(t *testing.T) {
	t.Parallel()
	static := auth.Static{"k": {ID: "1"}}
	names := []string{"a", "b"}
	k := newKeyAuth(t, keyauth.Config{Consumers: static, Names: names, In: keyauth.Header | keyauth.Query})
	names[0] = "x"
	delete(static, "k")
	got, _ := serve(t, k, request("/?a=k", ""))
	require.Equal(t, 200, got.status)
	got, _ = serve(t, k, request("/", "", "x: k"))
	require.Equal(t, "no_credential", got.reason)
}
