package config_test

import (
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway"
	"github.com/gatehouse-go/gateway/balancer"
	"github.com/gatehouse-go/gateway/config"
)

const patience = time.Minute

// checkedUpstream serves a document with one upstream, u, of these targets, for services that are none of them by default.
func checkedUpstream(t *testing.T, targets []string, active, pool, more fields) (*gateway.Gateway, *config.Snapshot) {
	t.Helper()
	often := fields{
		"healthy":   fields{"interval": 0.02, "successes": 1},
		"unhealthy": fields{"interval": 0.02, "http_failures": 1, "tcp_failures": 1, "timeouts": 5},
	}
	maps.Copy(often, active)
	var list []any
	for _, target := range targets {
		list = append(list, fields{"target": target})
	}
	upstream := fields{"name": "u", "targets": list, "healthchecks": fields{"active": often}}
	maps.Copy(upstream, pool)
	doc := fields{"upstreams": []any{upstream}, "services": []any{fields{"name": "s", "host": "u", "routes": []any{fields{"name": "r", "paths": []any{"/"}}}}}}
	maps.Copy(doc, more)
	s, err := loadWith(t, doc)
	require.NoError(t, err)
	gw, err := gateway.New(s.Gateway)
	require.NoError(t, err)
	t.Cleanup(func() { _ = gw.Shutdown(t.Context()) })
	return gw, s
}

// members returns the targets of a gateway's first service.
func members(gw *gateway.Gateway) []balancer.MemberStatus { return gw.Status().Upstreams[0].Targets }

// Kong: "automatic recovery", for http and https.
func TestActiveHealthRecovery(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		var status atomic.Int64
		status.Store(200)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/status" {
				w.WriteHeader(int(status.Load()))
			}
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		if scheme == "https" {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		t.Cleanup(srv.Close)
		gw, s := checkedUpstream(t, []string{srv.Listener.Addr().String()}, fields{"type": scheme, "http_path": "/status", "https_verify_certificate": false}, nil, fields{
			"services": []any{fields{"name": "s", "host": "u", "protocol": scheme, "routes": []any{fields{"name": "r", "paths": []any{"/"}}}}},
		})
		for _, w := range s.Warnings {
			require.NotContains(t, w, "the checks of")
		}
		for range 2 {
			require.Eventually(t, func() bool { return members(gw)[0].Health == balancer.Healthy && !members(gw)[0].CheckedAt.IsZero() }, patience, time.Millisecond)
			require.Equal(t, http.StatusOK, ask(gw, http.MethodGet, "/").StatusCode)
			status.Store(500)
			require.Eventually(t, func() bool { return members(gw)[0].Health == balancer.Failing }, patience, time.Millisecond)
			require.Equal(t, http.StatusServiceUnavailable, ask(gw, http.MethodGet, "/").StatusCode)
			status.Store(302)
		}
	}
}

