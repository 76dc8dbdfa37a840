package config_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

// reloadFile is a file whose parts can be changed one at a time.
func reloadFile(minute int, target, more string) string {
	return fmt.Sprintf(`_format_version: "3.0"
services:
- {name: s, host: pool, routes: [{name: r, paths: [/r]}]}
- {name: t, host: t.internal, routes: [{name: u, paths: [/u]}], plugins: [{name: rate-limiting, config: {hour: 9, limit_by: service}}]}
upstreams: [{name: pool, targets: [{target: %q}]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}], plugins: [{name: rate-limiting, route: r, config: {minute: 50}}]}
- {username: bob, keyauth_credentials: [{key: bob}]}
plugins:
- {name: key-auth}
- {name: rate-limiting, route: r, config: {minute: %d}}
routes:
- {name: always, paths: [/always], service: t}
%s`, target, minute, more)
}

// replace writes a file as editors and deployments do: beside it, and then in its place.
func replace(t testing.TB, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(name+".new", name))
}

// reloader serves a file in a directory of the test's own.
func reloader(t testing.TB, text string, o config.Options) (*config.Reloader, string, *gatewaytest.Upstream) {
	t.Helper()
	up := gatewaytest.NewUpstream("backend")
	o.Dial = up.Dial
	if o.Logger == nil {
		o.Logger = quiet
	}
	name := filepath.Join(t.TempDir(), "kong.yml")
	replace(t, name, text)
	r, err := config.NewReloader(config.ReloaderConfig{File: name, Options: o})
	require.NoError(t, err)
	return r, name, up
}

// TestReloadKeepsState: what a new file says as the old did goes on: counters, connections, totals of targets. What it says
// otherwise begins anew.
func TestReloadKeepsState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no minute ends in the middle
		r, name, up := reloader(t, reloadFile(20, "a.internal:80", ""), config.Options{})
		remaining := func(path, key string) string {
			res := ask(r.Gateway(), "GET", path, "apikey", key)
			require.Equal(t, 200, res.StatusCode)
			return res.Header.Get("X-Ratelimit-Remaining-Minute") + res.Header.Get("X-Ratelimit-Remaining-Hour")
		}
		require.Equal(t, []string{"19", "49", "8"}, []string{remaining("/r", "bob"), remaining("/r", "ann"), remaining("/u", "bob")})
		dials := up.Dials()
		version := r.Snapshot().Version

		changed, err := r.Reload()
		require.NoError(t, err)
		require.False(t, changed, "the same file")

		// A route more, in the service that is counted by service: all the rest is as it was.
		replace(t, name, reloadFile(20, "a.internal:80", "- {name: new, paths: [/new], service: t}\n"))
		changed, err = r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
		require.NotEqual(t, version, r.Snapshot().Version)
		require.Equal(t, []string{"18", "48", "7"}, []string{remaining("/r", "bob"), remaining("/r", "ann"), remaining("/u", "ann")})
		require.Equal(t, "6", remaining("/new", "bob"), "the new route counts with its service")
		require.Equal(t, dials, up.Dials(), "the connections are those of before")

		// Another limit begins anew, and the consumer's own goes on.
		replace(t, name, reloadFile(21, "a.internal:80", ""))
		_, err = r.Reload()
		require.NoError(t, err)
		require.Equal(t, []string{"20", "47", "5"}, []string{remaining("/r", "bob"), remaining("/r", "ann"), remaining("/u", "bob")})
		require.Equal(t, 404, ask(r.Gateway(), "GET", "/new", "apikey", "bob").StatusCode)

		// Another target: the pool stays, and requests go there.
		replace(t, name, reloadFile(21, "b.internal:81", ""))
		_, err = r.Reload()
		require.NoError(t, err)
		require.Equal(t, "19", remaining("/r", "bob"))
		require.Equal(t, "b.internal:81", up.Last().Host)

		// The upstream is gone, and comes back as a new one.
		replace(t, name, strings.Replace(reloadFile(21, "x", ""), "host: pool", "host: direct.internal", 1))
		_, err = r.Reload()
		require.NoError(t, err)
		require.Equal(t, "18", remaining("/r", "bob"))
		require.Equal(t, "direct.internal", up.Last().Host)
		replace(t, name, reloadFile(21, "b.internal:81", ""))
		_, err = r.Reload()
		require.NoError(t, err)
		require.Equal(t, "17", remaining("/r", "bob"))
		require.Equal(t, "b.internal:81", up.Last().Host)

		require.NoError(t, r.Gateway().Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
}

