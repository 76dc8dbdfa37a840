package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// dial connects to addr for the exchange in ctx. Its time is bounded by that exchange's limit, although net/http lets
// the dialling go on for others when the exchange is given up.
func (s *Standard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return s.connect(ctx, network, addr, nil, nil)
}

// dialClear is dial for HTTP/2, over which no exchange gets what another's target sent.
func (s *Standard) dialClear(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := s.dial(ctx, network, addr)
	if h, ok := c.(*http1); ok {
		return h.below, nil
	}
	return c, err
}

// dialTLS is dial followed by a handshake within the same bound.
func (s *Standard) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	return s.handshake(ctx, network, addr, s.tls.NextProtos, nil)
}

// handshake is dialTLS for a connection that belongs to an era, if there is one.
func (s *Standard) handshake(ctx context.Context, network, addr string, protocols []string, e *era) (net.Conn, error) {
	c := s.tls.Clone()
	c.NextProtos = protocols
	if c.ServerName == "" && s.names != nil {
		c.ServerName = s.names(addr)
	}
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, &Error{Code: ConnectFailed, Err: err}
		}
		c.ServerName = host
	}
	return s.connect(ctx, network, addr, c, e)
}

var errDialNil = errors.New("the Dial function returned neither a connection nor an error")

func (s *Standard) connect(ctx context.Context, network, addr string, secure *tls.Config, e *era) (net.Conn, error) {
	if !s.begin() {
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	defer s.running.Done()
	limit := fallbackConnect
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		limit = a.connectLimit()
		a.dialling()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(s.life, cancel)
	defer stop()

	raw, err := s.dialer(ctx, network, addr)
	if err == nil && raw == nil {
		err = errDialNil
	}
	if err != nil {
		return nil, &Error{Code: dialCode(ctx, err), Err: err}
	}
	c := &tracked{Conn: raw, owner: s, era: e}
	if t, ok := raw.(*net.TCPConn); ok {
		c.under = newSocket(t)
	}
	if !s.adopt(c) {
		_ = raw.Close()
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	if s.preface != nil {
		if err := writeWithin(ctx, c, s.preface(ctx)); err != nil {
			_ = c.Close()
			return nil, &Error{Code: dialCode(ctx, err), Err: err}
		}
	}
	if secure == nil {
		return newHTTP1(c), nil
	}
	if s.roots != nil {
		secure.RootCAs, _ = s.roots() // those of now, not those of when dialling began
	}
	tc := tls.Client(c, secure)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		code := TLSFailed
		if ctx.Err() != nil {
			code = dialCode(ctx, err)
		}
		return nil, &Error{Code: code, Err: err}
	}
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		return tc, nil // net/http has to see it
	}
	return newHTTP1(tc), nil
}

// fallbackConnect bounds dialling nobody set a limit for.
const fallbackConnect = 3 * time.Second

// longestConnect bounds it where somebody wants no limit. The exchange may be long over then, and the connection has a place that
// others wait for.
const longestConnect = 5 * time.Minute

// connectLimit returns how long dialling for a may take. It goes on when the exchange is given up, for others.
func (a *attempt) connectLimit() time.Duration {
	if limit := a.limits.Connect; limit > 0 {
		return limit
	}
	if end := a.limits.Deadline; !end.IsZero() {
		return min(max(time.Until(end), 0), longestConnect)
	}
	return longestConnect
}

func dialCode(ctx context.Context, err error) string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ConnectTimeout
	case ctx.Err() != nil:
		return Closed // dialling is not ended by the exchange that asked for it
	case errors.As(err, &dns):
		return DNSFailed
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT): // a Unix socket that its server has removed
		return ConnectRefused
	case errors.As(err, &timeout) && timeout.Timeout():
		return ConnectTimeout
	default:
		return ConnectFailed
	}
}

// writeWithin writes message, for as long as ctx allows.
func writeWithin(ctx context.Context, c net.Conn, message []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.Write(message)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is about to be set
	}
	return err
}
