package config_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// lines are the problems of a file, one a line.
func lines(t *testing.T, file string, o config.Options) []string {
	t.Helper()
	s, err := config.Load("kong.yml", strings.NewReader(file), o)
	require.Error(t, err)
	require.Nil(t, s)
	return strings.Split(err.Error(), "\n")
}

// TestProblems: all of them at once, each with its place, what was found, what is allowed, and the nearest name.
func TestProblems(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		`kong.yml:4:3: services[0].urll: unknown field "urll"; did you mean "url"?`,
		`kong.yml:5:9: services[0].port: found 99999: is out of range; use 0 to 65535`,
		`kong.yml:6:13: services[0].protocol: found "htp": is not a value of this field; did you mean "http"? use one of http, https, grpc, grpcs, tcp, tls, udp, tls_passthrough, ws, wss`,
		`kong.yml:9:14: services[0].routes[0].methods: found "GET": expected a list; write [ … ]`,
		`kong.yml:11:13: services[0].routes[0].plugins[0].name: found "key-auht": is no plugin; did you mean "key-auth"?`,
		`kong.yml:12:13: services[0].routes[0].plugins[1].name: found "jwt": is not supported, and is never left out because it guards what is behind it; remove it from the file`,
		`kong.yml:13:13: services[0].routes[0].plugins[2].name: found "zipkin": plugin zipkin is not supported; remove it, or have it left out with AllowUnsupported (-allow-unsupported)`,
		`kong.yml:15:48: services[0].routes[0].plugins[3].config.hour: the limit for hour (2) cannot be lower than the limit for minute (5)`,
		`kong.yml:17:22: routes[0].service: found "servicea": there is no service of that name or id; did you mean "service-a"?`,
		`kong.yml:20:31: consumers[0].keyauth_credentials[0].key: expected a string; put it into quotes`,
	}, lines(t, `_format_version: "3.0"
services:
- name: service-a
  urll: http://x
  port: 99999
  protocol: htp
  routes:
  - paths: [/x]
    methods: GET
    plugins:
    - name: key-auht
    - name: jwt
    - name: zipkin
    - name: rate-limiting
      config: {minute: 5, policy: local, hour: 2}
routes:
- {name: r, service: servicea, paths: [/]}
consumers:
- username: ann
  keyauth_credentials: [{key: 123}]
`, config.Options{}))
}

