package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/observe"
	"github.com/gatehouse-go/gateway/policy"
)

// naive is a handler as applications write them: it escapes nothing.
type naive struct{ w io.Writer }

func (naive) Enabled(context.Context, slog.Level) bool { return true }
func (n naive) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%+v", a.Key, a.Value.Any())
		return true
	})
	_, err := io.WriteString(n.w, line+"\n")
	return err
}
func (n naive) WithAttrs([]slog.Attr) slog.Handler { return n }
func (n naive) WithGroup(string) slog.Handler      { return n }

// handlers are those whose output is looked at.
func handlers(w io.Writer) map[string]slog.Handler {
	return map[string]slog.Handler{"JSON": slog.NewJSONHandler(w, nil), "text": slog.NewTextHandler(w, nil), "naive": naive{w}}
}

// everywhere makes a request, and a handler's report on it, with s in every place a client or an upstream can reach.
func everywhere(s string) (*http.Request, observe.Config, http.Handler) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.Host, r.Pattern = s, s, "/"+s
	r.URL = &url.URL{Path: "/" + s, RawPath: s, RawQuery: s + "=" + s + "&page=" + s + "&" + s}
	r.Header["User-Agent"] = []string{s}
	r.Header["X-Request-Id"] = []string{s}
	c := observe.Config{
		AcceptRequestID: observe.TrustAnyone, QueryValues: []string{"page"},
		Attrs: func(*policy.Exchange, *http.Request) []slog.Attr {
			return []slog.Attr{
				slog.String("s", s), slog.Any("e", errors.New(s)),
				slog.Group("g", slog.String("s", s), slog.Any("v", policy.Identity{Credential: s})),
			}
		},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := policy.ExchangeFrom(r.Context())
		x.SetRoute(s, "", "")
		x.SetVersion(s)
		x.SetCacheStatus(s)
		x.SetIdentity(policy.Identity{Kind: s, Credential: s, Consumer: &policy.Consumer{ID: s, Username: s}})
		x.Record(policy.Decision{Policy: s, Reason: s, Detail: s, Verdict: policy.Refused, Err: errors.New(s)})
		x.RecordTry(policy.Try{Upstream: s, Target: s, Outcome: policy.Outcome{Err: errors.New(s)}})
		panic(s)
	})
	return r, c, h
}

