package identity

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

const statePrefix = 0x10

type collections struct {
	schema        *state.Schema
	identities    state.Map[string, *identityv1.Identity]
	history       state.Map[state.Pair[string, uint64], *identityv1.Identity]
	keys          state.Map[state.Pair[string, string], *identityv1.Key]
	holders       state.Map[[]byte, *identityv1.KeyHolder]
	organisations state.Index[string]
	members       state.Index[state.Pair[string, string]]
	recoveries    state.Map[string, *identityv1.Recovery]
	due           state.Index[state.Pair[int64, string]]
	roles         state.Map[string, *identityv1.RoleGrants]
	groups        state.Map[state.Pair[string, string], *identityv1.Group]
	groupMembers  state.Index[state.Triple[string, string, string]]
	memberships   state.Map[string, *identityv1.Membership]
	validators    state.Map[[]byte, *identityv1.Validator]
	nodes         state.Map[string, *identityv1.Node]
	nodesOf       state.Index[state.Pair[string, string]]
	turnover      state.Item[*identityv1.Turnover]
	authorities   state.Map[string, *identityv1.Authorities]
}

var (
	two   = state.PairOf(state.String, state.String)
	three = state.TripleOf(state.String, state.String, state.String)
	all   = state.All()
)

func newCollections() collections {
	s := state.NewSchema("identity", statePrefix)
	return collections{
		schema:        s,
		identities:    state.NewMap(s, 0x01, "identities", state.String, state.Proto[identityv1.Identity]()),
		history:       state.NewMap(s, 0x02, "history", state.PairOf(state.String, state.Uint64), state.Proto[identityv1.Identity]()),
		keys:          state.NewMap(s, 0x03, "keys", two, state.Proto[identityv1.Key]()),
		holders:       state.NewMap(s, 0x04, "holders", state.Bytes, state.Proto[identityv1.KeyHolder]()),
		organisations: state.NewIndex(s, 0x05, "organisations", state.String),
		members:       state.NewIndex(s, 0x06, "members", two),
		recoveries:    state.NewMap(s, 0x07, "recoveries", state.String, state.Proto[identityv1.Recovery]()),
		due:           state.NewIndex(s, 0x08, "due", state.PairOf(state.Int64, state.String)),
		roles:         state.NewMap(s, 0x09, "roles", state.String, state.Proto[identityv1.RoleGrants]()),
		groups:        state.NewMap(s, 0x0a, "groups", two, state.Proto[identityv1.Group]()),
		groupMembers:  state.NewIndex(s, 0x0b, "group-members", three),
		memberships:   state.NewMap(s, 0x0c, "memberships", state.String, state.Proto[identityv1.Membership]()),
		validators:    state.NewMap(s, 0x0d, "validators", state.Bytes, state.Proto[identityv1.Validator]()),
		nodes:         state.NewMap(s, 0x0e, "nodes", state.String, state.Proto[identityv1.Node]()),
		nodesOf:       state.NewIndex(s, 0x0f, "nodes-of", two),
		turnover:      state.NewItem(s, 0x10, "turnover", state.Proto[identityv1.Turnover]()),
		authorities:   state.NewMap(s, 0x11, "authorities", state.String, state.Proto[identityv1.Authorities]()),
	}
}

// holderKey is SHA-256 of the key's type (four bytes, big endian) and bytes.
func holderKey(t identityv1.KeyType, public []byte) []byte {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(t)), public...))
	return sum[:]
}

// mark is now, in the transaction under way if there is one.
func mark(ctx chain.ReadCtx, version uint64) *identityv1.Mark {
	m := &identityv1.Mark{Height: ctx.Height(), At: ctx.Time(), Version: version}
	if id := ctx.TxID(); id != (tx.ID{}) {
		m.TxId = id[:]
	}
	return m
}

// revise files the record under its version and starts the next one, which the
// caller changes and puts.
func (m *Module) revise(ctx *chain.Ctx, id *identityv1.Identity) *identityv1.Mark {
	m.s.history.Put(ctx, state.Join(id.Did, id.Version), id)
	id.Version++
	id.Updated = mark(ctx, id.Version)
	return id.Updated
}

// create puts the first version of a record.
func (m *Module) create(ctx *chain.Ctx, id *identityv1.Identity) {
	id.Version = 1
	id.Status = identityv1.Status_STATUS_ACTIVE
	id.Created = mark(ctx, 1)
	id.Updated = mark(ctx, 1)
	m.s.identities.Put(ctx, id.Did, id)
	m.index(ctx, id)
	ctx.Emit(&identityv1.Registered{Did: id.Did, Kind: id.Kind, Organisation: id.Organisation, By: ctx.Author()})
}

func (m *Module) index(ctx *chain.Ctx, id *identityv1.Identity) {
	switch id.Kind {
	case identityv1.Kind_KIND_CONSORTIUM:
	case identityv1.Kind_KIND_ORGANISATION:
		m.s.organisations.Add(ctx, id.Did)
	default:
		m.s.members.Add(ctx, state.Join(id.Organisation, id.Did))
	}
}
