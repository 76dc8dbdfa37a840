package rules_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leaves are the internal packages every package of the root module may use.
// They import the standard library alone.
var leaves = []string{"internal/canonical", "internal/respw", "internal/circuit", "internal/capacity", "internal/notify"}

// directions says which packages of ours a package may import. The first row
// that names the importer counts. Test files may import what they like.
var directions = []struct {
	from []string
	may  []string
}{
	{from: leaves},
	{from: []string{"internal/rules", "internal/race", "internal/rawtest"}},
	{from: []string{"internal/..."}, may: []string{"policy", "balancer", "internal/..."}},
	{from: []string{"policy"}, may: []string{"internal/canonical", "internal/respw"}},
	{from: []string{"balancer", "auth"}, may: append([]string{"policy"}, leaves...)},
	{from: []string{"balancer/healthcheck", "balancer/discovery"}, may: append([]string{"policy", "balancer"}, leaves...)},
	{from: []string{"auth/..."}, may: append([]string{"policy", "auth"}, leaves...)},
	// A policy stands alone: it knows neither the gateway nor a sibling.
	{
		from: []string{"ratelimit", "cache", "transform", "traffic/...", "guard/...", "observe/..."},
		may:  append([]string{"policy"}, leaves...),
	},
	{from: []string{"."}, may: []string{"policy", "balancer", "internal/..."}},
	{from: []string{"config", "gatewaytest"}, may: append([]string{"internal/..."}, public...)},
	// A main shows what a user can write, so it sees what a user sees.
	{from: []string{"examples/...", "bench/..."}, may: append([]string{"contrib/..."}, public...)},
	{from: []string{"contrib/..."}, may: public},
}

// public are the packages of the root module that users import.
var public = []string{
	".", "policy", "balancer/...", "auth/...", "ratelimit", "cache", "transform", "traffic/...",
	"guard/...", "observe/...", "config", "gatewaytest",
}

// thirdParty says which packages of the root module may import which module
// outside the standard library, test files aside. Nil means tests only.
// A direct requirement of the root's go.mod that is not here is an error.
var thirdParty = map[string][]string{
	"github.com/julienschmidt/httprouter": nil,
	"github.com/stretchr/testify":         nil,
	"go.uber.org/goleak":                  nil,
	"go.yaml.in/yaml/v3":                  {"config"},
	"golang.org/x/time":                   {"ratelimit"},
	"pgregory.net/rapid":                  {"gatewaytest"}, // whose generators and oracles are rapid's
}

// checkImport returns why a package may not import another of ours, or "".
// Both are directories from the root, with the module each belongs to.
func checkImport(from, fromModule, to, toModule string) string {
	if fromModule == toModule && fromModule != "." {
		return "" // a nested module orders its own packages
	}
	if fromModule != "." && matches(to, "internal/...") {
		return "a nested module sees what users see, never internal/"
	}
	if fromModule == "." && toModule != "." {
		return "the root module imports no nested module"
	}
	for _, row := range directions {
		if !matches(from, row.from...) {
			continue
		}
		if matches(to, row.may...) {
			return ""
		}
		return fmt.Sprintf("it may import %q", row.may)
	}
	return "no row of directions names it: say what it may import"
}

// checkImports reports the imports that go against the tables.
func checkImports(sources []source, modules []string) []string {
	var found []string
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, spec := range s.file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				found = append(found, fmt.Sprintf("%s: import %s: %v", s.path, spec.Path.Value, err))
				continue
			}
			reason := checkThirdParty(s.pkg, s.module, name)
			if to, ours := ownPackage(name); ours {
				reason = checkImport(s.pkg, s.module, to, moduleOf(to, modules))
			}
			if reason != "" {
				found = append(found, fmt.Sprintf("%s imports %q: %s", s.path, name, reason))
			}
		}
	}
	return found
}

// ownPackage turns an import path of ours into a directory of the tree.
func ownPackage(name string) (string, bool) {
	if name == modulePath {
		return ".", true
	}
	return strings.CutPrefix(name, modulePath+"/")
}

// checkThirdParty returns why a package may not import one of another module,
// or "". The first element of a path outside the standard library has a dot.
func checkThirdParty(pkg, module, name string) string {
	first, _, _ := strings.Cut(name, "/")
	if !strings.Contains(first, ".") {
		return ""
	}
	for mod, users := range thirdParty {
		if !within(name, mod) {
			continue
		}
		switch {
		case users == nil:
			return "tests only"
		case module == "." && !matches(pkg, users...):
			return fmt.Sprintf("only %q may", users)
		}
		return ""
	}
	if module != "." {
		return "" // the go.mod of a nested module is its own table
	}
	return "no row of thirdParty names it: say which packages may import it"
}

func TestImports(t *testing.T) {
	t.Parallel()
	tr := readCheckout(t)
	noneFound(t, checkImports(tr.sources, tr.modules))
}

