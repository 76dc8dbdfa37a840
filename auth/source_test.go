package auth_test

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/policy"
)

// everywhere looks for apikey and x-api-key in every place.
func everywhere(t testing.TB) *auth.Source {
	t.Helper()
	names := []string{"apikey", "x-api-key"}
	s, err := auth.NewSource(auth.SourceConfig{Headers: names, Query: names, Cookies: names, Fields: names})
	require.NoError(t, err)
	return s
}

// request makes a request as a server would: header fields as "Name: value" lines, and a body when there is one.
func request(target, body string, header ...string) *http.Request {
	method := http.MethodGet
	var reader io.Reader
	if body != "" {
		method, reader = http.MethodPost, strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// outcome puts what Find returned in a word: the credential, or what is wrong.
func outcome(value string, err error) string {
	var e *policy.Error
	switch {
	case err == nil:
		return value
	case errors.Is(err, auth.ErrNoCredential):
		return "none"
	case errors.Is(err, auth.ErrDuplicateCredential):
		return "duplicate"
	case errors.Is(err, auth.ErrInvalidCredential):
		return "invalid"
	case errors.As(err, &e):
		return e.Code
	default:
		return err.Error()
	}
}

const (
	form   = "Content-Type: application/x-www-form-urlencoded"
	jsonCT = "Content-Type: application/json"
	multi  = "Content-Type: multipart/form-data; boundary=B"
)

func TestSourceFind(t *testing.T) {
	t.Parallel()
	s := everywhere(t)
	tests := []struct {
		name   string
		target string
		body   string
		header []string
		want   string
	}{
		{"nothing", "/", "", nil, "none"},
		{"header", "/", "", []string{"apikey: k"}, "k"},
		{"header in another case", "/", "", []string{"APIKEY: k"}, "k"},
		{"second name", "/", "", []string{"X-Api-Key: k"}, "k"},
		{"alias of a name is another name", "/", "", []string{"X_Api_Key: k"}, "none"},
		{"empty header", "/", "", []string{"apikey: "}, "none"},
		{"header twice", "/", "", []string{"apikey: k", "apikey: k"}, "duplicate"},
		{"header twice, one empty", "/", "", []string{"apikey: k", "apikey: "}, "duplicate"},
		{"joined by a proxy", "/", "", []string{"apikey: k, l"}, "duplicate"},
		{"comma at the end", "/", "", []string{"apikey: k,"}, "duplicate"},
		{"two names", "/", "", []string{"apikey: k", "x-api-key: k"}, "duplicate"},

		{"query", "/?a=1&apikey=k", "", nil, "k"},
		{"query, escaped", "/?%61pikey=%6b%2B+", "", nil, "k+ "},
		{"query, no value", "/?apikey", "", nil, "none"},
		{"query, empty value", "/?apikey=", "", nil, "none"},
		{"query, equals sign in the value", "/?apikey=k==", "", nil, "k=="},
		{"query, another case", "/?Apikey=k", "", nil, "none"},
		{"query, array forms are other names", "/?apikey[]=k&apikey[1]=k", "", nil, "none"},
		{"query twice", "/?apikey=k&apikey=k", "", nil, "duplicate"},
		{"query twice, escaped", "/?apikey=k&api%6bey=k", "", nil, "duplicate"},
		{"query and header", "/?apikey=k", "", []string{"apikey: k"}, "duplicate"},
		{"semicolon before the name", "/?a=1;apikey=k", "", nil, "ambiguous_query"},
		{"semicolon after the value", "/?apikey=k;a=1", "", nil, "ambiguous_query"},
		{"semicolon, although a header has it", "/?a=1;apikey=k", "", []string{"apikey: k"}, "ambiguous_query"},
		{"semicolon elsewhere", "/?a=1;b=2&apikey=k", "", nil, "k"},
		{"semicolon, escaped", "/?apikey=k%3Ba", "", nil, "k;a"},
		{"bad escape in a name", "/?%u0061pikey=k&apikey=l", "", nil, "ambiguous_query"},
		{"bad escape behind a semicolon", "/?a;%zz=1&apikey=l", "", nil, "ambiguous_query"},
		{"bad escape in the value", "/?apikey=%zz", "", nil, "ambiguous_query"},
		{"bad escape in another value", "/?a=100%&apikey=k", "", nil, "k"},

		{"cookie", "/", "", []string{"Cookie: a=1; apikey=k; b=2"}, "k"},
		{"cookie in a second field", "/", "", []string{"Cookie: a=1", "Cookie: apikey=k"}, "k"},
		{"cookie twice", "/", "", []string{"Cookie: apikey=k; apikey=k"}, "duplicate"},
		{"cookie, another case", "/", "", []string{"Cookie: Apikey=k"}, "none"},
		{"cookie, empty", "/", "", []string{"Cookie: apikey="}, "none"},
		{"cookie, no value", "/", "", []string{"Cookie: apikey"}, "none"},
		{"cookie, quoted: taken as it stands", "/", "", []string{`Cookie: apikey="k"`}, `"k"`},
		{"cookie and query", "/?apikey=k", "", []string{"Cookie: apikey=k"}, "duplicate"},

		{"form", "/", "a=1&apikey=k", []string{form}, "k"},
		{"form with a charset", "/", "apikey=k", []string{form + "; charset=UTF-8"}, "k"},
		{"form twice", "/", "apikey=k&apikey=l", []string{form}, "duplicate"},
		{"form, semicolon", "/", "a=1;apikey=k", []string{form}, "ambiguous_body"},
		{"form, bad escape", "/", "%zz=k", []string{form}, "ambiguous_body"},
		{"form and header", "/", "apikey=k", []string{form, "apikey: k"}, "duplicate"},
		{"form and query", "/?apikey=k", "apikey=k", []string{form}, "duplicate"},

		{"json", "/", `{"a":1,"apikey":"k"}`, []string{jsonCT}, "k"},
		{"json, structured suffix", "/", `{"apikey":"k"}`, []string{"Content-Type: application/vnd.api+json"}, "k"},
		{"json, escaped", "/", `{"\u0061pikey":"\u006b"}`, []string{jsonCT}, "k"},
		{"json twice", "/", `{"apikey":"k","apikey":"k"}`, []string{jsonCT}, "duplicate"},
		{"json twice, escaped", "/", `{"apikey":"k","api\u006bey":"l"}`, []string{jsonCT}, "duplicate"},
		{"json, nested is another field", "/", `{"a":{"apikey":"k"}}`, []string{jsonCT}, "none"},
		{"json, array forms are other names", "/", `{"apikey[]":"k"}`, []string{jsonCT}, "none"},
		{"json, list", "/", `{"apikey":["k"]}`, []string{jsonCT}, "duplicate"},
		{"json, number", "/", `{"apikey":7}`, []string{jsonCT}, "invalid"},
		{"json, null", "/", `{"apikey":null}`, []string{jsonCT}, "none"},
		{"json, empty", "/", `{"apikey":""}`, []string{jsonCT}, "none"},
		{"json, no object", "/", `["apikey","k"]`, []string{jsonCT}, "none"},
		{"json, broken", "/", `{"apikey":"k"`, []string{jsonCT, "apikey: k"}, "ambiguous_body"},
		{"json, more than one text", "/", `{"apikey":"k"} {}`, []string{jsonCT}, "ambiguous_body"},
		{"json, not UTF-8", "/", "{\"a\":\"\xff\",\"apikey\":\"k\"}", []string{jsonCT}, "ambiguous_body"},
		{"json, byte order mark", "/", "\ufeff{\"apikey\":\"k\"}", []string{jsonCT}, "ambiguous_body"},

		{"multipart", "/", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nk\r\n--B--\r\n", []string{multi}, "k"},
		{"multipart, none", "/", "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--B--", []string{multi}, "none"},
		{"multipart twice", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "duplicate"},
		{"multipart, spaces after the boundary", "/", "--B \t\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "k"},
		{"multipart, value with line ends", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n\r\n\r\n--B--", []string{multi}, "k\r\n\r\n"},
		{"multipart, no end", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n", []string{multi}, "ambiguous_body"},
		{"multipart, bare line feeds", "/", "--B\nContent-Disposition: form-data; name=apikey\n\nk\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, bare line feed in a head", "/", "--B\r\nX: y\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, preamble", "/", "x\r\n--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, epilogue", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--\r\nmore", []string{multi}, "ambiguous_body"},
		{"multipart, delimiter that is none", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--Bx\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, no name", "/", "--B\r\nContent-Disposition: form-data\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, two names", "/", "--B\r\nContent-Disposition: form-data; name=a; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, two dispositions", "/", "--B\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=apikey\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, no head", "/", "--B\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, no content", "/", "--B\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, text after the boundary", "/", "--Bx", []string{multi}, "ambiguous_body"},
		{"multipart, broken head", "/", "--B\r\nnonsense\r\n\r\nk\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, transfer encoding", "/", "--B\r\nContent-Disposition: form-data; name=apikey\r\nContent-Transfer-Encoding: base64\r\n\r\naw==\r\n--B--", []string{multi}, "ambiguous_body"},
		{"multipart, no boundary", "/", "x", []string{"Content-Type: multipart/form-data"}, "ambiguous_body"},

		{"other type", "/", "apikey=k", []string{"Content-Type: text/plain"}, "none"},
		{"no type", "/", "apikey=k", nil, "none"},
		{"malformed other type", "/", "x", []string{"Content-Type: image/png; x", "apikey: k"}, "k"},
		{"malformed type", "/", "apikey=k", []string{form + "; x"}, "ambiguous_body"},
		{"two types", "/", "apikey=k", []string{"Content-Type: text/plain", form}, "ambiguous_body"},
		{"compressed", "/", "xyz", []string{form, "Content-Encoding: gzip", "apikey: k"}, "unsupported_body"},
		{"not compressed", "/", "apikey=k", []string{form, "Content-Encoding: identity"}, "k"},
		{"another charset", "/", "x", []string{jsonCT + "; charset=utf-16"}, "unsupported_body"},
		{"compressed, other type", "/", "xyz", []string{"Content-Type: text/plain", "Content-Encoding: gzip", "apikey: k"}, "k"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := request(tt.target, tt.body, tt.header...)
			before := r.Header.Clone()
			require.Equal(t, tt.want, outcome(s.Find(r)))
			require.Equal(t, before, r.Header)
			if tt.want != "ambiguous_query" && tt.want != "unsupported_body" {
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				require.Equal(t, tt.body, string(body), "the body is there for those inside")
				require.NoError(t, r.Body.Close())
			}
		})
	}
}

func TestSourceLooksOnlyWhereTold(t *testing.T) {
	t.Parallel()
	all := func() *http.Request {
		return request("/?q=1", `{"f":"4"}`, "h: 2", "Cookie: c=3", jsonCT)
	}
	for want, c := range map[string]auth.SourceConfig{
		"1": {Query: []string{"q", "h", "c", "f"}},
		"2": {Headers: []string{"q", "h", "c", "f"}},
		"3": {Cookies: []string{"q", "h", "c", "f"}},
		"4": {Fields: []string{"q", "h", "c", "f"}},
	} {
		s := policy.Must(auth.NewSource(c))
		require.Equal(t, want, outcome(s.Find(all())))
		require.Equal(t, len(c.Fields) > 0, s.Buffers())
	}
	require.Equal(t, "none", outcome(new(auth.Source).Find(all())))
}

func TestSourceHide(t *testing.T) {
	t.Parallel()
	s := policy.Must(auth.NewSource(auth.SourceConfig{Headers: []string{"X-Api-Key"}}))
	withBody := everywhere(t)
	part := func(name, value string) string {
		return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	tests := []struct {
		name   string
		source *auth.Source
		target string
		body   string
		header []string

		query string
		want  string
		left  http.Header
	}{
		{"header, all spellings and repetitions", s, "/", "", []string{"X-Api-Key: a", "X-Api-Key: b", "x_api_key: c", "X.API.Key: d", "X-Api: e"}, "", "", http.Header{"X-Api": {"e"}}},
		{"query although not searched", s, "/p?b=%31&x-api-key=k&a=2&x-api-key", "", nil, "b=%31&a=2", "", http.Header{}},
		{"query, first", s, "/?x-api-key=k&a=2", "", nil, "a=2", "", http.Header{}},
		{"query, only", s, "/?x-api-key=k", "", nil, "", "", http.Header{}},
		{"query, escaped name", s, "/?x%2Dapi%2dkey=k&%61=2", "", nil, "%61=2", "", http.Header{}},
		{"query, semicolons", s, "/?a=1;x-api-key=k;b=2", "", nil, "a=1;b=2", "", http.Header{}},
		{"query, what is odd stays", s, "/?&&a=%zz&x-api-key=k&=&b+b=100%&", "", nil, "&&a=%zz&=&b+b=100%&", "", http.Header{}},
		{"query, nothing to hide", s, "/?a=1;b=%zz&", "", nil, "a=1;b=%zz&", "", http.Header{}},
		{"query, other spellings", s, "/?X_Api_Key=k&x.api+key=l&xapikey=1", "", nil, "xapikey=1", "", http.Header{}},
		{"cookie", s, "/", "", []string{"Cookie: a=1;x-api-key=k;  b=\"2\""}, "", "", http.Header{"Cookie": {"a=1;  b=\"2\""}}},
		{"cookie, first", s, "/", "", []string{"Cookie: x-api-key=k; a=1"}, "", "", http.Header{"Cookie": {"a=1"}}},
		{"cookie, only", s, "/", "", []string{"Cookie: x-api-key=k"}, "", "", http.Header{}},
		{"cookie, several fields", s, "/", "", []string{"Cookie: a=1", "Cookie: x-api-key=k", "Cookie: b=2; x-api-key"}, "", "", http.Header{"Cookie": {"a=1", "b=2"}}},
		{"body is left when it is not searched", s, "/", "x-api-key=k", []string{form}, "", "x-api-key=k", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},

		{"form", withBody, "/", "b=%31&apikey=k&a", []string{form, "Content-Digest: x", "Digest: x", "Repr-Digest: x", "Content-Md5: x"}, "", "b=%31&a", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{"form, semicolon", withBody, "/", "a=1;apikey=k", []string{form}, "", "a=1", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{"form, nothing to hide", withBody, "/", "a=1;b", []string{form, "Content-Digest: x"}, "", "a=1;b", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Digest": {"x"}}},
		{"form, only", withBody, "/", "apikey=k", []string{form}, "", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{"json", withBody, "/", "{ \"a\" : 1.50 ,\n \"apikey\":\"k\" , \"b\":[ 1,2 ] }\n", []string{jsonCT}, "", "{ \"a\" : 1.50 , \"b\":[ 1,2 ] }\n", http.Header{"Content-Type": {"application/json"}}},
		{"json, first", withBody, "/", `{"apikey":"k","a":{"apikey":1}, "x-api-key":2}`, []string{jsonCT}, "", `{"a":{"apikey":1}}`, http.Header{"Content-Type": {"application/json"}}},
		{"json, other spellings", withBody, "/", `{"ApiKey":"k","X_API_KEY":"l","api-key":1}`, []string{jsonCT}, "", `{"api-key":1}`, http.Header{"Content-Type": {"application/json"}}},
		{"json, only", withBody, "/", `{"apikey":"k"}`, []string{jsonCT}, "", `{}`, http.Header{"Content-Type": {"application/json"}}},
		{"json, no object", withBody, "/", ` [{"apikey":"k"}]`, []string{jsonCT}, "", ` [{"apikey":"k"}]`, http.Header{"Content-Type": {"application/json"}}},
		{"multipart", withBody, "/", part("a", "1") + part("apikey", "k") + part("b", "\r\n") + part("x-api-key", "") + "--B--\r\n", []string{multi}, "", part("a", "1") + part("b", "\r\n") + "--B--\r\n", http.Header{"Content-Type": {"multipart/form-data; boundary=B"}}},
		{"multipart, first", withBody, "/", part("apikey", "k") + part("b", "2") + "--B--", []string{multi}, "", part("b", "2") + "--B--", http.Header{"Content-Type": {"multipart/form-data; boundary=B"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := request(tt.target, tt.body, tt.header...)
			outside := *r
			tt.source.Hide(r)
			require.Equal(t, tt.left, r.Header)
			require.Equal(t, tt.query, r.URL.RawQuery)
			require.Equal(t, tt.target, outside.URL.String(), "the URL others hold is not changed")
			path, _, _ := strings.Cut(tt.target, "?")
			if tt.query != "" {
				path += "?" + tt.query
			}
			require.Equal(t, path, r.RequestURI)
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(body))
			require.Equal(t, int64(len(tt.want)), r.ContentLength)
		})
	}
}

func TestSourceHideKeepsSharedSlices(t *testing.T) {
	t.Parallel()
	r := request("/", "", "Cookie: a=1", "Cookie: apikey=k", "Cookie: b=2")
	copied := r.Header["Cookie"]
	everywhere(t).Hide(r)
	require.Equal(t, []string{"a=1", "apikey=k", "b=2"}, copied, "a slice shared with a copy of the header is not written to")
	require.Equal(t, []string{"a=1", "b=2"}, r.Header["Cookie"])
}

func TestSourceHideAfterParsing(t *testing.T) {
	t.Parallel()
	r := request("/?apikey=k&a=1", "x-api-key=l&b=2", form)
	require.NoError(t, r.ParseForm())
	r.Body = io.NopCloser(strings.NewReader("x-api-key=l&b=2"))
	everywhere(t).Hide(r)
	require.Equal(t, url.Values{"a": {"1"}, "b": {"2"}}, r.Form)
	require.Equal(t, url.Values{"b": {"2"}}, r.PostForm)

	r = request("/", "")
	r.MultipartForm = &multipart.Form{Value: map[string][]string{"APIKEY": {"k"}, "a": {"1"}}}
	everywhere(t).Hide(r)
	require.Equal(t, map[string][]string{"a": {"1"}}, r.MultipartForm.Value)
}

func TestSourceHideFailsClosed(t *testing.T) {
	t.Parallel()
	s := policy.Must(auth.NewSource(auth.SourceConfig{Fields: []string{"apikey"}, MaxBody: 20}))
	for name, r := range map[string]*http.Request{
		"broken":     request("/", `{"apikey":"k"`, jsonCT),
		"too large":  request("/", `{"apikey":"`+strings.Repeat("k", 20)+`"}`, jsonCT),
		"ambiguous":  request("/", "a;%zz=k", form),
		"multipart":  request("/", "apikey", multi),
		"compressed": request("/", "apikey", form, "Content-Encoding: br"),
	} {
		s.Hide(r)
		body, err := io.ReadAll(r.Body)
		require.ErrorContains(t, err, "cannot be searched", name)
		require.Empty(t, body)
		require.NoError(t, r.Body.Close())
	}
}

func TestNewSourceErrors(t *testing.T) {
	t.Parallel()
	_, err := auth.NewSource(auth.SourceConfig{MaxBody: -1})
	require.ErrorContains(t, err, "no names")
	require.ErrorContains(t, err, "MaxBody -1")
	_, err = auth.NewSource(auth.SourceConfig{Headers: []string{"ok", "a b"}, Query: []string{""}, Cookies: []string{"Host"}, Fields: []string{"content_length"}})
	require.ErrorContains(t, err, `auth: SourceConfig.Headers[1] "a b" is not a header name`)
	require.ErrorContains(t, err, `auth: SourceConfig.Query[0] "" is not a header name`)
	require.ErrorContains(t, err, `auth: SourceConfig.Cookies[0] "Host" is a header field of the message itself`)
	require.ErrorContains(t, err, `auth: SourceConfig.Fields[0] "content_length" is a header field of the message itself`)

	names := []string{"a"}
	s := policy.Must(auth.NewSource(auth.SourceConfig{Query: names, Headers: []string{"b", "B"}}))
	names[0] = "c"
	require.Equal(t, "k", outcome(s.Find(request("/?a=k", ""))), "the slices are copied")
	require.Equal(t, "k", outcome(s.Find(request("/", "", "b: k"))), "two spellings of a field are one")
}

// TestFirstPlace: names in their order, and for each name the places in theirs; what comes after is not looked at.
func TestFirstPlace(t *testing.T) {
	t.Parallel()
	names := []string{"apikey", "x-api-key"}
	s, err := auth.NewSource(auth.SourceConfig{Headers: names, Query: names, Cookies: names, Fields: names, FirstPlace: true})
	require.NoError(t, err)
	const form = "Content-Type: application/x-www-form-urlencoded"
	tests := []struct {
		target, body string
		header       []string
		want         string
	}{
		{"/", "", nil, "none"},
		{"/?apikey=q", "apikey=b", []string{form, "Apikey: h", "Cookie: apikey=c"}, "h"},
		{"/?apikey=q", "apikey=b", []string{form, "X-Api-Key: h", "Cookie: apikey=c"}, "q"},
		{"/?x-api-key=q", "apikey=b", []string{form, "X-Api-Key: h", "Cookie: apikey=c"}, "c"},
		{"/?x-api-key=q", "apikey=b", []string{form, "X-Api-Key: h"}, "b"},
		{"/?x-api-key=q", "x-api-key=b", []string{form, "X-Api-Key: h"}, "h"},
		{"/?x-api-key=q", "x-api-key=b", []string{form}, "q"},
		{"/", "x-api-key=b", []string{form}, "b"},
		{"/?apikey=q", "", []string{"Apikey: "}, "none"},
		{"/?apikey=q", "", []string{"Apikey: a, b"}, "duplicate"},
		{"/?apikey=q&apikey=q", "", []string{"X-Api-Key: h"}, "duplicate"},
		{"/?apikey=%zz", "", []string{"Apikey: h"}, "h"},
		{"/?apikey=%zz", "", []string{"X-Api-Key: h"}, "ambiguous_query"},
		{"/", `{"apikey":1,"x-api-key":"k"}`, []string{"Content-Type: application/json"}, "invalid"},
		{"/", `{"apikey":null,"x-api-key":"k"}`, []string{"Content-Type: application/json"}, "k"},
		{"/", `{"apikey":`, []string{"Content-Type: application/json", "X-Api-Key: h"}, "ambiguous_body"},
	}
	for _, tt := range tests {
		r := request(tt.target, tt.body, tt.header...)
		require.Equal(t, tt.want, outcome(s.Find(r)), "%+v", tt)
		if r.Body != nil {
			rest, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, tt.body, string(rest)) // it is still there
		}
	}
}
