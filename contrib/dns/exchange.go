package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// payload is the size of UDP messages that is announced: what passes everywhere without being cut up.
	payload = 1232
	// buffer is for servers that do not mind payload.
	buffer = 4096
)

// query asks the servers in turn until one answers.
func (r *round) query(ctx context.Context, q question) (*mdns.Msg, error) {
	problems := make([]error, len(r.servers))
	n := int32(len(r.servers))
	first := r.first.Load() % n
	for attempt := range r.Attempts {
		for i := range n {
			at := (first + i) % n
			msg, err := r.try(ctx, r.servers[at], q, attempt == 0)
			if err == nil {
				if i > 0 {
					r.first.Store(at)
				}
				return msg, nil
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("dns: not all is answered within %v", r.limit())
			}
			problems[at] = err
		}
	}
	var text []string
	for i, p := range problems {
		text = append(text, r.servers[i]+" "+p.Error())
	}
	return nil, fmt.Errorf("dns: %s %s: %s", mdns.TypeToString[q.qtype], undotted(q.name), strings.Join(text, "; "))
}

// errFormat is what a server says that does not know EDNS, or nothing at all.
var errFormat = errors.New("does not understand the question")

// try asks one server. An error is what is wrong with that server.
func (r *round) try(ctx context.Context, server string, q question, edns bool) (*mdns.Msg, error) {
	msg, err := r.exchange(ctx, "udp", server, q, edns)
	if edns && errors.Is(err, errFormat) {
		edns = false
		msg, err = r.exchange(ctx, "udp", server, q, edns)
	}
	if err == nil && msg.Truncated {
		if msg, err = r.exchange(ctx, "tcp", server, q, edns); err == nil && msg.Truncated {
			err = errors.New("cut its answer short, over TCP too")
		}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case msg.Rcode == mdns.RcodeNameError:
		return msg, nil
	case msg.Rcode != mdns.RcodeSuccess:
		return nil, fmt.Errorf("says %s", cmp.Or(mdns.RcodeToString[msg.Rcode], fmt.Sprintf("RCODE %d", msg.Rcode)))
	case len(msg.Answer) > 0 && !about(msg, q.name):
		return nil, errors.New("answers with records of other names")
	case len(msg.Answer) == 0 && !msg.Authoritative && !msg.RecursionAvailable:
		return nil, errors.New("does not know, and does not ask others")
	}
	return msg, nil
}

// about tells whether there is a record of a name in an answer.
func about(msg *mdns.Msg, name string) bool {
	for _, rr := range msg.Answer {
		if h := rr.Header(); h.Class == mdns.ClassINET && mdns.CanonicalName(h.Name) == name {
			return true
		}
	}
	return false
}

// exchange sends a question over a connection of its own, from a port of its own, and waits for its answer.
func (r *round) exchange(ctx context.Context, network, server string, q question, edns bool) (*mdns.Msg, error) {
	within, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	m := new(mdns.Msg)
	m.Id = mdns.Id()
	m.RecursionDesired = true
	m.Question = []mdns.Question{{Name: q.name, Qtype: q.qtype, Qclass: mdns.ClassINET}}
	if edns {
		m.SetEdns0(payload, false)
	}
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(within, network, server)
	if err != nil {
		return nil, r.plain(within, network, err)
	}
	conn := &mdns.Conn{Conn: nc, UDPSize: buffer}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(within, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.WriteMsg(m); err != nil {
		return nil, r.plain(within, network, err)
	}
	for {
		var head mdns.Header
		raw, err := conn.ReadMsgHeader(&head)
		if err != nil && !errors.Is(err, mdns.ErrShortRead) {
			return nil, r.plain(within, network, err)
		}
		var msg *mdns.Msg
		if err == nil {
			msg, err = parse(head, raw, m)
		}
		switch {
		case err == nil:
			return msg, nil
		case errors.Is(err, errFormat):
			return nil, err
		case network == "tcp": // nobody else can have sent it
			return nil, fmt.Errorf("over TCP: %w", err)
		}
		// A late answer to another question, or somebody who guesses: the answer may still come.
	}
}

// parse returns the answer to a question, or why it is none.
func parse(head mdns.Header, raw []byte, m *mdns.Msg) (*mdns.Msg, error) {
	if head.Id != m.Id {
		return nil, errors.New("answers with another id")
	}
	msg := new(mdns.Msg)
	if err := msg.Unpack(raw); err != nil {
		return nil, errors.New("answers with what is no message of DNS")
	}
	if !msg.Response || msg.Opcode != mdns.OpcodeQuery {
		return nil, errors.New("answers with what is no answer")
	}
	if (msg.Rcode == mdns.RcodeFormatError || msg.Rcode == mdns.RcodeNotImplemented) && len(msg.Question) == 0 {
		return nil, errFormat
	}
	q := m.Question[0]
	if len(msg.Question) != 1 || msg.Question[0].Qtype != q.Qtype || msg.Question[0].Qclass != q.Qclass || mdns.CanonicalName(msg.Question[0].Name) != q.Name {
		return nil, errors.New("answers to another question")
	}
	switch msg.Rcode {
	case mdns.RcodeFormatError, mdns.RcodeNotImplemented, mdns.RcodeBadVers:
		return nil, errFormat
	}
	// Unpack takes a message that ends between two records as whole.
	if !msg.Truncated && (int(head.Ancount) != len(msg.Answer) || int(head.Nscount) != len(msg.Ns) || int(head.Arcount) != len(msg.Extra)) {
		return nil, errors.New("answers with fewer records than it announces")
	}
	return msg, nil
}

// plain returns what went wrong, in words that are the same each time: without the port that was used.
func (r *round) plain(within context.Context, network string, err error) error {
	if within.Err() != nil {
		return fmt.Errorf("does not answer within %v", r.Timeout)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("over %s: %w", network, err)
}
