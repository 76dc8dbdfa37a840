package ratelimit

import (
	"errors"
	"time"
)

// ErrExceeded is wrapped by the error of a request that exceeds a limit.
var ErrExceeded = errors.New("ratelimit: limit exceeded")

var (
	errCost   = errors.New("ratelimit: the cost is beyond what a limit admits at once")
	errNotNew = errors.New("ratelimit: the Limiter was not made by New")
)

// exceeded names the limit that refused.
type exceeded struct{ limit string }

func (e *exceeded) Error() string { return `ratelimit: limit "` + e.limit + `" exceeded` }
func (e *exceeded) Unwrap() error { return ErrExceeded }

// Result is a decision of a [Limiter].
type Result struct {
	// Allowed: the request fits all limits and was counted, unless it was only asked about.
	Allowed bool
	// Reason is one of
	//   - "within_limit": allowed,
	//   - "limit_exceeded": the limit named in Exceeded is spent,
	//   - "cost_too_high": the limit named in Exceeded admits less at once than the request costs,
	//   - "overflow": allowed or refused by a counter the key shares with others, because the table is full,
	//   - "store_unavailable": allowed by the Limiter's own counters, or refused, because the Store gave no answer,
	//   - "not_configured": refused, because the Limiter was not made by New.
	Reason string
	// Exceeded names the limit that refused, the one that takes longest to admit the request. Empty when none did.
	Exceeded string
	// RetryAfter is how long it takes until the request would be admitted, when nothing else is counted meanwhile.
	// 0 when it was, and when waiting does not help. Without an answer of the Store it is when to try again.
	RetryAfter time.Duration
	// Limits tells how each limit stands after the decision, in the order of Config.Limits. Empty when nothing was
	// counted for want of a counter.
	Limits []Status
}

// Status is one limit and how it stands for one key.
type Status struct {
	Limit
	State
}

// The reason codes of Result.Reason.
const (
	reasonWithin        = "within_limit"
	reasonExceeded      = "limit_exceeded"
	reasonCost          = "cost_too_high"
	reasonOverflow      = "overflow"
	reasonUnavailable   = "store_unavailable"
	reasonNotConfigured = "not_configured"
)

// Stats are counts of what a [Limiter] did since it was made.
type Stats struct {
	// Keys is how many keys have a counter of their own in memory at the moment, including some that could be forgotten.
	Keys int
	// Overflowed is how many requests used a counter that several keys share, because the table was full. More than 0
	// means that MaxKeys is too small, or that somebody makes up keys.
	Overflowed uint64
	// StoreErrors is how many times the Store was asked in vain.
	StoreErrors uint64
}
