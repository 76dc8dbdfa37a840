// Command grpc is a gateway before a gRPC service: gRPC's own health checking, with a route for each of its methods.
//
//	go run ./examples/grpc    serves until Ctrl-C and prints commands to try
//
// Neither side has TLS here, so that HTTP/2 has to be asked for on both: clients on a network get TLS. The service runs in
// the same process, on a loopback port of its own; a real one runs elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build is the gateway before the service.
func build(service string, log *slog.Logger) (*gateway.Gateway, error) {
	up, err1 := gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "health", Targets: []balancer.Target{{URL: service}}, UnencryptedHTTP2: true,
		Timeouts: gateway.Timeouts{Idle: time.Hour}, // between the messages of a stream; the deadline is the client's, as ever
	})
	keys, err2 := keyauth.New(keyauth.Config{Consumers: auth.Static{"ann-key": {ID: "1", Username: "ann"}}, HideCredentials: true})
	// A stream counts when it begins.
	limit, err3 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer()})
	observer, err4 := observe.New(observe.Config{Log: log})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{observer},
		Routes: []gateway.Route{
			// A method is a path, and a service what is below it.
			{Name: "check", Match: gateway.Match{Paths: []string{healthpb.Health_Check_FullMethodName}}, Public: true, Handler: up, MaxBody: 4 << 10},
			{
				Name: "health", Match: gateway.Match{Paths: []string{"/grpc.health.v1.Health/*method"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: up,
				Streaming: true, // a plugin that buffers would be an error here, and clients may pause
			},
			{Name: "reflection", Match: gateway.Match{Prefixes: []string{"/grpc.reflection."}}, Public: true, Handler: up, Streaming: true},
		},
		Owns: []io.Closer{up}, Logger: log,
	})
}

// run serves until ctx ends, and says where.
func run(ctx context.Context, addr string, out, logs io.Writer) error {
	internal, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	service := grpc.NewServer()
	healthpb.RegisterHealthServer(service, health.NewServer())
	reflection.Register(service)
	go func() { _ = service.Serve(internal) }()
	defer service.Stop()
	defer context.AfterFunc(ctx, service.Stop)() // its streams have no end of their own

	gw, err := build("http://"+internal.Addr().String(), slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		return err
	}
	srv := gateway.NewServer("", gw)
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (choose another address with -listen)", err)
	}
	fmt.Fprintf(out, "listening on %s\n\n", l.Addr())
	fmt.Fprintf(out, "grpcurl -plaintext %s grpc.health.v1.Health/Check\n", l.Addr())
	fmt.Fprintf(out, "grpcurl -plaintext -H 'apikey: ann-key' %s grpc.health.v1.Health/Watch\n", l.Addr())
	return gw.Run(ctx, srv, l)
}
