package router

import (
	"iter"
	"math/bits"
	"slices"
	"strings"
)

// fewPairs is up to how many pairs of a list are all tried, because it is not worth while to look for what divides it.
const fewPairs = 64

// A trait is something of which entries have a list of values, so that two that both have it meet only where these overlap.
type trait struct {
	kind byte   // of methods, SNI, headers, query, or wildcard hosts with the star in front or behind
	name string // of a header or a parameter
}

// traits yields what entry i has, with its values.
func (v *verifier) traits(i int) iter.Seq2[trait, []string] {
	c, h := v.t.entries[i].detail.criteria, v.t.listed[i].host
	return func(yield func(trait, []string) bool) {
		methods := c.data.methods
		if c.methods.bits&methodBit("GET") != 0 && !slices.Contains(methods, "HEAD") {
			methods = append(slices.Clone(methods), "HEAD")
		}
		if len(methods) > 0 && !yield(trait{kind: 'm'}, methods) {
			return
		}
		wildcard := func(name string) bool { return name[0] == '.' || name[len(name)-1] == '.' }
		if len(c.snis) > 0 && !c.sniOfTLS && !slices.ContainsFunc(c.snis, wildcard) && !yield(trait{kind: 's'}, c.snis) {
			return
		}
		for n := range c.headers {
			if c.headers[n].listed() && !yield(trait{'h', c.headers[n].name}, c.data.headers[n].Values) {
				return
			}
		}
		for n := range c.query {
			if c.query[n].listed() && !yield(trait{'q', c.query[n].name}, c.data.query[n].Values) {
				return
			}
		}
		switch h.kind {
		case hostSuffix:
			yield(trait{kind: '<'}, []string{h.name})
		case hostPrefix:
			yield(trait{kind: '>'}, []string{h.name})
		case hostExact, hostAny:
		}
	}
}

// findInList looks for pairs in a list of entries that may all meet. It tries as few as it can: those that share a value of
// the trait that divides the list best, or, of expressions, those of which one's text begins with the other's.
func (v *verifier) findInList(list []int, seen map[[2]int32]bool) bool {
	all := len(list) * (len(list) - 1) / 2
	if all <= fewPairs {
		for n, a := range list {
			for _, b := range list[n+1:] {
				if !v.tryPair(a, b, seen) {
					return false
				}
			}
		}
		return true
	}
	by, pairs := v.dividing(list)
	if v.areas[list[0]].kind == Regexp {
		if texts := v.byText(list); texts.pairs() < pairs {
			return texts.each(func(a, b int) bool { return v.tryPair(min(a, b), max(a, b), seen) })
		}
	}
	byValue, without := map[string][]int{}, []int{}
	every := make([]int, len(list)) // position
	for n := range every {
		every[n] = n
	}
	tried := make([]int32, len(list)) // with which entry, counted from 1
	for n, b := range list {
		values := v.valuesOf(b, by)
		lists := [][]int{without}
		if values == nil {
			lists[0] = every[:n]
		}
		for _, value := range values {
			lists = append(lists, byValue[value])
			byValue[value] = append(byValue[value], n)
		}
		for _, l := range lists {
			for _, m := range l {
				if tried[m] == int32(n+1) {
					continue
				}
				if tried[m] = int32(n + 1); !v.tryPair(list[m], b, seen) {
					return false
				}
			}
		}
		if values == nil {
			without = append(without, n)
		}
	}
	return true
}

// valuesOf returns the values of a trait that an entry has, nil for none.
func (v *verifier) valuesOf(i int, t trait) []string {
	for o, values := range v.traits(i) {
		if o == t {
			return values
		}
	}
	return nil
}

// dividing returns the trait by which the fewest pairs of a list have to be tried, and how many these are.
func (v *verifier) dividing(list []int) (best trait, pairs int) {
	type census struct {
		have   int
		values map[string]int
		pairs  int
	}
	counts := map[trait]*census{}
	var order []trait
	for _, i := range list {
		for t, values := range v.traits(i) {
			c := counts[t]
			if c == nil {
				c = &census{values: map[string]int{}}
				counts[t] = c
				order = append(order, t)
			}
			c.have++
			for _, value := range values {
				c.pairs += c.values[value]
				c.values[value]++
			}
		}
	}
	pairs = len(list) * (len(list) - 1) / 2
	for _, t := range order {
		c := counts[t]
		without := len(list) - c.have
		if n := c.pairs + without*c.have + without*(without-1)/2; n < pairs {
			best, pairs = t, n
		}
	}
	return best, pairs
}

