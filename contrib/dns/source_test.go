package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/discovery"
	"github.com/gatehouse-go/gateway/contrib/dns"
)

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := dns.New(dns.Config{
		URL: "users.test:80", SRV: "a b", Weight: -2, Priority: -1, Family: 9, Servers: []string{"ns.test", "10.0.0.1:0", "::1"},
		MinTTL: time.Hour, MaxTTL: time.Millisecond, Timeout: -1, Attempts: 11, ResolvConf: "/x",
	})
	require.EqualError(t, err, strings.Join([]string{
		`dns: Config.URL "users.test:80" is not the URL of a service; write it as http://name:port`,
		`dns: Config.SRV "a b" is no name; write it as _http._tcp.users.internal`,
		`dns: Config.Weight -2 and Priority -1 are set beside SRV, whose records say them`,
		`dns: Config.Weight -2 must be 1 to 65535, 0 for the default, or balancer.NoTraffic`,
		`dns: Config.Priority -1 is negative; 0 is the first tier`,
		`dns: Config.Family 9 is none; use discovery.PreferIPv4 or another constant`,
		`dns: Config.MaxTTL 1ms must be 10ms to 24h0m0s, or 0 for the default`,
		`dns: Config.Timeout -1ns must be 1ms to 24h0m0s, or 0 for the default`,
		`dns: Config.MinTTL 1h0m0s is more than the MaxTTL of 1ms`,
		`dns: Config.Attempts 11 must be 1 to 10, or 0 for the default of 2`,
		`dns: Config.Servers[0] "ns.test" is no address; write it as 10.0.0.53 or 10.0.0.53:53`,
		`dns: Config.Servers[1] "10.0.0.1:0" is no address; write it as 10.0.0.53 or 10.0.0.53:53`,
		`dns: Config.ResolvConf "/x" is set beside Servers; leave one of them out`,
	}, "\n"))
	for problem, c := range map[string]dns.Config{
		`dns: Config.URL "" is not the URL of a service`:                   {},
		`dns: Config.URL "http://bücher.test" is not the URL of a service`: {URL: "http://bücher.test"},
		`dns: Config.URL "http://a.test:" is not the URL of a service`:     {URL: "http://a.test:"},
		`has a host that is no name in DNS`:                                {URL: "http://" + strings.Repeat("a", 64)},
		`dns: Config.ResolvConf "/does/not/exist": open /does/not/exist`:   {URL: "http://a.test", ResolvConf: "/does/not/exist"},
		`dns: Config.Servers has 17 entries, at most 16 are asked`:         {URL: "http://a.test", Servers: slices.Repeat([]string{"::1"}, 17)},
	} {
		_, err := dns.New(c)
		require.ErrorContains(t, err, problem)
	}
	var none *dns.Source
	require.EqualError(t, none.Watch(t.Context(), nil), "dns: this Source is empty; make one with New")
	require.EqualError(t, new(dns.Source).Watch(t.Context(), nil), "dns: this Source is empty; make one with New")
}

const negative = "test. 60 IN SOA ns.test. admin.test. 1 3600 600 86400 20"

