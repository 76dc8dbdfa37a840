package policy

import (
	"fmt"
	"iter"
	"net/http"
)

// Plugin is anything that can stand in a chain. Every policy of this module is one.
//
// Wrap may be called any number of times, from any goroutine, also during traffic. It is cheap and starts nothing:
// state lives in the plugin, so that one plugin may wrap many handlers and share its state among them.
//
// A plugin may also have Name() string and Contract() [Contract]; see [NameOf] and [ContractOf]. Without a name it is
// listed by its Go type, and without a contract it is opaque: a gateway has to assume that it may provide any [Fact].
//
// A plugin that wraps another has Unwrap() Plugin, so that name, contract and preview of the other are found, up to 32 of
// them deep.
type Plugin interface {
	Wrap(next http.Handler) http.Handler
}

// PluginFunc makes a [Plugin] of ordinary middleware. Such a plugin is opaque: it has no name of its own and no
// contract. [Describe] gives it both.
type PluginFunc func(next http.Handler) http.Handler

// Wrap calls f. A nil f returns next unchanged.
func (f PluginFunc) Wrap(next http.Handler) http.Handler {
	if f == nil {
		return next
	}
	return f(next)
}

// Describe gives middleware a name and a contract, as the policies of this module have them: listings name it, and a
// gateway holds the chain to the contract. A nil wrap passes every request on.
func Describe(name string, c Contract, wrap func(next http.Handler) http.Handler) Plugin {
	return &described{PluginFunc: wrap, name: name, contract: c.clone()}
}

type described struct {
	PluginFunc

	name     string
	contract Contract
}

func (d *described) Name() string       { return d.name }
func (d *described) Contract() Contract { return d.contract.clone() }

// NameOf returns the name of p: what its Name method says, or that of the plugin it wraps (a method Unwrap() Plugin),
// or the Go type of the innermost one when nobody says anything. The name of a nil plugin is "nil".
func NameOf(p Plugin) string {
	name := "nil"
	for q := range layers(p) {
		if n, ok := q.(interface{ Name() string }); ok {
			return n.Name()
		}
		name = fmt.Sprintf("%T", q)
	}
	return name
}

// ContractOf returns what p declares, or what the plugin it wraps declares. It reports false for an opaque plugin.
func ContractOf(p Plugin) (Contract, bool) {
	for q := range layers(p) {
		if c, ok := q.(interface{ Contract() Contract }); ok {
			return c.Contract(), true
		}
	}
	return Contract{}, false
}

// maxLayers is how deep plugins are looked into. No sensible one is deeper; one that wraps itself is.
const maxLayers = 32

// layers yields p, the plugin that p wraps, the plugin that this one wraps, and so on.
func layers(p Plugin) iter.Seq[Plugin] {
	return func(yield func(Plugin) bool) {
		for range maxLayers {
			if p == nil || !yield(p) {
				return
			}
			u, ok := p.(interface{ Unwrap() Plugin })
			if !ok {
				return
			}
			p = u.Unwrap()
		}
	}
}

// Must returns v, or panics with err when err is not nil. It is for main functions and tests, where a configuration
// error can only end the program; code that can report an error should.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // the purpose of Must
	}
	return v
}
