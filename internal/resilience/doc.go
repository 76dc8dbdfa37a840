// Package resilience has no code: its tests show what a gateway makes of targets that fail. They are what docs/resilience.md
// speaks of. Targets are processes of their own where signals matter, and servers in memory, in virtual time, where figures do.
package resilience
