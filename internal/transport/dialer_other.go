//go:build !linux

package transport

import "syscall"

func limitUnacknowledged(_, _ string, _ syscall.RawConn) error { return nil }
