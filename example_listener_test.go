package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/policy"
)

// A listener behind a balancer that says whose connections it passes on.
func ExampleNewListener() {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := gateway.NewListener(tcp, gateway.ListenerConfig{
		MaxConns:        1000,
		MaxConnsPerAddr: 50,
		ProxyProtocol:   gateway.ProxyProtocol{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		Refused: func(peer net.Addr, err error) {
			if errors.Is(err, gateway.ErrRequestFraming) {
				fmt.Println("refused:", peer)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	gw := gateway.Must(gateway.New(gateway.Config{Routes: []gateway.Route{{
		Name: "who",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "hello", policy.ExchangeFrom(r.Context()).ClientAddr())
		}),
	}}}))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx, gateway.NewServer("", gw), l) }()

	// What the balancer sends: its header, a request, and one that another server could take for two.
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "PROXY TCP4 192.0.2.7 192.0.2.1 50000 80\r\n")
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(res.Body)
	fmt.Print(res.StatusCode, " ", string(body))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if res, err = http.ReadResponse(in, nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.StatusCode)
	c.Close()
	stop()
	<-done
	// Output:
	// 200 hello 192.0.2.7
	// refused: 192.0.2.7:50000
	// 400
}
