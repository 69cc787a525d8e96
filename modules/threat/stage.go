package threat

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// A model's stages, and what moves it from one to another:
//
//	from        to          by
//	LOADING     REGISTERED  the last chunk
//	LOADING     RETIRED     SetModelStage
//	REGISTERED  SHADOW      SetModelStage
//	REGISTERED  RETIRED     SetModelStage
//	REGISTERED  ACTIVE      RollBack, when it was active before
//	SHADOW      REGISTERED  SetModelStage, or another model in shadow
//	SHADOW      CANARY      SetModelStage
//	SHADOW      ACTIVE      SetModelStage, from the height on that it names
//	SHADOW      RETIRED     SetModelStage
//	CANARY      REGISTERED  SetModelStage, or another canary
//	CANARY      SHADOW      SetModelStage
//	CANARY      CANARY      SetModelStage, with another share
//	CANARY      ACTIVE      SetModelStage, from the height on that it names
//	CANARY      RETIRED     SetModelStage
//	ACTIVE      REGISTERED  another model that becomes active, or RollBack
//
// A model is seen to score in shadow before it decides. The active model is replaced,
// not stopped; for scoring to stop there is SetParams. RETIRED is the end, and the
// model's bytes are removed. There is at most one model in shadow, one canary and one
// active. While one waits for its height it keeps its stage; any other move of it, and
// a roll-back, cancels that.
//
// Every change acts from the next block: the models of a block are chosen before its
// first transaction.
func mayMove(from, to threatv1.Stage) bool {
	const (
		loading    = threatv1.Stage_STAGE_LOADING
		registered = threatv1.Stage_STAGE_REGISTERED
		shadow     = threatv1.Stage_STAGE_SHADOW
		canary     = threatv1.Stage_STAGE_CANARY
		active     = threatv1.Stage_STAGE_ACTIVE
		retired    = threatv1.Stage_STAGE_RETIRED
	)
	switch from {
	case loading:
		return to == retired
	case registered:
		return to == shadow || to == retired
	case shadow:
		return to == registered || to == canary || to == active || to == retired
	case canary:
		return to == registered || to == shadow || to == canary || to == active || to == retired
	}
	return false
}

func (m *Module) setModelStage() chain.Route {
	return chain.HandlePlan(chain.Planner[*threatv1.SetModelStage, *threatv1.ModelRecord]{
		Validate: func(msg *threatv1.SetModelStage) error {
			switch msg.Stage {
			case threatv1.Stage_STAGE_REGISTERED, threatv1.Stage_STAGE_SHADOW, threatv1.Stage_STAGE_CANARY,
				threatv1.Stage_STAGE_ACTIVE, threatv1.Stage_STAGE_RETIRED:
			default:
				return ErrInvalid.With("stage must be registered, shadow, canary, active or retired")
			}
			if is := msg.Stage == threatv1.Stage_STAGE_CANARY; is != (msg.Share > 0) || msg.Share > whole {
				return ErrInvalid.With("share is for a canary, 1 to %d", whole)
			}
			if msg.AtHeight < 0 || msg.AtHeight > 0 && msg.Stage != threatv1.Stage_STAGE_ACTIVE {
				return ErrInvalid.With("at_height is for an active model")
			}
			return checkHash("hash", msg.Hash)
		},
		Plan: m.planStage,
		Execute: func(ctx *chain.Ctx, msg *threatv1.SetModelStage, rec *threatv1.ModelRecord) (proto.Message, error) {
			s := m.scheduleIn(ctx)
			if msg.Stage == threatv1.Stage_STAGE_ACTIVE {
				s.Next, s.NextHeight = rec.Hash, max(msg.AtHeight, ctx.Height()+1)
				m.schedule.Put(ctx, s)
				return &threatv1.SetModelStageResponse{Since: s.NextHeight}, nil
			}
			if bytes.Equal(s.Next, rec.Hash) {
				s.Next, s.NextHeight = nil, 0
			}
			since := ctx.Height() + 1
			m.leave(s, rec)
			switch rec.Share = msg.Share; msg.Stage {
			case threatv1.Stage_STAGE_SHADOW:
				m.displace(ctx, s.Shadow, since)
				s.Shadow = rec.Hash
			case threatv1.Stage_STAGE_CANARY:
				m.displace(ctx, s.Canary, since)
				s.Canary = rec.Hash
			case threatv1.Stage_STAGE_RETIRED:
				m.dropChunks(ctx, rec)
				rec.ChunkHashes = nil
				if bytes.Equal(s.Previous, rec.Hash) {
					s.Previous = nil
				}
			}
			m.stage(ctx, rec, msg.Stage, since)
			m.schedule.Put(ctx, s)
			return &threatv1.SetModelStageResponse{Since: since}, nil
		},
	})
}

// planStage is the record of a model that may move to the message's stage.
func (m *Module) planStage(r chain.ReadCtx, msg *threatv1.SetModelStage) (*threatv1.ModelRecord, error) {
	if err := m.byConsortium(r); err != nil {
		return nil, err
	}
	rec, ok := m.models.Lookup(r, msg.Hash)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", msg.Hash)
	case !mayMove(rec.Stage, msg.Stage):
		return nil, ErrModelStage.With("%s to %s", rec.Stage, msg.Stage)
	case msg.AtHeight != 0 && msg.AtHeight <= r.Height():
		return nil, ErrTooLate.With("at_height is %d, and the block is %d", msg.AtHeight, r.Height())
	}
	return rec, nil
}

// stage gives a model another stage, from a height on.
func (m *Module) stage(ctx *chain.Ctx, rec *threatv1.ModelRecord, to threatv1.Stage, since int64) {
	rec.Stage, rec.Since = to, since
	if to != threatv1.Stage_STAGE_CANARY {
		rec.Share = 0
	}
	m.models.Put(ctx, rec.Hash, rec)
	ctx.Emit(&threatv1.ModelStaged{Model: rec})
}

// leave takes a model off the schedule's places for shadow and canary.
func (m *Module) leave(s *threatv1.Schedule, rec *threatv1.ModelRecord) {
	if bytes.Equal(s.Shadow, rec.Hash) {
		s.Shadow = nil
	}
	if bytes.Equal(s.Canary, rec.Hash) {
		s.Canary = nil
	}
}

// displace makes the model that had a place registered.
func (m *Module) displace(ctx *chain.Ctx, hash []byte, since int64) {
	if rec, ok := m.models.Lookup(ctx, hash); ok && len(hash) > 0 {
		m.stage(ctx, rec, threatv1.Stage_STAGE_REGISTERED, since)
	}
}

// activate makes a model active from a height on.
func (m *Module) activate(ctx *chain.Ctx, s *threatv1.Schedule, rec *threatv1.ModelRecord, since int64) {
	m.leave(s, rec)
	m.displace(ctx, s.Active, since)
	s.Active = rec.Hash
	m.stage(ctx, rec, threatv1.Stage_STAGE_ACTIVE, since)
}

// endModels makes the model active that decides from the next block on, if there is
// one.
func (m *Module) endModels(ctx *chain.Ctx) {
	s, ok := m.schedule.Lookup(ctx)
	if !ok || len(s.Next) == 0 || s.NextHeight > ctx.Height()+1 {
		return
	}
	rec, ok := m.models.Lookup(ctx, s.Next)
	if !ok {
		panic("threat: a model that becomes active has no record")
	}
	s.Previous = s.Active
	m.activate(ctx, s, rec, s.NextHeight)
	s.Next, s.NextHeight = nil, 0
	m.schedule.Put(ctx, s)
}
