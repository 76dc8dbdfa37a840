package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/config"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// failing is a logger for package interop, which tells of what went wrong by ending the process.
type failing struct{ grpclog.LoggerV2 }

// failed is what it panics with instead.
type failed string

// Fatalln implements [grpclog.LoggerV2].
func (failing) Fatalln(args ...any) { panic(failed(fmt.Sprintln(args...))) }

// useFailing is called before anything of gRPC's is.
func useFailing() {
	grpclog.SetLoggerV2(failing{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)})
}

// A way is how clients reach the gateway, and how that reaches the service.
type way struct {
	about             string
	secure, secureOut bool
}

func ways() []way {
	return []way{{"TLS", true, true}, {"without TLS", false, false}, {"TLS ended", true, false}, {"TLS begun", false, true}}
}

// keyed sends a key with each call.
type keyed string

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (k keyed) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"apikey": string(k)}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials].
func (keyed) RequireTransportSecurity() bool { return false }

// serviceAt serves s and returns its URL.
func serviceAt(t *testing.T, secure bool, s testpb.TestServiceServer) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url, opts := "http://", []grpc.ServerOption(nil)
	if secure {
		url, opts = "https://", []grpc.ServerOption{grpc.Creds(credentials.NewTLS(presenting()))}
	}
	srv := grpc.NewServer(opts...)
	testpb.RegisterTestServiceServer(srv, s)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		<-ended
	})
	return url + l.Addr().String()
}

// behind serves a gateway before the target, which is a service's.
func behind(t *testing.T, w way, target string, more ...gateway.Plugin) (running, *journal) {
	t.Helper()
	log := new(journal)
	return run(t, owning(gateway.Config{
		Plugins: append(policies(t, log, ratelimit.PerMinute(60_000)), more...),
		Routes: []gateway.Route{{
			Name: "service", Match: gateway.Match{Paths: []string{"/grpc.testing.TestService/*rest", "/grpc.testing.UnimplementedService/*rest"}},
			Handler: upstream(t, gateway.UpstreamConfig{UnencryptedHTTP2: true}, target), Streaming: true,
		}},
	}), front(w.secure)), log
}

// front configures the server of a gateway that takes HTTP/2.
func front(secure bool) func(*http.Server) {
	return func(srv *http.Server) {
		if !secure {
			plain(srv)
			srv.Protocols.SetUnencryptedHTTP2(true)
		}
	}
}

// connected returns a connection to a gateway that has a key.
func connected(t *testing.T, gw running, secure bool, key string) *grpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if secure {
		c := trusting()
		c.MinVersion = tls.VersionTLS13
		creds = credentials.NewTLS(c)
	}
	cc, err := grpc.NewClient(gw.addr, grpc.WithTransportCredentials(creds), grpc.WithPerRPCCredentials(keyed(key)), grpc.WithNoProxy())
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// calls adapts cases that every client of the service has.
func calls(f func(context.Context, testpb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) { f(ctx, testpb.NewTestServiceClient(cc)) }
}

// TestGRPCInterop plays the cases of gRPC's interop test descriptions that need no particular cloud.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.about, func(t *testing.T) {
			t.Parallel()
			gw, log := behind(t, w, serviceAt(t, w.secureOut, interop.NewTestServer()))
			for name, play := range map[string]func(context.Context, *grpc.ClientConn){
				"empty_unary":                 calls(interop.DoEmptyUnaryCall),
				"large_unary":                 calls(interop.DoLargeUnaryCall),
				"client_streaming":            calls(interop.DoClientStreaming),
				"server_streaming":            calls(interop.DoServerStreaming),
				"ping_pong":                   calls(interop.DoPingPong),
				"empty_stream":                calls(interop.DoEmptyStream),
				"cancel_after_begin":          calls(interop.DoCancelAfterBegin),
				"cancel_after_first_response": calls(interop.DoCancelAfterFirstResponse),
				"timeout_on_sleeping_server":  calls(interop.DoTimeoutOnSleepingServer),
				"custom_metadata":             calls(interop.DoCustomMetadata),
				"status_code_and_message":     calls(interop.DoStatusCodeAndMessage),
				"special_status_message":      calls(interop.DoSpecialStatusMessage),
				"unimplemented_method":        interop.DoUnimplementedMethod,
				"unimplemented_service": func(ctx context.Context, cc *grpc.ClientConn) {
					interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(cc))
				},
				"compressed": func(ctx context.Context, cc *grpc.ClientConn) {
					interop.DoLargeUnaryCall(ctx, testpb.NewTestServiceClient(cc), grpc.UseCompressor(gzip.Name))
				},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					defer func() {
						if v := recover(); v != nil {
							message, ok := v.(failed)
							if !ok {
								panic(v)
							}
							require.FailNow(t, string(message))
						}
					}()
					play(bounded(t), connected(t, gw, w.secure, "ann-key"))
				})
			}
			t.Cleanup(func() {
				require.Contains(t, log.String(), "ann")
			})
		})
	}
}

