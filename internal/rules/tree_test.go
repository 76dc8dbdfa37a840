package rules_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// top is the root of the checkout, seen from this package.
	top = "../.."
	// modulePath is the root module's path. Nested modules are below it.
	modulePath = "github.com/gatehouse-go/gateway"
)

// A source is one Go file of the tree.
type source struct {
	path   string // from the root, with slashes
	pkg    string // its directory from the root, "." for package gateway
	module string // directory of the module it belongs to, "." for the root
	test   bool
	lines  int
	file   *ast.File
}

// A document is any text file of the tree, Go files included.
type document struct {
	path string
	text string
}

// A tree is what the checks read: everything in the checkout except .git,
// the build directory and testdata.
type tree struct {
	modules   []string // directories with a go.mod, "." first
	sources   []source
	documents []document
}

// checkout is the tree these tests stand in, read once.
var checkout = sync.OnceValues(func() (tree, error) { return readTree(top) })

func readCheckout(t *testing.T) tree {
	t.Helper()
	tr, err := checkout()
	require.NoError(t, err)
	return tr
}

// noneFound fails a test with each thing a check has found.
func noneFound(t *testing.T, found []string) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func readTree(root string) (tree, error) {
	var tr tree
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name != root && errors.Is(err, fs.ErrNotExist) {
				return nil // removed while we walked
			}
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".build", "testdata"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if path.Base(rel) == "go.mod" {
			tr.modules = append(tr.modules, path.Dir(rel))
		}
		if bytes.IndexByte(text, 0) < 0 {
			tr.documents = append(tr.documents, document{path: rel, text: string(text)})
		}
		return nil
	})
	if err != nil {
		return tree{}, fmt.Errorf("read the tree: %w", err)
	}
	slices.Sort(tr.modules) // "." sorts before every name
	for _, d := range tr.documents {
		if !strings.HasSuffix(d.path, ".go") {
			continue
		}
		s, err := parseSource(d.path, d.text)
		if err != nil {
			return tree{}, err
		}
		s.module = moduleOf(s.pkg, tr.modules)
		tr.sources = append(tr.sources, s)
	}
	return tr, nil
}

// parseSource makes a source of the root module from a file's text.
func parseSource(name, text string) (source, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
	if err != nil {
		return source{}, fmt.Errorf("parse: %w", err)
	}
	return source{
		path:   name,
		pkg:    path.Dir(name),
		module: ".",
		test:   strings.HasSuffix(name, "_test.go"),
		lines:  strings.Count(text, "\n"),
		file:   file,
	}, nil
}

// sample parses a made-up file for a test of a check.
func sample(t *testing.T, name, text string) source {
	t.Helper()
	s, err := parseSource(name, text)
	require.NoError(t, err)
	return s
}

// moduleOf returns the innermost module directory that holds dir.
func moduleOf(dir string, modules []string) string {
	found := "."
	for _, m := range modules {
		if within(dir, m) && len(m) > len(found) {
			found = m
		}
	}
	return found
}

// packages groups the files that are not tests by directory.
func (tr tree) packages() map[string][]source {
	pkgs := map[string][]source{}
	for _, s := range tr.sources {
		if !s.test {
			pkgs[s.pkg] = append(pkgs[s.pkg], s)
		}
	}
	return pkgs
}

// document returns the text of a file, and whether there is one.
func (tr tree) document(name string) (string, bool) {
	for _, d := range tr.documents {
		if d.path == name {
			return d.text, true
		}
	}
	return "", false
}

// within tells whether dir is parent or below it.
func within(dir, parent string) bool {
	return dir == parent || strings.HasPrefix(dir, parent+"/")
}

// matches tells whether a package directory is one of the patterns: a
// directory, or "dir/..." for a directory and all below it.
func matches(pkg string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if parent, all := strings.CutSuffix(pattern, "/..."); all {
			return within(pkg, parent)
		}
		return pkg == pattern
	})
}

// isPolicy tells whether a package decides or edits inside a chain: the
// packages the README lists and that must be able to stand alone.
func isPolicy(pkg string) bool {
	if pkg == "auth" {
		return false // the vocabulary of auth/*
	}
	return matches(pkg, "auth/...", "ratelimit", "cache", "transform", "traffic/...", "guard/...", "observe")
}

// goTool runs the go command in a directory of the checkout, outside any
// workspace: what it reports is what an importer of the module gets.
func goTool(t *testing.T, dir string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join(top, filepath.FromSlash(dir))
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out, nil
}

func TestTreeIsRead(t *testing.T) {
	t.Parallel()
	tr := readCheckout(t)
	require.Equal(t, ".", tr.modules[0])
	require.Contains(t, tr.packages(), "internal/rules")
	for _, dir := range []string{".", "policy", "contrib/redis/deep"} {
		want := "."
		if within(dir, "contrib/redis") {
			want = "contrib/redis"
		}
		require.Equal(t, want, moduleOf(dir, []string{".", "contrib/redis", "contrib/redisx"}), dir)
	}
	_, err := readTree("no such directory")
	require.Error(t, err, "a tree of nothing would break no rule")
}
