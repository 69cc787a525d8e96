// Package founding makes the genesis file of a consortium from the parts that its
// organisations give each other.
package founding

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// MaxPartBytes is the largest part that is read.
const MaxPartBytes = 1 << 20

// Part is one machine of a founding organisation, with the organisation itself in the
// first of its parts. It holds nothing secret.
type Part struct {
	// ChainID is the chain for which the keys were proven.
	ChainID string
	// Address is the host:port at which the other nodes reach this one.
	Address string
	// Organisation is who founds: nil in the part of a further machine.
	Organisation *identityv1.RegisterOrganisation
	// Authorities go with Organisation; nil: none.
	Authorities *identityv1.SetAuthorities
	Validator   *identityv1.BindValidator
	Node        *identityv1.BindNode
}

// file is a part as it is exchanged. The messages are those by which an organisation and
// its machines come to a chain that runs.
type file struct {
	ChainID  string            `json:"chain_id"`
	Address  string            `json:"address"`
	Messages []json.RawMessage `json:"messages"`
}

// Bytes is the part as a file.
func (p *Part) Bytes() ([]byte, error) {
	f := file{ChainID: p.ChainID, Address: p.Address}
	var list []*txv1.Message
	if p.Organisation != nil {
		list = append(list, &txv1.Message{Sum: &txv1.Message_RegisterOrganisation{RegisterOrganisation: p.Organisation}})
	}
	if p.Authorities != nil {
		list = append(list, &txv1.Message{Sum: &txv1.Message_SetAuthorities{SetAuthorities: p.Authorities}})
	}
	list = append(list,
		&txv1.Message{Sum: &txv1.Message_BindValidator{BindValidator: p.Validator}},
		&txv1.Message{Sum: &txv1.Message_BindNode{BindNode: p.Node}})
	for _, m := range list {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			return nil, err
		}
		f.Messages = append(f.Messages, raw)
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}

// Parse reads a part, verifies the proofs of its keys, and refuses whatever is not in it.
func Parse(raw []byte) (*Part, error) {
	if len(raw) > MaxPartBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d", len(raw), MaxPartBytes)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("it is no part of a genesis file, as 'chancery genesis part' writes it: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the part in its file")
	}
	p := &Part{ChainID: f.ChainID, Address: f.Address}
	for i, one := range f.Messages {
		m := new(txv1.Message)
		if err := protojson.Unmarshal(one, m); err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		taken := false
		switch x := m.Sum.(type) {
		case *txv1.Message_RegisterOrganisation:
			taken, p.Organisation = p.Organisation != nil, x.RegisterOrganisation
		case *txv1.Message_SetAuthorities:
			taken, p.Authorities = p.Authorities != nil, x.SetAuthorities
		case *txv1.Message_BindValidator:
			taken, p.Validator = p.Validator != nil, x.BindValidator
		case *txv1.Message_BindNode:
			taken, p.Node = p.Node != nil, x.BindNode
		default:
			return nil, fmt.Errorf("message %d: a part holds register_organisation, set_authorities, bind_validator and bind_node alone", i+1)
		}
		if taken {
			return nil, fmt.Errorf("message %d: the part has one of that kind already", i+1)
		}
	}
	return p, p.check()
}

// check looks at a part alone.
func (p *Part) check() error {
	host, port, err := net.SplitHostPort(p.Address)
	switch {
	case err != nil || host == "" || port == "":
		return fmt.Errorf("its address %q is not host:port, at which the other nodes reach this one", p.Address)
	case p.Validator == nil || p.Node == nil:
		return errors.New("it lacks bind_validator or bind_node")
	case p.Validator.Power < 1:
		return fmt.Errorf("its voting power is %d; want at least 1", p.Validator.Power)
	case p.Organisation == nil && p.Authorities != nil:
		return errors.New("authorities belong into the part that registers the organisation")
	case p.Organisation != nil && p.Organisation.Did != p.Validator.Organisation:
		return fmt.Errorf("it registers %s and binds a validator of %s", p.Organisation.Did, p.Validator.Organisation)
	}
	if d, err := did.Parse(p.Validator.Organisation); err != nil || !d.IsOrganisation() {
		return fmt.Errorf("its organisation is %q; want did:chancery:SLUG", p.Validator.Organisation)
	}
	if p.Organisation != nil {
		if _, err := identity.FounderOf(p.ChainID, p.Organisation); err != nil {
			return err
		}
	}
	return nil
}

// Peer is how other nodes list the part's node: NODEID@HOST:PORT.
func (p *Part) Peer() string { return p.Node.GetNodeId() + "@" + p.Address }

// Charter is what the founders agree on besides their parts.
type Charter struct {
	ChainID string
	// Begins is the time of the first block; no node makes one before.
	Begins time.Time
	// Threshold is how many organisations act for the consortium; 0: more than two thirds.
	Threshold uint32
	// Detector is the canonical bytes of the model that judges transactions; nil: none.
	Detector []byte
	// Learning is for how long from Begins on verdicts are recorded and not carried out.
	Learning time.Duration
}

