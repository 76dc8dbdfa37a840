//go:build !race

package respw_test

const raceEnabled = false
