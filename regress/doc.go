// Package regress asks of known faults of gateways, proxies and HTTP libraries whether they exist here. It has no code of its
// own.
//
// Each file is one fault, named by its number (cve_…, ghsa_…) or, where it has none or was found by measuring net/http and
// httputil, by what it is (gap_…). The comment on its test says what went wrong, and in whom; the test sends the attack to a
// gateway as its users make one, and then something like it that must go through, so that a gateway which refuses everything
// does not pass. Faults that tests beside the code rule out already are not here: docs/reliability.md names those tests.
package regress
