package mirror_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/gatewaytest"
	"github.com/gatehouse-go/gateway/policy"
	"github.com/gatehouse-go/gateway/traffic/mirror"
)

// compared asks once, and returns what was found.
func compared(t *testing.T, c mirror.Compare, ours, theirs http.Handler, request *http.Request) (found []mirror.Difference, s mirror.Status) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c.OnDifference = func(d mirror.Difference) { found = append(found, d) }
		m := made(t, mirror.Config{Shadow: theirs, Compare: &c, MaxBody: 1 << 10})
		m.Wrap(ours).ServeHTTP(httptest.NewRecorder(), request)
		time.Sleep(time.Minute)
		synctest.Wait()
		s = m.Status()
		require.Zero(t, s.Held)
		require.Equal(t, s.Compared, s.Equal+s.Different)
		require.Equal(t, uint64(1), s.Compared+s.Incomparable)
		require.Len(t, m.Recent(), len(found))
		require.NoError(t, m.Close())
	})
	return found, s
}

func jsonOf(body string) http.Handler {
	return gatewaytest.Respond(200, body, "Content-Type", "application/json; charset=utf-8")
}

// TestJSON: what differs between two bodies, and what does not count.
func TestJSON(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		ours, theirs string
		rules        mirror.Compare
		want         string // the details; "" for none
	}{
		{ours: `{"a":1,"b":[true,null,"x"]}`, theirs: ` { "b": [true, null, "\u0078"], "a": 1.0e0 } `},
		{ours: `{"a":1}`, theirs: `{"a":2}`, want: `body a value`},
		{ours: `{"a":1}`, theirs: `{"a":"1"}`, want: `body a type`},
		{ours: `{"a":1,"b":2}`, theirs: `{"b":2,"c":3}`, want: `body a missing; body c added`},
		{ours: `{"a":null}`, theirs: `{}`, want: `body a missing`},
		{ours: `[1,2,3]`, theirs: `[1,2]`, want: `body $ length 3, shadow 2`},
		{ours: `[1,2,3]`, theirs: `[1,3,3]`, want: `body $[1] value`},
		{ours: `{"a":[{"b":1},{"b":2}]}`, theirs: `{"a":[{"b":1},{"b":3}]}`, want: `body a[1].b value`},
		{ours: `1`, theirs: `2`, want: `body $ value`},
		{ours: `{"a.b":1,"":2,"c d":3}`, theirs: `{"a.b":0,"":0,"c d":0}`, want: `body $[""] value; body $["a.b"] value; body $["c d"] value`},
		{ours: `{"a":{"":{"$":1}}}`, theirs: `{"a":{"":{"$":2}}}`, want: `body a[""].$ value`},

		{ours: `{"a":1,"t":{"x":1}}`, theirs: `{"a":1,"t":{"x":2,"y":3}}`, rules: mirror.Compare{Ignore: []string{"t"}}},
		{ours: `{"a":1,"t":1}`, theirs: `{"a":1}`, rules: mirror.Compare{Ignore: []string{"t"}}},
		{ours: `{"a":1}`, theirs: `{"a":1,"t":1}`, rules: mirror.Compare{Ignore: []string{"$.t"}}},
		{ours: `{"items":[{"u":1,"v":1},{"u":2,"v":1}]}`, theirs: `{"items":[{"u":3,"v":1},{"u":4,"v":2}]}`, rules: mirror.Compare{Ignore: []string{"items[*].u"}}, want: "body items[1].v value"},
		{ours: `{"items":[{"u":1},{"u":2}]}`, theirs: `{"items":[{"u":3},{"u":4}]}`, rules: mirror.Compare{Ignore: []string{"items[0].u"}}, want: "body items[1].u value"},
		{ours: `[{"id":1},{"id":2}]`, theirs: `[{"id":3},{"id":4}]`, rules: mirror.Compare{Ignore: []string{"$[*].id"}}},
		{ours: `[{"id":1},{"id":2}]`, theirs: `[{"id":3},{"id":4}]`, rules: mirror.Compare{Ignore: []string{"[*].id"}}},
		{ours: `{"a":{"etag":1,"b":[{"etag":2}]},"etag":3}`, theirs: `{"a":{"etag":0,"b":[{"etag":0}]},"etag":0}`, rules: mirror.Compare{Ignore: []string{"**.etag"}}},
		{ours: `{"a":{"x":1},"b":{"x":1}}`, theirs: `{"a":{"x":2},"b":{"x":2}}`, rules: mirror.Compare{Ignore: []string{"*.x"}}},
		{ours: `{"a":{"x":1}}`, theirs: `{"a":{"x":2}}`, rules: mirror.Compare{Ignore: []string{"a.**"}}},
		{ours: `{"next.page":1,"a":1}`, theirs: `{"next.page":2,"a":1}`, rules: mirror.Compare{Ignore: []string{`["next.page"]`}}},
		{ours: `{"$a":1}`, theirs: `{"$a":2}`, rules: mirror.Compare{Ignore: []string{`$a`}}},
		{ours: `{"a":1}`, theirs: `{"a":2}`, rules: mirror.Compare{Ignore: []string{`$`}}},

		{ours: `{"p":1.00}`, theirs: `{"p":1.01}`, rules: mirror.Compare{Tolerances: []mirror.Tolerance{{Path: "p", Absolute: 0.011}}}},
		{ours: `{"p":1.00}`, theirs: `{"p":1.02}`, rules: mirror.Compare{Tolerances: []mirror.Tolerance{{Path: "p", Absolute: 0.01}}}, want: "body p value"},
		{ours: `{"p":{"q":[100]}}`, theirs: `{"p":{"q":[101]}}`, rules: mirror.Compare{Tolerances: []mirror.Tolerance{{Path: "p", Relative: 0.01}}}},
		{ours: `{"p":1e400}`, theirs: `{"p":1e401}`, rules: mirror.Compare{Tolerances: []mirror.Tolerance{{Path: "p", Relative: 1}}}, want: "body p value"},
		{ours: `[0,-0,0.0,1e2,100,0.01,10000000000000001,1e999999999999]`, theirs: `[-0,0e5,0,100,1.0e+2,1E-2,1.0000000000000001e16,1e999999999999]`},
		{ours: `[10000000000000001]`, theirs: `[10000000000000002]`, want: "body $[0] value"},
		{ours: `[1,-1]`, theirs: `[-1,1]`, want: "body $[0] value; body $[1] value"},

		{ours: `{"s":[1,2,3]}`, theirs: `{"s":[3,1,2]}`, rules: mirror.Compare{Unordered: []string{"s"}}},
		{ours: `{"s":[1,2,2]}`, theirs: `{"s":[2,1,1]}`, rules: mirror.Compare{Unordered: []string{"s"}}, want: "body s[2] unmatched"},
		{ours: `{"s":[1,2]}`, theirs: `{"s":[2,1,5]}`, rules: mirror.Compare{Unordered: []string{"s"}}, want: "body s length 2, shadow 3"},
		{ours: `[{"a":[1,2],"u":1},{"a":[3]}]`, theirs: `[{"a":[3]},{"a":[2,1],"u":2}]`, rules: mirror.Compare{Unordered: []string{"$", "$[*].a"}, Ignore: []string{"$[*].u"}}},
		{ours: `{"s":[1]}`, theirs: `{"s":{}}`, rules: mirror.Compare{Unordered: []string{"s"}}, want: "body s type"},

		{ours: `{"a":"x1"}`, theirs: `{"a":"x2"}`, rules: mirror.Compare{InsecureShowValues: true}, want: `body a value "x1", shadow "x2"`},
		{ours: `{"a":[1],"b":{"x":1},"c":null}`, theirs: `{"a":{},"b":false,"c":1.50}`, rules: mirror.Compare{InsecureShowValues: true},
			want: `body a type array of 1, shadow object of 0; body b type object of 1, shadow false; body c type null, shadow 1.50`},
		{ours: `{"a":1}`, theirs: `{"b":2}`, rules: mirror.Compare{InsecureShowValues: true}, want: `body a missing 1; body b added shadow 2`},
		{ours: `[1,2,3,4]`, theirs: `[5,6,7,8]`, rules: mirror.Compare{MaxDetails: 2}, want: `body $[0] value; body $[1] value; and 2 more`},
		{ours: `{"a":1}`, theirs: `{"a":2}`, rules: mirror.Compare{SkipBody: true}},

		// What is not JSON for everybody is compared as bytes.
		{ours: `{"a":1,"a":1}`, theirs: `{"a":1,"a":2}`, want: `body value`},
		{ours: `{"a":1} x`, theirs: `{"a":1} y`, want: `body value`},
		{ours: "\"\xff\"", theirs: "\"\xfe\"", want: `body value`},
		{ours: `{"a":1`, theirs: `{"a":1}`, want: `body length 6, shadow 7`},
		{ours: ``, theirs: `{}`, want: `body length 0, shadow 2`},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			found, s := compared(t, c.rules, jsonOf(c.ours), jsonOf(c.theirs), get())
			if c.want == "" {
				require.Empty(t, found)
				require.EqualValues(t, 1, s.Equal)
				return
			}
			require.EqualValues(t, 1, s.Different)
			require.Equal(t, "GET /: "+c.want, found[0].String())
		})
	}
}

