package auth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// named reports whether a name is one of the source's in any spelling.
func named(name string) bool {
	f := canonical.Fold(name)
	return f == "apikey" || f == "x-api-key"
}

// target makes a request with a raw query, which need not be one a URL parser takes.
func target(query string) *http.Request {
	r := request("/p", "")
	r.URL.RawQuery, r.RequestURI = query, "/p?"+query
	return r
}

// pairs are the parameters a server sees that takes what it can decode, in order.
func pairs(raw, separators string) (all, others []string) {
	for _, piece := range strings.FieldsFunc(raw, func(c rune) bool { return strings.ContainsRune(separators, c) }) {
		name, _, _ := strings.Cut(piece, "=")
		if name, err := url.QueryUnescape(name); err == nil && named(name) {
			all = append(all, piece)
		} else {
			others = append(others, piece)
		}
	}
	return all, others
}

// FuzzQuery compares the search and the hiding of query parameters with net/url's parser, and with one that separates at
// semicolons, too.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"apikey=k", "a=1&apikey=k&b=2", "apikey=k;a", "a;apikey=k", "%61pikey=%6b", "apikey=%zz", "%u0061pikey=k", "&&=&apikey",
		"a=100%&apikey=k", "APIKEY=k&x_api_key=l", "apikey=a&apikey=b",
	} {
		f.Add(q)
	}
	s := everywhere(f)
	f.Fuzz(func(t *testing.T, raw string) {
		r := target(raw)
		got, err := s.Find(r)
		values, parseErr := url.ParseQuery(raw)
		seen := append(values["apikey"], values["x-api-key"]...)
		if err == nil {
			require.Equal(t, []string{got}, seen, "exactly one, and the same")
			lax, _ := url.ParseQuery(strings.ReplaceAll(raw, ";", "&"))
			require.Equal(t, []string{got}, append(lax["apikey"], lax["x-api-key"]...), "also for who separates at semicolons")
		}
		if parseErr == nil && len(seen) > 1 {
			require.Error(t, err)
		}

		_, others := pairs(raw, "&;")
		s.Hide(r)
		left, kept := pairs(r.URL.RawQuery, "&;")
		require.Empty(t, left, "no reader finds a key")
		require.Equal(t, others, kept, "the other parameters are what they were")
		if len(r.URL.RawQuery) == len(raw) {
			require.Equal(t, raw, r.URL.RawQuery)
		}
	})
}

// FuzzCookie compares the search and the hiding of cookies with net/http's parser.
func FuzzCookie(f *testing.F) {
	for _, c := range []string{"apikey=k", "a=1; apikey=k; b=2", "apikey=k;apikey=l", " apikey =k", ";;apikey", "APIKEY=k; a", "apikey= 0", "a=1; apikey=k; apikey", `apikey="k"`} {
		f.Add(c, "x=y")
	}
	s := everywhere(f)
	f.Fuzz(func(t *testing.T, first, second string) {
		r := request("/", "")
		r.Header["Cookie"] = []string{first, second}
		got, err := s.Find(r)
		var seen []string
		var others []*http.Cookie
		for _, c := range r.Cookies() {
			if c.Name == "apikey" || c.Name == "x-api-key" {
				seen = append(seen, c.Value)
			}
			if !named(c.Name) {
				others = append(others, c)
			}
		}
		if len(seen) > 1 {
			require.Error(t, err)
		}
		if err == nil && len(seen) == 1 {
			require.Equal(t, strings.Trim(got, `"`), strings.Trim(seen[0], `"`))
		}
		s.Hide(r)
		left := r.Cookies()
		require.Len(t, left, len(others))
		for i := range left {
			require.False(t, named(left[i].Name))
			require.Equal(t, others[i].String(), left[i].String())
		}
	})
}

// FuzzJSONBody compares the search and the hiding of JSON members with encoding/json.
func FuzzJSONBody(f *testing.F) {
	for _, b := range []string{
		`{"apikey":"k"}`, `{"a":1,"apikey":"k","b":[1,{"apikey":2}]}`, `{"\u0061pikey":"k" , "ApiKey":null}`, `{ }`, `[]`, `"x"`, `{"apikey":1}{}`, `3E4444444`, `{"a":3E4444444,"apikey":"k"}`,
		"{\n\t\"apikey\" : \"k\"\n,\"b\": 1.0e5}\n",
	} {
		f.Add([]byte(b))
	}
	s := everywhere(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		r := request("/", string(data), jsonCT)
		got, err := s.Find(r)
		members := map[string]json.RawMessage{}
		parseErr := json.Unmarshal(data, &members)
		if err == nil {
			require.NoError(t, parseErr)
			var one string
			value := members["apikey"]
			if value == nil {
				value = members["x-api-key"]
			}
			require.NoError(t, json.Unmarshal(value, &one))
			require.Equal(t, one, got)
		}
		s.Hide(r)
		left, err := io.ReadAll(r.Body)
		if err != nil {
			require.False(t, json.Valid(data) && bytes.Equal(bytes.ToValidUTF8(data, nil), data), "only what cannot be searched is withheld")
			return
		}
		require.Equal(t, int64(len(left)), r.ContentLength)
		require.True(t, json.Valid(left))
		if parseErr != nil || !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
			require.Equal(t, data, left)
			return
		}
		after := map[string]json.RawMessage{}
		require.NoError(t, json.Unmarshal(left, &after))
		for name := range members {
			if named(name) {
				delete(members, name)
			}
		}
		require.Equal(t, members, after, "what stays is not changed by a byte")
	})
}

type formPart struct{ name, value string }

// readParts reads a multipart body as net/http does.
func readParts(t *testing.T, data []byte) ([]formPart, error) {
	t.Helper()
	var parts []formPart
	reader := multipart.NewReader(bytes.NewReader(data), "B")
	for {
		p, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return nil, err
		}
		parts = append(parts, formPart{p.FormName(), string(value)})
	}
}

// FuzzMultipartBody compares the search and the hiding of form parts with mime/multipart.
func FuzzMultipartBody(f *testing.F) {
	part := func(name, value string) string {
		return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for _, b := range []string{
		part("apikey", "k") + "--B--\r\n", part("a", "1") + part("apikey", "k") + part("b", "\r\n--C") + "--B--", "--B--", "--B \r\n" + part("a", "")[5:] + "--B--  ",
		part("APIKEY", "k") + part("a", "--B") + "--B--", part("a", "") + "--B--\t\n",
	} {
		f.Add([]byte(b))
	}
	s := everywhere(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		r := request("/", string(data), multi)
		got, err := s.Find(r)
		if outcome(got, err) == "ambiguous_body" {
			return
		}
		parts, parseErr := readParts(t, data)
		require.NoError(t, parseErr, "what we accept, others do")
		var seen []string
		var others []formPart
		for _, p := range parts {
			if p.name == "apikey" || p.name == "x-api-key" {
				seen = append(seen, p.value)
			}
			if !named(p.name) {
				others = append(others, p)
			}
		}
		if err == nil {
			require.Equal(t, []string{got}, seen)
		} else {
			require.True(t, len(seen) != 1 || seen[0] == "", "%v", err)
		}
		s.Hide(r)
		left, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		after, err := readParts(t, left)
		require.NoError(t, err)
		require.Equal(t, others, after)
	})
}
