// Package race says whether a program was built with the race detector, which allocates and is slow: tests that count
// allocations leave that out.
//
//	if race.Enabled {
//		t.Skip("the race detector allocates")
//	}
//
// Only tests import it.
package race
