package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
)

// names is a Resolver whose answers are set.
type names struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	srv   map[string][]*net.SRV
	err   error
	hangs bool
	asked int
}

func (n *names) set(change func(*names)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *names) begin(ctx context.Context) error {
	n.mu.Lock()
	n.asked++
	err, hangs := n.err, n.hangs
	n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []netip.Addr
	for _, a := range n.addrs[host] {
		if network == "ip" || network == "ip4" && a.Is4() || network == "ip6" && a.Is6() {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

func (n *names) LookupSRV(ctx context.Context, _, _, name string) (string, []*net.SRV, error) {
	if err := n.begin(ctx); err != nil {
		return "", nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return name, n.srv[name], nil
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// watched collects what a source delivers, a line each.
type watched struct {
	mu     sync.Mutex
	lines  []string
	cancel context.CancelFunc
	ended  chan error
}

func watch(t *testing.T, s balancer.Source) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		w.ended <- s.Watch(ctx, func(targets []balancer.Target, err error) {
			line := ""
			if err != nil {
				line = "error: " + err.Error()
			}
			for _, t := range targets {
				line += fmt.Sprintf("%s host=%s weight=%d priority=%d zone=%s socket=%s; ", t.URL, t.Host, t.Weight, t.Priority, t.Zone, t.Socket)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line)
		})
	}()
	return w
}

// last returns what was delivered last.
func (w *watched) last() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == 0 {
		return "nothing"
	}
	return w.lines[len(w.lines)-1]
}

// all returns all that was delivered.
func (w *watched) all() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.lines...)
}

func (w *watched) end(t *testing.T) {
	t.Helper()
	w.cancel()
	require.ErrorIs(t, <-w.ended, context.Canceled)
}

func TestDNS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about string
		d     discovery.DNS
		addrs []netip.Addr
		want  string
	}{
		{"IPv4, in order", discovery.DNS{URL: "http://users.test:8080", Weight: 7, Priority: 1, Zone: "z"}, addrs("10.0.0.2", "10.0.0.1"), "http://10.0.0.1:8080 host=users.test:8080 weight=7 priority=1 zone=z socket=; http://10.0.0.2:8080 host=users.test:8080 weight=7 priority=1 zone=z socket=; "},
		{"without a port", discovery.DNS{URL: "https://users.test/v1"}, addrs("10.0.0.1"), "https://10.0.0.1/v1 host=users.test weight=0 priority=0 zone= socket=; "},
		{"IPv6 alone", discovery.DNS{URL: "http://users.test"}, addrs("2001:db8::1"), "http://[2001:db8::1] host=users.test weight=0 priority=0 zone= socket=; "},
		{"a server with both", discovery.DNS{URL: "http://users.test:1"}, addrs("2001:db8::1", "10.0.0.1"), "http://10.0.0.1:1 host=users.test:1 weight=0 priority=0 zone= socket=; "},
		{"IPv6 preferred", discovery.DNS{URL: "http://users.test:1", Family: discovery.PreferIPv6}, addrs("2001:db8::1", "10.0.0.1"), "http://[2001:db8::1]:1 host=users.test:1 weight=0 priority=0 zone= socket=; "},
		{"IPv6 only", discovery.DNS{URL: "http://users.test:1", Family: discovery.OnlyIPv6}, addrs("10.0.0.1"), `error: discovery: addresses of "users.test": lookup users.test: no such host`},
		{"all", discovery.DNS{URL: "http://users.test:1", Family: discovery.AllFamilies}, addrs("2001:db8::1", "10.0.0.1"), "http://10.0.0.1:1 host=users.test:1 weight=0 priority=0 zone= socket=; http://[2001:db8::1]:1 host=users.test:1 weight=0 priority=0 zone= socket=; "},
		{"the same twice, also as IPv6", discovery.DNS{URL: "http://users.test:1"}, addrs("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"), "http://10.0.0.1:1 host=users.test:1 weight=0 priority=0 zone= socket=; "},
		{"what no target can be", discovery.DNS{URL: "http://users.test:1"}, addrs("0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::"), ""},
		{"an address", discovery.DNS{URL: "http://10.0.0.9:1"}, nil, "http://10.0.0.9:1 host= weight=0 priority=0 zone= socket=; "},
		{"SRV records under a name without addresses", discovery.DNS{URL: "https://users.test:1", Weight: 7, SRV: true}, nil, "https://10.0.0.7:8443 host=users.test:1 weight=3 priority=0 zone= socket=; "},
		{"SRV records, which are not asked for", discovery.DNS{URL: "https://users.test:1"}, nil, `error: discovery: addresses of "users.test": lookup users.test: no such host`},
		{"no SRV records, either", discovery.DNS{URL: "https://none.test:1", SRV: true}, nil, `error: discovery: addresses of "none.test": lookup none.test: no such host`},
		{"a name that has both", discovery.DNS{URL: "https://users.test:1", SRV: true}, addrs("10.0.0.1"), "https://10.0.0.1:1 host=users.test:1 weight=0 priority=0 zone= socket=; "},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tt.d.Resolver = &names{
					addrs: map[string][]netip.Addr{"users.test": tt.addrs, "one.test": addrs("10.0.0.7")},
					srv:   map[string][]*net.SRV{"users.test": {{Target: "one.test.", Port: 8443, Weight: 3}}},
				}
				require.NoError(t, tt.d.Validate())
				w := watch(t, tt.d)
				require.Equal(t, tt.want, w.last())
				w.end(t)
			})
		})
	}
}

