package regress_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// Skipper's policies that look into bodies saw none where no length was declared, and in the repair (GHSA-8qqm-fp2q-v734) only a
// part of one; Kong (CVE-2026-96437) skipped the check of bodies above the size of its buffer. All of them let the request pass.
func TestBodiesAreSeenWholeOrRefused(t *testing.T) {
	t.Parallel()
	r := rigged(t, func(c *gateway.Config, _ *gateway.Upstream) {
		c.Routes[1].Plugins = []gateway.Plugin{must(keyauth.New(keyauth.Config{
			Consumers: auth.Static{"k": {ID: "1"}}, In: keyauth.Body, MaxBody: 1000,
		}))}
	})
	const form = "POST /admin/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	long := strings.Repeat("a", 2000)
	for name, tt := range map[string]struct {
		bytes  string
		status int
	}{
		"length":              {form + "Content-Length: 8\r\n\r\napikey=k", 200},
		"chunks":              {form + "Transfer-Encoding: chunked\r\n\r\n3\r\napi\r\n5\r\nkey=k\r\n0\r\n\r\n", 200},
		"no key in chunks":    {form + "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n", 401},
		"long":                {form + "Content-Length: 2009\r\n\r\napikey=k&" + long, 413},
		"long chunks":         {form + "Transfer-Encoding: chunked\r\n\r\n9\r\napikey=k&\r\n7d0\r\n" + long + "\r\n0\r\n\r\n", 413},
		"key behind the rest": {form + "Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + long + "\r\n9\r\n&apikey=k\r\n0\r\n\r\n", 413},
		"compressed":          {form + "Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\napikey=k", 401},
	} {
		before := len(r.target.Requests())
		c := rawtest.Dial(t, r.addr)
		c.Send(tt.bytes)
		status := c.ReadAnswer(http.MethodPost).Status()
		if tt.status == 401 {
			require.GreaterOrEqual(t, status, 400, name)
			require.Less(t, status, 500, name)
		} else {
			require.Equal(t, tt.status, status, name)
		}
		if tt.status != 200 {
			require.Len(t, r.target.Requests(), before, name)
		}
	}
}
