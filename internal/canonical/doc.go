// Package canonical decides how a path, a host or a header name is spelled.
//
// Most ways around a gateway's rules are one bug: a policy looks at one
// spelling of a request and the upstream at another. The remedy is to compute
// one spelling at the entry, to refuse what has no single meaning, and to let
// routes, policies, keys, logs and the upstream see that one value only.
//
// The model has three parts. [Path] (for requests) and [Literal] (for paths a
// person wrote into a configuration) give the canonical escaped path or a
// [PathError] with a reason code; [SetPath] puts a canonical path into a URL
// so that both its fields agree. [Host] splits and normalises an authority.
// [NameSet] recognises header names in every alias form, because upstreams
// that follow the CGI convention cannot tell X-User from X_User.
//
// At the entry:
//
//	path, err := canonical.Path(r.URL, canonical.PathOptions{})
//	if err != nil {
//		// 400; err holds a reason code for the log, not for the client
//	}
//	host, port, err := canonical.Host(r.Host)
//	owned := canonical.NewNameSet("X-Consumer-ID", "X-Request-ID") // once, in New
//	for name := range r.Header {
//		if owned.Contains(name) {
//			delete(r.Header, name)
//		}
//	}
//
// What it does not do: it does not decode twice (%252F is data), gives
// parameters after a semicolon no meaning, folds no case in paths, applies
// neither IDNA nor Unicode normalisation, and does not look at queries. It
// imports the standard library only, and everything in it is safe for
// concurrent use.
package canonical
