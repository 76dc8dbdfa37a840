package keyauth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	_, err := keyauth.New(keyauth.Config{
		Consumers:          auth.Static{"secret": {Username: "ann"}},
		Names:              []string{"apikey", "a b", "", "Content-Length", "apikey"},
		In:                 1 << 6,
		MaxBody:            -1,
		Realm:              "a\nb",
		Anonymous:          &policy.Consumer{Username: "nobody"},
		AnonymousOnInvalid: true,
	})
	for _, want := range []string{
		`keyauth: Consumers: auth: Static: a key of consumer "" ("ann") has a Consumer without an ID`,
		`keyauth: Names[1] "a b" is not a header name; use letters, digits and hyphens`,
		`keyauth: Names[2] "" is not a header name`,
		`keyauth: Names[3] "Content-Length" is a header field of the message itself`,
		`keyauth: Names[4] "apikey" is Names[0] again; leave it out`,
		`keyauth: In 0x40 has unknown places; use Header, Query, Cookie and Body`,
		`keyauth: MaxBody -1 is negative; use 0 for 65536`,
		`keyauth: Realm: auth: realm "a\nb" has a character that is not printable ASCII`,
		`keyauth: Anonymous.ID is empty (Username "nobody")`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "secret")

	_, err = keyauth.New(keyauth.Config{})
	require.ErrorContains(t, err, "keyauth: Consumers: auth: the key store is nil; use an auth.Static")
	_, err = keyauth.New(keyauth.Config{Consumers: auth.Static{}, MaxBody: 1})
	require.ErrorContains(t, err, "keyauth: MaxBody 1 has no meaning without Body in In")
	_, err = keyauth.New(keyauth.Config{Consumers: auth.Static{}, AnonymousOnInvalid: true})
	require.ErrorContains(t, err, "keyauth: AnonymousOnInvalid is set without Anonymous")
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
