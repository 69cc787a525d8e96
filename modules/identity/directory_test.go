package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func TestRoles(t *testing.T) {
	w := start(t)
	until := w.Now + 10*chaintest.BlockTime
	w.do(mercy, &identityv1.AssignRole{Did: dot, Role: "nurse", ExpiresAt: until}, &identityv1.AssignRole{Did: dot, Role: "auditor"}, &identityv1.AssignRole{Did: mercy, Role: "hospital"})
	if got := w.m.Roles(w.View(), dot); !slices.Equal(got, []string{"auditor", "nurse", RoleRegistrar}) {
		t.Errorf("roles %v", got)
	}
	if got := w.m.Roles(w.View(), mercy); !slices.Equal(got, []string{"hospital"}) {
		t.Errorf("roles %v", got)
	}
	w.fails(ErrNotMember, acme, &identityv1.AssignRole{Did: dot, Role: "nurse"})
	w.fails(ErrBadKind, ann, &identityv1.AssignRole{Did: dot, Role: "nurse"})
	w.fails(ErrUnknownDID, mercy, &identityv1.AssignRole{Did: personOf("mercy", "u"), Role: "nurse"})
	w.fails(ErrBadTime, mercy, &identityv1.AssignRole{Did: dot, Role: "nurse", ExpiresAt: w.Now})
	w.fails(ErrBadTime, mercy, &identityv1.AssignRole{Did: dot, Role: "nurse", ExpiresAt: -1})
	for _, bad := range []string{"", "Nurse", "nurse!", strings.Repeat("n", 41)} {
		w.fails(ErrBadName, mercy, &identityv1.AssignRole{Did: dot, Role: bad})
	}
	w.CheckGenesis()
	w.Now = until - chaintest.BlockTime
	w.Block()
	if got := w.m.Roles(w.View(), dot); !slices.Equal(got, []string{"auditor", RoleRegistrar}) {
		t.Errorf("roles %v", got)
	}
	w.fails(ErrNoRole, mercy, &identityv1.RevokeRole{Did: dot, Role: "nurse"})
	w.fails(ErrNotAllowed, ann, &identityv1.RevokeRole{Did: dot, Role: "auditor"})
	w.do(dot, &identityv1.RevokeRole{Did: dot, Role: "auditor"}) // one may lay down a role
	r := w.do(mercy, &identityv1.RevokeRole{Did: dot, Role: RoleRegistrar})
	if got := chaintest.Events[identityv1.RoleRevoked](t, r); len(got) != 1 || got[0].By != mercy {
		t.Errorf("events: %v", got)
	}
	if got := w.m.Roles(w.View(), dot); len(got) != 0 {
		t.Errorf("roles %v", got)
	}
	for i := range MaxRoles {
		w.do(mercy, &identityv1.AssignRole{Did: dot, Role: fmt.Sprintf("r-%d", i)})
	}
	w.fails(ErrTooMany, mercy, &identityv1.AssignRole{Did: dot, Role: "one-more"})
	w.do(mercy, &identityv1.AssignRole{Did: dot, Role: "r-3", ExpiresAt: w.Now + 1e6}) // the same again
}

