package rules_test

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// goLine is the oldest Go release the modules build with. Dependencies that
// ask for a newer one wait until it is raised on purpose.
const goLine = "1.25.0"

// A goMod is what go mod edit -json says of a go.mod.
type goMod struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Require   []struct {
		Path     string
		Indirect bool
	}
	Replace []struct{ Old struct{ Path string } }
}

// A goWork is what go work edit -json says of a go.work.
type goWork struct {
	Go      string
	Use     []struct{ DiskPath string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
}

// checkModule reports what is wrong with the go.mod in dir.
func checkModule(dir string, mod goMod) []string {
	var found []string
	report := func(format string, args ...any) {
		found = append(found, fmt.Sprintf(path.Join(dir, "go.mod")+": "+format, args...))
	}
	if want := path.Join(modulePath, dir); mod.Module.Path != want {
		report("module %s, want %s", mod.Module.Path, want)
	}
	if dir == "." && mod.Go != goLine {
		report("go %s, want %s: hold back the dependency that raised it", mod.Go, goLine)
	}
	if mod.Toolchain != "" {
		report("toolchain %s: which one to build with is the user's choice", mod.Toolchain)
	}
	for _, r := range mod.Replace {
		report("replaces %s: an importer would not get it", r.Old.Path)
	}
	for _, r := range mod.Require {
		if _, known := thirdParty[r.Path]; dir == "." && !r.Indirect && !known {
			report("requires %s: no row of thirdParty names it", r.Path)
		}
	}
	return found
}

// checkWorkspace reports what is wrong with go.work, given the directories
// that hold a module.
func checkWorkspace(work goWork, modules []string) []string {
	var found []string
	if work.Go != goLine {
		found = append(found, fmt.Sprintf("go.work: go %s, want %s", work.Go, goLine))
	}
	var used []string
	for _, u := range work.Use {
		used = append(used, path.Clean(filepath.ToSlash(u.DiskPath)))
	}
	for _, m := range modules {
		if !slices.Contains(used, m) {
			found = append(found, "go.work: does not use "+m)
		}
	}
	// The go command reads the go.mod of each required version, of ours too.
	// A version that is not released yet is in the checkout.
	for _, r := range work.Replace {
		dir, ours := ownPackage(r.Old.Path)
		if !ours || r.Old.Version == "" || path.Clean(filepath.ToSlash(r.New.Path)) != dir {
			found = append(found, "go.work: replaces "+r.Old.Path+": only a version of a module of ours, by its directory")
		}
	}
	return found
}

func TestModules(t *testing.T) {
	t.Parallel()
	tr := readCheckout(t)
	for _, dir := range tr.modules {
		out, err := goTool(t, dir, "mod", "edit", "-json")
		require.NoError(t, err)
		var mod goMod
		require.NoError(t, json.Unmarshal(out, &mod))
		noneFound(t, checkModule(dir, mod))
	}
	out, err := goTool(t, ".", "work", "edit", "-json", "go.work")
	require.NoError(t, err)
	var work goWork
	require.NoError(t, json.Unmarshal(out, &work))
	noneFound(t, checkWorkspace(work, tr.modules))
}

func TestModulesCanFail(t *testing.T) {
	t.Parallel()
	good := `"Module": {"Path": "` + modulePath + `"}, "Go": "` + goLine + `"`
	tests := []struct{ dir, json, want string }{
		{".", `{` + good + `}`, ""},
		{".", `{` + good + `, "Require": [{"Path": "golang.org/x/time"}, {"Path": "example.org/new", "Indirect": true}]}`, ""},
		{".", `{"Module": {"Path": "` + modulePath + `"}, "Go": "1.26.0"}`, "go.mod: go 1.26.0, want " + goLine},
		{".", `{` + good + `, "Toolchain": "go1.26.8"}`, "toolchain"},
		{".", `{` + good + `, "Replace": [{"Old": {"Path": "golang.org/x/time"}}]}`, "replaces golang.org/x/time"},
		{".", `{` + good + `, "Require": [{"Path": "example.org/new"}]}`, "requires example.org/new"},
		{"contrib/redis", `{` + good + `}`, "contrib/redis/go.mod: module"},
		{"contrib/redis", `{"Module": {"Path": "` + modulePath + `/contrib/redis"}, "Go": "1.26.0"}`, ""},
	}
	for _, tt := range tests {
		var mod goMod
		require.NoError(t, json.Unmarshal([]byte(tt.json), &mod))
		found := checkModule(tt.dir, mod)
		if tt.want == "" {
			require.Empty(t, found)
			continue
		}
		require.Len(t, found, 1, tt.json)
		require.Contains(t, found[0], tt.want)
	}

	var work goWork
	require.NoError(t, json.Unmarshal([]byte(`{"Go": "1.26.0", "Use": [{"DiskPath": "."}, {"DiskPath": "./contrib/redis"}],
		"Replace": [
			{"Old": {"Path": "golang.org/x/time", "Version": "v0.15.0"}, "New": {"Path": "./time"}},
			{"Old": {"Path": "`+modulePath+`"}, "New": {"Path": "."}},
			{"Old": {"Path": "`+modulePath+`", "Version": "v0.1.0"}, "New": {"Path": "../gateway"}},
			{"Old": {"Path": "`+modulePath+`", "Version": "v0.0.0"}, "New": {"Path": "."}},
			{"Old": {"Path": "`+modulePath+`/contrib/redis", "Version": "v0.0.0"}, "New": {"Path": "./contrib/redis"}}
		]}`), &work))
	found := checkWorkspace(work, []string{".", "contrib/dns", "contrib/redis"})
	require.Len(t, found, 5)
	require.Equal(t, []string{"go.work: go 1.26.0, want " + goLine, "go.work: does not use contrib/dns"}, found[:2])
	require.Contains(t, found[2], "go.work: replaces golang.org/x/time")
	require.Contains(t, found[3], "go.work: replaces "+modulePath)
	require.Contains(t, found[4], "go.work: replaces "+modulePath)
}
