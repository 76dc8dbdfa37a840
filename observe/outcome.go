package observe

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
)

// Outcome is how a request ended; every request has exactly one.
type Outcome string

// The outcomes.
const (
	// OK: the request was answered. The status may still be an upstream's 500.
	OK Outcome = "ok"
	// Refused: a plugin or the gateway refused it; gateway.refused_by and gateway.reason say which and why.
	Refused Outcome = "refused"
	// Aborted: the answer was broken off by the gateway's side with [http.ErrAbortHandler], because its upstream failed
	// in the middle, or because the client did not take the answer in time.
	Aborted Outcome = "aborted"
	// Panicked: a plugin or handler panicked. A gateway recovers from that inside the Observer, refuses the request with
	// 500 and the reason "panic", and logs where it was. Without a gateway the panic passes through the Observer, which
	// adds its type, and the server cuts the connection; status 500 then stands for an answer that was not sent, unless
	// a head was sent before.
	Panicked Outcome = "panic"
	// ClientGone: the client left before the answer was complete. The status is 499, as nginx and Kong have it, when it
	// left before there was any answer; no such status is ever sent. A client that only closed its sending side looks
	// the same to a server and counts as gone, too.
	ClientGone Outcome = "client_gone"
	// Hijacked: a handler took the connection over, for a WebSocket say. The record is written when that handler
	// returns; what it wrote by itself is not counted.
	Hijacked Outcome = "hijacked"
)

// reasonPanic is the code of the refusal by which a gateway answers in place of a handler that panicked.
const reasonPanic = "panic"

// statusClientGone is what nginx made the name of an answer nobody waited for.
const statusClientGone = 499

// defaultLevel keeps what clients can cause at will below Warn.
func defaultLevel(status int, o Outcome) slog.Level {
	switch {
	case o == Panicked:
		return slog.LevelError
	case o == Aborted || status >= http.StatusInternalServerError:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// judge settles outcome and status once the handler has ended: by returning, with a panic, or with neither, by
// runtime.Goexit.
func (s *session) judge(e *ended) {
	e.status = s.rw.Status()
	if e.panicked == any(http.ErrAbortHandler) { // a wrapped one is an ordinary panic to net/http, too
		e.panicked = nil
	}
	switch {
	case e.panicked != nil, e.refused != nil && e.refused.Reason == reasonPanic:
		e.outcome = Panicked
		if e.status == 0 && !s.rw.Hijacked() {
			e.status = http.StatusInternalServerError
		}
	case s.rw.Hijacked():
		e.outcome = Hijacked
	case s.rw.Stalled():
		e.outcome = Aborted
	case s.clientGone(e):
		e.outcome = ClientGone
		if s.silent || e.status == 0 {
			e.status = statusClientGone
		}
	case !s.returned:
		e.outcome = Aborted
	case e.refused != nil && s.x.CacheStatus() != "stale": // a cache made up for it
		e.outcome = Refused
	default:
		e.outcome = OK
	}
}

// clientGone reports whether the client left before it had the whole answer.
func (s *session) clientGone(e *ended) bool {
	if e.refused != nil && e.refused.Status == statusClientGone {
		return true // as the upstream saw it
	}
	gone := errors.Is(s.ctx.Err(), context.Canceled)
	if n := len(e.tries); !s.returned && e.refused == nil && n > 0 && e.tries[n-1].Canceled {
		gone = true // the upstream noticed before the server did
	}
	return gone && (!s.returned || s.silent || !s.complete())
}

// complete reports whether the answer was whole when its handler returned: one of a declared length. The end of any
// other is only sent after that.
func (s *session) complete() bool {
	if st := s.rw.Status(); st == http.StatusNoContent || st == http.StatusNotModified || s.method == http.MethodHead {
		return true
	}
	declared := s.rw.Header()["Content-Length"]
	if len(declared) != 1 {
		return false
	}
	n, err := strconv.ParseInt(declared[0], 10, 64)
	return err == nil && s.rw.Size() >= n
}