// Answers are asked for again, and failures told.
func TestDNSIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string][]netip.Addr{"users.test": addrs("10.0.0.1")}}
		w := watch(t, discovery.DNS{URL: "http://users.test", Resolver: n, Interval: 10 * time.Second, Timeout: 2 * time.Second})
		require.Contains(t, w.last(), "http://10.0.0.1 ")
		n.set(func(n *names) { n.addrs["users.test"] = addrs("10.0.0.2") })
		time.Sleep(11 * time.Second)
		require.Contains(t, w.last(), "http://10.0.0.2 ")
		n.set(func(n *names) { n.err = errors.New("server misbehaving") })
		time.Sleep(11 * time.Second)
		require.Equal(t, `error: discovery: addresses of "users.test": server misbehaving`, w.last())
		n.set(func(n *names) { n.err, n.hangs = nil, true })
		time.Sleep(14 * time.Second)
		require.Equal(t, `error: discovery: addresses of "users.test": context deadline exceeded`, w.last())
		n.set(func(n *names) { n.hangs = false })
		time.Sleep(14 * time.Second)
		require.Contains(t, w.last(), "http://10.0.0.2 ")
		n.set(func(n *names) { n.asked = 0 })
		time.Sleep(time.Hour)
		n.set(func(n *names) { require.InDelta(t, 360, n.asked, 15) })
		n.set(func(n *names) { n.hangs = true })
		time.Sleep(10 * time.Second)
		w.end(t) // in the middle of a question
	})
}

// Behind a question that failed the next does not wait for the interval.
func TestDNSIsAskedAgainSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string][]netip.Addr{"users.test": addrs("10.0.0.1")}, err: errors.New("server misbehaving")}
		w := watch(t, discovery.DNS{URL: "http://users.test", Resolver: n})
		asked := func(within time.Duration) (n2 int) {
			time.Sleep(within)
			n.set(func(n *names) { n2, n.asked = n.asked, 0 })
			return n2
		}
		require.Equal(t, 1, asked(800*time.Millisecond))
		require.Equal(t, 1, asked(400*time.Millisecond), "after a second")
		require.Equal(t, 4, asked(33*time.Second), "after 2, 4, 8 and 16")
		require.InDelta(t, 20, asked(10*time.Minute), 2, "and not more often than otherwise")
		n.set(func(n *names) { n.err = nil })
		time.Sleep(34 * time.Second)
		require.Contains(t, w.last(), "http://10.0.0.1 ")
		asked(0)
		n.set(func(n *names) { n.err = errors.New("server misbehaving") })
		for asked(50*time.Millisecond) == 0 {
		}
		require.Equal(t, 1, asked(1200*time.Millisecond), "a second again")
		w.end(t)
	})
}