// TestBadFiles: each is refused with a message that says why and where.
// TestProblemsOfAllStages: what is wrong in what the file says is found beside what is wrong in how it says it, each at the
// value that is meant, in the words of the file; and nothing that only follows from another problem.
func TestProblemsOfAllStages(t *testing.T) {
	t.Parallel()
	got := lines(t, `_format_version: "3.0"
services:
- name: a
  url: http://a.internal:99999/x
  retries: many
  routes:
  - {name: r1, paths: ["~/(", "/ok", "foo"], hosts: ["a b", "*"], methods: [get, "A B"], headers: {"x y": [z]}}
  - {name: r2, paths: ["/x/../y"], snis: ["1.2.3.4"], headers: {x-a: ["~*("]}}
- name: b
  host: b.internal
  path: /x/../y
  bogus: 1
  routes: [{name: r3, paths: [/b], plugins: [{name: key-auth, config: {key_names: ["a b", content-length], realm: "a\"\n"}}, {name: acl, config: {allow: ["a,b", " c"]}}]}]
  plugins:
  - {name: rate-limiting, config: {minute: 1, limit_by: header, header_name: "a b"}}
  - {name: request-termination, config: {status_code: 150, trigger: "a b"}}
upstreams:
- {name: u, algorithm: least-connections, hash_on: header, hash_fallback: cookie, hash_on_cookie: "a b", targets: [{target: "a:b:c"}]}
consumers:
- {username: ann, acls: [{group: "a,b"}], keyauth_credentials: [{key: "has space"}]}
plugins:
- {name: jwt}
- {name: prometheus}
- {name: request-termination, config: {status_code: 302}}
`, config.Options{})
	want := []string{
		`services[0].url: found "http://a.internal:99999/x": the port is not one of 0 to 65535`,
		`services[0].retries: found "many": expected an integer`,
		`services[0].routes[0].paths[0]: found "~/(": is not a regular expression`,
		`services[0].routes[0].paths[2]: found "foo": should start with: /`,
		`services[0].routes[0].hosts[0]: found "a b": has a character no host name has`,
		`services[0].routes[0].hosts[1]: found "*": is a star alone; leave hosts empty`,
		`services[0].routes[0].methods[0]: found "get": is not the method GET`,
		`services[0].routes[0].methods[1]: found "A B": is not a method`,
		`services[0].routes[0].headers["x y"]: is not a header name`,
		`services[0].routes[1].paths[0]: found "/x/../y": has dot segments or repeated slashes, which no request has when it is matched; write "/y"`,
		`services[0].routes[1].snis[0]: found "1.2.3.4": is an address`,
		`services[0].routes[1].headers.x-a[0]: found "~*(": is not a regular expression`,
		`services[1].path: found "/x/../y": is not a canonical path`,
		`services[1].bogus: unknown field "bogus"`,
		`services[1].routes[0].plugins[0].config.key_names[0]: found "a b": is not a header name`,
		`services[1].routes[0].plugins[0].config.key_names[1]: found "content-length": is a header field of the message itself`,
		`services[1].routes[0].plugins[0].config.realm: found "a\"\n": `,
		`services[1].routes[0].plugins[1].config.allow[1]: found " c": has white space at an end`,
		`services[1].plugins[0].config.header_name: "a b" is not a header name`,
		`services[1].plugins[1].config.status_code: 150 is informational`,
		`services[1].plugins[1].config.trigger: found "a b": is not a header name`,
		`upstreams[0].hash_on: found "header": header needs hash_on_header`,
		`upstreams[0].hash_on_cookie: found "a b": is not the name of a cookie`,
		`upstreams[0].targets[0].target: found "a:b:c": is no host, or host and port`,
		`consumers[0]: policy: Consumer.Groups[0] "a,b" has a comma`,
		`consumers[0].keyauth_credentials[0]: auth: key 0 of consumer`,
		`plugins[0].name: found "jwt": is not supported, and is never left out`,
		`plugins[1].name: found "prometheus": plugin prometheus is not supported`,
		`plugins[2].config.status_code: 302 is a redirect`,
	}
	require.Len(t, got, len(want), strings.Join(got, "\n"))
	for i, line := range got {
		require.Contains(t, line, ": "+want[i])
	}

	secret := func(string) (string, bool) { return "s3 cret(", true }
	got = lines(t, `_format_version: "3.0"
services: [{name: s, url: http://s.internal, routes: [{name: r, paths: [/], hosts: ["{vault://env/x}"]}, {name: q, paths: ["{vault://env/x}"]}]}]
plugins: [{name: key-auth, config: {key_names: ["{vault://env/x}"]}}, {name: rate-limiting, config: {minute: 1, limit_by: header, header_name: "{vault://env/x}"}}]
consumers: [{username: a, keyauth_credentials: [{key: "{vault://env/x}"}]}]
`, config.Options{Getenv: secret})
	require.Len(t, got, 5, strings.Join(got, "\n"))
	require.NotContains(t, strings.Join(got, "\n"), "cret")
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	const head = "_format_version: \"3.0\"\n"
	bomb := head + "_comment: &a0 [a, b, c, d, e, f, g, h, i]\n"
	nested := head + "_ignore:\n- &a0 [a, b, c, d, e, f, g, h, i]\n"
	for i := 1; i < 12; i++ {
		nested += fmt.Sprintf("- &a%d [%s*a%d]\n", i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 8), i-1)
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"empty":              {"", []string{"kong.yml:1:1: the file is empty; it needs at least _format_version"}},
		"comments":           {"# nothing\n", []string{"the file is empty"}},
		"null":               {"null\n", []string{"found null: expected a map"}},
		"a list":             {"[]\n", []string{"kong.yml:1:1: found a list: expected a map"}},
		"a word":             {"hello\n", []string{`kong.yml:1:1: found "hello": expected a map`}},
		"no version":         {"services: []\n", []string{`required field "_format_version" is missing`}},
		"unknown version":    {"_format_version: \"9.9\"\n", []string{`kong.yml:1:18: _format_version: found "9.9"`, "use one of 1.1, 2.1, 3.0"}},
		"version a number":   {"_format_version: 3.0\n", []string{"kong.yml:1:18: _format_version: found 3.0: expected a string; put it into quotes"}},
		"broken YAML":        {head + "services: [\n", []string{"kong.yml:2:1: "}},
		"broken JSON":        {`{"_format_version": "3.0", "services": [}`, []string{"kong.yml:1:1: "}},
		"tabs":               {head + "services:\n\t- name: x\n", []string{"kong.yml:3:1: ", "cannot start any token"}},
		"two documents":      {head + "---\n" + head, []string{"kong.yml:2:1: the file has more than one document"}},
		"not UTF-8":          {head + "_comment: \xff\xfe\n", []string{"kong.yml:", "UTF-8"}},
		"control characters": {head + "_comment: \x01\n", []string{"kong.yml:", "control characters"}},
		"unknown anchor":     {head + "services: *none\n", []string{"kong.yml:2:1: unknown anchor 'none' referenced"}},
		"duplicate key":      {head + "services: []\nservices: []\n", []string{"kong.yml:3:1: services: found services: the key is there already, on line 2; leave one out"}},
		"complex key":        {head + "? [a]\n: b\n", []string{"a key that is not a string"}},
		"own field":          {head + "_plugin_configs: {}\n", []string{`_plugin_configs: unknown field "_plugin_configs"`}},
		"tag":                {head + "services: !include x.yml\n", []string{"kong.yml:2:11: services: found !include: the tag means nothing here"}},
		"untrue tag":         {head + "_transform: !!bool perhaps\n", []string{"kong.yml:2:13: _transform: ", "!!bool"}},
		"large integer":      {head + "services: [{port: 99999999999999999999999}]\n", []string{"services[0].port: found 99999999999999999999999: expected an integer"}},
		"infinite":           {head + "services: [{port: .inf}]\n", []string{"services[0].port: found .inf: is no finite number"}},
		"cycle":              {head + "services: &s [{name: x, host: y, routes: [{paths: [/], plugins: *s}]}]\n", []string{"the alias is inside what it stands for"}},
		"cycle of itself":    {head + "_comment: &s [*s]\n", []string{"kong.yml:2:15: _comment[0][0]: found *s: the alias is inside what it stands for"}},
		"alias bomb":         {nested, []string{"the aliases of the file stand for more than 524288 values"}},
		"wide alias bomb":    {bomb + "services: [" + strings.Repeat("*a0,", 200_000) + "*a0]\n", []string{"the aliases of the file stand for more than 524288 values"}},
		"merge of a word":    {head + "services: [{<<: x, name: y, host: z}]\n", []string{`services[0]["<<"]: found "x": expected a map to merge`}},
		"deep":               {head + "_comment: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "\n", []string{"the file is nested deeper than 64 levels"}},
		"many values":        {head + "_comment: [" + strings.Repeat("a,", 1<<21) + "]\n", []string{"kong.yml:1:1: the file has more than 1048576 names, values and lines"}},
		"very deep":          {head + "_comment: " + strings.Repeat("[", 100_000), []string{"kong.yml:"}},
		"deep maps":          {head + "_comment: " + strings.Repeat("{a: ", 200) + "1" + strings.Repeat("}", 200) + "\n", []string{"the file is nested deeper than 64 levels"}},

		"service twice":      {head + "services: [{name: a, host: x}, {name: a, host: y}]\n", []string{`kong.yml:2:32: services[1]: another service is called "a", too`}},
		"id twice":           {head + "services: [{id: a, host: x}, {id: a, host: y}]\n", []string{`services[1]: another service is called "a", too`}},
		"nested route twice": {head + "routes: [{name: a, paths: [/]}]\nservices: [{name: s, host: x, routes: [{name: a, paths: [/x]}]}]\n", []string{`services[0].routes[0]: another route is called "a", too`}},
		"consumer twice":     {head + "consumers: [{username: a}, {username: a}]\n", []string{`consumers[1]: another consumer is called "a", too`}},
		"custom_id twice":    {head + "consumers: [{username: a, custom_id: x}, {username: b, custom_id: x}]\n", []string{`consumers[1]: another consumer, on line 2, has the custom_id "x", too`}},
		"key twice":          {head + "consumers:\n- {username: a, keyauth_credentials: [{key: s3cret}]}\n- {username: b, keyauth_credentials: [{key: s3cret}]}\n", []string{"kong.yml:4:39: consumers[1].keyauth_credentials[0]: another credential, on line 3, has the same key"}},
		"upstream twice":     {head + "upstreams: [{name: a}, {name: a}]\n", []string{`upstreams[1]: another upstream is called "a", too`}},
		"plugin twice":       {head + "plugins:\n- name: key-auth\n- name: key-auth\n", []string{`kong.yml:4:3: plugins[1]: plugin "key-auth" is there already at this scope, on line 3`}},
		"group twice":        {head + "consumer_groups: [{name: a}, {name: a}]\n", []string{`consumer_groups[1]: another consumer group is called "a", too`}},

		"dangling service":           {head + "routes: [{name: r, paths: [/], service: {name: xy}}]\n", []string{`kong.yml:2:48: routes[0].service.name: found "xy": there is no service of that name or id; write one into the file`}},
		"dangling route":             {head + "plugins: [{name: key-auth, route: x}]\n", []string{`plugins[0].route: found "x": there is no route`}},
		"dangling consumer":          {head + "keyauth_credentials: [{key: k, consumer: x}]\n", []string{`keyauth_credentials[0].consumer: found "x": there is no consumer`}},
		"credential of nobody":       {head + "keyauth_credentials: [{key: k}]\nacls: [{group: g}]\n", []string{"keyauth_credentials[0]: the credential belongs to nobody", "acls[0]: the group belongs to nobody"}},
		"dangling upstream":          {head + "targets: [{target: x, upstream: x}]\n", []string{`targets[0].upstream: found "x": there is no upstream`}},
		"target of none":             {head + "targets: [{target: x}]\n", []string{"targets[0]: the target belongs to no upstream"}},
		"dangling certificate":       {head + "snis: [{name: x, certificate: y}, {name: z}]\n", []string{`snis[0].certificate: found "y": there is no certificate`, "snis[1]: the SNI has no certificate"}},
		"dangling group":             {head + "consumers: [{username: a, groups: [{name: g}]}]\n", []string{`consumers[0].groups[0].name: found "g": there is no consumer group`}},
		"plugin of a dangling group": {head + "plugins: [{name: correlation-id, consumer_group: g}]\n", []string{`plugins[0].consumer_group: found "g": there is no consumer group`}},
		"plugin of two": {head + "consumers: [{username: a}]\nconsumer_groups: [{name: g, plugins: [{name: rate-limiting, consumer: a, config: {day: 1}}]}]\n",
			[]string{"consumer_groups[0].plugins[0]: a plugin is for a consumer or for a group of them, not for both"}},
		"plugin of a group twice": {head + "consumer_groups: [{name: g, plugins: [{name: correlation-id}, {name: correlation-id}]}]\n", []string{`plugin "correlation-id" is there already at this scope`}},
		"acl of a group":          {head + "consumer_groups: [{name: g, plugins: [{name: acl, config: {allow: [g]}}]}]\n", []string{`found "acl": cannot be configured for a consumer or a group of them`}},
		"two groups of a name":    {head + "consumer_groups: [{name: g}, {name: g}]\n", []string{`consumer_groups[1]: another consumer group is called "g", too`}},
		"member of nothing": {head + "consumers: [{username: a}]\nconsumer_group_consumers: [{consumer: a}, {consumer: a, consumer_group: g}]\n",
			[]string{"consumer_group_consumers[0]: the entry puts nobody into a group", `consumer_group_consumers[1].consumer_group: found "g"`}},
		"nested elsewhere":     {head + "services: [{name: a, host: x, routes: [{name: r, paths: [/], service: b}]}, {name: b, host: x}]\n", []string{`services[0].routes[0].service: found "b": the entity stands in another service`}},
		"credential elsewhere": {head + "consumers: [{username: a, keyauth_credentials: [{key: k, consumer: b}]}, {username: b}]\n", []string{`consumers[0].keyauth_credentials[0].consumer: found "b": the entity stands in another consumer`}},
		"target elsewhere":     {head + "upstreams: [{name: a, targets: [{target: x, upstream: b}]}, {name: b}]\n", []string{`upstreams[0].targets[0].upstream: found "b"`}},

		"service without host": {head + "services: [{name: a}]\n", []string{"services[0]: a service needs a url or a host"}},
		"url":                  {head + "services: [{name: a, url: nonsense}]\n", []string{`services[0].url: found "nonsense": is not the URL of a service`}},
		"url port":             {head + "services: [{name: a, url: \"http://x:99999\"}]\n", []string{`services[0].url: found "http://x:99999": `}},
		"service path":         {head + "services: [{name: a, host: x, path: y, routes: [{paths: [/]}]}]\n", []string{`services[0].path: found "y": should start with: /`}},
		"stream protocol":      {head + "services: [{name: a, host: x, protocol: tcp}]\n", []string{`services[0].protocol: found "tcp": protocol tcp is not supported`}},
		"route of nothing":     {head + "routes: [{name: a}]\n", []string{"routes[0]: a route needs at least one of methods, hosts, headers, paths and snis"}},
		"path":                 {head + "routes: [{name: a, paths: [/, x]}]\n", []string{`routes[0].paths[1]: found "x": should start with: / (fixed path) or ~/ (regex path)`}},
		"empty segments":       {head + "routes: [{name: a, paths: [//x]}]\n", []string{`routes[0].paths[0]: found "//x": must not have empty segments`}},
		"expression":           {head + "routes: [{name: a, paths: [/, \"~/x(\"]}]\n", []string{`routes[0].paths[1]: found "~/x(": `}},
		"expression, older":    {"_format_version: \"1.1\"\nroutes: [{name: a, paths: [/, /b, \"/x(\"]}]\n", []string{`routes[0].paths[2]: found "/x(": `}},
		"percent":              {head + "routes: [{name: a, paths: [\"~/x\", /a, /a%z]}]\n", []string{`routes[0].paths[2]: found "/a%z": `}},
		"method":               {head + "routes: [{name: a, methods: [GET, get]}]\n", []string{`routes[0].methods[1]: found "get": `}},
		"host as a header":     {head + "routes: [{name: a, paths: [/], headers: {host: [x]}}]\n", []string{"kong.yml:2:48: routes[0].headers.host: "}},
		"empty tag":            {head + "services: [{name: a, host: b, tags: [a, \"\"]}]\n", []string{`services[0].tags[1]: found "": is empty`}},
		"service path, query":  {head + "services: [{name: a, host: b, path: \"/a?b\", routes: [{paths: [/]}]}]\n", []string{`services[0].path: found "/a?b": `}},
		"redirect status":      {head + "routes: [{name: a, paths: [/], protocols: [https], https_redirect_status_code: 400}]\n", []string{"routes[0].https_redirect_status_code: found 400: "}},
		"redirect unused":      {head + "routes: [{name: a, paths: [/], https_redirect_status_code: 400}]\n", []string{"routes[0].https_redirect_status_code: found 400: "}},
		"bad host":             {head + "routes: [{name: a, hosts: [\"a b\"]}]\n", []string{`routes[0].hosts[0]: found "a b": `}},
		"bad target":           {head + "services: [{name: s, host: u, routes: [{paths: [/]}]}]\nupstreams: [{name: u, targets: [{target: \"a b:80\"}]}]\n", []string{"a b"}},
		"algorithm":            {head + "upstreams: [{name: u, algorithm: fastest}]\n", []string{`upstreams[0].algorithm: found "fastest": `}},
		"upstream, address":    {head + "upstreams: [{name: 192.168.0.1}, {name: \"1234\"}, {name: \"::1\"}]\n", []string{`upstreams[0].name: found "192.168.0.1": is no name of a host`, `upstreams[1].name: `, `upstreams[2].name: `}},
		"upstream, port":       {head + "upstreams: [{name: \"myserver:8000\"}, {name: fafa fafa}, {name: a/b}]\n", []string{`upstreams[0].name: found "myserver:8000": is no name of a host`, `upstreams[1].name: `, `upstreams[2].name: `}},
		"target, path":         {head + "upstreams: [{name: u, targets: [{target: \"a/b:8080\"}, {target: \"a:0\"}]}]\n", []string{`upstreams[0].targets[0].target: found "a/b:8080": is no host, or host and port`, `upstreams[0].targets[1].target: `}},
		"host_header":          {head + "upstreams: [{name: u, host_header: \"http://x\"}]\n", []string{`upstreams[0].host_header: found "http://x": is no host, or host and port`}},
		"service host":         {head + "services: [{name: s, host: a..b}, {name: t, host: \"*x\", routes: [{paths: [/]}]}]\n", []string{`services[0].host: found "a..b": is no host`, `services[1].host: found "*x": is no host`}},
		"service port":         {head + "services: [{name: s, host: a, port: 0}]\n", []string{`services[0].port: found 0: is no port to connect to`}},
		"hash input":           {head + "upstreams: [{name: u, hash_on: weather}]\n", []string{`upstreams[0].hash_on: found "weather": `}},
		"hash on what":         {head + "upstreams: [{name: u, hash_on: query_arg, hash_fallback: uri_capture}]\n", []string{`upstreams[0].hash_on: found "query_arg": query_arg needs hash_on_query_arg`, `upstreams[0].hash_fallback: found "uri_capture": uri_capture needs hash_fallback_uri_capture`}},
		"hash on a cookie":     {head + "upstreams: [{name: u, hash_on: cookie}]\n", []string{`upstreams[0].hash_on: found "cookie": cookie needs hash_on_cookie`}},
		"hash on nothing":      {head + "upstreams: [{name: u, hash_fallback: ip}]\n", []string{`upstreams[0].hash_fallback: found "ip": has no hash_on to stand in for`}},
		"hash twice":           {head + "upstreams: [{name: u, hash_on: ip, hash_fallback: ip}]\n", []string{`upstreams[0].hash_fallback: found "ip": is the same as hash_on`}},
		"hash header twice":    {head + "upstreams: [{name: u, hash_on: header, hash_on_header: x-a, hash_fallback: header, hash_fallback_header: X-A}]\n", []string{`upstreams[0].hash_fallback: found "header": is the same as hash_on`}},
		"cookie and fallback":  {head + "upstreams: [{name: u, hash_on: cookie, hash_on_cookie: c, hash_fallback: ip}]\n", []string{`upstreams[0].hash_fallback: found "ip": never comes: who has no cookie gets one`}},
		"cookie of a host":     {head + "upstreams: [{name: u, hash_on: cookie, hash_on_cookie: __Host-c, hash_on_cookie_path: /a}]\n", []string{`upstreams[0].hash_on_cookie_path: found "/a": must be / for the cookie __Host-c`}},
		"cookie path":          {head + "upstreams: [{name: u, hash_on_cookie_path: app}, {name: v, hash_on_cookie_path: /a;b}]\n", []string{`upstreams[0].hash_on_cookie_path: found "app": should start with: /`, `upstreams[1].hash_on_cookie_path: found "/a;b": has a character`}},
		"nobody":               {head + "consumers: [{tags: [x]}]\n", []string{"consumers[0]: a consumer needs a username or a custom_id"}},
		"certificate":          {head + "certificates: [{cert: x, key: s3cret, snis: [{name: a}]}]\n", []string{"certificates[0]: certificate and key do not make a pair"}},
		"anonymous":            {head + "plugins: [{name: key-auth, config: {anonymous: x}}]\n", []string{`plugins[0].config`, `anonymous "x" is no consumer`}},
		"consumer scope":       {head + "consumers: [{username: a, plugins: [{name: key-auth}, {name: acl, config: {allow: [x]}}]}]\n", []string{"consumers[0].plugins[0].name: ", "consumers[0].plugins[1].name: "}},
		"acl of nothing":       {head + "plugins: [{name: acl}]\n", []string{"plugins[0].config: allow or deny is required"}},
		"acl of both":          {head + "plugins: [{name: acl, config: {allow: [a], deny: [b]}}]\n", []string{"plugins[0].config.deny: allow and deny exclude each other"}},
		"limits":               {head + "plugins: [{name: rate-limiting}]\n", []string{"plugins[0].config: at least one of second"}},
		"key nowhere":          {head + "plugins: [{name: key-auth, config: {key_in_header: false, key_in_query: false}}]\n", []string{"plugins[0].config: one of key_in_header"}},
		"field of a plugin":    {head + "plugins: [{name: key-auth, config: {key_name: [x]}}]\n", []string{`plugins[0].config.key_name: unknown field "key_name"; did you mean "key_names"?`}},
		"disabled is read too": {head + "plugins: [{name: key-auth, enabled: false, config: {key_name: [x]}}]\n", []string{`plugins[0].config.key_name: unknown field`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(lines(t, c.file, config.Options{}), "\n")
			for _, want := range c.want {
				require.Contains(t, got, want)
			}
			require.NotContains(t, got, "s3cret")
			require.Less(t, len(got), 1<<20)
		})
	}
}

