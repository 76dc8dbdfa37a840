package mirror_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

func made(tb testing.TB, c mirror.Config) *mirror.Mirror {
	tb.Helper()
	if c.Share == 0 {
		c.Share = 1
	}
	m, err := mirror.New(c)
	require.NoError(tb, err)
	return m
}

// got is a copy that a shadow got.
type got struct {
	*http.Request

	body     string
	exchange *policy.Exchange
}

// shadow is a handler that keeps what it gets.
type shadow struct {
	mu   sync.Mutex
	list []got
	then http.Handler
}

func (s *shadow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = []byte(err.Error())
	}
	s.mu.Lock()
	s.list = append(s.list, got{r, string(body), policy.ExchangeFrom(r.Context())})
	s.mu.Unlock()
	if s.then != nil {
		s.then.ServeHTTP(w, r)
	}
}

func (s *shadow) all() []got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]got{}, s.list...)
}

// echo answers with the body of the request.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

func TestConfig(t *testing.T) {
	t.Parallel()
	ok := gatewaytest.Respond(200, "x")
	for want, c := range map[string]mirror.Config{
		`mirror: Shadow is nil`: {Share: 1},
		`mirror: Share is 0; use the share of requests to copy, above 0 up to 1, or a negative one`: {Shadow: ok},
		`mirror: Share is 1.5`:                               {Shadow: ok, Share: 1.5},
		`mirror: Share is NaN`:                               {Shadow: ok, Share: math.NaN()},
		`mirror: Name "a\n" has control characters`:          {Shadow: ok, Share: 1, Name: "a\n"},
		`mirror: Key: policy: ByHeader: "a b"`:               {Shadow: ok, Share: 1, Key: policy.ByHeader("a b")},
		`mirror: Methods[1] "post" is no method`:             {Shadow: ok, Share: 1, Methods: []string{"*", "post"}},
		`mirror: Methods[0] "CONNECT" is never copied`:       {Shadow: ok, Share: 1, Methods: []string{"CONNECT"}},
		`mirror: Header "a b" is not a header name`:          {Shadow: ok, Share: 1, Header: "a b"},
		`mirror: Header "content-type" has a meaning`:        {Shadow: ok, Share: 1, Header: "content-type"},
		`mirror: Header "X-A" and SkipHeader are both set`:   {Shadow: ok, Share: 1, Header: "X-A", SkipHeader: true},
		`mirror: DropHeaders[0] "" is not a header name`:     {Shadow: ok, Share: 1, DropHeaders: []string{""}},
		`mirror: MaxBody is 2000000000`:                      {Shadow: ok, Share: 1, MaxBody: 2e9},
		`mirror: MaxBytes is -1`:                             {Shadow: ok, Share: 1, MaxBytes: -1},
		`mirror: Workers is -1`:                              {Shadow: ok, Share: 1, Workers: -1},
		`mirror: Queue is 2000000`:                           {Shadow: ok, Share: 1, Queue: 2e6},
		`mirror: Timeout is 1ns`:                             {Shadow: ok, Share: 1, Timeout: 1},
		`mirror: Compare.Headers and IgnoreHeaders are both`: {Shadow: ok, Share: 1, Compare: &mirror.Compare{Headers: []string{}, IgnoreHeaders: []string{"A"}}},
		`mirror: Compare.Headers[0] "a b" is not`:            {Shadow: ok, Share: 1, Compare: &mirror.Compare{Headers: []string{"a b"}}},
		`mirror: Compare.SkipBody is set beside`:             {Shadow: ok, Share: 1, Compare: &mirror.Compare{SkipBody: true, Ignore: []string{"a"}}},
		`mirror: Compare.MaxDetails is -1`:                   {Shadow: ok, Share: 1, Compare: &mirror.Compare{MaxDetails: -1}},
		`mirror: Compare.Ignore[0] "a..b" has an empty name`: {Shadow: ok, Share: 1, Compare: &mirror.Compare{Ignore: []string{"a..b"}}},
		`mirror: Compare.Tolerances[0] allows 0 and`:         {Shadow: ok, Share: 1, Compare: &mirror.Compare{Tolerances: []mirror.Tolerance{{Path: "a"}}}},
		`mirror: Compare has 300 paths, at most 256`:         {Shadow: ok, Share: 1, Compare: &mirror.Compare{Ignore: strings.Fields(strings.Repeat("a ", 300))}},
	} {
		_, err := mirror.New(c)
		require.ErrorContains(t, err, want)
	}
	_, err := mirror.New(mirror.Config{Timeout: -1, Compare: &mirror.Compare{Unordered: []string{""}}})
	require.ErrorContains(t, err, "Shadow")
	require.ErrorContains(t, err, "Timeout")
	require.ErrorContains(t, err, `Compare.Unordered[0] "" is empty`, "all of it")
}

