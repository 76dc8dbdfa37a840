package balancer_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/balancer"
)

func sticky(change func(*balancer.Sticky)) balancer.Sticky {
	s := balancer.Sticky{Cookie: balancer.Cookie{Name: "target"}, Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}}
	if change != nil {
		change(&s)
	}
	return s
}

func with(cookies ...string) balancer.Query {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Cookie"] = cookies
	return balancer.Query{Request: r}
}

func TestSticky(t *testing.T) {
	t.Parallel()
	list := targets(0, 0, 0)
	p := newPool(t, sticky(nil), 0, 0, 0)
	for i := range 6 {
		m := pickFor(t, p, with())
		require.Equal(t, url(i%3), m.Target(), "clients without a cookie are the algorithm's")
		c := p.Cookie(with(), m)
		require.Regexp(t, `^target=[\w-]{32}; Path=/; HttpOnly; Secure; SameSite=Lax$`, c.String())
		back := with("a=b; target=" + c.Value)
		for range 3 {
			require.Same(t, m, pickFor(t, p, back))
		}
		require.Nil(t, p.Cookie(back, m), "it has the cookie already")

		// One that has to go elsewhere stays there.
		back.Tried = []*balancer.Member{m}
		other := pickFor(t, p, back)
		require.NotSame(t, m, other)
		require.NotEqual(t, c.Value, p.Cookie(back, other).Value)
		back.Tried = nil
		rest := slices.DeleteFunc(slices.Clone(list), func(t balancer.Target) bool { return t.URL == m.Target() })
		require.NoError(t, p.SetTargets(rest))
		require.NotSame(t, m, pickFor(t, p, back))
		require.NoError(t, p.SetTargets(list))
		require.Equal(t, m.Target(), pickFor(t, p, back).Target())
		require.NoError(t, p.SetTargets(rest)) // the turn goes on at the same place
		require.NoError(t, p.SetTargets(list))
		for pickFor(t, p, with()).Target() != url(i%3) {
		}
	}
}

// A client gets nothing by changing or making cookies.
func TestStickyForgery(t *testing.T) {
	t.Parallel()
	p := newPool(t, sticky(nil), 0, 0)
	m := pickFor(t, p, with())
	value := p.Cookie(with(), m).Value
	foreign := newPool(t, sticky(func(s *balancer.Sticky) { s.Secrets = [][]byte{bytes.Repeat([]byte("t"), 16)} }), 0, 0)
	renamed := newPool(t, sticky(func(s *balancer.Sticky) { s.Cookie.Name = "other" }), 0, 0)
	for about, forged := range map[string]string{
		"empty": "", "short": value[:31], "long": value + "A", "not base64": "****************************" + value[28:], "proof": value[:31] + "!",
		"changed": value[:20] + "AAAA" + value[24:], "mark changed": "AAAA" + value[4:],
		"another secret": foreign.Cookie(with(), pickFor(t, foreign, with())).Value,
		"another name":   renamed.Cookie(with(), pickFor(t, renamed, with())).Value,
	} {
		seen := map[string]bool{}
		for range 2 {
			got := pickFor(t, p, with("target="+forged))
			seen[got.Target()] = true
			require.NotNil(t, p.Cookie(with("target="+forged), got), about)
		}
		require.Len(t, seen, 2, about)
	}
}

// Secrets are replaced one by one: new ones sign, old ones are accepted, and their cookies replaced.
func TestStickySecrets(t *testing.T) {
	t.Parallel()
	before, after := bytes.Repeat([]byte("s"), 32), bytes.Repeat([]byte("t"), 32)
	old := newPool(t, sticky(nil), 0, 0, 0)
	p := newPool(t, sticky(func(s *balancer.Sticky) { s.Secrets = [][]byte{after, before} }), 0, 0, 0)
	last := newPool(t, sticky(func(s *balancer.Sticky) { s.Secrets = [][]byte{after} }), 0, 0, 0)
	for range 3 {
		m := pickFor(t, old, with())
		q := with("target=" + old.Cookie(with(), m).Value)
		again := pickFor(t, p, q)
		require.Equal(t, m.Target(), again.Target())
		renewed := p.Cookie(q, again)
		require.NotNil(t, renewed)
		require.Equal(t, m.Target(), pickFor(t, last, with("target="+renewed.Value)).Target())
		require.Nil(t, last.Cookie(with("target="+renewed.Value), pickFor(t, last, with("target="+renewed.Value))))
	}
}