// TestGoodFiles: what looks odd and is right.
func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"JSON":        `{"_format_version": "3.0", "_transform": false, "services": []}`,
		"BOM":         "\ufeff_format_version: \"3.0\"\n",
		"CRLF":        "_format_version: \"3.0\"\r\nservices: []\r\n",
		"empty lists": `{"_format_version": "2.1", "services": {}, "plugins": [], "upstreams": null}`,
		"comments":    "_format_version: \"1.1\"\n_comment: x\n_ignore: [{name: 7}]\n_info: {select_tags: [a], defaults: {}}\nservices: [{name: a, host: b, _comment: y}]\n",
		"nulls":       "_format_version: \"3.0\"\nservices: [{name: a, host: b, path: null, tags: ~, client_certificate: null, retries: 1e1}]\n",
		"defaults":    "_format_version: \"3.0\"\nupstreams: [{name: a, hash_on: none, use_srv_name: false, healthchecks: {}}]\n",
		"exported": "_format_version: \"3.0\"\nupstreams:\n- name: a\n  healthchecks:\n    threshold: 0\n" +
			"    active: {type: http, timeout: 1, concurrency: 10, http_path: /, healthy: {interval: 0, successes: 0, http_statuses: [200, 302]}, unhealthy: {interval: 0, timeouts: 0}}\n" +
			"    passive: {type: http, healthy: {successes: 0}, unhealthy: {http_failures: 0, tcp_failures: 0, timeouts: 0, http_statuses: [429]}}\n",
		"pairs":          `{"_format_version": "3.0", "_comment": "\\ud83e", "consumers": [{"username": "\ud83e\uDD8D\/"}]}`,
		"exported redis": "_format_version: \"3.0\"\nplugins: [{name: rate-limiting, config: {minute: 1, redis: {host: null, port: 6379, database: 0, timeout: 2000, ssl: false, password: ~}, redis_port: 6379, redis_host: null, redis_ssl: false}}]\n",
		"anchors":        "_format_version: \"3.0\"\n_comment: &t [a, b]\nservices: [{name: a, host: b, tags: *t}, {name: c, host: d, tags: *t}]\n",
		"end":            "_format_version: \"3.0\"\n...\n",
		"disabled":       "_format_version: \"3.0\"\nplugins: [{name: jwt, enabled: false}]\n",
		"large date":     "_format_version: \"3.0\"\nservices: [{name: a, host: b, created_at: 1422386534}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{})
			require.NoError(t, err)
			require.Empty(t, s.Unsupported)
			require.NoError(t, s.Close())
		})
	}
}

