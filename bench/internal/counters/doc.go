// Package counters carries the allocation counters of a measured server to the program that measures it.
package counters