// TestZero: a Mirror that was not made passes everything on.
func TestZero(t *testing.T) {
	t.Parallel()
	next := gatewaytest.Respond(201, "x")
	for _, m := range []*mirror.Mirror{nil, {}} {
		require.Equal(t, 201, gatewaytest.Do(m.Wrap(next), get()).StatusCode)
		require.NoError(t, m.Close())
		require.Error(t, m.SetShare(1))
		require.Zero(t, m.Status())
		require.Empty(t, m.Handlers())
		require.Empty(t, m.Recent())
		require.Empty(t, m.Contract())
		require.Equal(t, "mirror", m.Name())
	}
}

// TestCopy: what the shadow gets is what the handler gets, and is marked.
func TestCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shadow{}
		m := made(t, mirror.Config{Shadow: s, Methods: []string{"*"}, DropHeaders: []string{"cookie"}})
		entry := policy.Must(policy.NewEntry(policy.EntryConfig{}))
		var served got
		h := entry.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.ExchangeFrom(r.Context()).SetIdentity(policy.Identity{Kind: "key", Consumer: &policy.Consumer{ID: "7"}})
			policy.ExchangeFrom(r.Context()).SetRoute("users", "/a/:id", "/a/b")
			r.SetPathValue("id", "b")
			m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				served = got{r, string(body), policy.ExchangeFrom(r.Context())}
				r.Header.Set("X-Late", "1")
				r.URL.Path = "/changed"
			})).ServeHTTP(w, r)
		}))
		r := httptest.NewRequest(http.MethodPost, "http://h.example/a/b?q=1", strings.NewReader("hello"))
		r.Header = http.Header{
			"Cookie": {"a=b"}, "Authorization": {"Basic x"}, "Expect": {"100-continue"}, "X-A": {"1", "2"}, "Connection": {"X-Gatehouse-Mirror, X-Hop"},
			"X-Hop": {"1"}, "X-Gatehouse-Mirror": {"forged"},
		}
		ctx, leave := context.WithCancel(t.Context())
		h.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
		leave()
		synctest.Wait()
		require.Len(t, s.all(), 1)
		c := s.all()[0]
		require.Equal(t, "hello", c.body)
		require.Equal(t, "hello", served.body)
		require.Equal(t, []string{"POST", "h.example", "/a/b?q=1", "b"}, []string{c.Method, c.Host, c.URL.RequestURI(), c.PathValue("id")})
		require.EqualValues(t, 5, c.ContentLength)
		require.Equal(t, http.Header{"Authorization": {"Basic x"}, "X-A": {"1", "2"}, "X-Gatehouse-Mirror": {served.exchange.RequestID()}}, c.Header)
		require.NotContains(t, served.Header, "X-Gatehouse-Mirror", "the entry has deleted what the client said")
		require.NotSame(t, served.exchange, c.exchange)
		require.Equal(t, "7", c.exchange.Consumer().ID)
		require.Equal(t, []string{"users", "/a/:id", "/a/b"}, []string{c.exchange.Route(), c.exchange.Pattern(), c.exchange.Path()})
		require.Equal(t, "mirror allowed sampled", served.exchange.Decisions()[0].String())
		require.Empty(t, c.exchange.Decisions())
		require.Equal(t, mirror.Status{Name: "mirror", Share: 1, Sampled: 1, Sent: 1, Answered: 1}, m.Status())
		require.NoError(t, m.Close())
	})
}

