package gateway

import (
	"sync"
	"time"
)

// RetryBudget bounds how many tries an upstream repeats, all its requests together, so that a backend that fails is not asked more than
// it can bear because it fails. Refused connections are not counted where there is another target: they cost nothing, and while one
// of several is being restarted, requests for it go to another. What met a dead kept connection is repeated in any case, but counted. Tries that are
// made beside another one (see policy.Retry.Hedge) have a budget of their own, HedgeBudget.
type RetryBudget struct {
	// Share is how many tries may be repeated, as a share of the requests of ten seconds. Default 0.2: a backend that answers
	// nothing gets at most 1.2 times its traffic; 0.1 in HedgeBudget. What was not used of it is there for a time when many fail at
	// once, but only as long as it helps: three quarters of that are gone with each repeated try that fails, too. Negative for none but those of
	// Min; more than 1 is an error.
	Share float64
	// Min is how many may be repeated in ten seconds however few requests there are. Default 10, negative for none.
	Min int
}

const (
	defaultRetryShare = 0.2
	defaultRetryMin   = 10
	// budgetTime is what a budget looks back on, in steps.
	budgetTime  = 10 * time.Second
	budgetSteps = 20
	budgetStep  = budgetTime / budgetSteps
)

// retryBudget counts the requests of the last ten seconds, what they entitle to, and the tries that were repeated for lack of
// that. Its methods may be called by several goroutines.
type retryBudget struct {
	share float64
	min   int

	mu       sync.Mutex
	steps    [budgetSteps]struct{ requests, extra int }
	begin    time.Time // by whose clock, which nobody sets
	at       int64     // the step that is counted in, since then
	requests int       // of all steps
	extra    int       // of Min
	balance  float64
}

func newRetryBudget(b RetryBudget, share float64) *retryBudget {
	r := &retryBudget{share: b.Share, min: max(b.Min, 0), begin: time.Now()}
	switch {
	case b.Share == 0:
		r.share = share
	case b.Share < 0:
		r.share = 0
	}
	if b.Min == 0 {
		r.min = defaultRetryMin
	}
	return r
}

// advance forgets what is too long ago. The caller holds the lock.
func (b *retryBudget) advance(now time.Time) {
	at := int64(now.Sub(b.begin) / budgetStep)
	if at <= b.at {
		return
	}
	for range min(at-b.at, budgetSteps) {
		b.at++
		s := &b.steps[b.at%budgetSteps]
		b.requests -= s.requests
		b.extra -= s.extra
		s.requests, s.extra = 0, 0
	}
	b.at = at
	b.balance = min(b.balance, b.share*float64(b.requests))
}

// request counts a request.
func (b *retryBudget) request(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.steps[b.at%budgetSteps].requests++
	b.requests++
	b.balance += b.share
}

// repeat reports whether a try may be repeated, and counts it then.
func (b *retryBudget) repeat(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	const rounding = 1e-9 // five fifths are one
	switch {
	case b.balance >= 1-rounding:
		b.balance = max(b.balance-1, 0)
	case b.extra < b.min:
		b.steps[b.at%budgetSteps].extra++
		b.extra++
	default:
		return false
	}
	return true
}

// spend counts a try that is repeated in any case.
func (b *retryBudget) spend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.balance = max(b.balance-1, 0)
}

// wasted takes in that a repeated try has failed, too.
func (b *retryBudget) wasted() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.balance = max(min(b.balance, 1), b.balance/4)
}
