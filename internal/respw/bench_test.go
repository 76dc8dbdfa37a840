package respw_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
)

func BenchmarkSmallAnswer(b *testing.B) {
	under := &endlessWriter{deadlineWriter{plainWriter: plainWriter{h: http.Header{}, discard: true}}}
	body := make([]byte, 200)
	hook := func(int, http.Header) {}
	for _, bb := range []struct {
		name  string
		limit time.Duration
		hooks int
	}{{"bare", 0, 0}, {"4-hooks", 0, 4}, {"8-hooks", 0, 8}, {"limit", time.Minute, 0}} {
		b.Run(bb.name, func(b *testing.B) {
			var w respw.Writer
			b.ReportAllocs()
			for b.Loop() {
				w.Init(under)
				w.LimitWrites(bb.limit)
				for range bb.hooks {
					w.OnHeader(hook)
				}
				w.WriteHeader(http.StatusOK)
				_, _ = w.Write(body)
				w.Finish()
			}
		})
	}
}

// One iteration is one answer of 1 MiB in writes of 32 KiB.
func BenchmarkLargeAnswer(b *testing.B) {
	under := &endlessWriter{deadlineWriter{plainWriter: plainWriter{h: http.Header{}, discard: true}}}
	body := make([]byte, 32<<10)
	for name, limit := range map[string]time.Duration{"no-limit": 0, "limit": time.Minute} {
		b.Run(name, func(b *testing.B) {
			var w respw.Writer
			b.ReportAllocs()
			for b.Loop() {
				w.Init(under)
				w.LimitWrites(limit)
				for range 32 {
					_, _ = w.Write(body)
				}
				w.Finish()
			}
		})
	}
}

// Over loopback, for the share of the whole; 16 KiB answers on one connection.
func BenchmarkServer(b *testing.B) {
	body := make([]byte, 16<<10)
	for _, bb := range []struct {
		name string
		wrap func(w http.ResponseWriter) http.ResponseWriter
	}{
		{"bare", func(w http.ResponseWriter) http.ResponseWriter { return w }},
		{"wrapped", func(w http.ResponseWriter) http.ResponseWriter { return respw.Wrap(w) }},
		{"limited", func(w http.ResponseWriter) http.ResponseWriter {
			rw := respw.Wrap(w)
			rw.LimitWrites(30 * time.Second)
			return rw
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w = bb.wrap(w)
				_, _ = w.Write(body)
				if rw, ok := w.(*respw.Writer); ok {
					rw.Finish()
				}
			}))
			defer s.Close()
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.URL, http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			c := s.Client()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := c.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
}
