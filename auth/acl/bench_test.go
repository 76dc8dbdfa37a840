package acl_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/auth/acl"
	"github.com/gatehouse-go/gateway/policy"
)

type nothing struct{ h http.Header }

func (nothing) ServeHTTP(http.ResponseWriter, *http.Request) {}
func (n nothing) Header() http.Header                        { return n.h }
func (nothing) WriteHeader(int)                              {}
func (nothing) Write(b []byte) (int, error)                  { return len(b), nil }

// authenticated makes a request of a consumer in the given groups.
func authenticated(groups ...string) *http.Request {
	x, r := policy.Ensure(httptest.NewRequest(http.MethodGet, "/", nil))
	x.SetIdentity(*in(groups...))
	return r
}

// large has a hundred groups on each list.
func large(tb testing.TB) *acl.ACL {
	tb.Helper()
	c := acl.Config{Allow: []string{"staff"}}
	for i := range 99 {
		c.Allow = append(c.Allow, "allowed-"+strconv.Itoa(i))
		c.Deny = append(c.Deny, "denied-"+strconv.Itoa(i))
	}
	a, err := acl.New(c)
	require.NoError(tb, err)
	return a
}

func TestAllowAllocatesNothing(t *testing.T) {
	h := large(t).Wrap(nothing{})
	r := authenticated("a", "b", "staff")
	require.Zero(t, testing.AllocsPerRun(50, func() { h.ServeHTTP(nothing{}, r) }))
}

func BenchmarkWrap(b *testing.B) {
	for name, r := range map[string]*http.Request{
		"allowed": authenticated("a", "b", "staff"),
		"refused": authenticated("a", "b", "c"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h, w := large(b).Wrap(nothing{}), nothing{http.Header{}}
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