// TestReloadWithoutNames: what has no name is known by what it says, wherever it stands.
func TestReloadWithoutNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const head = "_format_version: \"3.0\"\nservices:\n"
		service := func(host, path string) string {
			return "- url: " + host + "\n  routes: [{paths: [" + path + "], plugins: [{name: rate-limiting, config: {day: 9, limit_by: service}}]}]\n"
		}
		a, b, b2, hidden := service("http://a.internal", "/a"), service("http://b.internal/x", "/b"), service("http://b.internal/x", "/b2"), service("\"{vault://env/url}\"", "/h")
		getenv := func(string) (string, bool) { return "http://s3cret.internal", true }
		r, name, up := reloader(t, head+a+b+b2+hidden, config.Options{Getenv: getenv})
		remaining := func(path string) string {
			return ask(r.Gateway(), "GET", path).Header.Get("X-Ratelimit-Remaining-Day")
		}
		for range 2 {
			for _, path := range []string{"/a", "/b", "/b2", "/h"} {
				remaining(path)
			}
		}
		dials := up.Dials()
		replace(t, name, head+hidden+service("http://new.internal", "/new")+b+b2+a)
		_, err := r.Reload()
		require.NoError(t, err)
		require.Equal(t, []string{"6", "6", "6", "6", "8"}, []string{remaining("/a"), remaining("/b"), remaining("/b2"), remaining("/h"), remaining("/new")})
		require.Equal(t, dials+1, up.Dials(), "the new one")
		require.NotContains(t, fmt.Sprint(r.Gateway().Routes()), "s3cret")
		require.NoError(t, r.Gateway().Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
}

// TestReloadBad: a bad file changes nothing, whatever is wrong with it, and the error says all of it.
func TestReloadBad(t *testing.T) {
	t.Parallel()
	r, name, up := reloader(t, reloadFile(20, "a.internal:80", ""), config.Options{MaxBytes: 10_000})
	t.Cleanup(func() {
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(t.Context())))
		require.NoError(t, up.Close())
	})
	good := r.Snapshot()
	remaining := 20
	check := func() {
		res := ask(r.Gateway(), "GET", "/r", "apikey", "bob")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "a.internal", up.Last().Host)
		require.Same(t, good, r.Snapshot())
		remaining--
	}
	for want, text := range map[string]string{
		"kong.yml:3:":       "_format_version: \"3.0\"\nservices:\n  - [\n",
		"the file is empty": "",
		"hash_on: found \"cookie\": cookie needs": strings.Replace(reloadFile(20, "x", ""), "name: pool,", "name: pool, hash_on: cookie,", 1),
		"there is no service":                     reloadFile(20, "c.internal:80", "- {name: x, paths: [/x], service: none}\n"),
		`found "a b:80": is no host`:              reloadFile(20, "a b:80", ""),
		"larger than 10000 bytes":                 reloadFile(20, "c.internal:80", strings.Repeat("#", 10_000)),
		"at least one of methods, hosts, head":    reloadFile(20, "c.internal:80", "- {name: x}\n"),
	} {
		replace(t, name, text)
		changed, err := r.Reload()
		require.ErrorContains(t, err, want)
		require.False(t, changed)
		check()
	}
	require.NoError(t, os.Remove(name))
	_, err := r.Reload()
	require.ErrorIs(t, err, os.ErrNotExist)
	check()
	replace(t, name, reloadFile(20, "a.internal:80", ""))
	changed, err := r.Reload()
	require.NoError(t, err)
	require.False(t, changed, "it is the one that is served")
	check()
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was written since the last time.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.b.String()
	l.b.Reset()
	return s
}

