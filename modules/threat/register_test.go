package threat

import (
	"fmt"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func putParams(p *threatv1.Params) func(*chain.Ctx, *Module) error {
	return func(ctx *chain.Ctx, m *Module) error {
		m.params.Put(ctx, p)
		return nil
	}
}

func TestRegisterModel(t *testing.T) {
	d := newDesk(t)
	hash := hashOf([]byte("x"))
	msg := &threatv1.RegisterModel{Hash: hash, Size: 2*chunkSize + 1}
	for _, author := range []string{house, adminOf(house), runner} {
		d.Fails(ErrNotConsortium, author, msg)
	}
	r := d.Do(chaintest.Consortium, msg)
	if got := chaintest.Response[threatv1.RegisterModelResponse](t, r).Chunks; got != 3 {
		t.Fatalf("%d chunks", got)
	}
	rec := d.model(hash)
	want := &threatv1.ModelRecord{
		Hash: hash, Size: msg.Size, Chunks: 3, Stage: loadingStage, Author: chaintest.Consortium,
		Height: d.Height(), Time: d.Now, Since: d.Height(),
	}
	if !rec.EqualVT(want) || !soleEvent[threatv1.ModelStaged](t, r).Model.EqualVT(want) {
		t.Fatalf("record %v", rec)
	}
	d.CheckGenesis()
	for _, bad := range []*threatv1.RegisterModel{
		{Hash: hash}, {Hash: hash[1:], Size: 1}, {Hash: hash, Size: maxModelBytes + 1},
		{Hash: hash, Size: chunkSize + 1, ChunkHashes: [][]byte{hash}}, {Hash: hash, Size: 1, ChunkHashes: [][]byte{hash[1:]}},
	} {
		d.Fails(ErrInvalid, chaintest.Consortium, bad)
	}
	for size, want := range map[uint32]uint32{1: 1, chunkSize: 1, chunkSize + 1: 2, maxModelBytes: 32} {
		if got := chunksOf(size); got != want {
			t.Errorf("%d bytes are %d chunks", size, got)
		}
	}
}

// A model that is loading starts anew; one that is there is known, also when it was
// retired.
func TestRegisterModelAgain(t *testing.T) {
	d := newDesk(t)
	raw := rawDetector(t, "large", manyRules)
	hash := hashOf(raw)
	d.Do(chaintest.Consortium, &threatv1.RegisterModel{Hash: hash, Size: uint32(len(raw))})
	d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Bytes: make([]byte, chunkSize)})
	d.registers(raw)
	d.wantStage(hash, registeredStage)
	d.Fails(ErrModelKnown, chaintest.Consortium, &threatv1.RegisterModel{Hash: hash, Size: uint32(len(raw))})
	d.moves(hash, retiredStage)
	d.Fails(ErrModelKnown, chaintest.Consortium, &threatv1.RegisterModel{Hash: hash, Size: uint32(len(raw))})
}

func TestModelsAreBounded(t *testing.T) {
	d := newDesk(t)
	add := func(i int) *threatv1.RegisterModel {
		return &threatv1.RegisterModel{Hash: hashOf(fmt.Append(nil, i)), Size: 1}
	}
	for i := range maxModels {
		d.Do(chaintest.Consortium, add(i))
	}
	d.Fails(ErrTooMany, chaintest.Consortium, add(99))
	d.moves(add(3).Hash, retiredStage)
	d.Do(chaintest.Consortium, add(99))
	d.Fails(ErrTooMany, chaintest.Consortium, add(100))

	// Retired ones have a bound of their own.
	d.step(func(ctx *chain.Ctx, m *Module) error {
		for i := range maxModelRecords {
			h := hashOf(fmt.Append(nil, i))
			m.models.Put(ctx, h, &threatv1.ModelRecord{Hash: h, Stage: retiredStage, Size: 1, Chunks: 1})
		}
		return nil
	})
	d.Fails(ErrTooMany, chaintest.Consortium, add(5000))
}
