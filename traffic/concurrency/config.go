package concurrency

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/internal/capacity"
	"github.com/gatehouse-go/gateway/policy"
)

// Defaults of [Config] and [Adaptive].
const (
	DefaultName       = "concurrency"
	DefaultQueue      = 100
	DefaultMaxWait    = 500 * time.Millisecond
	DefaultRetryAfter = time.Second

	DefaultInitial   = 20
	DefaultMin       = 1
	DefaultMax       = 1000
	DefaultWindow    = 200 * time.Millisecond
	DefaultSamples   = 50
	DefaultTolerance = 1.2
	DefaultProbe     = 10 * time.Second
)

// MaxClasses bounds Config.Classes.
const MaxClasses = capacity.MaxClasses

const (
	defaultMessage = "Service temporarily unavailable"

	most      = 1 << 20            // of what is counted one by one
	longest   = 7 * 24 * time.Hour // of all durations
	shortest  = time.Millisecond
	tolerable = 10 // times what answers take at rest
)

// Order says who is next among those of a class that wait.
type Order uint8

// The orders. The zero Order is FIFO.
const (
	// FIFO: who came first. All wait about as long as each other.
	FIFO Order = iota
	// LIFO: who came last; when the queue is full, the first has to go. In an overload most of those that are served have hardly
	// waited, and the others wait in vain.
	LIFO
)

// Config configures a [Limiter]. The zero Config finds out what the server can do, and lets 100 requests wait for 500 ms.
type Config struct {
	// Name is the Limiter's name in decision records and its status. It has no control characters. Default "concurrency".
	Name string

	// Limit is how many requests are under way at once, at most. 0: the Limiter finds that out, as Adaptive says.
	Limit int
	// Adaptive says how. It is an error beside Limit.
	Adaptive Adaptive

	// Queue is how many requests wait for a place, at most, all classes together. Default 100; negative: none.
	Queue int
	// Order is that of requests of the same class. Default FIFO.
	Order Order
	// MaxWait is how long each of them waits at most. It should be well below what clients wait for their answers: who has
	// waited for nearly as long leaves before the answer is there. Default 500 ms; at least 1 ms.
	MaxWait time.Duration

	// Classes is how many classes there are, from 2 to 8, and Class puts a request into one of them: 0 is the highest, and what it
	// returns outside of the classes is the lowest. It is called once for each request or try, on the goroutine of the request,
	// before it waits, and should be quick; the Exchange is nil where there is none. They are set together, or not at all: then
	// there is one class. Classes need a Queue, in which alone they matter.
	Classes int
	Class   func(*policy.Exchange) int

	// UntilAnswered gives a place back when the answer begins. Default: when the exchange has ended.
	UntilAnswered bool

	// RetryAfter is what refusals say in Retry-After, in seconds rounded up. Default 1 s; at least 1 ms.
	RetryAfter time.Duration
	// Message is the text of a refusal. Default "Service temporarily unavailable".
	Message string
	// Fallback answers requests that the plugin would refuse. Nil: they are refused with 503. It says how it answers itself,
	// and is not told anything. The decision record has the refusal all the same, and the answer counts as the gateway's
	// own, so that a cache does not keep it. It has no meaning for an upstream's admission.
	Fallback http.Handler
}

// Adaptive says how a limit is found.
type Adaptive struct {
	// Initial is the limit to begin with, default 20 or what Min and Max allow; Min and Max bound it, default 1 and 1000.
	Initial, Min, Max int
	// Window is how long requests are looked at, at least, before the limit is changed. Default 200 ms; at least 1 ms.
	Window time.Duration
	// Samples is how many requests have to end in a window, at least; with a limit below a quarter of it four times the limit, at
	// least 20, are enough. Default 50.
	Samples int
	// Tolerance is how many times longer than at rest answers may take before the limit is lowered, from 1 to 10. A higher one keeps
	// a server busy whose answers take now long and now not, at the price of longer answers. Default 1.2.
	Tolerance float64
	// Probe is how often, at most, the limit is lowered for some answers in order to see what they take at rest, while more is
	// asked for than there are places. Default 10 s; at least 1 ms.
	Probe time.Duration
	// Overloaded are the statuses by which the server says that it has too much to do, from 400 to 599. Nil or empty means 503 and
	// 504. It is copied.
	Overloaded []int
}

func (a *Adaptive) isZero() bool {
	return a.Initial == 0 && a.Min == 0 && a.Max == 0 && a.Window == 0 && a.Samples == 0 && a.Tolerance == 0 && a.Probe == 0 && len(a.Overloaded) == 0
}

