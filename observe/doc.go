// Package observe gives every request an id and every request one line in the access log, whatever becomes of it.
//
// An [Observer] stands outside the plugins it reports on. It lets the request pass, reads afterwards what they left in
// the request's [policy.Exchange] (who called, what each of them decided and why, which targets were tried), and writes
// one [log/slog] record when the handler has returned or panicked:
//
//	observer := policy.Must(observe.New(observe.Config{Log: slog.Default()}))
//	gateway.New(gateway.Config{Plugins: []gateway.Plugin{observer}, ...})
//
// In a service without a gateway it is ordinary middleware, and the outermost, so that it also sees what an Entry refuses:
//
//	mux.Use(observer.Wrap, entry.Wrap, keys.Wrap)
//
// An Entry may stand around it instead; the Observer then knows the trusted proxies from the start, which only
// [TrustProxies] needs, but is not told of the requests which that Entry refuses. A gateway has its Entry built in and
// shows those to its plugins.
//
// # The record
//
// The message is "request". Keys are those of OpenTelemetry's semantic conventions where there is one, and gateway.*
// otherwise. No key is also the beginning of another one, so that stores which read dots as nesting can keep them.
// A key without a value is left out. Times are seconds.
//
//	http.request.method            a known method, else _OTHER
//	http.request.method_original   what was sent, when that was _OTHER
//	url.scheme, url.path           the canonical, escaped path; as it was sent when the request did not pass an Entry
//	url.query                      names of the parameters, no values but those of Config.QueryValues
//	http.route                     the pattern that matched
//	server.address, server.port    what the client asked for
//	client.address                 the client, as the trusted proxies tell it
//	network.peer.address           the other end of the connection
//	network.protocol.version       1.0, 1.1, 2 or 3
//	user_agent.original
//	http.request.body.size         what the client declared
//	http.response.status_code
//	http.response.body.size        bytes of the body handed to the server
//	http.server.request.duration   from the arrival of the request to the end of the handler
//	gateway.request_id
//	gateway.outcome                see Outcome
//	gateway.source                 who made the answer: upstream, cache, gateway (a refusal, say) or handler
//	gateway.route                  the route's name
//	gateway.config_version
//	gateway.consumer.id, gateway.consumer.username
//	gateway.credential.kind        the method of authentication, such as key-auth
//	gateway.credential.id          the credential's name, never the credential
//	gateway.anonymous              true for a caller who showed no credential and was let in
//	gateway.cache                  what a cache did
//	gateway.upstream.name          upstream and target of the last try
//	gateway.upstream.target
//	gateway.upstream.duration      of all tries together
//	gateway.tries                  a list: target, status, durations, error
//	gateway.refused_by             which plugin refused the request, why (a code), and the cause
//	gateway.reason
//	gateway.error
//	gateway.decisions              a list: what each plugin decided and why
//	exception.type                 of a panic; exception.message only when it is one of Go's runtime, since any other
//	exception.message              may hold what a client sent
//
// # What is never in it
//
// No header field but User-Agent is logged, and no query value unless its name is configured. User information in URLs
// and strings that look like JSON Web Tokens are replaced by REDACTED wherever they turn up, errors included. A secret
// that is part of a path looks like any other path; routes that have one are better named than logged: drop url.path
// with the handler's ReplaceAttr and keep http.route.
//
// Strings that a client or an upstream chose are bounded, and everything in them that is not printable is escaped as Go
// would write it (\n, \x1b, \u2028, \xff), so that no handler and no terminal is deceived by them, and no line forged.
//
// The package samples nothing, buffers nothing and starts no goroutine: the handler of the logger runs on the request's
// goroutine, after the answer was handed to the server, and should be quick. It keeps no metrics and no traces; a handler
// of the application can add trace ids, since it is given the request's context.
package observe