// TestAnswers: status, header, trailers and other bodies.
func TestAnswers(t *testing.T) {
	t.Parallel()
	page := func(status int, body string, header ...string) http.Handler {
		return gatewaytest.Respond(status, body, header...)
	}
	trailing := func(status string, prefixed bool) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			name := "Grpc-Status"
			if prefixed {
				name = http.TrailerPrefix + name
			} else {
				w.Header().Set("Trailer", name)
			}
			_, _ = w.Write([]byte("x"))
			w.Header().Set(name, status)
		})
	}
	silent := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "1") })
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		ours, theirs http.Handler
		rules        mirror.Compare
		method       string
		want         string
		incomparable bool
	}{
		"same":                 {ours: page(200, "x"), theirs: page(200, "x")},
		"status":               {ours: page(200, "x", "X-A", "1"), theirs: page(500, "y"), want: "status 200, shadow 500"},
		"bytes":                {ours: page(200, "abc"), theirs: page(200, "abd"), want: "body value"},
		"length":               {ours: page(200, "abc"), theirs: page(200, "ab"), want: "body length 3, shadow 2"},
		"long":                 {ours: page(200, long), theirs: page(200, long)},
		"long and different":   {ours: page(200, long+"a"), theirs: page(200, long+"b"), want: "body value"},
		"long JSON":            {ours: jsonOf(long), theirs: jsonOf(long)},
		"long JSON, different": {ours: jsonOf(`"` + long + `"`), theirs: jsonOf(`"a` + long + `"`), incomparable: true},
		"deep":                 {ours: jsonOf(strings.Repeat("[", 100) + "1" + strings.Repeat("]", 100)), theirs: jsonOf(strings.Repeat("[", 100) + "2" + strings.Repeat("]", 100)), incomparable: true},
		"not both JSON":        {ours: jsonOf(`{"a":1}`), theirs: page(200, `{"a": 1}`), want: "header Content-Type missing; body length 7, shadow 8"},
		"HEAD":                 {ours: page(200, "abc"), theirs: page(200, "ab"), method: "HEAD"},
		"silent":               {ours: silent, theirs: silent},
		"silent, and not":      {ours: silent, theirs: page(200, "", "X-A", "2"), want: "header X-A value"},
		"header": {ours: page(200, "x", "X-A", "1", "X-B", "1", "X-B", "2"), theirs: page(200, "x", "X-B", "2", "X-C", "3"),
			want: "header X-A missing; header X-B value; header X-C added"},
		"shown": {ours: page(200, "x", "X-A", "1", "X-B", "1", "X-B", "2"), theirs: page(200, "x", "X-B", "2", "X-C", "3"), rules: mirror.Compare{InsecureShowValues: true},
			want: `header X-A missing "1"; header X-B value "1, 2", shadow "2"; header X-C added shadow "3"`},
		"ignored by default": {ours: page(200, "x", "Date", "1", "Set-Cookie", "a=b", "Age", "1"), theirs: page(200, "x", "Date", "2", "Via", "x")},
		"ignored":            {ours: page(200, "x", "Server", "1", "X-A", "1"), theirs: page(200, "x", "Server", "2", "X-A", "2"), rules: mirror.Compare{IgnoreHeaders: []string{"server"}}, want: "header X-A value"},
		"listed":             {ours: page(200, "x", "Date", "1", "X-A", "1"), theirs: page(200, "x", "Date", "2", "X-A", "2"), rules: mirror.Compare{Headers: []string{"date"}}, want: "header Date value"},
		"none":               {ours: page(200, "x", "X-A", "1"), theirs: page(200, "x"), rules: mirror.Compare{Headers: []string{}}},
		"trailers":           {ours: trailing("0", false), theirs: trailing("2", true), want: "trailer Grpc-Status value"},
		"the same trailers":  {ours: trailing("0", true), theirs: trailing("0", false)},
		"gzip":               {ours: zipped(`{"a":1,"b":2}`, 1), theirs: zipped(`{"b":2,"a":1}`, 9)},
		"gzip, different":    {ours: zipped(`{"a":1}`, 1), theirs: zipped(`{"a":2}`, 1), want: "body a value"},
		"gzip and plain":     {ours: zipped(`{"a":1}`, 1), theirs: jsonOf(`{"a":2}`), want: "header Content-Encoding missing; header Content-Type value; body a value"},
		"a bomb":             {ours: zipped(`"`+strings.Repeat("a", 5000)+`"`, 9), theirs: zipped(`"`+strings.Repeat("b", 5000)+`"`, 9), incomparable: true},
		"no gzip":            {ours: page(200, `1`, "Content-Type", "application/json", "Content-Encoding", "gzip"), theirs: page(200, `2`, "Content-Type", "application/json", "Content-Encoding", "gzip"), want: "body value"},
		"ours aborts":        {ours: gatewaytest.Truncate("x", 5), theirs: page(200, "x"), incomparable: true},
		"theirs aborts":      {ours: page(200, "x"), theirs: gatewaytest.Truncate("x", 5), incomparable: true},
		"ours is refused": {ours: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.Refuse(w, r, "x", &policy.Error{Status: 503})
		}), theirs: page(200, "x"), incomparable: true},
		"ours is slow":   {ours: gatewaytest.Stream(20*time.Second, "a", "b"), theirs: page(200, "ab")},
		"theirs is slow": {ours: page(200, "ab"), theirs: gatewaytest.Stream(5*time.Second, "a", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := get()
			if c.method != "" {
				r.Method = c.method
			}
			found, s := compared(t, c.rules, swallow(c.ours), c.theirs, r)
			switch {
			case c.incomparable:
				require.EqualValues(t, 1, s.Incomparable)
			case c.want == "":
				require.Empty(t, found)
				require.EqualValues(t, 1, s.Equal)
			default:
				require.EqualValues(t, 1, s.Different)
				require.Equal(t, r.Method+" /: "+c.want, found[0].String())
			}
		})
	}
}

