//go:build !race

package terminate_test

const raceEnabled = false
