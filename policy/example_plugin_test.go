package policy_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// ErrReadOnly is what refusals of a ReadOnly wrap.
var ErrReadOnly = errors.New("readonly: only reading is allowed")

// ReadOnlyConfig configures a ReadOnly.
type ReadOnlyConfig struct {
	// Writers is the group whose consumers may write all the same. It is required.
	Writers string
	// Message is the text of refusals. Default: "Read-only at the moment".
	Message string
}

// ReadOnly lets everybody read, and only the consumers of one group write. It is immutable and safe for concurrent use.
type ReadOnly struct {
	writers string
	refusal *policy.Error // one value for all requests: Refuse does not change it
}

// NewReadOnly checks c and returns a ReadOnly.
func NewReadOnly(c ReadOnlyConfig) (*ReadOnly, error) {
	if c.Writers == "" {
		return nil, errors.New(`readonly: Writers is empty; name the group that may write, such as "ops"`)
	}
	if c.Message == "" {
		c.Message = "Read-only at the moment"
	}
	return &ReadOnly{writers: c.Writers, refusal: &policy.Error{
		Status: http.StatusServiceUnavailable, Code: "read_only", Message: c.Message,
		Header: http.Header{"Retry-After": {"3600"}}, Err: ErrReadOnly,
	}}, nil
}

// Name returns "read-only".
func (*ReadOnly) Name() string { return "read-only" }

// Contract asks for a policy outside that authenticates.
func (*ReadOnly) Contract() policy.Contract {
	return policy.Contract{Requires: []policy.Fact{policy.Authenticated}}
}

// Check returns why r may pass, or an error that wraps ErrReadOnly.
func (p *ReadOnly) Check(r *http.Request) (reason string, err error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return "reading", nil
	}
	if c := policy.ExchangeFrom(r.Context()).Consumer(); c != nil && slices.Contains(c.Groups, p.writers) {
		return "writer", nil
	}
	return "", p.refusal
}

// Wrap returns a handler that passes on to next what may pass.
func (p *ReadOnly) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		reason, err := p.Check(r)
		if err != nil {
			policy.Refuse(w, r, p.Name(), err)
			return
		}
		x.Record(policy.Decision{Policy: p.Name(), Reason: reason})
		next.ServeHTTP(w, r)
	})
}

// A whole policy: a Config that New checks, a decision that can be asked for without a server, and a Wrap that ensures
// the Exchange, decides, and records or refuses.
func ExamplePlugin() {
	readOnly := policy.Must(NewReadOnly(ReadOnlyConfig{Writers: "ops"}))
	h := readOnly.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(method string, groups ...string) {
		x, r := policy.Ensure(httptest.NewRequest(method, "/orders", nil))
		x.SetIdentity(policy.Identity{Consumer: &policy.Consumer{ID: "1", Groups: groups}, Kind: "example"})
		res := gatewaytest.Do(h, r)
		fmt.Println(res.StatusCode, res.Header.Get("Retry-After"), x.Decisions())
	}
	send("GET")
	send("POST")
	send("POST", "ops")
	_, err := readOnly.Check(httptest.NewRequest("DELETE", "/orders/7", nil))
	fmt.Println(errors.Is(err, ErrReadOnly))
	// Output:
	// 200  [read-only allowed reading]
	// 503 3600 [read-only refused read_only 503]
	// 200  [read-only allowed writer]
	// true
}
