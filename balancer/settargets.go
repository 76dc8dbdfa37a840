package balancer

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// SetTargets replaces the targets while traffic flows: picks that follow choose among the new ones, requests in flight
// end where they are. All of them may have the weight NoTraffic, for a pause. A target that stays, recognised by its URL,
// keeps its counters and what was learnt about it, also when its weight, priority or zone changes. One that was removed gets
// no request any more; Status lists it as draining until those in flight have ended, and when it comes back before that, it
// is the same. On error, which joins all problems, nothing has changed.
func (p *Pool) SetTargets(targets []Target) error {
	list, err := parseTargets(targets)
	if err != nil {
		return err
	}
	if p == nil {
		return errClosed
	}
	_, err = p.replace(list)
	return err
}

// replace is SetTargets for targets that were found good. It reports whether there was something new.
func (p *Pool) replace(list []parsed) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.algorithm == nil {
		return false, errClosed
	}
	now := p.home.since(time.Now())
	old := p.state.Load()
	if old == nil {
		old = &state{}
	}
	known := map[string]*Member{}
	for _, m := range slices.Concat(p.draining, old.members) {
		known[m.key] = m
	}
	next := &state{members: make([]*Member, 0, len(list)), reach: map[string]reach{}}
	var before []place
	same := p.state.Load() != nil
	for _, t := range list {
		m := known[t.key]
		if m == nil {
			m = p.newMember(t)
		}
		was := m.set(place{weight: int64(t.weight), zone: t.target.Zone, priority: t.target.Priority, host: t.host})
		before = append(before, was)
		same = same && was == m.placed()
		next.members = append(next.members, m)
		if r := (reach{t.target.Socket, serverName(t.target.Host)}); r != (reach{}) {
			next.reach[address(t.url)] = r
		}
	}
	if same && slices.Equal(old.members, next.members) && maps.Equal(old.reach, next.reach) {
		return false, nil // a discovery that found nothing new does not begin the revolution again
	}
	var fresh []*Member
	for i, m := range next.members {
		if was := before[i]; m.weight.Load() > 0 && (was.weight == 0 || m.leaving.Load()) {
			fresh = append(fresh, m)
		}
	}
	if err := p.install(next, fresh, now); err != nil {
		for i, m := range next.members {
			m.set(before[i])
		}
		return false, err
	}
	return true, nil
}

// reach is what there is to know about connections to an address, beside the address.
type reach struct {
	socket string // "" for none
	name   string // that a certificate must have; "" for the host of the address
}

// Socket returns the path of the Unix socket at which the target with this address, a host and a port, is found; "" when
// that is the address itself, or there is no such target. It is for who dials.
func (p *Pool) Socket(address string) string { return p.reach(address).socket }

// ServerName returns the name that the certificate of the target with this address, a host and a port, must have; "" when that is
// the host, or there is no such target. It is for who dials.
func (p *Pool) ServerName(address string) string { return p.reach(address).name }

func (p *Pool) reach(address string) reach {
	if p == nil {
		return reach{}
	}
	s := p.state.Load()
	if s == nil || len(s.reach) == 0 {
		return reach{}
	}
	return s.reach[strings.ToLower(address)]
}
