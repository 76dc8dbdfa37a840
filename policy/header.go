package policy

import (
	"net/http"

	"github.com/gatehouse-go/gateway/internal/respw"
)

// OnHeader returns a writer that calls f just before the head of the final response is sent, so that a plugin can edit
// the head of an answer it does not write itself. f gets the status and the header, which it may change; it must not
// keep the header. Informational (1xx) heads are not shown to it, except 101.
//
// All layers share one writer: when w comes from OnHeader, or from a gateway, f is added to it and w itself is
// returned. The function registered last runs first, so that an outer plugin sees what the inner ones did. The returned
// writer passes Flush, Hijack, deadlines and io.ReaderFrom through, and can be unwrapped by [http.ResponseController].
// A function registered after the head was sent never runs. When nobody writes anything at all, the head is sent by
// net/http after all handlers have returned, and f runs for it only where a gateway or an [Entry] made the writer: with
// none around, and with a writer of somebody else's between, f does not see such an answer.
func OnHeader(w http.ResponseWriter, f func(status int, h http.Header)) http.ResponseWriter {
	rw := respw.Wrap(w)
	rw.OnHeader(f)
	return rw
}
