package terminate_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// do sends r through h and returns the answer and what was recorded on the way.
func do(h http.Handler, r *http.Request) (*httptest.ResponseRecorder, *policy.Exchange) {
	x, r := policy.Ensure(r)
	x.SetRequestID("id-1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, x
}

var inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })

func TestAnswers(t *testing.T) {
	t.Parallel()
	const plain, jsonType = "text/plain; charset=utf-8", "application/json; charset=utf-8"
	tests := []struct {
		name        string
		config      terminate.Config
		status      int
		body        string
		contentType string
		header      http.Header
		verdict     policy.Verdict
	}{
		{"default", terminate.Config{}, 503, `{"message":"Service Unavailable","request_id":"id-1"}` + "\n", jsonType, nil, policy.Refused},
		{
			"message", terminate.Config{Status: 404, Message: `no "such" <api>`}, 404,
			`{"message":"no \"such\" \u003capi\u003e","request_id":"id-1"}` + "\n", jsonType, nil, policy.Refused,
		},
		{
			"body", terminate.Config{Status: 503, Body: "<h1>Back soon</h1>", ContentType: "text/html; charset=utf-8"}, 503,
			"<h1>Back soon</h1>", "text/html; charset=utf-8", http.Header{"X-Content-Type-Options": {"nosniff"}}, policy.Refused,
		},
		{"body without a type", terminate.Config{Status: 200, Body: "ok"}, 200, "ok", plain, nil, policy.Answered},
		{"message of no error", terminate.Config{Status: 200, Message: "fine & dandy"}, 200, `{"message":"fine \u0026 dandy"}` + "\n", jsonType, nil, policy.Answered},
		{"nothing to say", terminate.Config{Status: 200}, 200, "", "", http.Header{"Content-Length": {"0"}}, policy.Answered},
		{"no content", terminate.Config{Status: 204}, 204, "", "", http.Header{"Content-Length": nil}, policy.Answered},
		{"not modified", terminate.Config{Status: 304}, 304, "", "", nil, policy.Answered},
		{
			"redirect", terminate.Config{Status: 308, Header: http.Header{"location": {"https://new.example/"}}}, 308, "", "",
			http.Header{"Location": {"https://new.example/"}}, policy.Answered,
		},
		{
			"retry", terminate.Config{Header: http.Header{"retry-after": {"120"}, "X-Two": {"a", "b"}}}, 503,
			`{"message":"Service Unavailable","request_id":"id-1"}` + "\n", jsonType,
			http.Header{"Retry-After": {"120"}, "X-Two": {"a", "b"}}, policy.Refused,
		},
		{"storable", terminate.Config{Status: 200, Header: http.Header{"Cache-Control": {"max-age=60"}}}, 200, "", "", http.Header{"Cache-Control": {"max-age=60"}}, policy.Answered},
		{
			"storable error", terminate.Config{Status: 410, Header: http.Header{"Cache-Control": {"max-age=60"}}}, 410,
			`{"message":"Gone","request_id":"id-1"}` + "\n", jsonType, http.Header{"Cache-Control": {"max-age=60"}}, policy.Refused,
		},
		{"405 allows nothing", terminate.Config{Status: 405, Body: "no"}, 405, "no", plain, http.Header{"Allow": {""}}, policy.Refused},
		{
			"405 with message", terminate.Config{Status: 405, Header: http.Header{"Allow": {"GET"}}}, 405,
			`{"message":"Method Not Allowed","request_id":"id-1"}` + "\n", jsonType, http.Header{"Allow": {"GET"}}, policy.Refused,
		},
		{
			"401 always has a challenge", terminate.Config{Status: 401}, 401,
			`{"message":"Unauthorized","request_id":"id-1"}` + "\n", jsonType, http.Header{"Www-Authenticate": {"Key"}}, policy.Refused,
		},
		{
			"401 with a body", terminate.Config{Status: 401, Body: "x", Header: http.Header{"WWW-Authenticate": {"Basic"}}}, 401,
			"x", plain, http.Header{"Www-Authenticate": {"Basic"}}, policy.Refused,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := terminate.New(tt.config)
			require.NoError(t, err)
			for _, h := range []http.Handler{p.Wrap(inner), p} {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
					w, x := do(h, httptest.NewRequest(method, "/", nil))
					require.Equal(t, tt.status, w.Code)
					if method == http.MethodHead {
						require.Empty(t, w.Body.String())
					} else {
						require.Equal(t, tt.body, w.Body.String())
					}
					require.Equal(t, tt.contentType, w.Header().Get("Content-Type"))
					if tt.header["Cache-Control"] == nil {
						require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
					}
					for name, values := range tt.header {
						require.Equal(t, values, w.Header()[name], name)
					}
					require.True(t, x.GatewayMade())
					decisions := x.Decisions()
					require.Len(t, decisions, 1)
					require.Equal(t, tt.verdict, decisions[0].Verdict)
					require.Equal(t, "terminated", decisions[0].Reason)
					require.Equal(t, "request-termination", decisions[0].Policy)
					require.Equal(t, tt.status, decisions[0].Status)
					preview := p.Preview(httptest.NewRequest(method, "/", nil))
					if tt.verdict == policy.Refused {
						require.ErrorIs(t, decisions[0].Err, terminate.ErrTerminated)
					}
					require.Equal(t, decisions[0], preview, "the preview is what happens")
				}
			}
		})
	}
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		target string
		header http.Header
		hit    bool
	}{
		{"nothing", "/", nil, false},
		{"header", "/", http.Header{"X-Closed": {"1"}}, true},
		{"empty header", "/", http.Header{"X-Closed": {""}}, true},
		{"alias of the header", "/", http.Header{"X_Closed": {"1"}}, false},
		{"other header", "/", http.Header{"X-Closed-Too": {"1"}}, false},
		{"parameter", "/?x-closed=1", nil, true},
		{"bare parameter", "/?a=b&x-closed", nil, true},
		{"escaped parameter", "/?x%2Dclosed=1", nil, true},
		{"parameter in another case", "/?X-Closed=1", nil, false},
		{"as a value", "/?a=x-closed", nil, false},
		{"part of a name", "/?x-closed2=1&ax-closed=1", nil, false},
		{"bad escape", "/?%zz=1&%=2", nil, false},
	}
	p := policy.Must(terminate.New(terminate.Config{Trigger: "x-closed", Status: 200}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, tt.target, nil)
			r.Header = tt.header
			w, x := do(p.Wrap(inner), r)
			if tt.hit {
				require.Equal(t, http.StatusOK, w.Code)
				require.ErrorIs(t, p.Check(r), terminate.ErrTerminated)
				require.Equal(t, policy.Answered, p.Preview(r).Verdict)
				return
			}
			require.Equal(t, http.StatusTeapot, w.Code)
			require.NoError(t, p.Check(r))
			want := policy.Decision{Policy: "request-termination", Verdict: policy.Skipped, Reason: "not_triggered"}
			require.Equal(t, []policy.Decision{want}, x.Decisions())
			require.Equal(t, want, p.Preview(r))
			require.False(t, x.GatewayMade())
			w, _ = do(p, r)
			require.Equal(t, http.StatusOK, w.Code, "a handler has nobody to pass the request on to")
		})
	}
	require.NoError(t, p.Check(&http.Request{}))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for status, refused := range map[int]bool{200: false, 404: true, 503: true} {
		err := policy.Must(terminate.New(terminate.Config{Status: status, Body: "x"})).Check(r)
		require.ErrorIs(t, err, terminate.ErrTerminated)
		var e *policy.Error
		require.Equal(t, refused, errors.As(err, &e))
		if refused {
			require.Equal(t, status, e.Status)
		}
	}
}

