package threat

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// announce registers a model without its bytes.
func (d *desk) announce(raw []byte, chunkHashes bool) []byte {
	d.t.Helper()
	msg := &threatv1.RegisterModel{Hash: hashOf(raw), Size: uint32(len(raw))}
	for _, p := range pieces(raw) {
		if chunkHashes {
			msg.ChunkHashes = append(msg.ChunkHashes, hashOf(p))
		}
	}
	d.Do(chaintest.Consortium, msg)
	return msg.Hash
}

func TestAddModelChunks(t *testing.T) {
	d := newDesk(t)
	raw := rawDetector(t, "large", manyRules)
	parts := pieces(raw)
	if len(parts) != 3 {
		t.Fatalf("the test's model has %d chunks, want 3", len(parts))
	}
	hash := d.announce(raw, false)
	d.Fails(ErrNotFound, runner, &threatv1.AddModelChunk{Hash: hashOf(nil), Bytes: parts[0]})
	d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Index: 1, Bytes: parts[1]})
	d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Bytes: parts[0][1:]})
	d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash})
	d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Bytes: make([]byte, chunkSize+1)})
	for i, p := range parts {
		r := d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Index: uint32(i), Bytes: p})
		got := chaintest.Response[threatv1.AddModelChunkResponse](t, r)
		if last := i == 2; got.Loaded != uint32(i+1) || (got.Stage == registeredStage) != last || (len(chaintest.Events[threatv1.ModelStaged](t, r)) == 1) != last {
			t.Fatalf("chunk %d: %v", i, got)
		}
		if i == 0 {
			d.CheckGenesis()
			d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Bytes: p})
		}
		if i == 1 {
			d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Index: 2, Bytes: append(slices.Clone(parts[2]), 0)})
		}
	}
	rec := d.model(hash)
	if rec.Name != "large" || rec.Since != d.Height() || !bytes.Equal(d.m.modelBytes(d.View(), rec), raw) {
		t.Fatalf("record %v", rec)
	}
	d.Fails(ErrModelStage, runner, &threatv1.AddModelChunk{Hash: hash, Index: 3, Bytes: parts[2]})
	d.CheckGenesis()
}

// With the chunks' hashes, a wrong chunk is refused at once; without, all are dropped
// at the end, and are sent again.
func TestCorruptChunk(t *testing.T) {
	raw := rawDetector(t, "large", manyRules)
	parts := pieces(raw)
	bad := slices.Clone(parts[1])
	bad[1000] ^= 1

	d := newDesk(t)
	hash := d.announce(raw, true)
	d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Bytes: parts[0]})
	d.Fails(ErrBadChunk, runner, &threatv1.AddModelChunk{Hash: hash, Index: 1, Bytes: bad})
	d.CheckGenesis()
	for _, i := range []uint32{1, 2} {
		d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Index: i, Bytes: parts[i]})
	}
	d.wantStage(hash, registeredStage)
	if len(d.model(hash).ChunkHashes) != 0 {
		t.Fatal("the chunks' hashes are still there")
	}

	d = newDesk(t)
	hash = d.announce(raw, false)
	d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Bytes: parts[0]})
	d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Index: 1, Bytes: bad})
	r := d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Index: 2, Bytes: parts[2]})
	got := chaintest.Response[threatv1.AddModelChunkResponse](t, r)
	if got.Stage != loadingStage || got.Loaded != 0 || d.model(hash).Loaded != 0 {
		t.Fatalf("response %v", got)
	}
	for k := range d.m.chunks.Walk(d.View(), state.All()) {
		t.Fatalf("chunk %d is still there", k.B)
	}
	d.CheckGenesis()
	for i, p := range parts {
		d.Do(runner, &threatv1.AddModelChunk{Hash: hash, Index: uint32(i), Bytes: p})
	}
	d.wantStage(hash, registeredStage)
}

// What has its hash and is no detector, or needs too much work, is refused.
func TestUnusableModel(t *testing.T) {
	d := newDesk(t)
	for _, raw := range [][]byte{{1, 2, 3}, append(rawDetector(t, "x"), 0x98, 0x06, 1), rawDetector(t, "y")[:50]} {
		hash := d.announce(raw, true)
		d.Fails(ErrBadModel, runner, &threatv1.AddModelChunk{Hash: hash, Bytes: raw})
		d.wantStage(hash, loadingStage)
		if d.model(hash).Loaded != 0 {
			t.Fatal("the chunk stayed")
		}
		d.moves(hash, retiredStage)
	}

	raw := rawDetector(t, "costly")
	hash := d.announce(raw, false)
	p := deskParams()
	p.MaxScoreWork = 10
	d.step(putParams(p))
	add := &threatv1.AddModelChunk{Hash: hash, Bytes: raw}
	d.Fails(ErrTooCostly, runner, add)
	d.wantStage(hash, loadingStage)
	d.step(putParams(deskParams()))
	d.Do(runner, proto.Message(add))
	d.wantStage(hash, registeredStage)
}
