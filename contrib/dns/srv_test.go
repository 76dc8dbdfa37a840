package dns_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer/discovery"
	"github.com/gatehouse-go/gateway/contrib/dns"
)

const srv = "_http._tcp.users.test"

func TestSRV(t *testing.T) {
	t.Parallel()
	hosts := []string{"a.test. 30 IN A 10.0.0.1", "b.test. 30 IN A 10.0.0.2", "b.test. 30 IN A 10.0.0.3", "b.test. 30 IN AAAA 2001:db8::2", "c.test. 30 IN CNAME a.test."}
	for _, tt := range []struct {
		about string
		c     dns.Config
		srv   []string
		want  string
	}{
		{"names, ports, weights, priorities", dns.Config{Zone: "z"}, []string{"1 7 8081 b.test.", "0 5 8080 a.test."},
			"http://10.0.0.1:8080 (a.test:8080) 5/0 z, http://10.0.0.2:8081 (b.test:8081) 7/1 z, http://10.0.0.3:8081 (b.test:8081) 7/1 z"},
		{"of a service", dns.Config{URL: "https://users.test/v1"}, []string{"0 0 8080 A.test."}, "https://10.0.0.1:8080/v1 (users.test) 1/0"},
		{"IPv6", dns.Config{Family: discovery.PreferIPv6}, []string{"0 1 80 a.test.", "0 1 80 b.test."}, "http://10.0.0.1:80 (a.test:80) 1/0, http://[2001:db8::2]:80 (b.test:80) 1/0"},
		{"one behind two names", dns.Config{}, []string{"0 2 80 a.test.", "0 3 80 c.test.", "0 4 81 a.test."}, "http://10.0.0.1:80 (a.test:80) 5/0, http://10.0.0.1:81 (a.test:81) 4/0"},
		{"an address in the place of a name", dns.Config{}, []string{"0 2 80 10.0.0.9."}, "http://10.0.0.9:80 2/0"},
		{"no service", dns.Config{}, []string{"0 0 0 ."}, ""},
		{"nothing", dns.Config{}, nil, `error: discovery: SRV records of "_http._tcp.users.test": lookup _http._tcp.users.test: the name does not exist (NXDOMAIN)`},
		{"nothing, which is fine", dns.Config{MissingIsEmpty: true}, nil, ""},
		{"a name that is not there", dns.Config{}, []string{"0 1 80 a.test.", "0 1 80 none.test."}, "http://10.0.0.1:80 (a.test:80) 1/0"},
		{"no name that is there", dns.Config{}, []string{"0 1 80 none.test."}, `error: discovery: addresses of "none.test": lookup none.test: the name does not exist (NXDOMAIN)`},
		{"what is no name of a host", dns.Config{}, []string{"0 1 80 a.test.", `0 1 80 a\032b\@\000.test.`},
			"http://10.0.0.1:80 (a.test:80) 1/0; error: dns: 1 of the SRV records of _http._tcp.users.test are not used: their names are no names of hosts, or of more than 1024"},
		{"nothing but that", dns.Config{}, []string{`0 1 80 \255.test.`},
			`error: discovery: SRV records of "_http._tcp.users.test": dns: 1 of the SRV records of _http._tcp.users.test are not used: their names are no names of hosts, or of more than 1024`},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			z := &zone{soa: negative}
			records := slices.Clone(hosts)
			for _, r := range tt.srv {
				records = append(records, srv+". 30 IN SRV "+r)
			}
			z.has(records...)
			tt.c.SRV = srv
			in(t, z, tt.c, func(t *testing.T, w *watched) {
				t.Helper()
				require.Equal(t, tt.want, strings.Join(w.new(), "; "))
			})
		})
	}
}

// Addresses that come along are not asked for, unless they are of others.
func TestAdditional(t *testing.T) {
	t.Parallel()
	z := &zone{lie: func(_, _ string, q, m *mdns.Msg) []*mdns.Msg {
		if q.Question[0].Qtype == mdns.TypeSRV {
			m.Extra = append(m.Extra, rrs("a.test. 5 IN A 10.0.0.1", "a.test. 9 IN A 10.0.0.2", "b.test. 9 IN AAAA 2001:db8::2",
				"evil.test. 1 IN A 6.6.6.6", "a.test. 1 IN TXT x", "b.test. 1 CH A 6.6.6.6")...)
		}
		return []*mdns.Msg{m}
	}}
	z.has(srv+". 30 IN SRV 0 1 80 a.test.", srv+". 30 IN SRV 0 1 80 b.test.", "b.test. 30 IN A 10.0.0.9")
	want := "http://10.0.0.1:80 (a.test:80) 1/0, http://10.0.0.2:80 (a.test:80) 1/0, http://10.0.0.9:80 (b.test:80) 1/0"
	in(t, z, dns.Config{SRV: srv}, func(t *testing.T, w *watched) {
		t.Helper()
		require.Equal(t, []string{want}, w.new())
		require.Equal(t, []string{"192.0.2.1:53 udp SRV " + srv, "192.0.2.1:53 udp A b.test"}, z.questions())
		time.Sleep(4900 * time.Millisecond)
		require.Empty(t, w.new())
		time.Sleep(700 * time.Millisecond)
		require.Equal(t, []string{want}, w.new(), "when the first of them has ended")
	})
}

