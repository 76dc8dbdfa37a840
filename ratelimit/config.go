package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/policy"
)

// Config configures a [Limiter]. Limits is all it needs.
type Config struct {
	// Name is the Limiter's name in decision records, and the scope of its counters in a Store. Default "rate-limiting".
	// Required with a Store.
	Name string
	// Limits are what each key may do. A request has to fit all of them; one that does not is counted by none. At
	// least one, at most 16. The slice is copied.
	Limits []Limit
	// Algorithm is how to count. Default TokenBucket.
	Algorithm Algorithm
	// Key says which requests are counted together. The zero Key counts by consumer and, where there is none, by client
	// address. Requests for which a key has no value are counted together: they share one counter, they are not
	// without a limit. policy.Key{Name: "everyone"} counts all requests together. What its Err reports is an error.
	Key policy.Key
	// Cost says how much of the limits a request takes. Nil counts each as 1. A request of cost 0 passes without being
	// counted, a negative cost counts as 1. A cost beyond what a limit admits at once is refused whatever is left. It is
	// called once for each request and safe for concurrent use; it must not read the body.
	Cost func(*http.Request) int
	// MaxKeys bounds the keys that have a counter of their own in memory, and with it the memory: see [Limiter].
	// Default 100,000.
	MaxKeys int

	// Headers chooses the fields that tell clients how the limits stand. Default HeadersDraft | HeadersPeriod.
	Headers Headers
	// HideHeaders sends none of them. Refusals have a Retry-After all the same. It excludes Headers.
	HideHeaders bool
	// HideRetryAfter leaves that out, too, where a limit refuses: clients are not told when to come again.
	HideRetryAfter bool
	// Status is the status of a refusal, 400 to 599. Default 429.
	Status int
	// Message is the text of a refusal. Default "API rate limit exceeded".
	Message string

	// Store keeps the counters where other processes can share them. Nil keeps them in the Limiter.
	Store Store
	// StoreTimeout bounds each call of the Store. Default 50 ms.
	StoreTimeout time.Duration
	// OnError says what happens while the Store does not answer. Default FailOpen.
	OnError OnError
}

// Defaults of [Config].
const (
	DefaultName    = "rate-limiting"
	DefaultMaxKeys = 100_000
	DefaultMessage = "API rate limit exceeded"
)

// mostKeys keeps slots within an int32.
const mostKeys = 1 << 28

// withDefaults returns c with every default filled in and without anything the caller could change, or all that is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("ratelimit: "+format, args...)) }
	if c.Algorithm < TokenBucket || c.Algorithm > SlidingWindow {
		wrong("Algorithm is %d; use TokenBucket, FixedWindow or SlidingWindow", c.Algorithm)
	}
	c.Limits = checkLimits(&errs, c.Limits, c.Algorithm)
	c.checkKey(&errs)
	if c.Key.Name == "" {
		c.Key = policy.ByConsumer().Or(policy.ByClientAddress())
	}
	if c.MaxKeys < 0 || c.MaxKeys > mostKeys {
		wrong("MaxKeys is %d; use 0 for %d, or 1 to %d", c.MaxKeys, DefaultMaxKeys, mostKeys)
	}
	if c.Headers&^allHeaders != 0 {
		wrong("Headers is %#x; use a combination of HeadersDraft, HeadersPeriod and HeadersReset", uint(c.Headers))
	}
	if c.HideHeaders && c.Headers != 0 {
		wrong("Headers is %#x and HideHeaders is set, which sends none of them; leave one of the two out", uint(c.Headers))
	}
	if c.Status != 0 && (c.Status < 400 || c.Status > 599) {
		wrong("Status is %d; use 400 to 599", c.Status)
	}
	c.checkStore(&errs)
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	c.Name = cmp.Or(c.Name, DefaultName)
	c.MaxKeys = cmp.Or(c.MaxKeys, DefaultMaxKeys)
	c.Headers = cmp.Or(c.Headers, HeadersDraft|HeadersPeriod)
	if c.HideHeaders {
		c.Headers = 0
	}
	c.Status = cmp.Or(c.Status, http.StatusTooManyRequests)
	c.Message = cmp.Or(c.Message, DefaultMessage)
	c.StoreTimeout = cmp.Or(c.StoreTimeout, DefaultStoreTimeout)
	return c, nil
}

func (c Config) checkKey(errs *[]error) {
	wrong := func(format string, args ...any) { *errs = append(*errs, fmt.Errorf("ratelimit: "+format, args...)) }
	switch err := c.Key.Err(); {
	case err != nil:
		for problem := range strings.Lines(err.Error()) { // one for each side of an Or
			wrong("Key: %s", strings.TrimSuffix(problem, "\n"))
		}
	case c.Key.Name != "":
	case c.Key.Of != nil:
		wrong("Key has no Name; give it one, or make the key with policy.ByFunc")
	case len(c.Key.Requires) > 0:
		wrong("Key requires %q but has neither Name nor Of; use a key such as policy.ByConsumer()", c.Key.Requires)
	}
}

func (c Config) checkStore(errs *[]error) {
	wrong := func(format string, args ...any) { *errs = append(*errs, fmt.Errorf("ratelimit: "+format, args...)) }
	if c.OnError != FailOpen && c.OnError != FailClosed {
		wrong("OnError is %d; use FailOpen or FailClosed", c.OnError)
	}
	if c.StoreTimeout < 0 {
		wrong("StoreTimeout is %s; use 0 for %s, or more: a store may not hold requests up without end", c.StoreTimeout, DefaultStoreTimeout)
	}
	switch {
	case c.Store != nil:
		if c.Name == "" {
			wrong("Name is empty; with a Store it is needed to tell the counters of one Limiter from those of another")
		}
	case c.StoreTimeout > 0:
		wrong("StoreTimeout is %s without a Store; set Store, or leave it 0", c.StoreTimeout)
	case c.OnError == FailClosed:
		wrong("OnError is FailClosed without a Store; set Store, or leave it FailOpen")
	}
}