func TestGroups(t *testing.T) {
	w := start(t)
	r := w.do(mercy, &identityv1.CreateGroup{Name: "ward-3"})
	if got := chaintest.Response[identityv1.CreateGroupResponse](t, r).Id; got != "mercy/ward-3" {
		t.Errorf("id %s", got)
	}
	w.fails(ErrGroupTaken, mercy, &identityv1.CreateGroup{Name: "ward-3"})
	w.fails(ErrBadKind, ann, &identityv1.CreateGroup{Name: "ward-4"})
	w.fails(ErrBadKind, did.Consortium, &identityv1.CreateGroup{Name: "ward-4"})
	w.fails(ErrBadName, mercy, &identityv1.CreateGroup{Name: "Ward"})
	w.do(acme, &identityv1.CreateGroup{Name: "ward-3"}) // another's
	change := func(add, remove []string) *identityv1.ChangeGroupMembers {
		return &identityv1.ChangeGroupMembers{Name: "ward-3", Add: add, Remove: remove}
	}
	r = w.do(mercy, change([]string{dot, ann, mercy}, nil))
	if got := chaintest.Response[identityv1.ChangeGroupMembersResponse](t, r).Members; got != 3 {
		t.Errorf("%d members", got)
	}
	r = w.do(mercy, change([]string{dot, ben}, []string{ann, cyd}))
	if got := chaintest.Response[identityv1.ChangeGroupMembersResponse](t, r).Members; got != 3 {
		t.Errorf("%d members", got)
	}
	if got := chaintest.Events[identityv1.GroupMembersChanged](t, r); len(got) != 1 || !slices.Equal(got[0].Added, []string{ben}) || !slices.Equal(got[0].Removed, []string{ann}) {
		t.Errorf("events: %v", got)
	}
	if r = w.do(mercy, change(nil, []string{ann})); len(r.Events) != 0 {
		t.Errorf("events of no change: %v", r.Events)
	}
	w.fails(ErrNotMember, mercy, change([]string{robot}, nil))
	w.fails(ErrTwice, mercy, change([]string{dot, dot}, nil))
	w.fails(ErrTwice, mercy, change([]string{dot}, []string{dot}))
	w.fails(ErrBadDID, mercy, change([]string{"dot"}, nil))
	w.fails(ErrNoGroup, mercy, &identityv1.ChangeGroupMembers{Name: "ward-9"})
	w.fails(ErrTooMany, mercy, change(make([]string, MaxGroupChange+1), nil))
	for i := range 3 {
		name := fmt.Sprintf("g-%d", i)
		w.do(mercy, &identityv1.CreateGroup{Name: name}, &identityv1.ChangeGroupMembers{Name: name, Add: []string{dot}})
	}
	if got := w.m.Groups(w.View(), dot); !slices.Equal(got, []string{"mercy/g-0", "mercy/g-1", "mercy/g-2", "mercy/ward-3"}) {
		t.Errorf("groups %v", got)
	}
	w.CheckGenesis()
	w.fails(ErrNoGroup, mercy, &identityv1.DeleteGroup{Name: "ward-9"})
	w.do(mercy, &identityv1.DeleteGroup{Name: "ward-3"})
	if got := w.m.Groups(w.View(), dot); !slices.Equal(got, []string{"mercy/g-0", "mercy/g-1", "mercy/g-2"}) {
		t.Errorf("groups %v", got)
	}
	if got := w.m.Groups(w.View(), ben); len(got) != 0 {
		t.Errorf("groups %v", got)
	}
	w.do(mercy, &identityv1.CreateGroup{Name: "ward-3"})
	if r, err := w.query().GroupMembers(context.Background(), &identityv1.GroupMembersRequest{Id: "mercy/ward-3"}); err != nil || len(r.Members) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	for i := range MaxMemberships - 3 {
		name := fmt.Sprintf("h-%d", i)
		w.do(mercy, &identityv1.CreateGroup{Name: name}, &identityv1.ChangeGroupMembers{Name: name, Add: []string{dot}})
	}
	w.fails(ErrTooMany, mercy, change([]string{dot}, nil))
}

