package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// A body is passed on in pieces of bufferSize, one of declared length that is largeBody or longer in larger ones, which need
// fewer system calls.
const (
	bufferSize      = 32 << 10
	largeBufferSize = 64 << 10
	largeBody       = 4 * largeBufferSize
)

// Proxy is what all calls share. It is safe for concurrent use.
type Proxy struct {
	buffers sync.Pool // *[bufferSize]byte
	large   sync.Pool // *[largeBufferSize]byte
	calls   sync.Pool // *Call
}

// New returns a Proxy.
func New() *Proxy {
	p := &Proxy{}
	p.calls.New = func() any { return &Call{header: make(http.Header, 2*ownFields)} }
	p.large.New = func() any { return new([largeBufferSize]byte) }
	p.buffers.New = func() any { return new([bufferSize]byte) }
	return p
}

// owned are the request fields only the gateway sets, untrailed those that must not arrive as trailers, untrailedRequest
// those that must not in requests.
//
//nolint:gochecknoglobals // fixed tables
var (
	owned     = canonical.NewNameSet(ownedFields()...)
	untrailed = canonical.NewNameSet(append(ownedFields(), notInTrailers[:]...)...)

	untrailedRequest = canonical.NewNameSet(slices.Concat(ownedFields(), notInTrailers[:], notInRequestTrailers[:])...)
)

// Call is one client request on its way through an upstream. It belongs to the goroutine that serves the request.
type Call struct {
	// In is the client's request. Its body is read through Outgoing's requests only.
	In *http.Request
	// Exchange is what is known about it.
	Exchange *policy.Exchange
	// Forward is how the route wants its upstream request made. It is never nil.
	Forward *policy.Forward
	// SetCookie is the gateway's own Set-Cookie for an answer that is passed on; empty for none.
	SetCookie string
	// Deadline is when there has to be an answer to the next outgoing request; zero for no such time.
	Deadline time.Time
	// TargetHost is sent as Host in the next outgoing request in the place of that of the target's URL; empty for that.
	TargetHost string

	proxy     *Proxy
	noForward policy.Forward // what Forward points to when the route does not say
	identity  identity
	upload    *Upload // nil without a body
	upgrade   string  // the protocol that the client asks for and may have; empty for none

	// The first outgoing request, and room for what nearly every one needs.
	out    http.Request
	url    url.URL
	header http.Header
	room   [ownFields]string
	list   []transport.Field
	asked  bool // out is in use

	mu       sync.Mutex
	w        http.ResponseWriter // the client's, until there is an answer
	sending  http.ResponseWriter // the client's, while an answer is passed on
	released bool
	informed int  // informational answers that were passed on
	left     bool // the client left meanwhile: the header of its answer must not be touched any more
}

// Accept takes in r, whose answer goes to w. It refuses requests that came through this gateway too often already, and
// identities that no header field can carry. r must have passed a [policy.Entry]. Release ends the call, and Recycle gives
// it back.
func (p *Proxy) Accept(w http.ResponseWriter, r *http.Request) (*Call, *policy.Error) {
	if inLoop(r.Header["Via"]) {
		return nil, &policy.Error{Status: http.StatusLoopDetected, Code: loopDetected, Message: "Loop detected", Err: errLoop}
	}
	x := policy.ExchangeFrom(r.Context())
	c, _ := p.calls.Get().(*Call)
	c.In, c.Exchange, c.Forward, c.proxy, c.w = r, x, x.Forward(), p, w
	if c.Forward == nil {
		c.Forward = &c.noForward
	}
	if err := c.identity.from(x.Identity()); err != nil {
		return nil, &policy.Error{Status: http.StatusInternalServerError, Code: invalidIdentity, Message: messageInternal, Err: err}
	}
	if x.GroupsHidden() {
		c.identity.groups = ""
	}
	if len(r.Header[upgradeField]) > 0 {
		var refused *policy.Error
		if c.upgrade, refused = upgrade(w, r, &c.Forward.Upgrade); refused != nil {
			return nil, refused
		}
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		c.upload = newUpload(w, r)
		if c.Forward.RequestTrailers && len(r.Trailer) > 0 {
			if err := c.upload.announced(r.Trailer); err != nil {
				return nil, uploadFailure(err)
			}
		}
	}
	return c, nil
}

