package balancer

import "context"

// Source finds the targets of a pool: in DNS, in a file, in a registry. Package discovery has some.
type Source interface {
	// Watch calls deliver with all targets there are, at first and whenever they change, until ctx ends. An error says that it
	// could not find out; targets is ignored then. It calls deliver from one goroutine at a time, and does not change the
	// slice afterwards. Watch returns when ctx has ended, or when it gives up, and why; it is called again after a while then.
	Watch(ctx context.Context, deliver func(targets []Target, err error)) error
}
