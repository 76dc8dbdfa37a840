// Package rawtest lets tests speak HTTP/1 in bytes on both sides of a gateway: as its client and as its target.
//
// A [Conn] is one end of a connection, an [Upstream] is a server on loopback that does what a script says. Nothing is
// repaired or hidden on the way: what was sent is compared as it arrived, and [Message] is read by a parser of its own that
// refuses all that two servers could read in two ways.
//
//	up := rawtest.Listen(t, false)
//	up.Serve(rawtest.Reply{Text: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup", Then: rawtest.Close})
//	c := rawtest.Dial(t, gateway)
//	c.Send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
//	require.Equal(t, "HTTP/1.1 200 OK", c.ReadAnswer("GET").Start)
//	require.Equal(t, "GET /a HTTP/1.1", up.Requests()[0].Start)
//
// Where the order of events between the actors matters, a test drives both by hand: [Upstream.Accept] gives it the other end,
// and the system's buffers make that one goroutine is enough.
//
// Each wait is bounded by [Patience] and ends the test with what was waited for and what had come; connections and goroutines
// end with the test. The methods of a Conn that a test drives are for the goroutine that runs the test.
//
// What it does not do: it speaks no HTTP/2, and is for tests only.
package rawtest
