package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/policy"
)

func ExampleNewPool() {
	pool, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{
		{URL: "http://a.test", Weight: 300},
		{URL: "http://b.test"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	for range 4 {
		m, err := pool.Pick(balancer.Query{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.Target())
		pool.Done(m, policy.Outcome{Status: 200})
	}
	// Output:
	// http://a.test
	// http://a.test
	// http://b.test
	// http://a.test
}

// All problems are reported at once.
func ExampleNewPool_errors() {
	_, err := balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "ftp://a.test"}, {URL: "http://b.test", Weight: 70000}}})
	fmt.Println(err)
	// Output:
	// balancer: Config.Targets[0].URL "ftp://a.test": scheme must be http or https
	// balancer: Config.Targets[1].Weight 70000: must be 1 to 65535, 0 for the default of 100, or NoTraffic
}

// A target that refuses connections gets no requests for a while, and somebody is told.
func ExampleHealth() {
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}, {URL: "http://c.test"}},
		Health: balancer.Health{OnChange: func(c balancer.HealthChange) {
			fmt.Println(c.Target, "is", c.To, "because of", c.Reason)
			fmt.Println(c.Pool.Healthy, "of", c.Pool.Targets, "are healthy")
		}},
	}))
	defer pool.Close()
	m, _ := pool.Pick(balancer.Query{})
	pool.Done(m, policy.Outcome{Err: errors.New("connection refused"), Fault: policy.FaultRefused})
	for range 3 {
		m, _ := pool.Pick(balancer.Query{})
		fmt.Println(m.Target())
		pool.Done(m, policy.Outcome{Status: 200})
	}
	// Output:
	// http://a.test is ejected because of connect_refused
	// 2 of 3 are healthy
	// http://b.test
	// http://c.test
	// http://b.test
}

// Targets change while traffic flows; those that stay keep their counters.
func ExamplePool_SetTargets() {
	pool := policy.Must(balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}}}))
	m, _ := pool.Pick(balancer.Query{})
	pool.Done(m, policy.Outcome{Status: 200})
	err := pool.SetTargets([]balancer.Target{{URL: "http://a.test", Weight: balancer.NoTraffic}, {URL: "http://c.test"}})
	fmt.Println(err)
	for _, s := range pool.Status() {
		fmt.Println(s.URL, s.Weight, s.Requests)
	}
	// Output:
	// <nil>
	// http://a.test 0 1
	// http://c.test 100 0
}

// Shuffle is an algorithm of one's own: any target that the request may go to, by chance.
type Shuffle struct{ Seed uint64 }

func (s Shuffle) NewPicker(members []*balancer.Member) (balancer.Picker, error) {
	return &shuffled{members: members, seed: s.Seed}, nil
}

type shuffled struct {
	members []*balancer.Member
	seed    uint64
}

func (f *shuffled) Pick(q balancer.Query) *balancer.Member {
	for _, i := range rand.New(rand.NewPCG(f.seed, uint64(len(q.Tried)))).Perm(len(f.members)) {
		if m := f.members[i]; !q.Avoids(m) {
			return m
		}
	}
	return nil
}

func ExampleAlgorithm() {
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets:   []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
		Algorithm: Shuffle{Seed: 1},
	}))
	var tried []*balancer.Member
	for range 3 {
		m, err := pool.Pick(balancer.Query{Tried: tried})
		if err != nil {
			fmt.Println(err)
			break
		}
		pool.Done(m, policy.Outcome{Status: 200})
		tried = append(tried, m)
	}
	fmt.Println(len(tried))
	// Output:
	// balancer: no target takes traffic
	// 2
}

// Requests of one user go to one target, also when the targets change, as long as theirs stays. Where nobody is logged in
// the client's address counts.
func ExampleRing() {
	byUser := policy.ByQuery("user").Or(policy.ByClientAddress())
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets:   []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}, {URL: "http://c.test"}},
		Algorithm: balancer.Ring{Key: byUser},
	}))
	ask := func() {
		var line []string
		for _, user := range []string{"ann", "bob", "eve"} {
			m, err := pool.Pick(balancer.Query{Request: httptest.NewRequest(http.MethodGet, "/?user="+user, nil)})
			if err != nil {
				fmt.Println(err)
				return
			}
			line = append(line, user+" "+m.Target())
			pool.Done(m, policy.Outcome{Status: 200})
		}
		fmt.Println(strings.Join(line, "  "))
	}
	ask()
	ask()
	if err := pool.SetTargets([]balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}}); err != nil {
		fmt.Println(err)
	}
	ask()
	// Output:
	// ann http://b.test  bob http://b.test  eve http://c.test
	// ann http://b.test  bob http://b.test  eve http://c.test
	// ann http://b.test  bob http://b.test  eve http://b.test
}

// The better of four targets by the latency they showed lately: the slow one is left alone.
func ExamplePeakEWMA() {
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets:   []balancer.Target{{URL: "http://fast.test"}, {URL: "http://slow.test"}},
		Algorithm: balancer.PeakEWMA{},
	}))
	count := map[string]int{}
	for range 100 {
		m, err := pool.Pick(balancer.Query{})
		if err != nil {
			fmt.Println(err)
			return
		}
		took := 5 * time.Millisecond
		if m.Target() == "http://slow.test" {
			took *= 20
		}
		count[m.Target()]++
		pool.Done(m, policy.Outcome{Status: 200, FirstByte: took, Duration: took})
	}
	fmt.Println(count)
	// Output:
	// map[http://fast.test:99 http://slow.test:1]
}

// A client keeps its target by a cookie, which it cannot make itself. A gateway's upstream sets it by itself.
func ExampleSticky() {
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets: []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
		Algorithm: balancer.Sticky{
			Cookie:    balancer.Cookie{Name: "target"},
			Secrets:   [][]byte{[]byte("32 bytes of crypto/rand, kept away")},
			Algorithm: balancer.LeastConnections{}, // for those without a cookie
		},
	}))
	first := balancer.Query{Request: httptest.NewRequest(http.MethodGet, "https://shop.test/", nil)}
	m, err := pool.Pick(first)
	if err != nil {
		fmt.Println(err)
		return
	}
	cookie := pool.Cookie(first, m) // goes with the answer
	fmt.Println(m.Target(), cookie.Secure, cookie.HttpOnly, len(cookie.Value))

	next := balancer.Query{Request: httptest.NewRequest(http.MethodGet, "https://shop.test/cart", nil)}
	next.Request.AddCookie(cookie)
	for range 3 {
		m, err := pool.Pick(next)
		fmt.Println(m.Target(), err, pool.Cookie(next, m) == nil) // it has the cookie
	}
	// Output:
	// http://a.test true true 32
	// http://a.test <nil> true
	// http://a.test <nil> true
	// http://a.test <nil> true
}

// A target is taken out of service without a request failing: it gets no more, and Drained tells when it can be stopped.
func ExamplePool_Drained() {
	pool := policy.Must(balancer.NewPool(balancer.Config{Targets: []balancer.Target{{URL: "http://old.test"}}}))
	m, err := pool.Pick(balancer.Query{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := pool.SetTargets([]balancer.Target{{URL: "http://new.test"}}); err != nil {
		fmt.Println(err)
	}
	for _, s := range pool.Status() {
		fmt.Println(s.URL, s.InFlight, s.Draining)
	}
	pool.Done(m, policy.Outcome{Status: 200})
	fmt.Println(pool.Drained(context.Background()))
	// Output:
	// http://new.test 0 false
	// http://old.test 1 true
	// <nil>
}
