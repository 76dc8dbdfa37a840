package observe

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

// maxAttrs is room for every attribute of ours.
const maxAttrs = 44

// ended is what is known once the handler has ended.
type ended struct {
	outcome   Outcome
	status    int // 0: none
	panicked  any
	decisions []policy.Decision
	refused   *policy.Decision // points into decisions
	tries     []policy.Try
}

// write builds the record and hands it to the handler: what slog.Logger.LogAttrs does, without looking up the source
// line, which would be this one.
func (s *session) write(level slog.Level, e *ended) {
	now := time.Now()
	var room [maxAttrs]slog.Attr
	attrs := s.appendRequest(room[:0])
	attrs = s.appendAnswer(attrs, e, now)
	attrs = s.appendCaller(attrs)
	attrs = s.appendUpstream(attrs, e)
	attrs = appendWhy(attrs, e)
	rec := slog.NewRecord(now, level, "request", 0)
	rec.AddAttrs(attrs...)
	if s.o.cfg.Attrs != nil {
		rec.AddAttrs(s.extra()...)
	}
	ctx := s.ctx
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx) // the record of a client that left is to be written, too
	}
	_ = s.o.cfg.Log.Handler().Handle(ctx, rec) // there is nobody to tell
}

func (s *session) appendRequest(attrs []slog.Attr) []slog.Attr {
	method := knownMethod(s.method)
	attrs = append(attrs, slog.String("http.request.method", method))
	if method == otherMethod {
		attrs = append(attrs, slog.String("http.request.method_original", visible(s.method, maxMethod)))
	}
	attrs = append(attrs, slog.String("url.scheme", s.x.Scheme()))
	path := s.x.Path()
	if path == "" {
		path = s.url.EscapedPath()
	}
	attrs = appendString(attrs, "url.path", visible(path, maxPath))
	attrs = appendString(attrs, "url.query", queryNames(s.url.RawQuery, s.o.cfg.QueryValues))
	attrs = appendString(attrs, "http.route", s.route())
	host, port := s.x.Host()
	if host == "" {
		var err error
		if host, port, err = canonical.Host(s.host); err != nil {
			host = visible(s.host, maxHost)
		}
	}
	attrs = appendString(attrs, "server.address", host)
	attrs = appendString(attrs, "server.port", port)
	peer, _ := s.x.PeerAddr()
	client := s.x.ClientAddr()
	var peerText string
	if peer.IsValid() {
		peerText = peer.String()
	}
	if client == peer {
		attrs = appendString(attrs, "client.address", peerText)
	} else if client.IsValid() {
		attrs = append(attrs, slog.String("client.address", client.String()))
	}
	attrs = appendString(attrs, "network.peer.address", peerText)
	attrs = append(attrs, slog.String("network.protocol.version", protocolVersion(s.r)))
	attrs = appendString(attrs, "user_agent.original", visible(s.agent, maxAgent))
	if s.bodySize > 0 {
		attrs = append(attrs, slog.Int64("http.request.body.size", s.bodySize))
	}
	return attrs
}

func (s *session) appendAnswer(attrs []slog.Attr, e *ended, now time.Time) []slog.Attr {
	if e.status != 0 {
		attrs = append(attrs, slog.Int("http.response.status_code", e.status))
	}
	size := s.rw.Size()
	if s.method == http.MethodHead {
		size = 0 // what the handler wrote was not sent
	}
	attrs = append(attrs,
		slog.Int64("http.response.body.size", size),
		slog.Float64("http.server.request.duration", now.Sub(s.x.Start()).Seconds()),
		slog.String("gateway.request_id", s.x.RequestID()),
		slog.String("gateway.outcome", string(e.outcome)),
	)
	attrs = appendString(attrs, "gateway.source", s.source(e))
	attrs = appendString(attrs, "gateway.route", visible(s.x.Route(), maxName))
	return appendString(attrs, "gateway.config_version", visible(s.x.Version(), maxName))
}

// source says who made the answer; "" when nobody did.
func (s *session) source(e *ended) string {
	cached := s.x.CacheStatus()
	switch {
	case cached == "stale":
		return "cache"
	case s.rw.Status() == 0 && e.outcome == Panicked, s.x.GatewayMade():
		return "gateway"
	case s.rw.Status() == 0 && e.outcome != Hijacked, s.silent && e.outcome == ClientGone:
		return ""
	case len(e.tries) > 0 && e.tries[len(e.tries)-1].Status != 0:
		return "upstream"
	case cached == "hit":
		return "cache"
	default:
		return "handler"
	}
}

