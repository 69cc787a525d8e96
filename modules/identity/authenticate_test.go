package identity

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// law 22: who acts is one DID with one key of its own.
func TestEveryKeyTypeSigns(t *testing.T) {
	w := start(t)
	for _, typ := range []keys.Type{keys.Ed25519, keys.P256, keys.MLDSA65} {
		name := did.Member("acme", "unit-"+typ.String())
		k := chaintest.Named(did.URL(name, "k"), typ, name)
		w.do(acme, &identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{
			Did: name, Kind: device, Keys: []*identityv1.NewKey{newKey(t, k, authentication)},
		}})
		w.signed(name, []tx.Signer{k}, harmless())
		w.mayNotAct(chain.ErrBadSignature, name, forged{k})
	}
}

// forged signs for a key with another one of its type.
type forged struct{ chaintest.Key }

func (f forged) Sign(msg []byte) ([]byte, error) {
	return chaintest.Named("", f.Public().Type, "forger").Sign(msg)
}

func TestAuthorsAndSignersMustBeKnown(t *testing.T) {
	w := start(t)
	nobody := did.Member("acme", "nobody")
	w.mayNotAct(ErrUnknownDID, nobody, key(nobody))
	w.mayNotAct(ErrUnknownDID, "did:chancery:nowhere", key(acme))
	w.mayNotAct(ErrUnknownDID, acme, key(acme), key(nobody))
	w.mayNotAct(ErrUnknownKey, acme, keyOfID(acme, "key-2"))
	w.mayNotAct(ErrBadDID, "did:web:acme", key(acme))
	w.mayNotAct(ErrBadDID, acme, chaintest.Named("did:chancery:acme", keys.Ed25519, "x"))
	w.mayNotAct(ErrBadDID, acme, chaintest.Named("acme#key-1", keys.Ed25519, "x"))
}

func TestAnOrganisationActsByItsThreshold(t *testing.T) {
	w := start(t)
	for _, two := range [][]string{{ann, ben}, {ben, cyd}, {cyd, ann}, {ann, ben, cyd}, {ann, dot, ben}} {
		w.mayAct(mercy, signers(two...)...)
	}
	for _, few := range [][]string{{ann}, {cyd}, {ann, dot}, {dot, acme, robot}} {
		w.mayNotAct(ErrNotAuthorised, mercy, signers(few...)...)
	}
	// Two keys of one administrator are one administrator.
	w.do(ann, &identityv1.AddKey{Did: ann, Key: newKey(t, keyOfID(ann, "key-2"), authentication)})
	w.mayNotAct(ErrNotAuthorised, mercy, key(ann), keyOfID(ann, "key-2"))
	// Its own key does not count while it has administrators.
	w.do(mercy, &identityv1.AddKey{Did: mercy, Key: newKey(t, keyOfID(mercy, "own"), authentication)})
	w.mayNotAct(ErrNotAuthorised, mercy, keyOfID(mercy, "own"))
	w.mayNotAct(ErrNotAuthorised, mercy, keyOfID(mercy, "own"), key(ann))
	w.do(mercy, &identityv1.SetAdministrators{Did: mercy})
	w.mayAct(mercy, keyOfID(mercy, "own"))
	w.mayNotAct(ErrNotAuthorised, mercy, signers(ann, ben)...)
}

func TestTheConsortiumActsByOrganisationsEachByItsRule(t *testing.T) {
	w := start(t)
	for _, enough := range [][]string{{acme, robot}, {acme, ann, ben}, {robot, ben, cyd}, {ann, ben, robot, acme}} {
		w.mayAct(did.Consortium, signers(enough...)...)
	}
	for _, few := range [][]string{{acme}, {robot}, {ann, ben, cyd}, {acme, ann}, {robot, cyd, dot}} {
		w.mayNotAct(ErrNotAuthorised, did.Consortium, signers(few...)...)
	}
	// A suspended organisation does not count, and its administrators cannot sign.
	w.do(did.Consortium, suspend(acme))
	w.mayNotAct(ErrSuspended, did.Consortium, signers(acme, robot)...)
	w.mayAct(did.Consortium, signers(ann, ben, robot)...)
	// The consortium cannot suspend itself into silence.
	w.failsSigned(ErrWouldLock, did.Consortium, signers(ann, ben, robot), suspend(quay))
}

