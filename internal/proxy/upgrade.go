package proxy

import (
	"crypto/sha1" //nolint:gosec // G505: RFC 6455 wants it, and nothing secret depends on it
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

const (
	upgradeField = "Upgrade"

	webSocket = "websocket"
	// webSocketVersion is the only one there is (RFC 6455 section 4.1).
	webSocketVersion = "13"
	// webSocketGUID is what a server proves with that it has understood the handshake (RFC 6455 section 1.3).
	webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

var (
	errUpgradeBody    = errors.New("proxy: a request to switch protocols has a body")
	errUpgradeMethod  = errors.New("proxy: a WebSocket handshake is a GET")
	errUpgradeKey     = errors.New("proxy: Sec-WebSocket-Key is not 16 bytes in base64")
	errUpgradeVersion = errors.New("proxy: Sec-WebSocket-Version is not 13")
	errUpgradeOrigin  = errors.New("proxy: Origin is not one of those that may switch protocols")

	errSwitchProtocol  = errors.New("proxy: the target switched to another protocol than was asked for")
	errSwitchAccept    = errors.New("proxy: the target's Sec-WebSocket-Accept does not belong to the key")
	errSwitchSub       = errors.New("proxy: the target chose a Sec-WebSocket-Protocol that was not offered")
	errSwitchExtension = errors.New("proxy: the target chose a Sec-WebSocket-Extensions that was not offered")
)

// upgrade returns the protocol that r asks to switch to, if it may, as it is sent on; "" when there is none.
func upgrade(w http.ResponseWriter, r *http.Request, allowed *policy.Upgrade) (string, *policy.Error) {
	if len(allowed.Protocols) == 0 || r.ProtoMajor != 1 || r.ProtoMinor < 1 || !hasToken(r.Header["Connection"], "upgrade") {
		return "", nil
	}
	protocol := chosen(r.Header[upgradeField], allowed.Protocols)
	if protocol == "" || !canHijack(w) {
		return "", nil
	}
	refuse := func(err error) (string, *policy.Error) {
		return "", &policy.Error{Status: http.StatusBadRequest, Code: upgradeInvalid, Message: "Bad request", Err: err}
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return refuse(errUpgradeBody)
	}
	if origin := r.Header["Origin"]; len(origin) > 0 && allowed.Origins != nil && (len(origin) > 1 || !slices.Contains(allowed.Origins, origin[0])) {
		return "", &policy.Error{Status: http.StatusForbidden, Code: upgradeOrigin, Message: "Forbidden", Err: errUpgradeOrigin}
	}
	if !strings.EqualFold(protocol, webSocket) {
		return protocol, nil
	}
	if r.Method != http.MethodGet {
		return refuse(errUpgradeMethod)
	}
	if version := r.Header["Sec-Websocket-Version"]; len(version) != 1 || version[0] != webSocketVersion {
		return "", &policy.Error{
			Status: http.StatusUpgradeRequired, Code: upgradeVersion, Message: "Upgrade required", Err: errUpgradeVersion,
			Header: http.Header{"Sec-Websocket-Version": {webSocketVersion}, upgradeField: {webSocket}, "Connection": {upgradeField}},
		}
	}
	if key := r.Header["Sec-Websocket-Key"]; len(key) != 1 || !isKey(key[0]) {
		return refuse(errUpgradeKey)
	}
	return protocol, nil
}

// chosen returns the first of the protocols in the lines of an Upgrade field that is allowed.
func chosen(lines, allowed []string) string {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			element = strings.Trim(element, " \t")
			for _, a := range allowed {
				if strings.EqualFold(a, element) {
					return element
				}
			}
		}
	}
	return ""
}

// isKey reports whether s is 16 bytes in base64, which is what RFC 6455 section 4.1 has clients choose at random.
func isKey(s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) == 16 && len(s) == 24
}

