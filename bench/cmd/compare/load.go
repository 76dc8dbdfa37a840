//go:build linux

package main

import (
	"context"
	"time"

	"github.com/gatehouse-go/gateway/bench/conf"
)

// load is what a load generator reports.
type load struct {
	requests int     // that had the answer they were to have
	rate     float64 // of them a second
	p50, p99 time.Duration
	errors   int // answers that said something else, and sockets and streams that failed
}

// drive runs the load generator of a workload for a while.
func (b *bench) drive(ctx context.Context, v conf.Values, w workload, d time.Duration) (load, error) {
	if w.h2 {
		return b.driveH2load(ctx, v, w, d)
	}
	return b.driveWrk(ctx, v, w, d)
}

// only sets how many of the answers, whose rate is known, count.
func (l *load) only(answered, count int) {
	l.requests = count
	if answered > 0 {
		l.rate *= float64(count) / float64(answered)
	}
}
