package config_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
)

// FuzzLoad: whatever a file says, loading ends, with a snapshot a gateway takes and that answers, or with problems that have a
// place; and what is loaded twice is the same.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../examples/gateway/kong.yml")
	require.NoError(f, err)
	f.Add(string(example))
	f.Add(basic)
	f.Add(scopeFile(255))
	f.Add(large(2, 2))
	for _, seed := range []string{
		"", "---\n---\n", "{}", "_format_version: \"1.1\"\nroutes: [{paths: [\"/a+\", /b], methods: [GET], hosts: [\"*.x\", \"y.*:80\"], headers: {a: [b, \"~*c\"]}}]",
		"_format_version: \"3.0\"\n_comment: &a [*a, {<<: *a}]\nservices: *a\n",
		"_format_version: \"3.0\"\n_comment: &a {name: x, host: y}\nservices: [{<<: [*a, {port: 1}], routes: [{name: z, snis: [a.b], protocols: [https]}]}]\n",
		"_format_version: \"3.0\"\nupstreams: [{name: u, targets: [{target: \"[::1]:80\"}, {target: \"a:b:c\", weight: 0}]}]\nservices: [{name: s, host: u, path: /a b, routes: [{paths: [\"~/(?<x>a)\"]}]}]",
		"_format_version: \"3.0\"\nupstreams: [{name: u, targets: [{target: a}], healthchecks: {threshold: 9, active: {type: https, headers: {host: [x]}, healthy: {interval: 0.01, successes: 1}, unhealthy: {tcp_failures: 1}}, passive: {unhealthy: {http_statuses: [], timeouts: 1}}}}]\nservices: [{name: s, host: u, routes: [{paths: [/]}]}]",
		"_format_version: \"3.0\"\ncertificates: [{cert: x, key: y, snis: [{name: \"*\"}]}]\nconsumers: [{username: \"{vault://env/a}\", acls: [{group: \"a,b\"}]}]",
		`{"_format_version":"3.0","services":[{"url":"https://[::1]:8443/x?y","tls_verify":true}],"plugins":[{"name":"rate-limiting","config":{"minute":1e3,"redis":null}}]}`,
		"_format_version: !!str 3.0\nservices: !!seq [!!map {name: !!int 7, port: 0x50, retries: 0o7, read_timeout: 1_000}]\n? [a]\n: b\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		o := config.Options{MaxBytes: 1 << 16, Logger: quiet, Dial: nowhere, Getenv: func(name string) (string, bool) { return "x", name != "NONE" }}
		for _, o.AllowUnsupported = range []bool{false, true} {
			s, err := config.Load("kong.yml", strings.NewReader(file), o)
			if err != nil {
				require.Nil(t, s)
				require.NotEmpty(t, err.Error())
				var e *config.Error
				if errors.As(err, &e) {
					require.Positive(t, e.Line, "%v", err)
				}
				continue
			}
			gw, err := gateway.New(s.Gateway)
			require.NoError(t, err, "a snapshot is one that a gateway takes")
			require.NotEmpty(t, gw.Routes().String())
			res := ask(gw, "GET", "http://x.test/none-of-these")
			require.NotZero(t, res.StatusCode)
			_, _ = io.Copy(io.Discard, res.Body)
			o.Previous = s
			again, err := config.Load("kong.yml", strings.NewReader(file), o)
			require.NoError(t, err)
			o.Previous = nil
			require.Equal(t, s.Version, again.Version)
			require.NoError(t, gw.Apply(again.Gateway))
			if status := ask(gw, http.MethodGet, "http://x.test/none-of-these").StatusCode; status != http.StatusServiceUnavailable || res.StatusCode != http.StatusBadGateway { // its targets were taken out
				require.Equal(t, res.StatusCode, status)
			}
			require.NoError(t, gw.Shutdown(t.Context()))
		}
	})
}
