package discovery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gatehouse-go/gateway/balancer"
)

const (
	// DefaultFileInterval is the default of File.Interval.
	DefaultFileInterval = 2 * time.Second
	// maxFile bounds a file of targets.
	maxFile = 16 << 20
)

// File reads targets from a file of JSON, and again when it changes:
//
//	[
//	  {"url": "http://10.0.0.1:8080", "weight": 200, "zone": "a"},
//	  {"url": "https://10.0.0.2", "host": "users.internal", "priority": 1},
//	  {"url": "http://local", "socket": "/run/users.sock", "no_traffic": true}
//	]
//
// The fields are those of a balancer.Target; others are errors. Replace the file as a whole, by a rename: what is half written is
// most likely no JSON, and then nothing changes. It may be a symbolic link, as Kubernetes makes them.
type File struct {
	// Path is the file.
	Path string
	// Interval is how often the file is looked at. Default 2 s; at least 10 ms.
	Interval time.Duration
}

// Validate returns what is wrong with f, each problem naming its field; nil if nothing is.
func (f File) Validate() error {
	errs := checkTimes("File", f.Interval, 0)
	if f.Path == "" {
		errs = append(errs, errors.New("File.Path is empty; name the file"))
	}
	return errors.Join(errs...)
}

// Watch implements [balancer.Source].
func (f File) Watch(ctx context.Context, deliver func([]balancer.Target, error)) error {
	var last [sha256.Size]byte
	var failed string
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		targets, sum, err := f.read()
		switch {
		case err != nil:
			if text := err.Error(); text != failed { // told once
				failed, last = text, [sha256.Size]byte{}
				deliver(nil, err)
			}
		case sum != last:
			failed, last = "", sum
			deliver(targets, nil)
		}
		timer.Reset(cmp.Or(f.Interval, DefaultFileInterval))
	}
}

// fileTarget is a target as it is written.
type fileTarget struct {
	URL       string `json:"url"`
	Host      string `json:"host"`
	Socket    string `json:"socket"`
	Weight    int    `json:"weight"`
	NoTraffic bool   `json:"no_traffic"`
	Priority  int    `json:"priority"`
	Zone      string `json:"zone"`
}

func (f File) read() (targets []balancer.Target, sum [sha256.Size]byte, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, sum, fmt.Errorf("discovery: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, sum, fmt.Errorf("discovery: %w", err)
	case len(text) > maxFile:
		return nil, sum, fmt.Errorf("discovery: %s is longer than %d bytes", f.Path, maxFile)
	}
	targets, err = parseTargets(text)
	if err != nil {
		return nil, sum, fmt.Errorf("discovery: %s: %w", f.Path, err)
	}
	return targets, sha256.Sum256(text), nil
}

// parseTargets reads a list of targets in JSON.
func parseTargets(text []byte) ([]balancer.Target, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var list []fileTarget
	if err := d.Decode(&list); err != nil {
		return nil, err //nolint:wrapcheck // File.read says which file
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is something behind the list")
	}
	if list == nil {
		return nil, errors.New("is no list of targets")
	}
	targets := make([]balancer.Target, len(list))
	for i, t := range list {
		targets[i] = balancer.Target{URL: t.URL, Host: t.Host, Socket: t.Socket, Weight: t.Weight, Priority: t.Priority, Zone: t.Zone}
		if t.NoTraffic {
			targets[i].Weight = balancer.NoTraffic
		}
	}
	return targets, nil
}
