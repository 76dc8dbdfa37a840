package proxy_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/policy"
)

// slowly is a body whose parts come with a pause before each.
type slowly struct {
	steps

	pause time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.steps.Read(p)
}

// flushTimes notes when the answer was flushed, and how much of it had been written.
type flushTimes struct {
	*httptest.ResponseRecorder

	start time.Time
	at    []time.Duration
	sizes []int
	fail  error
}

func (f *flushTimes) FlushError() error {
	f.at, f.sizes = append(f.at, time.Since(f.start)), append(f.sizes, f.Body.Len())
	return f.fail
}

// Bytes wait for no longer than the interval, and those that come meanwhile go with them. Nothing is flushed once the
// answer has ended, nor without an interval.
func TestFlushIntervals(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name            string
		interval, pause time.Duration
		at              []time.Duration
		sizes           []int
	}{
		// The parts come at 40, 80, 120 and 160 ms, the end at 200 ms.
		{"none", 0, 40 * ms, nil, nil},
		{"the head, and each piece", -1, 40 * ms, []time.Duration{0, 40 * ms, 80 * ms, 120 * ms, 160 * ms}, []int{0, 2, 4, 6, 8}},
		{"shorter than the pauses", 30 * ms, 40 * ms, []time.Duration{70 * ms, 110 * ms, 150 * ms, 190 * ms}, []int{2, 4, 6, 8}},
		{"longer than a pause", 70 * ms, 40 * ms, []time.Duration{110 * ms, 190 * ms}, []int{4, 8}},
		{"longer than the answer", time.Second, 40 * ms, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &flushTimes{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
				d := deliverWith(t, policy.Forward{FlushInterval: tt.interval}, w, &slowly{steps{"ab", "cd", "ef", "gh"}, tt.pause})
				require.Equal(t, proxy.Delivery{Sent: true}, d)
				require.Equal(t, "abcdefgh", w.Body.String())
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, tt.at, w.at)
				require.Equal(t, tt.sizes, w.sizes)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := &flushTimes{ResponseRecorder: httptest.NewRecorder(), start: time.Now(), fail: errors.New("the client is gone")}
		d := deliverWith(t, policy.Forward{FlushInterval: ms}, w, &slowly{steps{"ab", "cd", "ef", "gh"}, 40 * ms})
		require.ErrorIs(t, d.Err, w.fail)
		require.True(t, d.Gone)
		require.Equal(t, []int{2}, w.sizes, "no more is written to it")
	})
}

// deliverWith delivers a body of eight bytes as a route has it.
func deliverWith(t *testing.T, f policy.Forward, w http.ResponseWriter, body io.Reader) proxy.Delivery {
	t.Helper()
	x, r := policy.Ensure(request(http.MethodGet, "/"))
	x.SetForward(&f)
	res := response("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n", strings.NewReader(""))
	res.Body = io.NopCloser(body)
	return accept(t, w, r).Deliver(w, res)
}
