package balancer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-go/gateway/internal/notify"
)

// DefaultFirstAnswer is the default of Discovery.FirstAnswer.
const DefaultFirstAnswer = 5 * time.Second

// Source finds the targets of a pool: in DNS, in a file, in a registry. Package discovery has some. If it has a method
// Validate() error, [NewPool] reports what that returns.
type Source interface {
	// Watch calls deliver with all targets there are, at first and whenever they change, until ctx ends. An error says that it
	// could not find out; targets is ignored then. It calls deliver from one goroutine at a time, and does not change the
	// slice afterwards. Watch returns when ctx has ended, or when it gives up, and why; it is called again after a while then.
	Watch(ctx context.Context, deliver func(targets []Target, err error)) error
}

// Discovery says where a pool finds its targets. What a source says takes the place of the targets of before as
// [Pool.SetTargets] has it: those that stay keep their state, new ones may begin slowly, removed ones drain. What it cannot
// find out, or says wrongly, changes nothing. A source that panics or gives up is asked again, after a second at first, and up to
// a minute.
type Discovery struct {
	// Source finds the targets. Nil: Config.Targets are all there are.
	Source Source
	// FirstAnswer is how long NewPool waits for targets, if Config.Targets is empty; it fails if there are none by then. Default
	// 5 s; at least 1 ms.
	FirstAnswer time.Duration
	// AllowEmpty takes a source at its word when it says that there are no targets: requests are answered with ErrNoTarget
	// then. By default the targets of before stay.
	AllowEmpty bool
	// OnChange is told when the targets have changed, when the source has failed in another way than before, and when it is well
	// again. It is called by the goroutine of the source, must not panic, and must not wait for anything long. Nil: nobody
	// is told.
	OnChange func(DiscoveryChange)
}

// DiscoveryChange is what a source has said.
type DiscoveryChange struct {
	// At is when it said so.
	At time.Time
	// Added and Removed are the URLs of targets that are new, and of those that are gone. Both are empty when only weights or the
	// like have changed, or nothing has but that the source is well again.
	Added, Removed []string
	// Targets is how many there are now.
	Targets int
	// Err is why the targets are still those of before; nil when they are what the source has said. It may quote addresses and
	// what others sent; it is for logs.
	Err error
}

// DiscoveryStatus is a snapshot of a Discovery.
type DiscoveryStatus struct {
	// Answered is when the source said last what the targets are; zero before.
	Answered time.Time
	// Err is why it could not say so since, or what was wrong with what it said, and FailedAt when that was; nil and zero while
	// all is well.
	Err      error
	FailedAt time.Time
}

var (
	errEmpty  = errors.New("balancer: the source says that there are no targets")
	errGaveUp = errors.New("balancer: the source has given up")
)

func (c *Discovery) check() error {
	var errs []error
	bad := func(field, problem string) {
		errs = append(errs, &ConfigError{Field: "Discovery." + field, Problem: problem})
	}
	if c.FirstAnswer != 0 && (c.FirstAnswer < shortest || c.FirstAnswer > longest) {
		bad(fmt.Sprintf("FirstAnswer %v", c.FirstAnswer), fmt.Sprintf("must be %v to %v, or 0 for the default of %v", shortest, longest, DefaultFirstAnswer))
	}
	if c.Source == nil {
		if c.FirstAnswer != 0 || c.AllowEmpty || c.OnChange != nil {
			bad("Source", "is nil, and other fields of Discovery are set; give a source, such as discovery.DNS")
		}
		return errors.Join(errs...)
	}
	if isNil(c.Source) {
		bad("Source", "is a nil pointer; give a source, such as discovery.DNS")
		return errors.Join(errs...)
	}
	if v, ok := c.Source.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			errs = append(errs, renamed("Discovery.Source", err))
		}
	}
	return errors.Join(errs...)
}

// discovering is a Discovery at work.
type discovering struct {
	Discovery

	pool    *Pool
	cancel  context.CancelFunc
	done    chan struct{}
	first   chan struct{} // closed when there are targets
	pending notify.Queue[DiscoveryChange]

	mu     sync.Mutex
	status DiscoveryStatus
}