// TestWatch: changes are seen within the interval, or at once on a signal; atomic replaces and what Kubernetes does with
// symbolic links among them. A bad file is reported once, and again when somebody asks.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := gatewaytest.NewUpstream("backend")
		dir := t.TempDir()
		// kong.yml -> ..data/kong.yml, ..data -> v1
		publish := func(version, text string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, version, "kong.yml"), []byte(text), 0o600))
			require.NoError(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
			require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}
		publish("v1", reloadFile(20, "a.internal:80", ""))
		name := filepath.Join(dir, "kong.yml")
		require.NoError(t, os.Symlink(filepath.Join("..data", "kong.yml"), name))
		log := &lockedBuffer{}
		r, err := config.NewReloader(config.ReloaderConfig{File: name, Options: config.Options{
			Dial: up.Dial, Logger: slog.New(slog.NewTextHandler(log, nil)),
		}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		hangup := make(chan os.Signal, 1)
		var watching sync.WaitGroup
		watching.Go(func() { r.Watch(ctx, hangup) })
		tick := func() {
			time.Sleep(config.DefaultInterval)
			synctest.Wait()
		}
		signal := func() {
			hangup <- syscall.SIGHUP
			synctest.Wait()
		}
		status := func(path string) int { return ask(r.Gateway(), "GET", path, "apikey", "bob").StatusCode }
		log.take()

		tick()
		require.Empty(t, log.take(), "nothing has changed")
		publish("v2", reloadFile(20, "a.internal:80", "- {name: two, paths: [/two], service: t}\n"))
		require.Equal(t, 404, status("/two"))
		tick()
		require.Equal(t, 200, status("/two"))
		require.Contains(t, log.take(), "the configuration was reloaded")

		const bad = "_format_version: \"3.0\"\nservicess: []\n"
		publish("v3", bad)
		tick()
		require.Equal(t, 200, status("/two"))
		said := log.take()
		require.Contains(t, said, "the configuration is bad; the last good one stays")
		require.Contains(t, said, "servicess")
		tick()
		require.Empty(t, log.take(), "it was said")
		signal()
		require.Contains(t, log.take(), "the configuration is bad")

		// Back to the good one and to the bad one: that is news.
		publish("v4", reloadFile(20, "a.internal:80", "- {name: two, paths: [/two], service: t}\n"))
		tick()
		require.Empty(t, log.take())
		publish("v5", bad)
		tick()
		require.Contains(t, log.take(), "the configuration is bad")

		// A plain file in place of the link, by rename; on a signal at once.
		replace(t, name, reloadFile(20, "a.internal:80", "- {name: three, paths: [/three], service: t}\n"))
		signal()
		require.Equal(t, 200, status("/three"))
		require.Equal(t, 404, status("/two"))
		require.NoError(t, os.Remove(name))
		log.take()
		tick()
		require.Contains(t, log.take(), "the configuration cannot be read")
		tick()
		require.Empty(t, log.take(), "it was said")
		require.Equal(t, 200, status("/three"))

		cancel()
		watching.Wait()
		require.NoError(t, r.Gateway().Shutdown(context.WithoutCancel(ctx)))
		require.NoError(t, up.Close())
	})
}