// checker collects what is wrong with a Config.
type checker struct{ errs []error }

func (c *checker) wrongf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("concurrency: "+format, args...))
}

func (c *checker) number(name string, n *int, def int) {
	if *n < 0 || *n > most {
		c.wrongf("%s is %d; use 0 for its default, or 1 to %d", name, *n, most)
	}
	*n = cmp.Or(*n, def)
}

func (c *checker) length(name string, d *time.Duration, def time.Duration) {
	if *d != 0 && (*d < shortest || *d > longest) {
		c.wrongf("%s is %s; use 0 for its default, or %s to %s", name, *d, shortest, longest)
	}
	*d = cmp.Or(*d, def)
}

// withDefaults returns c with its defaults filled in, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var check checker
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		check.wrongf("Name %q has control characters, or is not UTF-8; logs and metrics show it", c.Name)
	}
	if c.Limit < 0 || c.Limit > most {
		check.wrongf("Limit is %d; use 0 to have it found, or 1 to %d", c.Limit, most)
	}
	if c.Limit != 0 && !c.Adaptive.isZero() {
		check.wrongf("Limit is %d, and Adaptive says how to find one; set one of them", c.Limit)
	}
	c.Adaptive.complete(&check)
	switch {
	case c.Queue < 0:
		c.Queue = -1
	default:
		check.number("Queue", &c.Queue, DefaultQueue)
	}
	if c.Order > LIFO {
		check.wrongf("Order is %d; use FIFO or LIFO", c.Order)
	}
	check.length("MaxWait", &c.MaxWait, DefaultMaxWait)
	switch {
	case c.Classes == 0 && c.Class == nil:
		c.Classes = 1
	case c.Class == nil:
		check.wrongf("Classes is %d without Class, which puts requests into them; set both, or none", c.Classes)
	case c.Classes < 2 || c.Classes > MaxClasses:
		check.wrongf("Classes is %d beside Class; use 2 to %d", c.Classes, MaxClasses)
	case c.Queue < 0:
		check.wrongf("Classes is %d without a Queue, in which alone they matter; leave Queue out, or set it", c.Classes)
	}
	check.length("RetryAfter", &c.RetryAfter, DefaultRetryAfter)
	if err := errors.Join(check.errs...); err != nil {
		return Config{}, err
	}
	c.Name, c.Message = cmp.Or(c.Name, DefaultName), cmp.Or(c.Message, defaultMessage)
	return c, nil
}

func (a *Adaptive) complete(check *checker) {
	check.number("Adaptive.Min", &a.Min, DefaultMin)
	check.number("Adaptive.Max", &a.Max, max(DefaultMax, a.Min))
	if a.Max < a.Min {
		check.wrongf("Adaptive.Max is %d, and Min %d; it cannot be lower", a.Max, a.Min)
	}
	if a.Initial != 0 && (a.Initial < a.Min || a.Initial > a.Max) {
		check.wrongf("Adaptive.Initial is %d; use 0 for its default, or %d to %d, as Min and Max say", a.Initial, a.Min, a.Max)
	}
	a.Initial = cmp.Or(a.Initial, min(max(DefaultInitial, a.Min), a.Max))
	check.length("Adaptive.Window", &a.Window, DefaultWindow)
	check.number("Adaptive.Samples", &a.Samples, DefaultSamples)
	if a.Tolerance != 0 && !(a.Tolerance >= 1 && a.Tolerance <= tolerable) { // nor is NaN
		check.wrongf("Adaptive.Tolerance is %v; use 0 for its default, or 1 to %d", a.Tolerance, tolerable)
	}
	a.Tolerance = cmp.Or(a.Tolerance, DefaultTolerance)
	check.length("Adaptive.Probe", &a.Probe, DefaultProbe)
	for i, s := range a.Overloaded {
		if s < http.StatusBadRequest || s > 599 {
			check.wrongf("Adaptive.Overloaded[%d] is %d; use error statuses, 400 to 599", i, s)
		}
	}
}

// settings returns what the gate is told.
func (c Config) settings() capacity.Settings {
	s := capacity.Settings{Limit: c.Limit, Classes: c.Classes, Queue: max(c.Queue, 0), MaxWait: c.MaxWait, LIFO: c.Order == LIFO}
	if c.Limit == 0 {
		a := c.Adaptive
		s.Search = capacity.SearchSettings{
			Initial: a.Initial, Min: a.Min, Max: a.Max, Window: a.Window, Samples: a.Samples, Tolerance: a.Tolerance, Probe: a.Probe,
		}
	}
	return s
}
