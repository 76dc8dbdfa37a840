package proxy

import (
	"errors"
	"strings"

	"github.com/gatehouse-go/gateway/internal/canonical"
	"github.com/gatehouse-go/gateway/policy"
)

var errIdentity = errors.New("proxy: an identity holds a value that no header field can carry")

// identity is what upstreams are told about the caller.
type identity struct {
	id, customID, username, groups, credential string
	anonymous                                  bool
}

// from takes over what is known. A value that would reach the upstream as another one, or as several, is an error: the
// upstream might take it for somebody else.
func (i *identity) from(who policy.Identity) error {
	if c := who.Consumer; c != nil {
		i.id, i.customID, i.username = c.ID, c.CustomID, c.Username
		for _, g := range c.Groups {
			if strings.Contains(g, ",") || !canonical.ExactFieldValue(g) {
				return errIdentity
			}
			switch {
			case g == "":
			case i.groups == "":
				i.groups = g
			default:
				i.groups += ", " + g
			}
		}
	}
	i.anonymous = who.Anonymous
	if !who.Anonymous { // what an anonymous caller showed did not count
		i.credential = who.Credential
	}
	if !canonical.ExactFieldValue(i.id) || !canonical.ExactFieldValue(i.customID) || !canonical.ExactFieldValue(i.username) || !canonical.ExactFieldValue(i.credential) {
		return errIdentity
	}
	return nil
}

// set writes the identity, and deletes what is not known of it.
func (i *identity) set(f *fields) {
	f.setOrDelete("X-Consumer-Id", i.id)
	f.setOrDelete("X-Consumer-Custom-Id", i.customID)
	f.setOrDelete("X-Consumer-Username", i.username)
	f.setOrDelete("X-Consumer-Groups", i.groups)
	f.setOrDelete("X-Credential-Identifier", i.credential)
	anonymous := ""
	if i.anonymous {
		anonymous = "true"
	}
	f.setOrDelete("X-Anonymous-Consumer", anonymous)
}