func TestServices(t *testing.T) {
	w := start(t)
	ok := &identityv1.SetServices{Services: []*identityv1.Service{
		{Id: "node", Type: "ChanceryNode", Endpoint: "grpcs://node.example:9090"},
		{Id: "files", Type: "LinkedDomains", Endpoint: "https://[2001:db8::1]:8443/a/b_c;d=1"},
	}}
	r := w.do(acme, ok)
	if got := chaintest.Events[identityv1.ServicesSet](t, r); len(got) != 1 || got[0].Services[0].Id != "files" {
		t.Errorf("events: %v", got)
	}
	w.fails(ErrKeyIDTaken, acme, &identityv1.AddKey{Did: acme, Key: newKey(t, keyOfID(acme, "node"), authentication)})
	w.fails(ErrKeyIDTaken, acme, &identityv1.SetServices{Services: []*identityv1.Service{{Id: "key-1", Type: "T", Endpoint: "https://a.example"}}})
	w.fails(ErrBadKind, dot, ok) // law 1
	w.fails(ErrTwice, acme, &identityv1.SetServices{Services: []*identityv1.Service{ok.Services[0], ok.Services[0]}})
	w.fails(ErrTooMany, acme, &identityv1.SetServices{Services: make([]*identityv1.Service, MaxServices+1)})
	for name, bad := range map[string]*identityv1.Service{
		"id":       {Id: "N", Type: "T", Endpoint: "https://a.example"},
		"type":     {Id: "n", Type: "1", Endpoint: "https://a.example"},
		"empty":    {Id: "n", Type: "T"},
		"mail":     {Id: "n", Type: "T", Endpoint: "mailto:jo@a.example"},
		"user":     {Id: "n", Type: "T", Endpoint: "https://jo@a.example"},
		"query":    {Id: "n", Type: "T", Endpoint: "https://a.example/?u=jo"},
		"fragment": {Id: "n", Type: "T", Endpoint: "https://a.example/#x"},
		"space":    {Id: "n", Type: "T", Endpoint: "https://a.example/ x"},
		"newline":  {Id: "n", Type: "T", Endpoint: "https://a.example\n"},
		"capital":  {Id: "n", Type: "T", Endpoint: "https://A.example"},
		"script":   {Id: "n", Type: "T", Endpoint: "javascript:alert(1)"},
		"long":     {Id: "n", Type: "T", Endpoint: "https://a.example/" + strings.Repeat("a", 256)},
		"relative": {Id: "n", Type: "T", Endpoint: "/a"},
		"no host":  {Id: "n", Type: "T", Endpoint: "https:///a"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.fails(ErrBadService, acme, &identityv1.SetServices{Services: []*identityv1.Service{bad}})
		})
	}
	w.CheckGenesis()
}

func bind(name, organisation string, power int64) *identityv1.BindValidator {
	return &identityv1.BindValidator{PublicKey: consensus(name), Power: power, Organisation: organisation, Moniker: "node of " + strings.TrimPrefix(organisation, "did:chancery:")}
}

func (w *world) updates(t *testing.T, raw []byte) map[string]int64 {
	t.Helper()
	d, err := w.App().Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	x := w.App().Next()
	if r, err := x.Deliver(d); err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}
	out := map[string]int64{}
	for _, u := range x.End().Updates {
		if u.Key.Type != keys.Ed25519 {
			t.Errorf("type %s", u.Key.Type)
		}
		out[string(u.Key.Bytes)] = u.Power
	}
	return out
}

func TestValidators(t *testing.T) {
	w := start(t)
	w.fails(ErrNotAllowed, acme, bind("second", acme, 1))
	raw := w.Tx(did.Consortium, msgs(bind("second", acme, 7)), by(did.Consortium)...)
	if got := w.updates(t, raw); len(got) != 1 || got[string(consensus("second"))] != 7 {
		t.Errorf("updates %v", got)
	}
	w.Block(raw)
	vs := w.m.Validators(w.View())
	if len(vs) != 4 || !slices.IsSortedFunc(vs, func(a, b *identityv1.Validator) int { return slices.Compare(a.PublicKey, b.PublicKey) }) {
		t.Errorf("validators %v", vs)
	}
	w.fails(ErrValidatorTaken, did.Consortium, bind("second", quay, 7))
	w.fails(ErrUnknownDID, did.Consortium, bind("third", hold, 7))
	w.fails(ErrKeyTaken, did.Consortium, &identityv1.BindValidator{PublicKey: key(acme).Public().Bytes, Power: 1, Organisation: acme, Moniker: "m"})
	raw = w.Tx(did.Consortium, msgs(&identityv1.BindValidator{PublicKey: consensus("second"), Organisation: acme}), by(did.Consortium)...)
	if got := w.updates(t, raw); len(got) != 1 || got[string(consensus("second"))] != 0 {
		t.Errorf("updates %v", got)
	}
	w.Block(raw)
	w.fails(ErrNoValidator, did.Consortium, &identityv1.BindValidator{PublicKey: consensus("second"), Organisation: acme})
	w.CheckGenesis()
	// The last one stays, however many messages try.
	remove := func(name string) *identityv1.BindValidator {
		return &identityv1.BindValidator{PublicKey: consensus(name), Organisation: name}
	}
	w.fails(ErrLastValidator, did.Consortium, remove(mercy), remove(acme), remove(quay))
	w.do(did.Consortium, remove(mercy), remove(acme))
	w.fails(ErrLastValidator, did.Consortium, remove(quay))
	for name, bad := range map[string]*identityv1.BindValidator{
		"key":      {PublicKey: make([]byte, 32), Power: 1, Organisation: acme, Moniker: "m"},
		"short":    {PublicKey: consensus("x")[1:], Power: 1, Organisation: acme, Moniker: "m"},
		"negative": {PublicKey: consensus("x"), Power: -1, Organisation: acme, Moniker: "m"},
		"power":    {PublicKey: consensus("x"), Power: MaxPower + 1, Organisation: acme, Moniker: "m"},
		"moniker":  {PublicKey: consensus("x"), Power: 1, Organisation: acme, Moniker: "<b>"},
		"nameless": {PublicKey: consensus("x"), Power: 1, Organisation: acme},
	} {
		t.Run(name, func(t *testing.T) { w.t = t; w.fails(ErrBadValidator, did.Consortium, bad) })
	}
	w.t = t
	w.fails(ErrBadDID, did.Consortium, bind("x", dot, 1))
	w.do(did.Consortium, suspend(mercy))
	w.fails(ErrSuspended, did.Consortium, bind("x", mercy, 1))
}