// Whom checks over TLS believe, what they ask for and what they show: Kong's "mTLS", and its fields.
func TestActiveHealthTLS(t *testing.T) {
	t.Parallel()
	const otherID = "6f5d3f1e-0000-4000-8000-000000000002"
	ours, theirs := newIssuer(), newIssuer()
	cert, key := theirs.issue("gateway.test")
	wrongCert, wrongKey := ours.issue("wrong.test")
	asking, insisting := mutual(t, ours, theirs, false), mutual(t, ours, theirs, true)
	trusting := fields{"tls_verify": true, "ca_certificates": []any{someID}}
	unverified := fields{"type": "https", "https_verify_certificate": false}
	for _, tt := range []struct {
		about, target         string
		active, pool, service fields
		healthy               bool
	}{
		{"nobody vouches for it", asking, fields{"type": "https"}, nil, nil, false},
		{"it is not looked at", asking, unverified, nil, nil, true},
		{"whom a service trusts", asking, fields{"type": "https"}, nil, trusting, true},
		{"whom a service trusts, which does not look", asking, fields{"type": "https"}, nil, fields{"tls_verify": false, "ca_certificates": []any{someID}}, false},
		{"another", asking, fields{"type": "https"}, nil, fields{"tls_verify": true, "ca_certificates": []any{otherID}}, false},
		{"the name of the certificate", asking, fields{"type": "https", "https_sni": "target.test"}, nil, trusting, true},
		{"another name", asking, fields{"type": "https", "https_sni": "other.test"}, nil, trusting, false},
		{"the upstream's name", asking, fields{"type": "https"}, fields{"host_header": "target.test:443"}, trusting, true},
		{"another one of it", asking, fields{"type": "https"}, fields{"host_header": "other.test"}, trusting, false},
		{"the name of checks before that of the upstream", asking, fields{"type": "https", "https_sni": "target.test"}, fields{"host_header": "other.test"}, trusting, true},
		{"the Host, which is no name for that", asking, fields{"type": "https", "headers": fields{"host": []any{"other.test"}}}, nil, trusting, true},
		{"no certificate to show", insisting, unverified, nil, nil, false},
		{"the service's, which is not for checks", insisting, unverified, nil, fields{"client_certificate": someID}, false},
		{"the upstream's", insisting, unverified, fields{"client_certificate": someID}, nil, true},
		{"both ways", insisting, fields{"type": "https"}, fields{"client_certificate": someID}, trusting, true},
		{"one that is not the right one", insisting, unverified, fields{"client_certificate": otherID}, nil, false},
		{"no TLS", asking, fields{"type": "http"}, nil, trusting, false},
		{"a connection, whoever answers", insisting, fields{"type": "tcp"}, nil, nil, true},
	} {
		t.Run(tt.about, func(t *testing.T) {
			t.Parallel()
			service := fields{"name": "s", "host": "u", "protocol": "https", "routes": []any{fields{"name": "r", "paths": []any{"/"}}}}
			maps.Copy(service, tt.service)
			gw, s := checkedUpstream(t, []string{tt.target}, tt.active, tt.pool, fields{
				"services":        []any{service},
				"ca_certificates": []any{fields{"id": someID, "cert": ours.pem()}, fields{"id": otherID, "cert": theirs.pem()}},
				"certificates":    []any{fields{"id": someID, "cert": cert, "key": key}, fields{"id": otherID, "cert": wrongCert, "key": wrongKey}},
			})
			require.Eventually(t, func() bool { return !members(gw)[0].CheckedAt.IsZero() }, patience, time.Millisecond)
			require.Equal(t, tt.healthy, members(gw)[0].CheckError == nil, "%v", members(gw)[0].CheckError)
			require.Equal(t, tt.active["type"] == "http", strings.Contains(strings.Join(s.Warnings, "\n"),
				`the checks of upstream "u" are made over http, and a service of it is asked over https`), s.Warnings)
		})
	}
}

// What https checks say to a target that http services use.
func TestActiveHealthScheme(t *testing.T) {
	t.Parallel()
	names := make(chan string, 100)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case names <- r.TLS.ServerName + " " + r.Host:
		default:
		}
	}))
	srv.StartTLS()
	t.Cleanup(srv.Close)
	target := srv.Listener.Addr().String()
	gw, s := checkedUpstream(t, []string{target}, fields{"type": "https", "https_verify_certificate": false, "https_sni": "sni.test"}, fields{"host_header": "host.test"}, nil)
	require.Contains(t, strings.Join(s.Warnings, "\n"), `the checks of upstream "u" are made over https, and a service of it is asked over http`)
	require.Equal(t, "sni.test host.test", <-names)
	require.Eventually(t, func() bool { return !members(gw)[0].CheckedAt.IsZero() }, patience, time.Millisecond)
	require.NoError(t, members(gw)[0].CheckError)
}

// gRPC's own health protocol is what grpc and grpcs ask by.
func TestActiveHealthGRPC(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		var serving, host atomic.Value
		serving.Store(byte(1))
		address := target(t, secure, func(w http.ResponseWriter, r *http.Request) {
			host.Store(r.Proto + " " + r.Host)
			w.Header().Set("Content-Type", "application/grpc")
			if r.URL.Path != "/grpc.health.v1.Health/Check" {
				w.Header().Set("Grpc-Status", "12")
				return
			}
			_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, serving.Load().(byte)})
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		})
		kind := map[bool]string{false: "grpc", true: "grpcs"}[secure]
		gw, s := checkedUpstream(t, []string{address}, fields{"type": kind, "https_verify_certificate": false}, fields{"host_header": "up.test"}, fields{
			"services": []any{fields{"name": "s", "host": "u", "protocol": kind, "routes": []any{fields{"name": "r", "protocols": []any{"grpc"}, "paths": []any{"/"}}}}},
		})
		require.NotContains(t, strings.Join(s.Warnings, "\n"), "the checks of")
		require.Eventually(t, func() bool { return !members(gw)[0].CheckedAt.IsZero() }, patience, time.Millisecond)
		require.NoError(t, members(gw)[0].CheckError)
		require.Equal(t, "HTTP/2.0 up.test", host.Load())
		serving.Store(byte(2))
		require.Eventually(t, func() bool { return members(gw)[0].Health == balancer.Failing }, patience, time.Millisecond)
		require.Equal(t, "http_failures", members(gw)[0].HealthReason)
		serving.Store(byte(1))
		require.Eventually(t, func() bool { return members(gw)[0].Health == balancer.Healthy }, patience, time.Millisecond)
	}
}

