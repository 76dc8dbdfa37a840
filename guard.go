package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/gatehouse-go/gateway/policy"
)

// guard keeps a panic inside its own request: 500 when nothing was sent, an aborted connection otherwise. It stands
// twice in each chain, inside the gateway-wide plugins, so that they see the 500, and around them.
// [http.ErrAbortHandler] is not a failure but the way to abort, and goes on.
type guard struct {
	next http.Handler
	log  panicLogger
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.recover(w, r)
	g.next.ServeHTTP(w, r)
}

func (g *guard) recover(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint,err113 // compared as net/http does
		panic(v) //nolint:forbidigo // see above
	}
	g.log.log(r.Context(), v)
	defer func() {
		// The ErrorHandler, which Refuse calls, is the application's, too.
		switch again := recover(); {
		case again == nil:
		case again == http.ErrAbortHandler: //nolint:errorlint,err113 // as above
			panic(again) //nolint:forbidigo // see above
		default:
			g.log.log(r.Context(), again)
			policy.WriteError(w, r, panicked(again))
		}
	}()
	policy.Refuse(w, r, "gateway", panicked(v))
}

func panicked(v any) *policy.Error {
	return &policy.Error{
		Status: http.StatusInternalServerError, Code: "panic", Message: "An unexpected error occurred", Err: fmt.Errorf("panic of type %T", v),
	}
}

// panicLogger logs panics. The value of one is written only when it comes from the runtime: any other may hold what a
// client sent.
type panicLogger struct{ logger *slog.Logger }

// get is resolved at use, because an application may set its default logger after it made the gateway.
func (l panicLogger) get() *slog.Logger {
	if l.logger == nil {
		return slog.Default()
	}
	return l.logger
}

func (l panicLogger) log(ctx context.Context, v any) {
	logger := l.get()
	x := policy.ExchangeFrom(ctx)
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	logger.LogAttrs(ctx, slog.LevelError, "panic while serving a request", slog.String("panic", text),
		slog.String("gateway.route", x.Route()), slog.String("gateway.request_id", x.RequestID()), slog.String("stack", string(debug.Stack())))
}
