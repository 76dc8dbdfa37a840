//go:build !linux

// Command compare runs on Linux only: it reads /proc and ends what it started by Linux's means.
package main

import "log"

func main() { log.Fatal("this runs on Linux only") }
