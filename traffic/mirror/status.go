package mirror

// Status is a snapshot of a [Mirror].
type Status struct {
	// Name is the Mirror's, Share the share of requests that are copied.
	Name  string
	Share float64
	// Sampled counts the requests that were chosen to be copied. Each is sent or dropped, or its body is still read, or it waits.
	Sampled uint64
	// Sent counts the copies that the shadow got, and the next five what became of them: Answered; TimedOut: not within
	// Timeout; CutOff: with more than MaxAnswer; Panicked: so did the shadow, or OnDifference; Failed: anything else, such as an
	// upstream that could not be reached or broke off, or Close.
	Sent                                         uint64
	Answered, TimedOut, CutOff, Panicked, Failed uint64
	// Dropped says why others were not sent.
	Dropped Dropped
	// Compared counts the pairs of answers that were compared: those that were Equal and those that were Different.
	// Incomparable counts copies that were sent and are not among them: one of the answers was none, broke off, or was made by
	// the gateway; or JSON that differs was longer than MaxBody, or than what can be compared.
	Compared, Equal, Different, Incomparable uint64
	// Running is how many copies are under way or being compared, Waiting how many wait for that. Held is what all copies hold,
	// in bytes, as MaxBytes counts them.
	Running, Waiting int
	Held             int64
}

// Dropped counts requests that were chosen and not copied, by the reason, which the decision record has as well as far as it is
// known when the handler is called.
type Dropped struct {
	// QueueFull: all workers were busy, and the queue was full ("queue_full").
	QueueFull uint64
	// BodyTooLarge: the body was longer than MaxBody ("body_too_large").
	BodyTooLarge uint64
	// BodyAborted: the body broke off, or the handler did not read it to its end ("body_aborted").
	BodyAborted uint64
	// Bytes: all copies together held MaxBytes ("bytes").
	Bytes uint64
	// WaitedTooLong: the copy had waited for Timeout ("waited_too_long").
	WaitedTooLong uint64
	// Closed: Close was called ("closed").
	Closed uint64
}

// Total returns how many were dropped for whatever reason.
func (d Dropped) Total() uint64 {
	return d.QueueFull + d.BodyTooLarge + d.BodyAborted + d.Bytes + d.WaitedTooLong + d.Closed
}

// Status returns a snapshot for operators and metrics. Its numbers are read one after the other, while requests flow. The zero
// and a nil Mirror have the zero Status.
func (m *Mirror) Status() Status {
	if !m.ready() {
		return Status{}
	}
	c := &m.counts
	s := Status{
		Name: m.cfg.Name, Share: float64(m.share.Load()) / one,
		Answered: c.answered.Load(), TimedOut: c.timedOut.Load(), CutOff: c.cut.Load(), Panicked: c.panicked.Load(), Failed: c.failed.Load(),
		Sent: c.sent.Load(),
		Dropped: Dropped{
			QueueFull: c.dropped[queueFull].Load(), BodyTooLarge: c.dropped[bodyTooLarge].Load(), BodyAborted: c.dropped[bodyAborted].Load(),
			Bytes: c.dropped[bytesHeld].Load(), WaitedTooLong: c.dropped[waitedTooLong].Load(), Closed: c.dropped[closed].Load(),
		},
		Equal: c.equal.Load(), Different: c.different.Load(), Incomparable: c.incomparable.Load(),
		Sampled: c.sampled.Load(), Held: m.held.Load(),
	}
	s.Compared = s.Equal + s.Different
	s.Running, s.Waiting = m.pool.load()
	return s
}