// The engine halts on the removal of a validator that it does not know, so one that
// is bound and unbound within a block may not reach it.
func TestAValidatorBoundAndUnboundInOneBlockIsNoUpdate(t *testing.T) {
	w := start(t)
	unbind := func(name string) *identityv1.BindValidator {
		return &identityv1.BindValidator{PublicKey: consensus(name), Organisation: acme}
	}
	raw := w.Tx(did.Consortium, msgs(bind("second", acme, 1), bind("second", acme, 2), unbind("second"), bind(acme, acme, 9)), by(did.Consortium)...)
	if got := w.updates(t, raw); len(got) != 1 || got[string(consensus(acme))] != 9 {
		t.Errorf("updates %v", got)
	}
	// One that it does know is removed, whatever happened in between.
	raw = w.Tx(did.Consortium, msgs(unbind(acme), bind(acme, acme, 3), unbind(acme)), by(did.Consortium)...)
	if got := w.updates(t, raw); len(got) != 1 || got[string(consensus(acme))] != 0 {
		t.Errorf("updates %v", got)
	}
}

// A key takes the place of another in one message: no rule on power is in the way, since no
// organisation's power changes, and the engine is told of both at once.
func TestAConsensusKeyTakesThePlaceOfAnother(t *testing.T) {
	w := start(t)
	w.do(did.Consortium, &identityv1.RegisterOrganisation{Did: hold, Keys: []*identityv1.NewKey{newKey(t, key(hold), authentication)}})
	w.do(did.Consortium, bind(hold, hold, 10))
	before := w.m.Validators(w.View())
	power := int64(0)
	for _, v := range before {
		if v.Organisation == mercy {
			power = v.Power
		}
	}
	replaces := func(name, old, organisation string, power int64) *identityv1.BindValidator {
		m := bind(name, organisation, power)
		m.Replaces = consensus(old)
		return m
	}
	w.fails(ErrNoValidator, did.Consortium, replaces("new", "nobody", mercy, power))
	w.fails(ErrValidatorTaken, did.Consortium, replaces("new", acme, mercy, power))
	w.fails(ErrBadValidator, did.Consortium, replaces(mercy, mercy, mercy, power))
	w.fails(ErrBadValidator, did.Consortium, &identityv1.BindValidator{PublicKey: consensus(mercy), Organisation: mercy, Replaces: consensus(mercy)})
	w.fails(ErrBadValidator, did.Consortium, &identityv1.BindValidator{PublicKey: consensus("new"), Power: 1, Organisation: mercy, Moniker: "m", Replaces: []byte{1}})
	w.fails(ErrTooMuchPower, did.Consortium, replaces("new", mercy, mercy, 100*power))
	w.fails(ErrTooMuchPower, did.Consortium, bind("new", mercy, power)) // beside the old key it would be too much
	raw := w.Tx(did.Consortium, msgs(replaces("new", mercy, mercy, power)), by(did.Consortium)...)
	if got := w.updates(t, raw); len(got) != 2 || got[string(consensus("new"))] != power || got[string(consensus(mercy))] != 0 {
		t.Errorf("updates %v", got)
	}
	w.Block(raw)
	after := w.m.Validators(w.View())
	if len(after) != len(before) || slices.ContainsFunc(after, func(v *identityv1.Validator) bool { return slices.Equal(v.PublicKey, consensus(mercy)) }) {
		t.Errorf("validators %v", after)
	}
	w.fails(ErrBadValidator, did.Consortium, bind("second", acme, 1), replaces("second", acme, acme, 1)) // it is bound
	w.fails(ErrTooMuchTurnover, did.Consortium, replaces("newer", acme, acme, power))
	w.CheckGenesis()
}