func TestLogInjection(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"CR LF":          "x\r\nlevel=INFO msg=forged",
		"LF":             "x\n{\"msg\":\"forged\"}",
		"ANSI escape":    "\x1b[2J\x1b[31mforged",
		"C1 escape":      "\u009b31mforged",
		"line separator": "x\u2028forged\u2029again",
		"next line":      "x\u0085forged",
		"right to left":  "\u202egnp.exe\u2066",
		"invisible":      "x\u200b\ufeff\u2060\u00ad",
		"invalid UTF-8":  "x\xff\xfe\xc0\x8a",
		"surrogate":      "\xed\xa0\x80",
		"NUL":            "x\x00y",
		"backspace":      "secret\b\b\b\b\b\bforged",
		"DEL":            "x\x7f",
		"quotes":         `"},{"msg":"forged"`,
		"backslash":      `\" \n`,
		"long":           strings.Repeat("A", 100_000),
		"long escapes":   strings.Repeat("\x1b", 100_000),
		"long runes":     strings.Repeat("世", 100_000),
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			for format, handler := range handlers(&buf) {
				buf.Reset()
				r, c, h := everywhere(s)
				c.Log = slog.New(handler)
				_, panicked := serve(observer(t, nil, c).Wrap(h), r)
				require.Equal(t, s, panicked)
				out := buf.String()
				require.Equal(t, 1, strings.Count(out, "\n"), "%s: one record is one line", format)
				require.True(t, utf8.ValidString(out), format)
				require.Less(t, len(out), 20_000, format)
				for _, c := range strings.TrimSuffix(out, "\n") {
					require.True(t, unicode.IsPrint(c), "%s: %q", format, c)
				}
			}
		})
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM2NyM3QifQ.s3cr3t"
	withURL := &url.Error{Op: "Get", URL: "http://u:" + secret + "@h/?apikey=" + secret, Err: errors.New("refused")}
	tests := []struct {
		name   string
		edit   func(r *http.Request)
		report func(w http.ResponseWriter, x *policy.Exchange)
	}{
		{"Authorization", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, nil},
		{"Proxy-Authorization", func(r *http.Request) { r.Header.Set("Proxy-Authorization", secret) }, nil},
		{"Cookie", func(r *http.Request) { r.Header.Set("Cookie", "session="+secret) }, nil},
		{"Referer", func(r *http.Request) { r.Header.Set("Referer", "http://h/?token="+secret) }, nil},
		{"key header", func(r *http.Request) { r.Header.Set("Apikey", secret) }, nil},
		{"Set-Cookie", nil, func(w http.ResponseWriter, _ *policy.Exchange) { w.Header().Set("Set-Cookie", secret) }},
		{"Location", nil, func(w http.ResponseWriter, _ *policy.Exchange) { w.Header().Set("Location", "/?code="+secret) }},
		{"query value", func(r *http.Request) { r.URL.RawQuery = "apikey=" + secret + "&b=" + secret }, nil},
		{"token as query name", func(r *http.Request) { r.URL.RawQuery = secret + strings.Repeat("0", 20) + "&" + jwt + "=1" }, nil},
		{"token in a permitted value", func(r *http.Request) { r.URL.RawQuery = "page=" + jwt }, nil},
		{"token in the path", func(r *http.Request) { r.URL.Path = "/reset/" + jwt + "/x" }, nil},
		{"token as User-Agent", func(r *http.Request) { r.Header.Set("User-Agent", jwt) }, nil},
		{"userinfo", func(r *http.Request) { r.URL.User = url.UserPassword("u", secret) }, nil},
		{"body", func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(secret)) }, nil},
		{"request id of a client", func(r *http.Request) { r.Header.Set("X-Request-ID", secret) }, nil},
		{"claims", nil, func(_ http.ResponseWriter, x *policy.Exchange) {
			x.SetIdentity(policy.Identity{Kind: "jwt", Claims: map[string]any{"sub": secret}})
		}},
		{"token as credential's name", nil, func(_ http.ResponseWriter, x *policy.Exchange) {
			x.SetIdentity(policy.Identity{Kind: "jwt", Credential: jwt, Consumer: &policy.Consumer{ID: jwt, Username: jwt}})
		}},
		{"target", nil, func(_ http.ResponseWriter, x *policy.Exchange) {
			x.RecordTry(policy.Try{Target: "http://u:" + secret + "@10.0.0.1/?k=" + secret})
		}},
		{"error of a try", nil, func(_ http.ResponseWriter, x *policy.Exchange) {
			x.RecordTry(policy.Try{Outcome: policy.Outcome{Err: withURL}})
		}},
		{"cause of a refusal", nil, func(_ http.ResponseWriter, x *policy.Exchange) {
			x.Record(policy.Decision{Verdict: policy.Refused, Err: &policy.Error{Status: 502, Err: withURL}, Detail: "at http://u:" + secret + "@h/"})
		}},
		{"panic with an error", nil, func(http.ResponseWriter, *policy.Exchange) { panic(withURL) }},
		{"panic with a string", nil, func(http.ResponseWriter, *policy.Exchange) {
			panic("got Authorization: Bearer " + secret + "-01234567")
		}},
		{"panic with a value", nil, func(http.ResponseWriter, *policy.Exchange) { panic(map[string]string{"k": secret}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			for format, handler := range handlers(&buf) {
				buf.Reset()
				r := httptest.NewRequest(http.MethodPost, "/", nil)
				if tt.edit != nil {
					tt.edit(r)
				}
				o := observer(t, nil, observe.Config{Log: slog.New(handler), QueryValues: []string{"page"}})
				_, _ = serve(o.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tt.report != nil {
						tt.report(w, policy.ExchangeFrom(r.Context()))
					}
				})), r)
				require.Equal(t, 1, strings.Count(buf.String(), "\n"), format)
				require.NotContains(t, buf.String(), secret, format)
				require.NotContains(t, buf.String(), "eyJ", format)
			}
		})
	}
}
