package rawtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Upstream is a server on a free port of loopback. A test either takes its connections with Accept, or has them served with
// Serve. It is safe for concurrent use.
type Upstream struct {
	// Addr is where it listens, URL the target to configure.
	Addr, URL string
	// TLS is the configuration of a client that trusts it, which offers HTTP/1.1 only; nil without TLS.
	TLS *tls.Config

	t        testing.TB
	accepted chan *Conn
	running  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    []*Conn
	ended    []chan struct{} // closed when a connection that is served was read to its end
	requests []*Message
}

// Listen starts an upstream, with TLS if secure. It ends with the test.
func Listen(t testing.TB, secure bool) *Upstream {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("rawtest: %v", err)
	}
	u := &Upstream{t: t, Addr: l.Addr().String(), accepted: make(chan *Conn, 100)}
	u.URL = "http://" + u.Addr
	var server *tls.Config
	if secure {
		u.URL = "https://" + u.Addr
		if server, u.TLS, err = certificates(); err != nil {
			t.Fatalf("rawtest: %v", err)
		}
	}
	t.Cleanup(func() {
		_ = l.Close()
		u.mu.Lock()
		u.closed = true
		for _, c := range u.conns {
			c.Close()
		}
		u.mu.Unlock()
		u.running.Wait()
	})
	u.running.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			u.adopt(raw, server)
		}
	})
	return u
}

// adopt hands a new connection on, after the handshake.
func (u *Upstream) adopt(raw net.Conn, server *tls.Config) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(u.conns) == cap(u.accepted) {
		_ = raw.Close()
		return
	}
	c := newConn(u.t, fmt.Sprintf("connection %d of the upstream", len(u.conns)), raw)
	u.conns, u.ended = append(u.conns, c), append(u.ended, make(chan struct{}))
	if server == nil {
		u.accepted <- c
		return
	}
	secured := tls.Server(raw, server)
	c.raw = secured
	u.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return
		}
		u.accepted <- c
	})
}

// certificates returns the configurations of a server and of a client that trusts it.
func certificates() (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	own := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}},
		&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: []string{"http/1.1"}}, nil
}

// Accept returns the next connection, which the test drives from then on.
func (u *Upstream) Accept() *Conn {
	u.t.Helper()
	select {
	case c := <-u.accepted:
		return c
	case <-time.After(Patience):
		u.t.Fatalf("rawtest: nobody has connected to the upstream")
		return nil
	}
}

// Connections returns how many connections were made so far.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

// Received returns what each connection has received so far.
func (u *Upstream) Received() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := make([]string, len(u.conns))
	for i, c := range u.conns {
		got[i] = c.Received()
	}
	return got
}

// Then says what follows a [Reply].
type Then uint8

// What may follow.
const (
	Keep       Then = iota // the next request is waited for
	Close                  // the connection is closed
	CloseWrite             // nothing more is sent, and what comes is read
	Reset                  // the connection is reset
)

// Reply is what an upstream does about a request.
type Reply struct {
	// Text is sent as it stands, in one piece.
	Text string
	// Drip sends it byte by byte.
	Drip bool
	// Early sends it when the head of the request is there.
	Early bool
	// Then follows.
	Then Then
}

// Serve serves all connections: each request gets the next reply, in the order in which requests come over all of them; the last
// one is that of all further requests. A request that another server could read otherwise fails the test.
func (u *Upstream) Serve(replies ...Reply) {
	u.running.Go(func() {
		for {
			select {
			case c := <-u.accepted:
				u.running.Go(func() { u.serve(c, replies) })
			case <-u.t.Context().Done():
				return
			}
		}
	})
}

func (u *Upstream) serve(c *Conn, replies []Reply) {
	u.mu.Lock()
	n := slices.Index(u.conns, c)
	ended := u.ended[n]
	u.mu.Unlock()
	defer close(ended)
	defer c.Close()
	never := time.Time{} // the test's end closes the connection
	for {
		m, err := c.head(never)
		if err != nil {
			if errors.Is(err, errMalformed) {
				u.t.Errorf("rawtest: %s: %v", c.who, err)
			}
			return
		}
		m.Conn = n
		u.mu.Lock()
		reply := replies[min(len(u.requests), len(replies)-1)]
		u.requests = append(u.requests, m)
		u.mu.Unlock()
		if reply.Early {
			reply.send(c)
		}
		if !u.body(c, m) {
			return
		}
		if !reply.Early {
			reply.send(c)
		}
		switch reply.Then {
		case Keep:
			continue
		case CloseWrite:
			_ = c.closeWrite()
			for c.fill(never) == nil {
				continue
			}
		case Reset:
			c.Reset()
		case Close:
		}
		return
	}
}

// body reads the body of a request, and reports whether it is whole.
func (u *Upstream) body(c *Conn, head *Message) bool {
	never := time.Time{}
	m := *head
	length, chunked, err := m.framing()
	switch {
	case err != nil:
	case chunked:
		err = c.chunks(never, &m)
	case length > 0:
		err = c.take(never, &m, length)
	}
	if errors.Is(err, errMalformed) {
		u.t.Errorf("rawtest: %s: %v", c.who, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	m.Broken = err
	*head = m
	return err == nil
}

func (r Reply) send(c *Conn) {
	if !r.Drip {
		_ = c.write(r.Text) // whoever does not take it is what the test looks at
		return
	}
	for b := range strings.SplitSeq(r.Text, "") {
		if c.write(b) != nil {
			return
		}
	}
}

// Requests returns the requests that were served so far, those whose body is not whole yet among them.
func (u *Upstream) Requests() []Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	requests := make([]Message, len(u.requests))
	for i, m := range u.requests {
		requests[i] = *m
	}
	return requests
}

// AwaitEnd waits until connection n, which is served, has ended, and all requests that came over it are known.
func (u *Upstream) AwaitEnd(n int) {
	u.t.Helper()
	deadline := time.After(Patience)
	u.mu.Lock()
	if n >= len(u.ended) {
		u.mu.Unlock()
		u.t.Fatalf("rawtest: the upstream has no connection %d", n)
	}
	ended := u.ended[n]
	u.mu.Unlock()
	select {
	case <-ended:
	case <-deadline:
		u.t.Fatalf("rawtest: connection %d of the upstream has not ended", n)
	}
}
