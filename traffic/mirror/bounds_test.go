package mirror_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// TestQueue: so many at a time, so many wait, and the others are dropped.
func TestQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Shadow: gatewaytest.Stall(), Workers: 2, Queue: 3, Timeout: time.Second})
		h := m.Wrap(gatewaytest.Respond(200, "x"))
		start := time.Now()
		for range 9 {
			require.Equal(t, 200, gatewaytest.Do(h, get()).StatusCode)
		}
		synctest.Wait()
		require.Zero(t, time.Since(start), "nobody has waited for it")
		s := m.Status()
		require.Equal(t, []int{2, 3}, []int{s.Running, s.Waiting})
		require.Equal(t, mirror.Dropped{QueueFull: 4}, s.Dropped)
		time.Sleep(2 * time.Second)
		s = m.Status()
		require.EqualValues(t, 2, s.TimedOut)
		require.Equal(t, mirror.Dropped{QueueFull: 4, WaitedTooLong: 3}, s.Dropped, "the others are no news any more")
		require.Zero(t, int64(s.Running+s.Waiting)+s.Held)
		require.NoError(t, m.Close())
	})
}

func TestNoQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Shadow: gatewaytest.Stall(), Workers: 1, Queue: -1})
		h := m.Wrap(gatewaytest.Respond(200, "x"))
		for range 3 {
			gatewaytest.Do(h, get())
		}
		synctest.Wait()
		require.EqualValues(t, 2, m.Status().Dropped.QueueFull)
		require.NoError(t, m.Close())
	})
}

// TestMaxBytes: whatever clients send, all copies together hold no more, and nothing when they are done with.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	for _, compare := range []*mirror.Compare{nil, {}} {
		synctest.Test(t, func(t *testing.T) {
			const most = 100 << 10
			m := made(t, mirror.Config{Shadow: gatewaytest.Stall(), Workers: 1, Queue: 1000, MaxBytes: most, Methods: []string{"POST"}, Compare: compare, Timeout: time.Second})
			h := m.Wrap(http.HandlerFunc(echo))
			for range 50 {
				r := httptest.NewRequest(http.MethodPost, "/", onlyReader{strings.NewReader(strings.Repeat("x", 10<<10))})
				require.Len(t, text(t, gatewaytest.Do(h, r)), 10<<10)
				require.LessOrEqual(t, m.Status().Held, int64(most))
			}
			synctest.Wait()
			s := m.Status()
			require.Greater(t, s.Dropped.Bytes, uint64(30))
			require.EqualValues(t, 50, s.Dropped.Bytes+uint64(s.Running+s.Waiting))
			require.Greater(t, s.Held, int64(most/2))
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("X-Large", strings.Repeat("x", most))
			gatewaytest.Do(h, r)
			require.Equal(t, s.Dropped.Bytes+1, m.Status().Dropped.Bytes, "heads count, too")
			require.NoError(t, m.Close())
			require.Zero(t, m.Status().Held)
		})
	}
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	s, err := gatewaytest.Text(res)
	require.NoError(t, err)
	return s
}

