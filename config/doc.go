// Package config reads Kong's declarative configuration and makes a [gateway.Config] of it.
//
// A file is read whole and checked whole: [Load] returns all problems at once, each with file, line, column and path, what
// was found and what is allowed. What Kong accepts and this module does not support is an error, too, unless
// [Options.AllowUnsupported] says otherwise; then it is listed in the report. Nothing passes silently.
//
//	snapshot, err := config.LoadFile("kong.yml", config.Options{})
//	if err != nil {
//		log.Fatal(err)
//	}
//	gw, err := gateway.New(snapshot.Gateway)
//
// Which plugins a file may name is a [Registry]: [Builtin] holds those of this module, and an application adds its own.
// Kong's rules are written out: of one plugin the most specific configuration runs, in Kong's fixed order, and what
// consumers have of their own is chosen after authentication.
//
// The package does not watch over other formats than Kong's, has no Admin API and no database, and does not run plugins
// written in Lua.
package config
