// Package clientconn has connections of clients: what they cost, who gets one, and what may come over them.
//
// The server of net/http sets six read deadlines for each request, starts a read that is to notice when the client leaves, and
// breaks it off; a gateway adds a write deadline. All of them go to the runtime's poller and most are replaced before they
// mean anything. A [Conn] tells the poller only what a wait in progress needs.
//
// A [Gate] counts connections, learns from proxies whose they are, and has a Conn check what no handler sees: the framing of
// the requests.
package clientconn
