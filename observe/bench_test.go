package observe_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

// discard is a handler that takes every record and keeps none.
type discard struct{}

func (discard) Enabled(context.Context, slog.Level) bool  { return true }
func (discard) Handle(context.Context, slog.Record) error { return nil }
func (d discard) WithAttrs([]slog.Attr) slog.Handler      { return d }
func (d discard) WithGroup(string) slog.Handler           { return d }

// nowhere is a writer; io.Discard would tempt to replace the handler whose cost is the point.
type nowhere struct{}

func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }

// sink is a writer whose header can be used again.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// rig is a request of a browser through an Entry, an Observer and a policy, run as often as wanted.
func rig(tb testing.TB, c *observe.Config, refuse bool) func() {
	tb.Helper()
	answer := []byte("ok")
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		if refuse {
			policy.Refuse(w, r, "acl", &policy.Error{Status: http.StatusForbidden, Code: "not_in_group"})
			return
		}
		x.Record(policy.Decision{Policy: "key-auth", Reason: "known_key"})
		x.SetRoute("users", "/v1/users/:id", "/v1/users/42")
		_, _ = w.Write(answer)
	})
	var h http.Handler = inner
	if c != nil {
		h = policy.Must(observe.New(*c)).Wrap(h)
	}
	h = policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(h)
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "/v1/users/42?page=2&sort=name", nil)
	require.NoError(tb, err)
	r.Host, r.RemoteAddr = "api.example.com", "192.0.2.7:40000"
	r.Header = http.Header{
		"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		"Accept":     {"application/json"}, "Accept-Language": {"en"}, "Accept-Encoding": {"gzip"}, "Apikey": {"k"},
	}
	w := &sink{h: http.Header{}}
	return func() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

func BenchmarkObserver(b *testing.B) {
	for _, bb := range []struct {
		name   string
		config *observe.Config
		refuse bool
	}{
		{"Entry only", nil, false},
		{"no log", &observe.Config{}, false},
		{"level off", &observe.Config{Log: slog.New(slog.DiscardHandler)}, false},
		{"discard", &observe.Config{Log: slog.New(discard{})}, false},
		{"JSON", &observe.Config{Log: slog.New(slog.NewJSONHandler(&nowhere{}, nil))}, false},
		{"text", &observe.Config{Log: slog.New(slog.NewTextHandler(&nowhere{}, nil))}, false},
		{"refused, no log", &observe.Config{}, true},
		{"refused, JSON", &observe.Config{Log: slog.New(slog.NewJSONHandler(&nowhere{}, nil))}, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			run := rig(b, bb.config, bb.refuse)
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
	bare := testing.AllocsPerRun(500, rig(t, nil, false))
	// The id, its two fields and the function that echoes it.
	require.LessOrEqual(t, testing.AllocsPerRun(500, rig(t, &observe.Config{}, false))-bare, 3.0)
	// Beside those: the record's attributes, the decisions twice (copied, and in an interface), address and query.
	require.LessOrEqual(t, testing.AllocsPerRun(500, rig(t, &observe.Config{Log: slog.New(discard{})}, false))-bare, 8.0)
}
