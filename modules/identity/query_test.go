package identity

import (
	"context"
	"iter"
	"slices"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// pages collects the pages of a query, two entries at a time.
func pages[E any](t *testing.T, page func(token []byte) ([]E, []byte, error)) []E {
	t.Helper()
	var out []E
	var token []byte
	for {
		entries, next, err := page(token)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > 2 {
			t.Fatalf("a page of %d", len(entries))
		}
		out = append(out, entries...)
		if next == nil {
			return out
		}
		token = next
	}
}

func dids(list []*identityv1.Identity) []string {
	var out []string
	for _, id := range list {
		out = append(out, id.Did)
	}
	return out
}

func TestListQueries(t *testing.T) {
	w := rich(t)
	q, c := w.query(), context.Background()
	members := pages(t, func(token []byte) ([]*identityv1.Identity, []byte, error) {
		r, err := q.Identities(c, &identityv1.IdentitiesRequest{Organisation: mercy, Limit: 2, PageToken: token})
		return r.GetIdentities(), r.GetNextPageToken(), err
	})
	if got := dids(members); !slices.Equal(got, sorted([]string{ann, ben, cyd, dot, did.Member("mercy", "old")})) {
		t.Errorf("members %v", got)
	}
	organisations := pages(t, func(token []byte) ([]*identityv1.Identity, []byte, error) {
		r, err := q.Organisations(c, &identityv1.OrganisationsRequest{Limit: 2, PageToken: token})
		return r.GetOrganisations(), r.GetNextPageToken(), err
	})
	if got := dids(organisations); !slices.Equal(got, []string{acme, hold, mercy, quay}) {
		t.Errorf("organisations %v", got)
	}
	ring := pages(t, func(token []byte) ([]*identityv1.Key, []byte, error) {
		r, err := q.Keys(c, &identityv1.KeysRequest{Did: dot, Limit: 2, PageToken: token})
		return r.GetKeys(), r.GetNextPageToken(), err
	})
	if len(ring) != 3 || !ring[1].Pending {
		t.Errorf("keys %v", ring)
	}
	in := pages(t, func(token []byte) ([]string, []byte, error) {
		r, err := q.GroupMembers(c, &identityv1.GroupMembersRequest{Id: "mercy/ward", Limit: 2, PageToken: token})
		return r.GetMembers(), r.GetNextPageToken(), err
	})
	if !slices.Equal(in, sorted([]string{mercy, ann, dot})) {
		t.Errorf("group members %v", in)
	}
	groups := pages(t, func(token []byte) ([]*identityv1.Group, []byte, error) {
		r, err := q.Groups(c, &identityv1.GroupsRequest{Organisation: mercy, Limit: 2, PageToken: token})
		return r.GetGroups(), r.GetNextPageToken(), err
	})
	if len(groups) != 2 || groups[1].Members != 3 {
		t.Errorf("groups %v", groups)
	}
	validators := pages(t, func(token []byte) ([]*identityv1.Validator, []byte, error) {
		r, err := q.Validators(c, &identityv1.ValidatorsRequest{Limit: 2, PageToken: token})
		return r.GetValidators(), r.GetNextPageToken(), err
	})
	if len(validators) != 4 {
		t.Errorf("validators %v", validators)
	}
	for of, want := range map[string]int{"": 3, hold: 1, quay: 0} {
		nodes := pages(t, func(token []byte) ([]*identityv1.Node, []byte, error) {
			r, err := q.Nodes(c, &identityv1.NodesRequest{Organisation: of, Limit: 2, PageToken: token})
			return r.GetNodes(), r.GetNextPageToken(), err
		})
		if len(nodes) != want {
			t.Errorf("nodes of %q: %v", of, nodes)
		}
	}
}

// points is a state that cannot be walked: what is read from it can be proven.
type points struct{ chain.ReadCtx }

func (points) Walk([]byte, []byte, bool) iter.Seq2[[]byte, []byte] { panic("a walk") }

type pointSnapshots struct{ w *world }

func (s pointSnapshots) At(context.Context) (chain.ReadCtx, error) { return points{s.w.View()}, nil }

func TestQueriesForOneRecordAreProvable(t *testing.T) {
	w := rich(t)
	q, c := &queries{m: w.m, q: pointSnapshots{w}}, context.Background()
	public := key(acme).Public()
	for name, ask := range map[string]func() (any, error){
		"Identity":      func() (any, error) { return q.Identity(c, &identityv1.IdentityRequest{Did: ann}) },
		"Document":      func() (any, error) { return q.Document(c, &identityv1.DocumentRequest{Did: acme}) },
		"Document then": func() (any, error) { return q.Document(c, &identityv1.DocumentRequest{Did: acme, Time: w.Now - 1}) },
		"Key":           func() (any, error) { return q.Key(c, &identityv1.KeyRequest{Did: ann, Id: "key-1"}) },
		"ByKey": func() (any, error) {
			return q.ByKey(c, &identityv1.ByKeyRequest{Type: identityv1.KeyType(public.Type), Public: public.Bytes})
		},
		"Recovery":    func() (any, error) { return q.Recovery(c, &identityv1.RecoveryRequest{Did: dot}) },
		"Roles":       func() (any, error) { return q.Roles(c, &identityv1.RolesRequest{Did: dot}) },
		"Group":       func() (any, error) { return q.Group(c, &identityv1.GroupRequest{Id: "mercy/ward"}) },
		"Memberships": func() (any, error) { return q.Memberships(c, &identityv1.MembershipsRequest{Did: dot}) },
	} {
		if _, err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// So is what other modules and the consensus engine ask, and authority itself.
	r := points{w.View()}
	if !w.m.Active(r, dot) || !w.m.NodeAllowed(r, nodeID('c')) || len(w.m.Roles(r, dot)) != 1 || len(w.m.Groups(r, dot)) != 1 || w.m.IsAdministrator(r, mercy, cyd) {
		t.Error("facts differ")
	}
	if _, err := w.m.Authenticate(r, chain.Claim{Author: quay, Keys: []string{did.URL(robot, "key-1")}}); err != nil {
		t.Error(err)
	}
}

func TestQueriesRefuse(t *testing.T) {
	w := rich(t)
	q, c := w.query(), context.Background()
	multikey := Multikey(identityv1.KeyType_KEY_TYPE_X25519, x25519(t, 3))
	if r, err := q.ByKey(c, &identityv1.ByKeyRequest{Multibase: multikey}); err != nil || r.Holder.Key != "box" {
		t.Errorf("%v, %v", r, err)
	}
	for name, a := range map[string]struct {
		want *errs.Error
		ask  func() (any, error)
	}{
		"identity":   {ErrUnknownDID, func() (any, error) { return q.Identity(c, &identityv1.IdentityRequest{Did: did.Member("acme", "u")}) }},
		"identity's": {ErrBadDID, func() (any, error) { return q.Identity(c, &identityv1.IdentityRequest{Did: "u"}) }},
		"key":        {ErrUnknownKey, func() (any, error) { return q.Key(c, &identityv1.KeyRequest{Did: acme, Id: "u"}) }},
		"key's id":   {ErrBadQuery, func() (any, error) { return q.Key(c, &identityv1.KeyRequest{Did: acme, Id: "U"}) }},
		"no key":     {ErrBadQuery, func() (any, error) { return q.ByKey(c, &identityv1.ByKeyRequest{}) }},
		"bad key":    {ErrBadQuery, func() (any, error) { return q.ByKey(c, &identityv1.ByKeyRequest{Multibase: "zz"}) }},
		"two keys": {ErrBadQuery, func() (any, error) {
			return q.ByKey(c, &identityv1.ByKeyRequest{Multibase: multikey, Public: []byte{1}})
		}},
		"unknown key": {ErrUnknownPublicKey, func() (any, error) { return q.ByKey(c, &identityv1.ByKeyRequest{Type: 1, Public: consensus("u")}) }},
		"limit":       {ErrBadQuery, func() (any, error) { return q.Organisations(c, &identityv1.OrganisationsRequest{Limit: maxPage + 1}) }},
		"group":       {ErrNoGroup, func() (any, error) { return q.Group(c, &identityv1.GroupRequest{Id: "mercy/u"}) }},
		"group's id":  {ErrBadQuery, func() (any, error) { return q.Group(c, &identityv1.GroupRequest{Id: "mercy"}) }},
		"members of":  {ErrBadDID, func() (any, error) { return q.Identities(c, &identityv1.IdentitiesRequest{}) }},
	} {
		if _, err := a.ask(); err == nil || !errs.As(err).Is(a.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