// A patient service answers when the client has left, or asks it to.
type patient struct {
	testpb.UnimplementedTestServiceServer

	called chan context.Context
	left   chan error
}

func newPatient() *patient {
	return &patient{called: make(chan context.Context, 10), left: make(chan error, 10)}
}

// UnaryCall waits for the end of the call.
func (p *patient) UnaryCall(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	p.called <- ctx
	<-ctx.Done()
	p.left <- ctx.Err()
	return nil, ctx.Err()
}

// FullDuplexCall sends one message, and then waits likewise.
func (p *patient) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	p.called <- stream.Context()
	if err := stream.Send(new(testpb.StreamingOutputCallResponse)); err != nil {
		return err
	}
	<-stream.Context().Done()
	p.left <- stream.Context().Err()
	return stream.Context().Err()
}

// StreamingInputCall refuses without a look at what is sent.
func (*patient) StreamingInputCall(grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	return status.Error(codes.AlreadyExists, "there is one: 100%")
}

// EmptyCall says who called.
func (*patient) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	return new(testpb.Empty), grpc.SetHeader(ctx, metadata.Pairs("x-caller", strings.Join(md["x-consumer-username"], ","), "x-key", strings.Join(md["apikey"], ",")))
}

func everyWay(t *testing.T, test func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.about, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// An echoing service sends back what it is sent.
type echoing struct {
	testpb.UnimplementedTestServiceServer
}

// FullDuplexCall sends a message for each that it gets, of the size of its payload.
func (echoing) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// A gateway that shuts down lets calls in flight go on to their end, and takes no more.
func TestGRPCThatIsDrained(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		gw, _ := behind(t, w, serviceAt(t, w.secureOut, echoing{}))
		client := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key"))
		stream, err := client.FullDuplexCall(bounded(t))
		require.NoError(t, err)
		echo := func(n int) {
			body := bytes.Repeat([]byte("e"), n)
			require.NoError(t, stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: body}}))
			out, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, body, out.GetPayload().GetBody())
		}
		echo(1)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			gw.stop()
		}()
		require.Eventually(t, func() bool { // new ones are not taken from some moment on
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := client.EmptyCall(ctx, new(testpb.Empty))
			code := status.Code(err)
			return code == codes.Unavailable || code == codes.DeadlineExceeded
		}, patience, 10*time.Millisecond)
		for n := range 5 {
			echo(1 << (4 * n))
		}
		select {
		case <-stopped:
			require.FailNow(t, "the gateway did not wait")
		default:
		}
		require.NoError(t, stream.CloseSend())
		_, err = stream.Recv()
		require.ErrorIs(t, err, io.EOF)
		receive(t, stopped, "end")
	})
}

// A client's deadline is the service's, and that a client has left is known there at once.
func TestGRPCThatEnds(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		service := newPatient()
		gw, _ := behind(t, w, serviceAt(t, w.secureOut, service))
		client := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key"))

		deadline := time.Now().Add(time.Second)
		ctx, cancel := context.WithDeadline(bounded(t), deadline)
		defer cancel()
		_, err := client.UnaryCall(ctx, new(testpb.SimpleRequest))
		require.Equal(t, codes.DeadlineExceeded, status.Code(err), "%v", err)
		there, ok := receive(t, service.called, "call").Deadline()
		require.True(t, ok)
		require.WithinDuration(t, deadline, there, 5*time.Second) // it is sent as what is left
		receive(t, service.left, "end")

		ctx, cancel = context.WithCancel(bounded(t))
		defer cancel()
		stream, err := client.FullDuplexCall(ctx)
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		receive(t, service.called, "call")
		cancel()
		require.ErrorIs(t, receive(t, service.left, "end"), context.Canceled)
		_, err = stream.Recv()
		require.Equal(t, codes.Canceled, status.Code(err), "%v", err)
	})
}

