package consul_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/contrib/consul"
	"github.com/gatehouse-go/gateway/gatewaytest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }
	_, err := consul.New(consul.Config{
		Address: "127.0.0.1:8500", Tags: append(slices.Repeat([]string{"a"}, 64), ""), Token: "secret\n", URL: "users", Priority: -1, Wait: time.Hour,
	})
	require.EqualError(t, err, strings.Join([]string{
		`consul: Config.Address "127.0.0.1:8500" is not the URL of an agent; write it as http://127.0.0.1:8500`,
		`consul: Config.Service is empty; name the service`,
		`consul: Config.Tags has 65 entries, at most 64 are sent`,
		`consul: Config.Tags[64] is empty`,
		`consul: Config.Token holds a character at 6 that no token has; is there a line break at its end?`,
		`consul: Config.URL "users" is not the URL of a service; write it as https://name`,
		`consul: Config.Priority -1 is negative; 0 is the first tier`,
		`consul: Config.Wait 1h0m0s must be 1s to 10m0s, or 0 for the default of 1m0s`,
	}, "\n"))
	for problem, c := range map[string]consul.Config{
		`consul: Config.Address "unix://run/x" must have an absolute path, as unix:///run/consul.sock`: {Address: "unix://run/x"},
		`consul: Config.Address "http://u:p@a" is not the URL of an agent`:                             {Address: "http://u:p@a"},
		`consul: Config.Address "http://a_b..c" is not the URL of an agent`:                            {Address: "http://a_b..c"},
		`consul: Config.TLS is set, and Address "" is not https`:                                       {TLS: new(tls.Config)},
		`consul: Config.Dial is set, and Address "unix:///x" is a socket`:                              {Address: "unix:///x", Dial: dial},
	} {
		c.Service = "users"
		_, err := consul.New(c)
		require.ErrorContains(t, err, problem)
	}
	var none *consul.Source
	require.EqualError(t, none.Watch(t.Context(), nil), "consul: this Source is empty; make one with New")
	require.EqualError(t, new(consul.Source).Watch(t.Context(), nil), "consul: this Source is empty; make one with New")
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about     string
		c         consul.Config
		instances []string
		want      string
	}{
		{"in order", consul.Config{Priority: 2}, []string{"10.0.0.2:80", "10.0.0.1:8080"}, "http://10.0.0.1:8080 1/2 dc1, http://10.0.0.2:80 1/2 dc1"},
		{"none", consul.Config{}, nil, ""},
		{"the address of the node", consul.Config{}, []string{":80"}, "http://192.0.2.9:80 1/0 dc1"},
		{"IPv6", consul.Config{}, []string{"2001:DB8::1:80", "::ffff:10.0.0.1:80"}, "http://10.0.0.1:80 1/0 dc1, http://[2001:db8::1]:80 1/0 dc1"},
		{"a name", consul.Config{}, []string{"Users-1.test.:80"}, "http://users-1.test:80 1/0 dc1"},
		{"of a service", consul.Config{URL: "https://users.test/v1"}, []string{"10.0.0.1:80"}, "https://10.0.0.1:80/v1 (users.test) 1/0 dc1"},
		{"of an address", consul.Config{URL: "https://10.0.0.9"}, []string{"10.0.0.1:80"}, "https://10.0.0.1:80 1/0 dc1"},
		{"weights", consul.Config{}, []string{"10.0.0.1:80 weights=7/3", "10.0.0.2:80 weights=99999/1", "10.0.0.3:80 weights=0/0"},
			"http://10.0.0.1:80 7/0 dc1, http://10.0.0.2:80 65535/0 dc1, http://10.0.0.3:80 -1/0 dc1"},
		{"with warnings", consul.Config{Warning: true}, []string{"10.0.0.1:80 weights=7/3 check=warning", "10.0.0.2:80 weights=7/3 check=passing", "10.0.0.3:80 check=warning", "10.0.0.4:80 check=warning check=critical"},
			"http://10.0.0.1:80 3/0 dc1, http://10.0.0.2:80 7/0 dc1, http://10.0.0.3:80 1/0 dc1"},
		{"without, whatever is answered", consul.Config{}, []string{"10.0.0.1:80 check=warning", "10.0.0.2:80 check=critical", "10.0.0.3:80 check=maintenance", "10.0.0.4:80 check="}, ""},
		{"zones", consul.Config{ZoneMeta: "zone"}, []string{"10.0.0.1:80 zone=a", "10.0.0.2:80"}, "http://10.0.0.1:80 1/0 a, http://10.0.0.2:80 1/0 dc1"},
		{"one twice", consul.Config{}, []string{"10.0.0.1:80 weights=5/1", "10.0.0.1:80 weights=6/1", "10.0.0.1:81"}, "http://10.0.0.1:80 5/0 dc1, http://10.0.0.1:81 1/0 dc1"},
		{"what no target can be", consul.Config{}, []string{"10.0.0.1:80", "10.0.0.2:0 id=b", "10.0.0.3:65536 id=c"},
			`http://10.0.0.1:80 1/0 dc1; error: consul: users: 2 of 3 instances are not used, such as "b" has the port 0`},
		{"negative weights", consul.Config{}, []string{"10.0.0.1:80 weights=-1/0"}, `error: consul: users: 1 of 1 instances are not used, such as "users-1" has a negative weight`},
		{"no address", consul.Config{}, []string{"a/b@c:80 id=" + strings.Repeat("i", 100)},
			`error: consul: users: 1 of 1 instances are not used, such as "` + strings.Repeat("i", 64) + `" is at "a/b@c", which is no address`},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			in(t, newAgent(tt.instances...), tt.c, func(t *testing.T, w *watched) {
				t.Helper()
				require.Equal(t, tt.want, strings.Join(w.new(), "; "))
			})
		})
	}
	for _, address := range []string{"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0", "a..b", strings.Repeat("a", 64)} {
		in(t, newAgent(address+":80"), consul.Config{}, func(t *testing.T, w *watched) {
			t.Helper()
			require.Contains(t, w.new()[0], "which is no address", address)
		})
	}
}

