package identity

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-varint"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

const (
	x25519Size  = 32
	codecX25519 = 0xec // multicodec x25519-pub
	// possession separates proofs of possession from all other signatures.
	possession = "chancery/identity/possession/v1"
)

// PossessionMessage is what a new key signs to prove that whoever registers it
// holds it: the domain tag, the chain id, the DID, the key's id, its type (four
// bytes, big endian) and its bytes, each with its length as four bytes, big endian,
// before it.
func PossessionMessage(chainID, did, keyID string, public keys.Public) []byte {
	var typ [4]byte
	binary.BigEndian.PutUint32(typ[:], uint32(public.Type))
	var out []byte
	for _, part := range [][]byte{[]byte(possession), []byte(chainID), []byte(did), []byte(keyID), typ[:], public.Bytes} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// Possess makes a NewKey with its proof, valid at once and for ever.
func Possess(chainID, did, keyID string, signer keys.Signer, purposes ...identityv1.Purpose) (*identityv1.NewKey, error) {
	public := signer.Public()
	proof, err := signer.Sign(PossessionMessage(chainID, did, keyID, public))
	if err != nil {
		return nil, fmt.Errorf("prove possession of %s: %w", keyID, err)
	}
	return &identityv1.NewKey{
		Id: keyID, Type: identityv1.KeyType(public.Type), Public: public.Bytes, Purposes: purposes, Proof: proof,
	}, nil
}

// Multikey is the publicKeyMultibase of a key, empty for an unknown type.
func Multikey(t identityv1.KeyType, public []byte) string {
	if t != identityv1.KeyType_KEY_TYPE_X25519 {
		return keys.Public{Type: keys.Type(t), Bytes: public}.Multibase()
	}
	s, err := multibase.Encode(multibase.Base58BTC, append(varint.ToUvarint(codecX25519), public...))
	if err != nil {
		panic("identity: the multibase library no longer knows base58btc: " + err.Error())
	}
	return s
}

// parseMultikey is the inverse of Multikey.
func parseMultikey(s string) (identityv1.KeyType, []byte, error) {
	public, err := keys.ParseMultibase(s)
	if err == nil {
		return identityv1.KeyType(public.Type), public.Bytes, nil
	}
	if len(s) > 2*x25519Size {
		return 0, nil, err
	}
	_, raw, decodeErr := multibase.Decode(s)
	if decodeErr != nil {
		return 0, nil, err
	}
	codec, n, decodeErr := varint.FromUvarint(raw)
	if decodeErr != nil || codec != codecX25519 {
		return 0, nil, err
	}
	if err := checkX25519(raw[n:]); err != nil {
		return 0, nil, err
	}
	return identityv1.KeyType_KEY_TYPE_X25519, raw[n:], nil
}

// checkX25519 refuses wrong lengths and points of low order, which agree on a
// secret that everybody knows (RFC 7748, section 6.1).
func checkX25519(b []byte) error {
	public, err := ecdh.X25519().NewPublicKey(b)
	if err != nil {
		return err
	}
	// Every X25519 scalar is a multiple of the cofactor, so any one tells.
	private, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, x25519Size))
	if err != nil {
		return err
	}
	_, err = private.ECDH(public)
	return err
}

// validateKeys checks the form of the keys of one DID.
func validateKeys(list []*identityv1.NewKey) error {
	if len(list) > MaxKeys {
		return ErrTooMany.With("%d keys, at most %d", len(list), MaxKeys)
	}
	for i, k := range list {
		if err := validateKey(k, false); err != nil {
			return err
		}
		for _, o := range list[:i] {
			if o.Id == k.Id || bytes.Equal(o.Public, k.Public) {
				return ErrTwice.With("key %s", k.Id)
			}
		}
	}
	return nil
}