// An answer without a message, while the client still sends, is one: its status arrives.
func TestGRPCTrailersOnly(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		gw, _ := behind(t, w, serviceAt(t, w.secureOut, newPatient()))
		client := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key"))
		stream, err := client.StreamingInputCall(bounded(t))
		require.NoError(t, err)
		var reply testpb.StreamingInputCallResponse
		err = stream.RecvMsg(&reply)
		require.Equal(t, codes.AlreadyExists, status.Code(err), "%v", err)
		require.Equal(t, "there is one: 100%", status.Convert(err).Message())
		require.Contains(t, stream.Trailer(), "via")
	})
}

func TestGRPCCaller(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		gw, log := behind(t, w, serviceAt(t, w.secureOut, newPatient()))
		var head metadata.MD
		_, err := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key")).EmptyCall(bounded(t), new(testpb.Empty), grpc.Header(&head))
		require.NoError(t, err)
		require.Equal(t, []string{"ann"}, head["x-caller"])
		require.Equal(t, []string{""}, head["x-key"])
		require.Len(t, head["x-request-id"], 1)
		gw.stop()
		require.Contains(t, log.String(), "EmptyCall")
	})
}

// refusing is a plugin that refuses.
type refusing int

// Wrap implements [gateway.Plugin].
func (s refusing) Wrap(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.Refuse(w, r, "refusing", &policy.Error{Status: int(s), Message: "not 100% ready"})
	})
}

// What the gateway says itself is said as gRPC has it, also to a client that has not said all.
func TestGRPCRefusals(t *testing.T) {
	t.Parallel()
	staff, err := acl.New(acl.Config{Allow: []string{"staff"}})
	require.NoError(t, err)
	rare, err := ratelimit.New(ratelimit.Config{Name: "rare", Limits: []ratelimit.Limit{ratelimit.PerHour(1)}, Cost: func(*http.Request) int { return 2 }})
	require.NoError(t, err)
	const down = "http://127.0.0.1:1"
	for name, tt := range map[string]struct {
		key, method string
		plugin      gateway.Plugin
		target      string
		timeouts    gateway.Timeouts
		code        codes.Code
		message     string
	}{
		"401":        {key: "no-key", code: codes.Unauthenticated, message: "Unauthorized"},
		"403":        {plugin: staff, code: codes.PermissionDenied},
		"404":        {method: "/no.Service/Method", code: codes.NotFound},
		"429":        {plugin: rare, code: codes.ResourceExhausted, message: "API rate limit exceeded"},
		"502":        {target: down, code: codes.Unavailable},
		"503":        {plugin: refusing(503), code: codes.Unavailable, message: "not 100% ready"},
		"504":        {timeouts: gateway.Timeouts{FirstByte: 100 * time.Millisecond}, code: codes.DeadlineExceeded},
		"500":        {plugin: refusing(500), code: codes.Internal, message: "not 100% ready"},
		"the target": {method: "/grpc.testing.TestService/None", code: codes.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, func(t *testing.T, w way) {
				t.Helper()
				target := tt.target
				if target == "" {
					target = serviceAt(t, w.secureOut, newPatient())
				}
				plugins := policies(t, new(journal), ratelimit.PerMinute(60_000))
				if tt.plugin != nil {
					plugins = append(plugins, tt.plugin)
				}
				gw := run(t, owning(gateway.Config{Plugins: plugins, Routes: []gateway.Route{{
					Name: "service", Match: gateway.Match{Paths: []string{"/grpc.testing.TestService/*rest"}}, Streaming: true,
					Handler: upstream(t, gateway.UpstreamConfig{UnencryptedHTTP2: true, Timeouts: tt.timeouts}, target),
				}}}), front(w.secure))
				key, method := tt.key, tt.method
				if key == "" {
					key = "ann-key"
				}
				if method == "" {
					method = testpb.TestService_UnaryCall_FullMethodName
				}
				cc := connected(t, gw, w.secure, key)
				check := func(err error) {
					require.Equal(t, tt.code, status.Code(err), "%v", err)
					if tt.message != "" {
						require.Equal(t, tt.message, status.Convert(err).Message())
					}
				}
				check(cc.Invoke(bounded(t), method, new(testpb.SimpleRequest), new(testpb.SimpleResponse)))
				// One that has sent a part.
				stream, err := cc.NewStream(bounded(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
				require.NoError(t, err)
				_ = stream.SendMsg(new(testpb.SimpleRequest))
				if tt.timeouts != (gateway.Timeouts{}) {
					require.NoError(t, stream.CloseSend()) // else it is the client that is waited for
				}
				check(stream.RecvMsg(new(testpb.SimpleResponse)))
			})
		})
	}
}

