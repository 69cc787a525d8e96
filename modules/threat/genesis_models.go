package threat

import (
	"bytes"
	"crypto/sha256"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// exportModels lists the models with the bytes that are there, sorted by hash, and
// the schedule, nil when there never was one.
func (m *Module) exportModels(r state.Reader) ([]*threatv1.GenesisModel, *threatv1.Schedule) {
	var out []*threatv1.GenesisModel
	for _, rec := range m.models.Walk(r, state.All()) {
		out = append(out, &threatv1.GenesisModel{Record: rec, Bytes: m.modelBytes(r, rec)})
	}
	s, _ := m.schedule.Lookup(r)
	return out, s
}

// importModels writes what exportModels lists; the parameters are there already. A
// model without a record is registered, and has the stage that the schedule gives it.
// Models and schedule that could not have come about are refused.
func (m *Module) importModels(ctx *chain.Ctx, models []*threatv1.GenesisModel, s *threatv1.Schedule) error {
	for i, g := range models {
		rec := g.GetRecord()
		if rec == nil {
			hash := sha256.Sum256(g.GetBytes())
			if err := m.loadModel(ctx, g.GetBytes(), stageIn(s, hash[:])); err != nil {
				return err
			}
			continue
		}
		if err := m.importModel(ctx, rec, g.Bytes); err != nil {
			return ErrInvalid.With("models[%d]: %v", i, err)
		}
	}
	if s != nil {
		m.schedule.Put(ctx, s)
	}
	usable := 0
	for hash, rec := range m.models.Walk(ctx, state.All()) {
		if rec.Stage != threatv1.Stage_STAGE_RETIRED {
			usable++
		}
		if want := stageIn(s, hash); want != rec.Stage && (staged(want) || staged(rec.Stage)) {
			return ErrInvalid.With("the model %x is %s, and by the schedule %s", hash, rec.Stage, want)
		}
	}
	if len(models) > maxModelRecords || usable > maxModels {
		return ErrTooMany.With("%d models, %d of them not retired", len(models), usable)
	}
	for _, hash := range [][]byte{s.GetActive(), s.GetPrevious(), s.GetNext(), s.GetCanary(), s.GetShadow()} {
		if rec, ok := m.models.Lookup(ctx, hash); len(hash) > 0 && (!ok || rec.Stage < threatv1.Stage_STAGE_REGISTERED || rec.Stage == threatv1.Stage_STAGE_RETIRED) {
			return ErrInvalid.With("the schedule names the model %x, which is not there or not usable", hash)
		}
	}
	return nil
}

// importModel writes a model with its record.
func (m *Module) importModel(ctx *chain.Ctx, rec *threatv1.ModelRecord, raw []byte) error {
	if err := checkHash("hash", rec.Hash); err != nil {
		return err
	}
	loading, retired := rec.Stage == threatv1.Stage_STAGE_LOADING, rec.Stage == threatv1.Stage_STAGE_RETIRED
	switch hash := sha256.Sum256(raw); {
	case m.models.Has(ctx, rec.Hash):
		return ErrModelKnown.With("%x", rec.Hash)
	case rec.Stage <= threatv1.Stage_STAGE_UNSPECIFIED || rec.Stage > threatv1.Stage_STAGE_RETIRED:
		return ErrInvalid.With("stage is unknown")
	case rec.Size == 0 || rec.Size > maxModelBytes || rec.Chunks != chunksOf(rec.Size) || rec.Loaded > rec.Chunks:
		return ErrInvalid.With("size and chunks do not agree")
	case len(rec.ChunkHashes) > 0 && len(rec.ChunkHashes) != int(rec.Chunks):
		return ErrInvalid.With("%d chunk hashes", len(rec.ChunkHashes))
	case rec.Share > whole || (rec.Share > 0) != (rec.Stage == threatv1.Stage_STAGE_CANARY):
		return ErrInvalid.With("share is for a canary")
	case rec.Counts != nil && len(rec.Counts.Bands) != bands:
		return ErrInvalid.With("counts have %d bands, want %d", len(rec.Counts.Bands), bands)
	case retired && (len(raw) > 0 || rec.Loaded > 0):
		return ErrInvalid.With("it is retired and has bytes")
	case len(raw) != int(min(rec.Size, rec.Loaded*chunkSize)):
		return ErrInvalid.With("it has %d bytes and %d chunks", len(raw), rec.Loaded)
	case loading && rec.Loaded == rec.Chunks:
		return ErrInvalid.With("it is loading and complete")
	case !loading && !retired && !bytes.Equal(hash[:], rec.Hash):
		return ErrBadModel.With("its bytes have the hash %x", hash)
	}
	if !loading && !retired {
		if err := m.admitModel(ctx, rec.CloneVT(), raw); err != nil {
			return err
		}
	}
	m.putChunks(ctx, rec.Hash, raw)
	m.models.Put(ctx, rec.Hash, rec)
	return nil
}

// loadModel writes a model that has all its bytes, as of the context's height. Stages
// other than registered need the schedule to say the same.
func (m *Module) loadModel(ctx *chain.Ctx, raw []byte, stage threatv1.Stage) error {
	if len(raw) == 0 || len(raw) > maxModelBytes {
		return ErrBadModel.With("a model of %d bytes, want 1 to %d", len(raw), maxModelBytes)
	}
	hash := sha256.Sum256(raw)
	if m.models.Has(ctx, hash[:]) {
		return ErrModelKnown.With("%x", hash)
	}
	chunks := chunksOf(uint32(len(raw)))
	rec := &threatv1.ModelRecord{
		Hash: hash[:], Size: uint32(len(raw)), Chunks: chunks, Loaded: chunks,
		Author: m.deps.Identity.Consortium(), Height: ctx.Height(), Time: ctx.Time(),
	}
	if err := m.admitModel(ctx, rec, raw); err != nil {
		return err
	}
	if rec.Stage = stage; stage == threatv1.Stage_STAGE_CANARY {
		return ErrInvalid.With("a canary needs a record with its share")
	}
	m.putChunks(ctx, rec.Hash, raw)
	m.models.Put(ctx, rec.Hash, rec)
	return nil
}

func (m *Module) putChunks(w state.Writer, hash, raw []byte) {
	for i := uint32(0); len(raw) > 0; i++ {
		n := min(len(raw), chunkSize)
		m.chunks.Put(w, state.Join(hash, i), &threatv1.Chunk{Bytes: raw[:n]})
		raw = raw[n:]
	}
}

// stageIn is the stage that a schedule gives a model; registered where it gives none.
func stageIn(s *threatv1.Schedule, hash []byte) threatv1.Stage {
	switch {
	case bytes.Equal(s.GetActive(), hash):
		return threatv1.Stage_STAGE_ACTIVE
	case bytes.Equal(s.GetCanary(), hash):
		return threatv1.Stage_STAGE_CANARY
	case bytes.Equal(s.GetShadow(), hash):
		return threatv1.Stage_STAGE_SHADOW
	}
	return threatv1.Stage_STAGE_REGISTERED
}

// staged tells whether a stage is one of those in the schedule.
func staged(s threatv1.Stage) bool {
	return s == threatv1.Stage_STAGE_ACTIVE || s == threatv1.Stage_STAGE_CANARY || s == threatv1.Stage_STAGE_SHADOW
}