// What is asked, and with what.
func TestQuestion(t *testing.T) {
	t.Parallel()
	a := newAgent("10.0.0.1:80")
	c := consul.Config{
		Address: "http://127.0.0.1:8500/consul/", Service: "users/v2 ü", Tags: []string{"a", "b&c"}, Filter: `Service.Meta.version == "2"`,
		Datacenter: "dc2", Near: "_agent", Namespace: "team", Partition: "p", Token: "secret", Wait: 90 * time.Second,
	}
	in(t, a, c, func(t *testing.T, w *watched) {
		t.Helper()
		time.Sleep(time.Second)
		synctest.Wait()
		asked := a.questions()
		require.Len(t, asked, 2)
		for i, uri := range asked {
			u, err := url.ParseRequestURI(uri)
			require.NoError(t, err)
			require.Equal(t, "/consul/v1/health/service/users%2Fv2%20%C3%BC", u.EscapedPath())
			want := url.Values{
				"passing": {"1"}, "tag": {"a", "b&c"}, "filter": {`Service.Meta.version == "2"`}, "dc": {"dc2"}, "near": {"_agent"}, "ns": {"team"}, "partition": {"p"},
			}
			if i > 0 {
				want["index"], want["wait"] = []string{"10"}, []string{"90000ms"}
			}
			require.Equal(t, want, u.Query())
		}
		require.Equal(t, "secret", a.last.Header.Get("X-Consul-Token"))
		require.Empty(t, a.last.Header.Get("Accept-Encoding"))
	})
	in(t, a, consul.Config{Warning: true}, func(t *testing.T, _ *watched) {
		t.Helper()
		synctest.Wait()
		require.Equal(t, []string{"/v1/health/service/users"}, a.questions()[:1])
		require.NotContains(t, a.last.Header, "X-Consul-Token")
	})
}

