package split_test

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/traffic/split"
)

// hijackable is a recorder whose connection can be taken over.
type hijackable struct{ *httptest.ResponseRecorder }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, other := net.Pipe()
	_, _ = conn.Close(), other.Close()
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// TestLateHijack: somebody further out who takes the connection of an answered request over changes nothing about others.
func TestLateHijack(t *testing.T) {
	t.Parallel()
	s := made(t, split.Config{Arms: two(1, 0)})
	w := respw.Wrap(hijackable{httptest.NewRecorder()})
	s.ServeHTTP(w, upgrade(get()))
	for range 3 {
		serve(s, httptest.NewRecorder(), get())
	}
	_, _, err := http.NewResponseController(w).Hijack()
	require.NoError(t, err)
	require.Equal(t, 4, s.Status().Arms[0].WindowRequests)
}
