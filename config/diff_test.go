package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/policy"
)

// secretive is a plugin with credentials in its configuration.
type secretive struct {
	Password string            `kong:"password,secret"`
	Redis    *secretiveRedis   `kong:"redis"`
	Servers  []secretiveRedis  `kong:"servers"`
	Headers  map[string]string `kong:"headers"`
	Port     int               `kong:"port,default=1"`
	On       bool              `kong:"on"`
}

type secretiveRedis struct {
	Host     string `kong:"host"`
	Password string `kong:"password,secret"`
}

// transparent does nothing.
type transparent struct{}

func (transparent) Wrap(next http.Handler) http.Handler { return next }
func (transparent) Name() string                        { return "transparent" }
func (transparent) Contract() policy.Contract           { return policy.Contract{} }

func (*secretive) Build(*config.Env) (policy.Plugin, error) { return transparent{}, nil }

func diffSnapshot(t *testing.T, file string, env ...string) *config.Snapshot {
	t.Helper()
	r := config.Builtin()
	r.Add(config.PluginType{Name: "secretive", Priority: 1, New: func() config.Schema { return &secretive{} }})
	values := map[string]string{}
	for i := 0; i < len(env); i += 2 {
		values[env[i]] = env[i+1]
	}
	const version = `_format_version: "3.0"`
	if rest, flow := strings.CutPrefix(file, "{"); flow {
		file = "{" + version + ", " + rest
	} else {
		file = version + "\n" + file
	}
	s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{
		Registry: r, Getenv: func(name string) (string, bool) { v, ok := values[name]; return v, ok },
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// pemPair makes a certificate and its key.
func pemPair() (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", private)
}

func TestDiff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		about, before, after string
		want                 string
	}{
		{"nothing", ``, ``, "no difference\n"},
		{
			"service",
			`services: [{name: a, url: "http://a:80/x"}, {name: b, host: b}]`,
			`services: [{name: a, url: "https://a/x", connect_timeout: 5}, {name: c, host: c, tags: [t]}]`,
			"~ service a\n    connect_timeout: 60000 → 5\n    port: 80 → 443\n    protocol: \"http\" → \"https\"\n" +
				"- service b\n+ service c\n    host: \"c\"\n    name: \"c\"\n    tags: [\"t\"]\n",
		},
		{
			"route",
			`{services: [{name: a, host: a}, {name: b, host: b}], routes: [{name: r, service: a, paths: [/a]}, {name: old, methods: [GET]}]}`,
			`{services: [{name: a, host: a}, {name: b, host: b}], routes: [{name: r, service: b, paths: [/a, /b], headers: {x: [y]}, strip_path: false}, {name: new, hosts: [h.x]}]}`,
			"+ route new\n    hosts: [\"h.x\"]\n    name: \"new\"\n- route old\n" +
				"~ route r\n    headers: none → {\"x\":[\"y\"]}\n    paths: [\"/a\"] → [\"/a\",\"/b\"]\n    service: \"a\" → \"b\"\n    strip_path: true → false\n",
		},
		{
			"upstream and target",
			`upstreams: [{name: u, slots: 100, targets: [{target: "a:1"}, {target: "b:1"}]}, {name: v, targets: [{target: "a:1"}]}]`,
			`{upstreams: [{name: u, host_header: h.x}, {name: w, targets: [{target: "a:1"}]}], targets: [{target: "a:1", upstream: u, weight: 5}]}`,
			"~ upstream u\n    host_header: none → \"h.x\"\n    slots: 100 → 10000\n- upstream v\n+ upstream w\n    name: \"w\"\n" +
				"~ target a:1 of u\n    weight: 100 → 5\n- target a:1 of v\n+ target a:1 of w\n    target: \"a:1\"\n- target b:1 of u\n",
		},
		{
			"consumer and acl",
			`consumers: [{username: ann, acls: [{group: staff}, {group: dev}]}, {custom_id: "7"}]`,
			`consumers: [{username: ann, custom_id: x, acls: [{group: staff, tags: [t]}, {group: ops}]}, {username: bob}]`,
			"- consumer 7\n~ consumer ann\n    custom_id: none → \"x\"\n+ consumer bob\n    username: \"bob\"\n" +
				"- acl dev of ann\n+ acl ops of ann\n    group: \"ops\"\n~ acl staff of ann\n    tags: none → [\"t\"]\n",
		},
		{
			"consumer group",
			`{consumers: [{username: ann}, {username: bob, groups: [gold]}], consumer_groups: [{name: gold, plugins: [{name: rate-limiting, config: {day: 1}}]}]}`,
			`{consumers: [{username: ann, groups: [gold]}, {username: bob}], consumer_groups: [{name: gold, consumers: [bob], plugins: [{name: rate-limiting, config: {day: 2}}]}, {name: new}]}`,
			"~ consumer ann\n    groups: none → [\"gold\"]\n+ consumer_group new\n    name: \"new\"\n" +
				"~ plugin rate-limiting at consumer_group gold\n    config.day: 1 → 2\n",
		},
		{
			"plugin at each scope",
			`{services: [{name: s, host: s, routes: [{name: r, paths: [/]}]}], consumers: [{username: ann}], plugins: [
				{name: correlation-id}, {name: rate-limiting, config: {minute: 5}},
				{name: rate-limiting, service: s, config: {minute: 5}}, {name: rate-limiting, route: r, consumer: ann, config: {hour: 5}}]}`,
			`{services: [{name: s, host: s, routes: [{name: r, paths: [/]}]}], consumers: [{username: ann}], plugins: [
				{name: correlation-id, config: {generator: uuid}}, {name: rate-limiting, enabled: false, config: {minute: 5}},
				{name: rate-limiting, route: r, config: {minute: 5}}, {name: rate-limiting, route: r, consumer: ann, config: {hour: 5, day: 9}}]}`,
			"~ plugin correlation-id\n    config.generator: \"uuid#counter\" → \"uuid\"\n" +
				"~ plugin rate-limiting\n    enabled: true → false\n" +
				"+ plugin rate-limiting at route r\n    config.minute: 5\n    name: \"rate-limiting\"\n" +
				"~ plugin rate-limiting at route r, consumer ann\n    config.day: none → 9\n" +
				"- plugin rate-limiting at service s\n",
		},
		{"defaults written out", `services: [{name: a, host: a}]`, `services: [{name: a, host: a, port: 80, retries: 5, enabled: true, updated_at: 7}]`, "no difference\n"},
		{
			"nested or flat",
			`{services: [{name: a, host: a, routes: [{name: r, paths: [/], plugins: [{name: key-auth}]}]}], consumers: [{username: ann, keyauth_credentials: [{key: k}]}]}`,
			`{services: [{name: a, url: "http://a"}], routes: [{name: r, paths: [/], service: {name: a}}], plugins: [{name: key-auth, route: r}], keyauth_credentials: [{key: k, consumer: ann}], consumers: [{username: ann}]}`,
			"no difference\n",
		},
		{
			"without names, in another order",
			`{services: [{host: a, routes: [{paths: [/a]}, {paths: [/b]}]}, {host: b, routes: [{paths: [/c]}]}], consumers: [{username: ann, keyauth_credentials: [{key: k1}, {key: k2}]}]}`,
			`{consumers: [{username: ann, keyauth_credentials: [{key: k2}, {key: k1}]}], services: [{host: b, routes: [{paths: [/c]}]}, {host: a, routes: [{paths: [/b]}, {paths: [/a]}]}]}`,
			"no difference\n",
		},
		{
			"the only one without a name",
			`services: [{name: a, host: a, routes: [{paths: [/a]}]}]`,
			`services: [{name: a, host: a, routes: [{paths: [/b]}]}]`,
			"~ route /b of a\n    paths: [\"/a\"] → [\"/b\"]\n",
		},
		{
			"renamed, by content: what belongs to it is the same",
			`{services: [{name: a, host: h, routes: [{name: r, paths: [/]}], plugins: [{name: key-auth}]}]}`,
			`{services: [{name: b, host: h, routes: [{name: r, paths: [/]}], plugins: [{name: key-auth}]}]}`,
			"~ service b\n    name: \"a\" → \"b\"\n",
		},
		{
			"renamed, by id",
			`consumers: [{id: 6f5d3f1e-0000-4000-8000-000000000001, username: ann, keyauth_credentials: [{key: k}], acls: [{group: g}]}]`,
			`consumers: [{id: 6f5d3f1e-0000-4000-8000-000000000001, username: anne, keyauth_credentials: [{key: k}], acls: [{group: g}]}]`,
			"~ consumer anne\n    username: \"ann\" → \"anne\"\n",
		},
		{
			"not renamed: there are two that it might be",
			`services: [{name: a, host: h}]`, `services: [{name: b, host: h}, {name: c, host: h}]`,
			"- service a\n+ service b\n    host: \"h\"\n    name: \"b\"\n+ service c\n    host: \"h\"\n    name: \"c\"\n",
		},
		{
			"control characters stay away from the terminal",
			`services: [{name: "a\e[2J", host: h}]`, `services: [{name: "a\e[2J", host: "h", tags: ["\e[2J"]}]`,
			"~ service \"a\\x1b[2J\"\n    tags: none → [\"\\u001b[2J\"]\n",
		},
		{
			"long values are shortened",
			`services: [{name: a, host: h}]`, `services: [{name: a, host: h, tags: ["` + strings.Repeat("ä", 300) + `"]}]`,
			"~ service a\n    tags: none → [\"" + strings.Repeat("ä", 99) + "… (604 bytes)\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			before, after := diffSnapshot(t, tt.before), diffSnapshot(t, tt.after)
			require.Equal(t, tt.want, config.Diff(before, after).String())
			require.Empty(t, config.Diff(before, before))
			require.Empty(t, config.Diff(after, diffSnapshot(t, tt.after)))
			there, back := config.Diff(before, after), config.Diff(after, before)
			require.Len(t, back, len(there), "the way back has as many changes")
		})
	}
}

