package transport

import (
	"cmp"
	"slices"
	"time"
)

const (
	// shedAfter is how long an exchange waits for a connection before it looks for one that is held in vain, and again.
	shedAfter = 250 * time.Millisecond
	// shedHeld is how long an upload may hold its connection whatever its rate.
	shedHeld = time.Second
	// shedRate is how many bytes in a second make an upload that is not cut.
	shedRate = 8 << 10
	// shedPause bounds how often a crowd of waiting exchanges looks.
	shedPause = 20 * time.Millisecond
)

// slowUpload is an attempt that may lose its connection.
type slowUpload struct {
	a    *attempt
	rate float64 // in bytes per second
}

// shed makes room where all connections to a target are in use and exchanges wait: it ends uploads whose clients leave
// the target waiting, the slowest first and no more than there are exchanges waiting. Otherwise a few clients that send
// a byte now and then could keep everybody else from the target, at no cost to them.
func (s *Standard) shed(host string, now time.Time) {
	if s.base.MaxConnsPerHost <= 0 {
		return
	}
	var slow []slowUpload
	var held, waiting int
	s.mu.Lock()
	if now.Sub(s.shedding) < shedPause {
		s.mu.Unlock()
		return
	}
	s.shedding = now
	for a := range s.exchanges {
		if a.host != host {
			continue
		}
		hold, rate := a.holding(now)
		switch hold {
		case holdsInVain:
			slow = append(slow, slowUpload{a, rate})
			held++
		case holds:
			held++
		case waits:
			waiting++
		case free:
		}
	}
	s.mu.Unlock()
	if held < s.base.MaxConnsPerHost {
		return // it is dialling that takes its time
	}
	slices.SortFunc(slow, func(x, y slowUpload) int { return cmp.Compare(x.rate, y.rate) })
	for _, p := range slow[:min(len(slow), waiting)] {
		p.a.expire(UploadTooSlow)
	}
}

// hold says what an attempt has of the connections to its target.
type hold uint8

const (
	free        hold = iota // nothing of which there is a bounded number: HTTP/2
	waits                   // for a connection
	holds                   // a connection
	holdsInVain             // a connection, while its client is too slow
)

// holding also returns the rate of the upload, where it matters.
func (a *attempt) holding(now time.Time) (hold, float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.conn == nil && a.phase == connecting:
		return waits, 0
	case a.conn == nil:
		return free, 0
	}
	since := now.Sub(a.got)
	if !a.uploading || a.head || a.expired != "" || since < shedHeld {
		return holds, 0
	}
	rate := float64(a.uploaded) / since.Seconds()
	if rate >= shedRate {
		return holds, 0
	}
	return holdsInVain, rate
}
