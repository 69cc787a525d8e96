package node

import (
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/intel"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	// deedBlocks is how many blocks are kept decoded, so that whoever reads the same
	// block soon after need not decode it again.
	deedBlocks = 4
	// maxNames is the most resources, and the most hashes, that are taken from one
	// transaction.
	maxNames = 64
)

// deed is a committed transaction as the node's own judgement and its forecasts see
// it. It is shared and must not be changed.
type deed struct {
	actor, organisation string
	kind                string   // of its leading message, such as access.Decide; empty: not known
	resources           []string // as features.Facts names them, each once
	hashes              []string // SHA-256 of contents that it registers, hexadecimal, each once
	score               uint32
	scored, failed      bool
}

// deeds reads committed blocks. It is safe for concurrent use.
type deeds struct {
	// txs are a block's transactions, nil for one of a later version of the program, and false
	// where they are gone.
	txs func(height int64) ([]*tx.Decoded, bool)

	mu     sync.Mutex // guards blocks
	blocks *simplelru.LRU[int64, *blockDeeds]
}

// blockDeeds is a block that is decoded once.
type blockDeeds struct {
	once sync.Once
	list []deed
}

func newDeeds(txs func(height int64) ([]*tx.Decoded, bool)) *deeds {
	blocks, err := simplelru.NewLRU[int64, *blockDeeds](deedBlocks, nil)
	if err != nil {
		panic("node: " + err.Error()) // of a size that is not positive
	}
	return &deeds{txs: txs, blocks: blocks}
}

// of is what was done in a block, in order, as far as it can be told.
func (d *deeds) of(r *chainv1.BlockRecord) []deed {
	d.mu.Lock()
	b, ok := d.blocks.Get(r.Height)
	if !ok {
		b = new(blockDeeds)
		d.blocks.Add(r.Height, b)
	}
	d.mu.Unlock()
	b.once.Do(func() { b.list = d.read(r) })
	return b.list
}

func (d *deeds) read(r *chainv1.BlockRecord) []deed {
	if len(r.Txs) == 0 {
		return nil
	}
	txs, ok := d.txs(r.Height)
	ok = ok && len(txs) == len(r.Txs)
	out := make([]deed, 0, len(r.Txs))
	for i, result := range r.Txs {
		x := deed{score: result.Verdict.GetScore(), scored: result.Verdict != nil, failed: result.Code != 0}
		if ok {
			if txs[i] == nil {
				continue
			}
			x.describe(txs[i])
		} else {
			told := forecast.FromEvents(&chainv1.BlockRecord{Height: r.Height, Time: r.Time, Txs: []*chainv1.TxResult{result}})
			if len(told) == 0 {
				continue
			}
			x.actor, x.organisation, x.resources = told[0].Actor, told[0].Organisation, told[0].Resources
		}
		out = append(out, x)
	}
	return out
}

// describe takes what a committed transaction says.
func (x *deed) describe(t *tx.Decoded) {
	x.actor = t.Body.Author
	if author, err := did.Parse(x.actor); err == nil {
		x.organisation = author.Organisation()
	}
	facts := make([]features.Facts, len(t.Messages))
	for i, m := range t.Messages {
		facts[i], _ = features.Describe(m)
		x.resources = once(x.resources, facts[i].Resource)
		x.contents(m)
	}
	if lead := features.Lead(facts); lead >= 0 {
		x.kind = kinds[t.Messages[lead].ProtoReflect().Descriptor().FullName()]
	}
}

// contents notes the hashes of contents that a message registers.
func (x *deed) contents(m proto.Message) {
	entity := func(e *provenancev1.Entity) {
		for _, h := range e.GetHashes() {
			// A multihash: the code of SHA-256, its length, the digest.
			if len(h) == 34 && h[0] == 0x12 && h[1] == 32 {
				x.hashes = once(x.hashes, hex.EncodeToString(h[2:]))
			}
		}
	}
	switch m := m.(type) {
	case *provenancev1.RegisterEntity:
		entity(m.GetEntity())
	case *provenancev1.ReviseEntity:
		entity(m.GetEntity())
	case *provenancev1.Record:
		for _, n := range m.GetNodes() {
			entity(n.GetEntity())
		}
	}
}

// once adds a name, unless it is empty, there already or one too many.
func once(list []string, name string) []string {
	if name == "" || len(list) == maxNames || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// kinds are short names of the messages that transactions can hold: module and name.
var kinds = func() map[protoreflect.FullName]string {
	out := map[protoreflect.FullName]string{}
	for _, arm := range tx.Arms() {
		name := arm.Message().FullName()
		module := strings.TrimPrefix(string(name.Parent()), "chancery.")
		module, _, _ = strings.Cut(module, ".")
		out[name] = module + "." + string(name.Name())
	}
	return out
}()

// intel is a block as the sources of package intel see it.
func (d *deeds) intel(r *chainv1.BlockRecord) []intel.Observation {
	list := d.of(r)
	out := make([]intel.Observation, len(list))
	for i, x := range list {
		out[i] = intel.Observation{
			Height: r.Height, Time: r.Time, Actor: x.actor, Organisation: x.organisation, Kind: x.kind,
			Resources: slices.Concat(x.resources, x.hashes), Score: x.score, Scored: x.scored, Failed: x.failed,
		}
	}
	return out
}

// forecast is a block as forecasts see it.
func (d *deeds) forecast(r *chainv1.BlockRecord) []forecast.Observation {
	list := d.of(r)
	out := make([]forecast.Observation, len(list))
	for i, x := range list {
		out[i] = forecast.Observation{
			Height: r.Height, Time: r.Time, Actor: x.actor, Organisation: x.organisation,
			Resources: x.resources, Score: x.score, Scored: x.scored,
		}
	}
	return out
}