func TestAddresses(t *testing.T) {
	t.Parallel()
	both := []string{"users.test. 30 IN A 10.0.0.2", "users.test. 30 IN A 10.0.0.1", "users.test. 30 IN A 10.0.0.1", "users.test. 30 IN AAAA 2001:db8::1"}
	for _, tt := range []struct {
		about   string
		c       dns.Config
		records []string
		want    string
		asked   string
	}{
		{"in order", dns.Config{Weight: 7, Priority: 1, Zone: "z"}, both, "http://10.0.0.1:8080 (users.test:8080) 7/1 z, http://10.0.0.2:8080 (users.test:8080) 7/1 z", "A"},
		{"IPv6 preferred", dns.Config{Family: discovery.PreferIPv6}, both, "http://[2001:db8::1]:8080 (users.test:8080)", "AAAA"},
		{"both", dns.Config{Family: discovery.AllFamilies}, both, "http://10.0.0.1:8080 (users.test:8080), http://10.0.0.2:8080 (users.test:8080), http://[2001:db8::1]:8080 (users.test:8080)", "A AAAA"},
		{"IPv6 alone", dns.Config{}, both[3:], "http://[2001:db8::1]:8080 (users.test:8080)", "A AAAA"},
		{"IPv4 wanted", dns.Config{Family: discovery.OnlyIPv4}, both[3:], "", "A"},
		{"IPv6 wanted", dns.Config{Family: discovery.OnlyIPv6}, both[:3], "", "AAAA"},
		{"what no target can be", dns.Config{}, []string{"users.test. 1 IN A 0.0.0.0", "users.test. 1 IN A 224.0.0.1", "users.test. 1 IN A 255.255.255.255"}, "", "A"},
		{"no such name", dns.Config{}, nil, `error: discovery: addresses of "users.test": lookup users.test: the name does not exist (NXDOMAIN)`, "A"},
		{"no such name, which is fine", dns.Config{MissingIsEmpty: true}, nil, "", "A"},
		{"other spelling", dns.Config{}, []string{"USERS.tEst. 1 IN A 10.0.0.1"}, "http://10.0.0.1:8080 (users.test:8080)", "A"},
		{"by aliases", dns.Config{}, []string{"users.test. 9 IN CNAME b.test.", "b.test. 9 IN CNAME c.example.", "c.example. 9 IN A 10.0.0.3", "d.example. 9 IN A 10.0.0.4"}, "http://10.0.0.3:8080 (users.test:8080)", "A"},
		{"an alias of nothing", dns.Config{}, []string{"users.test. 9 IN CNAME b.test."}, `error: discovery: addresses of "users.test": lookup users.test: the name does not exist (NXDOMAIN)`, "A"},
		{"a circle", dns.Config{}, []string{"users.test. 9 IN CNAME b.test.", "b.test. 9 IN CNAME users.test."}, `error: discovery: addresses of "users.test": dns: the aliases (CNAME) of users.test lead in a circle, or over more than 16 names`, "A"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			z := &zone{soa: negative}
			z.has(tt.records...)
			tt.c.URL = "http://users.test:8080"
			in(t, z, tt.c, func(t *testing.T, w *watched) {
				t.Helper()
				require.Equal(t, []string{tt.want}, w.new())
				var types []string
				for _, q := range z.questions() {
					types = append(types, strings.Fields(q)[2])
				}
				require.Equal(t, tt.asked, strings.Join(types, " "))
			})
		})
	}
}

// A server that knows the alias but not what it leads to is asked for that, and so on.
func TestAliasesElsewhere(t *testing.T) {
	t.Parallel()
	chain := func(n int, last string) []string {
		records := []string{"users.test. 9 IN CNAME n0.test."}
		for i := range n {
			records = append(records, fmt.Sprintf("n%d.test. 9 IN CNAME n%d.test.", i, i+1))
		}
		return append(records, fmt.Sprintf("n%d.test. 9 IN %s", n, last))
	}
	one := func(_, _ string, q, m *mdns.Msg) []*mdns.Msg { // only what is of the name itself
		m.Answer = slices.DeleteFunc(m.Answer, func(rr mdns.RR) bool { return rr.Header().Name != q.Question[0].Name })
		m.Ns, m.Rcode = nil, 0
		return []*mdns.Msg{m}
	}
	for _, tt := range []struct {
		records []string
		lie     func(_, _ string, q, m *mdns.Msg) []*mdns.Msg
		want    string
		asked   int
	}{
		{chain(3, "A 10.0.0.1"), one, "http://10.0.0.1 (users.test)", 5},
		{chain(12, "A 10.0.0.1"), one, `error: discovery: addresses of "users.test": dns: it takes more than 8 questions to follow the aliases (CNAME) of users.test`, 8},
		{chain(12, "A 10.0.0.1"), nil, "http://10.0.0.1 (users.test)", 1},
		{chain(18, "A 10.0.0.1"), nil, `error: discovery: addresses of "users.test": dns: the aliases (CNAME) of users.test lead in a circle, or over more than 16 names`, 1},
		{chain(3, "CNAME n0.test."), one, `error: discovery: addresses of "users.test": dns: the aliases (CNAME) of users.test lead in a circle, or over more than 16 names`, 5},
	} {
		z := &zone{lie: tt.lie}
		z.has(tt.records...)
		in(t, z, dns.Config{URL: "http://users.test"}, func(t *testing.T, w *watched) {
			t.Helper()
			require.Equal(t, []string{tt.want}, w.new())
			require.Len(t, z.questions(), tt.asked)
		})
	}
}

