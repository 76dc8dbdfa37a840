package balancer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-go/gateway/internal/canonical"
)

// Sticky keeps a client at the target that answered it first, by a cookie, for as long as that target takes traffic, whatever
// its tier, zone and load are; everybody else is Algorithm's. The cookie is a keyed digest of the target (HMAC-SHA-256): it
// tells the client nothing, and with one of its own making a client gets the target that Algorithm chooses.
//
// [Pool.Cookie] returns the cookie, and who answers the client sets it. gateway.Upstream does.
type Sticky struct {
	// Cookie is how the cookie looks. Its Name is required. Upstreams below one domain and path have different names.
	Cookie Cookie
	// Secrets sign: the first makes cookies, all are accepted, so that one can be replaced. At least one, of 16 bytes or
	// more; gateways that share clients share secrets. They are copied when the pool is made.
	Secrets [][]byte
	// Algorithm chooses for clients without a cookie. Nil means RoundRobin{}. It is not another Sticky.
	Algorithm Algorithm
}

const (
	minSecret = 16
	// A cookie's value is 24 bytes of a digest in base64: 8 by which the target is found, and 16 that are compared.
	markSize  = 8
	proofSize = 16
)

// NewPicker implements [Algorithm]. The error joins what is wrong with the parameters.
func (s Sticky) NewPicker(members []*Member) (Picker, error) {
	inner, err := s.inner().NewPicker(slices.Clone(members))
	if err != nil {
		return nil, err
	}
	return s.around(inner, members)
}

// sticky tells the pool that cookies lead to all its members, and the algorithm inside chooses in each group of them.
func (s Sticky) sticky() Sticky { return s }

func (s Sticky) inner() Algorithm {
	if s.Algorithm == nil {
		return RoundRobin{}
	}
	return s.Algorithm
}

func (s Sticky) check() error {
	var errs []error
	for _, problem := range s.Cookie.problems() {
		errs = append(errs, errors.New("Sticky.Cookie."+problem))
	}
	if len(s.Secrets) == 0 {
		errs = append(errs, fmt.Errorf("Sticky.Secrets: is empty; give one of %d bytes or more, from crypto/rand", minSecret))
	}
	for i, secret := range s.Secrets {
		if len(secret) < minSecret { // its value is nobody's business
			errs = append(errs, fmt.Errorf("Sticky.Secrets[%d]: has %d bytes; must be %d or more, from crypto/rand", i, len(secret), minSecret))
		}
	}
	if _, nested := s.Algorithm.(interface{ sticky() Sticky }); nested {
		errs = append(errs, errors.New("Sticky.Algorithm: is another Sticky; one cookie is enough"))
	} else if a, ok := s.Algorithm.(checker); ok {
		errs = append(errs, a.check())
	}
	return errors.Join(errs...)
}

// around returns a picker for members that asks inner about clients without a cookie.
func (s Sticky) around(inner Picker, members []*Member) (Picker, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	p := &stickyPicker{inner: inner, cookie: s.Cookie, marks: make(map[[markSize]byte]marked, len(members)*len(s.Secrets)), values: make(map[*Member]string, len(members))}
	for i, secret := range s.Secrets {
		for _, m := range members {
			mac := hmac.New(sha256.New, secret)
			_, _ = fmt.Fprintf(mac, "%s\x00%s", s.Cookie.Name, m.key) // a hash takes everything
			digest := mac.Sum(nil)[:markSize+proofSize]
			mark := [markSize]byte(digest)
			if _, taken := p.marks[mark]; !taken {
				p.marks[mark] = marked{m: m, proof: [proofSize]byte(digest[markSize:])}
			}
			if i == 0 {
				p.values[m] = base64.RawURLEncoding.EncodeToString(digest)
			}
		}
	}
	return p, nil
}

type stickyPicker struct {
	inner  Picker
	cookie Cookie
	marks  map[[markSize]byte]marked
	values map[*Member]string // of the cookies to give
}

// marked is the member that a mark stands for, if the proof is right.
type marked struct {
	m     *Member
	proof [proofSize]byte
}

// Pick implements [Picker].
func (p *stickyPicker) Pick(q Query) *Member {
	if m := p.find(p.sent(q)); m != nil && !m.barred.Load() && !q.HasTried(m) {
		return m
	}
	return p.inner.Pick(q)
}

// sent returns the value of the cookie that came with the request.
func (p *stickyPicker) sent(q Query) string {
	if q.Request == nil {
		return ""
	}
	value, _ := canonical.Cookie(q.Request.Header["Cookie"], p.cookie.Name)
	return value
}

// find returns the member for the value of a cookie, nil if that is none of ours or its target is not here any more.
func (p *stickyPicker) find(value string) *Member {
	const size = (markSize + proofSize) * 4 / 3
	if len(value) != size {
		return nil
	}
	var text [size]byte
	copy(text[:], value)
	var digest [markSize + proofSize]byte
	if _, err := base64.RawURLEncoding.Decode(digest[:], text[:]); err != nil {
		return nil
	}
	found, ok := p.marks[[markSize]byte(digest[:])]
	if !ok || subtle.ConstantTimeCompare(found.proof[:], digest[markSize:]) != 1 {
		return nil
	}
	return found.m
}

// cookieFor implements cookieGiver: a client that has no cookie gets one, and so does one that has to go elsewhere, or whose
// cookie was made with an older secret.
func (p *stickyPicker) cookieFor(q Query, m *Member) *http.Cookie {
	value := p.values[m]
	if value == "" || q.Request == nil || p.sent(q) == value {
		return nil
	}
	return p.cookie.with(value, q.Request)
}

// resume implements resumer.
func (p *stickyPicker) resume(old Picker) {
	if before, ok := old.(*stickyPicker); ok {
		resume(p.inner, before.inner)
	}
}