// TestShadows: whatever the shadow does is counted, and nobody notices.
func TestShadows(t *testing.T) {
	t.Parallel()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.Refuse(w, r, "x", &policy.Error{Status: 503})
	})
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	deaf := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Minute) })
	for name, c := range map[string]struct {
		shadow http.Handler
		want   mirror.Status
	}{
		"answers":            {gatewaytest.Respond(500, "x"), mirror.Status{Answered: 1}},
		"answers nothing":    {http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), mirror.Status{Answered: 1}},
		"streams":            {gatewaytest.Stream(time.Second, "a", "b", "c"), mirror.Status{Answered: 1}},
		"panics":             {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") }), mirror.Status{Panicked: 1}},
		"panics with errors": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(io.ErrUnexpectedEOF) }), mirror.Status{Panicked: 1}},
		"aborts":             {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), mirror.Status{Failed: 1}},
		"ends its goroutine": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }), mirror.Status{}},
		"refuses":            {refuse, mirror.Status{Failed: 1}},
		"stalls":             {gatewaytest.Stall(), mirror.Status{TimedOut: 1}},
		"is slow":            {gatewaytest.After(9*time.Second, gatewaytest.Respond(200, "x")), mirror.Status{Answered: 1}},
		"is too slow":        {gatewaytest.After(11*time.Second, gatewaytest.Respond(200, "x")), mirror.Status{TimedOut: 1}},
		"is deaf":            {deaf, mirror.Status{TimedOut: 1}},
		"has no end":         {endless, mirror.Status{CutOff: 1}},
		"wants the connection": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _, err := http.NewResponseController(w).Hijack()
			require.ErrorIs(t, err, http.ErrNotSupported)
			require.NoError(t, http.NewResponseController(w).Flush())
		}), mirror.Status{Answered: 1}},
	} {
		for _, compare := range []*mirror.Compare{nil, {}} {
			synctest.Test(t, func(t *testing.T) {
				m := made(t, mirror.Config{Shadow: c.shadow, Compare: compare, Workers: 1})
				start := time.Now()
				res := gatewaytest.Do(m.Wrap(gatewaytest.Respond(200, "real")), get())
				require.Equal(t, "real", text(t, res), name)
				require.Zero(t, time.Since(start))
				time.Sleep(2 * time.Minute)
				s := m.Status()
				c.want.Name, c.want.Share, c.want.Sampled, c.want.Sent = "mirror", 1, 1, 1
				s.Compared, s.Equal, s.Different, s.Incomparable = 0, 0, 0, 0
				require.Equal(t, c.want, s, name)
				gatewaytest.Do(m.Wrap(gatewaytest.Respond(200, "real")), get())
				time.Sleep(2 * time.Minute)
				require.EqualValues(t, 2, m.Status().Sent, "%s: the worker is not lost", name)
				require.NoError(t, m.Close())
			})
		}
	}
}

// TestClientLeaves: the copy goes on.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Shadow: gatewaytest.After(time.Second, gatewaytest.Respond(200, "x")), Compare: &mirror.Compare{}})
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, leave)
		m.Wrap(gatewaytest.Stall()).ServeHTTP(httptest.NewRecorder(), get().WithContext(ctx))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s := m.Status()
		require.EqualValues(t, 1, s.Answered)
		require.EqualValues(t, 1, s.Incomparable)
		require.Zero(t, s.Held)
	})
}

// TestClose: what waits is dropped, what is under way ends, and requests pass afterwards.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, compare := range []*mirror.Compare{nil, {}} {
		synctest.Test(t, func(t *testing.T) {
			m := made(t, mirror.Config{Shadow: gatewaytest.Stall(), Workers: 1, Queue: 5, Compare: compare, Methods: []string{"GET", "POST"}})
			h := m.Wrap(http.HandlerFunc(echo))
			for range 4 {
				gatewaytest.Do(h, get())
			}
			body, client := io.Pipe()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				gatewaytest.Do(h, httptest.NewRequest(http.MethodPost, "/", body))
			}()
			_, _ = io.WriteString(client, "x")
			synctest.Wait()
			start := time.Now()
			require.NoError(t, m.Close())
			require.NoError(t, m.Close(), "again")
			require.Zero(t, time.Since(start))
			_ = client.Close()
			<-ended
			require.Equal(t, 200, gatewaytest.Do(h, get()).StatusCode)
			s := m.Status()
			require.EqualValues(t, 1, s.Failed)
			require.Equal(t, mirror.Dropped{Closed: 5}, s.Dropped)
			require.Zero(t, s.Held)
			require.Zero(t, s.Running+s.Waiting)
		})
	}
}

// TestCloseDoesNotWaitForever: a shadow that does not listen is waited for a while.
func TestCloseDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := made(t, mirror.Config{Shadow: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })})
		gatewaytest.Do(m.Wrap(gatewaytest.Respond(200, "x")), get())
		synctest.Wait()
		start := time.Now()
		require.ErrorIs(t, m.Close(), mirror.ErrStillRunning)
		require.Equal(t, 5*time.Second, time.Since(start))
		close(release)
		synctest.Wait()
		require.NoError(t, m.Close())
	})
}

// TestNoGoroutines: there are none before the first copy, and none when there is nothing to do.
func TestNoGoroutines(t *testing.T) { //nolint:paralleltest // it counts those of the process
	before := runtime.NumGoroutine()
	ended := make(chan struct{})
	m := made(t, mirror.Config{Shadow: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(ended) })})
	require.Equal(t, before, runtime.NumGoroutine())
	gatewaytest.Do(m.Wrap(gatewaytest.Respond(200, "x")), get())
	<-ended
	for m.Status().Running > 0 {
		runtime.Gosched()
	}
}