// asks returns when there was a question, in the time that is given.
func asks(z *zone, during time.Duration) []time.Duration {
	began := time.Now()
	z.set(func(z *zone) { z.times = nil })
	time.Sleep(during)
	z.mu.Lock()
	defer z.mu.Unlock()
	var all []time.Duration
	for _, at := range slices.Compact(z.times) {
		all = append(all, at.Sub(began))
	}
	return all
}

// What holds for long is not asked for often.
func TestTTL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about         string
		c             dns.Config
		records       []string
		soa           string
		rcode         int
		least, most   time.Duration
		wantQuestions int // at most, each time
	}{
		{"as the record says", dns.Config{}, []string{"users.test. 30 IN A 10.0.0.1"}, "", 0, 30 * time.Second, 33 * time.Second, 1},
		{"the shortest of all", dns.Config{}, []string{"users.test. 30 IN A 10.0.0.1", "users.test. 20 IN A 10.0.0.2"}, "", 0, 20 * time.Second, 22 * time.Second, 1},
		{"also of the alias", dns.Config{}, []string{"users.test. 5 IN CNAME b.test.", "b.test. 30 IN A 10.0.0.1"}, "", 0, 5 * time.Second, 5500 * time.Millisecond, 1},
		{"0", dns.Config{}, []string{"users.test. 0 IN A 10.0.0.1"}, "", 0, time.Second, 1100 * time.Millisecond, 1},
		{"0, with another floor", dns.Config{MinTTL: 10 * time.Second}, []string{"users.test. 0 IN A 10.0.0.1"}, "", 0, 10 * time.Second, 11 * time.Second, 1},
		{"a week", dns.Config{}, []string{"users.test. 604800 IN A 10.0.0.1"}, "", 0, 5 * time.Minute, 330 * time.Second, 1},
		{"more than there is", dns.Config{}, []string{"users.test. 4294967295 IN A 10.0.0.1"}, "", 0, time.Second, 1100 * time.Millisecond, 1},
		{"a ceiling", dns.Config{MaxTTL: 10 * time.Second}, []string{"users.test. 604800 IN A 10.0.0.1"}, "", 0, 10 * time.Second, 11 * time.Second, 1},
		{"nothing, for as long as the zone says", dns.Config{}, nil, negative, 0, 20 * time.Second, 22 * time.Second, 1},
		{"nothing, for a day", dns.Config{}, nil, "test. 86400 IN SOA ns.test. admin.test. 1 3600 600 86400 86400", 0, 30 * time.Second, 33 * time.Second, 1},
		{"nothing, of another zone", dns.Config{}, nil, "example. 60 IN SOA ns.test. admin.test. 1 3600 600 86400 20", 0, time.Second, 1100 * time.Millisecond, 1},
		{"nothing, and no word how long", dns.Config{}, nil, "", 0, time.Second, 1100 * time.Millisecond, 1},
		{"the name is there", dns.Config{}, []string{"users.test. 30 IN TXT x"}, negative, 0, 20 * time.Second, 22 * time.Second, 2},
		{"IPv6 in the place of nothing", dns.Config{}, []string{"users.test. 300 IN AAAA 2001:db8::1"}, negative, 0, 20 * time.Second, 22 * time.Second, 2},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			z := &zone{soa: tt.soa, rcode: tt.rcode}
			z.has(tt.records...)
			tt.c.URL = "http://users.test"
			in(t, z, tt.c, func(t *testing.T, w *watched) {
				t.Helper()
				synctest.Wait()
				times := asks(z, 20*tt.most)
				require.GreaterOrEqual(t, len(times), 18)
				before := time.Duration(0)
				different := map[time.Duration]bool{}
				for _, at := range times {
					require.GreaterOrEqual(t, at-before, tt.least)
					require.LessOrEqual(t, at-before, tt.most)
					different[at-before] = true
					before = at
				}
				require.Greater(t, len(different), 2, "not all at the same time")
			})
		})
	}
}