// A change is known at once; without one there is one question a minute.
func TestBlocking(t *testing.T) {
	t.Parallel()
	a := newAgent("10.0.0.1:80")
	in(t, a, consul.Config{}, func(t *testing.T, w *watched) {
		t.Helper()
		require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1"}, w.new())
		time.Sleep(10 * time.Second)
		require.Empty(t, w.new())
		a.has("10.0.0.1:80", "10.0.0.2:80")
		require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1, http://10.0.0.2:80 1/0 dc1"}, w.new(), "at once")
		a.questions()
		time.Sleep(time.Hour)
		lines := w.new()
		require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1, http://10.0.0.2:80 1/0 dc1"}, slices.Compact(lines))
		n := len(a.questions())
		require.Greater(t, n, 50)
		require.LessOrEqual(t, n, 60)
		// Many changes are few questions, the last of which has the last.
		for i := range 1000 {
			a.has(fmt.Sprintf("10.0.1.%d:80", i%250))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		lines = w.new()
		require.Equal(t, "http://10.0.1.249:80 1/0 dc1", lines[len(lines)-1])
		require.Less(t, len(a.questions()), 50)
	})
}

// asks returns when there was a question, in the time that is given.
func asks(a *agent, during time.Duration) []time.Duration {
	began := time.Now()
	a.set(func(a *agent) { a.times = nil })
	time.Sleep(during)
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []time.Duration
	for _, at := range a.times {
		all = append(all, at.Sub(began))
	}
	return all
}

// indexes returns the index of each question.
func indexes(asked []string) string {
	var all []string
	for _, uri := range asked {
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			panic(err)
		}
		all = append(all, u.Query().Get("index"))
	}
	return strings.Join(all, ",")
}

func TestIndex(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answers []string
		want    string // of the questions
	}{
		{[]string{"10", "11", "500", "501"}, ",10,11,500,501"},
		{[]string{"10", "5", "6", "7"}, ",10,,6,7"},
		{[]string{"0", "0", "3"}, ",1,1,3"},
		{[]string{"10", "0", "3"}, ",10,,3"},
		{[]string{"10", "10", "10", "11"}, ",10,10,10,11"},
		{[]string{"18446744073709551615"}, ",18446744073709551615"},
		{[]string{"10", "", "11"}, ",10,,11"},
		{[]string{"10", "x", "11"}, ",10,,11"},
		{[]string{"10", "-1", "11"}, ",10,,11"},
		{[]string{"10", "18446744073709551616", "11"}, ",10,,11"},
	} {
		a := newAgent()
		n := 0
		a.fault = func(w http.ResponseWriter, r *http.Request) {
			if n == len(tt.answers) {
				<-r.Context().Done()
				return
			}
			n++
			answer(w, tt.answers[n-1], "["+entry("10.0.0.1:80")+"]")
		}
		in(t, a, consul.Config{}, func(t *testing.T, w *watched) {
			t.Helper()
			time.Sleep(30 * time.Second)
			lines := w.new()
			require.Equal(t, tt.want, indexes(a.questions()), tt.answers)
			for _, line := range lines {
				if line != "http://10.0.0.1:80 1/0 dc1" {
					require.Equal(t, "error: consul: users: an answer without X-Consul-Index is none of Consul", line)
				}
			}
		})
	}
}

// An agent that answers at once, whatever is asked, is not asked all the time.
func TestNeverBlocks(t *testing.T) {
	t.Parallel()
	for about, next := range map[string]func(n int) int{
		"the same":  func(int) int { return 10 },
		"backwards": func(n int) int { return 1000000 - n },
		"onwards":   func(n int) int { return n },
		"zero":      func(int) int { return 0 },
	} {
		a := newAgent()
		var n atomic.Int64
		a.fault = func(w http.ResponseWriter, _ *http.Request) { answer(w, next(int(n.Add(1))), "[]") }
		in(t, a, consul.Config{}, func(t *testing.T, _ *watched) {
			t.Helper()
			times := asks(a, 2*time.Minute)
			if about == "the same" || about == "zero" {
				require.Less(t, len(times), 15, about)
				return
			}
			require.Less(t, len(times), 480, about)
			for i := range times[1:] {
				require.GreaterOrEqual(t, times[i+1]-times[i], 250*time.Millisecond, about)
			}
		})
	}
}

