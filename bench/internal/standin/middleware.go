package standin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

type consumerKey struct{}

func consumerOf(r *http.Request) *Consumer {
	c, _ := r.Context().Value(consumerKey{}).(*Consumer)
	return c
}

// Chain puts all four policies around a handler.
func Chain(next http.Handler) http.Handler {
	h := identify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { transform(next, w, r) }))
	return new(Metrics).wrap(authenticate(NewKeys(), limit(NewLimiter(), h)))
}

func authenticate(k *Keys, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c *Consumer
		if v := r.Header["Apikey"]; len(v) > 0 {
			c = k.Find([]byte(v[0]))
		}
		if c == nil {
			http.Error(w, "no key that is known", http.StatusUnauthorized)
			return
		}
		delete(r.Header, "Apikey") // it is no business of the upstream
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), consumerKey{}, c)))
	})
}

func limit(l *Limiter, next http.Handler) http.Handler {
	most := []string{strconv.Itoa(PerSecond)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left, ok := l.Admit(consumerOf(r))
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		w.Header()[LimitHeader] = most
		w.Header()[RemainingHeader] = []string{strconv.FormatInt(left, 10)}
		next.ServeHTTP(w, r)
	})
}

// identify tells the upstream who calls. Gatehouse does so by itself, so it is no part of its transform.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := []string{consumerOf(r).ID}
		r.Header[ConsumerHeader] = id
		r.Header[CredentialHeader] = id
		next.ServeHTTP(w, r)
	})
}

func transform(next http.Handler, w http.ResponseWriter, r *http.Request) {
	r.Header.Set(Header, Value)
	w.Header().Set(Header, Value)
	next.ServeHTTP(w, r)
}

// Transform is the header transform as a plugin of a gateway.
func Transform() policy.Plugin {
	return policy.Describe("transform", policy.Contract{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { transform(next, w, r) })
	})
}

// Plugin is the metrics as a plugin of a gateway.
func (m *Metrics) Plugin() policy.Plugin {
	return policy.Describe("metrics", policy.Contract{}, m.wrap)
}

func (m *Metrics) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &counted{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(c, r)
		m.Count(c.status, c.bytes, time.Since(start))
	})
}

// counted notes what passes through a ResponseWriter.
type counted struct {
	http.ResponseWriter

	status int
	bytes  int64
}

func (c *counted) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