// TestCopyWithout: identity and mark can be left out.
func TestCopyWithout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shadow{}
		m := made(t, mirror.Config{Shadow: s, DropIdentity: true, SkipHeader: true})
		x, r := policy.Ensure(get())
		x.SetIdentity(policy.Identity{Kind: "key", Credential: "c"})
		m.Wrap(gatewaytest.Respond(200, "x")).ServeHTTP(httptest.NewRecorder(), r)
		synctest.Wait()
		require.Empty(t, s.all()[0].Header)
		require.True(t, s.all()[0].exchange.Identity().IsZero())
		require.False(t, x.Identity().IsZero())
	})
}

// TestChosen: which requests are copied at all.
func TestChosen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		methods []string
		request func(r *http.Request)
		want    int
	}{
		"GET":             {want: 1},
		"no method":       {request: func(r *http.Request) { r.Method = "" }, want: 1},
		"HEAD":            {request: func(r *http.Request) { r.Method = "HEAD" }, want: 1},
		"POST":            {request: func(r *http.Request) { r.Method = "POST" }},
		"POST, allowed":   {methods: []string{"GET", "POST"}, request: func(r *http.Request) { r.Method = "POST" }, want: 1},
		"all":             {methods: []string{"*"}, request: func(r *http.Request) { r.Method = "PURGE" }, want: 1},
		"CONNECT":         {methods: []string{"*"}, request: func(r *http.Request) { r.Method = "CONNECT" }},
		"TRACE":           {methods: []string{"*"}, request: func(r *http.Request) { r.Method = "TRACE" }},
		"upgrade":         {request: func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }},
		"a copy":          {request: func(r *http.Request) { r.Header.Set("X-Gatehouse-Mirror", "1") }},
		"an empty header": {request: func(r *http.Request) { r.Header = nil }, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &shadow{}
				m := made(t, mirror.Config{Shadow: s, Methods: c.methods})
				r := get()
				if c.request != nil {
					c.request(r)
				}
				m.Wrap(gatewaytest.Respond(200, "x")).ServeHTTP(httptest.NewRecorder(), r)
				synctest.Wait()
				require.Len(t, s.all(), c.want)
				require.EqualValues(t, c.want, m.Status().Sampled)
			})
		})
	}
}

// TestCircle: mirrors that lead to each other copy a request once, whatever their mark.
func TestCircle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		var h http.Handler
		page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) })
		back := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) })
		a := made(t, mirror.Config{Shadow: back, SkipHeader: true})
		b := made(t, mirror.Config{Shadow: back, Header: "X-Other"})
		h = a.Wrap(b.Wrap(page))
		h.ServeHTTP(httptest.NewRecorder(), get())
		synctest.Wait()
		require.EqualValues(t, 3, n.Load(), "the request, and a copy for each mirror")
	})
}

// TestShare: the share is met within a few of any number in a row, by turns and by key.
func TestShare(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{0.001, 0.1, 1.0 / 3, 0.5, 0.99, 1} {
		m := made(t, mirror.Config{Shadow: gatewaytest.Respond(200, ""), Share: share})
		h := m.Wrap(gatewaytest.Respond(200, "x"))
		odd := 0.0
		for i := 1; i <= 3000; i++ {
			before := m.Status().Sampled
			h.ServeHTTP(httptest.NewRecorder(), get())
			odd += float64(i%2) * float64(m.Status().Sampled-before)
			require.InDelta(t, share*float64(i), m.Status().Sampled, 4, "%v of %d", share, i)
		}
		require.InDelta(t, share*1500, odd, 8, "clients that take turns are copied alike")
		require.NoError(t, m.Close())
	}
}