// swallow ends the panics of h behind the mirror's back: outside of it.
func swallow(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				policy.Refuse(httptest.NewRecorder(), r, "x", nil) // marks the answer
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func zipped(body string, level int) http.Handler {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, level)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	return gatewaytest.Respond(200, b.String(), "Content-Type", "application/problem+json", "Content-Encoding", "gzip")
}

// TestOuterFields: what is in the header before is no part of the answer.
func TestOuterFields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Shadow: gatewaytest.Respond(200, "x"), Compare: &mirror.Compare{}})
		inner := m.Wrap(gatewaytest.Respond(200, "x"))
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Outer", "1")
			w = policy.OnHeader(w, func(_ int, h http.Header) { h.Set("X-Outermost", "1") })
			inner.ServeHTTP(w, r)
		})
		require.Equal(t, "1", gatewaytest.Do(h, get()).Header.Get("X-Outermost"))
		synctest.Wait()
		require.EqualValues(t, 1, m.Status().Equal)
	})
}

// TestDifference: what it holds, and what not.
func TestDifference(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{
			Name: "next", Shadow: gatewaytest.After(time.Second, jsonOf(`{"secret":"s2"}`)), Compare: &mirror.Compare{},
		})
		h := policy.Must(policy.NewEntry(policy.EntryConfig{})).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy.ExchangeFrom(r.Context()).SetRoute("users", "/*", "/")
			m.Wrap(gatewaytest.After(2*time.Second, jsonOf(`{"secret":"s1"}`))).ServeHTTP(w, r)
		}))
		for range 20 {
			r := httptest.NewRequest(http.MethodGet, "/a//b%20"+strings.Repeat("c", 300)+"?token=s3", nil)
			r.Header.Set("Authorization", "s4")
			gatewaytest.Do(h, r)
		}
		synctest.Wait()
		list := m.Recent()
		require.Len(t, list, 16)
		d := list[15]
		require.Equal(t, "users: GET /a/b%20"+strings.Repeat("c", 249)+"…: body secret value", d.String())
		require.NotContains(t, fmt.Sprintf("%+v", d), "s1")
		for _, secret := range []string{"s2", "s3", "s4"} {
			require.NotContains(t, fmt.Sprintf("%+v", d), secret)
		}
		require.Equal(t, []time.Duration{2 * time.Second, time.Second}, []time.Duration{d.Took, d.ShadowTook})
		require.Equal(t, []int{200, 200}, []int{d.Status, d.ShadowStatus})
		require.Equal(t, "next", d.Mirror)
		require.Len(t, d.RequestID, 36)
		require.Zero(t, time.Since(d.At))
	})
}

