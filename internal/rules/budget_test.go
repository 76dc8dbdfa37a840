package rules_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// budgets says how many modules beside ours a package may link, and so what
// its importer pays. The first row that names the package counts.
var budgets = []struct {
	packages []string
	modules  int
}{
	{[]string{"policy", "balancer/...", "traffic/...", "guard/..."}, 0},
	{[]string{"auth", "auth/keyauth", "auth/acl"}, 0},
	{[]string{".", "ratelimit", "cache", "auth/jwtauth", "gatewaytest"}, 2},
	{[]string{"transform", "config"}, 4},
	{[]string{"observe"}, 10},
	{leaves, 0},
	{[]string{"internal/rules", "internal/rawtest", "regress"}, 0},
	{[]string{"internal/..."}, 2}, // the gateway's own, and so within its budget
	{[]string{"examples/..."}, wholeModule},
}

// wholeModule is how many modules all packages of the root module may link
// together.
const wholeModule = 20

// A listed package is what go list -json says of it.
type listed struct {
	ImportPath string
	Standard   bool
	DepOnly    bool
	Module     *struct{ Path string }
	Deps       []string
}

func parseListed(out []byte) ([]listed, error) {
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("go list -json: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// linkedModules returns the modules beside ours that a package links, sorted.
func linkedModules(p listed, moduleOf map[string]string) []string {
	var mods []string
	for _, dep := range p.Deps {
		if mod := moduleOf[dep]; mod != "" && mod != modulePath {
			mods = append(mods, mod)
		}
	}
	slices.Sort(mods)
	return slices.Compact(mods)
}

// checkBudgets reports the packages that link more than their row allows, or
// have no row, and the whole when it is too much together.
func checkBudgets(pkgs []listed) []string {
	moduleOf := map[string]string{}
	for _, p := range pkgs {
		if p.Module != nil {
			moduleOf[p.ImportPath] = p.Module.Path
		}
	}
	var found, all []string
	for _, p := range pkgs {
		if p.DepOnly {
			continue
		}
		dir, ours := ownPackage(p.ImportPath)
		if !ours {
			found = append(found, p.ImportPath+" is not a package of ours")
			continue
		}
		mods := linkedModules(p, moduleOf)
		all = append(all, mods...)
		budget, ok := budgetOf(dir)
		switch {
		case !ok:
			found = append(found, dir+": no row of budgets names it: say what it may link")
		case len(mods) > budget:
			found = append(found, fmt.Sprintf("%s links %d modules, may link %d: %s",
				dir, len(mods), budget, strings.Join(mods, " ")))
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > wholeModule {
		found = append(found, fmt.Sprintf("the root module links %d modules, may link %d: %s",
			len(all), wholeModule, strings.Join(all, " ")))
	}
	return found
}

func budgetOf(dir string) (int, bool) {
	for _, row := range budgets {
		if matches(dir, row.packages...) {
			return row.modules, true
		}
	}
	return 0, false
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	out, err := goTool(t, ".", "list", "-deps", "-json=ImportPath,Standard,DepOnly,Module,Deps", "./...")
	require.NoError(t, err)
	pkgs, err := parseListed(out)
	require.NoError(t, err)
	require.NotEmpty(t, pkgs)
	noneFound(t, checkBudgets(pkgs))
}

func TestBudgetsCanFail(t *testing.T) {
	t.Parallel()
	// own is a package of ours that links n modules, two packages of each.
	own := func(dir string, n int) []listed {
		p := listed{ImportPath: modulePath + "/" + dir, Module: &struct{ Path string }{modulePath}}
		pkgs := []listed{{ImportPath: "net/http", Standard: true, DepOnly: true}}
		p.Deps = append(p.Deps, "net/http", modulePath+"/policy")
		for i := range n {
			mod := fmt.Sprintf("example.org/%d", i)
			for _, name := range []string{mod, mod + "/sub"} {
				pkgs = append(pkgs, listed{ImportPath: name, DepOnly: true, Module: &struct{ Path string }{mod}})
				p.Deps = append(p.Deps, name)
			}
		}
		return append(pkgs, p)
	}
	tests := []struct {
		dir      string
		within   int // the most that passes
		mentions string
	}{
		{"policy", 0, "policy links 1 modules, may link 0"},
		{"traffic/terminate", 0, "may link 0"},
		{"internal/respw", 0, "may link 0"},
		{"ratelimit", 2, "ratelimit links 3 modules, may link 2: example.org/0 example.org/1 example.org/2"},
		{"internal/router", 2, "may link 2"},
		{"transform", 4, "may link 4"},
		{"observe", 10, "may link 10"},
		{"examples/quickstart", wholeModule, "the root module links 21 modules"},
	}
	for _, tt := range tests {
		require.Empty(t, checkBudgets(own(tt.dir, tt.within)), tt.dir)
		require.Contains(t, strings.Join(checkBudgets(own(tt.dir, tt.within+1)), "\n"), tt.mentions)
	}
	require.Contains(t, checkBudgets(own("newpackage", 0))[0], "say what it may link")

	_, err := parseListed([]byte(`{"ImportPath": "a"} {"ImportPath": `))
	require.Error(t, err)
}
