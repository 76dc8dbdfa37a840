package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/transport"
)

// ownedFields are the request fields only Outgoing sets. Whatever a Rewrite did to them, in any alias form, is undone;
// what a trusted proxy in front said in them is taken from the client's request.
func ownedFields() []string {
	return append(canonical.IdentityHeaders(),
		"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Path", "X-Forwarded-Prefix",
		"X-Real-Ip", "Forwarded", "Via",
	)
}

// notInTrailers are fields a recipient would act on before it could know them (RFC 9110 section 6.5.1), and those that
// speak of one connection.
var notInTrailers = [...]string{
	"Age", "Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Location",
	"Content-Range", "Content-Type", "Cookie", "Date", "Expect", "Expires", "Host", "Keep-Alive", "Location", "Max-Forwards",
	"Pragma", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection", "Range",
	"Retry-After", "Set-Cookie", "Strict-Transport-Security", "Te", "Trailer", "Transfer-Encoding", upgradeField, "Vary",
	"Warning", "Www-Authenticate", "X-Request-Id",
}

// notInRequestTrailers are further fields that a server must know before the body: conditions, and what the client would
// rather have.
var notInRequestTrailers = [...]string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cdn-Loop", "Content-Disposition", "Content-Language", "Http2-Settings",
	"Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Prefer", "Priority",
	"Referer", "User-Agent",
}

// hopByHop reports whether the field with this canonical name speaks of one connection only (RFC 9110 section 7.6.1).
// Upgrade is sent anew where the client may switch protocols.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", upgradeField, "Http2-Settings",
		"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info":
		return true
	}
	return false
}

// framing reports whether the field with this canonical name decides where a message ends or goes, which is ours to say.
func framing(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Trailer", "Host":
		return true
	}
	return false
}

// removeNominated deletes from h the fields that the lines of a Connection field name.
func removeNominated(h http.Header, connection []string) {
	nominated(connection, func(name string) { delete(h, name) })
}

// withoutNominated is removeNominated for an answer.
func withoutNominated(h transport.Header, connection []string) transport.Header {
	names := map[string]bool{}
	nominated(connection, func(name string) { names[name] = true })
	return slices.DeleteFunc(h, func(f transport.HeaderField) bool { return names[f.Name] })
}

// nominated calls f with the canonical names that the lines of a Connection field name and that may be nominated.
func nominated(connection []string, f func(name string)) {
	for _, line := range connection {
		for rest, more := line, true; more; {
			var option string
			option, rest, more = strings.Cut(rest, ",")
			option = strings.Trim(option, " \t")
			switch option {
			case "", "close", "keep-alive", "Keep-Alive", upgradeField, "upgrade":
				continue
			}
			if name := http.CanonicalHeaderKey(option); !canonical.EndToEnd(name) {
				f(name)
			}
		}
	}
}

// hasToken reports whether a comma-separated field has an element that begins with token, in any case, and goes on with
// parameters at most.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for rest, more := line, true; more; {
			var element string
			element, rest, more = strings.Cut(rest, ",")
			element, _, _ = strings.Cut(element, ";")
			if strings.EqualFold(strings.Trim(element, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// joinLines makes one line of a field whose value is a list.
func joinLines(lines []string) string {
	if len(lines) == 1 {
		return lines[0]
	}
	return strings.Join(lines, ", ")
}

// nominates tells whether the lines of a Connection field name other fields.
func nominates(connection []string) bool {
	switch len(connection) {
	case 0:
		return false
	case 1:
		return !strings.EqualFold(connection[0], "keep-alive") && !strings.EqualFold(connection[0], "close")
	default:
		return true
	}
}

// sets tells of the fields with these canonical names that the gateway writes itself, or leaves out where it has nothing to
// say: ownedFields, and Expect.
func sets(name string) bool {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Path", "X-Forwarded-Prefix",
		"X-Real-Ip", "Forwarded", "Via", "Expect", "X-Consumer-Id", "X-Consumer-Username", "X-Consumer-Custom-Id", "X-Consumer-Groups",
		"X-Credential-Identifier", "X-Anonymous-Consumer":
		return true
	}
	return false
}

// fields sets header fields: in h, where their value slices share one array, or at the end of a list, in which none of them
// stands yet.
type fields struct {
	h    http.Header // nil for a list
	room []string
	list []transport.Field
}

func (f *fields) set(name, value string) {
	if f.h == nil {
		f.list = append(f.list, transport.Field{Name: name, Value: value})
		return
	}
	f.room = append(f.room, value)
	n := len(f.room)
	f.h[name] = f.room[n-1 : n : n]
}

// setOrDelete sets name, or removes it when there is no value: what the gateway owns is absent when it is unknown.
func (f *fields) setOrDelete(name, value string) {
	if value == "" {
		f.remove(name)
		return
	}
	f.set(name, value)
}

// removeAll removes what the client sent under any form of a name that is not known to be the gateway's.
func (f *fields) removeAll(name string) {
	for n := range f.h {
		if canonical.Alias(n, name) {
			delete(f.h, n)
		}
	}
	f.list = slices.DeleteFunc(f.list, func(field transport.Field) bool { return canonical.Alias(field.Name, name) })
}

func (f *fields) remove(name string) {
	if f.h != nil {
		delete(f.h, name)
	}
}
