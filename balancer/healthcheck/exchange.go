package healthcheck

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/gatehouse-go/gateway/balancer"
)

const (
	// maxHead bounds the heads of answers, those of status 1xx before them included.
	maxHead = 64 << 10
	// window is how much a target may send by HTTP/2 of what nobody has read yet.
	window = 64 << 10
)

const userAgent = "gatehouse-healthcheck"

var (
	errLongHead      = fmt.Errorf("healthcheck: the head of the answer is longer than %d bytes", maxHead)
	errOneConnection = errors.New("healthcheck: a check makes one connection")
)

// exchange sends r to the target over a connection of its own, which is closed when judge, which is given the answer, returns.
func exchange(c balancer.Check, r *http.Request, http2 bool, judge func(*http.Response) error) error {
	ctx := r.Context()
	raw, err := c.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := raw
	if r.URL.Scheme == "https" {
		config := tlsOf(c, r.URL)
		if config.NextProtos = nil; http2 {
			config.NextProtos = []string{"h2"}
		}
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return orEnd(ctx, err)
		}
		if http2 && secure.ConnectionState().NegotiatedProtocol != "h2" {
			return &balancer.AnswerError{Problem: "it does not speak HTTP/2"}
		}
		conn = secure
	}
	if http2 {
		return orEnd(ctx, inHTTP2(conn, r, judge))
	}
	return orEnd(ctx, inHTTP1(conn, r, judge))
}

// orEnd returns err, or the error of ctx in its place, as that closes the connection.
func orEnd(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// inHTTP1 sends r over conn. A [http.Transport] would write what comes before its time to the process's log.
func inHTTP1(conn net.Conn, r *http.Request, judge func(*http.Response) error) error {
	r.Close = true
	unsent := r.Write(conn) // there may be an answer all the same
	limited := &io.LimitedReader{R: conn, N: maxHead}
	in := bufio.NewReader(limited)
	for {
		res, err := http.ReadResponse(in, r) //nolint:bodyclose // which would read all of it
		switch {
		case err == nil && res.StatusCode/100 == 1 && res.StatusCode != http.StatusSwitchingProtocols:
		case err == nil:
			limited.N = math.MaxInt64
			return judge(res)
		case limited.N == 0:
			return errLongHead
		default:
			return cmp.Or(unsent, err)
		}
	}
}

// inHTTP2 sends r over conn.
func inHTTP2(conn net.Conn, r *http.Request, judge func(*http.Response) error) error {
	var used atomic.Bool
	dial := func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) { // there are requests that may be sent again
			return nil, errOneConnection
		}
		return conn, nil
	}
	t := &http.Transport{
		DialContext: dial, DialTLSContext: dial,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: window},
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(r)
	if err != nil {
		return err //nolint:wrapcheck // it says what happened, and is told apart by its cause
	}
	defer func() { _ = res.Body.Close() }()
	return judge(res)
}

// tlsOf returns the configuration for a connection to the target.
func tlsOf(c balancer.Check, u *url.URL) *tls.Config {
	config := c.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = cmp.Or(config.ServerName, c.ServerName, u.Hostname())
	return config
}
