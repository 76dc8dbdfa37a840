package auth_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// closer is a body that says whether it was closed, and how much was read of it.
type closer struct {
	io.Reader

	read   int
	closed bool
}

func (c *closer) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func fields(maxBody int64) *auth.Source {
	return policy.Must(auth.NewSource(auth.SourceConfig{Headers: []string{"apikey"}, Fields: []string{"apikey"}, MaxBody: maxBody}))
}

func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	body := func(n int) string { return `{"apikey":"` + strings.Repeat("k", n-13) + `"}` }
	tests := []struct {
		name  string
		limit int64
		size  int
		want  bool
	}{
		{"default, at the limit", 0, auth.DefaultMaxBody, true},
		{"default, beyond", 0, auth.DefaultMaxBody + 1, false},
		{"own limit", 100, 100, true},
		{"beyond own limit", 100, 101, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, known := range []bool{true, false} {
				c := &closer{Reader: strings.NewReader(body(tt.size))}
				r := httptest.NewRequest(http.MethodPost, "/", c)
				r.Header.Set("Content-Type", "application/json")
				r.ContentLength = -1
				if known {
					r.ContentLength = int64(tt.size)
				}
				got := outcome(fields(tt.limit).Find(r))
				if !tt.want {
					require.Equal(t, "body_too_large", got)
					if known {
						require.Zero(t, c.read, "a body known to be too large is not read at all")
					}
					continue
				}
				require.Len(t, got, tt.size-13)
				require.NoError(t, r.Body.Close())
				require.True(t, c.closed, "closing reaches the server's body")
			}
		})
	}
}

func TestBodyErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset by 10.0.0.7")
	r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("apikey="), iotest.ErrReader(broken)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err := fields(0).Find(r)
	var e *policy.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusBadRequest, e.Status)
	require.Equal(t, "body_unreadable", e.Code)
	require.NotContains(t, e.Message, "10.0.0.7")
	require.ErrorIs(t, err, broken)

	r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader("apikey=k"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 3)
	_, err = fields(0).Find(r)
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusRequestEntityTooLarge, e.Status, "a smaller bound outside")
}

func TestBodyIsReadOnce(t *testing.T) {
	t.Parallel()
	c := &closer{Reader: strings.NewReader("apikey=k&a=1")}
	r := httptest.NewRequest(http.MethodPost, "/", c)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s := fields(0)
	require.Equal(t, "k", outcome(s.Find(r)))
	first := r.Body
	require.Equal(t, "k", outcome(s.Find(r)))
	require.Same(t, first, r.Body)
	require.Equal(t, "body_too_large", outcome(fields(5).Find(r)), "another bound still holds")
	s.Hide(r)
	require.Equal(t, "none", outcome(s.Find(r)))
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "a=1", string(body))

	// One that somebody has begun to read is another body.
	r = request("/", "apikey=k&a=1", form)
	require.Equal(t, "k", outcome(s.Find(r)))
	_, err = io.ReadFull(r.Body, make([]byte, len("apikey=k&")))
	require.NoError(t, err)
	require.Equal(t, "none", outcome(s.Find(r)))
}

func TestBodyIsNotReadForNothing(t *testing.T) {
	t.Parallel()
	for name, header := range map[string][]string{
		"two keys in the header": {form, "apikey: a", "apikey: b"},
		"another type":           {"Content-Type: application/octet-stream", "apikey: a"},
	} {
		c := &closer{Reader: strings.NewReader("apikey=k")}
		r := request("/", "x", header...)
		r.Body, r.ContentLength = c, -1
		_, _ = fields(0).Find(r)
		require.Zero(t, c.read, name)
		require.Same(t, c, r.Body)
	}
	// No body at all.
	for _, r := range []*http.Request{
		{Header: http.Header{"Content-Type": {"application/json"}}},
		{Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, ContentLength: -1},
	} {
		require.Equal(t, "none", outcome(fields(0).Find(r)))
	}
}

func TestReplacedBodyIsFramed(t *testing.T) {
	t.Parallel()
	r := request("/", "apikey=k", form, "Content-Length: 8")
	r.TransferEncoding = []string{"chunked"}
	r.ContentLength = -1
	fields(0).Hide(r)
	require.Equal(t, http.NoBody, r.Body)
	require.Zero(t, r.ContentLength)
	require.Empty(t, r.TransferEncoding)
	require.Equal(t, "0", r.Header.Get("Content-Length"))
}

