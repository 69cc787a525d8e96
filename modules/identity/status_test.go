package identity

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func deactivate(name string) *identityv1.Deactivate {
	return &identityv1.Deactivate{Did: name, Reason: identityv1.Reason_REASON_CEASED}
}

func TestSuspendAndReinstateAMember(t *testing.T) {
	w := start(t)
	w.fails(ErrNotAllowed, acme, suspend(dot))
	w.fails(ErrNotAllowed, ann, suspend(dot))
	w.fails(ErrNotAllowed, did.Consortium, suspend(dot))
	w.fails(ErrStatus, mercy, &identityv1.Reinstate{Did: dot})
	w.fails(ErrBadReason, mercy, &identityv1.Suspend{Did: dot})
	w.fails(ErrBadKind, did.Consortium, suspend(did.Consortium))
	w.fails(ErrUnknownDID, mercy, suspend(personOf("mercy", "u")))
	r := w.do(mercy, suspend(dot))
	if got := chaintest.Events[identityv1.Suspended](t, r); len(got) != 1 || got[0].By != mercy {
		t.Errorf("events: %v", got)
	}
	if id := w.identity(dot); id.Status != identityv1.Status_STATUS_SUSPENDED || id.Reason != identityv1.Reason_REASON_INVESTIGATION {
		t.Errorf("record: %v", id)
	}
	if w.m.Active(w.View(), dot) {
		t.Error("it is active")
	}
	w.mayNotAct(ErrSuspended, dot, key(dot))
	w.fails(ErrStatus, mercy, suspend(dot))
	// It cannot reinstate itself.
	w.fails(ErrSuspended, dot, &identityv1.Reinstate{Did: dot})
	// Its organisation may replace its keys while it is suspended, and not before or after.
	w.do(mercy, w.rotation(dot, "key-1", "key-2", 0))
	w.do(mercy, &identityv1.AddKey{Did: dot, Key: newKey(t, keyOfID(dot, "key-3"), authentication)}, revoke(dot, "key-2"))
	w.do(mercy, &identityv1.Reinstate{Did: dot})
	w.mayAct(dot, keyOfID(dot, "key-3"))
	w.mayNotAct(ErrKeyRotated, dot, key(dot))
	w.fails(ErrNotSuspendedYet, mercy, w.rotation(dot, "key-3", "key-4", 0))
	if id := w.identity(dot); id.Reason != 0 || id.Version != 6 {
		t.Errorf("record: %v", id)
	}
	// One may suspend oneself in an emergency.
	w.signed(dot, asSigners([]chaintest.Key{keyOfID(dot, "key-3")}), suspend(dot))
	w.mayNotAct(ErrSuspended, dot, keyOfID(dot, "key-3"))
	w.CheckGenesis()
}

func TestASuspendedOrganisationStopsWithAllThatBelongsToIt(t *testing.T) {
	w := start(t)
	w.do(did.Consortium, suspend(mercy))
	w.mayNotAct(ErrSuspended, mercy, signers(ann, ben)...)
	w.mayNotAct(ErrSuspended, dot, key(dot))
	r := w.View()
	if w.m.Active(r, mercy) || w.m.Active(r, dot) || w.m.IsAdministrator(r, mercy, ann) || w.m.NodeAllowed(r, nodeID('1')) || !w.m.NodeAllowed(r, nodeID('2')) {
		t.Error("something of it is still active")
	}
	// The consortium may give it other administrators meanwhile.
	w.do(did.Consortium, &identityv1.SetAdministrators{Did: mercy, Administrators: []string{cyd}, Threshold: 1}, &identityv1.Reinstate{Did: mercy})
	w.mayAct(mercy, key(cyd))
	w.fails(ErrNotSuspendedYet, did.Consortium, &identityv1.SetAdministrators{Did: mercy, Administrators: []string{ann}, Threshold: 1})
}

func TestNobodyLocksAnOrganisation(t *testing.T) {
	w := start(t)
	w.do(mercy, suspend(cyd)) // two remain, two are needed
	w.fails(ErrWouldLock, mercy, suspend(ann))
	w.fails(ErrWouldLock, ben, suspend(ben))
	w.fails(ErrStillController, mercy, deactivate(cyd))
	w.fails(ErrStillController, ann, deactivate(ann))
	w.do(mercy, &identityv1.SetAdministrators{Did: mercy, Administrators: []string{ben, ann}, Threshold: 1})
	w.do(mercyBy(w, ann), suspend(ben))
	w.fails(ErrStillController, did.Consortium, deactivate(acme))
}

// mercyBy lets one administrator act for mercy from then on, whose threshold is 1.
func mercyBy(w *world, name string) string {
	w.mayAct(mercy, key(name))
	return mercy
}