// After failures it asks less and less often, up to a bound; targets stay, and come back.
func TestFailures(t *testing.T) {
	t.Parallel()
	z := &zone{}
	z.has("users.test. 1 IN A 10.0.0.1")
	in(t, z, dns.Config{URL: "http://users.test"}, func(t *testing.T, w *watched) {
		t.Helper()
		require.Equal(t, []string{"http://10.0.0.1 (users.test)"}, w.new())
		z.set(func(z *zone) { z.rcode = mdns.RcodeServerFailure })
		time.Sleep(1200 * time.Millisecond)
		require.Equal(t, []string{`error: discovery: addresses of "users.test": dns: A users.test: 192.0.2.1:53 says SERVFAIL`}, w.new())
		times := asks(z, 10*time.Minute)
		require.Less(t, times[0], 2*time.Second)
		require.Less(t, len(times), 30)
		for i, at := range times[8:] {
			require.GreaterOrEqual(t, at-times[8+i-1], 30*time.Second)
			require.LessOrEqual(t, at-times[8+i-1], 45*time.Second)
		}
		z.set(func(z *zone) { z.rcode = 0 })
		time.Sleep(46 * time.Second)
		lines := w.new()
		require.Equal(t, "http://10.0.0.1 (users.test)", lines[len(lines)-1])
		times = asks(z, 11*time.Second)
		require.GreaterOrEqual(t, len(times), 8, "it is well again")
	})
}

// Whatever servers do, there is an answer or a word on what is wrong, and always the same one.
func TestServers(t *testing.T) {
	t.Parallel()
	good := "http://10.0.0.1 (users.test)"
	is := func(server string) bool { return server == "192.0.2.1:53" }
	none := func(_, _ string, _, _ *mdns.Msg) []*mdns.Msg { return nil }
	for _, tt := range []struct {
		about string
		lie   func(via, server string, q, m *mdns.Msg) []*mdns.Msg
		want  string // "" is good
		asked int    // questions of the first round; the second begins with who has answered
		again int
	}{
		{"all is well", nil, "", 1, 1},
		{"the first does not answer", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if is(server) {
				return nil
			}
			return []*mdns.Msg{m}
		}, "", 2, 1},
		{"the first refuses", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if is(server) {
				m.Rcode, m.Answer = mdns.RcodeRefused, nil
			}
			return []*mdns.Msg{m}
		}, "", 2, 1},
		{"the first knows nothing and asks nobody", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if is(server) {
				m.RecursionAvailable, m.Answer, m.Ns = false, nil, rrs("test. 60 IN NS ns.test.")
			}
			return []*mdns.Msg{m}
		}, "", 2, 1},
		{"the first answers of others", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if is(server) {
				m.Answer = rrs("evil.test. 9 IN A 6.6.6.6")
			}
			return []*mdns.Msg{m}
		}, "", 2, 1},
		{"beside records of others", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			m.Answer = append(rrs("evil.test. 0 IN A 6.6.6.6", "evil.test. 0 IN CNAME users.test.", "users.test. 0 CH A 6.6.6.6"), m.Answer...)
			return []*mdns.Msg{m}
		}, "", 1, 1},
		{"another id first, another question, no answer, another class, another opcode", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			var all []*mdns.Msg
			for _, change := range []func(m *mdns.Msg){
				func(m *mdns.Msg) { m.Id++ },
				func(m *mdns.Msg) { m.Question[0].Name = "evil.test." },
				func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAAAA },
				func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS },
				func(m *mdns.Msg) { m.Question = append(m.Question, m.Question...) },
				func(m *mdns.Msg) { m.Question = nil },
				func(m *mdns.Msg) { m.Response = false },
				func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify },
			} {
				bad := m.Copy()
				bad.Answer = rrs("users.test. 9 IN A 6.6.6.6")
				change(bad)
				all = append(all, bad)
			}
			return append(all, m)
		}, "", 1, 1},
		{"only ids of others", func(via, server string, q, m *mdns.Msg) []*mdns.Msg { m.Id++; return []*mdns.Msg{m} },
			"192.0.2.1:53 does not answer within 2s; 192.0.2.2:53 does not answer within 2s", 4, 4},
		{"nobody answers", none, "192.0.2.1:53 does not answer within 2s; 192.0.2.2:53 does not answer within 2s", 4, 4},
		{"nobody knows EDNS", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if q.IsEdns0() != nil {
				m.Rcode, m.Answer, m.Question, m.Extra = mdns.RcodeFormatError, nil, nil, nil
			}
			return []*mdns.Msg{m}
		}, "", 2, 2},
		{"nobody answers EDNS", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if q.IsEdns0() != nil {
				return nil
			}
			return []*mdns.Msg{m}
		}, "", 3, 3},
		{"nobody understands", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			m.Rcode, m.Answer = mdns.RcodeNotImplemented, nil
			return []*mdns.Msg{m}
		}, "192.0.2.1:53 does not understand the question; 192.0.2.2:53 does not understand the question", 6, 6},
		{"truncated", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if via == "udp" {
				m.Truncated, m.Answer = true, rrs("users.test. 9 IN A 10.0.0.7")
			}
			return []*mdns.Msg{m}
		}, "", 2, 2},
		{"truncated, also over TCP", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			m.Truncated = true
			return []*mdns.Msg{m}
		}, "192.0.2.1:53 cut its answer short, over TCP too; 192.0.2.2:53 cut its answer short, over TCP too", 8, 8},
		{"another id over TCP", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			if m.Truncated = true; via == "tcp" {
				m.Id++
			}
			return []*mdns.Msg{m}
		}, "192.0.2.1:53 over TCP: answers with another id; 192.0.2.2:53 over TCP: answers with another id", 8, 8},
		{"an RCODE without a name", func(via, server string, q, m *mdns.Msg) []*mdns.Msg {
			m.Rcode = 13
			return []*mdns.Msg{m}
		}, "192.0.2.1:53 says RCODE 13; 192.0.2.2:53 says RCODE 13", 4, 4},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			z := &zone{lie: tt.lie}
			z.has("users.test. 9 IN A 10.0.0.1")
			in(t, z, dns.Config{URL: "http://users.test", Servers: []string{"192.0.2.1", "192.0.2.2:53"}}, func(t *testing.T, w *watched) {
				t.Helper()
				want := good
				if tt.want != "" {
					want = `error: discovery: addresses of "users.test": dns: A users.test: ` + tt.want
				}
				for _, asked := range []int{tt.asked, tt.again} {
					var lines []string
					for range 1000 {
						if lines = w.new(); len(lines) > 0 {
							break
						}
						time.Sleep(10 * time.Millisecond)
					}
					require.Equal(t, []string{want}, lines)
					require.Len(t, z.questions(), asked)
					if tt.want != "" { // the next is soon
						time.Sleep(time.Second)
						continue
					}
					time.Sleep(9 * time.Second)
				}
			})
		})
	}
}

