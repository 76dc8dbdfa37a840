package gateway_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/internal/race"
	"github.com/gatehouse-go/gateway/internal/rawtest"
	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/ratelimit"
)

// yardstick is how many times its own size a request may cost in memory, beyond what the smallest one costs.
const yardstick = 100

// yardsticked is a gateway with all that looks at requests, in front of target.
func yardsticked(t *testing.T, target string) *gateway.Gateway {
	t.Helper()
	const everywhere = keyauth.Header | keyauth.Query | keyauth.Cookie | keyauth.Body
	u := upstream(t, gateway.UpstreamConfig{MaxConns: -1, Timeouts: gateway.Timeouts{FirstByte: -1}}, target)
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // records are to be written
	limit := gateway.Must(ratelimit.New(ratelimit.Config{Limits: []ratelimit.Limit{ratelimit.PerSecond(1e6)}, Key: policy.ByHeader("X-Tenant")}))
	keys := gateway.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k": {ID: "1"}}, In: everywhere, HideCredentials: true}))
	c := gateway.Config{
		Logger: logger, Plugins: []gateway.Plugin{gateway.Must(observe.New(observe.Config{Log: logger})), limit},
		Routes: []gateway.Route{
			{Name: "open", Public: true, Match: gateway.Match{Paths: []string{"/*rest"}, Hosts: []string{"h"}}, Handler: u},
			{Name: "keyed", Match: gateway.Match{Regexps: []string{"/keyed(/[^/]*)*"}}, Plugins: []gateway.Plugin{keys}, Handler: u},
		},
	}
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return gateway.Must(gateway.New(c))
}