// No secret is in what a diff says, nor in what a snapshot keeps for it.
func TestDiffSecrets(t *testing.T) {
	t.Parallel()
	cert1, key1 := pemPair()
	cert2, key2 := pemPair()
	file := func(s, cert, key, path string) string {
		return fmt.Sprintf(`
consumers:
  - username: ann
    keyauth_credentials: [{id: k1, key: hush-a-%[1]s}]
  - username: bob
    keyauth_credentials: [{key: hush-b-%[1]s}]
  - username: cid
    keyauth_credentials: [{key: "{vault://env/KEY}"}]
certificates:
  - snis: [{name: a.x}]
    cert: %[2]q
    key: %[3]q
services:
  - name: vault
    url: "{vault://env/URL}"
  - name: path
    host: h
    path: %[4]q
plugins:
  - name: secretive
    config:
      password: hush-p-%[1]s
      redis: {host: h, password: hush-r-%[1]s}
      servers: [{password: hush-s-%[1]s}]
      headers: {a: "{vault://env/HEADER}"}
      port: "{vault://env/PORT}"
      "on": "{vault://env/ON}"
`, s, cert, key, path)
	}
	before := diffSnapshot(t, file("one", cert1, key1, "/hush-was-written-out"),
		"KEY", "hush-v1", "URL", "http://hush-u1", "HEADER", "hush-h1", "PORT", "4711", "ON", "true", "PATH", "/hush-path")
	after := diffSnapshot(t, file("two", cert2, key2, "{vault://env/PATH}"),
		"KEY", "hush-v2", "URL", "http://hush-u2", "HEADER", "hush-h2", "PORT", "4712", "ON", "false", "PATH", "/hush-path")
	changes := config.Diff(before, after)
	require.Equal(t, `~ service path
    path: changed
~ service vault
    url: changed
~ keyauth_credential k1 of ann
    key: changed
~ keyauth_credential of bob
    key: changed
~ keyauth_credential of cid
    key: changed
~ certificate a.x
    cert: changed
    key: changed
~ plugin secretive
    config.headers: changed
    config.on: changed
    config.password: changed
    config.port: changed
    config.redis: changed
    config.servers: changed
`, strings.Replace(changes.String(), certLine(changes), "cert: changed", 1))

	added := config.Diff(nil, after)
	require.Contains(t, added.String(), "+ keyauth_credential of bob\n    key: set\n")
	require.Contains(t, added.String(), `config.headers: {"a":"{vault://env/HEADER}"}`)
	removed := config.Diff(after, nil)
	require.Len(t, removed, len(added))
	for _, c := range []config.Changes{changes, added, removed} {
		data, err := json.Marshal(c)
		require.NoError(t, err)
		for _, secret := range []string{"hush", "4711", "4712", "PRIVATE"} {
			require.NotContains(t, string(data), secret)
			require.NotContains(t, c.String(), secret)
			require.NotContains(t, fmt.Sprintf("%#v", c), secret)
		}
	}
	require.Empty(t, config.Diff(before, diffSnapshot(t, file("one", cert1, key1, "/hush-was-written-out"),
		"KEY", "hush-v1", "URL", "http://hush-u1", "HEADER", "hush-h1", "PORT", "4711", "ON", "true")))
}

