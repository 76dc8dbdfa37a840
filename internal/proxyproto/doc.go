// Package proxyproto reads the header with which a proxy that passes on connections says whose they are: versions 1 and 2 of
// HAProxy's PROXY protocol.
//
// It is strict: what the specification leaves no room for is an error. It reads not a byte more than the header, so that
// the connection is whole for whoever reads on.
package proxyproto
