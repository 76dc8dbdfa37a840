package policy

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Consumer is who calls an API: a person, a team, another service. Credentials belong to a consumer.
// A Consumer is shared between requests: nobody may change it once it was handed out.
//
// The proxy tells upstreams about it in header fields. What these cannot carry as it is, [Consumer.Validate] reports;
// a request of such a consumer is refused before it reaches an upstream.
type Consumer struct {
	// ID identifies the consumer for ever; rate limits and hashes use it. A consumer that took part in
	// authentication always has one.
	ID string
	// Username and CustomID are names the operator gave; either may be empty.
	Username, CustomID string
	// Groups are what access lists name, compared exactly. None is empty or has a comma.
	Groups []string
	// Tags are for the operator's own use and never reach an upstream.
	Tags []string
}

// Validate reports what keeps c from taking part in authentication, all problems joined, each naming field and value: a
// nil c, an empty ID, and an ID, name or group that reaches an upstream as something else. Those are values with control
// characters, or with white space at an end, which header fields lose (RFC 9110 section 5.5), and groups that are
// empty or have a comma, which separates groups there. Whoever makes consumers, such as a store, calls it when
// they are made; the constructors of this module call it for the consumers in a Config.
func (c *Consumer) Validate() error {
	if c == nil {
		return errors.New("policy: Consumer is nil; give one with an ID")
	}
	var errs []error
	if c.ID == "" {
		errs = append(errs, fmt.Errorf("policy: Consumer.ID is empty (Username %q); give one that stays: limits and logs need it", c.Username))
	}
	for _, f := range [...]struct{ name, value string }{{"ID", c.ID}, {"Username", c.Username}, {"CustomID", c.CustomID}} {
		if !carried(f.value) {
			errs = append(errs, errCarried(f.name, f.value))
		}
	}
	for i, g := range c.Groups {
		switch {
		case g == "":
			errs = append(errs, fmt.Errorf("policy: Consumer.Groups[%d] %q is empty; a group has a name", i, g))
		case strings.Contains(g, ","):
			errs = append(errs, fmt.Errorf("policy: Consumer.Groups[%d] %q has a comma, which separates groups; list each group on its own", i, g))
		case !carried(g):
			errs = append(errs, errCarried(fmt.Sprintf("Groups[%d]", i), g))
		}
	}
	return errors.Join(errs...)
}

func errCarried(field, value string) error {
	return fmt.Errorf("policy: Consumer.%s %q cannot be sent in a header field; use no control characters, and no white space at the ends", field, value)
}

// carried reports whether a header field carries v as it is.
func carried(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return v == strings.Trim(v, " \t")
}

// LogValue logs a consumer as its id and username.
func (c *Consumer) LogValue() slog.Value {
	if c == nil {
		return slog.StringValue("")
	}
	return slog.GroupValue(slog.String("id", c.ID), slog.String("username", c.Username))
}

// Identity is the outcome of authentication. The zero Identity means that nobody authenticated.
type Identity struct {
	// Consumer is nobody for the zero Identity, and may be nil when a credential is valid but belongs to no consumer
	// (a token of a foreign issuer).
	Consumer *Consumer
	// Kind is the method that found it, such as "key-auth".
	Kind string
	// Credential names the credential, never reveals it: an id, a username, a key id.
	Credential string
	// Claims are what the credential itself says, such as those of a token. Read-only once set.
	Claims map[string]any
	// Anonymous marks an identity given to a caller who showed no valid credential.
	Anonymous bool
}

// IsZero reports whether nobody authenticated, not even anonymously.
func (id Identity) IsZero() bool {
	return id.Consumer == nil && id.Kind == "" && id.Credential == "" && id.Claims == nil && !id.Anonymous
}

// LogValue logs an identity without its claims, which may hold personal data.
func (id Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", id.Kind), slog.String("credential", id.Credential),
		slog.Bool("anonymous", id.Anonymous), slog.Any("consumer", id.Consumer))
}
