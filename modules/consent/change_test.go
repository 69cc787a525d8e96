package consent

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func TestNarrow(t *testing.T) {
	n := newNet(t)
	id := n.gives(purposes(treatment, research), of(record, contact), to(lakeside), until(n.Now+100_000))
	seen := asks(func(q *Question) { q.Recipient = visitor; q.Purpose = research; q.Categories = []string{contact} })
	n.permits(seen)

	for name, msg := range map[string]*consentv1.Narrow{
		"changes nothing":            {},
		"purpose it does not name":   {RemovePurposes: []string{marketing}},
		"no purpose left":            {RemovePurposes: []string{treatment, research}},
		"no category left":           {RemoveCategories: []string{record, contact}},
		"recipient it does not name": {RemoveRecipients: []string{visitor}},
		"processing it has not":      {RemoveProcessing: []string{Access}},
		"later":                      {ValidUntil: n.Now + 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			msg.Id = id
			n.Fails(ErrNarrow, anna, msg)
		})
	}
	n.Fails(ErrTime, anna, &consentv1.Narrow{Id: id, ValidUntil: n.Now})
	n.Fails(ErrNotAuthorised, bert, &consentv1.Narrow{Id: id, RemovePurposes: []string{research}})

	r := n.Do(anna, &consentv1.Narrow{Id: id, RemoveRecipients: []string{lakeside}})
	n.denies(ErrRecipient, seen)
	n.wantEnded(id, Narrowed)
	if e := only[consentv1.Narrowed](t, r); e.Version != 2 || len(e.Recipients) != 1 { // law 12: who had it is told
		t.Fatalf("%v", e)
	}
	seen.Recipient = doctor
	n.permits(seen)
	n.Do(anna, &consentv1.Narrow{Id: id, RemoveCategories: []string{contact}})
	n.denies(ErrCategory, seen)
	n.permits(asks())
	n.Do(anna, &consentv1.Narrow{Id: id, AddExclusions: []*consentv1.Exclusion{{Recipients: []string{doctor}}}})
	n.denies(ErrExcluded, asks())
	n.permits(asks(func(q *Question) { q.Recipient = officer }))
	n.Do(anna, &consentv1.Narrow{Id: id, RemovePurposes: []string{treatment}, ValidUntil: n.Now + 50_000})
	n.denies(ErrPurpose, asks(func(q *Question) { q.Recipient = officer }))
	n.wantStatus(id, consentv1.Status_STATUS_NARROWED)
	if rec, _ := n.latest(id); rec.Version != 5 || rec.GivenBy != anna {
		t.Fatalf("%v", rec)
	}
	n.Do(anna, &consentv1.Withdraw{Id: id})
	n.Fails(ErrWrongState, anna, &consentv1.Narrow{Id: id, RemovePurposes: []string{research}})
}

func TestRectifyAddsASupersedingVersion(t *testing.T) { // law 9
	n := newNet(t)
	id := n.gives(to(lakeside))
	first, _ := n.latest(id)
	corrected := terms(func(t *consentv1.Terms) { t.Jurisdiction = "BE" })
	n.Fails(ErrNotAuthorised, clerk, &consentv1.Rectify{Id: id, Terms: corrected})
	n.Fails(ErrNotAuthorised, officer, &consentv1.Rectify{Id: id, Terms: corrected})
	n.Fails(ErrEvidence, officer, &consentv1.Rectify{Id: id, Terms: corrected, Method: consentv1.Method_METHOD_WRITTEN})
	n.Fails(ErrMismatch, anna, &consentv1.Rectify{Id: id, Terms: terms(about("bert"))})
	r := n.Do(officer, &consentv1.Rectify{Id: id, Terms: corrected, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: digest("letter")})
	if e := only[consentv1.Rectified](t, r); e.Version != 2 || e.By != officer || len(e.Recipients) != 1 { // law 12
		t.Fatalf("%v", e)
	}
	n.wantEnded(id, Rectified)
	rec, _ := n.latest(id)
	if rec.Terms.Jurisdiction != "BE" || rec.Version != 2 || rec.GivenAt != first.GivenAt {
		t.Fatalf("%v", rec)
	}
	old, err := n.m.version(n.View(), id, 1)
	if err != nil || !old.EqualVT(first) {
		t.Fatalf("the first version is %v, %v", old, err)
	}
	n.permits(asks())
	n.denies(ErrRecipient, asks(func(q *Question) { q.Recipient = visitor }))
}

