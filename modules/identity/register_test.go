package identity

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func TestRegisterOrganisation(t *testing.T) {
	w := start(t)
	msg := &identityv1.RegisterOrganisation{Did: hold, Keys: []*identityv1.NewKey{newKey(t, key(hold), authentication)}}
	w.fails(ErrNotAllowed, acme, msg)
	r := w.do(did.Consortium, msg)
	if got := chaintest.Events[identityv1.Registered](t, r); len(got) != 1 || got[0].Did != hold || got[0].By != did.Consortium {
		t.Errorf("events: %v", got)
	}
	w.mayAct(hold, key(hold))
	w.fails(ErrDIDTaken, did.Consortium, msg)

	dock := "did:chancery:dock"
	boss, hand := personOf("dock", "z"), did.Member("dock", "hand")
	msg = &identityv1.RegisterOrganisation{Did: dock, Threshold: 2, Administrators: []*identityv1.NewIdentity{
		member(t, hand, program), member(t, boss, person),
	}}
	w.do(did.Consortium, msg)
	w.mayNotAct(ErrNotAuthorised, dock, key(boss))
	w.mayAct(dock, signers(boss, hand)...)
	if id := w.identity(dock); !proto.Equal(id, &identityv1.Identity{
		Did: dock, Kind: identityv1.Kind_KIND_ORGANISATION, Organisation: dock, Status: identityv1.Status_STATUS_ACTIVE,
		Controllers: sorted([]string{boss, hand}), Threshold: 2, Version: 1, Created: id.Created, Updated: id.Updated,
	}) || id.Created.Height != w.Height() || len(id.Created.TxId) != 32 {
		t.Errorf("record: %v", id)
	}
	// It is no member of the consortium until it is made one.
	w.mayNotAct(ErrNotAuthorised, did.Consortium, signers(acme, boss, hand)...)
	w.do(did.Consortium, &identityv1.SetAdministrators{Did: did.Consortium, Administrators: []string{dock, acme, mercy, quay}, Threshold: 2})
	w.mayAct(did.Consortium, signers(acme, boss, hand)...)
	w.CheckGenesis()
}

func TestRegisterOrganisationRefuses(t *testing.T) {
	w := start(t)
	own := newKey(t, key(hold), authentication)
	inside := member(t, did.Member("hold", "a"), program)
	for name, c := range map[string]struct {
		want *errs.Error
		msg  *identityv1.RegisterOrganisation
	}{
		"member's DID":   {ErrBadDID, &identityv1.RegisterOrganisation{Did: hold + ":x", Keys: []*identityv1.NewKey{own}}},
		"consortium":     {ErrBadDID, &identityv1.RegisterOrganisation{Did: did.Consortium, Keys: []*identityv1.NewKey{own}}},
		"no DID":         {ErrBadDID, &identityv1.RegisterOrganisation{Keys: []*identityv1.NewKey{own}}},
		"nobody acts":    {ErrLastKey, &identityv1.RegisterOrganisation{Did: hold}},
		"no threshold":   {ErrBadThreshold, &identityv1.RegisterOrganisation{Did: hold, Administrators: []*identityv1.NewIdentity{inside}}},
		"high threshold": {ErrBadThreshold, &identityv1.RegisterOrganisation{Did: hold, Threshold: 2, Administrators: []*identityv1.NewIdentity{inside}}},
		"just threshold": {ErrBadThreshold, &identityv1.RegisterOrganisation{Did: hold, Threshold: 1, Keys: []*identityv1.NewKey{own}}},
		"twice":          {ErrTwice, &identityv1.RegisterOrganisation{Did: hold, Threshold: 2, Administrators: []*identityv1.NewIdentity{inside, inside}}},
		"outsider":       {ErrNotMember, &identityv1.RegisterOrganisation{Did: hold, Threshold: 1, Administrators: []*identityv1.NewIdentity{member(t, did.Member("dock", "a"), program)}}},
		"device":         {ErrBadKind, &identityv1.RegisterOrganisation{Did: hold, Threshold: 1, Administrators: []*identityv1.NewIdentity{member(t, did.Member("hold", "a"), device)}}},
		"proof for another DID": {ErrBadProof, &identityv1.RegisterOrganisation{
			Did: hold, Keys: []*identityv1.NewKey{newKey(t, key("did:chancery:dock"), authentication)},
		}},
		"key of another": {ErrKeyTaken, &identityv1.RegisterOrganisation{
			Did: hold, Keys: []*identityv1.NewKey{newKey(t, chaintest.Named(did.URL(hold, "k"), keys.Ed25519, did.URL(acme, "key-1")), authentication)},
		}},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.fails(c.want, did.Consortium, c.msg) })
	}
}