func TestDeactivateIsFinal(t *testing.T) {
	w := start(t)
	w.do(mercy, &identityv1.CreateGroup{Name: "ward"}, &identityv1.ChangeGroupMembers{Name: "ward", Add: []string{dot, ann}})
	w.fails(ErrNotAllowed, acme, deactivate(dot))
	r := w.do(mercy, deactivate(dot))
	if got := chaintest.Events[identityv1.Deactivated](t, r); len(got) != 1 || got[0].Did != dot {
		t.Errorf("events: %v", got)
	}
	w.mayNotAct(ErrDeactivated, dot, key(dot))
	v := w.View()
	if w.m.Active(v, dot) || len(w.m.Roles(v, dot)) != 0 || len(w.m.Groups(v, dot)) != 0 {
		t.Error("something of it is left")
	}
	if g, _ := w.m.s.groups.Lookup(v, groupKey("mercy/ward")); g.Members != 1 {
		t.Errorf("group: %v", g)
	}
	for _, msg := range []proto.Message{
		&identityv1.Reinstate{Did: dot}, suspend(dot), deactivate(dot), w.rotation(dot, "key-1", "key-2", 0), revoke(dot, "key-1"),
		&identityv1.AssignRole{Did: dot, Role: "nurse"}, &identityv1.ChangeGroupMembers{Name: "ward", Add: []string{dot}},
	} {
		w.fails(ErrDeactivated, mercy, msg)
	}
	w.fails(ErrDIDTaken, mercy, &identityv1.RegisterIdentity{Identity: member(t, dot, person)})
	w.CheckGenesis()
}

func TestDeactivateAnOrganisation(t *testing.T) {
	w := start(t)
	w.do(did.Consortium, &identityv1.SetAdministrators{Did: did.Consortium, Administrators: []string{acme, quay}, Threshold: 2})
	w.fails(ErrHasValidators, did.Consortium, deactivate(mercy))
	w.do(did.Consortium, &identityv1.BindValidator{PublicKey: consensus(mercy), Organisation: mercy}, deactivate(mercy))
	w.mayNotAct(ErrDeactivated, mercy, signers(ann, ben)...)
	w.mayNotAct(ErrDeactivated, dot, key(dot))
	if w.m.NodeAllowed(w.View(), nodeID('1')) {
		t.Error("its node is allowed")
	}
	w.do(did.Consortium, &identityv1.UnbindNode{NodeId: nodeID('1')})
	w.CheckGenesis()
}

func TestSetAdministratorsRefuses(t *testing.T) {
	w := start(t)
	set := func(of string, threshold uint32, names ...string) *identityv1.SetAdministrators {
		return &identityv1.SetAdministrators{Did: of, Administrators: names, Threshold: threshold}
	}
	w.fails(ErrNotMember, mercy, set(mercy, 1, robot))
	w.fails(ErrNotMember, mercy, set(mercy, 1, acme))
	w.fails(ErrUnknownDID, mercy, set(mercy, 1, personOf("mercy", "u")))
	w.fails(ErrBadThreshold, mercy, set(mercy, 3, ann, ben))
	w.fails(ErrBadThreshold, mercy, set(mercy, 0, ann))
	w.fails(ErrTwice, mercy, set(mercy, 2, ann, ann))
	w.fails(ErrBadKind, mercy, set(dot, 1, ann))
	w.fails(ErrNotAllowed, acme, set(mercy, 1, ann))
	w.fails(ErrBadKind, did.Consortium, set(did.Consortium, 1, ann))
	w.fails(ErrBadThreshold, did.Consortium, set(did.Consortium, 0))
	w.do(mercy, suspend(cyd))
	w.fails(ErrSuspended, mercy, set(mercy, 1, cyd))
	w.do(acme, &identityv1.RegisterIdentity{Identity: member(t, did.Member("acme", "lamp"), device)})
	w.fails(ErrBadKind, acme, set(acme, 1, did.Member("acme", "lamp")))
	long := make([]string, MaxControllers+1)
	for i := range long {
		long[i] = personOf("mercy", string(rune('a'+i%26)))
	}
	w.fails(ErrTooMany, mercy, set(mercy, 1, long...))
	r := w.do(mercy, set(mercy, 1, dot, ann))
	if got := chaintest.Events[identityv1.AdministratorsSet](t, r); len(got) != 1 || got[0].Administrators[0] != ann {
		t.Errorf("events: %v", got)
	}
	v := w.View()
	if !w.m.IsAdministrator(v, mercy, dot) || w.m.IsAdministrator(v, mercy, ben) || !w.m.IsAdministrator(v, did.Consortium, acme) || w.m.IsAdministrator(v, hold, ann) {
		t.Error("IsAdministrator differs")
	}
}
