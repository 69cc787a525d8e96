package identity

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func rule(delay int64, threshold uint32, guardians ...string) *identityv1.SetRecovery {
	return &identityv1.SetRecovery{Rule: &identityv1.RecoveryRule{Guardians: guardians, Threshold: threshold, DelayMs: delay}}
}

func (w *world) recovery(name string, ids ...string) *identityv1.RequestRecovery {
	msg := &identityv1.RequestRecovery{}
	for _, id := range ids {
		msg.Keys = append(msg.Keys, newKey(w.t, keyOfID(name, id), authentication))
	}
	return msg
}

func (w *world) pending(name string) *identityv1.Recovery {
	w.t.Helper()
	r, err := w.query().Recovery(context.Background(), &identityv1.RecoveryRequest{Did: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Recovery
}

func TestRecoveryAtOnceByDistinctGuardians(t *testing.T) {
	w := start(t)
	w.failsSigned(ErrNoRecoveryRule, dot, signers(ann, ben), w.recovery(dot, "new"))
	w.do(dot, rule(0, 2, ben, ann, robot))
	if got := w.identity(dot).Recovery.Guardians; !slices.IsSorted(got) {
		t.Errorf("guardians %v", got)
	}
	w.do(dot, &identityv1.AddKey{Did: dot, Key: newKey(t, keyOfID(dot, "second"), assertion)})
	w.do(ann, &identityv1.AddKey{Did: ann, Key: newKey(t, keyOfID(ann, "key-2"), authentication)})
	for _, few := range [][]string{{ann}, {ann, cyd}, {dot}, {dot, ann}, {acme, robot}} {
		w.failsSigned(ErrNotAuthorised, dot, signers(few...), w.recovery(dot, "new"))
	}
	two := append(signers(ann), keyOfID(ann, "key-2")) // two keys of one guardian
	w.failsSigned(ErrNotAuthorised, dot, two, w.recovery(dot, "new"))
	w.failsSigned(ErrMixedRecovery, dot, signers(ann, ben), w.recovery(dot, "new"), &identityv1.CancelRecovery{})
	w.failsSigned(ErrMixedRecovery, dot, signers(ann, ben), harmless(), w.recovery(dot, "new"))
	r := w.signed(dot, signers(ann, robot), w.recovery(dot, "new", "spare"))
	got := chaintest.Events[identityv1.RecoveryRequested](t, r)
	if len(got) != 1 || !slices.Equal(got[0].Guardians, []string{ann, robot}) || len(chaintest.Events[identityv1.Recovered](t, r)) != 1 {
		t.Errorf("events: %v", got)
	}
	w.mayNotAct(ErrKeyRevoked, dot, key(dot))
	w.mayAct(dot, keyOfID(dot, "new"))
	w.mayAct(dot, keyOfID(dot, "spare"))
	if id := w.identity(dot); !slices.Equal(id.Keys, []string{"new", "spare"}) {
		t.Errorf("keys %v", id.Keys)
	}
	if k := w.keyRecord(dot, "second"); k.Reason != identityv1.Reason_REASON_RECOVERED {
		t.Errorf("the old key: %v", k)
	}
	w.CheckGenesis()
}

func TestRecoveryWaitsAndTheOwnerMayCancel(t *testing.T) {
	w := start(t)
	delay := 10 * chaintest.BlockTime
	w.do(dot, rule(delay, 1, ann, ben))
	r := w.signed(dot, signers(ann), w.recovery(dot, "new"))
	due := chaintest.Response[identityv1.RequestRecoveryResponse](t, r).DueAt
	if p := w.pending(dot); p == nil || p.DueAt != due || due != w.Now+delay {
		t.Fatalf("pending %v, now %d", p, w.Now)
	}
	w.mayAct(dot, key(dot))
	w.mayNotAct(ErrKeyNotYet, dot, keyOfID(dot, "new"))
	w.failsSigned(ErrRecoveryPending, dot, signers(ben), w.recovery(dot, "other"))
	w.fails(ErrRecoveryPending, dot, rule(0, 1, ann))
	w.fails(ErrUnknownKey, dot, w.rotation(dot, "new", "next", 0))
	w.fails(ErrUnknownKey, dot, revoke(dot, "new"))
	w.fails(ErrKeyIDTaken, dot, &identityv1.AddKey{Did: dot, Key: newKey(t, keyOfID(dot, "new"), authentication)})
	w.failsSigned(ErrNotAuthorised, dot, signers(ann, ben), &identityv1.CancelRecovery{})
	w.CheckGenesis()
	w.do(dot, &identityv1.CancelRecovery{})
	if p := w.pending(dot); p != nil {
		t.Errorf("pending %v", p)
	}
	w.fails(ErrNoRecovery, dot, &identityv1.CancelRecovery{})
	w.mayNotAct(ErrUnknownKey, dot, keyOfID(dot, "new"))
	w.Now = due
	w.Block()
	w.mayAct(dot, key(dot))
	// The cancelled key is free again.
	w.signed(dot, signers(ben), w.recovery(dot, "new"))
	w.Now = w.pending(dot).DueAt - chaintest.BlockTime - 1
	w.Block()
	w.mayAct(dot, key(dot))
	w.Now -= chaintest.BlockTime - 1
	w.Block()
	w.mayNotAct(ErrKeyRevoked, dot, key(dot))
	w.mayAct(dot, keyOfID(dot, "new"))
	if k := w.keyRecord(dot, "new"); k.Added == nil || len(k.Added.TxId) != 32 || k.Added.At != w.Now {
		t.Errorf("added: %v", k.Added)
	}
	if p := w.pending(dot); p != nil {
		t.Errorf("pending %v", p)
	}
	w.CheckGenesis()
}

func TestASuspendedDIDIsRecoveredButCannotCancel(t *testing.T) {
	w := start(t)
	w.do(dot, rule(5*chaintest.BlockTime, 1, ann))
	w.do(mercy, suspend(dot))
	w.signed(dot, signers(ann), w.recovery(dot, "new"))
	w.fails(ErrSuspended, dot, &identityv1.CancelRecovery{})
	w.Now += 5 * chaintest.BlockTime
	w.Block()
	w.mayNotAct(ErrSuspended, dot, keyOfID(dot, "new"))
	w.do(mercy, &identityv1.Reinstate{Did: dot})
	w.mayAct(dot, keyOfID(dot, "new"))
	w.mayNotAct(ErrKeyRevoked, dot, key(dot))
}

func TestOrganisationsAsGuardiansActByTheirRule(t *testing.T) {
	w := start(t)
	w.do(acme, rule(0, 2, mercy, quay))
	w.failsSigned(ErrNotAuthorised, acme, signers(ann, robot), w.recovery(acme, "new"))
	w.failsSigned(ErrNotAuthorised, acme, signers(ann, ben, cyd), w.recovery(acme, "new"))
	w.signed(acme, signers(ann, ben, robot), w.recovery(acme, "new"))
	w.mayAct(acme, keyOfID(acme, "new"))
	// An organisation loses its administrators.
	w.do(mercy, rule(0, 1, acme))
	w.signed(mercy, asSigners([]chaintest.Key{keyOfID(acme, "new")}), w.recovery(mercy, "own"))
	w.mayAct(mercy, keyOfID(mercy, "own"))
	w.mayNotAct(ErrNotAuthorised, mercy, signers(ann, ben, cyd)...)
	w.CheckGenesis()
}

func TestGuardiansMaySignWithRecoveryKeys(t *testing.T) {
	w := start(t)
	w.do(ann, &identityv1.AddKey{Did: ann, Key: newKey(t, keyOfID(ann, "vault"), recoveryPurpose)})
	w.do(dot, rule(0, 1, ann))
	vault := asSigners([]chaintest.Key{keyOfID(ann, "vault")})
	w.mayNotAct(ErrKeyPurpose, ann, vault...)
	w.signed(dot, vault, w.recovery(dot, "new"))
	w.mayAct(dot, keyOfID(dot, "new"))
}

func TestAGuardianMustBeActive(t *testing.T) {
	w := start(t)
	w.do(dot, rule(0, 1, robot, ann))
	w.do(did.Consortium, suspend(quay))
	w.failsSigned(ErrSuspended, dot, signers(robot), w.recovery(dot, "new"))
	w.signed(dot, signers(ann), w.recovery(dot, "new"))
}

func TestSetRecoveryRefuses(t *testing.T) {
	w := start(t)
	for name, c := range map[string]struct {
		want *errs.Error
		msg  *identityv1.SetRecovery
	}{
		"nobody":         {ErrBadRule, rule(0, 0)},
		"itself":         {ErrBadRule, rule(0, 1, dot)},
		"mixed":          {ErrBadRule, rule(0, 1, ann, acme)}, // ann might count twice
		"consortium":     {ErrBadRule, rule(0, 1, did.Consortium)},
		"unknown":        {ErrUnknownDID, rule(0, 1, personOf("acme", "u"))},
		"no threshold":   {ErrBadThreshold, rule(0, 0, ann)},
		"high threshold": {ErrBadThreshold, rule(0, 3, ann, ben)},
		"twice":          {ErrTwice, rule(0, 2, ann, ann)},
		"no DID":         {ErrBadDID, rule(0, 1, "ann")},
		"delay":          {ErrBadRule, rule(MaxDelay+1, 1, ann)},
		"negative":       {ErrBadRule, rule(-1, 1, ann)},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.fails(c.want, dot, c.msg) })
	}
	w.fails(ErrBadKind, did.Consortium, rule(0, 1, acme))
	w.do(dot, rule(0, 1, ann))
	w.do(dot, &identityv1.SetRecovery{})
	w.failsSigned(ErrNoRecoveryRule, dot, signers(ann), w.recovery(dot, "new"))
}

