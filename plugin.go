package gateway

import (
	"fmt"
	"net/http"
	"reflect"

	"github.com/gatehouse-go/gateway/policy"
)

// Plugin is anything that can stand in a chain; see [policy.Plugin].
type Plugin = policy.Plugin

// PluginFunc makes a Plugin of ordinary middleware; see [policy.PluginFunc].
type PluginFunc = policy.PluginFunc

// Must returns v, or panics with err when err is not nil. It is for main functions and tests.
func Must[T any](v T, err error) T { return policy.Must(v, err) }

// chain wraps h in the plugins, the first outermost. A plugin that fails to wrap is an error of the configuration's field.
func chain(field string, plugins []Plugin, h http.Handler) (_ http.Handler, err error) {
	for i := len(plugins) - 1; i >= 0; i-- {
		if h, err = wrap(plugins[i], h); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
	}
	return h, nil
}

func wrap(p Plugin, next http.Handler) (h http.Handler, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("plugin %q panicked in Wrap: %v", policy.NameOf(p), v)
		}
	}()
	if h = p.Wrap(next); isNil(h) {
		return nil, fmt.Errorf("plugin %q returned a nil handler from Wrap; return next, or a handler that calls it", policy.NameOf(p))
	}
	return h, nil
}

// isNil reports whether v is nil or holds a nil pointer, as the result of a constructor whose error was not looked at does.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Interface, reflect.Slice:
		return rv.IsNil()
	default:
		return false
	}
}

// isNilPlugin reports whether p is nil, or wraps a plugin that is, as [policy.ReportOnly] may.
func isNilPlugin(p Plugin) bool {
	for range maxWrapped {
		if isNil(p) {
			return true
		}
		u, ok := p.(interface{ Unwrap() Plugin })
		if !ok {
			return false
		}
		p = u.Unwrap()
	}
	return false
}

// maxWrapped is how deep plugins are looked into.
const maxWrapped = 32
