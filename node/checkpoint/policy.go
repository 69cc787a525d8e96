package checkpoint

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	maxPolicy  = 64 << 10
	maxMembers = 64 // logs, witnesses and groups each
)

// Policy says which logs are believed, and which witnesses must have co-signed: a file of
// https://c2sp.org/tlog-policy.
type Policy struct {
	logs      []*Verifier
	witnesses []*Verifier
	named     map[string]member
	quorum    string // empty: none is needed
}

// member is a witness, or a group of which so many members are needed.
type member struct {
	witness *Verifier
	need    int
	of      []string
}

// ParsePolicy reads a policy.
func ParsePolicy(raw []byte) (*Policy, error) {
	if len(raw) > maxPolicy {
		return nil, ErrPolicy.With("%d bytes, at most %d", len(raw), maxPolicy)
	}
	p := &Policy{named: map[string]member{}}
	decided := false
	for i, l := range bytes.Split(raw, []byte("\n")) {
		if bytes.ContainsFunc(l, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, ErrPolicy.With("line %d has a control character", i+1)
		}
		words := strings.FieldsFunc(string(l), func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var err error
		switch words[0] {
		case "log":
			err = p.addLog(words[1:])
		case "witness":
			err = p.addWitness(words[1:])
		case "group":
			err = p.addGroup(words[1:])
		case "quorum":
			if decided {
				err = fmt.Errorf("there are two quorum lines")
				break
			}
			decided = true
			err = p.setQuorum(words[1:])
		default:
			err = fmt.Errorf("%.32q begins no line", words[0])
		}
		if err != nil {
			return nil, ErrPolicy.With("line %d: %v", i+1, err)
		}
	}
	if !decided {
		return nil, ErrPolicy.With("it has no line quorum; where no witness is needed it is: quorum none")
	}
	return p, nil
}

func (p *Policy) addLog(words []string) error {
	if len(words) < 1 || len(words) > 2 || len(p.logs) == maxMembers {
		return fmt.Errorf("it must be: log KEY [URL], at most %d times", maxMembers)
	}
	v, err := roleOf(words[0], LogRole)
	if err == nil && slices.ContainsFunc(p.logs, v.sameKey) {
		err = fmt.Errorf("the key is of two logs")
	}
	p.logs = append(p.logs, v)
	return err
}

func roleOf(vkey string, role Role) (*Verifier, error) {
	v, err := ParseVerifier(vkey)
	if err == nil && v.role != role {
		return nil, fmt.Errorf("the key has signature type %d, want %d", v.role, role)
	}
	return v, err
}

func (v *Verifier) sameKey(o *Verifier) bool { return bytes.Equal(v.key, o.key) }

func (p *Policy) addWitness(words []string) error {
	if len(words) < 2 || len(words) > 3 || len(p.witnesses) == maxMembers {
		return fmt.Errorf("it must be: witness NAME KEY [URL], at most %d times", maxMembers)
	}
	v, err := roleOf(words[1], WitnessRole)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(p.witnesses, v.sameKey) {
		return fmt.Errorf("the key is of two witnesses")
	}
	p.witnesses = append(p.witnesses, v)
	return p.name(words[0], member{witness: v})
}

func (p *Policy) name(name string, m member) error {
	if _, taken := p.named[name]; taken || name == "none" {
		return fmt.Errorf("the name %.64q is taken", name)
	}
	p.named[name] = m
	return nil
}

func (p *Policy) addGroup(words []string) error {
	if len(words) < 3 || len(p.named) >= 2*maxMembers {
		return fmt.Errorf("it must be: group NAME all|any|NUMBER MEMBER…")
	}
	m := member{of: words[2:]}
	for i, name := range m.of {
		if _, known := p.named[name]; !known {
			return fmt.Errorf("%.64q is named on no line before", name)
		}
		if slices.Contains(m.of[:i], name) {
			return fmt.Errorf("%.64q is named twice", name)
		}
		for _, other := range p.named {
			if slices.Contains(other.of, name) {
				return fmt.Errorf("%.64q is in another group", name)
			}
		}
	}
	switch words[1] {
	case "all":
		m.need = len(m.of)
	case "any":
		m.need = 1
	default:
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > len(m.of) {
			return fmt.Errorf("%.16q must be all, any or 1 to %d", words[1], len(m.of))
		}
		m.need = n
	}
	return p.name(words[0], m)
}

func (p *Policy) setQuorum(words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("it must be: quorum NAME")
	}
	if words[0] == "none" {
		return nil
	}
	if _, known := p.named[words[0]]; !known {
		return fmt.Errorf("%.64q is named on no line before", words[0])
	}
	p.quorum = words[0]
	return nil
}

// met tells whether those who signed are enough for a member.
func (p *Policy) met(name string, signed func(*Verifier) bool) bool {
	m := p.named[name]
	if m.witness != nil {
		return signed(m.witness)
	}
	n := 0
	for _, o := range m.of {
		if p.met(o, signed) {
			n++
		}
	}
	return n >= m.need
}

// Verified is a checkpoint that a policy believes.
type Verified struct {
	Checkpoint
	// Log is the key that signed, Witnesses those that co-signed and when.
	Log       *Verifier
	Witnesses []note.Signature
}

// Verify checks the signatures of a checkpoint: one of a log whose name is its first line, and
// those of the quorum. A signature of a known key that is wrong fails the whole.
func (p *Policy) Verify(raw []byte) (*Verified, error) {
	c, sigs, err := Open(raw, slices.Concat(p.logs, p.witnesses)...)
	if err != nil {
		return nil, err
	}
	by := func(v *Verifier) func(note.Signature) bool {
		return func(s note.Signature) bool { return s.Name == v.name && s.Hash == v.hash }
	}
	out := &Verified{Checkpoint: c}
	for _, v := range p.logs {
		if v.name == c.Origin && slices.ContainsFunc(sigs, by(v)) {
			out.Log = v
		}
	}
	if out.Log == nil {
		return nil, ErrSignatures.With("it is of %.64q", c.Origin)
	}
	for _, v := range p.witnesses {
		if i := slices.IndexFunc(sigs, by(v)); i >= 0 {
			out.Witnesses = append(out.Witnesses, sigs[i])
		}
	}
	if p.quorum != "" && !p.met(p.quorum, func(v *Verifier) bool { return slices.ContainsFunc(sigs, by(v)) }) {
		return nil, ErrQuorum.With("%d co-signed, which are not the quorum %.64q", len(out.Witnesses), p.quorum)
	}
	return out, nil
}
