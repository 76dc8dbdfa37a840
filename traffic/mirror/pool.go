package mirror

import "sync"

// pool has jobs done by a bounded number of goroutines, which end when there is nothing to do.
type pool struct {
	m *Mirror

	mu      sync.Mutex
	workers int // at most
	running int
	waiting []job // a ring
	first   int
	length  int
	closed  bool
	idle    chan struct{} // closed when nothing runs any more
}

// job is a copy to be sent, or one whose answers are to be compared.
type job struct {
	c       *duplicate
	compare bool
}

func newPool(m *Mirror, workers, queue int) pool {
	return pool{m: m, workers: workers, waiting: make([]job, queue), idle: make(chan struct{})}
}

// add takes a job, or says why not. It does not wait.
func (p *pool) add(j job) reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return closed
	case p.running < p.workers:
		p.running++
		go p.work(j)
	case p.length == len(p.waiting):
		return queueFull
	default:
		p.waiting[(p.first+p.length)%len(p.waiting)] = j
		p.length++
	}
	return none
}

// full says why add would not take a job now.
func (p *pool) full() reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return closed
	case p.running == p.workers && p.length == len(p.waiting):
		return queueFull
	}
	return none
}

func (p *pool) work(j job) {
	ended := false
	defer func() {
		if ended {
			return
		}
		if j, ok := p.next(); ok { // the shadow has ended its goroutine, as tests do that fail
			go p.work(j)
		}
	}()
	for ok := true; ok; j, ok = p.next() {
		j.do()
	}
	ended = true
}

// next returns the job that waits longest. Without one the goroutine ends.
func (p *pool) next() (job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.length == 0 {
		if p.running--; p.running == 0 && p.closed {
			close(p.idle)
		}
		return job{}, false
	}
	j := p.waiting[p.first]
	p.waiting[p.first] = job{}
	p.first = (p.first + 1) % len(p.waiting)
	p.length--
	return j, true
}

// close drops what waits, and returns a channel that is closed when nothing runs any more.
func (p *pool) close() <-chan struct{} {
	p.mu.Lock()
	var left []job
	if !p.closed {
		p.closed = true
		for ; p.length > 0; p.length-- {
			left = append(left, p.waiting[p.first])
			p.first = (p.first + 1) % len(p.waiting)
		}
		p.waiting = nil
		if p.running == 0 {
			close(p.idle)
		}
	}
	p.mu.Unlock()
	for _, j := range left {
		j.drop()
	}
	return p.idle
}

// load returns how many jobs are under way, and how many wait.
func (p *pool) load() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running, p.length
}