func TestSRV(t *testing.T) {
	t.Parallel()
	const name = "_http._tcp.users.test"
	known := map[string][]netip.Addr{"a.test": addrs("10.0.0.1"), "b.test": addrs("10.0.0.2", "10.0.0.3"), "same.test": addrs("10.0.0.1")}
	for _, tt := range []struct {
		about string
		s     discovery.SRV
		srv   []*net.SRV
		want  string
	}{
		{
			"weights and priorities", discovery.SRV{Zone: "z"},
			[]*net.SRV{{Target: "a.test.", Port: 80, Weight: 10, Priority: 1}, {Target: "b.test.", Port: 81, Priority: 2}},
			"http://10.0.0.1:80 host=a.test:80 weight=10 priority=1 zone=z socket=; http://10.0.0.2:81 host=b.test:81 weight=1 priority=2 zone=z socket=; http://10.0.0.3:81 host=b.test:81 weight=1 priority=2 zone=z socket=; ",
		},
		{"as a service", discovery.SRV{URL: "https://users.test/v1"}, []*net.SRV{{Target: "a.test.", Port: 8443, Weight: 5}}, "https://10.0.0.1:8443/v1 host=users.test weight=5 priority=0 zone= socket=; "},
		{
			"one target under two names", discovery.SRV{URL: "http://users.test"},
			[]*net.SRV{{Target: "a.test.", Port: 80, Weight: 10}, {Target: "same.test.", Port: 80, Weight: 20}, {Target: "same.test.", Port: 80, Weight: 20, Priority: 9}},
			"http://10.0.0.1:80 host=users.test weight=30 priority=0 zone= socket=; ",
		},
		{"a name that is not known", discovery.SRV{}, []*net.SRV{{Target: "none.test.", Port: 80}, {Target: "a.test.", Port: 80}}, "http://10.0.0.1:80 host=a.test:80 weight=1 priority=0 zone= socket=; "},
		{"no name that is known", discovery.SRV{}, []*net.SRV{{Target: "none.test.", Port: 80}}, `error: discovery: addresses of "none.test": lookup none.test: no such host`},
		{"no service", discovery.SRV{}, []*net.SRV{{Target: ".", Port: 80}, nil, {Target: "a.test", Port: 0}, {}}, ""},
		{"no port of its own", discovery.SRV{URL: "http://users.test:8000"}, []*net.SRV{{Target: "a.test.", Weight: 1}, {Target: "a.test.", Port: 80, Weight: 2}}, "http://10.0.0.1:8000 host=users.test:8000 weight=1 priority=0 zone= socket=; http://10.0.0.1:80 host=users.test:8000 weight=2 priority=0 zone= socket=; "},
		{"no port at all", discovery.SRV{URL: "http://users.test"}, []*net.SRV{{Target: "a.test."}}, ""},
		{"nothing", discovery.SRV{}, nil, ""},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tt.s.Name, tt.s.Resolver = name, &names{addrs: known, srv: map[string][]*net.SRV{name: tt.srv}}
				require.NoError(t, tt.s.Validate())
				w := watch(t, tt.s)
				require.Equal(t, tt.want, w.last())
				w.end(t)
			})
		})
	}
}

