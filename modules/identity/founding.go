package identity

import (
	"slices"
	"strings"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// Founding is what a new consortium starts with.
type Founding struct {
	At            int64 // Unix milliseconds: when the records say that they were made
	Organisations []Founder
	Threshold     uint32 // how many organisations act for the consortium
}

// Founder is an organisation that a consortium starts with.
type Founder struct {
	DID       string
	Keys      []FoundingKey // its own; needed when no member is an administrator
	Threshold uint32        // how many administrators act for it; 0 when there are none
	Members   []FoundingMember
	// Validators and Nodes are the machines that it runs from the first block on.
	Validators []FoundingValidator
	Nodes      []string // CometBFT node ids
	// Authorities are the certificate authorities of its clients: X.509, DER.
	Authorities [][]byte
}

// FounderOf is the founder that a registration describes: the form in which
// organisations give each other their keys before there is a chain. Every key has proven,
// for chainID, that its holder wants it to be that DID's. Keys that begin or end at a
// time are refused, since a founder's are valid from the first block on.
func FounderOf(chainID string, m *identityv1.RegisterOrganisation) (Founder, error) {
	if err := validateRegisterOrganisation(m); err != nil {
		return Founder{}, err
	}
	f := Founder{DID: m.Did, Threshold: m.Threshold}
	var err error
	if f.Keys, err = foundingKeys(chainID, m.Did, m.Keys); err != nil {
		return Founder{}, err
	}
	for _, a := range m.Administrators {
		list, err := foundingKeys(chainID, a.Did, a.Keys)
		if err != nil {
			return Founder{}, err
		}
		f.Members = append(f.Members, FoundingMember{DID: a.Did, Kind: a.Kind, Keys: list, Administrator: true})
	}
	return f, nil
}

func foundingKeys(chainID, of string, list []*identityv1.NewKey) ([]FoundingKey, error) {
	var out []FoundingKey
	for _, k := range list {
		url := did.URL(of, k.Id)
		if k.Type == identityv1.KeyType_KEY_TYPE_X25519 {
			return nil, ErrBadKey.With("%s: add keys for key agreement when the chain runs", url)
		}
		if k.ValidFrom != 0 || k.ValidUntil != 0 {
			return nil, ErrBadTime.With("%s: a founder's keys have neither valid_from nor valid_until", url)
		}
		public := keys.Public{Type: keys.Type(k.Type), Bytes: k.Public}
		if !public.Verify(PossessionMessage(chainID, of, k.Id, public), k.Proof) {
			return nil, ErrBadProof.With("%s, for the chain %s", url, chainID)
		}
		out = append(out, FoundingKey{ID: k.Id, Public: public, Purposes: k.Purposes})
	}
	return out, nil
}

// FoundingMember is a person, device or service of a Founder.
type FoundingMember struct {
	DID           string
	Kind          identityv1.Kind
	Keys          []FoundingKey
	Administrator bool
	Roles         []string
}

// FoundingKey is a key that is valid from the first block on.
type FoundingKey struct {
	ID     string
	Public keys.Public
	// Purposes; none means authentication and assertion.
	Purposes []identityv1.Purpose
}

// FoundingValidator is a consensus key with its voting power.
type FoundingValidator struct {
	PublicKey []byte // Ed25519, 32 bytes
	Power     int64
	Moniker   string
}

// NewGenesis is the genesis state of a new consortium, whose member organisations
// are all the founders. It depends on nothing but f. The error says which founder's
// record is not usable.
func NewGenesis(f Founding) (*identityv1.Genesis, error) {
	b := &founding{at: &identityv1.Mark{At: f.At, Version: 1}, g: &identityv1.Genesis{}}
	consortium := &identityv1.Identity{
		Did: did.Consortium, Kind: identityv1.Kind_KIND_CONSORTIUM, Organisation: did.Consortium, Threshold: f.Threshold,
	}
	for _, o := range f.Organisations {
		consortium.Controllers = append(consortium.Controllers, o.DID)
		if err := b.organisation(o); err != nil {
			return nil, err
		}
	}
	slices.Sort(consortium.Controllers)
	b.identity(consortium, nil)
	b.sort()
	if err := CheckGenesis(b.g); err != nil {
		return nil, err
	}
	return b.g, nil
}

type founding struct {
	at *identityv1.Mark
	g  *identityv1.Genesis
}

func (b *founding) identity(id *identityv1.Identity, list []FoundingKey) {
	id.Status, id.Version, id.Created, id.Updated = identityv1.Status_STATUS_ACTIVE, 1, b.at, b.at
	for _, k := range list {
		purposes := slices.Clone(k.Purposes)
		if len(purposes) == 0 {
			purposes = []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION, identityv1.Purpose_PURPOSE_ASSERTION}
		}
		slices.Sort(purposes)
		id.Keys = append(id.Keys, k.ID)
		b.g.Keys = append(b.g.Keys, &identityv1.Key{
			Did: id.Did, Id: k.ID, Type: identityv1.KeyType(k.Public.Type), Public: k.Public.Bytes, Purposes: purposes, Added: b.at,
		})
	}
	slices.Sort(id.Keys)
	b.g.Identities = append(b.g.Identities, id)
}

