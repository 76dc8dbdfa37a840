package proxy

import (
	"net/http"
	"sync"
	"time"
)

// latencyWriter sees to it that what is written does not wait for longer than an interval in the server's buffer.
type latencyWriter struct {
	w     http.ResponseWriter
	flush func() error
	after time.Duration

	mu      sync.Mutex // held while w is written to or flushed
	timer   *time.Timer
	pending bool // the timer runs
	over    bool
	err     error // of a flush
}

// Write implements [io.Writer].
func (l *latencyWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.w.Write(p)
	switch {
	case err != nil || l.pending:
	case l.timer == nil:
		l.timer = time.AfterFunc(l.after, l.late)
	default:
		l.timer.Reset(l.after)
	}
	l.pending = true
	return n, err
}

func (l *latencyWriter) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || !l.pending {
		return
	}
	l.pending = false
	l.err = l.flush()
}

// stop returns when the writer is nobody's any more but the handler's.
func (l *latencyWriter) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over = true; l.timer != nil {
		l.timer.Stop()
	}
}
