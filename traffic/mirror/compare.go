package mirror

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// verdict is what came of a comparison.
type verdict uint8

const (
	incomparable verdict = iota
	equal
	different
)

// maxWork bounds how many pairs of values one comparison looks at: arrays without an order can be of many.
const maxWork = 1 << 18

// judge compares the answers of a copy, and tells of the difference. It does not panic.
func (c *duplicate) judge() {
	v := incomparable
	defer func() {
		if recover() != nil { // in OnDifference, and the verdict stands
			c.m.counts.panicked.Add(1)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settle(v)
	}()
	d := differ{rules: c.m.rules, left: maxWork}
	if !d.answers(c.real, c.shadow) {
		return
	}
	if len(d.details) == 0 {
		v = equal
		return
	}
	v = different
	found := Difference{
		Mirror: c.m.cfg.Name, Route: c.route, Method: c.method, Path: cut(c.path, maxPathShown), RequestID: c.id, At: time.Now(),
		Took: c.real.took, ShadowTook: c.shadow.took, Status: c.real.status, ShadowStatus: c.shadow.status,
		Details: d.details, More: d.more,
	}
	c.m.recents.add(found)
	if tell := c.m.rules.tell; tell != nil {
		tell(found)
	}
}

// differ looks for differences.
type differ struct {
	*rules

	left    int // of maxWork
	quiet   int // more than 0: only whether there is one counts
	path    []step
	details []Detail
	more    int
}

// report notes a difference. Values are only shown where that is wanted.
func (d *differ) report(where, what string, a, b any, secret bool) {
	x := Detail{Where: where, What: what}
	if d.quiet == 0 && (!secret || d.show) {
		if what != "added" {
			x.Shown = shown(a)
		}
		if what != "missing" && what != "unmatched" {
			x.ShadowShown = shown(b)
		}
	}
	d.note(x)
}

func (d *differ) note(x Detail) {
	switch {
	case d.quiet > 0:
	case len(d.details) == d.rules.details:
		d.more++
	default:
		d.details = append(d.details, x)
	}
}

// answers compares two answers. It returns false when they cannot be compared.
func (d *differ) answers(ours, shadow *answer) bool {
	if ours.bad || shadow.bad {
		return false
	}
	if ours.status != shadow.status {
		d.report(statusField, "value", ours.status, shadow.status, false)
		return true
	}
	d.fields("header ", ours.header, shadow.header, ours.outer)
	d.fields("trailer ", ours.trailer, shadow.trailer, nil)
	return d.bodies(ours, shadow)
}

func (d *differ) fields(where string, ours, shadow, outer http.Header) {
	names := slices.Collect(maps.Keys(ours))
	for name := range shadow {
		if _, there := ours[name]; !there && len(outer[name]) == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, b := ours[name], shadow[name]
		switch {
		case slices.Equal(a, b):
		case len(b) == 0:
			d.report(where+cut(name, maxShown), "missing", a, nil, true)
		case len(a) == 0:
			d.report(where+cut(name, maxShown), "added", nil, b, true)
		default:
			d.report(where+cut(name, maxShown), "value", a, b, true)
		}
	}
}

func (d *differ) bodies(ours, shadow *answer) bool {
	if ours.size == shadow.size && ours.hash.Sum64() == shadow.hash.Sum64() {
		return true
	}
	if ours.json && shadow.json {
		if ours.over || shadow.over {
			return false
		}
		a, err := ours.value()
		b, failed := shadow.value()
		switch {
		case errors.Is(err, errTooMuch), errors.Is(failed, errTooMuch):
			return false
		case err == nil && failed == nil:
			d.values(a, b, d.start, Tolerance{})
			return d.left >= 0 || len(d.details) > 0
		}
	}
	if ours.size != shadow.size {
		d.report("body", "length", ours.size, shadow.size, false)
		return true
	}
	d.note(Detail{Where: "body", What: "value"}) // of which only a hash is known
	return true
}

// value returns the JSON value that the body is.
func (a *answer) value() (any, error) {
	data := a.body
	if a.gzip {
		var err error
		if data, err = gunzip(data, a.c.m.cfg.MaxBody); err != nil {
			return nil, err
		}
		if !a.c.m.hold(&a.held, int64(len(data))) {
			return nil, errTooMuch
		}
	}
	return parseJSON(data)
}

// values compares two JSON values, of which the rules at these places hold. It tells whether they are the same.
func (d *differ) values(a, b any, at []place, t Tolerance) bool {
	if d.left--; d.left < 0 {
		return true // the comparison is given up
	}
	ignore, unordered, t := d.here(at, t)
	if ignore {
		return true
	}
	if typeOf(a) != typeOf(b) {
		d.reportHere("type", a, b, nil)
		return false
	}
	var same bool
	switch a := a.(type) {
	case map[string]any:
		b, _ := b.(map[string]any)
		return d.objects(a, b, at, t)
	case []any:
		b, _ := b.([]any)
		if unordered {
			return d.sets(a, b, at, t)
		}
		return d.arrays(a, b, at, t)
	case json.Number:
		b, _ := b.(json.Number)
		same = sameNumber(a, b, t)
	default:
		same = a == b
	}
	if !same {
		d.reportHere("value", a, b, nil)
	}
	return same
}

// reportHere notes a difference at the path, or at a step from there.
func (d *differ) reportHere(what string, a, b any, at *step) {
	if d.quiet > 0 {
		return
	}
	path := d.path
	if at != nil {
		path = append(slices.Clip(path), *at)
	}
	d.report("body "+pathText(path), what, a, b, what != "length")
}

func (d *differ) objects(a, b map[string]any, at []place, t Tolerance) bool {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, there := a[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	same := true
	for _, name := range names {
		x, ours := a[name]
		y, theirs := b[name]
		below := d.below(at, false, name, 0)
		if ours && theirs {
			d.path = append(d.path, step{name: name})
			same = d.values(x, y, below, t) && same
			d.path = d.path[:len(d.path)-1]
		} else if ignore, _, _ := d.here(below, t); !ignore {
			what := "missing"
			if theirs {
				what = "added"
			}
			d.reportHere(what, x, y, &step{name: name})
			same = false
		}
		if !same && d.quiet > 0 {
			return false
		}
	}
	return same
}

func (d *differ) arrays(a, b []any, at []place, t Tolerance) bool {
	same := true
	if len(a) != len(b) {
		d.reportHere("length", json.Number(strconv.Itoa(len(a))), json.Number(strconv.Itoa(len(b))), nil)
		same = false
	}
	for i := range min(len(a), len(b)) {
		if !same && d.quiet > 0 {
			return false
		}
		d.path = append(d.path, step{index: i, element: true})
		same = d.values(a[i], b[i], d.below(at, true, "", i), t) && same
		d.path = d.path[:len(d.path)-1]
	}
	return same
}

// sets compares arrays whose order does not count: each element is paired with the first of the shadow's that it equals. Rules
// about elements go by the place in the first array.
func (d *differ) sets(a, b []any, at []place, t Tolerance) bool {
	same := true
	if len(a) != len(b) {
		d.reportHere("length", json.Number(strconv.Itoa(len(a))), json.Number(strconv.Itoa(len(b))), nil)
		same = false
	}
	taken := make([]bool, len(b))
	first := 0 // of those that are not taken
	for i, x := range a {
		if !same && d.quiet > 0 {
			return false
		}
		below, found := d.below(at, true, "", i), false
		d.quiet++
		for j := first; j < len(b) && !found && d.left >= 0; j++ {
			if found = !taken[j] && d.values(x, b[j], below, t); found {
				taken[j] = true
			}
		}
		d.quiet--
		for first < len(b) && taken[first] {
			first++
		}
		if d.left < 0 {
			return true
		}
		if !found {
			d.reportHere("unmatched", x, nil, &step{index: i, element: true})
			same = false
		}
	}
	return same
}
