package identity

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func x25519(t testing.TB, seed byte) []byte {
	t.Helper()
	private, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return private.PublicKey().Bytes()
}

func revoke(name, id string) *identityv1.RevokeKey {
	return &identityv1.RevokeKey{Did: name, KeyId: id, Reason: identityv1.Reason_REASON_COMPROMISED}
}

func (w *world) rotation(name, old, next string, overlap int64) *identityv1.RotateKey {
	return &identityv1.RotateKey{Did: name, KeyId: old, NewKey: newKey(w.t, keyOfID(name, next)), OverlapMs: overlap}
}

func TestAddKey(t *testing.T) {
	w := start(t)
	k2 := keyOfID(acme, "key-2")
	r := w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, k2, assertion, authentication)})
	if got := chaintest.Events[identityv1.KeyAdded](t, r); len(got) != 1 || got[0].Key != "key-2" || got[0].By != acme {
		t.Errorf("events: %v", got)
	}
	w.mayAct(acme, k2)
	k := w.keyRecord(acme, "key-2")
	if k.Added == nil || k.Added.Version != 2 || k.Added.Height != w.Height() || k.Added.At != w.Now || !bytes.Equal(k.Added.TxId, r.TxId) {
		t.Errorf("added: %v", k.Added)
	}
	if k.Purposes[0] != authentication {
		t.Error("purposes are not ascending")
	}
	w.fails(ErrKeyIDTaken, acme, &identityv1.AddKey{Did: acme, Key: newKey(t, chaintest.Named(did.URL(acme, "key-2"), keys.P256, "other"), authentication)})
	w.fails(ErrNotAllowed, dot, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "key-3"), authentication)})
	w.fails(ErrNotAllowed, ann, &identityv1.AddKey{Did: mercy, Key: newKey(t, keyOfID(mercy, "key-3"), authentication)})
	w.fails(ErrUnknownDID, acme, &identityv1.AddKey{Did: hold, Key: newKey(t, keyOfID(hold, "key-3"), authentication)})
	w.fails(ErrBadKind, did.Consortium, &identityv1.AddKey{Did: did.Consortium, Key: newKey(t, keyOfID(did.Consortium, "k"), authentication)})
	w.fails(ErrBadKey, acme, &identityv1.AddKey{Did: acme})
	// A key for assertions cannot sign transactions.
	w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "key-3"), assertion, capabilityInvocation)})
	w.mayNotAct(ErrKeyPurpose, acme, keyOfID(acme, "key-3"))
	// Nor one for recovery.
	w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "key-4"), recoveryPurpose)})
	w.mayNotAct(ErrKeyPurpose, acme, keyOfID(acme, "key-4"))
	// A later key waits.
	later := newKey(t, keyOfID(acme, "key-5"), authentication)
	later.ValidFrom, later.ValidUntil = w.Now+10*chaintest.BlockTime, w.Now+20*chaintest.BlockTime
	w.do(acme, &identityv1.AddKey{Did: acme, Key: later})
	w.mayNotAct(ErrKeyNotYet, acme, keyOfID(acme, "key-5"))
	w.Now = later.ValidFrom - chaintest.BlockTime
	w.Block()
	w.mayAct(acme, keyOfID(acme, "key-5"))
	w.Now = later.ValidUntil - chaintest.BlockTime
	w.Block()
	w.mayNotAct(ErrKeyExpired, acme, keyOfID(acme, "key-5"))
	w.CheckGenesis()
}

