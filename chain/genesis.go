package chain

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// genesisState is what InitGenesis wrote, held until block 1 commits it.
type genesisState struct {
	changes []state.Change
	events  []*chainv1.Event
	updates []ValidatorUpdate
}

// InitGenesis reads the genesis state, a JSON object with a section per module
// and one named "chain", into memory; block 1 persists it. It returns the root
// that a tree of just this state has, and the first validators.
func (a *App) InitGenesis(h Header, raw json.RawMessage) (root []byte, validators []ValidatorUpdate, err error) {
	if v := a.tree.Version(); v != 0 {
		return nil, nil, fmt.Errorf("the state is at height %d already; a genesis is for an empty one", v)
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sections); err != nil {
		return nil, nil, fmt.Errorf("the genesis state is not a JSON object: %w", err)
	}
	known := 0
	section := func(name string) json.RawMessage {
		if s, ok := sections[name]; ok {
			known++
			return s
		}
		return json.RawMessage("{}")
	}
	overlay := state.NewOverlay(a.tree.Latest())
	g := &genesisState{}
	ctx := &Ctx{env: env{chainID: a.chainID, height: h.Height, time: h.Time, version: FirstVersion}, overlay: overlay, updates: &g.updates}
	core := new(chainv1.Genesis)
	if err := ReadGenesis(section("chain"), core); err != nil {
		return nil, nil, fmt.Errorf("genesis of chain: %w", err)
	}
	if core.Params == nil {
		core.Params = DefaultParams()
	}
	if err := CheckParams(core.Params); err != nil {
		return nil, nil, fmt.Errorf("genesis of chain: %w", err)
	}
	a.core.params.Put(ctx, core.Params)
	if err := a.beginWith(ctx, core.Version); err != nil {
		return nil, nil, fmt.Errorf("genesis of chain: %w", err)
	}
	for _, m := range a.modules {
		if err := m.InitGenesis(ctx, section(m.Name())); err != nil {
			return nil, nil, fmt.Errorf("genesis of %s: %w", m.Name(), err)
		}
	}
	if known != len(sections) {
		return nil, nil, fmt.Errorf("the genesis state has %d sections of which %d belong to no module; remove them", len(sections), len(sections)-known)
	}
	g.changes, g.events = overlay.Changes(), ctx.events
	g.updates = lastPerKey(g.updates)
	if root, err = state.Root(g.changes); err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	a.genesis = g
	a.mu.Unlock()
	return root, g.updates, nil
}

// ExportGenesis writes the genesis state that would build the state in r, in
// canonical form: importing it and exporting again gives the same bytes.
func (a *App) ExportGenesis(r state.Reader) (json.RawMessage, error) {
	var out bytes.Buffer
	write := func(name string, m proto.Message) error {
		raw, err := WriteGenesis(m)
		if err != nil {
			return fmt.Errorf("genesis of %s: %w", name, err)
		}
		if out.Len() == 0 {
			out.WriteByte('{')
		} else {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%q:", name)
		out.Write(raw)
		return nil
	}
	if err := write("chain", &chainv1.Genesis{Params: a.paramsIn(r), Version: a.exportedVersion(r)}); err != nil {
		return nil, err
	}
	for _, m := range a.modules {
		g, err := m.ExportGenesis(r)
		if err != nil {
			return nil, fmt.Errorf("genesis of %s: %w", m.Name(), err)
		}
		if err := write(m.Name(), g); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// ReadGenesis parses a section, refusing fields that it does not know.
func ReadGenesis(raw json.RawMessage, into proto.Message) error {
	return protojson.UnmarshalOptions{}.Unmarshal(raw, into)
}

// WriteGenesis writes a section in canonical form: protobuf JSON with the white
// space, which protojson varies on purpose, taken out.
func WriteGenesis(m proto.Message) (json.RawMessage, error) {
	//determinism:allow compacted below
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
