package counters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"
)

// Counters are totals since the process began.
type Counters struct {
	Mallocs uint64 `json:"mallocs"`
	Bytes   uint64 `json:"bytes"`
}

// Live is what a process holds once its garbage is collected, in bytes.
type Live struct {
	Heap   uint64 `json:"heap"`   // objects that are reachable
	Stacks uint64 `json:"stacks"` // of goroutines
}

// MiB is how much it is together.
func (l Live) MiB() float64 { return float64(l.Heap+l.Stacks) / (1 << 20) }

func serveCounters(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	answer(w, Counters{Mallocs: m.Mallocs, Bytes: m.TotalAlloc})
}

func serveLive(w http.ResponseWriter, _ *http.Request) {
	// What a pool holds survives one collection, and stacks shrink in the next.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	answer(w, Live{Heap: m.HeapAlloc, Stacks: m.StackInuse})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // whoever asked is gone
	}
}

// Serve answers GET /stats and GET /live at addr from now on, until the process ends. It does nothing without an address.
func Serve(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", serveCounters)
	mux.HandleFunc("GET /live", serveLive)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	return nil
}

// Read asks the process at addr for its counters.
func Read(ctx context.Context, addr string) (c Counters, err error) {
	err = read(ctx, addr, "/stats", &c)
	return c, err
}

// Collect has the process at addr collect its garbage, and asks what is left.
func Collect(ctx context.Context, addr string) (l Live, err error) {
	err = read(ctx, addr, "/live", &l)
	return l, err
}

func read(ctx context.Context, addr, path string, v any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", path, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
