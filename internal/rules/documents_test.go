package rules_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxReadme is the length a README is still read at.
const maxReadme = 180

// readmeCommands are what a newcomer types first.
var readmeCommands = []string{"go test ./...", "go run ./examples/quickstart"}

// checkReadme reports what is wrong with the README of a tree with these
// packages, its code apart.
func checkReadme(text string, pkgs []string) []string {
	var found []string
	if n := strings.Count(text, "\n"); n >= maxReadme {
		found = append(found, fmt.Sprintf("README.md: %d lines, want fewer than %d", n, maxReadme))
	}
	for _, command := range readmeCommands {
		if !strings.Contains(text, command) {
			found = append(found, fmt.Sprintf("README.md: does not show %q", command))
		}
	}
	for _, pkg := range pkgs {
		if isPolicy(pkg) && !hasRow(text, pkg) {
			found = append(found, "README.md: the policy table has no row for "+pkg)
		}
	}
	return found
}

// checkSecurity reports the public packages whose posture SECURITY.md does
// not state.
func checkSecurity(text string, pkgs []string) []string {
	var found []string
	for _, pkg := range pkgs {
		name := pkg
		if pkg == "." {
			name = "gateway"
		}
		if matches(pkg, public...) && !hasRow(text, name) {
			found = append(found, "SECURITY.md: no row states the posture of "+name)
		}
	}
	return found
}

// hasRow tells whether a table of a Markdown text has a row whose first cell
// names a package, as plain text, as code or as a link.
func hasRow(text, pkg string) bool {
	row := regexp.MustCompile("(?m)^\\| *\\[?`?" + regexp.QuoteMeta(pkg) + "`?[ \\]|]")
	return row.MatchString(text)
}

func checkChangelog(text string) []string {
	if !regexp.MustCompile(`(?m)^## \[Unreleased\]$`).MatchString(text) {
		return []string{`CHANGELOG.md: no line "## [Unreleased]"`}
	}
	return nil
}

var (
	invariant = regexp.MustCompile(`(?m)^### (I\d+): `)
	heldBy    = regexp.MustCompile("(?m)^- `([^`]+)`: (.*)$")
	testName  = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

// checkReliability reports the invariants that are not there, and the tests that a text names and the tree does not have. Tests
// stand behind their package, or anywhere when they are one of package gateway's.
func checkReliability(text string, has func(pkg, test string) bool) []string {
	var found, names []string
	for _, m := range invariant.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	for i := range 12 {
		if want := fmt.Sprintf("I%d", i+1); len(names) <= i || names[i] != want {
			found = append(found, "docs/reliability.md: no section "+want+" in its place")
		}
	}
	check := func(pkg, text string) {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if !has(pkg, m[1]) {
				found = append(found, fmt.Sprintf("docs/reliability.md: %s has no %s", pkg, m[1]))
			}
		}
	}
	for _, m := range heldBy.FindAllStringSubmatch(text, -1) {
		check(m[1], m[2])
	}
	check("gateway", heldBy.ReplaceAllString(text, ""))
	return found
}

// tests tells whether a package of the root module has a test or fuzz target.
func (tr tree) tests() func(pkg, test string) bool {
	all := map[[2]string]bool{}
	for _, s := range tr.sources {
		pkg := s.pkg
		if pkg == "." {
			pkg = "gateway"
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				all[[2]string{pkg, f.Name.Name}] = true
			}
		}
	}
	return func(pkg, test string) bool { return all[[2]string{pkg, test}] }
}

// ownPath finds directories of one machine, and sentences that send a reader
// to a Markdown file.
var (
	ownPath  = regexp.MustCompile(`(?:^|[\s"'(=:` + "`" + `])(/(?:farm|root|tmp|work)/[A-Za-z0-9_.-]+)`)
	markdown = regexp.MustCompile(`[A-Za-z0-9_./:-]+\.md\b`)
)

// checkText reports what no file may hold: a path of somebody's machine
// outside tests, and the name of a Markdown file that is not in the tree. This
// package, which has samples of both, is left out.
func checkText(docs []document) []string {
	names := map[string]bool{}
	for _, d := range docs {
		names[path.Base(d.path)] = true
	}
	var found []string
	for _, d := range docs {
		if within(path.Dir(d.path), "internal/rules") {
			continue
		}
		for i, line := range strings.Split(d.text, "\n") {
			report := func(what string) {
				found = append(found, fmt.Sprintf("%s:%d: %s", d.path, i+1, what))
			}
			if m := ownPath.FindStringSubmatch(line); m != nil && !strings.HasSuffix(d.path, "_test.go") {
				report("has a path of one machine: " + m[1])
			}
			for _, name := range markdown.FindAllString(line, -1) {
				if !strings.Contains(name, "://") && !names[path.Base(name)] {
					report("names " + name + ", which is not in the tree")
				}
			}
		}
	}
	return found
}

// programs returns the Go code blocks of a Markdown text that are whole files.
func programs(text string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		if regexp.MustCompile(`(?m)^package \w+`).MatchString(m[1]) {
			blocks = append(blocks, m[1])
		}
	}
	return blocks
}

