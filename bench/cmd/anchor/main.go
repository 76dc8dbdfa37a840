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
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

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
	flag.Parse()
	if err := counters.Serve(context.Background(), *stats); err != nil {
		log.Fatal(err)
	}
	if *mode == "fasthttp" {
		if *routes > 0 {
			log.Fatal("fasthttp has no router")
		}
		log.Fatal(newFastServer(*upstream, *policies).ListenAndServe(*listen))
	}
	h, err := handler(*mode, *upstream, *policies, *routes)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: *listen, Handler: h, ReadHeaderTimeout: 30 * time.Second}
	log.Fatal(srv.ListenAndServe())
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