func TestRequestRecoveryRefuses(t *testing.T) {
	w := start(t)
	delay := 100 * chaintest.BlockTime
	w.do(dot, rule(delay, 1, ann))
	asserts := w.recovery(dot, "new")
	asserts.Keys[0].Purposes[0] = assertion
	short := w.recovery(dot, "new")
	short.Keys[0].ValidUntil = w.Now + delay
	unproven := w.recovery(dot, "new")
	unproven.Keys[0].Proof[0] ^= 1
	for name, c := range map[string]struct {
		want *errs.Error
		msg  *identityv1.RequestRecovery
	}{
		"no key":     {ErrLastKey, w.recovery(dot)},
		"no purpose": {ErrLastKey, asserts},
		"short":      {ErrLastKey, short},
		"unproven":   {ErrBadProof, unproven},
		"old id":     {ErrKeyIDTaken, w.recovery(dot, "key-1")},
		"twice":      {ErrTwice, w.recovery(dot, "new", "new")},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.failsSigned(c.want, dot, signers(ann), c.msg) })
	}
	w.failsSigned(ErrNoRecoveryRule, did.Consortium, signers(acme, robot), w.recovery(did.Consortium, "new"))
}

func TestDeactivationDropsAPendingRecovery(t *testing.T) {
	w := start(t)
	w.do(dot, rule(1000, 1, ann))
	w.signed(dot, signers(ann), w.recovery(dot, "new"))
	w.do(mercy, &identityv1.Deactivate{Did: dot, Reason: identityv1.Reason_REASON_CEASED})
	w.failsSigned(ErrDeactivated, dot, signers(ann), w.recovery(dot, "other"))
	w.Now += 10_000
	w.Block()
	w.mayNotAct(ErrDeactivated, dot, keyOfID(dot, "new"))
	if w.m.s.keys.Has(w.View(), state.Join(dot, "new")) || w.pending(dot) != nil {
		t.Error("the pending key is still there")
	}
	w.CheckGenesis()
}

