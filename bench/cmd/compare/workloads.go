//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/bench/internal/certificate"
	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

const (
	numRoutes = 1000
	postBytes = 16 << 10
	apiKey    = "key-42"
)

// The names of the workloads.
const (
	plain    = "plain"
	policy   = "policy"
	post16k  = "post16k"
	stream1m = "stream1m"
	routes1k = "routes1k"

	https     = "https"
	https1m   = "https1m"
	h2        = "h2"
	h2post16k = "h2post16k"
)

// workload is a kind of request.
type workload struct {
	name, about string
	path        string
	post        bool
	length      int64    // of the answer
	header      []string // "Name: value"
	script      string   // for wrk, a template of package conf
	tls         bool     // between client and proxy
	h2          bool     // HTTP/2, which h2load speaks
}

// url returns what is asked for of a server.
func (w workload) url(addr string) string {
	if w.tls {
		return "https://" + addr + w.path
	}
	return "http://" + addr + w.path
}

// major returns the version of HTTP that is spoken.
func (w workload) major() int {
	if w.h2 {
		return 2
	}
	return 1
}

// load says how many requests there are at a time, and how.
func (w workload) load(conns int) string {
	if !w.h2 {
		return fmt.Sprintf("%d connections", conns)
	}
	return fmt.Sprintf("%d connections with %d streams each", h2Connections(conns), h2Streams)
}

var workloads = []workload{
	{name: plain, about: "GET, 1 KiB", path: "/", length: 1 << 10},
	{
		name: policy, about: "GET, 1 KiB, with one of 10,000 keys, limits, header transform and metrics but for httputil", path: "/", length: 1 << 10,
		script: "keys.lua", header: []string{"Apikey: " + apiKey, "User-Agent: bench/1", "Accept: application/json"},
	},
	{name: post16k, about: "POST of 16 KiB, answer of 1 KiB", path: "/", post: true, length: 1 << 10, script: "post16k.lua"},
	{name: stream1m, about: "GET, 1 MiB", path: "/1m", length: 1 << 20},
	{name: https, about: "GET, 1 KiB, over TLS", path: "/", length: 1 << 10, tls: true},
	{name: https1m, about: "GET, 1 MiB, over TLS", path: "/1m", length: 1 << 20, tls: true},
	{name: h2, about: "GET, 1 KiB, HTTP/2 over TLS", path: "/", length: 1 << 10, tls: true, h2: true},
	{name: h2post16k, about: "POST of 16 KiB, answer of 1 KiB, HTTP/2 over TLS", path: "/", post: true, length: 1 << 10, tls: true, h2: true},
	{name: routes1k, about: "GET, 1 KiB, over 1,000 routes with a parameter", path: "/svc777/items/5", length: 1 << 10, script: "routes1k.lua"},
}

func workloadNames() []string {
	names := make([]string, 0, len(workloads))
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// client returns a client that speaks with servers as the load generator of a workload does.
func (b *bench) client(w workload) (*http.Client, error) {
	t := &http.Transport{DisableKeepAlives: true, DisableCompression: true, ForceAttemptHTTP2: w.h2}
	if w.tls {
		var err error
		if t.TLSClientConfig, err = certificate.Client(b.certificate); err != nil {
			return nil, err
		}
	}
	return &http.Client{Transport: t, Timeout: 5 * time.Second}, nil
}

// probe asks a server once whether its answers are right, as often as it needs to be ready.
func probe(ctx context.Context, client *http.Client, addr string, w workload, policies bool) error {
	var err error
	for range 20 {
		if err = probeOnce(ctx, client, addr, w, policies); err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
	return err
}

func probeOnce(ctx context.Context, client *http.Client, addr string, w workload, policies bool) error {
	a, err := ask(ctx, client, addr, w, w.header)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || a.length != w.length {
		return fmt.Errorf("probe: status %d with %d bytes, want 200 with %d", a.status, a.length, w.length)
	}
	if w.tls {
		if err := certificate.Check(a.tls); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	if want := w.major(); a.major != want {
		return fmt.Errorf("probe: HTTP/%d, want HTTP/%d", a.major, want)
	}
	if !policies {
		return nil
	}
	if got := a.header.Get(standin.Header); got != standin.Value {
		return fmt.Errorf("probe: %s is %q, want %q: the policies are not in force", standin.Header, got, standin.Value)
	}
	if a, err = ask(ctx, client, addr, w, nil); err != nil {
		return err
	}
	if a.status != http.StatusUnauthorized {
		return fmt.Errorf("probe: status %d without a key, want 401", a.status)
	}
	return nil
}

// answer is what matters of an answer.
type answer struct {
	status int
	header http.Header
	length int64
	major  int // version of HTTP
	tls    *tls.ConnectionState
}

// ask makes one request and reads the whole answer.
func ask(ctx context.Context, client *http.Client, addr string, w workload, header []string) (a answer, err error) {
	method, body := http.MethodGet, ""
	if w.post {
		method, body = http.MethodPost, strings.Repeat("y", postBytes)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.url(addr), strings.NewReader(body))
	if err != nil {
		return a, err
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	a.status, a.header, a.major, a.tls = resp.StatusCode, resp.Header, resp.ProtoMajor, resp.TLS
	a.length, err = io.Copy(io.Discard, resp.Body)
	return a, err
}

// pause waits, or not as long when the run is over.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
