//go:build !linux

// Command origin runs on Linux only: it is made of epoll.
package main

import "log"

func main() { log.Fatal("this runs on Linux only") }
