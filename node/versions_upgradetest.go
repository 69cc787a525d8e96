//go:build upgradetest

package node

import (
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// This file is a second version of the state machine for tests of upgrades between
// programs. The tag upgradetest builds it, and no release has the tag.

// milestone is what the migration to version 2 writes beside each organisation. The linker
// sets another for a program that is not what it should be.
var milestone = "v2"

// annals is a module that version 2 brings: from then on it notes every block.
type annals struct {
	schema        *state.Schema
	organisations state.Map[string, string]
	blocks        state.Item[uint64]
}

func newAnnals() *annals {
	s := state.NewSchema("annals", 0x7f)
	return &annals{
		schema:        s,
		organisations: state.NewMap(s, 0x01, "organisations", state.String, state.StringValue),
		blocks:        state.NewItem(s, 0x02, "blocks", state.Uint64Value),
	}
}

func (a *annals) Name() string                                           { return "annals" }
func (a *annals) Schema() *state.Schema                                  { return a.schema }
func (a *annals) Routes() []chain.Route                                  { return nil }
func (a *annals) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (a *annals) ExportGenesis(state.Reader) (proto.Message, error)      { return new(chainv1.Genesis), nil }
func (a *annals) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}

// EndBlock counts the blocks since version 2.
func (a *annals) EndBlock(ctx *chain.Ctx) {
	if ctx.Version() < 2 {
		return
	}
	n, _ := a.blocks.Lookup(ctx)
	a.blocks.Put(ctx, n+1)
}

func migrations(m Modules) []chain.Migration {
	a := newAnnals()
	return []chain.Migration{{
		{Module: "annals", Run: func(ctx *chain.Ctx) error {
			dids, _ := m.Identity.Controllers(ctx, m.Identity.Consortium())
			if len(dids) == 0 {
				return fmt.Errorf("nobody acts for the consortium")
			}
			for _, did := range dids {
				a.organisations.Put(ctx, did, milestone)
			}
			return nil
		}},
	}}
}

func beside() []chain.Module { return []chain.Module{newAnnals()} }