// Whatever an agent does, it is told what, in the same words each time, and the next question is for an answer at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		about string
		fault http.Handler
		want  string
	}{
		{"500", gatewaytest.Respond(500, "rpc error: No cluster leader\n"), `the agent answers 500 "rpc error: No cluster leader"`},
		{"403", gatewaytest.Respond(403, "Permission denied: token secret-token lacks \x1b[1m"), `the agent answers 403 "Permission denied: token (the token) lacks \x1b[1m"`},
		{"a long text", gatewaytest.Respond(503, strings.Repeat("x", 1<<20)), `the agent answers 503 "` + strings.Repeat("x", 256) + `"`},
		{"a redirect", http.RedirectHandler("http://evil.test/", http.StatusFound), `the agent answers 302 "<a href=\"http://evil.test/\">Found</a>."`},
		{"garbage", garbage("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), `net/http: HTTP/1.x transport connection broken: bad Content-Length "x"`},
		{"no HTTP", garbage("SSH-2.0-OpenSSH_9.6\r\n"), `net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-OpenSSH_9.6"`},
		{"nothing", garbage(""), "EOF"},
		{"a huge head", garbage("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
		{"no index", gatewaytest.Respond(200, "[]"), "an answer without X-Consul-Index is none of Consul"},
		{"no JSON", body("<html>"), "an answer that is no list of instances: invalid character '<' looking for beginning of value"},
		{"cut short", body(`[{"Node":`), "an answer that is no list of instances: unexpected EOF"},
		{"nothing at all", body(""), "an answer that is no list of instances: EOF"},
		{"null", body("null"), "an answer that is no list of instances"},
		{"an object", body(`{}`), "an answer that is no list of instances: json: cannot unmarshal object into Go value of type []consul.instance"},
		{"another type", body(`[{"Service":{"Port":"80"}}]`), "an answer that is no list of instances: json: cannot unmarshal string into Go struct field .Service.Port of type int"},
		{"more behind it", body(`[] []`), "there is something behind the list of instances"},
		{"too many", body("[" + strings.Repeat("{},", 65535) + "{}]"), "an answer with 65536 instances; a pool has at most 65535"},
		{"without end", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Consul-Index", "1")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4<<20)); err != nil {
					return
				}
			}
		}), "an answer of more than 16777216 bytes"},
		{"a cut body", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer(w, 1, "[")
		}), "unexpected EOF"},
		{"a body that stalls", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(w, 1, "[")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), "no answer within 10s"},
		{"a stall", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "no answer within 10s"},
		{"a token that may see nothing", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
			answer(w, 1, "[]")
		}), "the token may not see the instances; it needs service:read and node:read"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			a := newAgent("10.0.0.1:80")
			in(t, a, consul.Config{Token: "secret-token"}, func(t *testing.T, w *watched) {
				t.Helper()
				require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1"}, w.new())
				time.Sleep(time.Second)
				require.Equal(t, ",10", indexes(a.questions()))
				a.set(func(a *agent) { a.fault = tt.fault.ServeHTTP; a.index++ }) // the question under way is answered well
				time.Sleep(2 * time.Minute)
				lines := w.new()
				require.Equal(t, "http://10.0.0.1:80 1/0 dc1", lines[0])
				lines = lines[1:]
				require.Greater(t, len(lines), 3)
				require.Less(t, len(lines), 20)
				first := strings.ReplaceAll(tt.want, "within 10s", "within 1m13.75s") // which waited for a change
				require.Equal(t, "error: consul: users: "+first, lines[0])
				for _, line := range lines[1:] {
					require.Equal(t, "error: consul: users: "+tt.want, line)
				}
				asked := indexes(a.questions())
				require.Regexp(t, "^11,(11,)?,,", asked) // net/http asks again where a kept connection ends
				a.set(func(a *agent) { a.fault = nil })
				time.Sleep(time.Minute)
				lines = w.new()
				require.Equal(t, "http://10.0.0.1:80 1/0 dc1", lines[len(lines)-1])
			})
		})
	}
}