// TestMerge: merge keys bring in fields, of which those written in place win, then the first; a problem with one of them has
// the path it was merged into.
func TestMerge(t *testing.T) {
	t.Parallel()
	const file = `_format_version: "3.0"
_comment:
- &limits {minute: 5, policy: local}
- &more {minute: 6, hour: 60}
services:
- name: s
  host: s.internal
  routes: [{name: r, paths: [/r]}, {name: q, paths: [/q]}]
plugins:
- {name: rate-limiting, route: r, config: {<<: [*limits, *more]}}
- {name: rate-limiting, route: q, config: {<<: [*limits, *more], minute: 7}}
`
	gw, _ := serve(t, file)
	res := ask(gw, "GET", "/r")
	require.Equal(t, "5", res.Header.Get("X-Ratelimit-Limit-Minute"))
	require.Equal(t, "60", res.Header.Get("X-Ratelimit-Limit-Hour"))
	require.Equal(t, "7", ask(gw, "GET", "/q").Header.Get("X-Ratelimit-Limit-Minute"))
	require.Equal(t, []string{
		`kong.yml:4:27: plugins[0].config.hour: found "x": expected an integer; use 1 or more`,
		`kong.yml:4:27: plugins[1].config.hour: found "x": expected an integer; use 1 or more`,
	}, lines(t, strings.Replace(file, "hour: 60", "hour: x", 1), config.Options{})[:2])
}