func TestImportsCanFail(t *testing.T) {
	t.Parallel()
	modules := []string{".", "bench", "contrib/redis", "examples/gateway"}
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"policy", "internal/canonical", true},
		{"policy", "internal/respw", true},
		{"policy", "internal/circuit", false},
		{"policy", "internal/router", false},
		{"policy", "balancer", false},
		{"policy", ".", false},
		{"balancer", "policy", true},
		{"balancer", ".", false},
		{"auth", "policy", true},
		{"auth", "auth/keyauth", false},
		{"auth/keyauth", "auth", true},
		{"auth/keyauth", "policy", true},
		{"auth/keyauth", "internal/canonical", true},
		{"auth/keyauth", "internal/proxy", false},
		{"auth/keyauth", "auth/acl", false},
		{"auth/keyauth", "ratelimit", false},
		{"auth/keyauth", ".", false},
		{"ratelimit", "auth", false},
		{"ratelimit", ".", false},
		{"traffic/breaker", "internal/circuit", true},
		{"traffic/breaker", "traffic/split", false},
		{"traffic/concurrency", "internal/capacity", true},
		{"traffic/split", "balancer", false},
		{"guard/cors", "internal/transport", false},
		{"observe", "policy", true},
		{"observe/sink", "observe", false},
		{".", "policy", true},
		{".", "balancer", true},
		{".", "internal/router", true},
		{".", "ratelimit", false},
		{".", "gatewaytest", false},
		{"internal/canonical", "policy", false},
		{"internal/respw", "internal/canonical", false},
		{"internal/proxy", "internal/transport", true},
		{"internal/proxy", "policy", true},
		{"internal/proxy", ".", false},
		{"internal/router", "auth", false},
		{"config", "ratelimit", true},
		{"config", "internal/canonical", true},
		{"config", "contrib/redis", false},
		{"config", "examples/quickstart", false},
		{"gatewaytest", ".", true},
		{"gatewaytest", "contrib/redis", false},
		{"examples/quickstart", "auth/keyauth", true},
		{"examples/quickstart", "internal/canonical", false},
		{"examples/quickstart", "contrib/redis", false},
		{"examples/gateway", "contrib/redis", true},
		{"contrib/redis", "ratelimit", true},
		{"contrib/redis", "contrib/redis/lua", true},
		{"contrib/redis", "internal/canonical", false},
		{"contrib/redis", "examples/gateway", false},
		{"contrib/redis", "bench", false},
		{"bench", "internal/router", false},
		{"bench", ".", true},
		{"newpackage", "policy", false},
	}
	for _, tt := range tests {
		got := checkImport(tt.from, moduleOf(tt.from, modules), tt.to, moduleOf(tt.to, modules))
		require.Equal(t, tt.allowed, got == "", "%s -> %s: %q", tt.from, tt.to, got)
	}

	bad := []source{
		sample(t, "auth/keyauth/a.go", `package keyauth; import _ "`+modulePath+`"`),
		sample(t, "auth/keyauth/b.go", `package keyauth; import _ "`+modulePath+`/auth/acl"`),
		sample(t, "policy/c.go", `package policy; import _ "github.com/stretchr/testify/require"`),
		sample(t, "policy/d.go", `package policy; import _ "github.com/julienschmidt/httprouter"`),
		sample(t, "policy/e.go", `package policy; import _ "example.org/new"`),
		sample(t, "policy/f.go", `package policy; import _ "pgregory.net/rapid"`),
	}
	require.Len(t, checkImports(bad, modules), len(bad))
	good := []source{
		sample(t, "policy/a_test.go", `package policy_test; import _ "`+modulePath+`/auth/acl"`),
		sample(t, "gatewaytest/c.go", `package gatewaytest; import _ "pgregory.net/rapid"`),
		sample(t, "ratelimit/b.go", `package ratelimit; import _ "golang.org/x/time/rate"; import _ "net/http"`),
	}
	require.Empty(t, checkImports(good, modules))
}

// streamingTest has a table of all policies, for those that hold no bodies back.
const streamingTest = "streaming_test.go"

// checkStreamed reports the policies that the table leaves out.
func checkStreamed(tr tree) []string {
	imported := map[string]bool{}
	for _, s := range tr.sources {
		if s.path != streamingTest {
			continue
		}
		for _, spec := range s.file.Imports {
			if dir, ours := ownPackage(strings.Trim(spec.Path.Value, `"`)); ours {
				imported[dir] = true
			}
		}
	}
	var found []string
	for dir, files := range tr.packages() {
		if isPolicy(dir) && files[0].module == "." && !imported[dir] {
			found = append(found, dir+": "+streamingTest+" has no row for it")
		}
	}
	return found
}

func TestPoliciesAreStreamed(t *testing.T) {
	t.Parallel()
	noneFound(t, checkStreamed(readCheckout(t)))
	tr := tree{sources: []source{
		sample(t, "guard/a/doc.go", "package a"), sample(t, "guard/b/doc.go", "package b"), sample(t, "policy/doc.go", "package policy"),
		sample(t, streamingTest, `package gateway_test; import _ "`+modulePath+`/guard/a"`),
	}}
	require.Equal(t, []string{"guard/b: " + streamingTest + " has no row for it"}, checkStreamed(tr))
}

// TestDirectionsAreReached holds that no row of the table is hidden by an
// earlier one: it would be read as a rule and be none.
func TestDirectionsAreReached(t *testing.T) {
	t.Parallel()
	for i, row := range directions {
		for _, pattern := range row.from {
			pkg := strings.Replace(pattern, "/...", "/x", 1)
			for _, earlier := range directions[:i] {
				require.False(t, matches(pkg, earlier.from...), "%q is named by %q before", pattern, earlier.from)
			}
		}
	}
}
