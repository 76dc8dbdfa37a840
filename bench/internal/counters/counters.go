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

// ServeHTTP answers with the counters of this process, whatever c holds.
func (c Counters) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(Counters{Mallocs: m.Mallocs, Bytes: m.TotalAlloc}); err != nil {
		return // whoever asked is gone
	}
}

// Serve answers GET /stats at addr from now on, until the process ends. It does nothing without an address.
func Serve(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /stats", Counters{})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	return nil
}

// Read asks the process at addr.
func Read(ctx context.Context, addr string) (c Counters, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/stats", http.NoBody)
	if err != nil {
		return c, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("/stats: status %d", resp.StatusCode)
	}
	err = json.NewDecoder(resp.Body).Decode(&c)
	return c, err
}
