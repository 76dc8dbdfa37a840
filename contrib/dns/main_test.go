package dns_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for.
const patience = 20 * time.Second

// zone is what servers know, and how they behave. It is set while they are asked.
type zone struct {
	mu      sync.Mutex
	records []mdns.RR
	rcode   int
	soa     string
	lie     func(via, server string, q, m *mdns.Msg) []*mdns.Msg // changes the answer m
	asked   []string
	times   []time.Time
}

func (z *zone) set(change func(*zone)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	change(z)
}

// rrs parses records.
func rrs(lines ...string) []mdns.RR {
	var all []mdns.RR
	for _, line := range lines {
		rr, err := mdns.NewRR(line)
		if err != nil || rr == nil {
			panic(fmt.Sprintf("%q: %v", line, err))
		}
		all = append(all, rr)
	}
	return all
}

func (z *zone) has(lines ...string) {
	z.set(func(z *zone) { z.records = rrs(lines...) })
}

// questions returns what was asked since it was called before.
func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := z.asked
	z.asked = nil
	return asked
}

// answer returns the answers to a question.
func (z *zone) answer(via, server string, q *mdns.Msg) []*mdns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(mdns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	z.times = append(z.times, time.Now())
	z.asked = append(z.asked, strings.TrimSuffix(fmt.Sprintf("%s %s %s %s", server, via, mdns.TypeToString[qtype], name), "."))
	m.Rcode = z.rcode
	if m.Rcode == mdns.RcodeSuccess {
		exists := false
		for range 20 { // as a resolver follows them
			next := ""
			for _, rr := range z.records {
				if !strings.EqualFold(rr.Header().Name, name) {
					continue
				}
				exists = true
				if c, ok := rr.(*mdns.CNAME); ok {
					next = c.Target
					m.Answer = append(m.Answer, rr)
				} else if rr.Header().Rrtype == qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
			if next == "" {
				break
			}
			name, exists = next, false
		}
		if !exists {
			m.Rcode = mdns.RcodeNameError
		}
		if z.soa != "" && !slices.ContainsFunc(m.Answer, func(rr mdns.RR) bool { return rr.Header().Rrtype == qtype }) {
			m.Ns = rrs(z.soa)
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(opt.UDPSize(), false)
	}
	if z.lie != nil {
		return z.lie(via, server, q, m)
	}
	return []*mdns.Msg{m}
}

// packets is the end of a pipe whose messages have no length.
type packets struct{ net.Conn }

func (packets) ReadFrom([]byte) (int, net.Addr, error) { panic("not used") }
func (packets) WriteTo([]byte, net.Addr) (int, error)  { panic("not used") }

// serve answers one question.
func (z *zone) serve(via, server string, conn net.Conn) {
	defer conn.Close()
	c := &mdns.Conn{Conn: conn}
	q, err := c.ReadMsg()
	if err != nil {
		return
	}
	for _, m := range z.answer(via, server, q) {
		raw, err := m.Pack()
		if err != nil {
			panic(err)
		}
		if _, err := c.Write(raw); err != nil {
			return
		}
	}
	_, _ = c.ReadMsg() // until the other end is closed
}

// dial connects to the zone by a pipe, as Config.Dial.
func (z *zone) dial(_ context.Context, network, address string) (net.Conn, error) {
	here, there := net.Pipe()
	if network == "udp" {
		here, there = packets{here}, packets{there}
	}
	go z.serve(network, address, there)
	return here, nil
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
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line(targets, err))
		})
	}()
	return w
}

// line writes what was delivered: URL, host, weight, priority and zone of each target.
func line(targets []balancer.Target, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var all []string
	for _, t := range targets {
		s := t.URL
		if t.Host != "" {
			s += " (" + t.Host + ")"
		}
		if t.Weight != 0 || t.Priority != 0 {
			s += fmt.Sprintf(" %d/%d", t.Weight, t.Priority)
		}
		all = append(all, strings.TrimSpace(s+" "+t.Zone))
	}
	return strings.Join(all, ", ")
}

// new returns what was delivered since, in a bubble.
func (w *watched) new() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

func (w *watched) end(t *testing.T) {
	t.Helper()
	w.cancel()
	require.ErrorIs(t, <-w.ended, context.Canceled)
}

// in runs a test with a source that asks the zone, in a bubble.
func in(t *testing.T, z *zone, c dns.Config, f func(t *testing.T, w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.Dial = z.dial
		if c.Servers == nil {
			c.Servers = []string{"192.0.2.1"}
		}
		s, err := dns.New(c)
		require.NoError(t, err)
		w := watch(t, s)
		f(t, w)
		w.end(t)
	})
}

// server is a server on loopback, over UDP and TCP.
func server(t *testing.T, z *zone) string {
	t.Helper()
	for range 100 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().String()
		p, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", addr)
		if err != nil { // somebody has that port
			_ = l.Close()
			continue
		}
		for _, s := range []*mdns.Server{{Listener: l}, {PacketConn: p}} {
			via := map[bool]string{true: "tcp", false: "udp"}[s.Listener != nil]
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			s.Handler = mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
				for _, m := range z.answer(via, addr, q) {
					_ = w.WriteMsg(m)
				}
			})
			ended := make(chan error, 1)
			go func() { ended <- s.ActivateAndServe() }()
			<-started
			t.Cleanup(func() {
				_ = s.Shutdown()
				<-ended
			})
		}
		return addr
	}
	require.Fail(t, "there is no port that is free for UDP and TCP")
	return ""
}
