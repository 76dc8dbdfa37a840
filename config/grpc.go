package config

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
)

// The protocols of gRPC, without TLS and with it.
const (
	protocolGRPC  = "grpc"
	protocolGRPCS = "grpcs"
)

func isGRPC(protocol string) bool { return protocol == protocolGRPC || protocol == protocolGRPCS }

// scheme is that of the targets of a service; "" where its protocol is none of HTTP's.
func (s *service) scheme() string {
	switch s.Protocol {
	case schemeHTTP, protocolGRPC:
		return schemeHTTP
	case schemeHTTPS, protocolGRPCS:
		return schemeHTTPS
	default:
		return ""
	}
}

// forGRPC tells of routes that take gRPC and nothing else.
func (r *route) forGRPC() bool { return slices.ContainsFunc(r.Protocols, isGRPC) }

// streams tells of routes whose bodies are streams of messages, both ways at once, of which nothing may be kept back.
func (r *route) streams() bool { return r.forGRPC() || r.of != nil && isGRPC(r.of.Protocol) }

// guard keeps from a route what does not come over its protocols; nil lets all in.
func (r *route) guard() []policy.Plugin {
	switch {
	case r.forGRPC():
		return []policy.Plugin{&grpcPlugin{secure: !slices.Contains(r.Protocols, protocolGRPC)}}
	case !slices.Contains(r.Protocols, schemeHTTP):
		return []policy.Plugin{&httpsOnlyPlugin{status: r.RedirectStatus}}
	default:
		return nil
	}
}

// checkGRPC reports what no route for gRPC may have, as in Kong: a call is a POST to the path of its method.
func (l *linker) checkGRPC(r *route) {
	if !r.forGRPC() {
		return
	}
	for i, p := range r.Protocols {
		if n := r.node.get("protocols"); !isGRPC(p) && n != nil && i < len(n.items) {
			l.d.problems.add(n.items[i], n.items[i].found(), "does not go together with grpc and grpcs", "make a route of its own for it")
		}
	}
	if len(r.Methods) > 0 {
		l.d.problems.add(r.node.get("methods"), "", "methods cannot be set where protocols has grpc or grpcs", "leave them out; every call is a POST")
	}
	if n := r.node.get("strip_path"); n != nil && r.StripPath && n.kind != kindNull {
		l.d.problems.add(n, n.found(), "cannot be true where protocols has grpc or grpcs", "leave it out; the path names the method")
	}
	r.StripPath = false
}

// grpcPlugin keeps from a route for gRPC what is no gRPC call.
type grpcPlugin struct {
	secure bool // protocols is grpcs alone
}

// Name returns the name under which it refuses.
func (*grpcPlugin) Name() string { return "grpc-only" }

// Contract asks and promises nothing.
func (*grpcPlugin) Contract() policy.Contract { return policy.Contract{} }

// The texts are Kong's.
const (
	needsHTTP2 = "Please use HTTP2 protocol"
	needsGRPC  = "Non-gRPC request matched gRPC route"
	needsGRPCS = "gRPC request matched gRPCs route"
)

// Check returns why a request is kept out; nil for one that passes. The order is Kong's: what does not say that it is gRPC is
// not asked for HTTP/2.
func (p *grpcPlugin) Check(r *http.Request) *policy.Error {
	const kind = "application/grpc"
	switch t := r.Header.Get("Content-Type"); {
	case len(t) < len(kind) || !strings.EqualFold(t[:len(kind)], kind):
		return &policy.Error{Status: http.StatusUnsupportedMediaType, Code: "grpc_required", Message: needsGRPC}
	case r.ProtoMajor != 2:
		return &policy.Error{
			Status: http.StatusUpgradeRequired, Code: "http2_required", Message: needsHTTP2,
			Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"HTTP/2"}},
		}
	case p.secure && policy.ExchangeFrom(r.Context()).Scheme() != schemeHTTPS:
		return &policy.Error{Status: http.StatusUpgradeRequired, Code: "grpcs_required", Message: needsGRPCS}
	default:
		return nil
	}
}

// Preview tells which requests it would keep out.
func (p *grpcPlugin) Preview(r *http.Request) policy.Decision {
	if e := p.Check(r); e != nil {
		return policy.Decision{Policy: p.Name(), Verdict: policy.Refused, Reason: e.Code, Status: e.Status}
	}
	return policy.Decision{Policy: p.Name(), Reason: protocolGRPC}
}

// Wrap refuses as Kong does. A call that passes may pause between its messages.
func (p *grpcPlugin) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, r := policy.Ensure(r)
		switch e := p.Check(r); {
		case e == nil:
			x.SetStreaming()
			next.ServeHTTP(w, r)
		case e.Message == needsGRPCS:
			policy.RefuseWith(w, r, p.Name(), e, needTLS)
		default:
			policy.Refuse(w, r, p.Name(), e)
		}
	})
}

// needTLS answers a call without TLS where there has to be some. The status of gRPC is Kong's: CANCELLED.
func needTLS(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = []string{"application/grpc"}, []string{"no-store"}
	h["Grpc-Status"], h["Grpc-Message"] = []string{"1"}, []string{needsGRPCS}
	w.WriteHeader(http.StatusOK)
}
