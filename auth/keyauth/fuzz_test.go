package keyauth_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
)

// FuzzRequest sends whatever a client may send through the policy with everything switched on. It never panics, lets
// nobody pass without the key, and lets no upstream that reads requests as net/http does see a key.
func FuzzRequest(f *testing.F) {
	f.Add("k1", "a=1", "a=1", "", []byte(nil))
	f.Add("", "apikey=k1&a=%31", "", "", []byte(nil))
	f.Add("", "a=1", "apikey=k1; a=1", "", []byte(nil))
	f.Add("", "", "", "application/x-www-form-urlencoded", []byte("a=1&apikey=k1"))
	f.Add("", "", "", "application/json; charset=utf-8", []byte(`{"apikey":"k1","a":1}`))
	f.Add("", "", "", "multipart/form-data; boundary=B", []byte("--B\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nk1\r\n--B--\r\n"))
	k := newKeyAuth(f, keyauth.Config{Consumers: auth.Static{"k1": {ID: "1"}}, In: everywhere, HideCredentials: true, MaxBody: 1 << 10})
	f.Fuzz(func(t *testing.T, header, query, cookie, contentType string, body []byte) {
		r := request("/", string(body))
		r.URL.RawQuery, r.RequestURI = query, "/?"+query
		for name, value := range map[string]string{"Apikey": header, "Cookie": cookie, "Content-Type": contentType} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		got, up := serve(t, k, r)
		require.Contains(t, []int{200, 400, 401, 413, 415}, got.status)
		require.Equal(t, got.status == 200, up.reached)
		if !up.reached {
			return
		}
		require.Equal(t, "1", up.identity.Consumer.ID)
		require.True(t, header == "k1" || strings.Contains(query+cookie+string(body), "k") ||
			strings.ContainsAny(query+string(body), `%\`), "the key, or an escaped one")

		inside := up.request.Clone(t.Context())
		inside.Body = io.NopCloser(strings.NewReader(up.body))
		_ = inside.ParseMultipartForm(1 << 20) // what cannot be parsed cannot be seen
		require.Empty(t, inside.Form["apikey"])
		require.Empty(t, inside.Header["Apikey"])
		_, err := inside.Cookie("apikey")
		require.ErrorIs(t, err, http.ErrNoCookie)
		if !bytes.Equal(body, []byte(up.body)) {
			require.Equal(t, int64(len(up.body)), inside.ContentLength)
		}
	})
}
