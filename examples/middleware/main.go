// Command middleware puts two policies in front of an ordinary net/http service: API keys and a rate limit. There is
// no gateway, no route table and no proxy in it, and none is linked.
//
//	go run ./examples/middleware
//	curl -i -H 'apikey: secret' http://127.0.0.1:8080/hello
package main

import (
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// protect returns the service behind its policies; the first is outermost.
func protect(service http.Handler) (http.Handler, error) {
	entry, err1 := policy.NewEntry(policy.EntryConfig{})
	keys, err2 := keyauth.New(keyauth.Config{Consumers: auth.Static{"secret": {ID: "1", Username: "ann"}}, HideCredentials: true})
	limit, err3 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer()})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return entry.Wrap(keys.Wrap(limit.Wrap(service))), nil
}

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+policy.ExchangeFrom(r.Context()).Consumer().Username+"\n")
	})
	h, err := protect(mux)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: *addr, Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	log.Printf("serving on http://%s", *addr)
	log.Fatal(srv.ListenAndServe())
}
