//go:build race

package respw_test

const raceEnabled = true
