// Package rules holds the tests that keep the repository in the shape its
// documents promise. It has no code of its own: what is here runs under
// go test and reads the tree it stands in.
//
// The rules, each a check that returns what it found:
//
//   - imports_test.go: which package may import which, and which modules
//     outside the standard library a package may name.
//   - budget_test.go: how many modules an importer of each package links.
//   - modules_test.go: go.mod and go.work.
//   - source_test.go: package comments, file lengths, names, init functions
//     and package-level state.
//   - documents_test.go: README, CHANGELOG, SECURITY, the tests that
//     docs/reliability.md names, and what no file may say.
//
// The tables at the head of each file are the data to edit when the tree
// grows. A new package is in none of them, and the tests say where to add it.
// Every check is a function of its input, and a second test feeds it something
// wrong, so that a rule that no longer finds anything is noticed.
package rules
