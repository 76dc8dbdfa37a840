// Package integration tests gateways end to end against clients and servers that others wrote, over loopback. It is a module
// of its own, so that these libraries are nobody's dependency.
package integration
