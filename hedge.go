package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// defaultHedgeShare is the default of HedgeBudget.Share.
const defaultHedgeShare = 0.1

var errOvertaken = errors.New("gateway: another try was answered first")

// hedges reports whether a request may have another try beside the one that comes: it changes nothing, and there is nothing of it
// but its head.
func (r *repeats) hedges() bool {
	if r.Hedge <= 0 || r.made >= r.tries || r.call.HasBody() || r.call.Switches() {
		return false
	}
	switch r.call.In.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// race is a request with several tries at once, of which the first to be answered wins.
type race struct {
	after   time.Duration
	first   *try // nil when it has failed
	running []*runner
	arrived chan *runner
}

// runner is a try in a race.
type runner struct {
	*try

	cancel   context.CancelFunc
	won      atomic.Bool
	arrival  arrival
	panicked any
}

// Inform implements transport.Receiver. What informs of an answer that may not be passed on is nobody's business.
func (*runner) Inform(int, http.Header) {}

// Cut implements transport.Receiver.
func (r *runner) Cut() {
	if r.won.Load() {
		r.call.Cut()
	}
}

// hedge has the request answered by the first of several tries, of which t is the first here. It returns the one that decided.
func (t *try) hedge(w http.ResponseWriter) (*try, result) {
	race := &race{after: t.more.Hedge, first: t, arrived: make(chan *runner)}
	defer race.end()
	if end, ok := race.start(t); !ok {
		return t, end
	}
	if t.Number == 1 {
		t.up.hedging.request(t.Start)
	}
	timer := time.NewTimer(race.after)
	defer timer.Stop()
	for latest := t; ; {
		select {
		case r := <-race.arrived:
			race.running = slices.DeleteFunc(race.running, func(other *runner) bool { return other == r })
			if r.panicked != nil {
				r.panics()
			}
			if len(race.running) > 0 && r.hasFailed() {
				race.lose(r)
				continue
			}
			return r.try, race.win(r, w)
		case <-timer.C:
			if next := latest.another(); next != nil {
				next.beside = true
				if _, ok := race.start(next); ok {
					latest = next
					timer.Reset(race.after)
				}
			}
		}
	}
}

// another returns a try beside t, or nil if there may be none.
func (t *try) another() *try {
	m := t.more
	if m.made >= m.tries || !m.up.pool.HasOther(m.tried) || !m.up.hedging.repeat(time.Now()) {
		return nil
	}
	return t.next()
}

// start begins a try. When it cannot, end says why, and the try has ended.
func (r *race) start(t *try) (end result, ok bool) {
	started := false
	defer func() {
		if !started {
			t.end()
		}
	}()
	if end, ok := t.begins(); !ok {
		t.more.made-- // it is none
		return end, false
	}
	t.more.tried = append(t.more.tried, t.member)
	if err := t.prepare(); err != nil {
		return t.refuse(err), false
	}
	run := &runner{try: t, arrival: arrival{err: errAbandoned}} // which holds when a round tripper ends its goroutine
	ctx, cancel := context.WithCancel(t.out.Context())
	run.cancel, t.out, t.limits.Receiver, t.limits.Prompt = cancel, t.out.WithContext(ctx), run, true
	r.running = append(r.running, run)
	started = true
	go func() {
		defer func() {
			run.panicked = recover()
			r.arrived <- run
		}()
		run.arrival = t.send()
	}()
	return result{}, true
}

// panics ends a try that has panicked, and goes on with that.
func (r *runner) panics() {
	defer r.cancel()
	defer r.try.end()
	panic(r.panicked) //nolint:forbidigo // a plugin's, from a goroutine where it would have ended the process
}

// hasFailed reports whether another answer would be better.
func (r *runner) hasFailed() bool {
	return r.arrival.err != nil || slices.Contains(r.more.Statuses, r.arrival.res.StatusCode)
}

// lose ends a try that has failed while there are others.
func (r *race) lose(lost *runner) {
	defer lost.cancel()
	defer lost.try.end()
	if lost.try == r.first {
		r.first = nil
	}
	res := lost.arrival.res
	if res == nil {
		lost.fail(lost.arrival.err, false)
		return
	}
	status := res.StatusCode
	_ = res.Whole() // what is there is read, so that the connection is kept
	_ = res.Body.Close()
	lost.FirstByte = lost.arrival.at.Sub(lost.sent)
	lost.answered(status)
	lost.Status, lost.Canceled, lost.Err = status, false, nil
}

// win gives up the other tries, and passes on what came of r.
func (r *race) win(won *runner, w http.ResponseWriter) result {
	defer won.cancel()
	defer won.try.end()
	passed := false
	defer func() {
		if !passed {
			won.drop()
		}
	}()
	r.end()
	passed = true
	won.won.Store(true)
	if f := r.first; f != nil && f != won.try {
		won.guest = f.up.pool.Cookie(f.query, f.member) == nil
	}
	end := won.conclude(w, won.arrival)
	if len(won.more.tried) > 1 {
		won.clean = false // other requests were made of the call
	}
	return end
}

// end gives up the tries that are still running, and waits for them.
func (r *race) end() {
	for _, run := range r.running {
		run.cancel()
	}
	for range r.running {
		<-r.arrived
	}
	r.release()
}

// release ends the tries that were given up, whatever plugins do meanwhile. What they have learnt is that their targets took longer.
func (r *race) release() {
	if len(r.running) == 0 {
		return
	}
	run := r.running[0]
	r.running = r.running[1:]
	defer r.release()
	defer run.try.end()
	run.drop()
	if run.panicked == nil {
		run.Canceled, run.Err, run.Fault = true, errOvertaken, policy.FaultOvertaken
	}
}

// drop closes an answer that nobody will have.
func (r *runner) drop() {
	if r.arrival.res != nil {
		_ = r.arrival.res.Body.Close()
	}
}
