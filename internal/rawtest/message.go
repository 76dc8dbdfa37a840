package rawtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is a request or an answer.
type Message struct {
	// Conn is the number of the connection a request came over, from 0, in the order they were accepted.
	Conn int
	// Head is the head as it was sent, with the empty line; Start is its first line, Fields are the others in their order.
	Head, Start string
	Fields      []string
	// Raw is the body as it was sent, Body what it says.
	Raw, Body string
	// Trailer are the lines behind a chunked body.
	Trailer []string
	// Broken says why the message is not whole; nil when it is.
	Broken error
}

// Values returns the values of the fields with a name.
func (m *Message) Values(name string) []string {
	var values []string
	for _, f := range m.Fields {
		if n, v, _ := strings.Cut(f, ":"); strings.EqualFold(n, name) {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return values
}

// Status returns the status of an answer, 0 of a request.
func (m *Message) Status() int {
	_, status, _ := strings.Cut(m.Start, " ")
	status, _, _ = strings.Cut(status, " ")
	n, _ := strconv.Atoi(status)
	return n
}

// Text returns the message with its fields sorted, in lines that end with "\n", and with Date's value replaced by *, so that
// it can be compared. The body, where there is one, stands behind an empty line, and the trailers behind another.
func (m *Message) Text() string {
	fields := slices.Clone(m.Fields)
	for i, f := range fields {
		if name, value, _ := strings.Cut(f, ": "); name == "Date" {
			if _, err := time.Parse(http.TimeFormat, value); err == nil {
				fields[i] = "Date: *"
			}
		}
	}
	slices.Sort(fields)
	text := strings.Join(append([]string{m.Start}, fields...), "\n") + "\n"
	if m.Body != "" || len(m.Trailer) > 0 {
		text += "\n" + m.Body
	}
	if len(m.Trailer) > 0 {
		trailer := slices.Clone(m.Trailer)
		slices.Sort(trailer)
		text += "\n\n" + strings.Join(trailer, "\n")
	}
	return text
}

// ReadAnswer takes the next answer, to a request with this method; informational ones count. One without a head ends the test.
func (c *Conn) ReadAnswer(method string) *Message {
	c.t.Helper()
	m, err := c.message(time.Now().Add(Patience), method)
	if err != nil {
		c.t.Fatalf("rawtest: %s got no answer but %s: %v", c.who, shown(string(c.in)), err)
	}
	return m
}

// ReadRequest takes the next request. One without a head ends the test.
func (c *Conn) ReadRequest() *Message {
	c.t.Helper()
	m, err := c.message(time.Now().Add(Patience), "")
	if err != nil {
		c.t.Fatalf("rawtest: %s got no request but %s: %v", c.who, shown(string(c.in)), err)
	}
	return m
}

// ReadHead takes the head of the next request, and leaves its body.
func (c *Conn) ReadHead() *Message {
	c.t.Helper()
	m, err := c.head(time.Now().Add(Patience))
	if err != nil {
		c.t.Fatalf("rawtest: %s got no head but %s: %v", c.who, shown(string(c.in)), err)
	}
	return m
}

// errMalformed is in the error of a message that no gateway may send.
var errMalformed = errors.New("rawtest: malformed")

func malformed(what, text string) error {
	return fmt.Errorf("%w: %s: %s", errMalformed, what, shown(text))
}

// message takes a request, or an answer to one with method. A body that does not end is in Broken.
func (c *Conn) message(by time.Time, method string) (*Message, error) {
	m, err := c.head(by)
	if err != nil {
		return nil, err
	}
	length, chunked, err := m.framing()
	if err != nil {
		return nil, err
	}
	status := m.Status()
	switch {
	case method != "" && (method == http.MethodHead || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified):
	case chunked:
		m.Broken = c.chunks(by, m)
	case length >= 0:
		m.Broken = c.take(by, m, length)
	case method != "":
		for m.Broken == nil {
			m.Broken = c.fill(by)
		}
		m.Raw, c.in = string(c.in), nil
		m.Body = m.Raw
		if errors.Is(m.Broken, io.EOF) {
			m.Broken = nil
		}
	}
	return m, nil
}

// head takes a head. Lines end with CRLF, names are tokens, and nothing is continued.
func (c *Conn) head(by time.Time) (*Message, error) {
	for {
		if i := bytes.Index(c.in, []byte("\r\n\r\n")); i >= 0 {
			m := &Message{Head: string(c.in[:i+4])}
			c.in = c.in[i+4:]
			lines := strings.Split(m.Head[:i], "\r\n")
			m.Start, m.Fields = lines[0], lines[1:]
			return m, m.check()
		}
		if err := c.fill(by); err != nil {
			return nil, err
		}
	}
}

func (m *Message) check() error {
	request := !strings.HasPrefix(m.Start, "HTTP/")
	if request {
		if parts := strings.Split(m.Start, " "); len(parts) != 3 || parts[0] == "" || !strings.HasPrefix(parts[1], "/") || parts[2] != "HTTP/1.1" {
			return malformed("request line", m.Start)
		}
		if len(m.Values("Host")) != 1 {
			return malformed("Host", m.Head)
		}
	} else if len(m.Start) < len("HTTP/1.1 200 ") || m.Start[:len("HTTP/1.")] != "HTTP/1." || m.Status() < 100 || m.Status() > 599 {
		return malformed("status line", m.Start)
	}
	for _, line := range append([]string{m.Start}, m.Fields...) {
		if strings.ContainsAny(line, "\r\n\x00") {
			return malformed("line", line)
		}
	}
	for _, f := range m.Fields {
		name, _, ok := strings.Cut(f, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\v\f\"(),/;<=>?@[\\]{}") {
			return malformed("field", f)
		}
	}
	return nil
}

// framing says where the body ends. There is one way to say it, or none.
func (m *Message) framing() (length int, chunked bool, err error) {
	length = -1
	lengths, codings := m.Values("Content-Length"), m.Values("Transfer-Encoding")
	if len(lengths)+len(codings) > 1 {
		return 0, false, malformed("framing", m.Head)
	}
	for _, v := range lengths {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != v {
			return 0, false, malformed("length", v)
		}
		length = int(n)
	}
	for _, v := range codings {
		if v != "chunked" {
			return 0, false, malformed("coding", v)
		}
		chunked = true
	}
	return length, chunked, nil
}

// take takes n bytes of the body, and says why it could not.
func (c *Conn) take(by time.Time, m *Message, n int) error {
	var taken strings.Builder
	defer func() {
		m.Raw += taken.String()
		m.Body += taken.String()
	}()
	for n > 0 {
		part := min(n, len(c.in))
		taken.Write(c.in[:part])
		c.in = c.in[part:]
		if n -= part; n > 0 {
			if err := c.fill(by); err != nil {
				return err
			}
		}
	}
	return nil
}

// line takes a line of the body.
func (c *Conn) line(by time.Time, m *Message) (string, error) {
	for {
		if i := bytes.Index(c.in, []byte("\r\n")); i >= 0 {
			line := string(c.in[:i])
			m.Raw += line + "\r\n"
			c.in = c.in[i+2:]
			return line, nil
		}
		if err := c.fill(by); err != nil {
			m.Raw += string(c.in)
			c.in = nil
			return "", err
		}
	}
}

// chunks takes a chunked body.
func (c *Conn) chunks(by time.Time, m *Message) error {
	for {
		text, err := c.line(by, m)
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(text, 16, 31)
		if err != nil || strconv.FormatUint(size, 16) != text {
			return malformed("chunk size", text)
		}
		if size == 0 {
			return c.trailer(by, m)
		}
		if err := c.take(by, m, int(size)); err != nil {
			return err
		}
		switch end, err := c.line(by, m); {
		case err != nil:
			return err
		case end != "":
			return malformed("end of a chunk", end)
		}
	}
}

func (c *Conn) trailer(by time.Time, m *Message) error {
	for {
		line, err := c.line(by, m)
		if err != nil || line == "" {
			return err
		}
		m.Trailer = append(m.Trailer, line)
	}
}
