package checkpoint

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Role is what a key signs, and the signature type of https://c2sp.org/signed-note.
type Role byte

const (
	// LogRole is of keys that sign checkpoints of their own log.
	LogRole Role = 0x01
	// WitnessRole is of keys that co-sign checkpoints, with the time.
	WitnessRole Role = 0x04
)

const (
	secretPrefix = "PRIVATE+KEY+"
	// cosigned begins what a witness signs: the time in seconds and the text of the note follow.
	cosigned = "cosignature/v1\ntime %d\n"
)

// Verifier is the public half of a key.
type Verifier struct {
	name string
	hash uint32
	role Role
	key  ed25519.PublicKey
}

var _ note.Verifier = (*Verifier)(nil)

// ParseVerifier reads a verifier key, NAME+HASH+KEY.
func ParseVerifier(vkey string) (*Verifier, error) {
	name, hash, role, key, err := split(vkey)
	if err != nil {
		return nil, err
	}
	v := &Verifier{name: name, role: role, key: key}
	if v.hash = v.computeHash(); v.hash != hash {
		return nil, ErrKey.With("the digits do not belong to the key of %.64q", name)
	}
	return v, nil
}

// split reads what follows PRIVATE+KEY+, or a verifier key.
func split(text string) (name string, hash uint32, role Role, key []byte, err error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 || !validName(parts[0]) || len(parts[1]) != 8 {
		return "", 0, 0, nil, ErrKey
	}
	h, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return "", 0, 0, nil, ErrKey
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return "", 0, 0, nil, ErrKey
	}
	role = Role(raw[0])
	if role != LogRole && role != WitnessRole {
		return "", 0, 0, nil, ErrKey.With("its signature type is %#02x", raw[0])
	}
	return parts[0], uint32(h), role, raw[1:], nil
}

func validName(s string) bool {
	return s != "" && len(s) <= maxOrigin && utf8.ValidString(s) && !strings.Contains(s, "+") &&
		strings.IndexFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0
}

func (v *Verifier) computeHash() uint32 {
	h := sha256.New()
	h.Write([]byte(v.name + "\n"))
	h.Write([]byte{byte(v.role)})
	h.Write(v.key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// Name implements note.Verifier.
func (v *Verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *Verifier) KeyHash() uint32 { return v.hash }

// Role is what the key signs.
func (v *Verifier) Role() Role { return v.role }

// String is the verifier key.
func (v *Verifier) String() string { return encode(v.name, v.hash, v.role, v.key) }

func encode(name string, hash uint32, role Role, key []byte) string {
	return fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(append([]byte{byte(role)}, key...)))
}

// Verify implements note.Verifier.
func (v *Verifier) Verify(msg, sig []byte) bool {
	if v.role == LogRole {
		return ed25519.Verify(v.key, msg, sig)
	}
	if len(sig) != 8+ed25519.SignatureSize || sig[0]&0x80 != 0 {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return ed25519.Verify(v.key, append(fmt.Appendf(nil, cosigned, at), msg...), sig[8:])
}

// CosignedAt is when a witness says that it made a signature.
func CosignedAt(s note.Signature) (time.Time, bool) {
	raw, err := base64.StdEncoding.DecodeString(s.Base64)
	if err != nil || len(raw) != 4+8+ed25519.SignatureSize || raw[4]&0x80 != 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), true
}

// Signer is a key.
type Signer struct {
	Verifier
	private ed25519.PrivateKey
	now     func() time.Time // time.Now but in tests
}

var _ note.Signer = (*Signer)(nil)

// NewSigner makes a key.
func NewSigner(name string, role Role) (*Signer, error) {
	if !validName(name) {
		return nil, ErrKey.With("%.64q is no name of a key: at most %d bytes, without white space and plus signs", name, maxOrigin)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return newSigner(name, role, private.Seed()), nil
}

func newSigner(name string, role Role, seed []byte) *Signer {
	s := &Signer{private: ed25519.NewKeyFromSeed(seed), now: time.Now}
	s.name, s.role, s.key = name, role, s.private.Public().(ed25519.PublicKey)
	s.hash = s.computeHash()
	return s
}

// ParseSigner reads what Secret gave. Its errors hold nothing of it.
func ParseSigner(text string) (*Signer, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return nil, ErrKey.With("the private key does not begin with %s", secretPrefix)
	}
	name, hash, role, seed, err := split(rest)
	if err != nil {
		return nil, err
	}
	s := newSigner(name, role, seed)
	if s.hash != hash {
		return nil, ErrKey.With("the digits do not belong to the private key")
	}
	return s, nil
}

// Secret is the key as text, which must be kept secret.
func (s *Signer) Secret() string {
	return secretPrefix + encode(s.name, s.hash, s.role, s.private.Seed())
}

// Public is the key's public half.
func (s *Signer) Public() *Verifier { v := s.Verifier; return &v }

// Sign implements note.Signer.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	if s.role == LogRole {
		return ed25519.Sign(s.private, msg), nil
	}
	at := s.now().Unix()
	if at < 0 {
		return nil, fmt.Errorf("the clock is before 1970")
	}
	sig := ed25519.Sign(s.private, append(fmt.Appendf(nil, cosigned, at), msg...))
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), sig...), nil
}