func TestNoOrganisationReachesAThird(t *testing.T) {
	w := start(t)
	w.do(did.Consortium, &identityv1.RegisterOrganisation{Did: hold, Keys: []*identityv1.NewKey{newKey(t, key(hold), authentication)}})
	w.do(did.Consortium, bind(mercy, mercy, 20)) // with three organisations there is no way around it
	w.fails(ErrTooMuchPower, did.Consortium, bind(hold, hold, 30))
	w.do(did.Consortium, bind(hold, hold, 10))                       // mercy's 20 of 50 got less, not more
	w.fails(ErrTooMuchPower, did.Consortium, bind(quay, quay, 9))    // would make it more
	w.fails(ErrTooMuchPower, did.Consortium, bind("b", mercy, 1))    // so would this
	w.do(did.Consortium, bind(mercy, mercy, 14))                     // 14 of 44
	w.fails(ErrTooMuchPower, did.Consortium, bind(mercy, mercy, 15)) // a third of 45
	w.do(did.Consortium, bind(quay, quay, 11))
	w.do(did.Consortium, bind(mercy, mercy, 15)) // 15 of 46
	// Back to three: allowed, and the rule rests once that acts.
	w.do(did.Consortium, &identityv1.BindValidator{PublicKey: consensus(hold), Organisation: hold})
	w.fails(ErrTooMuchTurnover, did.Consortium, bind(mercy, mercy, 100))
	w.Block()
	w.Block()
	w.do(did.Consortium, bind(mercy, mercy, 100))
}

// With four organisations or more, no more than a third of the power goes, and less than
// a third comes, within the blocks that it takes to see that the chain goes on; however
// the changes are spread over messages, transactions and blocks.
func TestVotingPowerDoesNotComeOrGoAtOnce(t *testing.T) {
	begin := func() *world {
		w := start(t)
		w.do(did.Consortium, &identityv1.RegisterOrganisation{Did: hold, Keys: []*identityv1.NewKey{newKey(t, key(hold), authentication)}})
		w.do(did.Consortium, bind(hold, hold, 10))
		for range actsAfter {
			w.Block()
		}
		return w
	}
	remove := func(name, of string) *identityv1.BindValidator {
		return &identityv1.BindValidator{PublicKey: consensus(name), Organisation: of}
	}
	w := begin()
	w.fails(ErrTooMuchTurnover, did.Consortium, remove(mercy, mercy), remove(acme, acme)) // 20 of 40
	w.do(did.Consortium, remove(mercy, mercy))
	w.fails(ErrTooMuchTurnover, did.Consortium, remove(acme, acme)) // in the next block
	w.do(did.Consortium, bind(mercy, mercy, 10))                    // back to where it was
	w.Block()
	w.do(did.Consortium, bind("new of mercy", mercy, 4), remove(mercy, mercy)) // a new key: 10 of 40 go, 4 of 34 come
	w.CheckGenesis()

	w = begin()
	w.do(did.Consortium, bind("a", mercy, 2), bind("b", acme, 2), bind("c", quay, 2), bind("d", hold, 2)) // 8 of 48 are new
	w.do(did.Consortium, bind("e", mercy, 2), bind("f", acme, 2), bind("g", quay, 2), bind("h", hold, 2)) // 16 of 56
	w.fails(ErrTooMuchTurnover, did.Consortium, bind("i", mercy, 2), bind("j", acme, 2), bind("k", quay, 2))
	w.Block()
	w.do(did.Consortium, bind("i", mercy, 2), bind("j", acme, 2), bind("k", quay, 2)) // the chain goes on with the 16

	// Newcomers' share grows also where others go: 16 of 56 are less than a third, 16 of 46 are not.
	w = begin()
	w.do(did.Consortium, bind("a", mercy, 4), bind("b", acme, 4), bind("c", quay, 4), bind("d", hold, 4))
	w.fails(ErrTooMuchTurnover, did.Consortium, remove(mercy, mercy))
	w.do(did.Consortium, remove("a", mercy))   // their own going is no matter
	w.do(did.Consortium, remove(mercy, mercy)) // 12 of 42

	// Replacing one validator of four takes its power away and brings it back.
	w = begin()
	w.do(did.Consortium, remove(mercy, mercy), bind("other", mercy, 10))

	// With three organisations the rule rests.
	w = start(t)
	w.do(did.Consortium, remove(mercy, mercy), remove(acme, acme))
}

