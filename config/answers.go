package config

import (
	"errors"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-go/gateway/policy"
)

// The media types Kong words its refusals in, beside JSON.
const (
	typeHTML  = "text/html"
	typeXML   = "application/xml"
	typePlain = "text/plain"
)

// answer writes a refusal in the media type that the client would rather have, as Kong does. JSON, problem details and gRPC
// are those of [policy.WriteError].
func answer(w http.ResponseWriter, r *http.Request, err error) {
	kind := preferred(r.Header["Accept"])
	if kind == "" || strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		policy.WriteError(w, r, err)
		return
	}
	status, message := http.StatusInternalServerError, "An unexpected error occurred"
	var e *policy.Error
	if errors.As(err, &e) && e.Status >= http.StatusBadRequest && e.Status <= 599 {
		if status, message = e.Status, e.Message; message == "" {
			message = http.StatusText(status)
		}
	}
	body := worded(kind, message, policy.ExchangeFrom(r.Context()).RequestID())
	h := w.Header()
	h["Content-Type"] = []string{kind + "; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // a client that left needs no answer
	}
}

// worded puts a message and the id of the request into a body. Texts of a configuration may hold what markup is made of.
func worded(kind, message, id string) string {
	switch safe, id := html.EscapeString(message), html.EscapeString(id); kind {
	case typeHTML:
		return "<!DOCTYPE html>\n<html lang=\"en\">\n<title>Error</title>\n<h1>Error</h1>\n<p>" + safe + "</p>\n<p>request_id: " + id + "</p>\n</html>\n"
	case typeXML:
		return `<?xml version="1.0" encoding="UTF-8"?>` + "\n<error>\n  <message>" + safe + "</message>\n  <requestid>" + id + "</requestid>\n</error>\n"
	}
	return message + "\nrequest_id: " + id + "\n"
}

// preferred returns the type of an Accept field with the highest weight, the first of several; "" is JSON, which also stands
// for types that refusals are not worded in.
func preferred(accept []string) string {
	best, kind := 0.0, ""
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			q := 1.0
			for p := range strings.SplitSeq(params, ";") {
				if key, value, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(key, "q") {
					q, _ = strconv.ParseFloat(value, 64) // what is no number has no weight
				}
			}
			if !(q > best) { // NaN is not, either
				continue
			}
			switch best = q; strings.ToLower(strings.TrimSpace(name)) {
			case typeHTML:
				kind = typeHTML
			case typeXML:
				kind = typeXML
			case typePlain, "text/*":
				kind = typePlain
			default:
				kind = ""
			}
		}
	}
	return kind
}
