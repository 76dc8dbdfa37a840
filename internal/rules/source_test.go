package rules_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxLines is how long a file that is not a test may be.
const maxLines = 600

// emptyNames say nothing of what a file or package holds.
var emptyNames = []string{"base", "common", "helper", "helpers", "misc", "shared", "util", "utils"}

// packageState lists the package-level variables that are neither an error
// nor a fixed table and may exist all the same: "dir.name", and why.
var packageState = map[string]string{
	"bench/conf.files":                "embedded files cannot be written to",
	"config.digestKey":                "made once and never changed: Diff compares snapshots of one process, and nobody else can",
	"internal/proxy.owned":            "a fixed table, made of another",
	"internal/proxy.untrailed":        "a fixed table, made of another",
	"internal/proxy.untrailedRequest": "a fixed table, made of another",
	"internal/respw.copyBuffers":      "a pool of scratch memory: nothing in it outlives one call",
}

// checkPackages reports what is wrong with each package as a whole: its
// comment, its name, and a policy that shows no example of its use.
func checkPackages(tr tree) []string {
	var found []string
	pkgs := tr.packages()
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		files := pkgs[dir]
		name := files[0].file.Name.Name
		if reason := checkComment(name, files); reason != "" {
			found = append(found, dir+": "+reason)
		}
		if slices.Contains(emptyNames, name) || slices.Contains(emptyNames, path.Base(dir)) {
			found = append(found, dir+": the name does not say what it holds")
		}
		if isPolicy(dir) && !slices.ContainsFunc(tr.sources, func(s source) bool {
			return s.pkg == dir && s.test && hasExample(s.file)
		}) {
			found = append(found, dir+": no Example with an Output comment shows how it is used")
		}
	}
	return found
}

// checkComment returns what is wrong with a package's comment, or "". A main
// is one file where it can be, and says what it is at its head; any other
// package has a doc.go.
func checkComment(name string, files []source) string {
	for _, s := range files {
		if s.file.Doc == nil || name != "main" && path.Base(s.path) != "doc.go" {
			continue
		}
		if name != "main" && !strings.HasPrefix(s.file.Doc.Text(), "Package "+name+" ") {
			return "the package comment does not begin with \"Package " + name + "\""
		}
		return ""
	}
	if name == "main" {
		return "no file has a package comment"
	}
	return "no doc.go with a package comment"
}

// hasExample tells whether a test file has an example that is run.
func hasExample(file *ast.File) bool {
	named := slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Example")
	})
	return named && slices.ContainsFunc(file.Comments, func(c *ast.CommentGroup) bool {
		return strings.HasPrefix(c.Text(), "Output:") || strings.HasPrefix(c.Text(), "Unordered output:")
	})
}

// checkSources reports what is wrong with single files.
func checkSources(sources []source) []string {
	var found []string
	for _, s := range sources {
		base := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.path), ".go"), "_test")
		if slices.Contains(emptyNames, base) {
			found = append(found, s.path+": the name does not say what it holds")
		}
		if s.test {
			continue
		}
		if s.lines > maxLines {
			found = append(found, fmt.Sprintf("%s: %d lines, at most %d", s.path, s.lines, maxLines))
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, s.path+": has an init function: importing it must do nothing")
			}
		}
	}
	return found
}

// checkState reports the package-level variables that can change, and the rows
// of allowed that name none.
func checkState(tr tree, allowed map[string]string) []string {
	var found []string
	unused := maps.Clone(allowed)
	for dir, files := range tr.packages() {
		for _, s := range files {
			for _, v := range packageVars(s.file) {
				name := dir + "." + v.Name
				if _, ok := allowed[name]; ok {
					delete(unused, name)
					continue
				}
				if reason := variable(v, files); reason != "" {
					found = append(found, s.path+": "+v.Name+": "+reason)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		found = append(found, "packageState: "+name+" names nothing that needs it")
	}
	slices.Sort(found)
	return found
}

// packageVars returns the names of a file's package-level variables. The
// parser links each to the declaration that holds its value.
func packageVars(file *ast.File) []*ast.Ident {
	var vars []*ast.Ident
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				vars = append(vars, v.Names...)
			}
		}
	}
	return vars
}

var sentinel = regexp.MustCompile(`^[eE]rr[A-Z]`)

// variable returns why a package-level variable counts as state, or "".
// Errors, compile-time checks and tables that nothing writes to do not.
func variable(v *ast.Ident, files []source) string {
	if v.Name == "_" || sentinel.MatchString(v.Name) {
		return ""
	}
	spec, ok := v.Obj.Decl.(*ast.ValueSpec)
	if !ok {
		return "is declared in a way this check does not know"
	}
	i := slices.Index(spec.Names, v)
	if i >= len(spec.Values) || !isTable(spec.Values[i]) {
		return "is package-level state: make it a field, a constant or a fixed table"
	}
	for _, s := range files {
		if writes(s.file, v) {
			return "is a table that is written to or whose address is taken"
		}
	}
	return ""
}

// isTable tells whether an expression is an array, slice or map of constant
// data, or the bytes of a constant.
func isTable(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		switch e.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return isConstant(e)
		}
	case *ast.CallExpr:
		_, conversion := e.Fun.(*ast.ArrayType)
		return conversion && len(e.Args) == 1 && isConstant(e.Args[0])
	}
	return false
}

// isConstant tells whether an expression is made of literals and names alone.
func isConstant(e ast.Expr) bool {
	constant := true
	ast.Inspect(e, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.CallExpr, *ast.FuncLit:
			constant = false
		}
		return constant
	})
	return constant
}

