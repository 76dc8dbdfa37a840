package balancer_test

import (
	"fmt"
	"math/rand/v2"

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

// Random is an algorithm of one's own: any target not yet tried, by chance.
type Random struct{ Seed uint64 }

func (r Random) NewPicker(members []*balancer.Member) (balancer.Picker, error) {
	return &random{members: members, seed: r.Seed}, nil
}

type random struct {
	members []*balancer.Member
	seed    uint64
}

func (r *random) Pick(q balancer.Query) *balancer.Member {
	for _, i := range rand.New(rand.NewPCG(r.seed, uint64(len(q.Tried)))).Perm(len(r.members)) {
		if m := r.members[i]; !q.HasTried(m) {
			return m
		}
	}
	return nil
}

func ExampleAlgorithm() {
	pool := policy.Must(balancer.NewPool(balancer.Config{
		Targets:   []balancer.Target{{URL: "http://a.test"}, {URL: "http://b.test"}},
		Algorithm: Random{Seed: 1},
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