func (b *founding) organisation(o Founder) error {
	id := &identityv1.Identity{Did: o.DID, Kind: identityv1.Kind_KIND_ORGANISATION, Organisation: o.DID, Threshold: o.Threshold}
	unversioned := &identityv1.Mark{At: b.at.At}
	for _, p := range o.Members {
		if p.Administrator {
			id.Controllers = append(id.Controllers, p.DID)
		}
		b.identity(&identityv1.Identity{Did: p.DID, Kind: p.Kind, Organisation: o.DID}, p.Keys)
		if len(p.Roles) == 0 {
			continue
		}
		grants := &identityv1.RoleGrants{Did: p.DID}
		for _, role := range sorted(p.Roles) {
			grants.Grants = append(grants.Grants, &identityv1.RoleGrant{Role: role, Granted: unversioned})
		}
		b.g.Roles = append(b.g.Roles, grants)
	}
	slices.Sort(id.Controllers)
	b.identity(id, o.Keys)
	for _, v := range o.Validators {
		b.g.Validators = append(b.g.Validators, &identityv1.Validator{
			PublicKey: v.PublicKey, Power: v.Power, Organisation: o.DID, Moniker: v.Moniker, Bound: unversioned,
		})
	}
	for _, n := range o.Nodes {
		b.g.Nodes = append(b.g.Nodes, &identityv1.Node{Id: n, Organisation: o.DID, Bound: unversioned})
	}
	if len(o.Authorities) == 0 {
		return nil
	}
	authorities := &identityv1.Authorities{Organisation: o.DID, Changed: unversioned}
	for _, der := range o.Authorities {
		a, err := NewAuthority(der)
		if err != nil {
			return err
		}
		authorities.Authorities = append(authorities.Authorities, a)
	}
	b.g.Authorities = append(b.g.Authorities, authorities)
	return nil
}

// sort puts the lists into the order of an export.
func (b *founding) sort() {
	slices.SortFunc(b.g.Identities, func(x, y *identityv1.Identity) int { return strings.Compare(x.Did, y.Did) })
	slices.SortFunc(b.g.Keys, func(x, y *identityv1.Key) int {
		if c := strings.Compare(x.Did, y.Did); c != 0 {
			return c
		}
		return strings.Compare(x.Id, y.Id)
	})
	slices.SortFunc(b.g.Roles, func(x, y *identityv1.RoleGrants) int { return strings.Compare(x.Did, y.Did) })
	slices.SortFunc(b.g.Validators, func(x, y *identityv1.Validator) int { return slices.Compare(x.PublicKey, y.PublicKey) })
	slices.SortFunc(b.g.Nodes, func(x, y *identityv1.Node) int { return strings.Compare(x.Id, y.Id) })
	slices.SortFunc(b.g.Authorities, func(x, y *identityv1.Authorities) int { return strings.Compare(x.Organisation, y.Organisation) })
}