// Assemble makes the genesis document of a charter and its parts. It depends on nothing
// else, not on the order of the parts either, so that each organisation can make it by
// itself and they need only compare its hash.
func Assemble(c Charter, parts []*Part) (*types.GenesisDoc, error) {
	founders, err := founders(c, parts)
	if err != nil {
		return nil, err
	}
	threshold := c.Threshold
	if threshold == 0 {
		threshold = uint32(2*len(founders)/3 + 1) //nolint:gosec // a few
	}
	who, err := identity.NewGenesis(identity.Founding{At: c.Begins.UnixMilli(), Organisations: founders, Threshold: threshold})
	if err != nil {
		return nil, err
	}
	sections := map[string]proto.Message{"identity": who}
	if c.Detector != nil {
		sections["threat"] = threat.NewGenesis(c.Detector, c.Begins.Add(c.Learning).UnixMilli())
	}
	state := make(map[string]json.RawMessage, len(sections))
	for name, m := range sections {
		if state[name], err = chain.WriteGenesis(m); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(state) // in order of the names
	if err != nil {
		return nil, err
	}
	return node.NewGenesis(c.ChainID, c.Begins, raw)
}

// founders are the organisations of the parts, in order of their DIDs.
func founders(c Charter, parts []*Part) ([]identity.Founder, error) {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b *Part) int { return strings.Compare(a.Validator.Organisation, b.Validator.Organisation) })
	var out []identity.Founder
	for len(parts) > 0 {
		name := parts[0].Validator.Organisation
		n := slices.IndexFunc(parts, func(p *Part) bool { return p.Validator.Organisation != name })
		if n < 0 {
			n = len(parts)
		}
		f, err := founder(c, name, parts[:n])
		if err != nil {
			return nil, err
		}
		out, parts = append(out, f), parts[n:]
	}
	if len(out) == 0 {
		return nil, errors.New("a genesis file needs at least one part")
	}
	return out, nil
}

// founder is one organisation by all of its parts.
func founder(c Charter, name string, parts []*Part) (f identity.Founder, err error) {
	registered := false
	for _, p := range parts {
		switch {
		case p.ChainID != c.ChainID:
			return f, fmt.Errorf("the part of %s with node %s is for the chain %q, not %q: its organisation makes it anew", name, p.Node.NodeId, p.ChainID, c.ChainID)
		case p.Organisation == nil:
		case registered:
			return f, fmt.Errorf("two parts register %s: those of further machines are made without --administrator", name)
		default:
			registered = true
			made, err := identity.FounderOf(c.ChainID, p.Organisation)
			if err != nil {
				return f, fmt.Errorf("the part of %s: %w", name, err)
			}
			made.Validators, made.Nodes = f.Validators, f.Nodes
			made.Authorities = p.Authorities.GetCertificates()
			f = made
		}
		f.Validators = append(f.Validators, identity.FoundingValidator{PublicKey: p.Validator.PublicKey, Power: p.Validator.Power, Moniker: p.Validator.Moniker})
		f.Nodes = append(f.Nodes, p.Node.NodeId)
	}
	if !registered {
		return f, fmt.Errorf("no part registers %s; one of its machines makes a part with --administrator", name)
	}
	return f, nil
}

// Share is an organisation's weight among the validators.
type Share struct {
	Organisation string
	Validators   int
	Power        int64
	// Dispensable tells whether the others make blocks without it.
	Dispensable bool
}

// Shares are those of the organisations of parts, in order of their DIDs.
func Shares(parts []*Part) []Share {
	var out []Share
	var total int64
	for _, p := range parts {
		name := p.Validator.Organisation
		i, found := slices.BinarySearchFunc(out, name, func(s Share, n string) int { return strings.Compare(s.Organisation, n) })
		if !found {
			out = slices.Insert(out, i, Share{Organisation: name})
		}
		out[i].Validators++
		out[i].Power += p.Validator.Power
		total += p.Validator.Power
	}
	for i := range out {
		out[i].Dispensable = 3*(total-out[i].Power) > 2*total
	}
	return out
}

// Binds tells whether a genesis document binds node and validator of a part to the
// part's organisation.
func Binds(g *types.GenesisDoc, p *Part) (bool, error) {
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(g.AppState, &sections); err != nil {
		return false, fmt.Errorf("the genesis state: %w", err)
	}
	who := new(identityv1.Genesis)
	if err := chain.ReadGenesis(sections["identity"], who); err != nil {
		return false, err
	}
	node := slices.ContainsFunc(who.Nodes, func(n *identityv1.Node) bool {
		return n.Id == p.Node.NodeId && n.Organisation == p.Validator.Organisation
	})
	validator := slices.ContainsFunc(who.Validators, func(v *identityv1.Validator) bool {
		return bytes.Equal(v.PublicKey, p.Validator.PublicKey) && v.Power == p.Validator.Power && v.Organisation == p.Validator.Organisation
	})
	return node && validator, nil
}
