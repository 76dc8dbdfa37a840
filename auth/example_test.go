package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gatehouse-go/gateway/auth"
	"github.com/gatehouse-go/gateway/auth/keyauth"
	"github.com/gatehouse-go/gateway/policy"
)

// hello answers with the id of the caller's consumer.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello %s", policy.ExchangeFrom(r.Context()).Consumer().ID)
})

// get sends a request with the given header fields and prints the answer's status and its body or challenges.
func get(h http.Handler, header http.Header) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code == http.StatusOK {
		fmt.Println(w.Code, w.Body)
		return
	}
	fmt.Println(w.Code, w.Header()["Www-Authenticate"])
}

// Two kinds of keys, and guests: a caller needs one of them or none, but a wrong one is refused.
func ExampleAnyOf() {
	partners := policy.Must(keyauth.New(keyauth.Config{
		Consumers: auth.Static{"p1": {ID: "acme"}}, Names: []string{"X-Partner-Key"}, Realm: "partners",
	}))
	users := policy.Must(keyauth.New(keyauth.Config{Consumers: auth.Static{"k1": {ID: "ann"}}}))
	login := policy.Must(auth.AnyOf(partners, users, auth.Anonymous(&policy.Consumer{ID: "guest"})))

	h := login.Wrap(hello)
	get(h, http.Header{"X-Partner-Key": {"p1"}})
	get(h, http.Header{"Apikey": {"k1"}})
	get(h, http.Header{})
	get(h, http.Header{"X-Partner-Key": {"p2"}, "Apikey": {"k1"}})
	// Output:
	// 200 hello acme
	// 200 hello ann
	// 200 hello guest
	// 401 [Key realm="partners" Key]
}

// Keys that come and go while traffic flows.
func ExampleMemoryKeys() {
	ann := &policy.Consumer{ID: "1", Username: "ann"}
	keys := &auth.MemoryKeys{}
	err := keys.Add(
		auth.Key{Value: "old-key", ID: "laptop", Consumer: ann},
		auth.Key{Value: "new-key", ID: "phone", Consumer: ann, Expires: time.Now().Add(time.Hour)},
	)
	fmt.Println(keys, err)

	ctx := context.Background()
	c, ok, _ := keys.Lookup(ctx, "old-key")
	fmt.Println(c.ID, ok)
	keys.Revoke("laptop") // holds for the next request
	_, ok, _ = keys.Lookup(ctx, "old-key")
	fmt.Println(ok)
	// Output:
	// auth.MemoryKeys(2 keys) <nil>
	// laptop true
	// false
}

// Replace puts a whole new set of keys in place at once, such as after a configuration file was read again.
func ExampleMemoryKeys_Replace() {
	ann := &policy.Consumer{ID: "1"}
	keys := &auth.MemoryKeys{}
	fmt.Println(keys.Add(auth.Key{Value: "a", Consumer: ann}, auth.Key{Value: "b", Consumer: ann}))
	fmt.Println(keys.Replace(auth.Key{Value: "b", Consumer: ann}, auth.Key{Value: "b", Consumer: ann}))
	fmt.Println(keys.Len())
	fmt.Println(keys.Replace(auth.Key{Value: "c", Consumer: ann}))
	fmt.Println(keys.Len())
	// Output:
	// <nil>
	// auth: a key of consumer "1" is stored already, for consumer "1"
	// 2
	// <nil>
	// 1
}

// A store of the application's own, with a cache before it: the database is asked once a minute for a valid key, once in
// five seconds for an unknown one.
func ExampleKeyCache() {
	database := auth.KeyStoreFunc(func(_ context.Context, key string) (auth.Credential, bool, error) {
		fmt.Println("asking the database")
		if key != "k1" { // a real one compares digests
			return auth.Credential{}, false, nil
		}
		return auth.Credential{ID: "key-1", Consumer: &policy.Consumer{ID: "ann"}}, true, nil
	})
	cache := policy.Must(auth.NewKeyCache(auth.KeyCacheConfig{Store: database}))
	keys := policy.Must(keyauth.New(keyauth.Config{Consumers: cache}))

	h := keys.Wrap(hello)
	get(h, http.Header{"Apikey": {"k1"}})
	get(h, http.Header{"Apikey": {"k1"}})
	// Output:
	// asking the database
	// 200 hello ann
	// 200 hello ann
}

// A Static never shows its keys.
func ExampleStatic() {
	fmt.Printf("%+v\n", auth.Static{"s3cr3t": {ID: "1"}})
	// Output: auth.Static(1 keys)
}

// door is a method of an application's own: the caller says a word.
type door struct {
	word   string
	source *auth.Source
}

func (door) Name() string             { return "door" }
func (door) Challenge() string        { return "Word" }
func (d door) Hide(r *http.Request)   { d.source.Hide(r) }
func (d door) check(word string) bool { return word == d.word }

func (d door) Authenticate(r *http.Request) (*policy.Identity, error) {
	word, err := d.source.Find(r)
	switch {
	case errors.Is(err, auth.ErrNoCredential):
		return nil, auth.NoCredential("Say the word", d.Challenge())
	case err != nil:
		return nil, err
	case !d.check(word):
		return nil, auth.InvalidCredential(nil, "That is not the word", d.Challenge())
	}
	return &policy.Identity{Consumer: &policy.Consumer{ID: "friend"}, Kind: d.Name()}, nil
}

// Wrap makes a plugin of any method.
func ExampleWrap() {
	d := door{word: "mellon", source: policy.Must(auth.NewSource(auth.SourceConfig{Headers: []string{"X-Word"}}))}
	h := auth.Wrap(d, auth.Options{}, hello)
	get(h, http.Header{"X-Word": {"mellon"}})
	get(h, http.Header{"X-Word": {"please"}})
	get(h, http.Header{"X-Word": {"mellon", "please"}})
	get(h, http.Header{})
	// Output:
	// 200 hello friend
	// 401 [Word]
	// 401 [Word]
	// 401 [Word]
}

func ExampleSource() {
	s := policy.Must(auth.NewSource(auth.SourceConfig{Headers: []string{"X-Token"}, Query: []string{"token"}}))
	r := httptest.NewRequest(http.MethodGet, "/reports?year=2024&token=t1", nil)
	fmt.Println(s.Find(r))
	s.Hide(r)
	fmt.Println(r.URL)
	r = httptest.NewRequest(http.MethodGet, "/reports?token=t1", nil)
	r.Header.Set("X-Token", "t1")
	fmt.Println(s.Find(r))
	// Output:
	// t1 <nil>
	// /reports?year=2024
	//  auth: invalid credential: more than one
}

func ExampleChallenge() {
	fmt.Println(auth.Challenge("Key", `the "new" api`))
	// Output: Key realm="the \"new\" api" <nil>
}
