package threat

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/detector"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func (m *Module) addModelChunk() chain.Route {
	return chain.HandlePlan(chain.Planner[*threatv1.AddModelChunk, *threatv1.ModelRecord]{
		Validate: func(msg *threatv1.AddModelChunk) error {
			if len(msg.Bytes) == 0 || len(msg.Bytes) > chunkSize {
				return ErrBadChunk.With("%d bytes", len(msg.Bytes))
			}
			return checkHash("hash", msg.Hash)
		},
		Plan: m.planChunk,
		Execute: func(ctx *chain.Ctx, msg *threatv1.AddModelChunk, rec *threatv1.ModelRecord) (proto.Message, error) {
			m.chunks.Put(ctx, state.Join(rec.Hash, msg.Index), &threatv1.Chunk{Bytes: msg.Bytes})
			if rec.Loaded++; rec.Loaded == rec.Chunks {
				if err := m.complete(ctx, rec); err != nil {
					return nil, err
				}
				ctx.Emit(&threatv1.ModelStaged{Model: rec})
			}
			m.models.Put(ctx, rec.Hash, rec)
			return &threatv1.AddModelChunkResponse{Stage: rec.Stage, Loaded: rec.Loaded}, nil
		},
	})
}

// planChunk is the record of the model whose next chunk this is.
func (m *Module) planChunk(r chain.ReadCtx, msg *threatv1.AddModelChunk) (*threatv1.ModelRecord, error) {
	rec, ok := m.models.Lookup(r, msg.Hash)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", msg.Hash)
	case rec.Stage != threatv1.Stage_STAGE_LOADING:
		return nil, ErrModelStage.With("%x is %s and takes no chunks", msg.Hash, rec.Stage)
	case msg.Index != rec.Loaded:
		return nil, ErrBadChunk.With("chunk %d, want chunk %d", msg.Index, rec.Loaded)
	}
	want := uint32(chunkSize)
	if msg.Index == rec.Chunks-1 {
		want = rec.Size - msg.Index*chunkSize
	}
	if len(msg.Bytes) != int(want) {
		return nil, ErrBadChunk.With("chunk %d has %d bytes, want %d", msg.Index, len(msg.Bytes), want)
	}
	if h := sha256.Sum256(msg.Bytes); len(rec.ChunkHashes) > 0 && !bytes.Equal(h[:], rec.ChunkHashes[msg.Index]) {
		return nil, ErrBadChunk.With("chunk %d has the hash %x, want %x", msg.Index, h, rec.ChunkHashes[msg.Index])
	}
	return rec, nil
}

// complete reads a model of which every chunk is there. When the whole has another
// hash, some chunk was wrong: all are dropped, and it is still loading. When it has its
// hash and is no detector, or needs too much work, that is an error: other bytes would
// not help.
func (m *Module) complete(ctx *chain.Ctx, rec *threatv1.ModelRecord) error {
	raw := m.modelBytes(ctx, rec)
	if h := sha256.Sum256(raw); !bytes.Equal(h[:], rec.Hash) {
		m.dropChunks(ctx, rec)
		return nil
	}
	return m.admitModel(ctx, rec, raw)
}

// admitModel makes a model registered whose bytes have its hash.
func (m *Module) admitModel(ctx *chain.Ctx, rec *threatv1.ModelRecord, raw []byte) error {
	d, err := detector.Decode(raw)
	if err != nil {
		return ErrBadModel.Wrap(err)
	}
	if work, most := d.MaxWork(), m.paramsIn(ctx).MaxScoreWork; work > most {
		return ErrTooCostly.With("it needs up to %d, and %d are allowed", work, most)
	}
	rec.Stage, rec.Since, rec.ChunkHashes = threatv1.Stage_STAGE_REGISTERED, ctx.Height(), nil
	rec.Name, rec.CardHash = d.Name(), d.Message().CardHash
	return nil
}
