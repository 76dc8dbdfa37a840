package canonical

// EndToEnd reports whether a Connection field cannot nominate the field with
// this canonical name. RFC 9110 section 7.6.1 forbids to nominate fields meant
// for all recipients; who does so wants to make a cache, or the next hop, blind.
func EndToEnd(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range",
		"Content-Security-Policy", "Content-Type", "Cookie", "Date", "Etag", "Expires", "Host", "Last-Modified", "Location",
		"Pragma", "Range", "Set-Cookie", "Strict-Transport-Security", "Vary", "Www-Authenticate":
		return true
	}
	return false
}
