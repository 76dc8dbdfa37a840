// Package respw has the one http.ResponseWriter wrapper of the module.
//
// A [Writer] stands between a handler and the writer it was given, forwards
// everything, and adds three things: it knows what went out ([Writer.Status],
// [Writer.Size]), it runs functions just before the response head is sent
// ([Writer.OnHeader]), and it can cut off a client that does not take what is
// written to it ([Writer.LimitWrites]). Layers share one Writer: [Wrap] returns
// the Writer it is given. A layer that captures or rewrites bodies is a writer
// of its own, and a Writer may be above or below it.
//
// Whoever creates the Writer also ends it:
//
//	var w respw.Writer
//	w.Init(under)
//	w.LimitWrites(30 * time.Second)
//	w.OnHeader(func(status int, h http.Header) { h.Set("X-Request-Id", id) })
//	next.ServeHTTP(&w, r)
//	w.Finish() // sends the head when nobody did; not deferred
//
// Flush, Hijack, deadlines and full duplex reach the server through the
// Writer, by its methods or by its Unwrap and [http.ResponseController].
//
// What it does not do: it does not buffer, does not see what a handler writes
// to a hijacked connection, and does not offer [http.Pusher] or
// [http.CloseNotifier]. It imports the standard library only.
package respw
