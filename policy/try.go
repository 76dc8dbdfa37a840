package policy

import (
	"context"
	"net/http"
	"time"
)

// Outcome is how one try at an upstream ended.
type Outcome struct {
	// Status is the upstream's final status; 0 when no answer came.
	Status int
	// Err is why no answer came, or why it broke off. It is nil when the answer arrived whole.
	Err error
	// Fault says what Err means for the target. It is FaultUnknown where Err is nil.
	Fault Fault
	// Canceled: the client went away first. Such a try says nothing about the upstream and must not be counted
	// against it, whatever Err holds.
	Canceled bool
	// FirstByte is how long the head of the answer took, Duration how long the whole try took, both from when it was
	// sent. FirstByte is 0 when no answer came.
	FirstByte, Duration time.Duration
	// Upload is how much of FirstByte was spent waiting for the client to send its request body, which is not the
	// upstream's time. It is 0 where no [Entry] watches the body.
	Upload time.Duration
}

// Try is one attempt to have a request answered by one target of an upstream.
type Try struct {
	// Upstream is the upstream's name, Target the URL of the target.
	Upstream, Target string
	// Number counts the tries of one request, from 1.
	Number int
	// Start is when the try began.
	Start time.Time
	// Out is the request that goes to the upstream. A [TryHook] may change its header until BeginTry returns.
	// Out is nil in what [Exchange.Tries] returns.
	Out *http.Request

	// Tunnel is set when the try has ended, if the connection switched protocols; Outcome.Status is 101 then.
	Tunnel *Tunnel
	// Outcome is set when the try has ended.
	Outcome
}

// TryHook is told about every try of a request; plugins register one with [Exchange.OnTry].
//
// BeginTry runs before the request is sent, after the gateway wrote the headers it owns. What it sets on
// Try.Out.Header goes to the upstream as it is. The context it returns is that of the try; returning ctx changes
// nothing. EndTry gets that context once the answer's body has ended, or the try has failed; it always runs when
// BeginTry did. With [Retry].Hedge a try may begin while others are under way; the hook is still called by one goroutine at
// a time for each request.
type TryHook interface {
	BeginTry(ctx context.Context, t *Try) context.Context
	EndTry(ctx context.Context, t *Try)
}

// Ticket is what an [Admission] needs to recognise a try when it ends. Its meaning is the Admission's own.
type Ticket uint64

// Admission decides whether a try may go to an upstream at all: a circuit breaker, a limit on concurrency. It is asked
// before a target is picked. Implementations are safe for concurrent use. Admit should not wait: with [Retry].Hedge the
// answer to another try may be there meanwhile.
//
// An error from Admit ends the request, unless a try of it is under way; it is refused with that error, which should be an [*Error] (503 for an open
// breaker). For every Admit that returned nil, Done is called exactly once, on every path: answers, failures,
// panics, clients that left.
//
// Admit may wait until ctx ends. For a try beside another one, as Retry.Hedge says, ctx has ended already, by its deadline: what
// can be decided without waiting is decided all the same.
type Admission interface {
	Admit(ctx context.Context, upstream string) (Ticket, error)
	Done(t Ticket, o Outcome)
}

// AnswerWatcher is an [Admission] that wants to know when an answer has begun: for a circuit breaker a stream of events is a
// success hours before it ends. Answered is called at most once, between Admit and Done, when the head of the answer is
// there. Of o Status, FirstByte and Upload are set. The ticket it returns stands for the try from then on; it is the one that
// Done gets.
type AnswerWatcher interface {
	Admission
	Answered(t Ticket, o Outcome) Ticket
}
