package healthcheck

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/internal/canonical"
)

// GRPC checks by a call of grpc.health.v1.Health/Check, gRPC's health checking protocol, in HTTP/2: with TLS for https, without
// for http. Only SERVING is well. The zero GRPC asks about the server as a whole.
type GRPC struct {
	// Service is the service that is asked about. Default: the server as a whole.
	Service string
	// Scheme is http or https. Default that of the target's URL.
	Scheme string
	// Authority is the :authority of the call. Default the target's host.
	Authority string
}

// healthPath is the method that is called.
const healthPath = "/grpc.health.v1.Health/Check"

const (
	wellKnown  = 1 // the number of HealthCheckResponse's field, and of the status that is well
	isServing  = 1
	frameHead  = 5 // a byte that says whether the message is compressed, and its length
	maxMessage = 4 << 10
)

// Validate returns what is wrong with g, each problem naming its field; nil if nothing is.
func (g GRPC) Validate() error {
	var errs []error
	if !utf8.ValidString(g.Service) || len(g.Service) > maxMessage {
		errs = append(errs, fmt.Errorf("GRPC.Service %.40q is not UTF-8, or longer than %d bytes", g.Service, maxMessage))
	}
	if g.Scheme != "" && g.Scheme != "http" && g.Scheme != "https" {
		errs = append(errs, fmt.Errorf("GRPC.Scheme %q must be http or https", g.Scheme))
	}
	if g.Authority != "" {
		if _, _, err := canonical.Host(g.Authority); err != nil {
			errs = append(errs, fmt.Errorf("GRPC.Authority %q is no host, or host and port", g.Authority))
		}
	}
	return errors.Join(errs...)
}

// Check implements [balancer.Checker].
func (g GRPC) Check(ctx context.Context, c balancer.Check) error {
	u := *c.URL
	u.Scheme, u.Path, u.RawPath = cmp.Or(g.Scheme, u.Scheme), healthPath, ""
	body := g.message()
	r := (&http.Request{
		Method: http.MethodPost, URL: &u, Host: cmp.Or(g.Authority, c.Target.Host), ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
		Header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {userAgent}},
	}).WithContext(ctx)
	return exchange(c, r, true, judge)
}

// judge says what the answer to a call says about the target.
func judge(res *http.Response) error {
	if res.StatusCode != http.StatusOK || !canonical.GRPC(res.Header) {
		return &balancer.AnswerError{Status: res.StatusCode, Problem: "the answer is not gRPC's"}
	}
	frame, err := io.ReadAll(io.LimitReader(res.Body, frameHead+maxMessage+1))
	switch {
	case err != nil:
		return err //nolint:wrapcheck // it says what happened
	case len(frame) > frameHead+maxMessage: // its trailer has not been read
		return &balancer.AnswerError{Problem: "the answer is too long"}
	}
	if status := cmp.Or(res.Trailer.Get("Grpc-Status"), res.Header.Get("Grpc-Status")); status != "0" {
		return &balancer.AnswerError{Problem: fmt.Sprintf("grpc-status is %.20q", status)}
	}
	if !serving(frame) {
		return &balancer.AnswerError{Problem: "it does not say SERVING"}
	}
	return nil
}

// message returns a HealthCheckRequest in its frame.
func (g GRPC) message() []byte {
	const service = 1<<3 | 2 // field 1, of which the length comes first
	var message []byte
	if g.Service != "" {
		message = append(binary.AppendUvarint([]byte{service}, uint64(len(g.Service))), g.Service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// serving reports whether frame is a HealthCheckResponse that says SERVING. Other fields may come in later versions of it.
func serving(frame []byte) bool {
	if len(frame) < frameHead || frame[0] != 0 || binary.BigEndian.Uint32(frame[1:]) != uint32(len(frame)-frameHead) {
		return false
	}
	status := uint64(0)
	for rest := frame[frameHead:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return false
		}
		rest = rest[n:]
		var size int
		switch tag & 7 {
		case 0: // a varint
			v, n := binary.Uvarint(rest)
			if n <= 0 {
				return false
			}
			if tag>>3 == wellKnown {
				status = v
			}
			size = n
		case 1:
			size = 8
		case 2: // a length, and so many bytes
			v, n := binary.Uvarint(rest)
			if n <= 0 || v > maxMessage {
				return false
			}
			size = n + int(v)
		case 5:
			size = 4
		default:
			return false
		}
		if size > len(rest) {
			return false
		}
		rest = rest[size:]
	}
	return status == isServing
}