// body is an answer with an index.
func body(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 1, text) })
}

// garbage sends bytes, and ends the connection.
func garbage(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.Close()
	})
}

// An agent that is gone is asked less and less often, and not by all gateways at once.
func TestBackOff(t *testing.T) {
	t.Parallel()
	a := newAgent()
	a.fault = gatewaytest.Respond(500, "").ServeHTTP
	different := map[time.Duration]bool{}
	for range 5 {
		in(t, a, consul.Config{}, func(t *testing.T, _ *watched) {
			t.Helper()
			synctest.Wait()
			times := asks(a, 5*time.Minute)
			before := time.Duration(0)
			for i, at := range times {
				least := min(time.Second<<min(i, 10), 30*time.Second)
				require.GreaterOrEqual(t, at-before, least)
				require.LessOrEqual(t, at-before, least+least/2)
				before = at
			}
			require.Greater(t, len(times), 8)
			different[times[3]] = true
		})
	}
	require.Greater(t, len(different), 2)
}

// A source ends at once, whatever it is doing.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, 30 * time.Second} {
		for _, fault := range []http.HandlerFunc{
			nil, gatewaytest.Respond(500, "").ServeHTTP,
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			a := newAgent("10.0.0.1:80")
			a.fault = fault
			in(t, a, consul.Config{}, func(t *testing.T, w *watched) {
				t.Helper()
				time.Sleep(after)
				began := time.Now()
				w.end(t)
				require.Zero(t, time.Since(began))
				w.ended <- context.Canceled
			})
		}
	}
}

// What is wrong with one instance is told once, and the others are targets.
func TestPartly(t *testing.T) {
	t.Parallel()
	a := newAgent("10.0.0.1:80", "10.0.0.2:0")
	problem := `error: consul: users: 1 of 2 instances are not used, such as "users-1" has the port 0`
	in(t, a, consul.Config{}, func(t *testing.T, w *watched) {
		t.Helper()
		require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1", problem}, w.new())
		time.Sleep(5 * time.Minute)
		require.Equal(t, []string{problem}, slices.Compact(w.new()))
		a.has("10.0.0.1:80", "10.0.0.2:80")
		require.Equal(t, []string{"http://10.0.0.1:80 1/0 dc1, http://10.0.0.2:80 1/0 dc1"}, w.new())
	})
}

// The ways to an agent over the sockets of this system.
func TestTransports(t *testing.T) {
	t.Parallel()
	a := newAgent("10.0.0.1:80")
	plain := httptest.NewServer(a)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(a)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	path := filepath.Join(t.TempDir(), "consul.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	socket := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = socket.Serve(l) }()
	defer socket.Close()
	gone := httptest.NewServer(a)
	gone.Close()
	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig
	for _, tt := range []struct {
		c    consul.Config
		want string
	}{
		{consul.Config{Address: plain.URL}, "http://10.0.0.1:80 1/0 dc1"},
		{consul.Config{Address: secure.URL, TLS: roots}, "http://10.0.0.1:80 1/0 dc1"},
		{consul.Config{Address: secure.URL}, "error: consul: users: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{consul.Config{Address: "unix://" + path}, "http://10.0.0.1:80 1/0 dc1"},
		{consul.Config{Address: "unix://" + path + "x"}, "error: consul: users: dial: connect: no such file or directory"},
		{consul.Config{Address: gone.URL}, "error: consul: users: dial: connect: connection refused"},
	} {
		tt.c.Service = "users"
		s, err := consul.New(tt.c)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		got := ""
		err = s.Watch(ctx, func(targets []balancer.Target, err error) {
			got = line(targets, err)
			cancel()
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, tt.want, got)
	}
}