// What cannot be parsed, or is shorter than it says, is no answer.
func TestBrokenMessages(t *testing.T) {
	t.Parallel()
	for _, change := range []func(raw []byte) []byte{
		func(raw []byte) []byte { return raw[:5] },
		func(raw []byte) []byte { return raw[:len(raw)-1] },
		func(raw []byte) []byte { return raw[:len(raw)-16] },   // the last A record whole
		func(raw []byte) []byte { raw[7] = 9; return raw },     // more answers than there are
		func(raw []byte) []byte { raw[9] = 1; return raw },     // an authority that is not there
		func(raw []byte) []byte { raw[12] = 0xc0; return raw }, // a pointer in the place of the question's name
	} {
		synctest.Test(t, func(t *testing.T) {
			s, err := dns.New(dns.Config{URL: "http://users.test", Servers: []string{"192.0.2.1"}, Attempts: 1, Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() {
					defer there.Close()
					c := &mdns.Conn{Conn: packets{there}}
					q, err := c.ReadMsg()
					if err != nil {
						return
					}
					m := new(mdns.Msg)
					m.SetReply(q)
					m.RecursionAvailable, m.Compress = true, true
					m.Answer = rrs("users.test. 9 IN A 10.0.0.1", "users.test. 9 IN A 10.0.0.2")
					raw, err := m.Pack()
					if err != nil {
						panic(err)
					}
					_, _ = there.Write(change(raw))
					_, _ = c.ReadMsg()
				}()
				return packets{here}, nil
			}})
			require.NoError(t, err)
			w := watch(t, s)
			time.Sleep(2 * time.Second)
			require.Equal(t, []string{`error: discovery: addresses of "users.test": dns: A users.test: 192.0.2.1:53 does not answer within 2s`}, w.new())
			w.end(t)
		})
	}
}

// A source ends at once, whatever it is doing.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Second, 10 * time.Second} {
		z := &zone{lie: func(_, _ string, _, _ *mdns.Msg) []*mdns.Msg { return nil }}
		in(t, z, dns.Config{URL: "http://users.test", SRV: "_http._tcp.users.test"}, func(t *testing.T, w *watched) {
			t.Helper()
			time.Sleep(after)
			began := time.Now()
			w.end(t)
			require.Zero(t, time.Since(began))
			w.ended <- context.Canceled
		})
	}
}

