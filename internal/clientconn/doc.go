// Package clientconn has connections of clients whose deadlines and waits cost next to nothing while all goes well.
//
// The server of net/http sets six read deadlines for each request, starts a read that is to notice when the client leaves, and
// breaks it off; a gateway adds a write deadline. All of them go to the runtime's poller and most are replaced before they
// mean anything. A [Conn] tells the poller only what a wait in progress needs.
package clientconn
