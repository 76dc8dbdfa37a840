package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Config configures a [Standard]. The zero value holds the defaults.
type Config struct {
	// TLS configures connections to https targets; it is cloned. Nil means the system's roots and TLS 1.2 or newer. Its
	// NextProtos, when set, decide on HTTP/2.
	TLS *tls.Config
	// ServerName returns the name that the certificate of the target at an address must have, where TLS does not say; "" for the
	// host of the address. Nil is that for all.
	ServerName func(addr string) string
	// Authorities returns those that https targets are verified by in place of TLS.RootCAs, and a number that grows when they
	// change. No exchange uses a connection that was verified by those of a smaller number than when it began. It is called for
	// each exchange and each handshake. TLS has no ClientSessionCache then. Nil means what TLS says.
	Authorities func() (*x509.CertPool, uint64)
	// Dial makes connections. Nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Preface returns what is sent first on a connection that is made for the exchange in ctx, below TLS. Such a connection serves
	// no other exchange, and speaks HTTP/1.1. Nil sends nothing. Only a Standard does this.
	Preface func(ctx context.Context) []byte
	// MaxConns bounds the connections to one target, those being dialled included; further requests wait for one within
	// Limits.Connect. While they wait, uploads that are slower than 8 KiB/s may lose theirs. Default 512, negative: no
	// bound.
	MaxConns int
	// MaxIdleConns bounds the idle connections kept for one target. Default 64, negative: none are kept.
	MaxIdleConns int
	// IdleTimeout is how long an idle connection is kept. It should be below the time the target keeps them, or requests
	// meet connections just closed; what a target says of that time with Keep-Alive is observed. Default 30 s, negative: for ever.
	IdleTimeout time.Duration
	// MaxAge is how long a connection of a [Direct] is used, so that a name that leads elsewhere is noticed. Default 5 min,
	// negative: for ever.
	MaxAge time.Duration
	// MaxHeaderBytes bounds the head of an answer, informational ones included. Default 128 KiB.
	MaxHeaderBytes int64
	// ClearHTTP2 has HTTP/2 spoken over plain TCP, without asking (RFC 9113 section 3.3), but for requests with Upgrade.
	ClearHTTP2 bool
}

// Defaults of [Config].
const (
	DefaultMaxConns       = 512
	DefaultMaxIdleConns   = 64
	DefaultIdleTimeout    = 30 * time.Second
	DefaultMaxAge         = 5 * time.Minute
	DefaultMaxHeaderBytes = 128 << 10
)

const (
	expectContinueTimeout = time.Second
	// pingAfter is how long a connection of HTTP/2 with streams may be silent before it is asked whether it is there. gRPC's servers end
	// one on which that comes more often than every five minutes.
	pingAfter        = 6 * time.Minute
	pingTimeout      = 15 * time.Second
	writeByteTimeout = 10 * time.Second
	maxStale         = 3 // connections that may turn out to be dead before the request is written
)

// Standard is a [Transport] over net/http's. It starts no goroutine before the first request.
//
// A request is sent again when a kept connection turns out to be dead before the first byte of an answer: always when
// nothing of it had been written yet, and otherwise, by net/http, GET, HEAD, OPTIONS and TRACE without a body. It would also
// repeat any other method without a body when the client sent Idempotency-Key; a client does not decide that here. A body
// that was begun is never sent again.
type Standard struct {
	base     *http.Transport
	clear    *http.Transport // for http targets, in HTTP/2; nil where they are spoken to in HTTP/1
	switcher *http.Transport // for requests that ask for another protocol
	tls      *tls.Config
	roots    func() (*x509.CertPool, uint64) // nil for those of tls
	names    func(addr string) string        // nil for those of the addresses
	dialer   func(ctx context.Context, network, addr string) (net.Conn, error)
	preface  func(ctx context.Context) []byte // nil sends nothing

	life context.Context // ends with Close
	end  context.CancelFunc

	running sync.WaitGroup // exchanges and diallings

	mu        sync.Mutex
	closed    bool
	exchanges map[*attempt]struct{}
	conns     map[*tracked]struct{}
	shedding  time.Time // when that was last looked for
	era       *era      // of https targets; nil before the first exchange with one, and without roots
}