func (s *session) appendCaller(attrs []slog.Attr) []slog.Attr {
	id := s.x.Identity()
	if c := id.Consumer; c != nil {
		attrs = appendString(attrs, "gateway.consumer.id", visible(c.ID, maxName))
		attrs = appendString(attrs, "gateway.consumer.username", visible(c.Username, maxName))
	}
	attrs = appendString(attrs, "gateway.credential.kind", visible(id.Kind, maxName))
	attrs = appendString(attrs, "gateway.credential.id", visible(id.Credential, maxName))
	if id.Anonymous {
		attrs = append(attrs, slog.Bool("gateway.anonymous", true))
	}
	return attrs
}

func (s *session) appendUpstream(attrs []slog.Attr, e *ended) []slog.Attr {
	attrs = appendString(attrs, "gateway.cache", visible(s.x.CacheStatus(), maxName))
	if len(e.tries) == 0 {
		return attrs
	}
	tries := newTryTrail(e.tries)
	var total time.Duration
	for i := range tries {
		total += tries[i].Duration
	}
	last := &tries[len(tries)-1]
	attrs = appendString(attrs, "gateway.upstream.name", last.Upstream)
	attrs = appendString(attrs, "gateway.upstream.target", last.Target) // none when no target was picked
	return append(attrs,
		slog.Float64("gateway.upstream.duration", total.Seconds()),
		slog.Any("gateway.tries", tries),
	)
}

// appendWhy adds who decided what.
func appendWhy(attrs []slog.Attr, e *ended) []slog.Attr {
	if len(e.decisions) > 0 {
		trail := newDecisionTrail(e.decisions)
		if d := e.refused; d != nil {
			attrs = append(attrs, slog.String("gateway.refused_by", d.Policy), slog.String("gateway.reason", d.Reason))
			if d.Err != nil {
				attrs = append(attrs, slog.String("gateway.error", d.Err.Error()))
			}
		}
		attrs = append(attrs, slog.Any("gateway.decisions", trail))
	}
	if e.panicked != nil {
		attrs = append(attrs, slog.String("exception.type", visible(fmt.Sprintf("%T", e.panicked), maxName)))
		if err, ok := e.panicked.(runtime.Error); ok {
			attrs = append(attrs, slog.String("exception.message", errorText(err)))
		}
	}
	return attrs
}

// extra returns the application's attributes, made safe.
func (s *session) extra() (attrs []slog.Attr) {
	defer func() {
		if v := recover(); v != nil {
			attrs = []slog.Attr{slog.String("gateway.attrs_panic", fmt.Sprintf("%T", v))}
		}
	}()
	attrs = s.o.cfg.Attrs(s.x, s.r)
	safe := make([]slog.Attr, 0, len(attrs)) // the application may keep its slice
	for _, a := range attrs {
		safe = append(safe, slog.Attr{Key: a.Key, Value: safeValue(a.Value)})
	}
	return safe
}

func safeValue(v slog.Value) slog.Value {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(visible(v.String(), maxAttr))
	case slog.KindGroup:
		group := v.Group()
		safe := make([]slog.Attr, 0, len(group))
		for _, a := range group {
			safe = append(safe, slog.Attr{Key: a.Key, Value: safeValue(a.Value)})
		}
		return slog.GroupValue(safe...)
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return slog.StringValue(errorText(err))
		}
	}
	return v
}

// route returns the pattern that matched: the gateway's, or the path of http.ServeMux's, which may begin with a method
// and a host.
func (s *session) route() string {
	if p := s.x.Pattern(); p != "" {
		return visible(p, maxPath)
	}
	p := s.r.Pattern
	if i := strings.IndexByte(p, '/'); i > 0 {
		p = p[i:]
	}
	return visible(p, maxPath)
}

func appendString(attrs []slog.Attr, key, value string) []slog.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, slog.String(key, value))
}

// otherMethod stands for methods outside the known set: a client can make up any number of them.
const otherMethod = "_OTHER"

func knownMethod(m string) string {
	switch m {
	case "":
		return http.MethodGet // as net/http has it
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return m
	default:
		return otherMethod
	}
}

func protocolVersion(r *http.Request) string {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return "1.0"
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMajor == 3:
		return "3"
	default:
		return "1.1"
	}
}