// However many fields a small body has, looking at them costs no more than a few times its size. Not parallel: the
// memory of others would be counted.
//
//nolint:paralleltest // see above
func TestBodyCostsInProportion(t *testing.T) {
	parts := "--b" + strings.Repeat("\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b", 1200) + "--\r\n"
	tests := []struct{ name, kind, body string }{
		{"members", "application/json", `{"x":1` + strings.Repeat(`,"a":1`, 12_000) + `}`},
		{"escaped members", "application/json", `{"x":1` + strings.Repeat(`,"\u0061":1`, 12_000) + `}`},
		{"nesting", "application/json", `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`},
		{"parts", "multipart/form-data; boundary=b", parts},
		{"parameters", "multipart/form-data; boundary=b", "--b" + strings.Repeat("\r\nContent-Disposition: form-data; name=a;a=1;b=1;c=1;d=1;e=1;f=1\r\n\r\n\r\n--b", 1200) + "--\r\n"},
		{"fields", "application/x-www-form-urlencoded", "a" + strings.Repeat("&a", 20_000)},
	}
	s := fields(1 << 20)
	for _, tt := range tests {
		cost := func() uint64 {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.kind)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := s.Find(r)
			s.Hide(r)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, auth.ErrNoCredential, tt.name)
			return after.TotalAlloc - before.TotalAlloc
		}
		require.Less(t, min(cost(), cost()), 50*uint64(len(tt.body)), tt.name)
	}
}

// The length a client declares makes no room for a body that does not come.
//
//nolint:paralleltest // the memory of others would be counted
func TestDeclaredLengthMakesNoRoom(t *testing.T) {
	s := fields(64 << 20)
	cost := func() uint64 {
		r := httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(io.ErrUnexpectedEOF))
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = 64 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.Find(r)
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		return after.TotalAlloc - before.TotalAlloc
	}
	require.Less(t, min(cost(), cost()), uint64(64<<10))
}

// TestMultipartReadTwoWays: what readers of a multipart body understand differently is refused, and costs little.
func TestMultipartReadTwoWays(t *testing.T) {
	t.Parallel()
	s, err := auth.NewSource(auth.SourceConfig{Fields: []string{"apikey"}})
	require.NoError(t, err)
	part := func(boundary, disposition, value string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + value + "\r\n"
	}
	hidden := part("BBB", "name=apikey", "other") + "--BBB--\r\n"
	for name, c := range map[string]struct {
		params, body string
		ok           bool
	}{
		"plain":                  {"boundary=B", part("B", `name="apikey"`, "mine") + "--B--", true},
		"as browsers write it":   {`boundary="B"; charset=utf-8`, part("B", `name="apikey"; filename="café (1).txt"`, "mine") + "--B--", true},
		"filename*":              {"boundary=B", part("B", `name="apikey"; filename="x"; filename*=UTF-8''x%20y`, "mine") + "--B--", true},
		"semicolon at the end":   {"boundary=B;", part("B", `name=apikey ; `, "mine") + "--B--", true},
		"name and name*":         {"boundary=B", part("B", "name=apikey", "mine") + part("B", "name=apikey; name*=utf-8''x", "other") + "--B--", false},
		"name*0":                 {"boundary=B", part("B", "name*0=api; name*1=key", "mine") + "--B--", false},
		"name twice":             {"boundary=B", part("B", "name=x; Name=apikey", "mine") + "--B--", false},
		"boundary and boundary*": {"boundary=BBB; boundary*=us-ascii''AAA", part("AAA", "name=apikey", "mine") + part("AAA", "name=x", hidden) + "--AAA--", false},
		"backslash":              {"boundary=B", part("B", "name=apikey", "mine") + part("B", `name="api\key"`, "other") + "--B--", false},
		"quote in a file's name": {"boundary=B", part("B", `name=x; filename="a\"; name=\"apikey"`, "other") + "--B--", false},
		"text behind a quote":    {"boundary=B", part("B", `name="api"key`, "mine") + "--B--", false},
		"open quote":             {"boundary=B", part("B", `name="apikey`, "mine") + "--B--", false},
		"space before equals":    {"boundary=B", part("B", `name =apikey`, "mine") + "--B--", false},
		"many parameters":        {"boundary=B", part("B", "name=apikey; a=1; b=1; c=1; d=1; e=1; f=1; g=1; h=1", "mine") + "--B--", false},
		"long":                   {"boundary=B", part("B", "name=apikey; filename="+strings.Repeat("x", 2000), "mine") + "--B--", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "multipart/form-data; "+c.params)
		key, err := s.Find(r)
		if c.ok {
			require.NoError(t, err, name)
			require.Equal(t, "mine", key, name)
			continue
		}
		var e *policy.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, 400, e.Status, name)
	}
}