// validateKey checks the form of a key. A rotated key inherits its purposes.
func validateKey(k *identityv1.NewKey, rotated bool) error {
	if k == nil {
		return ErrBadKey.With("it is missing")
	}
	if !did.IsFragment(k.Id) {
		return ErrBadKey.With("id: 1 to 64 characters of a-z, 0-9 and -")
	}
	if err := validatePublic(k.Type, k.Public); err != nil {
		return ErrBadKey.With("%s: %v", k.Id, err)
	}
	if rotated {
		if len(k.Purposes) != 0 {
			return ErrBadKey.With("%s: purposes: leave them out, the new key takes those of the old one", k.Id)
		}
	} else if err := validatePurposes(k.Type, k.Purposes); err != nil {
		return ErrBadKey.With("%s: %v", k.Id, err)
	}
	if k.ValidFrom < 0 || k.ValidFrom > maxTime || k.ValidUntil < 0 || k.ValidUntil > maxTime || k.ValidUntil != 0 && k.ValidUntil <= k.ValidFrom {
		return ErrBadKey.With("%s: valid_from and valid_until are Unix milliseconds, the second after the first or 0", k.Id)
	}
	want := keys.Type(k.Type).SignatureSize()
	if len(k.Proof) != want {
		return ErrBadProof.With("%s: the proof has %d bytes, want %d", k.Id, len(k.Proof), want)
	}
	return nil
}

func validatePublic(t identityv1.KeyType, public []byte) error {
	switch t {
	case identityv1.KeyType_KEY_TYPE_X25519:
		return checkX25519(public)
	default:
		_, err := keys.NewPublic(keys.Type(t), public)
		return err
	}
}

func validatePurposes(t identityv1.KeyType, purposes []identityv1.Purpose) error {
	if len(purposes) == 0 {
		return errors.New("state at least one purpose")
	}
	for i, p := range purposes {
		if p <= identityv1.Purpose_PURPOSE_UNSPECIFIED || p > identityv1.Purpose_PURPOSE_RECOVERY {
			return fmt.Errorf("purpose %d is unknown", p)
		}
		if slices.Contains(purposes[:i], p) {
			return fmt.Errorf("purpose %s is stated twice", p)
		}
		if (p == identityv1.Purpose_PURPOSE_KEY_AGREEMENT) != (t == identityv1.KeyType_KEY_TYPE_X25519) {
			return errors.New("X25519 is for key agreement alone and key agreement for X25519 alone")
		}
	}
	return nil
}

// canAuthenticateNow tells whether one of the keys, once added, may sign
// transactions at once.
func canAuthenticateNow(list []*identityv1.NewKey, now int64) bool {
	return slices.ContainsFunc(list, func(k *identityv1.NewKey) bool {
		return slices.Contains(k.Purposes, identityv1.Purpose_PURPOSE_AUTHENTICATION) &&
			k.ValidFrom <= now && (k.ValidUntil == 0 || k.ValidUntil > now)
	})
}

// checkNewKey refuses a key that is not proven, that anybody holds already or whose
// id the DID has used.
func (m *Module) checkNewKey(r chain.ReadCtx, of string, k *identityv1.NewKey) error {
	if k.ValidUntil != 0 && k.ValidUntil <= r.Time() {
		return ErrBadTime.With("key %s: valid_until has passed", k.Id)
	}
	if m.s.keys.Has(r, state.Join(of, k.Id)) {
		return ErrKeyIDTaken.With("%s", did.URL(of, k.Id))
	}
	if holder, ok := m.s.holders.Lookup(r, holderKey(k.Type, k.Public)); ok {
		return ErrKeyTaken.With("it is %s", did.URL(holder.Did, holder.Key))
	}
	if k.Type == identityv1.KeyType_KEY_TYPE_ED25519 && m.s.validators.Has(r, k.Public) {
		return ErrKeyTaken.With("it is a validator's consensus key")
	}
	if k.Type == identityv1.KeyType_KEY_TYPE_X25519 {
		return nil
	}
	r.Charge(chain.SignatureCheck, 1)
	public := keys.Public{Type: keys.Type(k.Type), Bytes: k.Public}
	if !public.Verify(PossessionMessage(r.ChainID(), of, k.Id, public), k.Proof) {
		return ErrBadProof.With("%s", did.URL(of, k.Id))
	}
	return nil
}

// putKey stores a new key and who holds it.
func (m *Module) putKey(ctx *chain.Ctx, k *identityv1.Key) {
	m.s.keys.Put(ctx, state.Join(k.Did, k.Id), k)
	m.s.holders.Put(ctx, holderKey(k.Type, k.Public), &identityv1.KeyHolder{Did: k.Did, Key: k.Id})
}

// keyOf is the record of a new key.
func keyOf(of string, k *identityv1.NewKey) *identityv1.Key {
	purposes := slices.Clone(k.Purposes)
	slices.Sort(purposes)
	return &identityv1.Key{
		Did: of, Id: k.Id, Type: k.Type, Public: k.Public, Purposes: purposes,
		ValidFrom: k.ValidFrom, ValidUntil: k.ValidUntil,
	}
}

