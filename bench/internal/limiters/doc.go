// Package limiters compares adaptive limits on concurrency: ours with that of failsafe-go, in what they do and in what they cost.
// It consists of tests; docs/overload.md has what they found.
package limiters