// A connection is enough for tcp, and nothing less is.
func TestActiveHealthTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gw, _ := checkedUpstream(t, []string{l.Addr().String()}, fields{"type": "tcp"}, nil, nil)
	require.Eventually(t, func() bool { return !members(gw)[0].CheckedAt.IsZero() }, patience, time.Millisecond)
	require.NoError(t, members(gw)[0].CheckError)
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { return members(gw)[0].Health == balancer.Failing }, patience, time.Millisecond)
	require.Equal(t, "tcp_failures", members(gw)[0].HealthReason)
}

// What is wrong is reported where it stands, and values of headers never are.
func TestHealthIsChecked(t *testing.T) {
	t.Parallel()
	for checks, want := range map[string]string{
		`{"threshold": 100}`:                                    `threshold: found 100: is never exceeded, so that no request would be answered; use less than 100`,
		`{"threshold": 100.5}`:                                  `threshold: found 100.5: is out of range; use 0 to 100`,
		`{"threshold": "50"}`:                                   `threshold: found "50": expected a number`,
		`{"actve": {}}`:                                         `actve: unknown field "actve"; did you mean "active"?`,
		`{"active": {"type": "htp"}}`:                           `active.type: found "htp": is not a value of this field; did you mean "http"? use one of tcp, http, https, grpc, grpcs`,
		`{"active": {"timeout": -1}}`:                           `active.timeout: found -1: is out of range; use 0 to 65535`,
		`{"active": {"concurrency": 0}}`:                        `active.concurrency: found 0: is out of range; use 1 to 2147483648`,
		`{"active": {"concurrency": 1.5}}`:                      `active.concurrency: found 1.5: expected an integer`,
		`{"active": {"http_path": "potato"}}`:                   `active.http_path: found "potato": should start with: /`,
		`{"active": {"http_path": ""}}`:                         `active.http_path: found "": should start with: /`,
		`{"active": {"http_path": "/a//b"}}`:                    `active.http_path: found "/a//b": must not have empty segments`,
		`{"active": {"http_path": "/a b"}}`:                     `active.http_path: found "/a b": is no path that can be asked for`,
		`{"active": {"http_path": "/%zz"}}`:                     `active.http_path: found "/%zz": is no path that can be asked for`,
		`{"active": {"https_sni": "a.test:443"}}`:               `active.https_sni: found "a.test:443": is no name of a server`,
		`{"active": {"https_sni": "127.0.0.1"}}`:                `active.https_sni: found "127.0.0.1": is no name of a server`,
		`{"active": {"https_sni": "*.test"}}`:                   `active.https_sni: found "*.test": is no name of a server`,
		`{"active": {"headers": [0]}}`:                          `active.headers: expected a map`,
		`{"active": {"headers": {"a b": ["s3cret"]}}}`:          `active.headers["a b"]: is no name of a field`,
		`{"active": {"headers": {"x": "s3cret"}}}`:              `active.headers.x: expected a list`,
		`{"active": {"headers": {"x": ["s3cret\n"]}}}`:          `active.headers.x: has a value that no field can have`,
		`{"active": {"headers": {"x": [{"s3cret": 1}]}}}`:       `active.headers.x[0]: expected a string`,
		`{"active": {"headers": {"x": [53107]}}}`:               `active.headers.x[0]: expected a string`,
		`{"active": {"headers": {"host": ["s3cret/"]}}}`:        `active.headers.host: is no host, or host and port`,
		`{"active": {"headers": {"host": ["a.x", "b.x"]}}}`:     `active.headers.host: a request has one Host`,
		`{"active": {"healthy": {"interval": 65536}}}`:          `active.healthy.interval: found 65536: is out of range; use 0 to 65535`,
		`{"active": {"healthy": {"successes": 256}}}`:           `active.healthy.successes: found 256: is out of range; use 0 to 255`,
		`{"active": {"healthy": {"http_statuses": [99]}}}`:      `active.healthy.http_statuses[0]: found 99: is out of range; use 100 to 999`,
		`{"active": {"healthy": {"http_failures": 1}}}`:         `active.healthy.http_failures: unknown field "http_failures"`,
		`{"active": {"unhealthy": {"http_statuses": [1000]}}}`:  `active.unhealthy.http_statuses[0]: found 1000: is out of range; use 100 to 999`,
		`{"active": {"unhealthy": {"tcp_failures": -1}}}`:       `active.unhealthy.tcp_failures: found -1: is out of range`,
		`{"passive": {"type": "udp"}}`:                          `passive.type: found "udp": is not a value of this field`,
		`{"passive": {"interval": 1}}`:                          `passive.interval: unknown field "interval"`,
		`{"passive": {"healthy": {"successes": 0.5}}}`:          `passive.healthy.successes: found 0.5: expected an integer`,
		`{"passive": {"unhealthy": {"timeouts": 256}}}`:         `passive.unhealthy.timeouts: found 256: is out of range; use 0 to 255`,
		`{"passive": {"unhealthy": {"http_statuses": "500"}}}`:  `passive.unhealthy.http_statuses: found "500": expected a list`,
		`{"passive": {"unhealthy": {"http_failures": "many"}}}`: `passive.unhealthy.http_failures: found "many": expected an integer`,
	} {
		var v any
		require.NoError(t, json.Unmarshal([]byte(checks), &v))
		_, err := loadWith(t, fields{"upstreams": []any{fields{"name": "u", "healthchecks": v}}})
		require.ErrorContains(t, err, "upstreams[0].healthchecks."+want, checks)
		require.NotContains(t, err.Error(), "s3cret", checks)
		require.NotContains(t, err.Error(), "53107", checks)
		require.Equal(t, 1, strings.Count(err.Error(), "upstreams[0]"), "%v", err)
	}
	_, err := loadWith(t, fields{"upstreams": []any{fields{"name": "u", "host_header": "a/b", "healthchecks": fields{"active": fields{"healthy": fields{"interval": 1}}}}}})
	require.ErrorContains(t, err, `upstreams[0].host_header: found "a/b": is no host, or host and port`)
}

