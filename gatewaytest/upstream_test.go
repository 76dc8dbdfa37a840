package gatewaytest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: dial}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err = gatewaytest.Text(res)
	return res.StatusCode, body, err
}

func TestScriptAndRecorder(t *testing.T) {
	t.Parallel()
	u := gatewaytest.NewUpstream("users.test", gatewaytest.Respond(201, "one", "X-N", "1"), gatewaytest.Respond(204, ""))
	defer u.Close()
	c := client(t, u.Dial)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.URL()+"/a?b=c", strings.NewReader("body"))
	require.NoError(t, err)
	req.Header.Set("X-In", "yes")
	res, err := c.Do(req)
	require.NoError(t, err)
	text, err := gatewaytest.Text(res)
	require.NoError(t, err)
	require.Equal(t, "one", text)
	require.Equal(t, 201, res.StatusCode)
	require.Equal(t, "1", res.Header.Get("X-N"))
	got := u.Last()
	require.Equal(t, "POST", got.Method)
	require.Equal(t, "/a?b=c", got.URI)
	require.Equal(t, "users.test", got.Host)
	require.Equal(t, "body", string(got.Body))
	require.Equal(t, "yes", got.Header.Get("X-In"))
	for range 2 { // the last step repeats
		status, _, err := get(t, c, u.URL())
		require.NoError(t, err)
		require.Equal(t, 204, status)
	}
	require.Len(t, u.Requests(), 3)
	require.Equal(t, 1, u.Dials(), "one connection served all")
	u.Script()
	_, text, err = get(t, c, u.URL())
	require.NoError(t, err)
	require.Equal(t, "ok", text)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step http.Handler
		body string
		err  error
		text string
	}{
		"reset":    {step: gatewaytest.Reset(), err: syscall.ECONNRESET},
		"truncate": {step: gatewaytest.Truncate("half", 4), body: "half", err: io.ErrUnexpectedEOF},
		"garbage":  {step: gatewaytest.Raw("220 smtp ready\r\n\r\n"), text: "malformed HTTP"},
		"raw":      {step: gatewaytest.Raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw"), body: "raw"},
		"stream":   {step: gatewaytest.Stream(0, "a", "b"), body: "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := gatewaytest.NewUpstream("fault.test", c.step)
			defer u.Close()
			_, body, err := get(t, client(t, u.Dial), u.URL())
			require.Equal(t, c.body, body)
			if c.text != "" {
				require.ErrorContains(t, err, c.text)
				return
			}
			require.ErrorIs(t, err, c.err)
		})
	}
}

func TestDownAndDial(t *testing.T) {
	t.Parallel()
	a, b := gatewaytest.NewUpstream("a.test", gatewaytest.Respond(200, "a")), gatewaytest.NewUpstream("b.test:81", gatewaytest.Respond(200, "b"))
	defer a.Close()
	defer b.Close()
	c := client(t, gatewaytest.Dial(a, b))
	for _, u := range []*gatewaytest.Upstream{a, b} {
		_, body, err := get(t, c, u.URL())
		require.NoError(t, err)
		require.Equal(t, u.URL()[len("http://"):][:1], body)
	}
	_, _, err := get(t, c, "http://c.test")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	a.SetDown(true)
	c.CloseIdleConnections()
	_, _, err = get(t, c, a.URL())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	a.SetDown(false)
	_, _, err = get(t, c, a.URL())
	require.NoError(t, err)
}

func TestVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := gatewaytest.NewUpstream("slow.test", gatewaytest.After(time.Hour, gatewaytest.Respond(200, "late")), gatewaytest.Stall())
		defer u.Close()
		c := client(t, u.Dial)
		start := time.Now()
		_, body, err := get(t, c, u.URL())
		require.NoError(t, err)
		require.Equal(t, "late", body)
		require.Equal(t, time.Hour, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL(), nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		c.CloseIdleConnections()
	})
}

func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	u := gatewaytest.NewUpstream("early.test", gatewaytest.Early(gatewaytest.Respond(413, "too much")))
	defer u.Close()
	pr, pw := io.Pipe()
	defer pw.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.URL(), pr)
	require.NoError(t, err)
	req.ContentLength = 1 << 20
	res, err := client(t, u.Dial).Do(req)
	require.NoError(t, err)
	require.Equal(t, 413, res.StatusCode)
	require.NoError(t, res.Body.Close())
	require.Empty(t, u.Last().Body)
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	u := gatewaytest.NewUpstream("x.test")
	require.NoError(t, u.Close())
	require.NoError(t, u.Close())
	_, err := u.Dial(t.Context(), "tcp", "")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}
