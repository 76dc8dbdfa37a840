// Package circuit is the state machine of a circuit breaker, without a lock,
// a clock or a word about HTTP.
//
// A [Circuit] is closed, open or half-open. Whoever wants to call asks
// [Circuit.Begin], and reports how it went with [Circuit.End]:
//
//	c := circuit.New(circuit.Settings{FailureRate: 0.5, Minimum: 20, Window: 10 * time.Second, …})
//	ticket, ok := c.Begin(now)
//	if !ok {
//		return errOpen // for c.Wait(now)
//	}
//	c.End(now, ticket, result)
//
// Between the two [Circuit.Answered] may say that an answer has begun, which
// is what counts where answers last: a probe that is a stream of events would
// otherwise keep its place for hours.
//
// Times are durations since a moment of the owner's choice. They never go
// back: an earlier one counts as the latest that was seen. What a call reports
// counts only in the period, between two changes of state, in which it was
// admitted; a probe also counts in the closed period that probes brought about.
//
// A Circuit is a value of fixed size, which may be copied and compared; the
// tests walk through all its states that way. It imports the standard library
// only.
package circuit