func TestSupersede(t *testing.T) { // law 9
	n := newNet(t)
	id := n.gives()
	n.Fails(ErrMismatch, anna, &consentv1.Supersede{Id: id, Terms: terms(about("bert"))})
	n.Fails(ErrSubjectBound, bert, &consentv1.Supersede{Id: id, Terms: terms()})
	r := n.Do(anna, &consentv1.Supersede{Id: id, Terms: terms(purposes(research))})
	fresh := chaintest.Response[consentv1.SupersedeResponse](t, r).Id
	n.wantEnded(id, Superseded)
	n.denies(ErrPurpose, asks())
	n.permits(asks(func(q *Question) { q.Purpose = research }))
	old, _ := n.latest(id)
	next, _ := n.latest(fresh)
	if !bytes.Equal(old.SupersededBy, fresh) || !bytes.Equal(next.Supersedes, id) || old.Status != consentv1.Status_STATUS_SUPERSEDED {
		t.Fatalf("%v, %v", old, next)
	}
	n.Fails(ErrWrongState, anna, &consentv1.Supersede{Id: id, Terms: terms()})
	n.Fails(ErrWrongState, anna, &consentv1.Withdraw{Id: id})
	n.Do(anna, &consentv1.Withdraw{Id: fresh})
	n.denies(ErrWithdrawn, asks())
}

func TestVersionsAreBoundedAndWithdrawalIsNot(t *testing.T) { // law 6
	n := newNet(t)
	id := n.gives()
	var msgs []proto.Message
	for range (maxVersions - 1) / 3 {
		msgs = append(msgs, &consentv1.Rectify{Id: id, Terms: terms()}, &consentv1.Rectify{Id: id, Terms: terms()}, &consentv1.Rectify{Id: id, Terms: terms()})
		if len(msgs) >= 15 {
			n.Do(anna, msgs...)
			msgs = nil
		}
	}
	if len(msgs) > 0 {
		n.Do(anna, msgs...)
	}
	if rec, _ := n.latest(id); rec.Version != maxVersions {
		t.Fatalf("version %d, want %d", rec.Version, maxVersions)
	}
	n.Fails(ErrTooMany, anna, &consentv1.Rectify{Id: id, Terms: terms()})
	n.Fails(ErrTooMany, anna, &consentv1.Narrow{Id: id, ValidUntil: n.Now + 10_000})
	n.Do(anna, &consentv1.Withdraw{Id: id})
}

func TestDelegateActsWithinItsScopes(t *testing.T) { // law 6
	n := newNet(t)
	id := n.gives(purposes(treatment, research))
	scopes := func(s ...consentv1.Scope) *consentv1.Delegate {
		return &consentv1.Delegate{
			Subject: subjectOf("anna"), Controller: mercy, Delegate: bert,
			Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE, Scopes: s, Until: n.Now + 20*chaintest.BlockTime,
		}
	}
	const give, withdraw, narrow = consentv1.Scope_SCOPE_GIVE, consentv1.Scope_SCOPE_WITHDRAW, consentv1.Scope_SCOPE_NARROW
	smaller := &consentv1.Narrow{Id: id, RemovePurposes: []string{research}}

	n.Fails(ErrNotAuthorised, bert, smaller)
	n.Fails(ErrNotAuthorised, officer, scopes(narrow))
	n.Fails(ErrInvalid, anna, scopes(narrow, narrow))
	n.Fails(ErrInvalid, anna, scopes())
	r := n.Do(anna, scopes(narrow))
	if e := only[consentv1.Delegated](t, r); e.Delegate != bert || e.By != anna {
		t.Fatalf("%v", e)
	}
	n.Fails(ErrNotAuthorised, bert, &consentv1.Withdraw{Id: id})
	n.Do(bert, smaller)
	n.Do(anna, scopes(withdraw))
	n.Fails(ErrSubjectBound, bert, &consentv1.Give{Terms: terms()})
	n.Fails(ErrNotAuthorised, bert, &consentv1.Narrow{Id: id, ValidUntil: n.Now + 10_000})
	n.Do(bert, &consentv1.Withdraw{Id: id})
	n.Do(anna, scopes(narrow, give))
	second := chaintest.Response[consentv1.GiveResponse](t, n.Do(bert, &consentv1.Give{Terms: terms()})).Id
	if rec, _ := n.latest(second); rec.SubjectDid != anna || rec.GivenBy != bert {
		t.Fatalf("%v", rec)
	}
	n.Do(bert, &consentv1.Withdraw{Id: second})
	// A delegate hands on nothing.
	other := scopes(give)
	other.Delegate = doctor
	n.Fails(ErrSubjectBound, bert, other)

	n.Now += 30 * chaintest.BlockTime
	n.Fails(ErrSubjectBound, bert, &consentv1.Give{Terms: terms()})
	n.Fails(ErrTime, anna, &consentv1.Delegate{
		Subject: subjectOf("anna"), Controller: mercy, Delegate: bert, Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE,
		Scopes: []consentv1.Scope{give}, Until: n.Now,
	})
}

