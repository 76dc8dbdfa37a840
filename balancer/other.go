package balancer

import "slices"

// HasOther reports whether a request that was sent to the members in tried could go to another that takes traffic.
func (p *Pool) HasOther(tried []*Member) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state.Load()
	return s != nil && s.picker != nil && slices.ContainsFunc(s.members, func(m *Member) bool { return m.weight.Load() > 0 && !m.barred.Load() && !slices.Contains(tried, m) })
}
