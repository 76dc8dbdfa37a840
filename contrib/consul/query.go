package consul

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
)

const (
	// maxBody bounds an answer.
	maxBody = 16 << 20
	// maxText bounds what is told of the text of a refusal.
	maxText = 256
)

// got is an answer.
type got struct {
	targets []balancer.Target
	index   uint64
	problem error // what was left out
}

// ask asks once. With an index it waits for something else than what had that index.
func (s *Source) ask(ctx context.Context, client *http.Client, index uint64) (got, error) {
	limit := slack
	if index > 0 {
		limit += s.c.Wait + s.c.Wait/16
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	fail := func(err error) (got, error) {
		if within.Err() != nil {
			err = fmt.Errorf("no answer within %v", limit)
		}
		return got{}, fmt.Errorf("consul: %s: %w", s.c.Service, plain(err))
	}
	r, err := http.NewRequestWithContext(within, http.MethodGet, s.question(index).String(), http.NoBody)
	if err != nil {
		return fail(err)
	}
	r.Header.Set("Accept", "application/json")
	if s.c.Token != "" {
		r.Header.Set("X-Consul-Token", s.c.Token)
	}
	res, err := client.Do(r)
	if err != nil {
		return fail(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxText)) // as much as there is
		return fail(fmt.Errorf("the agent answers %d %q", res.StatusCode, s.hidden(strings.TrimSpace(string(text)))))
	}
	next, err := strconv.ParseUint(res.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		return fail(errors.New("an answer without X-Consul-Index is none of Consul"))
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return fail(err)
	case len(body) > maxBody:
		return fail(fmt.Errorf("an answer of more than %d bytes", maxBody))
	}
	list, err := parse(body)
	if err != nil {
		return fail(err)
	}
	a := got{index: next}
	var problem error
	if a.targets, problem = s.targets(list); problem != nil {
		if len(a.targets) == 0 {
			return fail(problem)
		}
		a.problem = fmt.Errorf("consul: %s: %w", s.c.Service, problem)
	}
	// An empty list that is empty because the token may not see more says nothing about the service.
	if len(a.targets) == 0 && res.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true" {
		return fail(errors.New("the token may not see the instances; it needs service:read and node:read"))
	}
	return a, nil
}

// question returns what to ask.
func (s *Source) question(index uint64) *url.URL {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	if !s.c.Warning {
		q.Set("passing", "1")
	}
	q["tag"] = s.c.Tags
	set("filter", s.c.Filter)
	set("dc", s.c.Datacenter)
	set("near", s.c.Near)
	set("ns", s.c.Namespace)
	set("partition", s.c.Partition)
	if index > 0 {
		q.Set("index", strconv.FormatUint(index, 10))
		q.Set("wait", strconv.FormatInt(int64(s.c.Wait/time.Millisecond), 10)+"ms")
	}
	u := *s.agent
	const path = "/v1/health/service/"
	u.RawPath = u.EscapedPath() + path + url.PathEscape(s.c.Service)
	u.Path += path + s.c.Service
	u.RawQuery = q.Encode()
	return &u
}

// hidden removes the token from what an agent says.
func (s *Source) hidden(text string) string {
	if s.c.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, s.c.Token, "(the token)")
}

// plain returns what went wrong, in words that are the same each time: without the index of the question, and the port it
// went out from.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// instance is an element of an answer, in so far as it is needed.
type instance struct {
	Node struct {
		Address    string            `json:"Address"`
		Datacenter string            `json:"Datacenter"`
		Meta       map[string]string `json:"Meta"`
	} `json:"Node"`
	Service struct {
		ID      string `json:"ID"`
		Address string `json:"Address"`
		Port    int    `json:"Port"`
		Weights *struct {
			Passing int `json:"Passing"`
			Warning int `json:"Warning"`
		} `json:"Weights"`
	} `json:"Service"`
	Checks []struct {
		Status string `json:"Status"`
	} `json:"Checks"`
}

// parse reads an answer.
func parse(body []byte) ([]instance, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	var list []instance
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("an answer that is no list of instances: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is something behind the list of instances")
	}
	if list == nil {
		return nil, errors.New("an answer that is no list of instances")
	}
	if len(list) > balancer.MaxTargets {
		return nil, fmt.Errorf("an answer with %d instances; a pool has at most %d", len(list), balancer.MaxTargets)
	}
	return list, nil
}
