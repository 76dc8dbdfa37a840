package terminate_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/terminate"
)

// sink is a writer whose header can be used again.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// rig is one request, run as often as wanted, whose Exchange exists.
func rig(c terminate.Config, target string) func() {
	h := policy.Must(terminate.New(c)).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Accept", "application/json")
	_, r = policy.Ensure(r)
	w := &sink{h: http.Header{}}
	return func() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

func BenchmarkTerminator(b *testing.B) {
	for _, bb := range []struct {
		name   string
		config terminate.Config
		target string
	}{
		{"refusal", terminate.Config{Message: "closed"}, "/"},
		{"body", terminate.Config{Status: 200, Body: "ok"}, "/"},
		{"echo", terminate.Config{Echo: true}, "/?a=b&c=d"},
		{"not triggered", terminate.Config{Trigger: "debug"}, "/?a=b&c=d"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			run := rig(bb.config, bb.target)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

func TestAllocs(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	require.Zero(t, testing.AllocsPerRun(500, rig(terminate.Config{Trigger: "debug"}, "/?a=b&c=d")), "requests that pass on cost nothing")
	// The values of Cache-Control, Content-Type, X-Content-Type-Options and Content-Length.
	require.LessOrEqual(t, testing.AllocsPerRun(500, rig(terminate.Config{Status: 200, Body: "ok"}, "/")), 4.0)
}