// Where a name of several cannot be found out, its targets stay, and it is told once.
func TestStaleNames(t *testing.T) {
	t.Parallel()
	z := &zone{}
	z.has(srv+". 2 IN SRV 0 1 80 a.test.", srv+". 2 IN SRV 0 1 80 b.test.", "a.test. 2 IN A 10.0.0.1", "b.test. 2 IN A 10.0.0.2")
	a, b := "http://10.0.0.1:80 (a.test:80) 1/0", "http://10.0.0.2:80 (b.test:80) 1/0"
	problem := `error: dns: addresses of "b.test", which are those of before: dns: A b.test: 192.0.2.1:53 says SERVFAIL`
	in(t, z, dns.Config{SRV: srv}, func(t *testing.T, w *watched) {
		t.Helper()
		require.Equal(t, []string{a + ", " + b}, w.new())
		z.set(func(z *zone) {
			z.lie = func(_, _ string, q, m *mdns.Msg) []*mdns.Msg {
				if q.Question[0].Name == "b.test." {
					m.Rcode, m.Answer = mdns.RcodeServerFailure, nil
				}
				return []*mdns.Msg{m}
			}
		})
		time.Sleep(30 * time.Second)
		lines := w.new()
		require.NotEmpty(t, lines)
		require.Equal(t, []string{problem}, slices.Compact(lines), "and no targets, which are the same")
		z.has(srv+". 2 IN SRV 0 1 80 a.test.", srv+". 2 IN SRV 0 1 81 b.test.", "a.test. 2 IN A 10.0.0.1")
		time.Sleep(45 * time.Second)
		require.Equal(t, []string{a + ", http://10.0.0.2:81 (b.test:81) 1/0", problem}, slices.Compact(w.new()))
		z.set(func(z *zone) { z.lie = nil })
		time.Sleep(45 * time.Second)
		require.Equal(t, []string{a}, slices.Compact(w.new()), "that it does not exist is known now")
	})
}

// Many records are as many targets, in a bounded time; beyond the bound they are left out, and it is told.
func TestManyRecords(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1000, 1030} {
		var records []string
		for i := range n {
			records = append(records, fmt.Sprintf("%s. 30 IN SRV 0 1 80 n%d.test.", srv, i), fmt.Sprintf("n%d.test. 30 IN A 10.1.%d.%d", i, i/256, i%256))
		}
		z := &zone{lie: func(via, _ string, _, m *mdns.Msg) []*mdns.Msg {
			if via == "udp" {
				m.Truncate(1232)
			}
			return []*mdns.Msg{m}
		}}
		z.has(records...)
		in(t, z, dns.Config{SRV: srv}, func(t *testing.T, w *watched) {
			t.Helper()
			lines := w.new()
			require.Len(t, strings.Split(lines[0], ", "), min(n, 1024))
			if n > 1024 {
				require.Contains(t, lines[1], "error: dns: 6 of the SRV records")
			}
		})
	}
	// One server that answers for the records only: the round ends.
	z := &zone{lie: func(via, _ string, q, m *mdns.Msg) []*mdns.Msg {
		if q.Question[0].Qtype != mdns.TypeSRV {
			return nil
		}
		if via == "udp" {
			m.Truncate(1232)
		}
		return []*mdns.Msg{m}
	}}
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("%s. 30 IN SRV 0 1 80 n%d.test.", srv, i))
	}
	z.has(records...)
	in(t, z, dns.Config{SRV: srv}, func(t *testing.T, w *watched) {
		t.Helper()
		time.Sleep(16 * time.Second) // 4 times 2 attempts of 2 s
		synctest.Wait()
		lines := w.new()
		require.Len(t, lines, 1)
		require.Contains(t, lines[0], "dns: A n0.test: 192.0.2.1:53 does not answer within 2s")
		require.Contains(t, lines[0], `discovery: addresses of "n199.test": dns: not all is answered within 16s`)
	})
}