func TestShareByKey(t *testing.T) {
	t.Parallel()
	config := mirror.Config{Shadow: gatewaytest.Respond(200, ""), Share: 0.25, Key: policy.ByHeader("X-User")}
	m, other := made(t, config), made(t, config)
	chosen := func(m *mirror.Mirror, user string) uint64 {
		before := m.Status().Sampled
		r := get()
		if user != "" {
			r.Header.Set("X-User", user)
		}
		m.Wrap(gatewaytest.Respond(200, "x")).ServeHTTP(httptest.NewRecorder(), r)
		return m.Status().Sampled - before
	}
	n := uint64(0)
	for i := range 4000 {
		user := fmt.Sprint("user-", i)
		first := chosen(m, user)
		n += first
		require.Equal(t, first, chosen(m, user), "always, or never")
		require.Equal(t, first, chosen(other, user), "in every process")
	}
	require.InDelta(t, 1000, n, 120)
	n = 0
	for range 400 {
		n += chosen(m, "")
	}
	require.InDelta(t, 100, n, 4, "those without a value by turns")
	require.NoError(t, m.Close())
	require.NoError(t, other.Close())
	require.Equal(t, []policy.Fact{policy.Authenticated}, made(t, mirror.Config{Shadow: config.Shadow, Key: policy.ByConsumer()}).Contract().Requires)
}

func TestSetShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shadow{}
		m := made(t, mirror.Config{Shadow: s, Share: -1})
		h := m.Wrap(gatewaytest.Respond(200, "x"))
		h.ServeHTTP(httptest.NewRecorder(), get())
		require.Zero(t, m.Status().Share)
		require.NoError(t, m.SetShare(1))
		h.ServeHTTP(httptest.NewRecorder(), get())
		for _, bad := range []float64{-1, 2, math.NaN()} {
			require.Error(t, m.SetShare(bad))
		}
		synctest.Wait()
		require.Len(t, s.all(), 1)
	})
}

// TestHandlers: operators see the shadow.
func TestHandlers(t *testing.T) {
	t.Parallel()
	s, next := gatewaytest.Respond(200, "s"), gatewaytest.Respond(200, "n")
	m := made(t, mirror.Config{Shadow: s, Name: "users-next"})
	require.Len(t, m.Handlers(), 1)
	require.Equal(t, "users-next", m.Name())
	h := m.Wrap(next)
	require.Len(t, h.(interface{ Handlers() []http.Handler }).Handlers(), 2)
	require.Equal(t, "http.HandlerFunc", h.(interface{ Name() string }).Name())
	require.Nil(t, m.Wrap(nil))
}

