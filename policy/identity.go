package policy

import "log/slog"

// Consumer is who calls an API: a person, a team, another service. Credentials belong to a consumer.
// A Consumer is shared between requests: nobody may change it once it was handed out.
type Consumer struct {
	// ID identifies the consumer for ever; rate limits and hashes use it. A consumer that took part in
	// authentication always has one.
	ID string
	// Username and CustomID are names the operator gave; either may be empty.
	Username, CustomID string
	// Groups are what access lists name, compared exactly.
	Groups []string
	// Tags are for the operator's own use and never reach an upstream.
	Tags []string
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