func TestX25519KeysAgreeAndDoNotSign(t *testing.T) {
	w := start(t)
	k := &identityv1.NewKey{Id: "box", Type: identityv1.KeyType_KEY_TYPE_X25519, Public: x25519(t, 7), Purposes: []identityv1.Purpose{keyAgreement}}
	w.do(acme, &identityv1.AddKey{Did: acme, Key: k})
	w.mayNotAct(ErrKeyPurpose, acme, chaintest.Named(did.URL(acme, "box"), keys.Ed25519, "x"))
	for name, bad := range map[string]*identityv1.NewKey{
		"low order": {Id: "b", Type: k.Type, Public: make([]byte, 32), Purposes: k.Purposes},
		"short":     {Id: "b", Type: k.Type, Public: k.Public[1:], Purposes: k.Purposes},
		"to sign":   {Id: "b", Type: k.Type, Public: x25519(t, 8), Purposes: []identityv1.Purpose{authentication}},
		"both":      {Id: "b", Type: k.Type, Public: x25519(t, 8), Purposes: []identityv1.Purpose{keyAgreement, assertion}},
		"no type":   {Id: "b", Public: x25519(t, 8), Purposes: k.Purposes},
		"type 4":    {Id: "b", Type: 4, Public: x25519(t, 8), Purposes: k.Purposes},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.fails(ErrBadKey, acme, &identityv1.AddKey{Did: acme, Key: bad}) })
	}
	w.fails(ErrBadProof, acme, &identityv1.AddKey{Did: acme, Key: &identityv1.NewKey{Id: "b", Type: k.Type, Public: x25519(t, 8), Purposes: k.Purposes, Proof: []byte{1}}})
	w.fails(ErrKeyTaken, quay, &identityv1.AddKey{Did: quay, Key: &identityv1.NewKey{Id: "b", Type: k.Type, Public: k.Public, Purposes: k.Purposes}})
	// It rotates into its like alone.
	w.fails(ErrBadKey, acme, w.rotation(acme, "box", "sign", 0))
	w.do(acme, &identityv1.RotateKey{Did: acme, KeyId: "box", NewKey: &identityv1.NewKey{Id: "box-2", Type: k.Type, Public: x25519(t, 9)}})
	if got := w.keyRecord(acme, "box-2").Purposes; len(got) != 1 || got[0] != keyAgreement {
		t.Errorf("purposes %v", got)
	}
}

func TestRotateKeyWithOverlap(t *testing.T) {
	w := start(t)
	overlap := 5 * chaintest.BlockTime
	r := w.do(acme, w.rotation(acme, "key-1", "key-2", overlap))
	end := chaintest.Response[identityv1.RotateKeyResponse](t, r).RetiresAt
	if end != w.Now+overlap {
		t.Errorf("retires at %d, now is %d", end, w.Now)
	}
	w.mayAct(acme, keyOfID(acme, "key-1"))
	w.mayAct(acme, keyOfID(acme, "key-2"))
	w.failsSigned(ErrKeyRotated, acme, signers(acme), w.rotation(acme, "key-1", "key-3", 0))
	w.Now = end - chaintest.BlockTime - 1
	w.Block()
	w.mayAct(acme, keyOfID(acme, "key-1"))
	w.Now -= chaintest.BlockTime - 1
	w.Block()
	if w.Now != end {
		t.Fatalf("now %d, end %d", w.Now, end)
	}
	w.mayNotAct(ErrKeyRotated, acme, keyOfID(acme, "key-1"))
	w.mayAct(acme, keyOfID(acme, "key-2"))
	old := w.keyRecord(acme, "key-1")
	if old.ReplacedBy != "key-2" || old.Rotated == nil || !bytes.Equal(old.Rotated.TxId, r.TxId) || old.RetiresAt != end || old.Revoked != nil {
		t.Errorf("history: %v", old)
	}
	// What was rotated out never comes back.
	two := []chaintest.Key{keyOfID(acme, "key-2")}
	w.signed(acme, asSigners(two), &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "spare"), authentication)})
	w.mayNotAct(ErrKeyRotated, acme, keyOfID(acme, "key-1"))
	w.CheckGenesis()
}

func asSigners(list []chaintest.Key) (out []tx.Signer) {
	for _, k := range list {
		out = append(out, k)
	}
	return out
}

func TestRotateKeyAtOnce(t *testing.T) {
	w := start(t)
	for _, typ := range []keys.Type{keys.P256, keys.MLDSA65} {
		name := did.Member("acme", "unit-"+typ.String())
		keyFor[name] = typ
		w.do(acme, &identityv1.RegisterIdentity{Identity: member(t, name, device)})
		w.do(name, w.rotation(name, "key-1", "key-2", 0))
		w.mayNotAct(ErrKeyRotated, name, keyOfID(name, "key-1"))
		w.mayAct(name, keyOfID(name, "key-2"))
	}
}

func TestRotateKeyRefuses(t *testing.T) {
	w := start(t)
	w.fails(ErrUnknownKey, acme, w.rotation(acme, "key-9", "key-2", 0))
	w.fails(ErrKeyIDTaken, acme, w.rotation(acme, "key-1", "key-1", 0))
	w.fails(ErrBadTime, acme, w.rotation(acme, "key-1", "key-2", MaxOverlap+1))
	w.fails(ErrBadTime, acme, w.rotation(acme, "key-1", "key-2", -1))
	w.fails(ErrBadKey, acme, w.rotation(acme, "", "key-2", 0))
	w.fails(ErrNotAllowed, quay, w.rotation(acme, "key-1", "key-2", 0))
	w.fails(ErrNotSuspendedYet, mercy, w.rotation(ann, "key-1", "key-2", 0))
	withPurposes := w.rotation(acme, "key-1", "key-2", 0)
	withPurposes.NewKey.Purposes = []identityv1.Purpose{recoveryPurpose}
	w.fails(ErrBadKey, acme, withPurposes)
	unproven := w.rotation(acme, "key-1", "key-2", 0)
	unproven.NewKey.Proof = newKey(t, keyOfID(acme, "key-3")).Proof
	w.fails(ErrBadProof, acme, unproven)
	gap := w.rotation(acme, "key-1", "key-2", 0)
	gap.NewKey.ValidFrom = w.Now + 1e6
	w.fails(ErrBadTime, acme, gap)
	short := w.rotation(acme, "key-1", "key-2", 1e6)
	short.NewKey.ValidUntil = w.Now + 1e5
	w.fails(ErrBadTime, acme, short)
}