// NewStandard returns a Standard. c.MaxHeaderBytes must not be negative.
func NewStandard(c Config) *Standard {
	s := &Standard{
		dialer:    c.Dial,
		preface:   c.Preface,
		roots:     c.Authorities,
		names:     c.ServerName,
		exchanges: map[*attempt]struct{}{},
		conns:     map[*tracked]struct{}{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	if s.dialer == nil {
		s.dialer = NewDialer().DialContext
	}
	if s.tls = c.TLS.Clone(); s.tls == nil {
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	switch {
	case s.preface != nil:
		s.tls.NextProtos = []string{"http/1.1"}
	case len(s.tls.NextProtos) == 0:
		s.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	s.base = &http.Transport{
		Proxy:                  nil, // never the environment's
		DialContext:            s.dial,
		DialTLSContext:         s.dialTLS,
		DisableCompression:     true, // Accept-Encoding is the client's, and so is what comes back
		DisableKeepAlives:      s.preface != nil,
		MaxConnsPerHost:        max(orDefault(c.MaxConns, DefaultMaxConns), 0),
		MaxIdleConnsPerHost:    orDefault(c.MaxIdleConns, DefaultMaxIdleConns),
		IdleConnTimeout:        max(orDefault(c.IdleTimeout, DefaultIdleTimeout), 0),
		MaxResponseHeaderBytes: orDefault(c.MaxHeaderBytes, DefaultMaxHeaderBytes),
		ExpectContinueTimeout:  expectContinueTimeout,
		ForceAttemptHTTP2:      slices.Contains(s.tls.NextProtos, "h2"),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeByteTimeout,
		},
	}
	if c.ClearHTTP2 {
		s.clear = s.base.Clone()
		s.clear.DialContext = s.dialClear
		s.clear.Protocols = new(http.Protocols)
		s.clear.Protocols.SetUnencryptedHTTP2(true)
	}
	s.switcher = &http.Transport{
		DialContext: s.dial,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.handshake(ctx, network, addr, []string{"http/1.1"}, nil)
		},
		DisableCompression:     true,
		DisableKeepAlives:      true, // nobody else gets such a connection, whatever becomes of the request
		MaxResponseHeaderBytes: s.base.MaxResponseHeaderBytes,
	}
	return s
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// isKnown reports whether err was worded here already.
func isKnown(err error) bool {
	var known *Error
	return errors.As(err, &known)
}

// Send implements [Transport].
func (s *Standard) Send(out *http.Request, l Limits) (*Answer, error) {
	res, err := s.exchange(out, l) //nolint:bodyclose // it is the Answer's
	if err != nil {
		return nil, err
	}
	return AnswerOf(res), nil
}

// exchange is Send in the terms of net/http.
func (s *Standard) exchange(out *http.Request, l Limits) (*http.Response, error) {
	ctx, cancel := context.WithCancel(out.Context())
	a := &attempt{owner: s, limits: l, parent: out.Context(), cancel: cancel, life: ctx.Done(), host: out.URL.Host, twice: l.Again || isSafe(out.Method)}
	if out.Body != nil && out.Body != http.NoBody {
		a.upload = out.Body
		if len(out.Header["Expect"]) > 0 {
			a.done = make(chan struct{})
			a.trace.Wait100Continue, a.trace.Got100Continue = a.hold, a.ask
		}
	}
	if !validTrailer(out.Trailer) { // later it may be written to
		cancel()
		a.endUpload()
		return nil, &Error{Code: InvalidRequest, Err: errField}
	}
	switches := asksToSwitch(out)
	if !s.register(a, s.roots != nil && out.URL.Scheme == "https" && !switches) {
		cancel()
		a.endUpload()
		return nil, &Error{Code: Closed, Err: net.ErrClosed}
	}
	a.trace.GotConn, a.trace.PutIdleConn = a.gotConn, a.putBack
	if l.Receiver != nil {
		a.trace.Got1xxResponse = a.inform
	}
	req := out.WithContext(httptrace.WithClientTrace(attemptContext{ctx, a}, &a.trace))
	if a.upload != nil {
		req.Body = (*uploadBody)(a)
		a.forsake = context.AfterFunc(a.parent, a.abandon)
	}
	base := s.below(a, req, switches || l.Fresh && !s.clears(req))
	req.GetBody = nil // nobody may send a body twice
	if req.Method == http.MethodHead && req.URL.Scheme == "http" && base != s.clear {
		req.Close = true // see suspect: kept, net/http would look into it and log what a target sent unasked
	}
	if a.upload != nil {
		req.GetBody, a.headed = a.again, make(chan struct{}) // but one that was not touched
	}
	req.Header = hideIdempotencyKey(req.Header)

	a.wait(connecting)
	res, err := base.RoundTrip(req)
	c := a.connection()
	for range maxStale {
		// A kept connection may end, by the exchange before or by the target, when nothing of this one was written to it.
		if err == nil || ctx.Err() != nil || c == nil || c.asked.Load() || a.isTouched() || isKnown(err) {
			break
		}
		a.wait(connecting)
		res, err = base.RoundTrip(req)
		c = a.connection()
	}
	if err != nil {
		err = a.failure(err, req.Header)
		a.finish()
		c.hangUp()
		return nil, err
	}
	a.answered()
	if c != nil {
		res.TLS = c.state // net/http does not see the TLS below
	}
	if err := a.accept(res, c, switches); err != nil {
		_ = res.Body.Close()
		a.finish()
		c.hangUp() // what follows may be no HTTP
		return nil, &Error{Code: InvalidResponse, Err: err}
	}
	res.Request = out
	return res, nil
}

// clears reports whether a request goes in HTTP/2 without TLS.
func (s *Standard) clears(req *http.Request) bool { return s.clear != nil && req.URL.Scheme == "http" }

// below returns the transport of net/http that a request goes over.
func (s *Standard) below(a *attempt, req *http.Request, switches bool) *http.Transport {
	switch {
	case switches:
		return s.switcher
	case a.era != nil:
		return a.era.base
	case s.clears(req):
		return s.clear
	default:
		return s.base
	}
}

// accept makes res what is passed on, or says why it is not. c is nil for HTTP/2.
func (a *attempt) accept(res *http.Response, c *http1, asked bool) error {
	if err := checkHead(res, asked, c == nil); err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		conn, err := switched(res, c)
		if err == nil {
			res.Body = conn
			a.finish()
		}
		return err
	}
	if suspect(res) {
		c.hangUp()
	} else {
		c.judge(keptUntil(res.Header["Keep-Alive"]))
	}
	a.answer = res.Body
	res.Body = (*answerBody)(a)
	return nil
}

var (
	errUnasked = errors.New("the target switched protocols unasked")
	errVersion = errors.New("the target answered in a version of HTTP that its connection does not speak")
	errName    = errors.New("the target sent a field whose name is not a token")
)

// checkHead refuses heads that net/http lets through and that the next recipient might read otherwise.
func checkHead(res *http.Response, asked, h2 bool) error {
	if res.StatusCode == http.StatusSwitchingProtocols && !asked {
		return errUnasked
	}
	if res.ProtoMajor != 1 && !(h2 && res.ProtoMajor == 2) {
		return errVersion
	}
	for name := range res.Header {
		if !canonical.Token(name) {
			return errName
		}
	}
	return nil
}

// hideIdempotencyKey keeps net/http from taking the client's word that the request may be sent twice: it looks for the
// fields in their canonical spelling only, and the target does not care for case.
func hideIdempotencyKey(h http.Header) http.Header {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			h = maps.Clone(h) // a round tripper of the application may still look at it
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
	return h
}

// begin takes part in what Close waits for, and reports false after Close.
func (s *Standard) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// register is begin for an exchange; inEra if its connection is one of an era.
func (s *Standard) register(a *attempt, inEra bool) bool {
	var version uint64
	if inEra {
		_, version = s.roots() // which may look at files
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.running.Add(1)
	s.exchanges[a] = struct{}{}
	var past *era
	if inEra {
		past = s.enterEra(a, version)
	}
	s.mu.Unlock()
	s.closeEra(past)
	return true
}

func (s *Standard) unregister(a *attempt) {
	s.mu.Lock()
	delete(s.exchanges, a)
	past := s.leaveEra(a)
	s.mu.Unlock()
	s.closeEra(past)
	s.running.Done()
}

// adopt takes a new connection into care, and reports false after Close, and when nobody is left in its era.
func (s *Standard) adopt(c *tracked) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || c.era.ended() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Standard) forget(c *tracked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Close implements [Transport]. The goroutines net/http has for a connection end with it, though not necessarily before
// Close returns.
func (s *Standard) Close() error {
	s.mu.Lock()
	s.closed = true
	cut := make([]*attempt, 0, len(s.exchanges))
	for a := range s.exchanges {
		cut = append(cut, a)
	}
	s.mu.Unlock()
	s.end()
	for _, a := range cut {
		a.expire(Closed)
	}
	s.running.Wait()
	s.base.CloseIdleConnections()
	if s.clear != nil {
		s.clear.CloseIdleConnections()
	}
	s.closeEra(s.era) // nobody makes another one

	// What is not idle in net/http's books, such as an HTTP/2 connection that just lost its last stream.
	s.mu.Lock()
	rest := make([]*tracked, 0, len(s.conns))
	for c := range s.conns {
		rest = append(rest, c)
	}
	s.mu.Unlock()
	for _, c := range rest {
		_ = c.Close()
	}
	return nil
}