// TestReloadUnderLoad: files of which everything changes in turn are swapped in while requests run; none fails. That no
// goroutine stays is seen by TestMain.
func TestReloadUnderLoad(t *testing.T) { //nolint:paralleltest // it counts the descriptors of the process
	file := func(i int) string {
		text := reloadFile(1_000_000+i%2, fmt.Sprintf("t%d.internal:80", i%3), fmt.Sprintf("- {name: n%d, paths: [/n], service: s}\n", i))
		return strings.Replace(text, "host: t.internal", fmt.Sprintf("host: t.internal, read_timeout: %d", 10_000+i%4), 1)
	}
	r, name, up := reloader(t, strings.NewReplacer("minute: 50", "minute: 1000000", "hour: 9", "hour: 10000000").Replace(file(0)), config.Options{})
	before := descriptors()
	var stop atomic.Bool
	var clients sync.WaitGroup
	var mu sync.Mutex
	var failed []string
	var took []time.Duration
	for i := range 4 {
		clients.Go(func() {
			for n := 0; !stop.Load(); n++ {
				path := []string{"/r", "/always", "/n"}[(n+i)%3]
				begin := time.Now()
				res := ask(r.Gateway(), "GET", path, "apikey", "ann")
				mu.Lock()
				took = append(took, time.Since(begin))
				if res.StatusCode != 200 && len(failed) < 10 {
					failed = append(failed, fmt.Sprintf("%s: %d", path, res.StatusCode))
				}
				mu.Unlock()
			}
		})
	}
	reloads := 1000
	if testing.Short() {
		reloads = 200
	}
	for i := 1; i <= reloads; i++ {
		text := strings.ReplaceAll(file(i), "minute: 50", "minute: 1000000")
		text = strings.ReplaceAll(text, "hour: 9", "hour: 10000000")
		if i%10 == 0 {
			text += "bad"
		}
		replace(t, name, text)
		changed, err := r.Reload()
		require.Equal(t, i%10 == 0, err != nil, "%v", err)
		require.Equal(t, i%10 != 0, changed)
	}
	stop.Store(true)
	clients.Wait()
	require.NoError(t, r.Gateway().Shutdown(t.Context()))
	require.NoError(t, up.Close())
	require.Empty(t, failed)
	require.NotEmpty(t, took)
	require.LessOrEqual(t, descriptors(), before+2)
	slices.Sort(took)
	t.Logf("%d reloads, %d requests, p50 %v, p99 %v, most %v", reloads, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

// descriptors counts what the process has open; 0 where that cannot be seen.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// TestReloadKeepsApart: two services are two, whatever they are called, and a credential stays itself when others come and
// its consumer is known by a custom_id, too.
func TestReloadKeepsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // no hour ends in the middle
		file := func(more, ann string) string {
			return `{_format_version: "3.0",
services: [
{url: "http://a.internal:80", routes: [{paths: [/one]}], plugins: [{name: rate-limiting, config: {hour: 9}}]},
{name: "http://a.internal:80", host: a.internal, routes: [{paths: [/two]}], plugins: [{name: rate-limiting, config: {hour: 9}}]},
{name: c, host: a.internal, routes: [{paths: [/c]}], plugins: [{name: key-auth}, {name: rate-limiting, config: {hour: 9, limit_by: credential}}]}],
consumers: [` + more + `{username: ann, ` + ann + `keyauth_credentials: [{key: ann}, {key: anne}]}]}`
		}
		r, name, up := reloader(t, file("", ""), config.Options{})
		remaining := func(path, key string) string {
			res := ask(r.Gateway(), "GET", path, "apikey", key)
			require.Equal(t, 200, res.StatusCode)
			return res.Header.Get("X-Ratelimit-Remaining-Hour")
		}
		require.Equal(t, "8 8 8", strings.Join([]string{remaining("/one", ""), remaining("/c", "ann"), remaining("/c", "anne")}, " "))
		id := up.Last().Header.Get("X-Credential-Identifier")
		require.NotEmpty(t, id)
		replace(t, name, file("{username: bob, keyauth_credentials: [{key: bob}]}, ", "custom_id: \"7\", "))
		changed, err := r.Reload()
		require.NoError(t, err)
		require.True(t, changed)
		require.Equal(t, "7 8", remaining("/one", "")+" "+remaining("/two", ""))
		require.Equal(t, "8 7 7", strings.Join([]string{remaining("/c", "bob"), remaining("/c", "ann"), remaining("/c", "anne")}, " "))
		require.Equal(t, id, up.Last().Header.Get("X-Credential-Identifier"))
		require.NoError(t, r.Gateway().Shutdown(t.Context()))
		require.NoError(t, up.Close())
	})
}

// TestEchoWhileReloaded: an echo is of the route that took the request, also of one without a name that another is called
// like in the file after.
func TestEchoWhileReloaded(t *testing.T) {
	t.Parallel()
	const head, a, b = "_format_version: \"3.0\"\nplugins: [{name: request-termination, config: {echo: true, status_code: 200}}]\nroutes:\n",
		"- {paths: [/a]}\n", "- {paths: [/b]}\n"
	r, name, up := reloader(t, head+a+b, config.Options{})
	inside, swapped := make(chan struct{}), make(chan struct{})
	body := &blockedBody{inside: inside, until: swapped}
	got := make(chan string)
	go func() {
		res := gatewaytest.Do(r.Gateway(), httptest.NewRequest(http.MethodPost, "/a", body))
		data, _ := io.ReadAll(res.Body)
		got <- string(data)
	}()
	<-inside
	replace(t, name, head+b+a)
	_, err := r.Reload()
	require.NoError(t, err)
	close(swapped)
	require.Contains(t, <-got, `"paths":["/a"]`)
	require.NoError(t, r.Gateway().Shutdown(t.Context()))
	require.NoError(t, up.Close())
}

// blockedBody is a request body that ends when it may.
type blockedBody struct {
	once          sync.Once
	inside, until chan struct{}
}

func (b *blockedBody) Read([]byte) (int, error) {
	b.once.Do(func() { close(b.inside) })
	<-b.until
	return 0, io.EOF
}