// certLine is the line about the public part of a certificate, which is shown, shortened.
func certLine(c config.Changes) string {
	for line := range strings.Lines(c.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "cert: ") {
			return line
		}
	}
	return "no such line"
}

func TestDiffReference(t *testing.T) {
	t.Parallel()
	file := func(name string) string { return `services: [{name: a, host: "{vault://env/` + name + `}"}]` }
	before, after := diffSnapshot(t, file("A"), "A", "one.x"), diffSnapshot(t, file("B"), "B", "two.x")
	require.Equal(t, "~ service a\n    host: \"{vault://env/A}\" → \"{vault://env/B}\"\n", config.Diff(before, after).String())
}

// What comes from the environment is shown nowhere, also where it is a name.
func TestDiffNamesFromEnvironment(t *testing.T) {
	t.Parallel()
	const hush = "hush.x"
	s := diffSnapshot(t, `{
		services: [{name: "{vault://env/A}", host: h}, {host: "{vault://env/B}"}, {url: "{vault://env/URL}", routes: [{paths: ["{vault://env/PATH}"], hosts: ["{vault://env/A}"]}]}],
		routes: [{name: "{vault://env/A}", paths: ["/", "{vault://env/PATH}"], service: "{vault://env/A}"}],
		upstreams: [{name: "{vault://env/A}", targets: [{target: "{vault://env/A}"}]}],
		consumers: [{username: "{vault://env/A}", groups: ["{vault://env/A}"], acls: [{group: "{vault://env/A}"}], keyauth_credentials: [{key: "{vault://env/A}"}],
			plugins: [{name: rate-limiting, config: {minute: 5}}]}, {custom_id: "{vault://env/A}"}],
		consumer_groups: [{name: "{vault://env/A}"}],
		plugins: [{name: key-auth, service: "{vault://env/A}"}]}`, "A", hush, "B", "other-hush.x", "URL", "http://hush.y", "PATH", "/hush")
	changes := config.Diff(nil, s)
	require.NotContains(t, changes.String(), "hush")
	require.Contains(t, changes.String(), "+ target {vault://env/A} of {vault://env/A}\n")
	data, err := json.Marshal(changes)
	require.NoError(t, err)
	require.NotContains(t, string(data), "hush")
}

