// Package http1 serves HTTP/1 in place of net/http's server, with the handler and the settings of an [http.Server]. What is
// not HTTP/1 it leaves to that: HTTP/2 over TLS, and HTTP/2 without TLS where it is allowed.
//
// A handler finds what it finds in net/http, [http.ResponseController] and http.ServerContextKey included. Otherwise is:
//
//   - The framing of requests has one reading (RFC 9112 section 11.2): what could be read in two ways is answered with 400.
//   - An answer does not wait for the rest of a request body that nobody reads, and a handler that has begun to read may go on
//     when it writes. A rest that nobody reads is read away beside a long answer, and behind a short one, within bounds.
//   - A connection is served by one goroutine. That its client has left is noticed a moment later than at once, with which
//     short requests pay nothing for it.
//   - When the server shuts down, a request that has come on an idle connection is still served.
//   - Behind a request for a tunnel (CONNECT) the connection is closed, unless it was taken over.
//   - An answer that a handler broke off, and that ends with the connection, ends with a reset, so that nobody takes it for whole.
package http1
