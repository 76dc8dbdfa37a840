// Package router finds the route of a request in an immutable table.
//
// A table is built from the criteria of routes. Each host and each path of a route becomes an entry of its own, and all
// entries are ranked once, by a static and total order: more kinds of criteria first, then the kinds themselves, then
// how narrow each is, and only then the order written. A lookup is the best rank among the entries that match.
//
// The index asks few entries. Host patterns are found by name, exact ones first, then those with a wildcard, then the
// entries of any host. Below each host, exact paths are one table; patterns with parameters and subtrees are one for
// each shape (number of segments, positions of wildcards), keyed by the literal text; prefixes are one for each
// length; regular expressions stand under the literal text they begin with. What cannot beat the rank found so far is
// skipped. The cost grows with the length of the path and the number of shapes, not with the number of routes, except
// where many routes share host and path and differ only in headers, query or predicate: those are tried in order.
//
// The package does not resolve who the client is or what the path means: the caller hands it the canonical path, host
// and scheme. It sends nothing, redirects nothing and answers no OPTIONS by itself.
package router