// TestBody: a copy has the whole body or there is none.
func TestBody(t *testing.T) {
	t.Parallel()
	readAll := http.HandlerFunc(echo)
	readSome := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadFull(r.Body, make([]byte, 3)) })
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	unknown := func(s string) func() io.Reader { return func() io.Reader { return onlyReader{strings.NewReader(s)} } }
	broken := func() io.Reader { return io.MultiReader(strings.NewReader("abc"), brokenBody{}) }
	for name, c := range map[string]struct {
		body     func() io.Reader
		declared int64 // 0: as it is
		handler  http.Handler
		want     string
		dropped  mirror.Dropped
	}{
		"declared":               {body: text("abcdef"), handler: readAll, want: "abcdef"},
		"one byte at a time":     {body: unknown("abcdef"), declared: 6, handler: byByte{}, want: "abcdef"},
		"unknown length":         {body: unknown("abcdef"), handler: readAll, want: "abcdef"},
		"unknown, empty":         {body: unknown(""), handler: readAll, want: ""},
		"at the bound":           {body: unknown(strings.Repeat("x", 1000)), handler: readAll, want: strings.Repeat("x", 1000)},
		"no more is looked at":   {body: text("abc"), handler: readSome, want: "abc"},
		"not read":               {body: text("abcdef"), handler: gatewaytest.Respond(200, "x"), dropped: mirror.Dropped{BodyAborted: 1}},
		"read in part":           {body: text("abcdef"), handler: readSome, dropped: mirror.Dropped{BodyAborted: 1}},
		"broken off":             {body: broken, handler: readAll, dropped: mirror.Dropped{BodyAborted: 1}},
		"shorter than declared":  {body: text("abc"), declared: 5, handler: readAll, dropped: mirror.Dropped{BodyAborted: 1}},
		"too large, as declared": {body: text(strings.Repeat("x", 1001)), handler: readAll, dropped: mirror.Dropped{BodyTooLarge: 1}},
		"too large, as it shows": {body: unknown(strings.Repeat("x", 1001)), handler: readAll, dropped: mirror.Dropped{BodyTooLarge: 1}},
		"the handler panics":     {body: text("abcdef"), handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("x") }), dropped: mirror.Dropped{BodyAborted: 1}},
	} {
		for _, compare := range []*mirror.Compare{nil, {}} {
			t.Run(fmt.Sprint(name, compare != nil), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &shadow{}
					m := made(t, mirror.Config{Shadow: s, Methods: []string{"POST"}, MaxBody: 1000, Compare: compare})
					r := httptest.NewRequest(http.MethodPost, "/", c.body())
					if c.declared != 0 {
						r.ContentLength = c.declared
					}
					func() {
						defer func() { _ = recover() }()
						m.Wrap(c.handler).ServeHTTP(httptest.NewRecorder(), r)
					}()
					synctest.Wait()
					require.Equal(t, c.dropped, m.Status().Dropped)
					require.Zero(t, m.Status().Held)
					if c.dropped.Total() > 0 {
						require.Empty(t, s.all())
						return
					}
					require.Len(t, s.all(), 1)
					require.Equal(t, c.want, s.all()[0].body)
					require.Equal(t, r.ContentLength, s.all()[0].ContentLength)
				})
			})
		}
	}
}

type onlyReader struct{ io.Reader }

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// byByte reads the body byte by byte.
type byByte struct{}

func (byByte) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	for {
		if _, err := r.Body.Read(make([]byte, 1)); err != nil {
			return
		}
	}
}

// TestBodyIsNotReadAhead: the handler has each part of a body when it comes, and the copy goes out with the last.
func TestBodyIsNotReadAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shadow{}
		m := made(t, mirror.Config{Shadow: s, Methods: []string{"POST"}})
		body, client := io.Pipe()
		parts := make(chan string)
		finish := make(chan struct{})
		go m.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for {
				p := make([]byte, 10)
				n, err := r.Body.Read(p)
				if err != nil {
					close(parts)
					<-finish
					return
				}
				parts <- string(p[:n])
			}
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", body))
		for _, part := range []string{"one", "two"} {
			_, _ = io.WriteString(client, part)
			require.Equal(t, part, <-parts)
			synctest.Wait()
			require.Empty(t, s.all())
		}
		_ = client.Close()
		_, more := <-parts
		require.False(t, more)
		synctest.Wait()
		require.Equal(t, "onetwo", s.all()[0].body, "although the handler has not returned")
		close(finish)
	})
}

// TestTrailers: those that were announced go along.
func TestTrailers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shadow{}
		m := made(t, mirror.Config{Shadow: s, Methods: []string{"POST"}})
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Trailer = http.Header{"X-Sum": nil}
		r.ContentLength = -1
		r.Body = io.NopCloser(&trailing{strings.NewReader("abc"), r.Trailer})
		m.Wrap(http.HandlerFunc(echo)).ServeHTTP(httptest.NewRecorder(), r)
		synctest.Wait()
		require.Equal(t, http.Header{"X-Sum": {"1"}}, s.all()[0].Trailer)
	})
}

// trailing fills in trailers at its end, as net/http does, also those that nobody announced.
type trailing struct {
	io.Reader

	trailer http.Header
}

func (r *trailing) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.trailer["X-Sum"], r.trailer["X-Other"] = []string{"1"}, []string{"2"}
	}
	return n, err
}
