package regress_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/rawtest"
)

// Go's Transport sent the body of a CONNECT without framing and used the connection again, so that somebody's next request got
// the answer to what stood in the body; its server went on with the client's connection as well (CVE-2026-94439).
func TestConnectGoesNoFurther(t *testing.T) {
	t.Parallel()
	const inside = "GET /open/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	r := rigged(t, nil)
	for _, target := range []string{"h:443", "/open/a", "http://h/open/a"} {
		for _, framing := range []string{"\r\n\r\n", "\r\nContent-Length: 44\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\n"} {
			c := rawtest.Dial(t, r.addr)
			c.SendMeanwhile("CONNECT " + target + " HTTP/1.1\r\nHost: h" + framing + inside)
			m := c.ReadAnswer(http.MethodConnect)
			require.GreaterOrEqual(t, m.Status(), 400)
			require.Less(t, m.Status(), 500)
			c.ExpectEnd()
		}
	}
	require.Empty(t, r.target.Requests())
	r.passes("GET /open/a HTTP/1.1")
}