func TestGuardianOfASubjectWithoutKeys(t *testing.T) { // law 6, law 7
	n := newNet(t)
	child := about("child")
	deed := &consentv1.Delegate{
		Subject: subjectOf("child"), Controller: mercy, Delegate: bert,
		Kind: consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN, Scopes: []consentv1.Scope{consentv1.Scope_SCOPE_GIVE},
	}
	n.Fails(ErrEvidence, officer, deed)
	deed.EvidenceHash = digest("court order")
	n.Fails(ErrNotAuthorised, bert, deed)
	n.Fails(ErrNotAuthorised, lakeside, deed)
	n.Do(officer, deed)
	id := chaintest.Response[consentv1.GiveResponse](t, n.Do(bert, &consentv1.Give{Terms: terms(child)})).Id
	n.permits(asks(func(q *Question) { q.Subject = subjectOf("child") }))
	n.Do(bert, &consentv1.Withdraw{Id: id})

	// A subject with keys appoints its own.
	n.gives()
	deed.Subject = subjectOf("anna")
	n.Fails(ErrGuardian, officer, deed)
}

func TestRevokeDelegation(t *testing.T) {
	n := newNet(t)
	n.gives()
	appoint := &consentv1.Delegate{
		Subject: subjectOf("anna"), Controller: mercy, Delegate: bert,
		Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE, Scopes: []consentv1.Scope{consentv1.Scope_SCOPE_GIVE},
	}
	revoke := &consentv1.RevokeDelegation{Subject: subjectOf("anna"), Controller: mercy, Delegate: bert}
	n.Fails(ErrNoDelegation, anna, revoke)
	for _, author := range []string{anna, bert} {
		n.Do(anna, appoint)
		n.Do(bert, &consentv1.Give{Terms: terms()})
		n.Fails(ErrNotAuthorised, officer, revoke)
		only[consentv1.DelegationRevoked](t, n.Do(author, revoke))
		n.Fails(ErrSubjectBound, bert, &consentv1.Give{Terms: terms()})
	}
}

func TestRestrictionBeatsConsent(t *testing.T) { // law 11
	n := newNet(t)
	first := n.gives()
	second := n.gives(purposes(marketing))
	restrict := &consentv1.Restrict{
		Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_DIRECT_MARKETING,
		Purposes: []string{marketing},
	}
	n.Fails(ErrSubjectBound, bert, restrict)
	n.Fails(ErrNotAuthorised, officer, restrict)
	n.Fails(ErrInvalid, anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy})
	id := chaintest.Response[consentv1.RestrictResponse](t, n.Do(anna, restrict)).Id
	n.wantEnded(second, Restricted)
	sell := asks(func(q *Question) { q.Purpose = marketing })
	n.denies(ErrRestricted, sell)
	n.permits(asks())
	// Nothing is deleted or withdrawn.
	n.wantStatus(second, consentv1.Status_STATUS_GIVEN)

	// All purposes, by phone; no evidence is ever asked for.
	all := &consentv1.Restrict{
		Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_ACCURACY,
		Method: consentv1.Method_METHOD_VERBAL,
	}
	everything := chaintest.Response[consentv1.RestrictResponse](t, n.Do(officer, all)).Id
	if got := n.endings(); len(got) != 2 {
		t.Fatalf("published %v, want both consents", got)
	}
	n.denies(ErrRestricted, asks())
	// A new consent does not lift it, nor does a withdrawal.
	n.gives()
	n.Do(anna, &consentv1.Withdraw{Id: first})
	n.denies(ErrRestricted, asks())

	lift := &consentv1.LiftRestriction{Subject: subjectOf("anna"), Controller: mercy, Id: everything}
	n.Fails(ErrNotAuthorised, bert, lift)
	n.Fails(ErrEvidence, officer, lift)
	lift.EvidenceHash = digest("letter")
	only[consentv1.RestrictionLifted](t, n.Do(officer, lift))
	n.permits(asks())
	n.denies(ErrRestricted, sell)
	n.Do(anna, &consentv1.LiftRestriction{Subject: subjectOf("anna"), Controller: mercy, Id: id})
	n.permits(sell)
	n.Fails(ErrNoRestriction, anna, lift)
}

func TestObjectWithoutAnyConsent(t *testing.T) { // law 11
	n := newNet(t)
	n.Do(anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION})
	n.denies(ErrRestricted, asks())
	n.gives()
	n.denies(ErrRestricted, asks())
	for range maxRestrictions - 1 {
		n.Do(anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION})
	}
	n.Fails(ErrTooMany, anna, &consentv1.Restrict{Subject: subjectOf("anna"), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION})
}
