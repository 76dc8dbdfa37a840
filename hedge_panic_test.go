package gateway_test

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

var errBomb = errors.New("bomb")

// bomb panics at the nth call of one place.
type bomb struct {
	place string
	left  atomic.Int64
	gone  atomic.Bool
}

func (b *bomb) at(place string) {
	if b != nil && b.place == place && b.left.Add(-1) == 0 {
		b.gone.Store(true)
		panic(errBomb)
	}
}

// mined is an admission and a hook that may panic.
type mined struct {
	*bomb

	in, out, begun, ended atomic.Int64
}

func (m *mined) Admit(context.Context, string) (policy.Ticket, error) {
	m.at("Admit")
	m.in.Add(1)
	return 0, nil
}

func (m *mined) Answered(t policy.Ticket, _ policy.Outcome) policy.Ticket {
	m.at("Answered")
	return t
}

func (m *mined) Done(policy.Ticket, policy.Outcome) {
	m.out.Add(1)
	m.at("Done")
}

func (m *mined) BeginTry(ctx context.Context, _ *policy.Try) context.Context {
	m.at("BeginTry")
	m.begun.Add(1)
	return ctx
}

func (m *mined) EndTry(context.Context, *policy.Try) {
	m.ended.Add(1)
	m.at("EndTry")
}

// Wherever something of the application's panics while tries race, everything is released once, and nothing stays behind.
func TestHedgingThatPanics(t *testing.T) {
	t.Parallel()
	for _, ways := range [][]string{{"late", "stall", "stall"}, {"stall", "503", "late"}, {"stall", "stall", ""}, {"reset", "stall", ""}} {
		for _, place := range []string{"Admit", "Answered", "Done", "BeginTry", "EndTry", "Rewrite", "Dial", "Outbound"} {
			for nth := int64(1); nth <= 3; nth++ {
				t.Run(strings.Join(ways, ",")+" "+place+string(rune('0'+nth)), func(t *testing.T) {
					t.Parallel()
					_, targets := mishaps(t, ways...)
					b := &bomb{place: place}
					b.left.Store(nth)
					m := &mined{bomb: b}
					c := gateway.UpstreamConfig{
						Name: "up", Targets: targets, Health: inTurn, Admission: []policy.Admission{m},
						Retry: policy.Retry{Hedge: 5 * time.Millisecond, Statuses: []int{503}},
					}
					if place == "Outbound" {
						c.Outbound = []func(http.RoundTripper) http.RoundTripper{func(next http.RoundTripper) http.RoundTripper {
							return roundTripper(func(r *http.Request) (*http.Response, error) {
								b.at("Outbound")
								return next.RoundTrip(r)
							})
						}}
					} else {
						c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
							b.at("Dial")
							return new(net.Dialer).DialContext(ctx, network, address)
						}
					}
					up, err := gateway.NewUpstream(c)
					require.NoError(t, err)
					x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
					if place == "BeginTry" || place == "EndTry" {
						x.OnTry(m)
					}
					x.SetForward(&policy.Forward{Rewrite: func(_, _ *http.Request) { b.at("Rewrite") }})
					inTime(t, func() {
						defer func() {
							if v := recover(); v != nil {
								require.Equal(t, errBomb, v)
							}
						}()
						up.ServeHTTP(httptest.NewRecorder(), r)
					})
					require.Equal(t, m.in.Load(), m.out.Load(), "admissions")
					require.Equal(t, m.begun.Load(), m.ended.Load(), "hooks")
					for _, s := range up.Status().Targets {
						require.Zero(t, s.InFlight)
					}
					inTime(t, func() { require.NoError(t, up.Close()) })
				})
			}
		}
	}
}

// inTime calls f, which has to return.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "it does not return")
	}
}

// However many tries there may be, a race takes no room for them.
func TestHedgingWithoutEnd(t *testing.T) {
	t.Parallel()
	_, targets := mishaps(t, "stall", "")
	for _, tries := range []int{1 << 30, math.MaxInt} {
		up := retrying(t, gateway.UpstreamConfig{Targets: targets, Health: inTurn, Retry: policy.Retry{Tries: tries, Hedge: 5 * time.Millisecond}})
		w := httptest.NewRecorder()
		up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, 200, w.Code)
	}
}
