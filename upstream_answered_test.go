package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
)

// watching is an admission that wants to know when answers begin.
type watching struct{ admission }

func (w *watching) Answered(t policy.Ticket, o policy.Outcome) policy.Ticket {
	w.addf("answered %s %d %d %s %s %v", w.name, t, o.Status, o.FirstByte, o.Upload, o.Err)
	return t + 100
}

// second is one second of a client that does not hurry.
type second struct{}

func (second) Read([]byte) (int, error) {
	time.Sleep(time.Second)
	return 0, io.EOF
}

// TestAdmissionsHearOfAnswers: those that want to are told as soon as the head is there, once, and get their new ticket back.
func TestAdmissionsHearOfAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step http.Handler
		want []string
	}{
		"answered": {gatewaytest.After(2*time.Second, gatewaytest.Respond(201, "ok")), []string{"answered b 42 201 3s 1s <nil>", "done b 142 201", "done a 42 201"}},
		"failed":   {gatewaytest.Respond(500, "no"), []string{"answered b 42 500 1s 1s <nil>", "done b 142 500", "done a 42 500"}},
		"stream":   {gatewaytest.Stream(time.Hour, "a", "b"), []string{"answered b 42 200 1s 1s <nil>", "hour", "done b 142 200", "done a 42 200"}},
		"cut":      {gatewaytest.Truncate("abc", 5), []string{"answered b 42 200 1s 1s <nil>", "done b 142 truncated_response", "done a 42 truncated_response"}},
		"reset":    {gatewaytest.Reset(), []string{"done b 42 connection_reset", "done a 42 connection_reset"}},
		"silent":   {gatewaytest.Stall(), []string{"done b 42 first_byte_timeout", "done a 42 first_byte_timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				up := gatewaytest.NewUpstream("a.test", c.step)
				u := upstream(t, gateway.UpstreamConfig{
					Name: "users", Dial: up.Dial, Timeouts: gateway.Timeouts{FirstByte: 10 * time.Second, Idle: -1},
					Admission: []policy.Admission{&admission{journal: j, name: "a"}, &watching{admission{journal: j, name: "b"}}},
				}, up.URL())
				t.Cleanup(func() { require.NoError(t, up.Close()) })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if name == "stream" {
					time.AfterFunc(time.Minute, func() { j.addf("hour") })
				}
				r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("x"), second{})).WithContext(ctx)
				func() {
					defer func() { _ = recover() }()
					policy.Must(policy.NewEntry(policy.EntryConfig{WriteProgress: -1})).Wrap(u).ServeHTTP(httptest.NewRecorder(), r)
				}()
				require.Equal(t, append([]string{"admit a users", "admit b users"}, c.want...), j.take())
			})
		})
	}
}