// The servers of resolv.conf are those that it has at the time.
func TestResolvConf(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) { require.NoError(t, os.WriteFile(conf, []byte(text), 0o600)) }
	write("# none\n")
	z := &zone{}
	z.has("users.test. 1 IN A 10.0.0.1")
	synctest.Test(t, func(t *testing.T) {
		s, err := dns.New(dns.Config{URL: "http://users.test", ResolvConf: conf, Dial: z.dial})
		require.NoError(t, err)
		w := watch(t, s)
		for _, step := range []struct{ text, want string }{
			{"", "127.0.0.1:53 udp A users.test"},
			{"nameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n", "10.0.0.53:53 udp A users.test"},
			{"nameserver fe80::1%eth0\n", "[fe80::1%eth0]:53 udp A users.test"},
			{"gone", "[fe80::1%eth0]:53 udp A users.test"},
		} {
			if step.text == "gone" {
				require.NoError(t, os.Remove(conf))
			} else {
				write(step.text)
			}
			z.questions()
			time.Sleep(1200 * time.Millisecond)
			synctest.Wait()
			require.Contains(t, z.questions(), step.want)
		}
		w.end(t)
	})
}

// What a dialer says is told, without what is different each time.
func TestDialErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := 0
		s, err := dns.New(dns.Config{URL: "http://users.test", Servers: []string{"::1"}, Dial: func(context.Context, string, string) (net.Conn, error) {
			port++
			return nil, &net.OpError{Op: "dial", Source: &net.UDPAddr{Port: port}, Err: errors.New("no route to host")}
		}})
		require.NoError(t, err)
		w := watch(t, s)
		for range 3 {
			require.Equal(t, []string{`error: discovery: addresses of "users.test": dns: A users.test: [::1]:53 over udp: no route to host`}, w.new())
			for range 1000 {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
				w.mu.Lock()
				n := len(w.lines)
				w.mu.Unlock()
				if n > 0 {
					break
				}
			}
		}
		w.end(t)
	})
}

// FuzzAnswer gives a source whatever a server may send, with the id and the question of what was asked.
func FuzzAnswer(f *testing.F) {
	for _, lines := range [][]string{
		{"users.test. 9 IN A 10.0.0.1"}, {"users.test. 9 IN CNAME b.test.", "b.test. 1 IN A 10.0.0.2"}, {"users.test. 9 IN SRV 1 2 80 a.test."}, {},
	} {
		m := new(mdns.Msg)
		m.SetQuestion("users.test.", mdns.TypeSRV)
		m.Response, m.RecursionAvailable, m.Answer, m.Extra = true, true, rrs(lines...), rrs("a.test. 9 IN A 10.0.0.3")
		raw, err := m.Pack()
		require.NoError(f, err)
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, srv bool) {
		c := dns.Config{URL: "http://users.test", Servers: []string{"192.0.2.1"}, Attempts: 1, Timeout: 10 * time.Millisecond}
		if srv {
			c = dns.Config{SRV: "users.test", Servers: c.Servers, Attempts: 1, Timeout: c.Timeout}
		}
		synctest.Test(t, func(t *testing.T) {
			c.Dial = func(_ context.Context, network, _ string) (net.Conn, error) {
				here, there := net.Pipe()
				if network == "udp" {
					here, there = packets{here}, packets{there}
				}
				go func() {
					defer there.Close()
					c := &mdns.Conn{Conn: there}
					q, err := c.ReadMsg()
					if err != nil {
						return
					}
					answer := slices.Clone(raw)
					var head mdns.Msg
					if len(answer) > 12 && head.Unpack(answer) == nil && len(head.Question) == 1 {
						head.Id, head.Question = q.Id, q.Question
						if packed, err := head.Pack(); err == nil {
							answer = packed
						}
					}
					_, _ = c.Write(answer)
					_, _ = c.ReadMsg()
				}()
				return here, nil
			}
			s, err := dns.New(c)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			err = s.Watch(ctx, func(targets []balancer.Target, err error) {
				defer cancel()
				if err != nil || len(targets) == 0 {
					return
				}
				// A pool takes them.
				pool, err := balancer.NewPool(balancer.Config{Targets: targets})
				require.NoError(t, err)
				require.NoError(t, pool.Close())
			})
			require.ErrorIs(t, err, context.Canceled)
		})
	})
}
