package identity

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// A registration is a founder's only where every key was proven for this very chain.
func TestFounderOf(t *testing.T) {
	good := func() *identityv1.RegisterOrganisation {
		return &identityv1.RegisterOrganisation{
			Did: quay, Threshold: 1, Administrators: []*identityv1.NewIdentity{member(t, robot, identityv1.Kind_KIND_SERVICE)},
		}
	}
	f, err := FounderOf(chaintest.ChainID, good())
	if err != nil || f.DID != quay || len(f.Members) != 1 || !f.Members[0].Administrator || len(f.Members[0].Keys) != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, err := NewGenesis(Founding{At: 1, Threshold: 1, Organisations: []Founder{f}}); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		chain  string
		change func(*identityv1.RegisterOrganisation)
		want   *errs.Error
	}{
		"a proof for another chain": {"other-1", func(*identityv1.RegisterOrganisation) {}, ErrBadProof},
		"a proof of another key": {chaintest.ChainID, func(m *identityv1.RegisterOrganisation) {
			m.Administrators[0].Keys[0].Public = key(ann).Public().Bytes
		}, ErrBadProof},
		"a proof for another id": {chaintest.ChainID, func(m *identityv1.RegisterOrganisation) { m.Administrators[0].Keys[0].Id = "key-2" }, ErrBadProof},
		"a key with an end":      {chaintest.ChainID, func(m *identityv1.RegisterOrganisation) { m.Administrators[0].Keys[0].ValidUntil = 5 }, ErrBadTime},
		"too few administrators": {chaintest.ChainID, func(m *identityv1.RegisterOrganisation) { m.Threshold = 2 }, ErrBadThreshold},
		"somebody else's":        {chaintest.ChainID, func(m *identityv1.RegisterOrganisation) { m.Did = acme }, ErrNotMember},
	} {
		m := proto.CloneOf(good())
		c.change(m)
		if _, err := FounderOf(c.chain, m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthoritiesOfFounders(t *testing.T) {
	f := consortium()
	f.Organisations[1].Authorities = [][]byte{[]byte("no certificate")}
	if _, err := NewGenesis(f); !errors.Is(err, ErrBadAuthority) {
		t.Errorf("%v", err)
	}
}