func TestRevokeKeyActsAtOnce(t *testing.T) {
	w := start(t)
	w.fails(ErrLastKey, acme, revoke(acme, "key-1"))
	w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "key-2"), authentication)})
	// In the very block: a transaction that follows with the key is refused.
	d, err := w.App().Decode(w.Tx(acme, msgs(revoke(acme, "key-1")), keyOfID(acme, "key-2")))
	if err != nil {
		t.Fatal(err)
	}
	x := w.App().Next()
	if r, err := x.Deliver(d); err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}
	after, err := w.App().Decode(w.Tx(acme, msgs(harmless()), keyOfID(acme, "key-1")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Deliver(after); err == nil || !errs.As(err).Is(ErrKeyRevoked) {
		t.Errorf("the revoked key signs in the same block: %v", err)
	}
	r := w.do(acme, revoke(acme, "key-1")) // by itself
	w.mayNotAct(ErrKeyRevoked, acme, keyOfID(acme, "key-1"))
	if k := w.keyRecord(acme, "key-1"); k.Revoked == nil || !bytes.Equal(k.Revoked.TxId, r.TxId) || k.Reason != identityv1.Reason_REASON_COMPROMISED {
		t.Errorf("history: %v", k)
	}
	two := asSigners([]chaintest.Key{keyOfID(acme, "key-2")})
	w.failsSigned(ErrKeyRevoked, acme, two, revoke(acme, "key-1"))
	w.failsSigned(ErrLastKey, acme, two, revoke(acme, "key-2"))
	w.failsSigned(ErrUnknownKey, acme, two, revoke(acme, "key-3"))
	w.failsSigned(ErrBadReason, acme, two, &identityv1.RevokeKey{Did: acme, KeyId: "key-2"})
	w.failsSigned(ErrBadReason, acme, two, &identityv1.RevokeKey{Did: acme, KeyId: "key-2", Reason: identityv1.Reason_REASON_RECOVERED})
	w.failsSigned(ErrBadReason, acme, two, &identityv1.RevokeKey{Did: acme, KeyId: "key-2", Reason: 77})
	w.CheckGenesis()
}

// Neither an expiring overlap, nor a key without the purpose, nor one that is not
// valid yet counts as what remains.
func TestTheLastKeyStays(t *testing.T) {
	w := start(t)
	w.do(acme, w.rotation(acme, "key-1", "key-2", MaxOverlap))
	w.failsSigned(ErrLastKey, acme, asSigners([]chaintest.Key{keyOfID(acme, "key-2")}), revoke(acme, "key-2"))
	w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "key-3"), assertion)})
	later := newKey(t, keyOfID(acme, "key-4"), authentication)
	later.ValidFrom = w.Now + 1e6
	w.do(acme, &identityv1.AddKey{Did: acme, Key: later})
	w.fails(ErrLastKey, acme, revoke(acme, "key-2"))
	w.do(acme, revoke(acme, "key-1")) // the old one may go
	two := asSigners([]chaintest.Key{keyOfID(acme, "key-2")})
	w.signed(acme, two, revoke(acme, "key-3"))
	// An organisation with administrators needs no key of its own.
	w.do(mercy, &identityv1.AddKey{Did: mercy, Key: newKey(t, keyOfID(mercy, "own"), authentication)})
	w.do(mercy, revoke(mercy, "own"))
	w.fails(ErrLastKey, mercy, &identityv1.SetAdministrators{Did: mercy})
}

