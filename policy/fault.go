package policy

// Fault says what the failure of a try means for its target. Balancers take targets out by it.
type Fault uint8

// The faults. The zero Fault is FaultUnknown.
const (
	// FaultUnknown: nobody has said. A try with an error then counts as FaultConnection.
	FaultUnknown Fault = iota
	// FaultNone: it was not the target's. It was the client's or a plugin's, then the Outcome is Canceled, too; or an idle
	// connection that the target had closed, the wait for one of as many connections as there may be, or the end of
	// Timeouts.Total in an answer that had begun.
	FaultNone
	// FaultRefused: the target's system refused the connection, so that nothing listens there.
	FaultRefused
	// FaultConnection: there was no connection, or it ended before the answer was whole, or what came was no answer.
	FaultConnection
	// FaultTimeout: the connection, the head of the answer or the next part of its body did not come in time.
	FaultTimeout
	// FaultOvertaken: it was given up because another try of the request was answered first; see Retry.Hedge. The Outcome is
	// Canceled, too: it is no failure, but the target was slow.
	FaultOvertaken
)

// String returns "unknown", "none", "refused", "connection", "timeout" or "overtaken".
func (f Fault) String() string {
	switch f {
	case FaultNone:
		return "none"
	case FaultRefused:
		return "refused"
	case FaultConnection:
		return "connection"
	case FaultTimeout:
		return "timeout"
	case FaultOvertaken:
		return "overtaken"
	case FaultUnknown:
	}
	return "unknown"
}