func suspend(name string) *identityv1.Suspend {
	return &identityv1.Suspend{Did: name, Reason: identityv1.Reason_REASON_INVESTIGATION}
}

func TestOthersCannotActForAMember(t *testing.T) {
	w := start(t)
	w.mayNotAct(ErrNotAuthorised, dot, key(ann))
	w.mayNotAct(ErrNotAuthorised, dot, signers(ann, ben, cyd)...)
	w.mayNotAct(ErrNotAuthorised, acme, signers(robot, ann, ben)...)
	w.mayAct(dot, signers(dot, ann)...) // with a witness
}

func TestWhoIsCharged(t *testing.T) {
	w := start(t)
	for author, organisation := range map[string]string{dot: mercy, mercy: mercy, acme: acme, robot: quay, did.Consortium: did.Consortium} {
		claim := chain.Claim{Author: author, Messages: []proto.Message{harmless()}}
		for _, s := range by(author) {
			claim.Keys = append(claim.Keys, s.KeyURL())
		}
		a, err := w.m.Authenticate(w.View(), claim)
		if err != nil || a.Organisation != organisation || len(a.Keys) != len(claim.Keys) || len(a.Signers) != len(claim.Keys) {
			t.Errorf("%s: %v, %v", author, a, err)
		}
	}
}

// Whatever the threshold and whoever signs: accepted if and only if at least that
// many distinct administrators, or organisations, did.
func TestThresholdsNeverAcceptFewer(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := Founding{At: chaintest.GenesisTime}
		organisations := rapid.IntRange(1, 4).Draw(r, "organisations")
		f.Threshold = uint32(rapid.IntRange(1, organisations).Draw(r, "threshold"))
		var everybody []string // DIDs that can sign
		two := func(name string) []FoundingKey {
			everybody = append(everybody, name)
			return []FoundingKey{{ID: "key-1", Public: keyOfID(name, "key-1").Public()}, {ID: "key-2", Public: keyOfID(name, "key-2").Public()}}
		}
		for o := range organisations {
			founder := Founder{DID: did.Organisation(fmt.Sprintf("org-%d", o))}
			founder.Keys = two(founder.DID)
			n := rapid.IntRange(0, 4).Draw(r, "administrators")
			if n > 0 {
				founder.Threshold = uint32(rapid.IntRange(1, n).Draw(r, "of"))
			}
			for i := range n + 1 { // and one who is none
				name := did.Member(fmt.Sprintf("org-%d", o), fmt.Sprintf("m%d", i))
				founder.Members = append(founder.Members, FoundingMember{DID: name, Kind: program, Keys: two(name), Administrator: i < n})
			}
			f.Organisations = append(f.Organisations, founder)
		}
		w := startWith(t, f)
		for range 20 {
			signing := rapid.SliceOfNDistinct(rapid.SampledFrom(everybody), 1, -1, rapid.ID[string]).Draw(r, "signers")
			have := map[string]bool{}
			var urls []string
			for _, s := range signing {
				have[s] = true
				urls = append(urls, did.URL(s, "key-1"))
				if rapid.Bool().Draw(r, "both keys") {
					urls = append(urls, did.URL(s, "key-2"))
				}
			}
			satisfied := uint32(0)
			for _, o := range f.Organisations {
				n := uint32(0)
				for _, p := range o.Members {
					if p.Administrator && have[p.DID] {
						n++
					}
				}
				want := n >= o.Threshold
				if o.Threshold == 0 {
					want = have[o.DID]
				}
				expect(r, w, o.DID, urls, want)
				if want {
					satisfied++
				}
			}
			expect(r, w, did.Consortium, urls, satisfied >= f.Threshold)
		}
	})
}

func expect(t *rapid.T, w *world, author string, urls []string, want bool) {
	_, err := w.m.Authenticate(w.View(), chain.Claim{Author: author, Keys: urls, Messages: []proto.Message{harmless()}})
	if want && err != nil {
		t.Fatalf("%s is refused with %v: %v", author, urls, err)
	}
	if !want && (err == nil || !errs.As(err).Is(ErrNotAuthorised)) {
		t.Fatalf("%s with %v: %v", author, urls, err)
	}
}
