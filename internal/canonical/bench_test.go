package canonical_test

import (
	"net/url"
	"testing"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// ownedNames is about what a gateway with key-auth, limits and forwarding owns.
var ownedNames = []string{
	"X-Consumer-Id", "X-Consumer-Username", "X-Consumer-Custom-Id", "X-Consumer-Groups", "X-Credential-Identifier",
	"X-Authenticated-Userid", "X-Anonymous-Consumer", "X-Request-Id", "X-Real-Ip", "Forwarded", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Original-Url",
}

func BenchmarkPath(b *testing.B) {
	for _, bb := range []struct{ name, path string }{
		{"canonical", "/api/v1/users/42/orders"},
		{"canonical-escapes", "/api/v1/caf!/%C3%A9t%C3%A9"},
		{"space", "/api/v1/a%20b"},
		{"dots", "/api/v1/../v2/users"},
		{"refused", "/api/..%2fadmin"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			u, err := url.Parse(bb.path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = canonical.Path(u, canonical.PathOptions{})
			}
		})
	}
}

func BenchmarkSetPath(b *testing.B) {
	u := new(url.URL)
	b.ReportAllocs()
	for b.Loop() {
		canonical.SetPath(u, "/api/v1/users/42/orders")
	}
}

func BenchmarkHost(b *testing.B) {
	for _, authority := range []string{"api.example.com:8080", "API.example.com", "[2001:db8::1]:443"} {
		b.Run(authority, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = canonical.Host(authority)
			}
		})
	}
}

// One iteration is one request with eight header fields.
func BenchmarkNameSet(b *testing.B) {
	set := canonical.NewNameSet(ownedNames...)
	names := []string{"Accept", "Accept-Encoding", "Authorization", "User-Agent", "X-Api-Key", "Content-Type", "Cache-Control", "X-Client-Version"}
	b.ReportAllocs()
	for b.Loop() {
		for _, name := range names {
			_ = set.Contains(name)
		}
	}
}
