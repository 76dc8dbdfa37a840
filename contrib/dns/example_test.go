package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"

	mdns "github.com/miekg/dns"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/dns"
)

// A service whose instances are SRV records.
func Example() {
	users := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s of %s", r.URL.Path, r.Host)
	}))
	defer users.Close()
	port := users.Listener.Addr().(*net.TCPAddr).Port

	// A server of DNS, as one is in /etc/resolv.conf.
	l, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := &mdns.Server{PacketConn: l, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		m.Answer = rrs(fmt.Sprintf("_http._tcp.users.example. 30 IN SRV 0 1 %d one.users.example.", port))
		m.Extra = rrs("one.users.example. 30 IN A 127.0.0.1")
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	defer l.Close()

	source, err := dns.New(dns.Config{
		SRV:     "_http._tcp.users.example",
		URL:     "http://users.example",           // what targets are asked for by
		Servers: []string{l.LocalAddr().String()}, // default: those of /etc/resolv.conf
	})
	if err != nil {
		panic(err)
	}
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users", Discovery: balancer.Discovery{Source: source}})
	if err != nil {
		panic(err)
	}
	defer up.Close()
	w := httptest.NewRecorder()
	up.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/users/42", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 /users/42 of users.example
}
