package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/internal/race"
)

// large writes a file with that many routes, ten to a service, and consumers with plugins of their own.
func large(routes, consumers int) string {
	var b strings.Builder
	b.WriteString("_format_version: \"3.0\"\nservices:\n")
	for i := range routes {
		if i%10 == 0 {
			fmt.Fprintf(&b, "- name: service-%d\n  url: http://service-%d.internal:8080/api\n  plugins:\n  - name: key-auth\n    config: {key_names: [apikey]}\n  routes:\n", i/10, i/10)
		}
		fmt.Fprintf(&b, "  - name: route-%d\n    paths: [/tenant-%d/items-%d]\n    methods: [GET, POST]\n    plugins:\n", i, i%100, i)
		fmt.Fprintf(&b, "    - name: rate-limiting\n      config: {minute: %d, policy: local}\n", 100+i%7)
	}
	b.WriteString("consumers:\n")
	for i := range consumers {
		fmt.Fprintf(&b, "- username: consumer-%d\n  keyauth_credentials: [{key: key-%d}]\n  plugins:\n", i, i)
		fmt.Fprintf(&b, "  - name: rate-limiting\n    config: {minute: %d}\n  - name: request-termination\n    config: {trigger: x-stop-%d}\n", 10+i, i)
	}
	b.WriteString("plugins:\n- name: correlation-id\n")
	return b.String()
}

// BenchmarkLoad reads, checks and builds. The issue asks for 10,000 routes in under 2 s.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct{ routes, consumers int }{{1000, 0}, {10_000, 0}, {10_000, 1000}} {
		b.Run(fmt.Sprintf("routes=%d/consumers=%d", c.routes, c.consumers), func(b *testing.B) {
			file := large(c.routes, c.consumers)
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{})
				require.NoError(b, err)
				require.Len(b, s.Gateway.Routes, c.routes)
				require.NoError(b, s.Close())
			}
		})
	}
}

// TestLoadAllocations: what consumers have of their own is shared by all routes. As products of routes and consumers it would
// be a million entries here, of which none fits into ten bytes.
func TestLoadAllocations(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("measures memory")
	}
	kept := func(routes, consumers int) uint64 {
		file := large(routes, consumers)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{})
		require.NoError(t, err)
		runtime.GC()
		runtime.ReadMemStats(&after)
		require.Len(t, s.Gateway.Routes, routes)
		require.NoError(t, s.Close())
		return max(after.HeapAlloc, before.HeapAlloc) - before.HeapAlloc
	}
	kept(10, 10)
	alone, both := kept(2000, 0)+kept(10, 1000), kept(2000, 1000)
	require.Less(t, both, alone+10<<20)
}
