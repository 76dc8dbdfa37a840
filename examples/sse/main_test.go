package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// started runs the program until the test ends or stop is called, and returns where it serves.
func started(t *testing.T) (url string, stop func()) {
	t.Helper()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", time.Millisecond, in, io.Discard)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(cancel)
	return strings.TrimPrefix(strings.TrimSpace(line), "listening on "), func() {
		cancel()
		require.NoError(t, <-ended, "it drains and ends")
	}
}

func get(t *testing.T, url string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Header = header
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestEvents(t *testing.T) {
	t.Parallel()
	url, stop := started(t)
	require.Equal(t, http.StatusUnauthorized, get(t, url+"/events", http.Header{}).StatusCode)
	shown, err := io.ReadAll(get(t, url, http.Header{}).Body)
	require.NoError(t, err)
	require.Contains(t, string(shown), "EventSource")

	res := get(t, url+"/events?apikey=ann-key", http.Header{"Last-Event-Id": {"41"}})
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	stream := bufio.NewReader(res.Body)
	for n := 42; n < 45; n++ {
		for _, want := range []string{fmt.Sprintf("id: %d\n", n), fmt.Sprintf("data: event %d for ann\n", n), "\n"} {
			line, err := stream.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, line)
		}
	}
	stop() // although the stream is open
	_, err = io.Copy(io.Discard, stream)
	require.Error(t, err, "it was cut off, and does not look as if it had ended")
}
