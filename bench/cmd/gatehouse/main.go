// Command gatehouse is the gateway that is measured: one upstream, and where asked for it the policies and many routes.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/bench/internal/certificate"
	"github.com/gatehouse-go/gateway/bench/internal/counters"
	"github.com/gatehouse-go/gateway/bench/internal/standin"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address to serve")
	upstream := flag.String("upstream", "127.0.0.1:8001", "address to forward to")
	stats := flag.String("stats", "", "address that serves the allocation counters; empty for none")
	policies := flag.Bool("policy", false, "with keys, a limit for each consumer, a header transform and metrics")
	routes := flag.Int("routes", 0, "how many routes of the form /svcN/items/:id; 0 for one that takes everything")
	certFile := flag.String("tls-cert", "", "file with the certificate; empty for HTTP without TLS")
	keyFile := flag.String("tls-key", "", "file with its key")
	flag.Parse()
	if err := counters.Serve(context.Background(), *stats); err != nil {
		log.Fatal(err)
	}
	c, err := configure(*upstream, *policies, *routes)
	if err != nil {
		log.Fatal(err)
	}
	gw, err := gateway.New(c)
	if err != nil {
		log.Fatal(err)
	}
	cfg, err := certificate.Server(*certFile, *keyFile)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(run(gw, gateway.NewServer(*listen, gw), cfg))
}

// run serves as gw.Run does without a listener, but that one address, the load generator's, may have all the connections.
func run(gw *gateway.Gateway, srv *http.Server, cfg *tls.Config) error {
	ctx := context.Background()
	tcp, err := new(net.ListenConfig).Listen(ctx, "tcp", srv.Addr)
	if err != nil {
		return err
	}
	l, err := gateway.NewListener(tcp, gateway.ListenerConfig{MaxConnsPerAddr: -1})
	if err != nil {
		return err
	}
	if cfg != nil {
		cfg.NextProtos = srv.TLSConfig.NextProtos
		srv.TLSConfig = cfg
		l = tls.NewListener(l, cfg)
	}
	return gw.Run(ctx, srv, l)
}

func configure(upstream string, policies bool, routes int) (gateway.Config, error) {
	var c gateway.Config
	up, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "origin", Targets: []balancer.Target{{URL: "http://" + upstream}}})
	if err != nil {
		return c, err
	}
	if policies {
		if c.Plugins, err = chain(); err != nil {
			return c, err
		}
	}
	for i := range routes {
		c.Routes = append(c.Routes, gateway.Route{
			Name: fmt.Sprintf("svc%d", i), Match: gateway.Match{Paths: []string{fmt.Sprintf("/svc%d/items/:id", i)}}, Handler: up,
		})
	}
	if routes == 0 {
		c.Routes = []gateway.Route{{Name: "all", Match: gateway.Match{Prefixes: []string{"/"}}, Handler: up}}
	}
	return c, nil
}

// chain returns the policies, the last two of which Gatehouse has no package for yet.
func chain() ([]gateway.Plugin, error) {
	keys := make([]auth.Key, standin.NumKeys)
	for i := range keys {
		value, consumer := standin.Key(i)
		keys[i] = auth.Key{Value: value, ID: consumer, Consumer: &policy.Consumer{ID: consumer}}
	}
	var store auth.MemoryKeys
	if err := store.Add(keys...); err != nil {
		return nil, err
	}
	authenticate, err := keyauth.New(keyauth.Config{Consumers: &store, HideCredentials: true})
	if err != nil {
		return nil, err
	}
	limit, err := ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{ratelimit.PerSecond(standin.PerSecond)}, Key: policy.ByConsumer(),
		Headers: ratelimit.HeadersPeriod, // two fields, as the others send
	})
	if err != nil {
		return nil, err
	}
	return []gateway.Plugin{new(standin.Metrics).Plugin(), authenticate, limit, standin.Transform()}, nil
}