// zeros is a file without end that takes no room.
type zeros struct{ read int64 }

func (z *zeros) Read(p []byte) (int, error) {
	z.read += int64(len(p))
	for i := range p {
		p[i] = '#'
	}
	return len(p), nil
}

// TestSize: a file beyond the bound is read no further than that.
func TestSize(t *testing.T) {
	t.Parallel()
	z := &zeros{}
	_, err := config.Load("kong.yml", io.MultiReader(strings.NewReader("_format_version: \"3.0\"\n"), z), config.Options{MaxBytes: 1 << 20})
	require.EqualError(t, err, "config: kong.yml: the file is larger than 1048576 bytes; see Options.MaxBytes")
	require.LessOrEqual(t, z.read, int64(2<<20))
	file := "_format_version: \"3.0\"\n"
	_, err = config.Load("kong.yml", strings.NewReader(file), config.Options{MaxBytes: int64(len(file))})
	require.NoError(t, err)
	_, err = config.Load("kong.yml", io.MultiReader(strings.NewReader(file), broken{}), config.Options{})
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// TestManyProblems: what is reported is bounded, whatever is wrong.
func TestManyProblems(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 1<<20)
	var b strings.Builder
	b.WriteString("_format_version: \"3.0\"\nservices:\n- host: x\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "  field%d: 1\n", i)
	}
	list := lines(t, b.String(), config.Options{})
	require.Len(t, list, 1001)
	require.Equal(t, "kong.yml: and 99000 more problems", list[1000])
	text := strings.Join(lines(t, "_format_version: \"3.0\"\n"+long+": "+long+"\nservices: [{name: "+long+", host: x}, {name: "+long+", host: x}]\nplugins: [{name: "+long+"}]\n", config.Options{}), "\n")
	require.Less(t, len(text), 20_000)
	// A long name with many values below it has one path for all of them only when they are asked for.
	text = strings.Join(lines(t, "_format_version: \"3.0\"\n"+long+": ["+strings.Repeat("1,", 100_000)+"1]\n", config.Options{}), "\n")
	require.Less(t, len(text), 5_000)
}

