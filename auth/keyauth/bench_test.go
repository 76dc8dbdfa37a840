package keyauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// typical is a request as a gateway sees it: below an Entry, with the usual header fields.
func typical(header ...string) *http.Request {
	r := request("/v1/users/42?page=2", "", append([]string{
		"Accept: application/json", "Accept-Encoding: gzip", "User-Agent: bench/1.0", "X-Trace: 0123456789abcdef",
		"Accept-Language: en", "Cache-Control: no-cache",
	}, header...)...)
	_, r = policy.Ensure(r)
	return r
}

// nothing is a handler and a writer that cost nothing.
type nothing struct{ h http.Header }

func (nothing) ServeHTTP(http.ResponseWriter, *http.Request) {}
func (n nothing) Header() http.Header                        { return n.h }
func (nothing) WriteHeader(int)                              {}
func (nothing) Write(b []byte) (int, error)                  { return len(b), nil }

const benchKey = "0123456789abcdef0123456789abcdef"

func benchConfig(c keyauth.Config) keyauth.Config {
	c.Consumers = auth.Static{benchKey: {ID: "1", Username: "ann"}}
	return c
}

func TestAllocations(t *testing.T) {
	tests := []struct {
		name   string
		config keyauth.Config
		r      *http.Request
		want   int
	}{
		{"header", keyauth.Config{}, typical("Apikey: " + benchKey), 1}, // the identity
		{"header and query are searched", keyauth.Config{In: keyauth.Header | keyauth.Query | keyauth.Cookie}, typical("Apikey: " + benchKey), 1},
		{"hidden, nothing to hide beside the header", keyauth.Config{HideCredentials: true}, typical("Apikey: "+benchKey, "Cookie: a=1; b=2"), 1},
		{"guest", keyauth.Config{Anonymous: &policy.Consumer{ID: "guest"}}, typical(), 1},
	}
	for _, tt := range tests {
		h := newKeyAuth(t, benchConfig(tt.config)).Wrap(nothing{})
		key := tt.r.Header["Apikey"]
		w := nothing{http.Header{}}
		got := testing.AllocsPerRun(50, func() {
			if key != nil {
				tt.r.Header["Apikey"] = key // hidden by the run before
			}
			h.ServeHTTP(w, tt.r)
		})
		require.Equal(t, tt.want, int(got), tt.name)
	}
	// By itself, without an Exchange, the policy also pays for that: the Exchange, the request that carries it and its decisions.
	h := newKeyAuth(t, benchConfig(keyauth.Config{})).Wrap(nothing{})
	r := request("/", "", "Apikey: "+benchKey)
	require.LessOrEqual(t, testing.AllocsPerRun(50, func() { h.ServeHTTP(nothing{}, r) }), 4.0)
}

func BenchmarkWrap(b *testing.B) {
	benchmarks := []struct {
		name   string
		config keyauth.Config
		header []string
	}{
		{"header", keyauth.Config{}, []string{"Apikey: " + benchKey}},
		{"header+query+cookie", keyauth.Config{In: keyauth.Header | keyauth.Query | keyauth.Cookie}, []string{"Cookie: a=1; apikey=" + benchKey}},
		{"missing", keyauth.Config{}, nil},
		{"unknown", keyauth.Config{}, []string{"Apikey: " + benchKey + "0"}},
		{"guest", keyauth.Config{Anonymous: &policy.Consumer{ID: "guest"}}, nil},
	}
	b.Run("empty handler", func(b *testing.B) {
		b.ReportAllocs()
		var h http.Handler = nothing{}
		r, w := typical("Apikey: "+benchKey), nothing{http.Header{}}
		for b.Loop() {
			h.ServeHTTP(w, r)
		}
	})
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			h := newKeyAuth(b, benchConfig(bb.config)).Wrap(nothing{})
			r, w := typical(bb.header...), nothing{http.Header{}}
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkHide(b *testing.B) {
	b.ReportAllocs()
	h := newKeyAuth(b, benchConfig(keyauth.Config{HideCredentials: true})).Wrap(nothing{})
	r, w := typical(), nothing{http.Header{}}
	key := []string{benchKey}
	for b.Loop() {
		r.Header["Apikey"] = key
		h.ServeHTTP(w, r)
	}
}

func BenchmarkBody(b *testing.B) {
	b.ReportAllocs()
	h := newKeyAuth(b, benchConfig(keyauth.Config{In: keyauth.Body})).Wrap(nothing{})
	w := httptest.NewRecorder()
	for b.Loop() {
		_, r := policy.Ensure(request("/", `{"a":1,"apikey":"`+benchKey+`","b":[1,2,3]}`, jsonCT))
		h.ServeHTTP(w, r)
	}
}