// TestRefusalsAreOrdinary holds that an error status with a message takes the way of all refusals, and that a body is
// sent as it is.
func TestRefusalsAreOrdinary(t *testing.T) {
	t.Parallel()
	message := policy.Must(terminate.New(terminate.Config{Message: "closed"}))
	body := policy.Must(terminate.New(terminate.Config{Body: "closed"}))

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept", "application/problem+json")
	w, _ := do(message, r)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Contains(t, w.Body.String(), `"code":"terminated"`)
	w, _ = do(body, r)
	require.Equal(t, "closed", w.Body.String())

	r = httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Content-Type", "application/grpc")
	r.ProtoMajor, r.ProtoMinor = 2, 0
	w, _ = do(message, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "14", w.Header().Get("Grpc-Status"))

	entry := policy.Must(policy.NewEntry(policy.EntryConfig{ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
		w.WriteHeader(http.StatusTeapot)
	}}))
	rec := httptest.NewRecorder()
	entry.Wrap(message).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusTeapot, rec.Code)
	rec = httptest.NewRecorder()
	entry.Wrap(body).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "closed", rec.Body.String())
}

// TestAnswersAreTheirOwn edits answers as layers around may, and what the configuration was made of.
func TestAnswersAreTheirOwn(t *testing.T) {
	t.Parallel()
	header := http.Header{"X-A": {"1"}}
	reveal := []string{"a"}
	for _, c := range []terminate.Config{{Header: header}, {Status: 200, Body: "x", Header: header}, {Echo: true, Header: header, Reveal: reveal}} {
		header["X-A"], reveal[0] = []string{"1"}, "a"
		p := policy.Must(terminate.New(c))
		header["X-A"][0], reveal[0] = "edited", "edited"
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					w, _ := do(p, httptest.NewRequest(http.MethodGet, "/", nil))
					if w.Header().Get("X-A") != "1" {
						t.Error("an answer has what another was edited to")
					}
					w.Header()["X-A"][0] = "edited"
				}
			})
		}
		wg.Wait()
	}
}