func TestDiffFile(t *testing.T) {
	t.Parallel()
	load := func(version string) *config.Snapshot {
		s, err := config.Load("kong.yml", strings.NewReader(`{"_format_version": "`+version+`", "services": [{"name": "a", "host": "a"}]}`), config.Options{})
		require.NoError(t, err)
		return s
	}
	require.Equal(t, "~ file\n    _format_version: \"2.1\" → \"3.0\"\n", config.Diff(load("2.1"), load("3.0")).String())
	require.Empty(t, config.Diff(nil, nil))
	require.NotEmpty(t, config.Diff(nil, load("3.0")))
}

// What is left out changes nothing, and so is no change.
func TestDiffUnsupported(t *testing.T) {
	t.Parallel()
	load := func(rest string) *config.Snapshot {
		s, err := config.Load("kong.yml", strings.NewReader(`{_format_version: "3.0", `+rest+`}`), config.Options{AllowUnsupported: true})
		require.NoError(t, err)
		return s
	}
	require.Empty(t, config.Diff(load(`routes: [{name: a, paths: [/a]}]`),
		load(`routes: [{name: a, paths: [/a], priority: 3}], plugins: [{name: prometheus}], vaults: [{name: env, prefix: p}]`)))
}

func TestDiffJSON(t *testing.T) {
	t.Parallel()
	changes := config.Diff(
		diffSnapshot(t, `services: [{name: a, host: a}, {name: b, host: b}]`),
		diffSnapshot(t, `services: [{name: a, host: a, retries: 0}]`))
	data, err := json.Marshal(changes)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"action": "changed", "kind": "service", "name": "a", "fields": [{"field": "retries", "old": 5, "new": 0}]},
		{"action": "removed", "kind": "service", "name": "b"}
	]`, string(data))
}

func BenchmarkDiff(b *testing.B) {
	var file strings.Builder
	file.WriteString("_format_version: \"3.0\"\nservices:\n")
	for i := range 10_000 {
		fmt.Fprintf(&file, "- {name: s%[1]d, host: h%[1]d, routes: [{name: r%[1]d, paths: [/%[1]d], plugins: [{name: rate-limiting, config: {minute: 5}}]}]}\n", i)
	}
	load := func(text string) *config.Snapshot {
		s, err := config.Load("kong.yml", strings.NewReader(text), config.Options{})
		require.NoError(b, err)
		return s
	}
	before, after := load(file.String()), load(strings.Replace(file.String(), "minute: 5", "minute: 6", 1))
	b.ReportAllocs()
	for b.Loop() {
		require.Len(b, config.Diff(before, after), 1)
	}
}
