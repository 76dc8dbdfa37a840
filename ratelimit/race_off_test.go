//go:build !race

package ratelimit_test

// raceEnabled: the race detector is on, which allocates and is slow.
const raceEnabled = false