// TestDoesNotWait has a client that announces a body and waits for the answer before it sends any.
func TestDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, c := range []terminate.Config{{}, {Body: "closed"}, {Status: 200, Message: "fine"}, {Echo: true}} {
		for _, framing := range []string{"Content-Length: 100", "Content-Length: 10000000", "Transfer-Encoding: chunked"} {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				srv := &http.Server{Handler: policy.Must(terminate.New(c)).Wrap(inner)}
				l := &oneConn{conn: far, done: make(chan struct{})}
				go func() { _ = srv.Serve(l) }()
				start := time.Now()
				_, err := io.WriteString(near, "POST / HTTP/1.1\r\nHost: h\r\n"+framing+"\r\n\r\n")
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(near), nil)
				require.NoError(t, err)
				require.NotEqual(t, http.StatusTeapot, resp.StatusCode)
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Less(t, time.Since(start), time.Second)
				require.True(t, resp.Close, "what follows is the rest of a body")
				_ = near.Close()
				_ = srv.Close()
				time.Sleep(time.Second) // net/http lingers before it closes a connection
			})
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	done chan struct{}
	once sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestNew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config terminate.Config
		want   []string
	}{
		{"informational", terminate.Config{Status: 103}, []string{"terminate: Status 103 is informational and ends no request; use 200 to 599"}},
		{"negative", terminate.Config{Status: -1}, []string{"terminate: Status -1 is not an HTTP status"}},
		{"too large", terminate.Config{Status: 600}, []string{"terminate: Status 600 is not an HTTP status"}},
		{"message and body", terminate.Config{Message: "m", Body: "b"}, []string{`terminate: Message "m" excludes Body and ContentType`}},
		{"message and type", terminate.Config{Message: "m", ContentType: "text/html"}, []string{`Message "m" excludes`, `ContentType "text/html" describes no Body`}},
		{"type without body", terminate.Config{ContentType: "text/html"}, []string{`terminate: ContentType "text/html" describes no Body`}},
		{"echo and body", terminate.Config{Echo: true, Body: "b"}, []string{"terminate: Echo excludes Body and ContentType"}},
		{"bad type", terminate.Config{Body: "b", ContentType: "a\r\nb"}, []string{`terminate: ContentType "a\r\nb" is not a header value`}},
		{"body of 204", terminate.Config{Status: 204, Body: "b"}, []string{"terminate: Status 204 has no body"}},
		{"message of 304", terminate.Config{Status: 304, Message: "m"}, []string{"terminate: Status 304 has no body"}},
		{"echo of 205", terminate.Config{Status: 205, Echo: true}, []string{"terminate: Status 205 has no body"}},
		{"trigger", terminate.Config{Trigger: "a b"}, []string{`terminate: Trigger "a b" is not a header name`}},
		{"report without echo", terminate.Config{Report: func(*http.Request) any { return nil }}, []string{"terminate: Report is of Echo"}},
		{"reveal without echo", terminate.Config{Reveal: []string{"a"}}, []string{`terminate: Reveal ["a"] has no effect without Echo`}},
		{
			"reveal credentials", terminate.Config{Echo: true, Reveal: []string{"", "authorization", "x", "Set_Cookie"}},
			[]string{`Reveal[0] "" is no name`, `Reveal[1] "authorization" carries credentials`, `Reveal[3] "Set_Cookie" carries credentials`},
		},
		{
			"header", terminate.Config{Header: http.Header{"a b": {"1"}, "X": {"ok", "a\nb"}, "content_length": {"1"}, "Content-Type": {"x"}}},
			[]string{`Header["a b"] is not a header name`, `Header["X"][1] "a\nb" is not a header value`, `Header["content_length"] follows`, `Header["Content-Type"] follows`},
		},
		{"retry", terminate.Config{Header: http.Header{"Retry-After": {"soon"}}}, []string{`Header["Retry-After"] ["soon"] is neither seconds nor an HTTP date`}},
		{"redirect to nowhere", terminate.Config{Status: 302}, []string{`terminate: Status 302 needs a field "Location"; set it in Header`}},
		{"redirect to nothing", terminate.Config{Status: 302, Header: http.Header{"Location": {}}}, []string{`Status 302 needs a field "Location"`}},
		{"redirect to no URL", terminate.Config{Status: 302, Header: http.Header{"Location": {"http://[::1"}}}, []string{`Header["Location"] "http://[::1" is not a URL`}},
		{"401 with a body", terminate.Config{Status: 401, Body: "b"}, []string{`Status 401 needs a field "Www-Authenticate"`}},
		{"407", terminate.Config{Status: 407}, []string{`Status 407 needs a field "Proxy-Authenticate"`}},
		{"426", terminate.Config{Status: 426}, []string{`Status 426 needs a field "Upgrade"`}},
		{
			"all at once", terminate.Config{Status: 99, Message: "m", Body: "b", Trigger: "@", Reveal: []string{""}, Header: http.Header{"": nil}},
			[]string{"Status 99", `Message "m"`, `Trigger "@"`, "Reveal [", "Reveal[0]", `Header[""]`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := terminate.New(tt.config)
			require.Nil(t, p)
			require.Error(t, err)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, len(tt.want), strings.Count(err.Error(), "\n")+1, "%v", err)
		})
	}
	for _, c := range []terminate.Config{
		{}, {Status: 599}, {Status: 426, Header: http.Header{"Upgrade": {"TLS/1.0"}}}, {Header: http.Header{"Retry-After": {"Fri, 31 Dec 1999 23:59:59 GMT"}}},
		{Status: 407, Header: http.Header{"Proxy-Authenticate": {"Basic"}}}, {Echo: true, Message: "m", Reveal: []string{"X-A"}},
	} {
		p, err := terminate.New(c)
		require.NoError(t, err)
		require.Equal(t, "request-termination", policy.NameOf(p))
		require.Empty(t, p.Contract())
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	p := policy.Must(terminate.New(terminate.Config{Echo: true, Status: 200, Message: "hello", Trigger: "debug", Reveal: []string{"X-Tenant", "page"}}))
	h := policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		x.SetRequestID("id-1")
		x.SetRoute("users", "/v1/users/:id", "/v1/users/42")
		p.Wrap(inner).ServeHTTP(w, r)
	}))
	r := httptest.NewRequest(http.MethodPut, "/v1//users/4%32?debug&page=2&apikey=s3cr3t&apikey=s3cr3t&empty=&s3cr3t", strings.NewReader("s3cr3t"))
	r.Host = "API.example.com:8443"
	for name, v := range map[string]string{
		"Accept": "*/*", "X-Tenant": "blue", "X-Api-Key": "s3cr3t", "Authorization": "Bearer s3cr3t", "Cookie": "a=s3cr3t",
		"Proxy-Authorization": "s3cr3t", "Referer": "http://h/?t=s3cr3t", "X-Empty": "",
	} {
		r.Header.Set(name, v)
	}
	r.Header["Accept_"] = []string{"s3cr3t"}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	require.NotContains(t, w.Body.String(), "s3cr3t")
	require.JSONEq(t, `{
		"message": "hello", "request_id": "id-1", "trigger": "debug",
		"request": {
			"protocol": "HTTP/1.1", "method": "PUT", "scheme": "http", "host": "api.example.com", "port": "8443",
			"path": "/v1/users/42", "client_address": "192.0.2.1",
			"query": {"debug": [""], "page": ["2"], "apikey": ["REDACTED", "REDACTED"], "empty": [""], "REDACTED": [""]},
			"headers": {
				"Accept": ["*/*"], "X-Tenant": ["blue"], "X-Api-Key": ["REDACTED"], "Authorization": ["REDACTED"], "Cookie": ["REDACTED"],
				"Proxy-Authorization": ["REDACTED"], "Referer": ["REDACTED"], "X-Empty": [""], "Accept_": ["REDACTED"]
			}
		},
		"route": {"name": "users", "pattern": "/v1/users/:id"}
	}`, w.Body.String())

	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/?debug", nil))
	require.Empty(t, w.Body.String())
	require.NotEqual(t, "0", w.Header().Get("Content-Length"))
}

