package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
)

// Clients of one route may switch to a protocol that answers each line; the same field with "websocket" lets WebSockets through.
func ExampleUpgrade() {
	shouting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, line[:len(line)-1]+"!\n")
	}))
	defer shouting.Close()
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "shouting", Targets: []balancer.Target{{URL: shouting.URL}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	gw, err := gateway.New(gateway.Config{Owns: []io.Closer{up}, Routes: []gateway.Route{{
		Name: "shout", Public: true, Match: gateway.Match{Prefixes: []string{"/shout"}}, Handler: up,
		Forward: gateway.Forward{Upgrade: gateway.Upgrade{Protocols: []string{"shout/1"}}},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(gw)
	defer server.Close()

	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /shout HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: shout/1\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Status)
	fmt.Fprint(conn, "hello\n")
	line, _ := in.ReadString('\n')
	fmt.Print(line)
	// Output:
	// 101 Switching Protocols
	// hello!
}
