package observe

import (
	"net/http"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/respw"
	"github.com/gatehouse-go/gateway/policy"
)

// maxRequestID bounds a request id taken over from a client.
const maxRequestID = 128

// validRequestID reports whether a client's request id may appear in headers and logs: what UUIDs, ULIDs, the usual
// encodings of random bytes and the counters of other gateways are made of. The first byte may not be one that shells
// or spreadsheets give a meaning.
func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID || !alphanumeric(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if alphanumeric(s[i]) {
			continue
		}
		switch s[i] {
		case '-', '.', '_', '~', '+', '/', '=', ':', '#':
		default:
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// identify settles the id of the request, for the Exchange, the upstream and the client. It edits r's header in place,
// as an Entry does: a copy of the header would cost more than all the rest of this package, and a hook on the tries
// would leave the client's own field to be seen by plugins and by handlers that are no upstreams.
func (o *Observer) identify(x *policy.Exchange, rw *respw.Writer, r *http.Request) {
	name := o.cfg.RequestIDHeader
	sent := r.Header[name]
	var id string
	if len(sent) == 1 && o.trusts(x) && validRequestID(sent[0]) {
		id = sent[0]
		x.SetRequestID(id)
	} else {
		id = x.RequestID()
	}
	if r.Header == nil {
		r.Header = make(http.Header, 1)
	}
	canonical.DropNominated(r.Header) // or a client could have the field deleted by an Entry further in
	for key := range r.Header {
		if o.owned.Contains(key) {
			delete(r.Header, key) // upstreams that fold names would see two
		}
	}
	// Two slices in one allocation: neither side may see the other append or assign.
	values := [...]string{id, id}
	both := values[:]
	r.Header[name] = both[:1:1]
	if !o.cfg.HideRequestID {
		echo := both[1:]
		// Last, so that an upstream's own field does not come back beside it.
		rw.OnHeader(func(_ int, h http.Header) { h[name] = echo })
	}
}

func (o *Observer) trusts(x *policy.Exchange) bool {
	switch o.cfg.AcceptRequestID {
	case TrustAnyone:
		return true
	case TrustProxies:
		_, trusted := x.PeerAddr()
		return trusted
	default:
		return false
	}
}
