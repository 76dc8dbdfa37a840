package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-go/gateway/internal/transport"
	"github.com/gatehouse-go/gateway/policy"
)

// What clients read, in Kong's words.
const (
	messageInternal    = "An unexpected error occurred"
	messageBadGateway  = "An invalid response was received from the upstream server"
	messageUnavailable = "The upstream server is currently unavailable"
	messageNoName      = "name resolution failed"
	messageNoTarget    = "failure to get a peer from the ring-balancer"
	messageTimeout     = "The upstream server is timing out"
	messageSlowBody    = "The request body did not arrive in time"
)

// Codes of refusals that are not the transport's.
const (
	bodyInvalid     = "body_invalid"
	bodyTooLarge    = "body_too_large"
	bodyTimeout     = "body_timeout"
	bodyPanicked    = "panic"
	pathRewritten   = "path_rewritten"
	invalidIdentity = "invalid_identity"
	loopDetected    = "loop_detected"

	trailersTooLarge = "trailers_too_large"

	upgradeInvalid = "upgrade_invalid"
	upgradeVersion = "upgrade_version"
	upgradeOrigin  = "upgrade_origin"
	upgradesInUse  = "too_many_upgrades"
)

// Failure says why a try gave no answer, in words a client may read.
//
// gone reports that this says nothing about the target: the client left, its own request failed, or the transport was
// closed. When the client left there is nobody to answer, and the error is nil.
func (c *Call) Failure(err error) (e *policy.Error, gone bool) {
	left := errors.Is(c.In.Context().Err(), context.Canceled)
	code := transport.InvalidResponse
	var t *transport.Error
	if errors.As(err, &t) {
		code = t.Code
	}
	if code == transport.UploadTooSlow || code == transport.ClientTooSlow {
		return &policy.Error{Status: http.StatusRequestTimeout, Code: code, Message: messageSlowBody, Err: err}, true
	}
	if c.upload != nil {
		if failed := c.upload.failure(); failed != nil {
			if e = uploadFailure(failed); e.Code != bodyInvalid || !left {
				return e, true // a body that came too slowly ends the context, too
			}
		}
		left = left && !c.upload.wasWoken()
	}
	if left || code == transport.Canceled {
		return nil, true
	}
	if errors.As(err, &e) && e != nil {
		return e, false // from a round tripper of the application
	}
	e = &policy.Error{Status: http.StatusBadGateway, Code: code, Message: messageBadGateway, Err: err}
	switch code {
	case transport.ConnectTimeout, transport.FirstByteLimit, transport.IdleLimit, transport.TotalLimit:
		e.Status, e.Message = http.StatusGatewayTimeout, messageTimeout
	case transport.InvalidRequest:
		e.Status, e.Message = http.StatusInternalServerError, messageInternal
		gone = true
	case transport.DNSFailed:
		e.Status, e.Message = http.StatusServiceUnavailable, messageNoName
	case transport.Closed:
		e.Status, e.Message = http.StatusServiceUnavailable, messageUnavailable
		gone = true
	}
	return e, gone
}

// Fault says what the failure of a try means for the target. err is what Failure got, and begun says that the head of an answer was
// there.
func Fault(err error, begun bool) policy.Fault {
	var t *transport.Error
	if e := (*policy.Error)(nil); errors.As(err, &e) && e != nil { // from a round tripper of the application
		if e.Status < http.StatusInternalServerError {
			return policy.FaultNone // it speaks of the request
		}
		err = e.Err // which may say how the target has failed
	}
	switch {
	case !errors.As(err, &t):
		return policy.FaultUnknown
	case transport.AtLimit(err), transport.RefusedPerhaps(err):
		return policy.FaultNone
	}
	switch t.Code {
	case transport.StaleConnection:
		return policy.FaultNone
	case transport.ConnectRefused:
		return policy.FaultRefused
	case transport.TotalLimit:
		if begun { // what has come was in time
			return policy.FaultNone
		}
		return policy.FaultTimeout
	case transport.ConnectTimeout, transport.FirstByteLimit, transport.IdleLimit:
		return policy.FaultTimeout
	}
	return policy.FaultConnection
}

// uploadFailure says what was wrong with the client's request body.
func uploadFailure(err error) *policy.Error {
	e := &policy.Error{Status: http.StatusBadRequest, Code: bodyInvalid, Message: "Bad request", Err: err}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errShort):
		e.Status, e.Code, e.Message = http.StatusInternalServerError, transport.InvalidRequest, messageInternal
	case errors.Is(err, errPanicked):
		e.Status, e.Code, e.Message = http.StatusInternalServerError, bodyPanicked, messageInternal
	case errors.Is(err, errTrailersTooLarge):
		e.Status, e.Code, e.Message = http.StatusRequestHeaderFieldsTooLarge, trailersTooLarge, "Request trailers too large"
	case errors.As(err, &tooLarge):
		e.Status, e.Code, e.Message = http.StatusRequestEntityTooLarge, bodyTooLarge, "Request body too large"
	case isTimeout(err):
		e.Status, e.Code, e.Message = http.StatusRequestTimeout, bodyTimeout, messageSlowBody
	}
	return e
}

// Unavailable is the refusal of a request that could not be sent to any target.
func Unavailable(code string, err error) *policy.Error {
	return &policy.Error{Status: http.StatusServiceUnavailable, Code: code, Message: messageUnavailable, Err: err}
}

var errUpgradesInUse = errors.New("proxy: as many connections have switched protocols as may")

// TooManyUpgrades is the refusal of a request to switch protocols when no more may do so.
func TooManyUpgrades() *policy.Error { return Unavailable(upgradesInUse, errUpgradesInUse) }

// NoTarget is the refusal of a request for which the balancer has no target.
func NoTarget(err error) *policy.Error {
	return &policy.Error{Status: http.StatusServiceUnavailable, Code: "no_target", Message: messageNoTarget, Err: err}
}
