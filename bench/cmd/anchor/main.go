// Command anchor is what Gatehouse is measured against, in Go:
//
//	noop      the server of net/http alone, whose handler writes 1 KiB
//	raw       the same server, whose handler does one exchange with the upstream by hand: less than any proxy that is an
//	          http.Handler has to do, and no correct proxy
//	httputil  httputil.ReverseProxy with a pool of buffers and many idle connections
//	fasthttp  a server and a client of fasthttp
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
	"github.com/gatehouse-go/gateway/bench/internal/counters"
	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

// originBytes is how long the origin's usual answer is.
const originBytes = 1024

func main() {
	mode := flag.String("mode", "httputil", "noop, raw, httputil or fasthttp")
	listen := flag.String("listen", "127.0.0.1:8000", "address to serve")
	upstream := flag.String("upstream", "127.0.0.1:8001", "address to forward to")
	stats := flag.String("stats", "", "address that serves the allocation counters; empty for none")
	policies := flag.Bool("policy", false, "with keys, a limit for each consumer, a header transform and metrics")
	routes := flag.Int("routes", 0, "how many routes of the form /svcN/items/{id}; 0 for one that takes everything")
	certFile := flag.String("tls-cert", "", "file with the certificate; empty for HTTP without TLS")
	keyFile := flag.String("tls-key", "", "file with its key")
	flag.Parse()
	ctx := context.Background()
	if err := counters.Serve(ctx, *stats); err != nil {
		log.Fatal(err)
	}
	if *mode == "fasthttp" && *routes > 0 {
		log.Fatal("fasthttp has no router")
	}
	cfg, err := certificate.Server(*certFile, *keyFile)
	if err != nil {
		log.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(serve(l, cfg, *mode, *upstream, *policies, *routes))
}

// serve serves a mode at l, over TLS if there is a configuration of it, until l is closed.
func serve(l net.Listener, cfg *tls.Config, mode, upstream string, policies bool, routes int) error {
	if mode == "fasthttp" {
		if cfg != nil {
			l = tls.NewListener(l, cfg)
		}
		return newFastServer(upstream, policies).Serve(l)
	}
	h, err := handler(mode, upstream, policies, routes)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, TLSConfig: cfg}
	if cfg != nil {
		return srv.ServeTLS(l, "", "")
	}
	return srv.Serve(l)
}

func handler(mode, upstream string, policies bool, routes int) (http.Handler, error) {
	var h http.Handler
	switch mode {
	case "noop":
		h = noop()
	case "raw":
		h = &raw{addr: upstream}
	case "httputil":
		h = reverseProxy(upstream)
	default:
		return nil, fmt.Errorf("there is no mode %q", mode)
	}
	if policies {
		h = standin.Chain(h)
	}
	if routes == 0 {
		return h, nil
	}
	mux := http.NewServeMux()
	for i := range routes {
		mux.Handle(fmt.Sprintf("/svc%d/items/{id}", i), h)
	}
	return mux, nil
}

func noop() http.Handler {
	body := bytes.Repeat([]byte{'x'}, originBytes)
	length, kind := []string{"1024"}, []string{"application/octet-stream"}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = length
		w.Header()["Content-Type"] = kind
		_, _ = w.Write(body)
	})
}
