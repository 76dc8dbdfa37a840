package config_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// nowhere is a network that nothing answers in.
func nowhere(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nothing is there")
}
