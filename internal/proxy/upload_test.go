package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/proxy"
	"github.com/gatehouse-go/gateway/policy"
)

// slowConnection is a connection whose deadline takes its time to be set, and then ends the Read that waits.
type slowConnection struct {
	*httptest.ResponseRecorder

	cut              chan struct{}
	under, late, set atomic.Int64
	returned         atomic.Bool
}

func (c *slowConnection) SetReadDeadline(time.Time) error {
	c.under.Add(1)
	defer c.under.Add(-1)
	if c.returned.Load() {
		c.late.Add(1)
	}
	if c.set.Add(1) == 1 {
		close(c.cut)
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func (c *slowConnection) Read([]byte) (int, error) {
	<-c.cut
	return 0, timeoutError{}
}

func (c *slowConnection) Close() error { return nil }

type timeoutError struct{}

func (timeoutError) Error() string { return "i/o timeout" }
func (timeoutError) Timeout() bool { return true }

// Once Release has returned nothing touches the connection any more: it is the next request's, and on HTTP/2 there is
// none.
func TestReleaseLeavesTheConnectionAlone(t *testing.T) {
	t.Parallel()
	for name, closeFirst := range map[string]bool{"closed by the transport": true, "released at once": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &slowConnection{ResponseRecorder: httptest.NewRecorder(), cut: make(chan struct{})}
				r := httptest.NewRequest(http.MethodPost, "/", nil)
				r.Body, r.ContentLength = c, -1
				_, r = policy.Ensure(r)
				call, refused := proxy.New().Accept(c, r)
				require.Nil(t, refused)
				target, err := url.Parse("http://up.test")
				require.NoError(t, err)
				out, refused := call.Outgoing(target)
				require.Nil(t, refused)
				read := make(chan error, 1)
				go func() {
					_, err := io.ReadAll(out.Body)
					read <- err
				}()
				synctest.Wait()
				if closeFirst {
					go func() { _ = out.Body.Close() }()
					synctest.Wait()
				}
				call.Release()
				require.Zero(t, c.under.Load())
				c.returned.Store(true)
				require.Error(t, <-read)
				time.Sleep(time.Minute)
				require.Zero(t, c.late.Load())
				require.Positive(t, c.set.Load())
			})
		})
	}
}