// Methods have routes of their own, exact ones before those of the service.
func TestGRPCRoutes(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		one, rest := serviceAt(t, w.secureOut, newPatient()), serviceAt(t, w.secureOut, interop.NewTestServer())
		route := func(name string, match gateway.Match, target string) gateway.Route {
			return gateway.Route{Name: name, Match: match, Streaming: true, Handler: upstream(t, gateway.UpstreamConfig{UnencryptedHTTP2: true}, target)}
		}
		gw := run(t, owning(gateway.Config{Routes: []gateway.Route{
			route("prefix", gateway.Match{Prefixes: []string{"/grpc.testing."}}, rest),
			route("method", gateway.Match{Paths: []string{testpb.TestService_StreamingInputCall_FullMethodName}, Methods: []string{http.MethodPost}}, one),
		}}), front(w.secure))
		client := testpb.NewTestServiceClient(connected(t, gw, w.secure, ""))
		stream, err := client.StreamingInputCall(bounded(t))
		require.NoError(t, err)
		_, err = stream.CloseAndRecv()
		require.Equal(t, codes.AlreadyExists, status.Code(err), "%v", err)
		_, err = client.UnaryCall(bounded(t), &testpb.SimpleRequest{ResponseSize: 10})
		require.NoError(t, err)
	})
}

// A configuration of Kong's has the same calls pass, and refuses as gRPC wants it.
func TestGRPCOfKong(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		target := strings.Replace(serviceAt(t, w.secureOut, interop.NewTestServer()), "http", "grpc", 1)
		if w.secureOut {
			target += "\n  tls_verify: false"
		}
		s, err := config.Load("kong.yml", strings.NewReader(strings.ReplaceAll(`
_format_version: "3.0"
services:
- name: s
  url: TARGET
  routes: [{name: r, paths: [/grpc.testing.TestService/], protocols: [grpc, grpcs]}]
  plugins: [{name: key-auth}]
consumers: [{username: ann, keyauth_credentials: [{key: ann-key}]}]
`, "TARGET", target)), config.Options{})
		require.NoError(t, err)
		gw := run(t, s.Gateway, front(w.secure))
		client := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key"))
		interop.DoLargeUnaryCall(bounded(t), client)
		interop.DoPingPong(bounded(t), client)
		interop.DoClientStreaming(bounded(t), client)
		interop.DoServerStreaming(bounded(t), client)
		interop.DoStatusCodeAndMessage(bounded(t), client)
		_, err = testpb.NewTestServiceClient(connected(t, gw, w.secure, "no-key")).EmptyCall(bounded(t), &testpb.Empty{})
		require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
		_, err = testpb.NewUnimplementedServiceClient(connected(t, gw, w.secure, "ann-key")).UnimplementedCall(bounded(t), &testpb.Empty{})
		require.Equal(t, codes.NotFound, status.Code(err), "no route: %v", err)
	})
}

// A service that ends in the middle of an answer never looks as if it had said all.
func TestGRPCThatBreaksOff(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, w way) {
		t.Helper()
		gw, _ := behind(t, w, serviceAt(t, w.secureOut, newPatient()), breaking{})
		stream, err := testpb.NewTestServiceClient(connected(t, gw, w.secure, "ann-key")).FullDuplexCall(bounded(t))
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, codes.Internal, status.Code(err), "%v", err)
	})
}

// breaking is a plugin that aborts answers behind their first bytes.
type breaking struct{}

// Wrap implements [gateway.Plugin].
func (breaking) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		next.ServeHTTP(&cutting{w, cancel}, r.WithContext(ctx))
	})
}

type cutting struct {
	http.ResponseWriter

	cancel context.CancelFunc
}

// Write ends the exchange with the service.
func (c *cutting) Write(p []byte) (int, error) {
	defer c.cancel()
	return c.ResponseWriter.Write(p)
}

// Unwrap returns the writer below.
func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