// A cookie leads to any tier and zone, for as long as the target takes traffic.
func TestStickyAcrossTiers(t *testing.T) {
	t.Parallel()
	list := []balancer.Target{{URL: "http://a", Zone: "z"}, {URL: "http://b"}, {URL: "http://backup", Priority: 1}}
	p, err := balancer.NewPool(balancer.Config{
		Targets: []balancer.Target{list[2]}, Zone: "z", SlowStart: time.Hour,
		Algorithm: sticky(func(s *balancer.Sticky) { s.Algorithm = balancer.LeastConnections{} }),
	})
	require.NoError(t, err)
	m := pickFor(t, p, with())
	c := p.Cookie(with(), m)
	require.NoError(t, p.SetTargets(list))
	require.Equal(t, "http://backup", pickFor(t, p, with("target="+c.Value)).Target())
	require.NotEqual(t, "http://backup", pickFor(t, p, with()).Target())
}

func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	secure := with()
	secure.Request.TLS = &tls.ConnectionState{}
	for _, tt := range []struct {
		cookie balancer.Cookie
		q      balancer.Query
		want   string
	}{
		{balancer.Cookie{Name: "t"}, with(), "Path=/; HttpOnly; Secure; SameSite=Lax"},
		{balancer.Cookie{Name: "t", InsecureHTTP: true}, with(), "Path=/; HttpOnly; SameSite=Lax"},
		{balancer.Cookie{Name: "t", InsecureHTTP: true}, secure, "Path=/; HttpOnly; Secure; SameSite=Lax"},
		{
			balancer.Cookie{Name: "t", Path: "/a", Domain: "example.com", MaxAge: time.Hour, SameSite: http.SameSiteNoneMode}, secure,
			"Path=/a; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=None",
		},
		{balancer.Cookie{Name: "t", SameSite: http.SameSiteStrictMode}, with(), "Path=/; HttpOnly; Secure; SameSite=Strict"},
	} {
		p := newPool(t, sticky(func(s *balancer.Sticky) { s.Cookie = tt.cookie }), 0)
		c := p.Cookie(tt.q, pickFor(t, p, tt.q))
		require.Equal(t, "t="+c.Value+"; "+tt.want, c.String())
	}
	p := newPool(t, sticky(nil), 0)
	require.Nil(t, p.Cookie(balancer.Query{}, pickFor(t, p, balancer.Query{})))
	require.Nil(t, p.Cookie(with(), nil))
	require.Nil(t, (*balancer.Pool)(nil).Cookie(with(), nil))
}

func TestStickyErrors(t *testing.T) {
	t.Parallel()
	_, err := balancer.NewPool(balancer.Config{Targets: targets(1), Algorithm: balancer.Sticky{
		Cookie: balancer.Cookie{Name: "a b", Path: "app", Domain: "a b", MaxAge: -1, SameSite: 9}, Algorithm: balancer.Ring{Slots: 1},
	}})
	for _, want := range []string{
		`Config.Algorithm: Sticky.Cookie.Name "a b": is not a cookie's name`, `Sticky.Cookie.Path "app": must begin with /`, `Sticky.Cookie.Domain "a b": is not a domain`,
		`Sticky.Cookie.MaxAge -1ns: must be at least a second`, `Sticky.Cookie.SameSite 9: is not one of the modes`,
		`Config.Algorithm: Sticky.Secrets: is empty; give one of 16 bytes or more, from crypto/rand`, `Config.Algorithm: Ring.Key is missing`, `Config.Algorithm: Ring.Slots 1:`,
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = balancer.NewPool(balancer.Config{Targets: targets(1), Algorithm: sticky(func(s *balancer.Sticky) {
		s.Secrets, s.Algorithm = append(s.Secrets, []byte("hunter2")), sticky(nil)
		s.Cookie.SameSite, s.Cookie.InsecureHTTP, s.Cookie.Path = http.SameSiteNoneMode, true, "/a;b"
	})})
	for _, want := range []string{
		`Sticky.Secrets[1]: has 7 bytes; must be 16 or more`, `Sticky.Algorithm: is another Sticky`, `Sticky.Cookie.SameSite: is http.SameSiteNoneMode`,
		`Sticky.Cookie.Path "/a;b"`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	_, err = balancer.Sticky{}.NewPicker(nil)
	require.Error(t, err)
}
