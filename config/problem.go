package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Error is one problem of a file. Load joins all of them.
type Error struct {
	// File is the name given to Load, Line and Column where the value stands, from 1.
	File         string
	Line, Column int
	// Path is the way to the value, such as services[2].routes[0].paths[1]; "" for the file as a whole.
	Path string
	// Found is the value, shortened; "" when there is none to show. Credentials are never shown.
	Found string
	// Problem says what is wrong, Remedy what is allowed or was probably meant; Remedy may be "".
	Problem, Remedy string
}

// Error writes all of it on one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Found != "" {
		b.WriteString("found " + e.Found + ": ")
	}
	b.WriteString(e.Problem)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// maxProblems bounds what is reported of one file, mostText each text of it, mostCompared the names that are looked at to
// find those that were probably meant.
const (
	maxProblems  = 1000
	mostText     = 2000
	mostCompared = 10 << 20
)

// problems gathers what is wrong with a file.
type problems struct {
	file   string
	list   []*Error
	more   int
	seen   map[Error]bool
	secret map[*node]bool // values that are not to be shown
	// consequential has what is reported of values that are bad already left out: it would follow from that.
	consequential bool
	compared      int
}

func newProblems(file string) *problems {
	return &problems{file: file, seen: map[Error]bool{}, secret: map[*node]bool{}}
}

// add reports a problem with a value. Found is what stands there, in words.
func (p *problems) add(n *node, found, problem, remedy string) {
	if p.secret[n] {
		found = ""
	}
	if p.consequential && n.bad {
		return
	}
	if p.full() {
		p.more++
		return
	}
	if n.holdsVault() { // what it stands for may be quoted
		problem, remedy = unquoted(problem), unquoted(remedy)
	}
	e := Error{
		File: p.file, Line: n.line, Column: n.column, Path: n.path(),
		Found: onOneLine(found), Problem: onOneLine(shorten(problem, mostText)), Remedy: onOneLine(shorten(remedy, mostText)),
	}
	if p.seen[e] {
		return // by way of an alias, or found twice
	}
	p.seen[e] = true
	p.list = append(p.list, &e)
	for ; n != nil && !p.consequential; n = n.parent {
		n.bad = true
	}
}

// unquoted leaves out of a message what it quotes. What is between backticks may hold some.
func unquoted(text string) string {
	return regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|`+"`.*`").ReplaceAllString(text, "…")
}

// hide takes out of what was reported of a value that it is a credential.
func (p *problems) hide(n *node) {
	for _, e := range p.list {
		if e.Line == n.line && e.Column == n.column {
			e.Found = ""
		}
	}
}

// onOneLine escapes what a file may hold and a terminal or a log would take for more than text.
func onOneLine(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// holdsVault tells whether there is a reference in a value.
func (n *node) holdsVault() bool {
	return isVault(n) || slices.ContainsFunc(n.items, (*node).holdsVault) ||
		slices.ContainsFunc(n.fields, func(f field) bool { return f.value.holdsVault() })
}

// full tells whether no more will be shown, so that nobody needs to look for words.
func (p *problems) full() bool { return len(p.list) >= maxProblems }

// mayCompare tells whether so many names may be looked at for the nearest.
func (p *problems) mayCompare(names int) bool {
	p.compared += names
	return !p.full() && p.compared <= mostCompared
}

// count changes with each problem.
func (p *problems) count() int { return len(p.list) + p.more }

func (p *problems) addText(line int, problem string) {
	p.add(&node{line: line, column: 1}, "", problem, "")
}

// err joins the problems in the order of the file.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	errs := make([]error, 0, len(p.list)+1)
	for _, e := range p.list {
		errs = append(errs, e)
	}
	if p.more > 0 {
		errs = append(errs, fmt.Errorf("%s: and %d more problems", p.file, p.more))
	}
	return errors.Join(errs...)
}

// nearest returns the name most like the one written, or "" when none is like it.
func nearest(written string, names []string) string {
	best, least := "", 3 // edits
	for _, n := range names {
		if d := distance(written, n, least); d < least && d < max(len(written), 2) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the edits that make one name of another (Levenshtein), with two neighbours exchanged as one edit; it
// gives up at most.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// oneOf writes what is allowed.
func oneOf(names []string) string { return "use one of " + strings.Join(names, ", ") }