// TestUnsupported: what is left out is listed, and what guards is never left out.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	const file = `_format_version: "3.0"
services: [{name: s, host: s.internal, routes: [{name: r, priority: 2, paths: [/r]}]}]
upstreams: [{name: u, use_srv_name: true}]
vaults: [{name: env, prefix: x}]
plugins:
- name: zipkin
- {name: rate-limiting, config: {minute: 5, redis: {host: x}}}
`
	require.Len(t, lines(t, file, config.Options{}), 5)
	s, err := config.Load("kong.yml", strings.NewReader(file), config.Options{AllowUnsupported: true})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"kong.yml:2:69: services[0].routes[0].priority: priority",
		"kong.yml:3:37: upstreams[0].use_srv_name: use_srv_name",
		"kong.yml:4:9: vaults: vaults",
		"kong.yml:6:9: plugins[0].name: plugin zipkin",
		"kong.yml:7:52: plugins[1].config.redis: redis",
	}, s.Unsupported)
	require.NoError(t, s.Close())
	for _, name := range []string{"jwt", "basic-auth", "ip-restriction", "cors", "pre-function"} {
		text := strings.Join(lines(t, "_format_version: \"3.0\"\nplugins: [{name: "+name+"}]\n", config.Options{AllowUnsupported: true}), "\n")
		require.Contains(t, text, "never left out")
	}
}

// TestSecretsAreGone: of keys a snapshot keeps digests and nothing else, and neither does it keep the file.
func TestSecretsAreGone(t *testing.T) {
	t.Parallel()
	s, err := config.Load("kong.yml", strings.NewReader(strings.ReplaceAll(basic, "ann-key", "s3cret-key")), config.Options{Dial: nowhere})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	seen := map[uintptr]bool{}
	strs := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			strs++
			require.NotContains(t, v.String(), "s3cret")
			require.NotContains(t, v.String(), "bob-key")
		case reflect.Pointer:
			if !v.IsNil() && !seen[v.Pointer()] {
				seen[v.Pointer()] = true
				walk(v.Elem())
			}
		case reflect.Interface:
			walk(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(k)
				walk(v.MapIndex(k))
			}
		}
	}
	walk(reflect.ValueOf(s))
	require.Greater(t, strs, 50)
}

// TestWithoutEffect: what is read and does nothing is said, and nothing passes for a default that has another type.
func TestWithoutEffect(t *testing.T) {
	t.Parallel()
	load := func(text string) (*config.Snapshot, error) {
		s, err := config.Load("kong.yml", strings.NewReader("_format_version: '3.0'\n"+text), config.Options{})
		if err == nil {
			t.Cleanup(func() { require.NoError(t, s.Close()) })
		}
		return s, err
	}
	s, err := load("services:\n- {name: a, url: 'http://a.test', retries: 3, write_timeout: 5, routes: [{name: a, paths: [/a]}]}\n" +
		"- {name: b, url: 'http://b.test', retries: 0, routes: [{name: b, paths: [/b]}]}\n")
	require.NoError(t, err)
	require.Equal(t, []string{
		"kong.yml:3:62: write_timeout is not looked at; a target that takes nothing is given up after read_timeout",
	}, s.Warnings)
	for text, want := range map[string]string{
		"ca_certificates: false": "kong.yml:2:18: ca_certificates",
		"services: [{name: a, url: 'http://a.test', client_certificate: false}]":   "client_certificate",
		"routes: [{name: a, paths: [/], protocols: {}}]":                           "kong.yml:2:43: routes[0].protocols: the list is empty",
		"plugins: [{name: key-auth, config: {key_names: {}}}]":                     "key_names: the list is empty",
		"consumers: [{username: a, jwt_secrets: false}]":                           "jwt_secrets",
		"plugins: [{name: rate-limiting, config: {minute: 1, redis: false}}]":      "redis",
		"plugins: [{name: request-termination, protocols: {}}]":                    "protocols: the list is empty",
		"plugins: [{name: acl, config: {allow: {}}}]":                              "allow or deny is required",
		"upstreams: [{name: u, targets: [{target: 'a.test:1'}], healthchecks: 5}]": "healthchecks",
		"upstreams: [{name: u, healthchecks: {passive: {unhealthy: 0}}}]":          "healthchecks",
		"plugins: [{name: rate-limiting, config: {minute: 1, redis: {host: h}}}]":  "redis",
		"plugins: [{name: rate-limiting, config: {minute: 1, redis: {host: {}}}}]": "redis",
		"services: [{name: a, host: 'a.test/b', routes: [{paths: [/]}]}]":          "services[0].host: found \"a.test/b\": is no host; a path goes into path",
		"upstreams: [{name: u, healthchecks: {passiv: {}}}]":                       "healthchecks",
	} {
		_, err := load(text + "\n")
		require.ErrorContains(t, err, want, text)
	}
}

// TestNoTargets: an upstream may wait for its targets.
func TestNoTargets(t *testing.T) {
	t.Parallel()
	for _, targets := range []string{"[]", "[{target: a.test, weight: 0}]"} {
		s, err := config.Load("kong.yml", strings.NewReader(`_format_version: "3.0"
