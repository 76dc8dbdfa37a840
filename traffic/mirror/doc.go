// Package mirror shows real requests to a service that does not answer them yet: shadow traffic.
//
// A [Mirror] stands around a handler, hands every request to it, and sends a copy of some to a shadow, such as an upstream with
// the next version of the service. Nobody gets the shadow's answers. It may compare them with the real ones, and tells what
// differs:
//
//	next, err := gateway.NewUpstream(gateway.UpstreamConfig{Name: "users-next", Targets: candidates})
//	shadow, err := mirror.New(mirror.Config{Shadow: next, Share: 0.1, Compare: &mirror.Compare{
//		Ignore:       []string{"**.updated_at"},
//		OnDifference: func(d mirror.Difference) { log.Print(d) },
//	}})
//	route := gateway.Route{Name: "users", Handler: shadow.Wrap(users)}
//	owns := []io.Closer{users, next, shadow}
//
// # What the real request notices
//
// Nothing. It is answered by its own handler, at the pace of its client; whatever the shadow does, refuse, stall, panic or send
// without an end, reaches neither. A body is copied while the handler reads it, never before, and an answer while it is sent, and
// not held up. What is not chosen costs a few comparisons and no allocation. What there is no room for is dropped and counted.
//
// # What a copy is
//
// A request of its own, as the handler inside gets it: method, path, host, header, body, trailers and caller are the real ones,
// see Config.DropHeaders and DropIdentity; it has the field X-Gatehouse-Mirror with the id of the request. It is sent when its
// body has been read, beside the real one, and goes on when the client has left. It has an Exchange of its own, which knows
// client and route: its tries and refusals are in no log and count for no breaker around the Mirror. An upstream's retries apply
// to copies, too. Not copied are requests to switch protocols, CONNECT and TRACE, what is a copy itself, and bodies that were not
// read to their end.
//
// A service that gets a copy does what the request says. By default only methods that change nothing are copied; before you name
// others in Config.Methods, see what the shadow shares with the service.
//
// # What bounds it
//
// Config: copies under way and waiting in number, in bytes and in time. Clients can fill these bounds, by sending large bodies
// slowly, and then nothing is copied; more they cannot do.
//
// It does not replay recorded traffic, compare streams part by part, or decide by what it finds: promoting a version is for the
// operator.
package mirror
