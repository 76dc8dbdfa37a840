// Package transport sends one request to one target and returns the head of the answer.
//
// [Transport] is the seam between what a gateway decides about a request and how bytes travel. It knows nothing of
// clients, pools or plugins: it gets a finished request and [Limits], and either returns a response whose body is read
// as it comes or an [Error] whose code says in which phase it failed. All bounds in time are its own business, so that
// an implementation may keep them with one timer, or with deadlines on its connection.
//
//	t := transport.NewDirect(transport.Config{})
//	defer t.Close()
//	res, err := t.Send(out, transport.Limits{Connect: 3 * time.Second, FirstByte: 30 * time.Second})
//	if err != nil {
//		return err // a *transport.Error
//	}
//	defer res.Body.Close()
//
// [Direct] speaks HTTP/1.1 over plain TCP by itself, on the goroutine that sends. The pieces: a pool for each target, a wire
// for each connection, which writes the head of a request and reads that of its answer, and the answer's body. Bodies of
// requests are sent with the head when they are small and there, and by a goroutine of their own otherwise.
//
// [Standard] is the implementation over net/http's Transport, for all else. It speaks HTTP/1.1, and HTTP/2 where TLS
// negotiates it. One table of tests holds both to the same outcomes; what net/http repairs, a Direct refuses.
//
// The package does not retry but for connections that turn out to be dead, and does not follow redirects, decompress, or use
// a proxy from the environment. It writes no log; but net/http itself reports surplus bytes after an answer to the standard
// logger.
package transport