services: [{name: s, host: u, routes: [{name: r, paths: [/]}]}]
upstreams: [{name: u, targets: `+targets+`}]
`), config.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.Equal(t, []string{`kong.yml:3:13: no target of upstream "u" takes traffic: requests for it are answered with 503`}, s.Warnings)
		gw, err := gateway.New(s.Gateway)
		require.NoError(t, err)
		require.Equal(t, 503, gatewaytest.Do(gw, httptest.NewRequest("GET", "/", nil)).StatusCode)
		require.NoError(t, gw.Shutdown(t.Context()))
	}
}

// TestOneProblem: one mistake is one problem, however much follows from it.
func TestOneProblem(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`routes: [{paths: ["{vault://env/EMPTY}"]}]`:                                        "paths[0]: is empty",
		`services: [{name: 123, host: a}], routes: [{paths: [/], service: "123"}]`:          "services[0].name: found 123: expected a string",
		`consumers: [{username: 5}], plugins: [{name: key-auth, config: {anonymous: "5"}}]`: "consumers[0].username: found 5: expected a string",
		`upstreams: [{name: !x u}], services: [{host: u, routes: [{paths: [/]}]}]`:          "upstreams[0].name: found !x: the tag means nothing here",
		`consumers: [null]`:                                        "consumers[0]: found null: expected a map",
		`consumers: [{usernam: ann}]`:                              "consumers[0].usernam: unknown field",
		`consumer_group_consumers: [5]`:                            "consumer_group_consumers[0]: found 5: expected a map",
		`plugins: [{name: acl, config: {allow: []}}]`:              "plugins[0].config: allow or deny is required",
		`plugins: [{name: rate-limiting, config: {minute: .inf}}]`: "minute: found .inf: is no finite number",
	} {
		got := lines(t, `{_format_version: "3.0", `+file+"}", config.Options{Getenv: vault})
		require.Len(t, got, 1, "%s: %q", file, got)
		require.Contains(t, got[0], want)
	}
}

// TestOnOneLine: nothing a file says breaks the lines of its problems.
func TestOnOneLine(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		`"a\nb": 1, "a\nb": 2, _comment: 1`, `routes: [{paths: ["~/(\n"]}]`, `services: !<tag:x.test,2026:a%0Ab> x`, `routes: [{"a\nb": 1, paths: [/]}]`,
	} {
		for _, line := range lines(t, `{_format_version: "3.0", `+file+"}", config.Options{}) {
			require.True(t, strings.HasPrefix(line, "kong.yml:"), "%s: %q", file, line)
		}
	}
}

// TestTwiceWithoutName: what has no name is not called as something else without one.
func TestTwiceWithoutName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`consumers: [{}, {}]`:       "a consumer needs a username or a custom_id",
		`consumer_groups: [{}, {}]`: `required field "name" is missing`,
		`plugins: [{}, {}]`:         `required field "name" is missing`,
	} {
		got := lines(t, `{_format_version: "3.0", `+file+"}", config.Options{})
		require.Len(t, got, 2, "%s: %q", file, got)
		for _, line := range got {
			require.Contains(t, line, want)
		}
	}
}