// writes tells whether a file assigns to a package-level variable or to a
// part of it, takes its address, or hands it to a builtin that changes it.
func writes(file *ast.File, v *ast.Ident) bool {
	isIt := func(e ast.Expr) bool {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.SliceExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.Ident:
				// A name of another file of the package is not resolved.
				return x.Name == v.Name && (x.Obj == nil || x.Obj == v.Obj)
			default:
				return false
			}
		}
	}
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			found = found || slices.ContainsFunc(n.Lhs, isIt)
		case *ast.IncDecStmt:
			found = found || isIt(n.X)
		case *ast.UnaryExpr:
			found = found || n.Op == token.AND && isIt(n.X)
		case *ast.RangeStmt:
			found = found || n.Tok == token.ASSIGN && (isIt(n.Key) || isIt(n.Value))
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"clear", "copy", "delete", "append"}, f.Name) {
				found = found || len(n.Args) > 0 && isIt(n.Args[0])
			}
		}
		return !found
	})
	return found
}

func TestPackages(t *testing.T) {
	t.Parallel()
	tr := readCheckout(t)
	noneFound(t, checkPackages(tr))
	noneFound(t, checkSources(tr.sources))
	noneFound(t, checkState(tr, packageState))
}

func TestPackagesCanFail(t *testing.T) {
	t.Parallel()
	const doc = "// Package x is here.\npackage x"
	example := sample(t, "guard/x/x_test.go", "package x\nfunc Example() {\n// Output: a\n}")
	tests := []struct {
		name  string
		files []source
		want  string
	}{
		{"good", []source{sample(t, "x/doc.go", doc)}, ""},
		{"no doc.go", []source{sample(t, "x/x.go", doc)}, "no doc.go"},
		{"no comment", []source{sample(t, "x/doc.go", "package x")}, "no doc.go with a package comment"},
		{"detached comment", []source{sample(t, "x/doc.go", "// Package x is here.\n\npackage x")}, "no doc.go with a package comment"},
		{"wrong comment", []source{sample(t, "x/doc.go", "// Something.\npackage x")}, "does not begin"},
		{"main", []source{sample(t, "examples/x/main.go", "// Command x is here.\npackage main")}, ""},
		{"main without comment", []source{sample(t, "examples/x/main.go", "package main")}, "no file has"},
		{"package name", []source{sample(t, "utils/doc.go", "// Package utils is.\npackage utils")}, "does not say"},
		{"policy", []source{sample(t, "guard/x/doc.go", doc), example}, ""},
		{"policy without example", []source{sample(t, "guard/x/doc.go", doc)}, "no Example"},
		{"example not run", []source{sample(t, "guard/x/doc.go", doc), sample(t, "guard/x/x_test.go", "package x\nfunc Example() {}")}, "no Example"},
	}
	for _, tt := range tests {
		found := checkPackages(tree{sources: tt.files})
		if tt.want == "" {
			require.Empty(t, found, tt.name)
			continue
		}
		require.Len(t, found, 1, tt.name)
		require.Contains(t, found[0], tt.want, tt.name)
	}

	require.Empty(t, checkSources([]source{sample(t, "x/x.go", "package x\nfunc (T) init() {}"+strings.Repeat("\n", maxLines-1))}))
	require.Len(t, checkSources([]source{
		sample(t, "x/long.go", "package x"+strings.Repeat("\n", maxLines+1)),
		sample(t, "x/init.go", "package x\nfunc init() {}"),
		sample(t, "x/utils.go", "package x"),
		sample(t, "x/helpers_test.go", "package x"),
	}), 4)
}

func TestStateCanFail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code string
		ok   bool
	}{
		{`var ErrGone = errors.New("x: gone")`, true},
		{`var _ fmt.Stringer = (*T)(nil)`, true},
		{`var hop = [...]string{"Connection", "Te"}`, true},
		{`var hop = map[string]bool{http.MethodGet: true, "PRI": !false}`, true},
		{`var token = [256]bool{'a': true, 'a' + 1: true}`, true},
		{`var rows = []struct{ a string; b int }{{"a", 1}, {b: -2}}`, true},
		{`var crlf = []byte("\r\n")`, true},
		{`var hop = []string{"Te"}; func f() { hop := 1; hop++ }`, true},
		{`var a, errB = []int{1}, errors.New("b")`, true},
		{`var errB, a = errors.New("b"), 1`, false},
		{`var n int`, false},
		{`var name = "x"`, false},
		{`var mu sync.Mutex`, false},
		{`var pool = sync.Pool{}`, false},
		{`var client = &http.Client{}`, false},
		{`var cache = map[string]int{}; func f() { cache["a"] = 1 }`, false},
		{`var cache = map[string]int{}; func f() { delete(cache, "a") }`, false},
		{`var hop = []string{"Te"}; func f() { hop = append(hop, "b") }`, false},
		{`var hop = []string{"Te"}; func f() *string { return &hop[0] }`, false},
		{`var count = [2]int{}; func f() { count[1]++ }`, false},
		{`var re = regexp.MustCompile("a")`, false},
		{`var table = []func(){func() {}}`, false},
		{`var table = []*T{newT()}`, false},
	}
	for _, tt := range tests {
		tr := tree{sources: []source{sample(t, "x/x.go", "package x\n"+tt.code)}}
		found := checkState(tr, nil)
		require.Equal(t, tt.ok, len(found) == 0, "%s: %q", tt.code, found)
	}

	two := tree{sources: []source{
		sample(t, "x/a.go", "package x\nvar table = []int{1}"),
		sample(t, "x/b.go", "package x\nfunc f() { table[0] = 2 }"),
	}}
	require.Len(t, checkState(two, nil), 1, "a write in another file is seen")
	require.Empty(t, checkState(two, map[string]string{"x.table": "reason"}))
	require.Len(t, checkState(two, map[string]string{"x.table": "reason", "x.gone": "reason"}), 1, "a row that names nothing is reported")
}
