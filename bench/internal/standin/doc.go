// Package standin is a chain of policies with nothing but the standard library behind it: keys, a limit for each consumer,
// a header transform and metrics. It is what a proxy without policies is given so that it does the same work, and its last
// two are what Gatehouse is given while it has none of its own.
//
// It is four layers on purpose, each around the next: what their composition costs is part of what is measured.
package standin