// hostileShapes are requests made to cost more than they weigh. All end their connection.
func hostileShapes() map[string]string {
	get := func(target, fields string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields + "\r\n"
	}
	post := func(contentType, body string) string {
		return fmt.Sprintf("POST /keyed HTTP/1.1\r\nHost: k\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
	}
	chunked := func(body string) string {
		return "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
	}
	many := func(n int, what string) string { return strings.Repeat(what, n) }
	const form = "application/x-www-form-urlencoded"
	return map[string]string{
		"fields":          get("/a", many(95, "A: b\r\n")),
		"too many fields": get("/a", many(9000, "A:\r\n")),
		"names": get("/a", func() (s string) {
			for i := range 95 {
				s += fmt.Sprintf("x_%d_.y: z\r\n", i)
			}
			return s
		}()),
		"long value":         get("/a", "A: "+many(60_000, "b")+"\r\n"),
		"too long":           get("/a", "A: "+many(200_000, "b")+"\r\n"),
		"continued lines":    get("/a", "A: b\r\n"+many(20_000, " c\r\n")),
		"Connection":         get("/a", "Connection: "+many(15_000, "a,b,")+"\r\n"),
		"hops":               get("/a", "X-Forwarded-For: "+many(7000, "1.1.1.1,")+"\r\n"),
		"hops that are none": get("/a", "X-Forwarded-For: "+many(25_000, ",,")+"\r\n"),
		"Forwarded":          get("/a", "Forwarded: "+many(7000, "for=a;,")+"\r\n"),
		"Via":                get("/a", "Via: "+many(7000, "1.1 a,")+"\r\n"),
		"tenant":             get("/a", "X-Tenant: "+many(60_000, "t")+"\r\n"),
		"User-Agent":         get("/a", "User-Agent: "+many(15_000, "\xe2\x80\xa8")+"\r\n"),
		"TE":                 get("/a", "TE: "+many(20_000, "a,")+"\r\n"),
		"Upgrade":            get("/a", "Connection: upgrade\r\nUpgrade: "+many(20_000, "a,")+"\r\n"),
		"Trailer":            "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: " + many(10_000, "a,") + "b\r\n\r\n0\r\n\r\n",
		"dots":               get(many(2000, "/./."), ""),
		"escapes":            get("/"+many(2700, "%41"), ""),
		"slashes":            get(many(8000, "/"), ""),
		"segments":           "GET /keyed" + many(4000, "/a") + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n",
		"parameters":         "GET /keyed?" + many(990, "a&") + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n",
		"keys in the query":  "GET /keyed?" + many(900, "apikey&") + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n",
		"cookies":            "GET /keyed HTTP/1.1\r\nHost: k\r\nConnection: close\r\nCookie: " + many(15_000, "a=;") + "\r\n\r\n",
		"URL":                get("/"+many(60_000, "a"), ""),
		"host":               "GET / HTTP/1.1\r\nHost: " + many(20_000, "a.") + "b\r\nConnection: close\r\n\r\n",
		"method":             many(60_000, "G") + " /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"chunks of a byte":   chunked(many(20_000, "1\r\na\r\n") + "0\r\n\r\n"),
		"extensions":         chunked("1;" + many(3000, "a") + "\r\na\r\n0\r\n\r\n"),
		"trailers":           chunked("0\r\n" + many(5000, "A: b\r\n") + "\r\n"),
		"form":               post(form, many(30_000, "a&")),
		"form of keys":       post(form, many(6000, "apikey=k&")),
		"JSON, deep":         post("application/json", many(30_000, "[")+many(30_000, "]")),
		"JSON, wide":         post("application/json", "{"+many(8000, `"a":{},`)+`"apikey":"k"}`),
		"JSON, escapes":      post("application/json", `{"apikey":"`+many(10_000, `\u0041`)+`"}`),
		"multipart":          post("multipart/form-data; boundary=B", many(8000, "--B\r\n\r\n")+"--B--"),
		"multipart, fields":  post("multipart/form-data; boundary=B", "--B\r\n"+many(8000, "a: b\r\n")+"\r\n\r\n--B--"),
		"long boundary":      post("multipart/form-data; boundary="+many(20_000, "b"), "--b"),
		"too large a form":   post(form, many(200_000, "a&")),
		"nonsense":           many(5000, "\x16\x03\x01") + "\r\n\r\n",
	}
}

// What a request costs, from its first byte to the end of its connection: all that is allocated for it, by its client and by
// the target as well, and so more than is held at any time.
func TestNoRequestCostsAHundredTimesItsSize(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	if race.Enabled {
		t.Skip("under the race detector pools lose what was given back, so that it is allocated again")
	}
	srv := httptest.NewUnstartedServer(yardsticked(t, scripted(t, func(c *net.TCPConn, in *bufio.Reader) {
		for readRequest(in) != nil {
			if _, err := io.WriteString(c, answerUp); err != nil {
				return
			}
		}
	})))
	srv.Config = gateway.NewServer("", srv.Config.Handler)
	srv.Config.ErrorLog = nil
	srv.Start()
	t.Cleanup(srv.Close)
	var answer [64 << 10]byte
	ask := func(text string) (status string) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(rawtest.Patience)))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c, text) // what is refused is not read to its end
		}()
		n, err := io.ReadFull(c, answer[:])
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		<-sent
		return string(answer[min(n, len("HTTP/1.1 ")):min(n, len("HTTP/1.1 200"))])
	}
	cost := func(text string) (each uint64, status string) {
		const times = 20
		status = ask(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			ask(text)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / times, status
	}
	least, status := cost("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	require.Equal(t, "200", status)
	for name, text := range hostileShapes() {
		each, status := cost(text)
		t.Logf("%-20s %7d bytes, answered with %s, cost %8d: %.1f times", name, len(text), status, each, (float64(each)-float64(least))/float64(len(text)))
		require.LessOrEqual(t, each, least+yardstick*uint64(len(text)), name)
		if name == "long value" {
			require.Greater(t, each, least+uint64(len(text)), "what is measured is the cost")
		}
	}
	t.Logf("the smallest request costs %d", least)
}

// frameOf is one of HTTP/2.
func frameOf(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return string(binary.BigEndian.AppendUint32(append(head, flags), stream)) + payload
}

// Over HTTP/2 a byte can stand for a field of kilobytes that was sent before. What is held is measured while a hundred such
// requests wait for their target.
func TestNoRequestHoldsAHundredTimesItsSize(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	const streams, value = 100, 3900
	const get = "\x82\x87\x84" // :method, :scheme and :path of the static table
	first := get + "\x41\x01h" + "\x40\x01a\x7f" + string([]byte{(value-127)&0x7f | 0x80, (value - 127) >> 7}) + strings.Repeat("v", value)
	held := func(again string) (held int64, sent int) {
		arrived := make(chan struct{}, streams)
		gw := yardsticked(t, scripted(t, func(_ *net.TCPConn, in *bufio.Reader) {
			for {
				line, err := in.ReadSlice('\n')
				switch {
				case string(line) == "\r\n":
					arrived <- struct{}{}
				case err != nil && !errors.Is(err, bufio.ErrBufferFull):
					return
				}
			}
		}))
		srv := httptest.NewUnstartedServer(gw)
		srv.Config = gateway.NewServer("", gw)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.EnableHTTP2 = true
		srv.StartTLS()
		defer srv.Close()
		c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		text := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frameOf(4, 0, 0, "") + frameOf(1, 5, 1, first)
		_, err = io.WriteString(c, text)
		require.NoError(t, err)
		<-arrived
		before := int64(heapInUse())
		text = ""
		for n := range uint32(streams - 1) {
			text += frameOf(1, 5, 2*n+3, get+"\xbf"+again)
		}
		_, err = io.WriteString(c, text)
		require.NoError(t, err)
		for range streams - 1 {
			<-arrived
		}
		held = math.MaxInt64
		for range 20 { // the last ones may just be letting go of what they have sent
			held = min(held, int64(heapInUse())-before)
		}
		return held, len(text)
	}
	least, _ := held("")
	bomb, sent := held(strings.Repeat("\xbe", 15)) // 15 times the field of the first request
	t.Logf("%d requests hold %d KiB, of %d bytes with %d KiB of fields %d KiB", streams, least>>10, sent, (streams-1)*15*value>>10, bomb>>10)
	require.LessOrEqual(t, bomb, least+yardstick*int64(sent))
}
