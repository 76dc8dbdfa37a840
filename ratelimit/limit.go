package ratelimit

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The windows of PerMonth and PerYear. [FixedWindow] takes these two lengths for the calendar month and the calendar
// year.
const (
	day   = 24 * time.Hour
	month = 30 * day
	year  = 365 * day
)

// Bounds on a [Limit] that keep all arithmetic exact or saturating: a count fits a float64, a window added to any clock
// reading fits an int64 of nanoseconds.
const (
	maxRequests = 1 << 40
	minWindow   = time.Millisecond // shorter ones are numbers without a unit
	maxWindow   = 10 * year
	maxLimits   = 16
)

// Limit is how much one key may do in a stretch of time: Requests per Window. What is counted are requests, or units of
// [Config.Cost].
type Limit struct {
	// Name tells the limits of a Limiter apart in header fields, records and answers: letters, digits, "-" and "_".
	// Empty: second, minute, hour, day, month or year where Window is one of these.
	Name string
	// Requests is how many the limit admits per Window. At least 1.
	Requests int
	// Window is the stretch of time, a millisecond to ten years. Mind the unit: 60 alone is 60 nanoseconds.
	Window time.Duration
	// Burst is how many may come at once, the size of the bucket. Only [TokenBucket] knows it. 0 means Requests.
	Burst int
}

// PerSecond returns a limit of n requests a second, named "second".
func PerSecond(n int) Limit { return Limit{Name: "second", Requests: n, Window: time.Second} }

// PerMinute returns a limit of n requests a minute, named "minute".
func PerMinute(n int) Limit { return Limit{Name: "minute", Requests: n, Window: time.Minute} }

// PerHour returns a limit of n requests an hour, named "hour".
func PerHour(n int) Limit { return Limit{Name: "hour", Requests: n, Window: time.Hour} }

// PerDay returns a limit of n requests in 24 hours, named "day".
func PerDay(n int) Limit { return Limit{Name: "day", Requests: n, Window: day} }

// PerMonth returns a limit of n requests in 30 days, named "month". With [FixedWindow] it is the calendar month in UTC.
func PerMonth(n int) Limit { return Limit{Name: "month", Requests: n, Window: month} }

// PerYear returns a limit of n requests in 365 days, named "year". With [FixedWindow] it is the calendar year in UTC.
func PerYear(n int) Limit { return Limit{Name: "year", Requests: n, Window: year} }

// capacity is the most one key can spend at one moment. The Burst of a TokenBucket has been filled in.
func (l Limit) capacity() int {
	if l.Burst > 0 {
		return l.Burst
	}
	return l.Requests
}

func periodName(window time.Duration) string {
	switch window {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case day:
		return "day"
	case month:
		return "month"
	case year:
		return "year"
	default:
		return ""
	}
}

// checkLimits returns a copy of limits with defaults filled in, and adds what is wrong with them to errs.
func checkLimits(errs *[]error, limits []Limit, a Algorithm) []Limit {
	wrong := func(format string, args ...any) { *errs = append(*errs, fmt.Errorf("ratelimit: "+format, args...)) }
	switch n := len(limits); {
	case n == 0:
		*errs = append(*errs, errors.New("ratelimit: Limits is empty; give at least one, such as ratelimit.PerMinute(600)"))
		return nil
	case n > maxLimits:
		wrong("Limits has %d entries; use at most %d", n, maxLimits)
		return nil
	}
	out := make([]Limit, len(limits))
	names := make(map[string]int, len(limits))
	for i, l := range limits {
		if l.Name == "" {
			l.Name = periodName(l.Window)
		}
		field := fmt.Sprintf("Limits[%d]", i)
		if l.Name == "" {
			wrong("%s has no Name, and its Window of %s gives it none; write one: only windows of a second, minute, hour, day, month or year have a name by default",
				field, l.Window)
		} else {
			field += fmt.Sprintf(" %q", l.Name)
			// Header fields do not tell upper from lower case.
			folded := strings.ToLower(l.Name)
			if first, taken := names[folded]; taken {
				wrong("%s has the name of Limits[%d]; use another Name", field, first)
			} else {
				names[folded] = i
			}
			if !isLimitName(l.Name) {
				wrong("%s: Name may only have letters, digits, %q and %q, at most %d", field, '-', '_', maxNameLength)
			}
		}
		if l.Requests < 1 || int64(l.Requests) > maxRequests {
			wrong("%s: Requests is %d; use 1 to %d", field, l.Requests, int64(maxRequests))
		}
		switch {
		case l.Window > 0 && l.Window < minWindow:
			wrong("%s: Window is %s; use %s to %s: write %d*time.Second for seconds", field, l.Window, minWindow, maxWindow, int64(l.Window))
		case l.Window <= 0 || l.Window > maxWindow:
			wrong("%s: Window is %s; use %s to %s", field, l.Window, minWindow, maxWindow)
		}
		switch {
		case l.Burst < 0 || int64(l.Burst) > maxRequests:
			wrong("%s: Burst is %d; use 0 for as many as Requests, or 1 to %d", field, l.Burst, int64(maxRequests))
		case l.Burst > 0 && a != TokenBucket:
			wrong("%s: Burst is %d, but %s has no burst; leave it 0 or use TokenBucket", field, l.Burst, a)
		}
		if a == TokenBucket && l.Burst == 0 {
			l.Burst = l.Requests
		}
		out[i] = l
	}
	// Else the shorter window's limit could never be reached, which is surely a mistake.
	for i, long := range out {
		for j, short := range out {
			if long.Window > short.Window && long.Requests < short.Requests {
				wrong("Limits[%d] %q: Requests is %d in %s, fewer than the %d in %s of Limits[%d] %q; a longer window must allow at least as many",
					i, long.Name, long.Requests, long.Window, short.Requests, short.Window, j, short.Name)
			}
		}
	}
	return out
}

const maxNameLength = 64

// isLimitName accepts what needs no quoting in a header field's name nor in a structured field's string.
func isLimitName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxNameLength
}
