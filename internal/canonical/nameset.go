package canonical

import "net/textproto"

// NameSet answers whether a header name is one of a set in any alias form: in
// any case, and with every byte that is neither a letter nor a digit taken for
// any other such byte, so that X-User-Id, x_user_id and X.User.Id are one name.
// Upstreams that turn header names into variables cannot tell these apart, so a
// rule about one of them has to hold for all.
//
// The zero NameSet is empty. A NameSet never changes, is cheap to copy and safe
// for concurrent use.
type NameSet struct {
	t *nameTable
}

type nameTable struct {
	// lengths[c] has bit n%64 set when a member of n bytes can start with c.
	// Most names of a request fail here, after one load.
	lengths [256]uint64
	members [][]memberName // by length
}

type memberName struct {
	folded    string
	canonical string
}

// NewNameSet returns the set of the given names; their spelling does not
// matter. Empty names are left out. The slice is not kept.
func NewNameSet(names ...string) NameSet {
	t := &nameTable{}
	for _, name := range names {
		if name == "" {
			continue
		}
		m := memberName{folded: Fold(name), canonical: textproto.CanonicalMIMEHeaderKey(name)}
		for n := len(name); n >= len(t.members); {
			t.members = append(t.members, nil)
		}
		t.members[len(name)] = append(t.members[len(name)], m)
		for c := range t.lengths {
			if foldByte(byte(c)) == m.folded[0] {
				t.lengths[c] |= 1 << (len(name) % 64)
			}
		}
	}
	return NameSet{t: t}
}

// Contains reports whether name is a member in any alias form. It does not
// allocate.
func (s NameSet) Contains(name string) bool {
	for _, m := range s.candidates(name) {
		if foldsTo(name, m.folded) {
			return true
		}
	}
	return false
}

// Exact reports whether name is the canonical MIME spelling of a member, the
// one key under which net/http keeps it. It does not allocate.
func (s NameSet) Exact(name string) bool {
	for _, m := range s.candidates(name) {
		if name == m.canonical {
			return true
		}
	}
	return false
}

func (s NameSet) candidates(name string) []memberName {
	if s.t == nil || name == "" || len(name) >= len(s.t.members) || s.t.lengths[name[0]]>>(len(name)%64)&1 == 0 {
		return nil
	}
	return s.t.members[len(name)]
}

// Alias reports whether a and b are forms of one header name. It does not allocate.
func Alias(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := len(a) - 1; i >= 0; i-- {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

// Fold returns the form that all aliases of a header name share: letters in
// lower case, and '-' for every byte that is neither a letter nor a digit. It
// returns name itself when that is folded already.
func Fold(name string) string {
	for i := 0; i < len(name); i++ {
		if foldByte(name[i]) == name[i] {
			continue
		}
		b := []byte(name)
		for ; i < len(b); i++ {
			b[i] = foldByte(b[i])
		}
		return string(b)
	}
	return name
}

// foldsTo reports whether Fold(name) is folded, which has the same length. It
// goes from the end, because names of one family differ there.
func foldsTo(name, folded string) bool {
	for i := len(name) - 1; i >= 0; i-- {
		if foldByte(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case upper(c):
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		return c
	}
	return '-'
}
