package balancer

// TwoChoices draws two targets by chance, by weight, and takes the one that has fewer requests in flight for its weight. That
// keeps the longest queue nearly as short as LeastConnections does, without looking at all targets, and without a rush to the
// one that was the least busy when it was looked at.
type TwoChoices struct {
	// Seed makes the same sequence of choices from the same sequence of picks and ends, for a replay. 0 means another
	// sequence for each pool.
	Seed uint64
}

// NewPicker implements [Algorithm]. It never fails.
func (t TwoChoices) NewPicker(members []*Member) (Picker, error) {
	return &twoChoices{newSampler(members, t.Seed)}, nil
}

type twoChoices struct{ *sampler }

// Pick implements [Picker].
func (t *twoChoices) Pick(q Query) *Member {
	first := t.one(q)
	if first == nil || len(t.members) == 1 {
		return first
	}
	second := t.another(q, first)
	if second == nil {
		return first
	}
	// The weights have their say in the draw: with nothing in flight the first is taken.
	if second.inFlight.Load()*max(first.weight.Load(), 1) < first.inFlight.Load()*max(second.weight.Load(), 1) {
		return second
	}
	return first
}

// resume implements resumer.
func (t *twoChoices) resume(old Picker) {
	if before, ok := old.(*twoChoices); ok {
		t.follow(before.sampler)
	}
}