// TestEchoIsBounded sends more than a report should hold, without an Entry to limit it.
// TestReport: what a Config reports instead, and what cannot be written.
func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		report any
		want   string
	}{{map[string]string{"asked": "/x"}, `{"asked":"/x"}` + "\n"}, {make(chan int), "{}\n"}} {
		p := policy.Must(terminate.New(terminate.Config{Echo: true, Status: 200, Report: func(*http.Request) any { return c.report }}))
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
		require.Equal(t, c.want, w.Body.String())
		require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	}
}

func TestEchoIsBounded(t *testing.T) {
	t.Parallel()
	p := policy.Must(terminate.New(terminate.Config{Echo: true, Reveal: []string{"a"}}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.Host, r.URL.Path = strings.Repeat("M", 9999), strings.Repeat("h", 9999), "/"+strings.Repeat("p", 9999)
	query := []string{strings.Repeat("a="+strings.Repeat("v", 9999)+"&", 99)}
	for i := range 999 {
		query = append(query, strings.Repeat("n", i)+"=1")
		r.Header[strings.Repeat("N", i+1)] = []string{strings.Repeat("v", 9999)}
	}
	r.URL.RawQuery = strings.Join(query, "&")
	r.Header["Accept"] = make([]string, 999)
	w, _ := do(p, r)
	require.Less(t, w.Body.Len(), 100_000)
	var rep struct {
		Message string
		Request struct{ Query, Headers map[string][]string }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &rep))
	require.Equal(t, "Service Unavailable", rep.Message)
	require.Len(t, rep.Request.Query["a"], 4)
	require.LessOrEqual(t, len(rep.Request.Query), 100)
	require.LessOrEqual(t, len(rep.Request.Headers), 100)
	require.Len(t, rep.Request.Headers["Accept"], 4)
	w, _ = do(p, &http.Request{})
	require.Equal(t, 503, w.Code)
}

func FuzzEcho(f *testing.F) {
	f.Add("/a?b=c", "X-A", "v", "a=b&c")
	f.Add("/\xff", "\x00", "\u2028</script>", "%zz=&&=")
	p := policy.Must(terminate.New(terminate.Config{Echo: true, Status: 200}))
	f.Fuzz(func(t *testing.T, path, name, value, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.Host = path, query, value
		r.Header = http.Header{name: {value}, "X-Token": {"s3cr3t"}}
		w, _ := do(p.Wrap(inner), r)
		require.Equal(t, 200, w.Code)
		require.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
		require.Less(t, w.Body.Len(), 200_000)
		require.NotContains(t, w.Body.String(), "<")
		if !strings.Contains(path+name+value+query, "s3cr3t") {
			require.NotContains(t, w.Body.String(), "s3cr3t")
		}
	})
}

func TestZeroTerminator(t *testing.T) {
	t.Parallel()
	for _, term := range []*terminate.Terminator{nil, {}} {
		for _, h := range []http.Handler{term, term.Wrap(http.NotFoundHandler())} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
		}
		require.ErrorIs(t, term.Check(httptest.NewRequest(http.MethodGet, "/", nil)), terminate.ErrTerminated)
		require.Equal(t, policy.Refused, term.Preview(httptest.NewRequest(http.MethodGet, "/", nil)).Verdict)
	}
}
