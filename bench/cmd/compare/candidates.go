//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// baseline is the candidate that the others are compared with.
const baseline = "httputil"

const nginx = "nginx"

// candidate is one server as it takes part in some of the workloads. The words of its command are templates of package conf.
type candidate struct {
	name      string
	workloads []string
	command   string   // begins with the program: one of ours with a dot, another is looked for in PATH
	files     []string // rendered into the directory of the turn
	policies  bool     // it has the policies, and is asked for them
	lua       bool     // it needs nginx's Lua module
	lacks     string   // why it cannot take part in these workloads, which its rows say instead of figures
}

// ours tells whether a candidate is a program of this module, which has counters and takes our flags.
func (c candidate) ours() bool { return strings.HasPrefix(c.command, "./") }

// candidates are in the order in which they run. Where the httputil row of policy has no policies it is because what
// the policies cost Gatehouse is held against a plain proxy.
var candidates = []candidate{
	{name: baseline, workloads: []string{plain, policy, post16k, stream1m, https, https1m, h2, h2post16k}, command: "./anchor -mode httputil"},
	{name: baseline, workloads: []string{routes1k}, command: "./anchor -mode httputil -routes {{.Routes}}"},
	{name: "httputil+policy", workloads: []string{policy}, command: "./anchor -mode httputil -policy", policies: true},
	{name: "gatehouse", workloads: []string{plain, post16k, stream1m, https, https1m, h2, h2post16k}, command: "./gatehouse"},
	{name: "gatehouse", workloads: []string{policy}, command: "./gatehouse -policy", policies: true},
	{name: "gatehouse", workloads: []string{routes1k}, command: "./gatehouse -routes {{.Routes}}"},
	{name: "fasthttp", workloads: []string{plain, post16k, stream1m, https, https1m}, command: "./anchor -mode fasthttp"},
	{name: "fasthttp", workloads: []string{h2, h2post16k}, command: "./anchor -mode fasthttp", lacks: "no HTTP/2"},
	{name: "fasthttp", workloads: []string{policy}, command: "./anchor -mode fasthttp -policy", policies: true},
	{name: "raw", workloads: []string{plain, https, h2}, command: "./anchor -mode raw"},
	{name: "noop", workloads: []string{plain, https, h2}, command: "./anchor -mode noop"},
	{
		name: nginx, workloads: []string{plain, post16k, stream1m, https, https1m, h2, h2post16k}, files: []string{"nginx.conf"},
		command: "nginx -e stderr -p {{.Dir}} -c {{.Dir}}/nginx.conf",
	},
	{
		name: nginx, workloads: []string{routes1k}, files: []string{"nginx-routes.conf"},
		command: "nginx -e stderr -p {{.Dir}} -c {{.Dir}}/nginx-routes.conf",
	},
	{
		name: "nginx+lua", workloads: []string{policy}, files: []string{"nginx-lua.conf"}, policies: true, lua: true,
		command: "nginx -e stderr -p {{.Dir}} -c {{.Dir}}/nginx-lua.conf",
	},
	{
		name: "haproxy", workloads: []string{plain, post16k, stream1m, https, https1m, h2, h2post16k}, files: []string{"haproxy.cfg"},
		command: "haproxy -db -f {{.Dir}}/haproxy.cfg",
	},
	{
		name: "haproxy", workloads: []string{policy}, files: []string{"haproxy-policy.cfg", "keys.map"}, policies: true,
		command: "haproxy -db -f {{.Dir}}/haproxy-policy.cfg",
	},
}

// luaDirs are where distributions put nginx's modules.
var luaDirs = []string{
	"/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/nginx/modules", "/etc/nginx/modules",
}

// present returns the candidates that are asked for and installed, and says which are not.
func (b *bench) present() ([]candidate, error) {
	var found []candidate
	said := map[string]bool{}
	for _, c := range candidates {
		if len(b.only) > 0 && !slices.Contains(b.only, c.name) {
			continue
		}
		if err := b.installed(c); err != nil {
			if !said[c.name] {
				fmt.Fprintf(b.progress, "%s is left out: %v\n", c.name, err)
			}
			said[c.name] = true
			continue
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, errors.New("no candidate is left")
	}
	return found, nil
}

func (b *bench) installed(c candidate) error {
	if c.ours() {
		return nil
	}
	name, _, _ := strings.Cut(c.command, " ")
	if _, err := program(name); err != nil {
		return err
	}
	if !c.lua {
		return nil
	}
	dirs := luaDirs
	if b.luaModules != "" {
		dirs = []string{b.luaModules}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "ngx_http_lua_module.so")); err == nil {
			b.luaModules = dir
			return nil
		}
	}
	return fmt.Errorf("no ngx_http_lua_module.so in %s", strings.Join(dirs, ", "))
}

// program finds a program where its users have it, or where root has it.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if path, rootErr := exec.LookPath("/usr/sbin/" + name); rootErr == nil {
		return path, nil
	}
	return "", err
}
