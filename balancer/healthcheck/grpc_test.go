package healthcheck_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/balancer/healthcheck"
)

const isServing = "\x00\x00\x00\x00\x02\x08\x01"

// grpcAnswer answers a call with a body, and a status in the trailer.
func grpcAnswer(w http.ResponseWriter, status, body string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = io.WriteString(w, body)
	w.Header().Set("Grpc-Status", status)
}

// What an answer says.
func TestGRPCAnswer(t *testing.T) {
	t.Parallel()
	body := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { grpcAnswer(w, "0", body) }
	}
	typed := func(contentType string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.WriteString(w, isServing)
			w.Header().Set("Grpc-Status", "0")
		}
	}
	for _, tt := range []struct {
		about string
		serve http.HandlerFunc
		want  string // "" for well
	}{
		{"SERVING", body(isServing), ""},
		{"SERVING, spelled so", typed("application/grpc+proto"), ""},
		{"SERVING, and more that nobody knows", body("\x00\x00\x00\x00\x14\x12\x02ab\x08\x01\x1d1234\x2112345678"), ""},
		{"NOT_SERVING", body("\x00\x00\x00\x00\x02\x08\x02"), "it does not say SERVING"},
		{"UNKNOWN, which is nothing on the wire", body("\x00\x00\x00\x00\x00"), "it does not say SERVING"},
		{"an unknown service", func(w http.ResponseWriter, _ *http.Request) { grpcAnswer(w, "5", "") }, `grpc-status is "5"`},
		{"an unknown service, in the head alone", answers(200, "Content-Type", "application/grpc", "Grpc-Status", "5"), `grpc-status is "5"`},
		{"well, but without a message", answers(200, "Content-Type", "application/grpc", "Grpc-Status", "0"), "it does not say SERVING"},
		{"SERVING, and then an error", func(w http.ResponseWriter, _ *http.Request) { grpcAnswer(w, "13", isServing) }, `grpc-status is "13"`},
		{"SERVING, and no status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = io.WriteString(w, isServing)
		}, `grpc-status is ""`},
		{"a long status", func(w http.ResponseWriter, _ *http.Request) { grpcAnswer(w, strings.Repeat("1", 99), "") }, `grpc-status is "11111111111111111111"`},
		{"another type", typed("application/json"), "status 200: the answer is not gRPC's"},
		{"another type that begins so", typed("application/grpc-web"), "status 200: the answer is not gRPC's"},
		{"no type", typed(""), "status 200: the answer is not gRPC's"},
		{"another status", answers(503, "Content-Type", "application/grpc", "Grpc-Status", "0"), "status 503: the answer is not gRPC's"},
		{"a compressed frame", body("\x01\x00\x00\x00\x02\x08\x01"), "it does not say SERVING"},
		{"several frames", body(isServing + isServing), "it does not say SERVING"},
		{"half a frame", body(isServing[:6]), "it does not say SERVING"},
		{"half a frame's head", body(isServing[:3]), "it does not say SERVING"},
		{"a message as long as can be", body("\x00\x00\x00\x10\x00\x08\x01\x12\xfb\x1f" + strings.Repeat("a", 4091)), ""},
		{"a longer one", body("\x00\x00\x00\x10\x01\x08\x01\x12\xfc\x1f" + strings.Repeat("a", 4092)), "the answer is too long"},
		{"one without end", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, isServing); err != nil {
					return
				}
			}
		}, "the answer is too long"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			for _, secure := range []bool{false, true} {
				target, config := server(t, secure, false, true, tt.serve)
				err := check(t, healthcheck.GRPC{}, target, config)
				if tt.want == "" {
					require.NoError(t, err)
					continue
				}
				require.EqualError(t, err, "balancer: check: "+tt.want)
				require.ErrorAs(t, err, new(*balancer.AnswerError))
			}
		})
	}
	target, _ := server(t, false, false, true, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	err := check(t, healthcheck.GRPC{}, target, nil)
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*balancer.AnswerError), "the stream was reset")
}

// What is asked.
func TestGRPCRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s", 300)
	for _, tt := range []struct {
		g    healthcheck.GRPC
		base string
		body string
	}{
		{healthcheck.GRPC{}, "", "\x00\x00\x00\x00\x00"},
		{healthcheck.GRPC{Service: "a.B", Authority: "users.test:99"}, "/base", "\x00\x00\x00\x00\x05\x0a\x03a.B"},
		{healthcheck.GRPC{Service: "ä"}, "", "\x00\x00\x00\x00\x04\x0a\x02ä"},
		{healthcheck.GRPC{Service: long}, "", "\x00\x00\x00\x01\x2f\x0a\xac\x02" + long},
	} {
		got := make(chan *http.Request, 1)
		bodies := make(chan string, 1)
		target, _ := server(t, false, false, true, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- r
			bodies <- string(body)
			grpcAnswer(w, "0", isServing)
		})
		require.NoError(t, check(t, tt.g, target+tt.base, nil))
		r := <-got
		require.Equal(t, "POST /grpc.health.v1.Health/Check HTTP/2.0", r.Method+" "+r.RequestURI+" "+r.Proto)
		require.Equal(t, tt.body, <-bodies)
		require.Equal(t, "application/grpc", r.Header.Get("Content-Type"))
		require.Equal(t, "trailers", r.Header.Get("Te"))
		require.Equal(t, int64(len(tt.body)), r.ContentLength)
		if tt.g.Authority != "" {
			require.Equal(t, tt.g.Authority, r.Host)
		} else {
			require.Equal(t, strings.TrimPrefix(target, "http://"), r.Host)
		}
	}
}
