// Package breakers compares circuit breakers: ours with sony/gobreaker, in what they do and in what they cost. It consists of
// tests; docs/resilience.md has what they found.
package breakers