// canHijack reports whether the connection of w can be taken over.
func canHijack(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case interface{ Unwrap() http.ResponseWriter }: // those that wrap have a Hijack that may fail
			w = t.Unwrap()
		case http.Hijacker:
			return true
		default:
			return false
		}
	}
}

// ValidProtocol reports whether clients may be allowed to switch to a protocol: a token, with a version or without, that is
// not HTTP by another name.
func ValidProtocol(protocol string) bool {
	name, version, versioned := strings.Cut(protocol, "/")
	if !canonical.Token(name) || versioned && !canonical.Token(version) {
		return false
	}
	switch strings.ToLower(name) {
	case "h2c", "h2", "http", "tls":
		return false
	}
	return true
}

// checkSwitch tells what is wrong with an answer to a request to switch to c.upgrade.
func (c *Call) checkSwitch(res *transport.Answer) error {
	if to := res.Header.Values(upgradeField); len(to) != 1 || !strings.EqualFold(to[0], c.upgrade) || !hasToken(res.Header.Values("Connection"), "upgrade") {
		return errSwitchProtocol
	}
	if !strings.EqualFold(c.upgrade, webSocket) {
		return nil
	}
	sum := sha1.Sum([]byte(c.In.Header.Get("Sec-Websocket-Key") + webSocketGUID)) //nolint:gosec // G401: as above
	if accept := res.Header.Values("Sec-Websocket-Accept"); len(accept) != 1 || accept[0] != base64.StdEncoding.EncodeToString(sum[:]) {
		return errSwitchAccept
	}
	if sub := res.Header.Values("Sec-Websocket-Protocol"); len(sub) > 1 || len(sub) == 1 && !offers(c.In.Header["Sec-Websocket-Protocol"], sub[0]) {
		return errSwitchSub
	}
	for _, line := range res.Header.Values("Sec-Websocket-Extensions") {
		for extension := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(extension, ";")
			if !hasToken(c.In.Header["Sec-Websocket-Extensions"], strings.Trim(name, " \t")) {
				return errSwitchExtension
			}
		}
	}
	return nil
}

// offers reports whether the lines of a list have an element that is value, in this case of its letters.
func offers(lines []string, value string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			if strings.Trim(element, " \t") == value {
				return true
			}
		}
	}
	return false
}

// Switches reports whether the client asks for another protocol that it may have.
func (c *Call) Switches() bool { return c.upgrade != "" }

// switchOver sends an answer with 101 to the client, and then what either side sends to the other, until the connection ends.
func (c *Call) switchOver(w http.ResponseWriter, res *transport.Answer) Delivery {
	target := res.Switched
	if err := c.checkSwitch(res); err != nil {
		_ = target.Close()
		return Delivery{Err: &transport.Error{Code: transport.InvalidResponse, Err: err}}
	}
	h := w.Header()
	res.Header = withoutNominated(res.Header, res.Header.Values("Connection"))
	c.addCookie(h)
	fieldsOf(h, res)
	delete(h, "Content-Length")
	h["Connection"], h[upgradeField] = []string{upgradeField}, []string{c.upgrade}
	c.send(w)
	w.WriteHeader(http.StatusSwitchingProtocols)
	client, in, err := http.NewResponseController(w).Hijack()
	if err != nil { // it could be before
		_ = target.Close()
		return Delivery{Sent: true, Err: err, Gone: true}
	}
	t := &tunnel{
		client: client, target: target, in: in.Reader, buffers: &c.proxy.buffers,
		idle: c.Forward.Upgrade.Idle, lifetime: c.Forward.Upgrade.Lifetime,
	}
	if t.idle == 0 {
		t.idle = defaultUpgradeIdle
	}
	if strings.EqualFold(c.upgrade, webSocket) {
		t.toClient.frames, t.toTarget.frames = &frames{}, &frames{}
	}
	t.run(c.Exchange.Ending())
	return Delivery{Sent: true, Tunnel: &policy.Tunnel{Protocol: c.upgrade, FromClient: t.toTarget.traffic(), ToClient: t.toClient.traffic()}}
}
