package canonical

import (
	"net/http"
	"slices"
	"strings"
)

// DropNominated deletes the fields that Connection names, which end at this
// hop (RFC 9110 section 7.6.1), and forgets their names: what is set later
// under such a name must not be taken for the client's.
func DropNominated(h http.Header) {
	lines := h["Connection"]
	if len(lines) == 0 {
		return
	}
	if len(lines) == 1 && (strings.EqualFold(lines[0], "keep-alive") || strings.EqualFold(lines[0], "close")) {
		return
	}
	var keep []string
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.ToLower(strings.Trim(token, " \t"))
			switch token {
			case "":
			case "close", "keep-alive", "upgrade", "te", "http2-settings": // what the hop itself still needs to see
				if !slices.Contains(keep, token) {
					keep = append(keep, token)
				}
			default:
				if name := http.CanonicalHeaderKey(token); !EndToEnd(name) {
					delete(h, name)
				}
			}
		}
	}
	if keep == nil {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(keep, ", ")}
}

// EndToEnd reports whether a Connection field cannot nominate the field with
// this canonical name. RFC 9110 section 7.6.1 forbids to nominate fields meant
// for all recipients; who does so wants to make a cache, or the next hop, blind.
// What tells of the way of a request is such a field, too: a client whose
// Connection a proxy in front passes on could otherwise pass for that proxy.
func EndToEnd(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range",
		"Content-Security-Policy", "Content-Type", "Cookie", "Date", "Etag", "Expires", "Host", "Last-Modified", "Location",
		"Pragma", "Range", "Set-Cookie", "Strict-Transport-Security", "Vary", "Www-Authenticate",
		"Forwarded", "Via", "X-Real-Ip":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}