// Keep reads the request body into memory if it has at most that many bytes, so that it can be sent more than once. The error is
// the client's; see [Call.Failure].
func (c *Call) Keep(most int64) error {
	if c.upload == nil {
		return nil
	}
	return c.upload.keep(most)
}

// HasBody reports whether the request has a body.
func (c *Call) HasBody() bool { return c.upload != nil }

// Repeatable reports whether another try can be made: nothing has gone to the client, and there is nothing of the request body
// that only a try before has got.
func (c *Call) Repeatable() bool {
	c.mu.Lock()
	told := c.informed > 0 || c.left || c.sending != nil
	c.mu.Unlock()
	return !told && c.In.Context().Err() == nil && (c.upload == nil || c.upload.repeatable())
}

// Again readies the call for another try, whose informational answers are passed on, too.
func (c *Call) Again(w http.ResponseWriter) {
	c.mu.Lock()
	c.w = w
	c.mu.Unlock()
}

// Release ends the use of the request body: nothing reads it when Release has returned. It may be called more than once.
func (c *Call) Release() {
	c.mu.Lock()
	c.w, c.sending, c.released = nil, nil, true
	c.mu.Unlock()
	if c.upload != nil {
		c.upload.release()
	}
}

// maxKept is for how many header fields room is kept between calls.
const maxKept = 128

// Recycle gives back a call that was released, for another to use. Nobody may hold the first of its outgoing requests any
// more, nor a part of it, and nobody calls Cut. It is not to be called otherwise; a call that is not given back is garbage.
func (c *Call) Recycle() {
	header, list, p := c.header, c.list, c.proxy
	if len(header) > maxKept || cap(list) > maxKept {
		return // an enormous request is not to be paid for by all that follow
	}
	clear(header)
	clear(list)
	*c = Call{header: header, list: list[:0]}
	p.calls.Put(c)
}

// Cut ends a wait for the client while an answer is passed on, which cannot be whole then. It may be called from any
// goroutine, and does nothing before the head of the answer and after Release.
func (c *Call) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sending != nil {
		_ = http.NewResponseController(c.sending).SetWriteDeadline(time.Unix(1, 0)) // a recorder makes nobody wait
	}
}

// send notes that w is about to be written to.
func (c *Call) send(w http.ResponseWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w = nil; !c.released {
		c.sending = w
	}
}

// maxInformed is how many informational answers to one request are passed on.
const maxInformed = 8

// Inform passes on an informational answer that says something to the client: 102 and 103. It implements
// [transport.Receiver].
func (c *Call) Inform(status int, header http.Header) {
	if status != http.StatusProcessing && status != http.StatusEarlyHints || !c.In.ProtoAtLeast(1, 1) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil || c.informed == maxInformed {
		return // it comes too late
	}
	c.informed++
	// What was prepared for the answer is not for this one.
	h := c.w.Header()
	prepared := maps.Clone(h)
	clear(h)
	for name, values := range header {
		if !hopByHop(name) && !framing(name) && name != "Set-Cookie" {
			h[name] = values
		}
	}
	removeNominated(h, header["Connection"])
	c.w.WriteHeader(status)
	if c.In.ProtoMajor > 1 && errors.Is(c.In.Context().Err(), context.Canceled) {
		c.w, c.left = nil, true // net/http's HTTP/2 does not wait then, and may still be reading h
		return
	}
	clear(h)
	maps.Copy(h, prepared)
}

// Answered ends the time for informational answers: what is written to the client from now on is the answer.
func (c *Call) Answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = nil
}

func (c *Call) hasLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// Panicked returns the value with which the request body panicked while it was read for the upstream, on a goroutine
// where the panic would have ended the process; nil when it did not.
func (c *Call) Panicked() any {
	if c.upload == nil {
		return nil
	}
	return c.upload.panicValue()
}

// Detach lets an answer go out although the request body has not arrived whole: net/http would otherwise wait for the
// client to send more of it first. The connection is closed afterwards, for what is left of the body must not be taken
// for the next request.
func (c *Call) Detach(w http.ResponseWriter) {
	if c.upload == nil || c.In.ProtoMajor != 1 || c.upload.complete() {
		return
	}
	_ = http.NewResponseController(w).EnableFullDuplex() // a writer that cannot is no server's
	w.Header()["Connection"] = []string{"close"}
}
