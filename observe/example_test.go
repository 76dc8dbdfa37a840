package observe_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

// stable drops what differs from run to run, for the examples' sake.
func stable(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey, "http.server.request.duration", "gateway.request_id", "gateway.decisions":
		return slog.Attr{}
	}
	return a
}

// One line answers who refused a request, and why.
func Example() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: stable}))
	observer, err := observe.New(observe.Config{Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.Refuse(w, r, "acl", &policy.Error{Status: http.StatusForbidden, Code: "not_in_group"})
	})
	r := httptest.NewRequest(http.MethodGet, "/v1/users?page=2&apikey=k1", nil)
	observer.Wrap(api).ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// level=INFO msg=request http.request.method=GET url.scheme=http url.path=/v1/users url.query=page&apikey server.address=example.com client.address=192.0.2.1 network.peer.address=192.0.2.1 network.protocol.version=1.1 http.response.status_code=403 http.response.body.size=76 gateway.outcome=refused gateway.source=gateway gateway.refused_by=acl gateway.reason=not_in_group
}

// Health checks stay out of the log, and what the application knows goes into it.
func ExampleConfig() {
	observer := policy.Must(observe.New(observe.Config{
		Log:  slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: stable})),
		Skip: func(r *http.Request) bool { return r.URL.Path == "/healthz" },
		Level: func(status int, o observe.Outcome) slog.Level {
			if o == observe.Refused {
				return slog.LevelWarn
			}
			return slog.LevelInfo
		},
		Attrs: func(_ *policy.Exchange, r *http.Request) []slog.Attr {
			return []slog.Attr{slog.String("tenant", r.Header.Get("X-Tenant"))}
		},
		QueryValues: []string{"page"},
	}))
	h := observer.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, target := range []string{"/healthz", "/?page=2&token=t"} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("X-Tenant", "blue\nlevel=INFO msg=forged")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// level=INFO msg=request http.request.method=GET url.scheme=http url.path=/ url.query="page=2&token" server.address=example.com client.address=192.0.2.1 network.peer.address=192.0.2.1 network.protocol.version=1.1 http.response.status_code=200 http.response.body.size=0 gateway.outcome=ok gateway.source=handler tenant="blue\\nlevel=INFO msg=forged"
}

// A request id is taken from a client only where its word is taken, and only when it is one.
func ExampleTrust() {
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Request-ID"); id == "order-42" {
			fmt.Println("the client's id")
		} else {
			fmt.Println("an id of", len(id), "bytes")
		}
	})
	for _, trust := range []observe.Trust{observe.TrustNobody, observe.TrustAnyone} {
		h := policy.Must(observe.New(observe.Config{AcceptRequestID: trust})).Wrap(upstream)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Request-ID", "order-42")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// an id of 36 bytes
	// the client's id
}
