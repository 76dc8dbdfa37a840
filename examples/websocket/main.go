// Command websocket is a small chat behind a gateway.
//
//	go run ./examples/websocket    serves until Ctrl-C: open the two addresses it prints in two windows
//
// The gateway knows who speaks, says from which pages one may, and closes what is idle. The chat runs in the same process,
// on a loopback port of its own; a real one runs elsewhere.
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
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

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

// build is the gateway before a chat; origin is where its own page comes from.
func build(service, origin string, log *slog.Logger) (*gateway.Gateway, error) {
	up, err1 := gateway.NewUpstream(gateway.UpstreamConfig{
		Name: "chat", Targets: []balancer.Target{{URL: service}},
		MaxUpgrades: 1000, // members at a time
	})
	// A page cannot send a header field with its handshake, so that the key is in the query. It is neither passed on nor logged.
	keys, err2 := keyauth.New(keyauth.Config{
		Consumers: auth.Static{"ann-key": {ID: "1", Username: "ann"}, "bob-key": {ID: "2", Username: "bob"}}, In: keyauth.Query, HideCredentials: true,
	})
	// A WebSocket counts when it is opened.
	limit, err3 := ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerMinute(60)}, Key: policy.ByConsumer()})
	observer, err4 := observe.New(observe.Config{Log: log})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return gateway.New(gateway.Config{
		Plugins: []gateway.Plugin{observer},
		Routes: []gateway.Route{
			{Name: "page", Match: gateway.Match{Paths: []string{"/"}}, Public: true, Handler: http.HandlerFunc(page)},
			{
				Name: "chat", Match: gateway.Match{Paths: []string{"/chat"}}, Plugins: []gateway.Plugin{keys, limit}, Handler: up,
				Forward: gateway.Forward{
					PreserveHost: true, // the chat compares it with Origin, too
					Upgrade:      gateway.Upgrade{Protocols: []string{"websocket"}, Origins: []string{origin}, Idle: 10 * time.Minute},
				},
			},
		},
		Owns: []io.Closer{up}, Logger: log,
	})
}

// page is a member's window.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><title>Chat</title><pre></pre><form><input autofocus></form><script>
const show = text => document.querySelector('pre').append(text + '\n')
const chat = new WebSocket(location.origin.replace('http', 'ws') + '/chat' + location.search)
chat.onmessage = e => show(e.data)
chat.onclose = e => show('closed ' + e.code + ' ' + e.reason)
document.forms[0].onsubmit = e => { e.preventDefault(); chat.send(e.target[0].value); e.target.reset() }
</script>`)
}

// chat is the service: what one member says, all get.
type chat struct {
	mu      sync.Mutex
	members map[chan string]bool
}

func (c *chat) enter() chan string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(chan string, 16)
	c.members[m] = true
	return m
}

func (c *chat) leave(m chan string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m] {
		delete(c.members, m)
		close(m)
	}
}

// say tells all members, but for those that are too far behind: they have to leave.
func (c *chat) say(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := range c.members {
		select {
		case m <- text:
		default:
			delete(c.members, m)
			close(m)
		}
	}
}

// ServeHTTP has a member take part. The gateway says who it is.
func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("X-Consumer-Username")
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(4 << 10)
	m := c.enter()
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for text := range m {
			if conn.Write(r.Context(), websocket.MessageText, []byte(text)) != nil {
				break
			}
		}
		_ = conn.Close(websocket.StatusPolicyViolation, "you are too slow")
	})
	c.say(name + " is here")
	for {
		_, text, err := conn.Read(r.Context())
		if err != nil {
			break
		}
		c.say(name + ": " + string(text))
	}
	c.leave(m)
	hearing.Wait()
	c.say(name + " has left")
}

// run serves until ctx ends, and says where.
func run(ctx context.Context, addr string, out, logs io.Writer) error {
	internal, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	service := &http.Server{Handler: &chat{members: map[chan string]bool{}}, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = service.Serve(internal) }()
	defer service.Close()

	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (choose another address with -listen)", err)
	}
	origin := "http://" + l.Addr().String()
	gw, err := build("http://"+internal.Addr().String(), origin, slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintf(out, "listening on %[1]s/?apikey=ann-key and %[1]s/?apikey=bob-key\n", origin)
	return gw.Run(ctx, gateway.NewServer("", gw), l)
}
