package gateway

import (
	"context"

	"github.com/gatehouse-go/gateway/balancer"
)

// TakeOut keeps requests from the target with that URL until [Upstream.PutBack]: see [balancer.Pool.TakeOut]. With a shared Pool it is out
// for all upstreams that share it.
func (u *Upstream) TakeOut(target string) error { return u.targets().TakeOut(target) }

// PutBack ends what TakeOut has begun.
func (u *Upstream) PutBack(target string) error { return u.targets().PutBack(target) }

// Drained returns when no target that was taken out, or that its Discovery or pool has removed, has a request in flight, so that it can be
// stopped; or when ctx ends, with its error.
func (u *Upstream) Drained(ctx context.Context) error { return u.targets().Drained(ctx) }

func (u *Upstream) targets() *balancer.Pool {
	if u == nil {
		return nil
	}
	return u.pool
}
