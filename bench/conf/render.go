package conf

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var files embed.FS

// Values are what a template is filled in with.
type Values struct {
	Listen, Upstream, Stats string // addresses
	Dir                     string // for files of this one turn
	LuaModules              string // directory of nginx's modules
	Certificate             string // file with the certificate and its key; empty for HTTP without TLS
	Procs                   int    // processes or threads that share the load
	Routes, Keys            int
	Limit                   int // requests a second of each consumer
}

// Render fills in the template of a file, whose name ends in .tmpl beside this one.
func Render(name string, v Values) (string, error) {
	text, err := files.ReadFile(name + ".tmpl")
	if err != nil {
		return "", fmt.Errorf("no template: %w", err)
	}
	return Expand(string(text), v)
}

// Expand fills in a text, such as an argument of a command.
func Expand(text string, v Values) (string, error) {
	t, err := template.New("text").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", err
	}
	return b.String(), nil
}