// Diff names the fields by their ways, and shows no header.
func TestDiffHealth(t *testing.T) {
	t.Parallel()
	load := func(checks fields) *config.Snapshot {
		upstream := fields{"name": "u"}
		if checks != nil {
			upstream["healthchecks"] = checks
		}
		s, err := loadWith(t, fields{"upstreams": []any{upstream}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	header := func(v string) fields { return fields{"active": fields{"headers": fields{"authorization": []any{v}}}} }
	checks := fields{"threshold": 0, "active": fields{"type": "http", "timeout": 1, "healthy": fields{"http_statuses": []any{200, 302}}}, "passive": fields{}}
	require.Empty(t, config.Diff(load(nil), load(checks)), "a default that is written out is none the less one")
	for _, tt := range []struct {
		before, after fields
		want          string
	}{
		{nil, fields{"threshold": 5.5, "active": fields{"unhealthy": fields{"interval": 0.5}}}, "~ upstream u\n    healthchecks.active.unhealthy.interval: 0 → 0.5\n    healthchecks.threshold: 0 → 5.5\n"},
		{fields{"passive": fields{"unhealthy": fields{"http_statuses": []any{500}}}}, nil, "~ upstream u\n    healthchecks.passive.unhealthy.http_statuses: [500] → [429,500,503]\n"},
		{header("s3cret"), header("other"), "~ upstream u\n    healthchecks.active.headers: changed\n"},
		{header("s3cret"), nil, "~ upstream u\n    healthchecks.active.headers: changed\n"},
	} {
		require.Equal(t, tt.want, config.Diff(load(tt.before), load(tt.after)).String())
	}
}
