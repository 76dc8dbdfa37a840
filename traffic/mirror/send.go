package mirror

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// do is the work on one job. It does not panic.
func (j job) do() {
	if j.compare {
		j.c.judge()
		return
	}
	j.c.send()
}

// drop is for a job that is not done, because the Mirror is closed.
func (j job) drop() {
	c := j.c
	if j.compare {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle(incomparable)
		return
	}
	c.abandon(closed)
}

// abandon drops a copy that was handed over.
func (c *duplicate) abandon(why reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(why)
	if c.realDone && c.real != nil {
		c.real.free()
	}
}

// send has the shadow answer the copy.
func (c *duplicate) send() {
	m := c.m
	began := time.Now()
	switch {
	case m.root.Err() != nil:
		c.abandon(closed)
		return
	case !began.Before(c.deadline):
		c.abandon(waitedTooLong)
		return
	}
	m.counts.sent.Add(1)
	ctx, cancel := context.WithDeadline(c.r.Context(), c.deadline)
	defer cancel()
	defer context.AfterFunc(m.root, cancel)()
	out := &sink{h: http.Header{}, left: m.cfg.MaxAnswer, cancel: cancel}
	if m.cfg.Compare != nil {
		c.shadow = newAnswer(c, nil)
		out.a = c.shadow
	}
	whole := false
	defer func() { c.shadowEnded(whole) }()
	panicked, returned := ask(m.cfg.Shadow, out, c.r.WithContext(ctx))
	switch {
	case out.cut:
		m.counts.cut.Add(1)
	case panicked && !returned:
		m.counts.panicked.Add(1)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		m.counts.timedOut.Add(1)
	case ctx.Err() != nil, !returned, c.x.GatewayMade():
		m.counts.failed.Add(1)
	default:
		m.counts.answered.Add(1)
		whole = true
	}
	if whole && out.a != nil {
		out.a.took = time.Since(began)
		out.a.end(out.h)
	}
}

// ask has h answer, and ends its panic.
func ask(h http.Handler, out *sink, r *http.Request) (panicked, returned bool) {
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint,err113 // compared as net/http does
			panicked = true
		}
	}()
	var w respw.Writer
	w.Init(out)
	h.ServeHTTP(&w, r)
	if w.Broken() {
		return false, false
	}
	w.Commit()
	return false, true
}

var errAnswerTooLarge = errors.New("mirror: the shadow's answer is longer than MaxAnswer")

// sink is where the shadow's answers go. It cannot be hijacked.
type sink struct {
	h      http.Header
	status int
	left   int64
	cut    bool
	cancel context.CancelFunc
	a      *answer // nil when nothing is compared
}

// Header returns the header of the answer.
func (s *sink) Header() http.Header { return s.h }

// WriteHeader takes the head.
func (s *sink) WriteHeader(status int) {
	if s.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	if s.status = status; s.a != nil {
		s.a.head(status, s.h)
	}
}

// Write takes so much, and then ends the copy.
func (s *sink) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	if s.left -= int64(len(p)); s.left < 0 {
		s.cut = true
		s.cancel()
		return 0, errAnswerTooLarge
	}
	if s.a != nil {
		s.a.write(p)
	}
	return len(p), nil
}

// Flush has nothing to do.
func (*sink) Flush() {}
