// Package chunked reads the chunked transfer coding (RFC 9112 section 7.1) without repairing anything in it.
package chunked