// Turnover is what a plain count over all keys says.
func TestTurnoverIsCountedOverKeys(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := func(name string) (list []*identityv1.Validator, by map[string]int64) {
			by = rapid.MapOfN(rapid.StringMatching("[a-f]"), rapid.Int64Range(1, 20), 0, 6).Draw(rt, name)
			for k, p := range by {
				list = append(list, &identityv1.Validator{PublicKey: []byte(k), Power: p})
			}
			return byKey(list), by
		}
		from, old := set("from")
		to, now := set("to")
		var wantGone, wantCame int64
		for _, k := range []string{"a", "b", "c", "d", "e", "f"} {
			if d := now[k] - old[k]; d > 0 {
				wantCame += d
			} else {
				wantGone -= d
			}
		}
		if gone, came := moved(from, to); gone != wantGone || came != wantCame {
			rt.Fatalf("%d gone and %d came, want %d and %d", gone, came, wantGone, wantCame)
		}
	})
}

func TestNodes(t *testing.T) {
	w := start(t)
	n := nodeID('a')
	if w.m.NodeAllowed(w.View(), n) {
		t.Error("an unknown node is allowed")
	}
	w.do(acme, &identityv1.BindNode{NodeId: n})
	if !w.m.NodeAllowed(w.View(), n) || w.m.NodeAllowed(w.View(), strings.ToUpper(n)) || w.m.NodeAllowed(w.View(), "") {
		t.Error("NodeAllowed differs")
	}
	w.fails(ErrNodeTaken, acme, &identityv1.BindNode{NodeId: n})
	w.fails(ErrNodeTaken, quay, &identityv1.BindNode{NodeId: n})
	w.fails(ErrNotAllowed, quay, &identityv1.UnbindNode{NodeId: n})
	w.fails(ErrBadKind, dot, &identityv1.BindNode{NodeId: nodeID('b')})
	w.fails(ErrBadKind, did.Consortium, &identityv1.BindNode{NodeId: nodeID('b')})
	w.fails(ErrNoNode, quay, &identityv1.UnbindNode{NodeId: nodeID('b')})
	for _, bad := range []string{"", "abc", strings.Repeat("A", 40), strings.Repeat("g", 40), strings.Repeat("a", 41)} {
		w.fails(ErrBadNode, acme, &identityv1.BindNode{NodeId: bad})
	}
	w.CheckGenesis()
	w.do(acme, &identityv1.UnbindNode{NodeId: n})
	if w.m.NodeAllowed(w.View(), n) {
		t.Error("an unbound node is allowed")
	}
	w.do(quay, &identityv1.BindNode{NodeId: n})
	w.do(did.Consortium, &identityv1.UnbindNode{NodeId: n})
	var list []string
	for i := range MaxNodes - 1 { // it has one from the genesis state
		list = append(list, fmt.Sprintf("%040x", i))
	}
	for _, id := range list {
		w.do(acme, &identityv1.BindNode{NodeId: id})
	}
	w.fails(ErrTooMany, acme, &identityv1.BindNode{NodeId: n})
}
