package consul

import "github.com/gatehouse-go/gateway/balancer"

// Targets returns what is made of the body of an answer.
func Targets(c Config, body []byte) ([]balancer.Target, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	list, err := parse(body)
	if err != nil {
		return nil, err
	}
	targets, _ := s.targets(list)
	return targets, nil
}
