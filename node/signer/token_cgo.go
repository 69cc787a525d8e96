//go:build cgo

package signer

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/miekg/pkcs11"
)

// What PKCS#11 3.0 has for Ed25519.
const (
	mechanismEdDSA    = 0x1057 // CKM_EDDSA
	mechanismMakeEd   = 0x1055 // CKM_EC_EDWARDS_KEY_PAIR_GEN
	keyTypeEd         = 0x40   // CKK_EC_EDWARDS
	publicBytes       = 32
	sessionParameters = pkcs11.CKF_SERIAL_SESSION
)

// curveEd25519 is the name of the curve as tokens take it: a PrintableString.
var curveEd25519 = []byte{0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'}

// token is an Ed25519 key that never leaves its token. It is not safe for concurrent use;
// Guarded calls it under its lock.
type token struct {
	c       *pkcs11.Ctx
	o       PKCS11
	pin     string
	session pkcs11.SessionHandle
	private pkcs11.ObjectHandle
	public  ed25519.PubKey
}

var _ crypto.PrivKey = (*token)(nil)

// openToken loads the library, logs into the token and finds the key.
func openToken(f Folder, p PKCS11) (crypto.PrivKey, func() error, error) {
	t, err := loadToken(f, p)
	if err != nil {
		return nil, nil, err
	}
	if err := t.login(sessionParameters); err != nil {
		return nil, nil, errors.Join(err, t.close())
	}
	if err := t.find(); err != nil {
		return nil, nil, errors.Join(err, t.close())
	}
	return t, t.close, nil
}

func loadToken(f Folder, p PKCS11) (*token, error) {
	pin, err := p.pin(f)
	if err != nil {
		return nil, err
	}
	c := pkcs11.New(p.Module)
	if c == nil {
		return nil, fmt.Errorf("%s is no PKCS#11 library that can be loaded", p.Module)
	}
	if err := c.Initialize(); err != nil {
		c.Destroy()
		return nil, fmt.Errorf("begin with %s: %w", p.Module, err)
	}
	return &token{c: c, o: p, pin: pin}, nil
}

// login opens a session with the token of the label.
func (t *token) login(flags uint) error {
	slots, err := t.c.GetSlotList(true)
	if err != nil {
		return fmt.Errorf("look for tokens: %w", err)
	}
	for _, slot := range slots {
		info, err := t.c.GetTokenInfo(slot)
		if err != nil || info.Label != t.o.Token {
			continue
		}
		if t.session, err = t.c.OpenSession(slot, flags); err != nil {
			return fmt.Errorf("open the token %q: %w", t.o.Token, err)
		}
		err = t.c.Login(t.session, pkcs11.CKU_USER, t.pin)
		if errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("log into the token %q: %w", t.o.Token, err)
		}
		return nil
	}
	return fmt.Errorf("%s has no token with the label %q", t.o.Module, t.o.Token)
}

// find finds both halves of the key.
func (t *token) find() error {
	public, err := t.object(pkcs11.CKO_PUBLIC_KEY)
	if err != nil {
		return err
	}
	if t.private, err = t.object(pkcs11.CKO_PRIVATE_KEY); err != nil {
		return err
	}
	a, err := t.c.GetAttributeValue(t.session, public, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		return fmt.Errorf("read the public key %q: %w", t.o.Key, err)
	}
	point := a[0].Value
	// An OCTET STRING by the standard; some tokens give the point itself.
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	if len(point) != publicBytes {
		return fmt.Errorf("the key %q has a public half of %d bytes, want one of Ed25519, %d bytes", t.o.Key, len(point), publicBytes)
	}
	t.public = ed25519.PubKey(bytes.Clone(point))
	// What the token says is believed when a signature verifies.
	_, err = t.Sign([]byte("chancery: is this the key?"))
	return err
}

// object finds the one key of a class with the label.
func (t *token) object(class uint) (pkcs11.ObjectHandle, error) {
	err := t.c.FindObjectsInit(t.session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(keyTypeEd)),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.o.Key),
	})
	if err != nil {
		return 0, fmt.Errorf("look for the key %q: %w", t.o.Key, err)
	}
	found, _, err := t.c.FindObjects(t.session, 2)
	if err = errors.Join(err, t.c.FindObjectsFinal(t.session)); err != nil {
		return 0, fmt.Errorf("look for the key %q: %w", t.o.Key, err)
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("the token %q has %d Ed25519 keys with the label %q, want one pair; 'chancery-signer signer make-key' makes it", t.o.Token, len(found), t.o.Key)
	}
	return found[0], nil
}

// Sign implements crypto.PrivKey. It begins a new session where the token lost the last
// one, and gives no signature that does not verify.
func (t *token) Sign(m []byte) ([]byte, error) {
	signature, err := t.sign(m)
	if err != nil {
		_ = t.c.CloseSession(t.session) // it may be gone
		if again := t.login(sessionParameters); again != nil {
			return nil, errors.Join(err, again)
		}
		if t.private, err = t.object(pkcs11.CKO_PRIVATE_KEY); err != nil {
			return nil, err
		}
		if signature, err = t.sign(m); err != nil {
			return nil, err
		}
	}
	if !t.public.VerifySignature(m, signature) {
		return nil, fmt.Errorf("the token %q gives signatures that the public key %q does not verify", t.o.Token, t.o.Key)
	}
	return signature, nil
}

func (t *token) sign(m []byte) ([]byte, error) {
	if err := t.c.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanismEdDSA, nil)}, t.private); err != nil {
		return nil, fmt.Errorf("sign in the token %q: %w", t.o.Token, err)
	}
	signature, err := t.c.Sign(t.session, m)
	if err != nil {
		return nil, fmt.Errorf("sign in the token %q: %w", t.o.Token, err)
	}
	return signature, nil
}

// Bytes implements crypto.PrivKey: there are none.
func (t *token) Bytes() []byte { return nil }

// PubKey implements crypto.PrivKey.
func (t *token) PubKey() crypto.PubKey { return t.public }

// Equals implements crypto.PrivKey.
func (t *token) Equals(other crypto.PrivKey) bool { return t.public.Equals(other.PubKey()) }

// Type implements crypto.PrivKey.
func (t *token) Type() string { return ed25519.KeyType }

func (t *token) close() error {
	err := t.c.Finalize()
	t.c.Destroy()
	return err
}

// MakeKey makes the key pair in the token, which cannot leave it. There must be none of its
// label.
func MakeKey(f Folder, p PKCS11) (err error) {
	t, err := loadToken(f, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.login(sessionParameters | pkcs11.CKF_RW_SESSION); err != nil {
		return err
	}
	if _, err := t.object(pkcs11.CKO_PRIVATE_KEY); err == nil {
		return fmt.Errorf("the token %q has a key with the label %q already", p.Token, p.Key)
	}
	common := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(keyTypeEd)),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, p.Key), pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(p.Key)),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
	}
	public := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curveEd25519), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
	}, common...)
	private := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}, common...)
	if _, _, err := t.c.GenerateKeyPair(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanismMakeEd, nil)}, public, private); err != nil {
		return fmt.Errorf("make the key %q in the token %q: %w", p.Key, p.Token, err)
	}
	return nil
}
