package config_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
)

// vault is an environment with secrets.
func vault(name string) (string, bool) {
	text, ok := map[string]string{
		"TOKEN": "hidden-token", "PATH": "/hidden/path", "HOST": "hidden host", "REGEX": "~/a`hidden`(", "EMPTY": "",
	}[name]
	return text, ok
}

// TestSecretsInProblems: neither what references stand for nor credentials in places where none belong are shown.
func TestSecretsInProblems(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`routes: [{paths: ["{vault://env/REGEX}"]}]`:                                                                    "missing closing ): …",
		`consumers: [{username: "{vault://env/TOKEN}"}], plugins: [{name: key-auth, consumer: other-token}]`:            "there is no consumer",
		`consumers: [{username: a, keyauth_credentials: [hidden]}]`:                                                     "keyauth_credentials[0]: expected a map",
		`consumers: [{username: a, keyauth_credentials: hidden}]`:                                                       "keyauth_credentials: expected a list",
		`consumers: [{username: a, keyauth_credentials: [{key: 18446744073709551615}]}]`:                                "key: is no integer of 64 bits",
		`consumers: [{username: a, keyauth_credentials: [{key: !hidden x}]}]`:                                           "key: the tag means nothing",
		`consumers: [{username: a, keyauth_credentials: [{key: !!int hidden}]}]`:                                        "key: is no integer of 64 bits",
		`upstreams: [{name: u, host_header: "{vault://env/HOST}"}], services: [{host: u, routes: [{paths: [/]}]}]`:      "Forward.Host",
		`services: [{host: u, path: "/a/../{vault://env/TOKEN}", routes: [{paths: [/]}]}, {url: "{vault://env/HOST}"}]`: "services[1].url",
	} {
		got := lines(t, `{_format_version: "3.0", `+file+"}", config.Options{Getenv: vault})
		require.NotContains(t, strings.Join(got, "\n"), "hidden", file)
		require.NotContains(t, strings.Join(got, "\n"), "18446744073709551615", file)
		require.Contains(t, strings.Join(got, "\n"), want, file)
	}
}

// TestSecretsInWarnings: a finding about two routes quotes both, and its witness has the values of their conditions.
func TestSecretsInWarnings(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
routes:
- {name: a, paths: [/x], headers: {x-token: ["{vault://env/TOKEN}"]}}
- {name: b, paths: [/x], headers: {x-token: ["{vault://env/TOKEN}"]}}
- {name: c, paths: ["{vault://env/PATH}"], methods: [GET], headers: {x-a: [a]}}
- {name: d, paths: ["~/hidden/.*"], methods: [GET], headers: {x-b: [b]}}
- {name: e, paths: ["{vault://env/PATH}"], methods: [GET], headers: {x-b: [b]}}
`), config.Options{Getenv: vault, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	require.NoError(t, err)
	require.NotEmpty(t, s.Warnings)
	for _, w := range s.Warnings {
		require.NotContains(t, w, "hidden")
	}
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	require.NoError(t, gw.Shutdown(t.Context()))
	require.Contains(t, logs.String(), "cannot be told apart")
	require.NotContains(t, logs.String(), "hidden-token", "the value of a header field")
}

// TestSecretsInEchoes: an echo shows the route as the file has it.
func TestSecretsInEchoes(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader(`
_format_version: "3.0"
routes:
- name: a
  paths: [/, "{vault://env/PATH}"]
  headers: {x-token: [known, "{vault://env/TOKEN}"]}
  tags: ["{vault://env/HOST}"]
  plugins: [{name: request-termination, config: {echo: true, status_code: 200}}]
`), config.Options{Getenv: vault})
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	res := ask(gw, http.MethodGet, "/", "X-Token", "known")
	require.Equal(t, 200, res.StatusCode)
	got := text(t, res)
	require.NotContains(t, got, "hidden")
	require.Contains(t, got, `"headers":{"x-token":["known","{vault://env/TOKEN}"]}`)
	require.Equal(t, 404, ask(gw, http.MethodGet, "/", "X-Token", "{vault://env/TOKEN}").StatusCode)
}