func TestRegisterIdentity(t *testing.T) {
	w := start(t)
	for name, kind := range map[string]identityv1.Kind{
		personOf("mercy", "p"): person, did.Member("mercy", "scanner-7"): device, did.Member("mercy", "gateway"): program,
	} {
		w.do(dot, &identityv1.RegisterIdentity{Identity: member(t, name, kind)}) // the registrar
		w.mayAct(name, key(name))
		if got, _ := w.m.Kind(w.View(), name); got != kindName(kind) {
			t.Errorf("%s is a %s", name, got)
		}
		if got, _ := w.m.Organisation(w.View(), name); got != mercy {
			t.Errorf("%s belongs to %s", name, got)
		}
	}
	w.do(mercy, &identityv1.RegisterIdentity{Identity: member(t, personOf("mercy", "q"), person)})
	w.fails(ErrDIDTaken, mercy, &identityv1.RegisterIdentity{Identity: member(t, personOf("mercy", "q"), person)})
	x := &identityv1.RegisterIdentity{Identity: member(t, personOf("mercy", "x"), person)}
	w.fails(ErrNotAllowed, ann, x) // an administrator alone is no registrar
	w.fails(ErrNotAllowed, did.Consortium, x)
	w.fails(ErrNotMember, acme, x)
	w.do(mercy, &identityv1.RevokeRole{Did: dot, Role: RoleRegistrar})
	w.fails(ErrNotAllowed, dot, x)
	w.do(mercy, &identityv1.AssignRole{Did: dot, Role: RoleRegistrar, ExpiresAt: w.Now + 3*chaintest.BlockTime})
	w.do(dot, x)
	w.Now += 5 * chaintest.BlockTime
	w.fails(ErrNotAllowed, dot, &identityv1.RegisterIdentity{Identity: member(t, personOf("mercy", "y"), person)})
}

// law 1: a person's DID cannot carry a name.
func TestRegisterIdentityRefuses(t *testing.T) {
	w := start(t)
	one := did.Member("acme", "one")
	with := func(change func(n *identityv1.NewIdentity)) *identityv1.RegisterIdentity {
		n := member(t, one, device)
		change(n)
		return &identityv1.RegisterIdentity{Identity: n}
	}
	for name, c := range map[string]struct {
		want *errs.Error
		msg  *identityv1.RegisterIdentity
	}{
		"nothing":             {ErrBadDID, &identityv1.RegisterIdentity{}},
		"named person":        {ErrBadDID, &identityv1.RegisterIdentity{Identity: member(t, did.Member("acme", "jo-example"), person)}},
		"organisation's DID":  {ErrBadDID, &identityv1.RegisterIdentity{Identity: member(t, hold, device)}},
		"organisation's kind": {ErrBadKind, &identityv1.RegisterIdentity{Identity: member(t, one, identityv1.Kind_KIND_ORGANISATION)}},
		"no kind":             {ErrBadKind, &identityv1.RegisterIdentity{Identity: member(t, one, 0)}},
		"of another":          {ErrNotMember, &identityv1.RegisterIdentity{Identity: member(t, did.Member("quay", "x"), device)}},
		"no key":              {ErrLastKey, with(func(n *identityv1.NewIdentity) { n.Keys = nil })},
		"no usable key":       {ErrLastKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Purposes[0] = assertion })},
		"later key":           {ErrLastKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].ValidFrom = w.Now + 1e6 })},
		"expired key":         {ErrBadTime, with(func(n *identityv1.NewIdentity) { n.Keys[0].ValidUntil = w.Now })},
		"bad proof":           {ErrBadProof, with(func(n *identityv1.NewIdentity) { n.Keys[0].Proof[3] ^= 1 })},
		"short proof":         {ErrBadProof, with(func(n *identityv1.NewIdentity) { n.Keys[0].Proof = n.Keys[0].Proof[1:] })},
		"bad key":             {ErrBadKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Public = make([]byte, 32) })},
		"no purpose":          {ErrBadKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Purposes = nil })},
		"purpose twice": {ErrBadKey, with(func(n *identityv1.NewIdentity) {
			n.Keys[0].Purposes = []identityv1.Purpose{authentication, authentication}
		})},
		"unknown purpose": {ErrBadKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Purposes = []identityv1.Purpose{authentication, 99} })},
		"agreement": {ErrBadKey, with(func(n *identityv1.NewIdentity) {
			n.Keys[0].Purposes = []identityv1.Purpose{authentication, keyAgreement}
		})},
		"bad id":    {ErrBadKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Id = "Key" })},
		"long id":   {ErrBadKey, with(func(n *identityv1.NewIdentity) { n.Keys[0].Id = strings.Repeat("k", 65) })},
		"key twice": {ErrTwice, with(func(n *identityv1.NewIdentity) { n.Keys = append(n.Keys, n.Keys[0]) })},
		"too many keys": {ErrTooMany, with(func(n *identityv1.NewIdentity) {
			for range MaxKeys {
				n.Keys = append(n.Keys, n.Keys[0])
			}
		})},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.fails(c.want, acme, c.msg) })
	}
}

// law 22: one public key, one DID.
func TestAPublicKeyBelongsToOneDID(t *testing.T) {
	w := start(t)
	shared := func(of, id string) *identityv1.NewKey {
		return newKey(t, chaintest.Named(did.URL(of, id), keys.P256, "shared"), authentication)
	}
	a, b := did.Member("acme", "a"), did.Member("quay", "b")
	w.do(acme, &identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: a, Kind: device, Keys: []*identityv1.NewKey{shared(a, "k")}}})
	w.fails(ErrKeyTaken, quay, &identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: b, Kind: device, Keys: []*identityv1.NewKey{shared(b, "k")}}})
	w.fails(ErrKeyTaken, acme, &identityv1.AddKey{Did: acme, Key: shared(acme, "k")})
	// Not even after it ended.
	w.do(acme, &identityv1.Deactivate{Did: a, Reason: identityv1.Reason_REASON_CEASED})
	w.fails(ErrKeyTaken, acme, &identityv1.AddKey{Did: acme, Key: shared(acme, "k")})
	// Nor a validator's.
	w.fails(ErrKeyTaken, acme, &identityv1.AddKey{Did: acme, Key: newKey(t, chaintest.Named(did.URL(acme, "k"), keys.Ed25519, "consensus/"+acme), authentication)})
}
