//go:build linux

package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/bench/internal/standin"
)

// own is a field that a proxy adds by itself, or leaves out, and why. It is not compared.
type own struct{ candidate, field, reason string }

// all is the candidate of a field that differs everywhere.
const all = "*"

var (
	ownOfRequest = []own{
		{all, "X-Forwarded-For", "the client's address, with or without a port"},
		{all, "X-Forwarded-Host", "what the client called the proxy, whose port differs"},
		{all, "X-Forwarded-Proto", "http or https"},
		{"gatehouse", "X-Forwarded-Path", "Gatehouse names the path, too"},
		{"gatehouse", "X-Forwarded-Port", "and the port"},
		{"gatehouse", "X-Real-Ip", "and the client once more"},
		{"gatehouse", "Via", "Gatehouse finds loops by it"},
	}
	ownOfAnswer = []own{
		{all, "Date", "the origin sends none, and haproxy, which adds none, need not"},
		{all, "Server", "nginx puts its own in the place of the origin's"},
		{"gatehouse", "Via", "Gatehouse names itself to the client, too"},
		{"nginx", "Connection", "nginx says keep-alive, which is the rule without"},
		{"nginx+lua", "Connection", "as nginx"},
	}
)

// without returns fields, each in one line, but for those that are a candidate's own, which it notes as met.
func without(h http.Header, candidate string, table []own, met map[own]bool) map[string]string {
	lines := map[string]string{}
	for name, values := range h {
		lines[name] = strings.Join(values, ", ")
	}
	for _, o := range table {
		if _, ok := lines[o.field]; ok && (o.candidate == all || o.candidate == candidate) {
			delete(lines, o.field)
			met[o] = true
		}
	}
	return lines
}

// What is compared has to do the same work: each candidate that is installed is asked once, and client and origin have to
// get the same fields, with the same values, whichever it is.
func sameFields(t *testing.T, b *bench) {
	t.Helper()
	var mu sync.Mutex
	var got http.Header
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = r.Header
		h := w.Header()
		h["Date"] = nil // as the real one
		h.Set("Server", "origin")
		h.Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(make([]byte, 1<<10))
	}))
	defer origin.Close()
	b.origin = origin.Listener.Addr().String()

	request := map[string]string{"User-Agent": "bench/1", "Accept": "application/json"}
	answer := map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "1024"}
	policyRequest, policyAnswer := maps.Clone(request), maps.Clone(answer)
	maps.Copy(policyRequest, map[string]string{
		standin.ConsumerHeader: "consumer-42", standin.CredentialHeader: "consumer-42", standin.Header: standin.Value,
	})
	maps.Copy(policyAnswer, map[string]string{
		standin.LimitHeader: "1000000", standin.RemainingHeader: "999999", standin.Header: standin.Value,
	})

	present, err := b.present()
	require.NoError(t, err)
	met := map[own]bool{}
	for _, w := range workloads {
		if !slices.Contains([]string{plain, policy, https, h2}, w.name) {
			continue // the same fields, and larger bodies
		}
		for _, c := range present {
			if c.lacks != "" || !slices.Contains(c.workloads, w.name) || w.name == policy && !c.policies {
				continue
			}
			name := c.name + ", " + w.name
			v, err := b.values(t.Context(), w)
			require.NoError(t, err)
			p, err := b.startCandidate(t.Context(), c, v)
			require.NoError(t, err, name)
			require.NoError(t, p.listens(t.Context(), v.Listen), name)
			client, err := b.client(w)
			require.NoError(t, err)
			// On a connection that is kept, as the load generators do.
			client.Transport.(*http.Transport).DisableKeepAlives = false
			header := []string{"User-Agent: bench/1", "Accept: application/json"}
			wantRequest, wantAnswer := request, answer
			if c.policies {
				header = append(header, "Apikey: "+apiKey)
				wantRequest, wantAnswer = policyRequest, policyAnswer
			}
			a, err := ask(t.Context(), client, v.Listen, w, header)
			require.NoError(t, err, name)
			require.Equal(t, http.StatusOK, a.status, name)
			client.CloseIdleConnections()
			p.stop()

			mu.Lock()
			atOrigin := got
			got = nil
			mu.Unlock()
			if c.name == "noop" || c.name == "raw" { // no proxies, and forward no field
				require.Subset(t, wantAnswer, without(a.header, c.name, ownOfAnswer, met), name)
				continue
			}
			require.Equal(t, wantAnswer, without(a.header, c.name, ownOfAnswer, met), name)
			require.Equal(t, wantRequest, without(atOrigin, c.name, ownOfRequest, met), name)
			for _, field := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				require.NotEmpty(t, atOrigin[field], "%s, %s", name, field)
			}
		}
	}
	for _, o := range slices.Concat(ownOfRequest, ownOfAnswer) {
		if o.candidate == all || slices.ContainsFunc(present, func(c candidate) bool { return c.name == o.candidate }) {
			require.True(t, met[o], "%v is not needed", o)
		}
	}
}
