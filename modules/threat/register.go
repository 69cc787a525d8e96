package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func (m *Module) registerModel() chain.Route {
	return chain.Handle(chain.Handler[*threatv1.RegisterModel]{
		Validate: func(msg *threatv1.RegisterModel) error {
			if msg.Size == 0 || msg.Size > maxModelBytes {
				return ErrInvalid.With("size must be 1 to %d", maxModelBytes)
			}
			if n := len(msg.ChunkHashes); n > 0 && n != int(chunksOf(msg.Size)) {
				return ErrInvalid.With("%d chunk hashes, want %d or none", n, chunksOf(msg.Size))
			}
			for _, h := range msg.ChunkHashes {
				if err := checkHash("chunk_hashes", h); err != nil {
					return err
				}
			}
			return checkHash("hash", msg.Hash)
		},
		Check: m.checkRegister,
		Execute: func(ctx *chain.Ctx, msg *threatv1.RegisterModel) (proto.Message, error) {
			if was, ok := m.models.Lookup(ctx, msg.Hash); ok {
				m.dropChunks(ctx, was)
			}
			rec := &threatv1.ModelRecord{
				Hash: msg.Hash, Size: msg.Size, Chunks: chunksOf(msg.Size), ChunkHashes: msg.ChunkHashes,
				Stage: threatv1.Stage_STAGE_LOADING, Author: ctx.Author(), Height: ctx.Height(), Time: ctx.Time(), Since: ctx.Height(),
			}
			m.models.Put(ctx, rec.Hash, rec)
			ctx.Emit(&threatv1.ModelStaged{Model: rec})
			return &threatv1.RegisterModelResponse{Chunks: rec.Chunks}, nil
		},
	})
}

func (m *Module) checkRegister(r chain.ReadCtx, msg *threatv1.RegisterModel) error {
	if err := m.byConsortium(r); err != nil {
		return err
	}
	if was, ok := m.models.Lookup(r, msg.Hash); ok {
		if was.Stage != threatv1.Stage_STAGE_LOADING {
			return ErrModelKnown.With("%x is %s", msg.Hash, was.Stage)
		}
		return nil
	}
	all, usable := 0, 0
	for _, rec := range m.models.Walk(r, state.All()) {
		all++
		if rec.Stage != threatv1.Stage_STAGE_RETIRED {
			usable++
		}
	}
	switch {
	case usable >= maxModels:
		return ErrTooMany.With("%d models are not retired", usable)
	case all >= maxModelRecords:
		return ErrTooMany.With("%d models were registered, which is all that there may be", all)
	}
	return nil
}

// chunksOf is how many chunks a model of a size has.
func chunksOf(size uint32) uint32 { return (size + chunkSize - 1) / chunkSize }