// byText is a list of expressions by the text their matches begin with.
type byText struct {
	grouped[string] // its keys in order, so that a text comes after those it begins with
}

func (v *verifier) byText(list []int) *byText {
	var x byText
	for _, i := range list {
		x.add(v.areas[i].text, i)
	}
	slices.Sort(x.keys)
	return &x
}

// walk calls f for each text, with the expressions that have it and those that have a text it begins with, until f returns
// false.
func (x *byText) walk(f func(own []int, shorter [][]int) bool) bool {
	var texts []string
	var lists [][]int
	for _, text := range x.keys {
		for len(texts) > 0 && !strings.HasPrefix(text, texts[len(texts)-1]) {
			texts, lists = texts[:len(texts)-1], lists[:len(lists)-1]
		}
		own := x.lists[text]
		if !f(own, lists) {
			return false
		}
		texts, lists = append(texts, text), append(lists, own)
	}
	return true
}

// pairs counts those of which one's text begins with the other's.
func (x *byText) pairs() int {
	n := 0
	x.walk(func(own []int, shorter [][]int) bool {
		n += len(own) * (len(own) - 1) / 2
		for _, list := range shorter {
			n += len(own) * len(list)
		}
		return true
	})
	return n
}

// each calls f for these pairs, until it returns false.
func (x *byText) each(f func(a, b int) bool) bool {
	return x.walk(func(own []int, shorter [][]int) bool {
		for n, a := range own {
			for _, list := range append(shorter[:len(shorter):len(shorter)], own[n+1:]) {
				for _, b := range list {
					if !f(a, b) {
						return false
					}
				}
			}
		}
		return true
	})
}

// mark gives each segment a number, so that patterns are compared in any of their segments without making texts of these.
// Different segments may have the same number, but hardly do.
func (a *area) mark() {
	a.marks = make([]uint64, len(a.segments))
	for i, s := range a.segments {
		h := 14695981039346656037 ^ uint64(i+1)*0x9e3779b97f4a7c15 // FNV-1a
		for n := range len(s) {
			h = (h ^ uint64(s[n])) * 1099511628211
		}
		h ^= h >> 32 // FNV alone is weak where numbers are combined
		a.marks[i] = h * 0x9e3779b97f4a7c15
	}
}

// marked combines the numbers of the segments at these positions.
func (a *area) marked(at uint64) uint64 {
	var h uint64
	for ; at != 0; at &= at - 1 {
		h ^= a.marks[bits.TrailingZeros64(at)]
	}
	return h
}

// chains is a hash table whose memory is used again and again. It is made for a number of items that is known.
type chains struct {
	heads []int32 // counted from 1
	items []chained
	shift int
}

type chained struct {
	mark uint64
	next int32
	n    int32
}

func (c *chains) reset(n int) {
	size := bits.Len(uint(n)) // twice as many as items, more or less
	c.shift = 64 - size
	if len(c.heads) < 1<<size {
		c.heads = make([]int32, 1<<size)
	}
	clear(c.heads[:1<<size])
	c.items = c.items[:0]
}

func (c *chains) add(mark uint64, n int) {
	head := &c.heads[c.slot(mark)]
	c.items = append(c.items, chained{mark, *head, int32(n)})
	*head = int32(len(c.items))
}

func (c *chains) slot(mark uint64) uint64 { return mark * 0x9e3779b97f4a7c15 >> c.shift }

// all yields the items with a mark.
func (c *chains) all(mark uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := c.heads[c.slot(mark)]; at != 0; at = c.items[at-1].next {
			if x := &c.items[at-1]; x.mark == mark && !yield(int(x.n)) {
				return
			}
		}
	}
}
