package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// started runs the program until the test ends or stop is called, and returns where it serves.
func started(t *testing.T) (addr string, stop func()) {
	t.Helper()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", in, io.Discard)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	said := bufio.NewReader(out)
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, said) }()
	t.Cleanup(cancel)
	return strings.TrimPrefix(strings.TrimSpace(line), "listening on "), func() {
		cancel()
		require.NoError(t, <-ended, "it drains and ends")
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	addr, stop := started(t)
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	require.NoError(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	client := healthpb.NewHealthClient(cc)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)

	// Everybody may ask how it is, and what the service itself refuses is told as it does.
	answer, err := client.Check(ctx, new(healthpb.HealthCheckRequest))
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.GetStatus())
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	require.Equal(t, codes.NotFound, status.Code(err), "%v", err)
	require.Equal(t, "unknown service", status.Convert(err).Message())

	// To watch it takes a key.
	stream, err := client.Watch(ctx, new(healthpb.HealthCheckRequest))
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	stream, err = client.Watch(metadata.AppendToOutgoingContext(ctx, "apikey", "ann-key"), new(healthpb.HealthCheckRequest))
	require.NoError(t, err)
	answer, err = stream.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.GetStatus())

	stop() // although it is still watched
	_, err = stream.Recv()
	require.NotEqual(t, codes.OK, status.Code(err), "%v", err)
}
