// Package transport sends one request to one target and returns the head of the answer.
//
// [Transport] is the seam between what a gateway decides about a request and how bytes travel. It knows nothing of
// clients, pools or plugins: it gets a finished request and [Limits], and either returns a response whose body is read
// as it comes or an [Error] whose code says in which phase it failed. All bounds in time are its own business, so that
// an implementation may keep them with one timer, or with deadlines on its connection.
//
//	t := transport.NewStandard(transport.Config{})
//	defer t.Close()
//	res, err := t.Send(out, transport.Limits{Connect: 3 * time.Second, FirstByte: 30 * time.Second})
//	if err != nil {
//		return err // a *transport.Error
//	}
//	defer res.Body.Close()
//
// [Standard] is the implementation over net/http's Transport. It speaks HTTP/1.1, and HTTP/2 where TLS negotiates it.
//
// The package does not retry, follow redirects, decompress, or use a proxy from the environment. It writes no log; but
// net/http itself reports surplus bytes after an answer to the standard logger.
package transport
