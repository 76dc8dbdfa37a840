package transport

import (
	"context"
	"net"
	"net/http"
)

// era is a time in which the authorities for targets are the same. It has a net/http transport of its own, and so its own
// connections: all of them were verified by its authorities or by later ones. What began in an era ends in it, and nothing
// that begins later meets one of its connections.
//
// The bounds on connections are for each era: while exchanges of an earlier one go on there may be more.
type era struct {
	version uint64
	base    *http.Transport

	// Both are guarded by Standard.mu.
	users int  // exchanges
	over  bool // there is a later one
}

// ended tells whether nobody will use the era any more. The caller holds Standard.mu.
func (e *era) ended() bool { return e != nil && e.over && e.users == 0 }

// newEra makes the era of a version of the authorities.
func (s *Standard) newEra(version uint64) *era {
	e := &era{version: version, base: s.base.Clone()}
	e.base.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return s.handshake(ctx, network, addr, s.tls.NextProtos, e)
	}
	return e
}

// enterEra has a take part in the era of the authorities in force, and returns one that is over now, or nil. The caller holds
// s.mu. version is what Config.Authorities has returned, which may have been overtaken.
func (s *Standard) enterEra(a *attempt, version uint64) (past *era) {
	if s.era == nil || s.era.version < version {
		if past = s.era; past != nil {
			past.over = true
		}
		s.era = s.newEra(version)
	}
	a.era = s.era
	a.era.users++
	return past
}

// leaveEra is called when a has ended, with s.mu held. It returns an era that nobody uses any more, or nil.
func (s *Standard) leaveEra(a *attempt) *era {
	if a.era == nil {
		return nil
	}
	if a.era.users--; a.era.ended() {
		return a.era
	}
	return nil
}

// closeEra closes what is idle of an era that is over; once nobody uses it, all there is. There may be none.
func (s *Standard) closeEra(e *era) {
	if e == nil {
		return
	}
	e.base.CloseIdleConnections()
	s.mu.Lock()
	var rest []*tracked
	if e.ended() { // what is not idle in net/http's books, as in Close
		for c := range s.conns {
			if c.era == e {
				rest = append(rest, c)
			}
		}
	}
	s.mu.Unlock()
	for _, c := range rest {
		_ = c.Close()
	}
}