// addKey stores a key of the version that is being made.
func (m *Module) addKey(ctx *chain.Ctx, id *identityv1.Identity, k *identityv1.Key) {
	k.Pending = false
	k.Added = id.Updated
	m.putKey(ctx, k)
	id.Keys = with(id.Keys, k.Id)
	ctx.Emit(&identityv1.KeyAdded{Did: k.Did, Key: k.Id, Type: k.Type, Purposes: k.Purposes, By: ctx.Author()})
}

// endKey revokes a key in the version that is being made.
func (m *Module) endKey(ctx *chain.Ctx, id *identityv1.Identity, k *identityv1.Key, why identityv1.Reason) {
	k.Revoked = id.Updated
	k.Reason = why
	m.s.keys.Put(ctx, state.Join(k.Did, k.Id), k)
	id.Keys = without(id.Keys, k.Id)
	ctx.Emit(&identityv1.KeyRevoked{Did: k.Did, Key: k.Id, Reason: why, By: ctx.Author()})
}

// current are the keys of a DID that are neither revoked nor, at now, rotated out
// or expired.
func (m *Module) current(r state.Reader, id *identityv1.Identity, now int64) []*identityv1.Key {
	var out []*identityv1.Key
	for _, name := range id.Keys {
		k := m.key(r, id.Did, name)
		if end := ends(k); end == 0 || end > now {
			out = append(out, k)
		}
	}
	return out
}

// key is a key that a record lists.
func (m *Module) key(r state.Reader, of, name string) *identityv1.Key {
	k, ok := m.s.keys.Lookup(r, state.Join(of, name))
	return listed(k, ok, of, name)
}

// peekKey is key for callers that only look.
func (m *Module) peekKey(r state.Reader, of, name string) *identityv1.Key {
	k, ok := m.s.keys.Peek(r, state.Join(of, name))
	return listed(k, ok, of, name)
}

func listed(k *identityv1.Key, ok bool, of, name string) *identityv1.Key {
	if !ok {
		panic(&state.Fault{Where: "identity", Err: fmt.Errorf("%s is listed but not stored", did.URL(of, name))})
	}
	return k
}

// ends is when a key that is not revoked ends, 0 for never.
func ends(k *identityv1.Key) int64 {
	switch {
	case k.RetiresAt == 0:
		return k.ValidUntil
	case k.ValidUntil == 0:
		return k.RetiresAt
	default:
		return min(k.ValidUntil, k.RetiresAt)
	}
}

// usable tells why a key cannot be used at now, or nil.
func usable(k *identityv1.Key, now int64) error {
	switch {
	case k.Revoked != nil:
		return ErrKeyRevoked.With("%s", did.URL(k.Did, k.Id))
	case k.RetiresAt != 0 && k.RetiresAt <= now:
		return ErrKeyRotated.With("%s, by %s", did.URL(k.Did, k.Id), k.ReplacedBy)
	case k.ValidUntil != 0 && k.ValidUntil <= now:
		return ErrKeyExpired.With("%s", did.URL(k.Did, k.Id))
	case k.Pending || k.ValidFrom > now:
		return ErrKeyNotYet.With("%s", did.URL(k.Did, k.Id))
	}
	return nil
}

func authenticates(k *identityv1.Key) bool {
	return slices.Contains(k.Purposes, identityv1.Purpose_PURPOSE_AUTHENTICATION)
}

// remains tells whether the DID could still act at now without the key but: with
// another that authenticates and is not on its way out, or through administrators.
func (m *Module) remains(r state.Reader, id *identityv1.Identity, but string, now int64) bool {
	if len(id.Controllers) > 0 {
		return true
	}
	return slices.ContainsFunc(m.current(r, id, now), func(k *identityv1.Key) bool {
		return k.Id != but && authenticates(k) && k.RetiresAt == 0 && usable(k, now) == nil
	})
}

// with is a sorted list with s in it, once.
func with(list []string, s string) []string {
	i, ok := slices.BinarySearch(list, s)
	if ok {
		return list
	}
	return slices.Insert(list, i, s)
}

// without is a sorted list without s.
func without(list []string, s string) []string {
	i, ok := slices.BinarySearch(list, s)
	if !ok {
		return list
	}
	return slices.Delete(list, i, i+1)
}