func TestKeysAreBounded(t *testing.T) {
	w := start(t)
	for i := range MaxKeys - 1 {
		w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, fmt.Sprintf("more-%d", i)), authentication)})
	}
	w.fails(ErrTooMany, acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "one-more"), authentication)})
	w.fails(ErrTooMany, acme, w.rotation(acme, "more-0", "next", 1))
	w.do(acme, w.rotation(acme, "more-0", "next", 0))
	w.do(acme, revoke(acme, "next"))
	w.do(acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "one-more"), authentication)})
	if n := len(w.identity(acme).Keys); n != MaxKeys {
		t.Errorf("%d keys are listed", n)
	}
	r, err := w.query().Keys(context.Background(), &identityv1.KeysRequest{Did: acme})
	if err != nil || len(r.Keys) != MaxKeys+2 {
		t.Errorf("%d keys in the history: %v", len(r.GetKeys()), err)
	}
}

// modelKey is what a test expects of a key.
type modelKey struct {
	id                  string
	from, until, retire int64
	revoked             bool
	authenticates       bool
}

func (k *modelKey) refusal(now int64) *errs.Error {
	switch {
	case k.revoked:
		return ErrKeyRevoked
	case k.retire != 0 && k.retire <= now:
		return ErrKeyRotated
	case k.until != 0 && k.until <= now:
		return ErrKeyExpired
	case k.from > now:
		return ErrKeyNotYet
	case !k.authenticates:
		return ErrKeyPurpose
	}
	return nil
}

// Whatever is added, rotated and revoked, by whom and when: a key signs exactly while
// it is valid, and one that was rotated out or revoked never again.
func TestNoSequenceRevivesAKey(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := start(t)
		model := []*modelKey{{id: "key-1", authenticates: true}}
		for step := range rapid.IntRange(1, 14).Draw(r, "steps") {
			now := w.Now + chaintest.BlockTime // of the next block
			by := asSigners(nil)
			for _, k := range model {
				if k.refusal(now) == nil && (len(by) == 0 || rapid.Bool().Draw(r, "signs")) {
					by = asSigners([]chaintest.Key{keyOfID(acme, k.id)})
				}
			}
			if len(by) == 0 {
				return // every key has expired
			}
			target := rapid.SampledFrom(model).Draw(r, "key")
			next := &modelKey{id: fmt.Sprintf("k-%d", step), authenticates: true}
			if rapid.Bool().Draw(r, "limited") {
				next.from = now + rapid.Int64Range(-2, 3).Draw(r, "from")*chaintest.BlockTime
				next.until = next.from + rapid.Int64Range(1, 8).Draw(r, "for")*chaintest.BlockTime
			}
			n := newKey(t, keyOfID(acme, next.id))
			n.ValidFrom, n.ValidUntil = next.from, next.until
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				next.authenticates = rapid.Bool().Draw(r, "authenticates")
				n.Purposes = []identityv1.Purpose{assertion}
				if next.authenticates {
					n.Purposes = append(n.Purposes, authentication)
				}
				if w.Block(w.Tx(acme, msgs(&identityv1.AddKey{Did: acme, Key: n}), by...))[0].Code == 0 {
					model = append(model, next)
				}
			case 1:
				overlap := rapid.Int64Range(0, 4).Draw(r, "overlap") * chaintest.BlockTime
				next.authenticates = target.authenticates
				msg := &identityv1.RotateKey{Did: acme, KeyId: target.id, NewKey: n, OverlapMs: overlap}
				if w.Block(w.Tx(acme, msgs(msg), by...))[0].Code == 0 {
					if target.revoked || target.retire != 0 {
						r.Fatalf("%s rotates again", target.id)
					}
					target.retire = now + overlap
					model = append(model, next)
				}
			case 2:
				if w.Block(w.Tx(acme, msgs(revoke(acme, target.id)), by...))[0].Code == 0 {
					target.revoked = true
				}
			case 3:
				w.Now += rapid.Int64Range(0, 3).Draw(r, "blocks") * chaintest.BlockTime
				w.Block()
			}
			for _, k := range model {
				err := w.act(acme, keyOfID(acme, k.id))
				want := k.refusal(w.Now)
				if want == nil && err != nil || want != nil && (err == nil || !errs.As(err).Is(want)) {
					r.Fatalf("%+v at %d: %v, want %v", k, w.Now, err, want)
				}
			}
		}
	})
}

func TestPossessionMessageSeparatesItsParts(t *testing.T) {
	k := chaintest.Named("", keys.Ed25519, "a").Public()
	seen := map[string]bool{}
	for _, m := range [][]byte{
		PossessionMessage("c", "d", "k", k), PossessionMessage("cd", "", "k", k), PossessionMessage("", "cd", "k", k),
		PossessionMessage("c", "dk", "", k), PossessionMessage("c", "d", "k", keys.Public{Type: keys.P256, Bytes: k.Bytes}),
	} {
		if seen[string(m)] {
			t.Error("two messages are the same")
		}
		seen[string(m)] = true
	}
}
