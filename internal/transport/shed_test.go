package transport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/transport"
)

// patient answers every request once it has arrived.
func patient(dials *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			in := bufio.NewReader(server)
			for {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil {
					return
				}
				body := fmt.Sprint(n)
				_, _ = fmt.Fprintf(server, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}()
		return client, nil
	}
}

// dripping is a request body that comes in pieces of a size, a second apart.
func dripping(size, pieces int) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() {
		for range pieces {
			time.Sleep(time.Second)
			if _, err := pw.Write(make([]byte, size)); err != nil {
				return
			}
		}
		_ = pw.Close()
	}()
	return pr
}

// Clients that send a byte now and then do not keep others from a target, and those that send steadily are not cut.
func TestSlowUploadsMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		s := transport.NewStandard(transport.Config{Dial: patient(&dials), MaxConns: 4})
		limits := transport.Limits{Connect: 3 * time.Second}
		send := func(body io.ReadCloser) (string, error) {
			res, err := s.Send(outgoing(t.Context(), "http://a.test/", body), limits)
			if err != nil {
				return "", err
			}
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			return string(b), err
		}
		type result struct {
			answer string
			err    error
		}
		steady, slow := make(chan result, 1), make(chan result, 3)
		go func() {
			answer, err := send(dripping(9<<10, 60))
			steady <- result{answer, err}
		}()
		for range 3 {
			go func() {
				answer, err := send(dripping(1, 60))
				slow <- result{answer, err}
			}()
		}
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 4, dials.Load())
		require.Empty(t, slow, "while nobody waits they may take their time")

		start := time.Now()
		res, err := s.Send(outgoing(t.Context(), "http://a.test/", nil), limits)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Less(t, time.Since(start), time.Second)
		first := <-slow
		require.Equal(t, transport.UploadTooSlow, code(t, first.err))
		time.Sleep(time.Second)
		require.Empty(t, slow, "no more than there were waiting")

		for range 2 {
			end := <-slow
			require.NoError(t, end.err)
			require.Equal(t, "60", end.answer)
		}
		end := <-steady
		require.NoError(t, end.err)
		require.Equal(t, "552960", end.answer)
		require.NoError(t, s.Close())
	})
}

// Uploads that have only begun, uploads to another target, and uploads the target has answered already make no room.
func TestOthersMakeNoRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		answersEarly := func() (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				in := bufio.NewReader(server)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\n\r\n")
				_, _ = io.Copy(io.Discard, in)
			}()
			return client, nil
		}
		s := transport.NewStandard(transport.Config{MaxConns: 1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "early.test:80" {
				return answersEarly()
			}
			return patient(&dials)(ctx, network, addr)
		}})
		upload := func(host string, pieces int) <-chan error {
			done := make(chan error, 1)
			go func() {
				res, err := s.Send(outgoing(t.Context(), "http://"+host, dripping(1, pieces)), transport.Limits{})
				if err == nil {
					time.Sleep(10 * time.Second)
					_ = res.Body.Close()
				}
				done <- err
			}()
			synctest.Wait()
			return done
		}
		other, early := upload("other.test", 20), upload("early.test", 20)
		time.Sleep(5 * time.Second)
		begun := upload("begun.test", 2)
		failed := make(chan error, 2)
		for _, host := range []string{"early.test", "begun.test"} {
			go func() {
				_, err := s.Send(outgoing(t.Context(), "http://"+host, nil), transport.Limits{Connect: 900 * time.Millisecond})
				failed <- err
			}()
		}
		for range 2 {
			require.Equal(t, transport.ConnectTimeout, code(t, <-failed))
		}
		for _, done := range []<-chan error{other, early, begun} {
			require.NoError(t, <-done)
		}
		require.NoError(t, s.Close())
	})
}