// discover begins to ask the source, and waits for its first targets if there are none.
func (p *Pool) discover(c Discovery, wait bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	d := &discovering{Discovery: c, pool: p, cancel: cancel, done: make(chan struct{}), first: make(chan struct{})}
	p.discovery = d
	go d.run(ctx)
	if !wait {
		return nil
	}
	limit := c.FirstAnswer
	if limit == 0 {
		limit = DefaultFirstAnswer
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-d.first:
		return nil
	case <-timer.C:
		problem := fmt.Sprintf("said nothing within %v, and there are no Targets to begin with", limit)
		if err := d.snapshot().Err; err != nil {
			problem = fmt.Sprintf("found no targets within %v, and there are none to begin with: %v", limit, err)
		}
		return &ConfigError{Field: "Discovery.Source", Problem: problem}
	}
}

// run asks the source until ctx ends.
func (d *discovering) run(ctx context.Context) {
	defer close(d.done)
	const first, most = time.Second, time.Minute
	for wait := first; ; wait = min(2*wait, most) {
		began := time.Now()
		err := d.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		d.failed(fmt.Errorf("%w: %w", errGaveUp, err))
		if time.Since(began) > most {
			wait = first
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2+1)) //nolint:gosec // G404: nothing depends on its being a secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// watch calls the source. One that panics has given up.
func (d *discovering) watch(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("balancer: the source panicked: %v", v)
		}
	}()
	err = d.Source.Watch(ctx, func(targets []Target, err error) {
		switch {
		case ctx.Err() != nil:
		case err != nil:
			d.failed(err)
		default:
			d.found(targets)
		}
	})
	if err == nil {
		err = errors.New("it returned without an error")
	}
	return err
}

// found takes what the source says.
func (d *discovering) found(targets []Target) {
	var list []parsed
	if len(targets) > 0 || !d.AllowEmpty {
		if len(targets) == 0 {
			d.failed(errEmpty)
			return
		}
		var err error
		if list, err = parseTargets(targets); err != nil {
			d.failed(fmt.Errorf("balancer: what the source says is no set of targets: %w", err))
			return
		}
	}
	before := d.pool.urls()
	changed, err := d.pool.replace(list)
	if err != nil {
		d.failed(err)
		return
	}
	now := time.Now()
	d.mu.Lock()
	wasBad := d.status.Err != nil
	d.status = DiscoveryStatus{Answered: now}
	d.mu.Unlock()
	select {
	case <-d.first:
	default:
		close(d.first)
	}
	if changed || wasBad {
		after := d.pool.urls()
		d.tell(DiscoveryChange{At: now, Added: without(after, before), Removed: without(before, after), Targets: len(after)})
	}
}

// failed notes why there are no new targets.
func (d *discovering) failed(err error) {
	now := time.Now()
	d.mu.Lock()
	known := d.status.Err != nil && d.status.Err.Error() == err.Error()
	d.status.Err, d.status.FailedAt = err, now
	d.mu.Unlock()
	if !known {
		d.tell(DiscoveryChange{At: now, Targets: len(d.pool.urls()), Err: err})
	}
}

func (d *discovering) tell(c DiscoveryChange) {
	if d.OnChange != nil {
		d.pending.Add(c)
		d.pending.Tell(d.OnChange)
	}
}

func (d *discovering) snapshot() DiscoveryStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// sourcePatience is how long a source may take to end that does not mind its context.
const sourcePatience = time.Second

// end ends d. It waits for the source, but not for one that does not mind that its context has ended.
func (d *discovering) end() {
	if d == nil {
		return
	}
	d.cancel()
	timer := time.NewTimer(sourcePatience)
	defer timer.Stop()
	select {
	case <-d.done:
	case <-timer.C:
	}
}

// Discovery returns what the source of the targets has said last; the zero status without one.
func (p *Pool) Discovery() DiscoveryStatus {
	if p == nil || p.discovery == nil {
		return DiscoveryStatus{}
	}
	return p.discovery.snapshot()
}

// urls returns the URLs of the targets.
func (p *Pool) urls() []string {
	s := p.state.Load()
	if s == nil {
		return nil
	}
	all := make([]string, len(s.members))
	for i, m := range s.members {
		all[i] = m.target
	}
	return all
}

// without returns what of list is not in other.
func without(list, other []string) []string {
	has := make(map[string]bool, len(other))
	for _, s := range other {
		has[s] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return has[s] })
}