// One answer, without watching.
func TestAsk(t *testing.T) {
	t.Parallel()
	n := &names{addrs: map[string][]netip.Addr{"a.test": addrs("10.0.0.1")}, srv: map[string][]*net.SRV{"_http._tcp.users.test": {{Target: "a.test.", Port: 80, Weight: 2}}}}
	targets, err := discovery.DNS{URL: "http://a.test:8080", Resolver: n, Zone: "z"}.Ask(t.Context())
	require.NoError(t, err)
	require.Equal(t, []balancer.Target{{URL: "http://10.0.0.1:8080", Host: "a.test:8080", Zone: "z"}}, targets)
	_, err = discovery.DNS{URL: "a.test", Resolver: n}.Ask(t.Context())
	require.EqualError(t, err, `discovery: DNS.URL "a.test" is not the URL of a service; write it as http://name:port`)
	targets, err = discovery.SRV{Name: "_http._tcp.users.test", URL: "https://users.test", Resolver: n}.Ask(t.Context())
	require.NoError(t, err)
	require.Equal(t, []balancer.Target{{URL: "https://10.0.0.1:80", Host: "users.test", Weight: 2}}, targets)
	_, err = discovery.SRV{Name: "_http._tcp.users.test", URL: "x", Resolver: n}.Ask(t.Context())
	require.EqualError(t, err, `discovery: SRV.URL "x" is not the URL of a service; write it as http://name:port`)
}

func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "targets.json")
	synctest.Test(t, func(t *testing.T) {
		write := func(text string) {
			require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
			require.NoError(t, os.Rename(path+".new", path))
			time.Sleep(2 * time.Second)
		}
		f := discovery.File{Path: path}
		require.NoError(t, f.Validate())
		w := watch(t, f)
		require.Contains(t, w.last(), "error: discovery: open "+path)
		write(`[{"url": "http://a.test", "weight": 2, "zone": "z", "host": "users.test", "priority": 1}, {"url": "http://b", "socket": "/run/b", "no_traffic": true}]`)
		good := "http://a.test host=users.test weight=2 priority=1 zone=z socket=; http://b host= weight=-1 priority=0 zone= socket=/run/b; "
		require.Equal(t, good, w.last())
		for text, problem := range map[string]string{
			`[{"url": "http://a.test"}`:                 "unexpected EOF",
			`[{"url": "http://a.test"}] x`:              "there is something behind the list",
			`{"url": "http://a.test"}`:                  "cannot unmarshal object",
			`null`:                                      "is no list of targets",
			`[{"url": "http://a.test", "wight": 1}]`:    `unknown field "wight"`,
			`[{"url": "http://a.test", "weight": "1"}]`: "cannot unmarshal string",
			``: "EOF",
		} {
			write(text)
			require.Contains(t, w.last(), "error: discovery: "+path+": ", text)
			require.Contains(t, w.last(), problem)
		}
		told := len(w.all())
		time.Sleep(time.Minute)
		require.Len(t, w.all(), told, "told once")
		write(`[{"url": "http://c.test"}]`)
		require.Contains(t, w.last(), "http://c.test ")
		told = len(w.all())
		write(`[{"url": "http://c.test"}]`)
		time.Sleep(time.Minute)
		require.Len(t, w.all(), told, "nothing new")
		write(strings.Repeat(" ", 17<<20))
		require.Contains(t, w.last(), "is longer than")
		require.NoError(t, os.Remove(path))
		time.Sleep(2 * time.Second)
		require.Contains(t, w.last(), "error: discovery: open "+path)
		write(`[]`)
		require.Empty(t, w.last(), "no targets")
		w.end(t)
	})
}

// failing is a Source that gives up, or panics.
type failing struct{ err error }

func (f failing) Watch(context.Context, func([]balancer.Target, error)) error {
	if f.err == nil {
		panic("oh")
	}
	return f.err
}

func TestMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string][]netip.Addr{"a.test": addrs("10.0.0.1"), "b.test": addrs("10.0.0.2")}}
		m := discovery.Merge{
			discovery.Static{{URL: "http://s.test", Weight: 9}},
			discovery.DNS{URL: "http://a.test", Resolver: n}, discovery.DNS{URL: "http://b.test", Resolver: n}, discovery.DNS{URL: "http://10.0.0.1", Weight: 3},
		}
		require.NoError(t, m.Validate())
		w := watch(t, m)
		all := "http://s.test host= weight=9 priority=0 zone= socket=; http://10.0.0.1 host=a.test weight=0 priority=0 zone= socket=; http://10.0.0.2 host=b.test weight=0 priority=0 zone= socket=; "
		require.Equal(t, all, w.last())
		n.set(func(n *names) { delete(n.addrs, "b.test") })
		time.Sleep(time.Minute)
		require.Equal(t, `error: discovery: addresses of "b.test": lookup b.test: no such host`, w.last(), "and no other targets")
		n.set(func(n *names) { n.addrs["b.test"] = addrs("10.0.0.5") })
		time.Sleep(time.Minute)
		require.Contains(t, w.last(), "http://10.0.0.5 ")
		require.NotContains(t, w.last(), "http://10.0.0.2 ")
		w.end(t)

		w = watch(t, discovery.Merge{discovery.Static{{URL: "http://s.test"}}, failing{errors.New("gave up")}})
		require.EqualError(t, <-w.ended, "gave up")
		require.Equal(t, "nothing", w.last())
		w = watch(t, discovery.Merge{discovery.Static{{URL: "http://s.test"}}, failing{}})
		require.EqualError(t, <-w.ended, "discovery: Merge[1] panicked: oh")
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    interface{ Validate() error }
		want string
	}{
		{discovery.DNS{URL: "users.test:80", Interval: -1, Timeout: time.Hour * 25, Family: 9}, "DNS.Interval -1ns must be 10ms to 24h0m0s, or 0 for the default\nDNS.Timeout 25h0m0s must be 1ms to 24h0m0s, or 0 for the default\n" +
			"DNS.URL \"users.test:80\" is not the URL of a service; write it as http://name:port\nDNS.Family 9 is none; use PreferIPv4 or another constant"},
		{discovery.DNS{URL: "http://bücher.test"}, "DNS.URL \"http://bücher.test\" has no host with an optional port; write it as http://name:port, an internationalised name in its ASCII form"},
		{discovery.SRV{Name: "x", URL: "http://users.test:65536"}, "SRV.URL \"http://users.test:65536\" has no host with an optional port; write it as http://name:port, an internationalised name in its ASCII form"},
		{discovery.DNS{}, "DNS.URL \"\" is not the URL of a service; write it as http://name:port"},
		{discovery.SRV{URL: "ftp://x", Family: 7}, "SRV.Name is empty; write it as _http._tcp.users.internal\nSRV.URL \"ftp://x\" is not the URL of a service; write it as http://name:port\nSRV.Family 7 is none; use PreferIPv4 or another constant"},
		{discovery.File{Interval: time.Microsecond}, "File.Interval 1µs must be 10ms to 24h0m0s, or 0 for the default\nFile.Path is empty; name the file"},
		{discovery.Merge{}, "discovery: Merge is empty; give it sources"},
		{discovery.Merge{nil, discovery.File{}}, "discovery: Merge[0] is nil\ndiscovery: Merge[1]: File.Path is empty; name the file"},
	} {
		require.EqualError(t, tt.s.Validate(), tt.want)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`[{"url": "http://a.test", "weight": 2}]`))
	f.Add([]byte(`[`))
	path := filepath.Join(f.TempDir(), "targets.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(path, text, 0o600))
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_ = discovery.File{Path: path}.Watch(ctx, func(targets []balancer.Target, err error) {
			n++
			if err != nil {
				require.Nil(t, targets)
			}
			cancel()
		})
		require.Equal(t, 1, n)
	})
}