// A block takes at most maxRecoveriesPerBlock recoveries and leaves the others, in
// order, to the next.
func TestRecoveriesPerBlockAreBounded(t *testing.T) {
	f := consortium()
	n := maxRecoveriesPerBlock + 5
	for i := range n {
		name := did.Member("mercy", fmt.Sprintf("d%03d", i))
		f.Organisations[0].Members = append(f.Organisations[0].Members, FoundingMember{
			DID: name, Kind: device, Keys: []FoundingKey{{ID: "key-1", Public: key(name).Public()}},
		})
	}
	w := startWith(t, f)
	var raws [][]byte
	for i := range n {
		raws = append(raws, w.Tx(did.Member("mercy", fmt.Sprintf("d%03d", i)), msgs(rule(1, 1, ann)), key(did.Member("mercy", fmt.Sprintf("d%03d", i)))))
	}
	for _, r := range w.Block(raws...) {
		if r.Code != 0 {
			t.Fatal(r.Log)
		}
	}
	raws = nil
	for i := range n {
		name := did.Member("mercy", fmt.Sprintf("d%03d", i))
		raws = append(raws, w.Tx(name, []proto.Message{w.recovery(name, "new")}, key(ann)))
	}
	for _, r := range w.Block(raws...) {
		if r.Code != 0 {
			t.Fatal(r.Log)
		}
	}
	left := func() int {
		n := 0
		for range w.m.s.recoveries.Walk(w.View(), all) {
			n++
		}
		return n
	}
	for _, want := range []int{n, 5, 0} {
		if got := left(); got != want {
			t.Fatalf("%d are pending, want %d", got, want)
		}
		w.Block()
	}
}