// TestOnDifferencePanics: it is counted, and nothing is lost.
func TestOnDifferencePanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Workers: 1, Shadow: gatewaytest.Respond(200, "y"), Compare: &mirror.Compare{OnDifference: func(mirror.Difference) { panic("x") }}})
		h := m.Wrap(gatewaytest.Respond(200, "x"))
		for range 3 {
			require.Equal(t, "x", text(t, gatewaytest.Do(h, get())))
			synctest.Wait()
		}
		s := m.Status()
		require.EqualValues(t, 3, s.Panicked)
		require.EqualValues(t, 3, s.Different)
		require.Zero(t, s.Held)
	})
}

// TestWorkIsBounded: arrays without an order are not compared for ever.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	list := func(first int) http.Handler {
		var b strings.Builder
		for i := range 3000 {
			fmt.Fprintf(&b, ",%d", first+i)
		}
		return jsonOf("[" + b.String()[1:] + "]")
	}
	synctest.Test(t, func(t *testing.T) {
		m := made(t, mirror.Config{Shadow: list(100_000), Compare: &mirror.Compare{Unordered: []string{"$"}}})
		gatewaytest.Do(m.Wrap(list(0)), get())
		synctest.Wait()
		require.EqualValues(t, 1, m.Status().Compared+m.Status().Incomparable)
	})
}

// FuzzCompare: two bodies and a rule, and nothing breaks; what is equal to itself stays so.
func FuzzCompare(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `[1e5,"x",[[]]]`, `{"a":1,"a":2}`, `1`, ``, "\xff", `{"":{"*":[0.10]}}`} {
		f.Add([]byte(s), []byte(`{"a":[1,{"b":2}]}`), `**.b`)
	}
	for _, path := range []string{`$`, `a[*].b`, `["a.b"][0]`, `a..b`, `[`, `["`, `[-1]`, `*.**`, `$a.b`, `[99999999999999999999]`} {
		f.Add([]byte(`[]`), []byte(`{}`), path)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, path string) {
		mirror.CheckCompare(t, a, b, path)
	})
}
