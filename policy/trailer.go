package policy

import (
	"net/http"
	"strings"
)

// cleanTrailer deletes from the announced trailers of a request, whose Connection field has these lines, the names that
// clean deletes from headers, whoever sent them: trailers come after all that judges what they say. net/http adds what
// comes unannounced at the end of the body all the same; who sends trailers on goes by what was announced.
func (e *Entry) cleanTrailer(trailer http.Header, connection []string) {
	for name := range trailer {
		if e.owned.Contains(name) || e.framing.Contains(name) || e.forwarding.Contains(name) || isForwarded(name) || nominates(connection, name) {
			delete(trailer, name)
		}
	}
}

// nominates reports whether the lines of a Connection field name a field.
func nominates(connection []string, name string) bool {
	for _, line := range connection {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), name) {
				return true
			}
		}
	}
	return false
}