// compile builds each program as a package of the module that exists only in
// an overlay. A program that imports what a user cannot import is an error.
func compile(t *testing.T, programs []string) error {
	t.Helper()
	root, err := filepath.Abs(top)
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	args := []string{"build", "-overlay", filepath.Join(t.TempDir(), "overlay.json")}
	for i, code := range programs {
		file, err := parser.ParseFile(token.NewFileSet(), "README.md", code, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("program %d: %w", i, err)
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("program %d: import %s: %w", i, spec.Path.Value, err)
			}
			to, ours := ownPackage(name)
			if !ours {
				continue
			}
			if reason := checkImport("examples/readme", ".", to, "."); reason != "" {
				return fmt.Errorf("program %d imports %s: %s", i, name, reason)
			}
		}
		// Not as package main: it is to compile, and need not be linked.
		name := "readme" + strconv.Itoa(i)
		clause := int(file.Name.Pos()) - 1
		code = code[:clause] + name + code[clause+len(file.Name.Name):]
		written := filepath.Join(t.TempDir(), "readme.go")
		require.NoError(t, os.WriteFile(written, []byte(code), 0o600))
		overlay.Replace[filepath.Join(root, "examples", name, "readme.go")] = written
		args = append(args, "./examples/"+name)
	}
	data, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(args[2], data, 0o600))
	_, err = goTool(t, ".", args...)
	return err
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	tr := readCheckout(t)
	var pkgs []string
	for dir, files := range tr.packages() {
		if files[0].module == "." {
			pkgs = append(pkgs, dir)
		}
	}
	slices.Sort(pkgs)
	noneFound(t, checkText(tr.documents))
	for name, check := range map[string]func(string) []string{
		"README.md":           func(text string) []string { return checkReadme(text, pkgs) },
		"SECURITY.md":         func(text string) []string { return checkSecurity(text, pkgs) },
		"CHANGELOG.md":        checkChangelog,
		"docs/reliability.md": func(text string) []string { return checkReliability(text, tr.tests()) },
	} {
		text, ok := tr.document(name)
		if !ok {
			t.Errorf("there is no %s", name)
			continue
		}
		noneFound(t, check(text))
	}
}

func TestReadmeCompiles(t *testing.T) {
	t.Parallel()
	text, _ := readCheckout(t).document("README.md")
	blocks := programs(text)
	require.NotEmpty(t, blocks, "README.md shows a whole program")
	require.NoError(t, compile(t, blocks))
}

func TestDocumentsCanFail(t *testing.T) {
	t.Parallel()
	pkgs := []string{".", "auth", "auth/acl", "auth/keyauth", "policy", "ratelimit"}
	table := "| `auth/acl` | x |\n| [auth/keyauth](auth/keyauth) | x |\n|ratelimit|\n"
	good := strings.Join(readmeCommands, "\n") + "\n" + table
	require.Empty(t, checkReadme(good, pkgs))
	require.Len(t, checkReadme(good+strings.Repeat("\n", maxReadme), pkgs), 1)
	require.Len(t, checkReadme(table, pkgs), len(readmeCommands))
	require.Equal(t, []string{"README.md: the policy table has no row for ratelimit"},
		checkReadme(strings.ReplaceAll(good, "|ratelimit|", "ratelimit"), pkgs))
	require.Len(t, checkReadme(strings.ReplaceAll(good, "auth/acl", "auth/aclx"), pkgs), 1)

	require.Equal(t, []string{"gateway", "auth", "policy"}, missing(checkSecurity(table, append(pkgs, "internal/proxy"))))

	require.Empty(t, checkChangelog("# Changelog\n\n## [Unreleased]\n"))
	require.Len(t, checkChangelog("# Changelog\n\n## [1.0.0]\nsee [Unreleased]\n"), 1)

	var sections strings.Builder
	for i := range 12 {
		fmt.Fprintf(&sections, "### I%d: x\n- `auth`: `TestA`, `FuzzB`: why\n", i+1)
	}
	has := func(pkg, test string) bool { return pkg == "auth" && test != "TestC" || test == "TestD" }
	require.Empty(t, checkReliability(sections.String()+"`TestD`", has))
	require.Equal(t, []string{"docs/reliability.md: auth has no TestC", "docs/reliability.md: gateway has no TestA"}, checkReliability(sections.String()+"- `auth`: `TestC`\n`TestA`", has))
	require.Len(t, checkReliability(strings.Replace(sections.String(), "I3:", "I4:", 1), has), 1)

	texts := map[string]int{
		"see /tmp/x.log":                     1,
		"cd /work/main":                      1,
		"a: \"/root/.cache\"":                1,
		"https://example.org/work/x/tmp/a":   0,
		"/users/work/x":                      0,
		"see OTHER.md":                       1,
		"see [this](docs/OTHER.md#part)":     1,
		"see CONTRIBUTING.md":                0,
		"see https://example.org/x/OTHER.md": 0,
	}
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		docs := []document{{"a.go", text}, {"CONTRIBUTING.md", ""}}
		require.Len(t, checkText(docs), texts[text], text)
	}
	require.Empty(t, checkText([]document{{"a_test.go", "/tmp/x"}}), "tests may name a path")

	require.Equal(t, []string{"// A main.\npackage main\n", "package x\n"},
		programs("```go\n// A main.\npackage main\n```\n```go\nx := 1\n```\n```sh\npackage y\n```\n```go\npackage x\n```\n"))
	const main = "// A main.\npackage main\n\nfunc main() { %s }\n"
	require.NoError(t, compile(t, []string{fmt.Sprintf(main, ""), fmt.Sprintf(main, "println(1)")}))
	require.ErrorContains(t, compile(t, []string{fmt.Sprintf(main, ""), fmt.Sprintf(main, "undefined()")}), "undefined")
	require.ErrorContains(t, compile(t, []string{`package main; import _ "` + modulePath + `/internal/proxy"`}), "internal/proxy")
	require.Error(t, compile(t, []string{"package"}))
}

// missing cuts each finding down to its last word.
func missing(found []string) []string {
	var names []string
	for _, f := range found {
		names = append(names, f[strings.LastIndex(f, " ")+1:])
	}
	return names
}