// TestMergeWithOneThatFails: a source that goes on failing is told once, and known for as long as it does.
func TestMergeWithOneThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string][]netip.Addr{"a.test": addrs("10.0.0.1"), "b.test": addrs("10.0.0.2")}}
		var mu sync.Mutex
		var told []balancer.DiscoveryChange
		pool, err := balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{
			Source: discovery.Merge{discovery.DNS{URL: "http://a.test", Resolver: n}, discovery.DNS{URL: "http://b.test", Resolver: n}},
			OnChange: func(c balancer.DiscoveryChange) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, c)
			},
		}})
		require.NoError(t, err)
		defer func() { require.NoError(t, pool.Close()) }()
		n.set(func(n *names) { delete(n.addrs, "b.test") })
		time.Sleep(10 * time.Minute)
		require.ErrorContains(t, pool.Discovery().Err, `addresses of "b.test"`, "it has not been well since")
		n.set(func(n *names) { n.addrs["a.test"] = addrs("10.0.0.1", "10.0.0.3") })
		time.Sleep(10 * time.Minute)
		require.ErrorContains(t, pool.Discovery().Err, `addresses of "b.test"`)
		n.set(func(n *names) { n.addrs["b.test"] = addrs("10.0.0.2") })
		time.Sleep(10 * time.Minute)
		require.NoError(t, pool.Discovery().Err)
		mu.Lock()
		defer mu.Unlock()
		require.LessOrEqual(t, len(told), 5, "what there was at first, b fails, a has another, b still fails, and is well again: %v", told)
	})
}

// TestManyTargetsOfSRV: what DNS says is not believed without an end.
func TestManyTargetsOfSRV(t *testing.T) {
	t.Parallel()
	n := &names{addrs: map[string][]netip.Addr{}, srv: map[string][]*net.SRV{}}
	for i := range 100 {
		name := fmt.Sprintf("%d.test", i)
		n.srv["many.test"] = append(n.srv["many.test"], &net.SRV{Target: name, Port: 80})
		for j := range 1000 {
			n.addrs[name] = append(n.addrs[name], netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}))
		}
	}
	targets, err := discovery.SRV{Name: "many.test", Resolver: n}.Ask(t.Context())
	require.NoError(t, err)
	require.Equal(t, balancer.MaxTargets+1, len(targets), "so that a pool says that there are too many") //nolint:testifylint // which would show them all
}

// TestSameFailureIsToldOnce: the words of package net have the port of each question.
func TestSameFailureIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &names{addrs: map[string][]netip.Addr{"a.test": addrs("10.0.0.1")}}
		var told []string
		pool, err := balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{
			Source: discovery.DNS{URL: "http://a.test", Resolver: n, Interval: time.Second},
			OnChange: func(c balancer.DiscoveryChange) {
				if c.Err != nil {
					told = append(told, c.Err.Error())
				}
			},
		}})
		require.NoError(t, err)
		for port := range 20 {
			n.set(func(n *names) {
				n.err = &net.DNSError{Err: fmt.Sprintf("read udp 10.0.0.9:%d->10.0.0.53:53: i/o timeout", 4000+port), Name: "a.test", Server: "10.0.0.53:53", IsTimeout: true}
			})
			time.Sleep(2 * time.Second)
		}
		var timeout *net.DNSError
		require.ErrorAs(t, pool.Discovery().Err, &timeout)
		require.True(t, timeout.IsTimeout)
		require.NoError(t, pool.Close())
		require.Equal(t, []string{`discovery: addresses of "a.test": lookup a.test on 10.0.0.53:53: read udp 10.0.0.53:53: i/o timeout`}, told)
	})
}

// TestMergeOfSpellings: what a pool takes for one target is one, however two sources spell it.
func TestMergeOfSpellings(t *testing.T) {
	t.Parallel()
	pool, err := balancer.NewPool(balancer.Config{Discovery: balancer.Discovery{Source: discovery.Merge{
		discovery.Static{{URL: "http://a.test", Weight: 7}, {URL: "https://a.test:443/v1"}, {URL: "http://[2001:db8::1]:80"}},
		discovery.Static{{URL: "HTTP://A.test:80/"}, {URL: "https://a.test/v1/"}, {URL: "http://[2001:DB8:0::1]"}, {URL: "http://a.test:81"}},
	}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	require.NoError(t, pool.Discovery().Err)
	require.Len(t, pool.Status(), 4)
}
