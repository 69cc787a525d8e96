package threat

import (
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const prefix = 0x14

type (
	chunkKey   = state.Pair[[]byte, uint32]
	dueKey     = state.Pair[int64, []byte]
	heightKey  = state.Pair[int64, []byte]
	ofKey      = state.Triple[string, int64, []byte]
	subjectKey = state.Pair[string, []byte]

	standingDueKey = state.Pair[int64, string]
)

// collections is the module's state; doc.go has the key table.
type collections struct {
	schema       *state.Schema
	params       state.Item[*threatv1.Params]
	models       state.Map[[]byte, *threatv1.ModelRecord]
	chunks       state.Map[chunkKey, *threatv1.Chunk]
	schedule     state.Item[*threatv1.Schedule]
	holds        state.Map[[]byte, *threatv1.Hold]
	kept         state.Map[[]byte, *threatv1.HeldBytes]
	holdsDue     state.Index[dueKey]
	holdsAt      state.Index[heightKey]
	holdsOf      state.Index[ofKey]
	totals       state.Map[string, *threatv1.HoldTotals]
	playbooks    state.Map[string, *threatv1.Playbook]
	responses    state.Map[[]byte, *threatv1.Response]
	responsesOf  state.Index[subjectKey]
	responsesDue state.Index[dueKey]
	standings    state.Map[string, *threatv1.Standing]
	traces       state.Map[string, *trace]
	journals     state.Map[int64, *threatv1.Journal]
	pages        state.Map[uint32, *threatv1.Page]
	progress     state.Item[*threatv1.Progress]
	breaker      state.Item[*threatv1.BreakerState]
	acting       state.Map[string, *threatv1.Acting]
	standingsDue state.Index[standingDueKey]
	voices       state.Map[[]byte, uint64]
}

func newCollections() collections {
	s := state.NewSchema("threat", prefix)
	due := state.PairOf(state.Int64, state.Bytes)
	return collections{
		schema:       s,
		params:       state.NewItem(s, 0x01, "params", state.Proto[threatv1.Params]()),
		models:       state.NewMap(s, 0x02, "models", state.Bytes, state.Proto[threatv1.ModelRecord]()),
		chunks:       state.NewMap(s, 0x03, "chunks", state.PairOf(state.Bytes, state.Uint32), state.Proto[threatv1.Chunk]()),
		schedule:     state.NewItem(s, 0x04, "schedule", state.Proto[threatv1.Schedule]()),
		holds:        state.NewMap(s, 0x05, "holds", state.Bytes, state.Proto[threatv1.Hold]()),
		kept:         state.NewMap(s, 0x06, "kept", state.Bytes, state.Proto[threatv1.HeldBytes]()),
		holdsDue:     state.NewIndex(s, 0x07, "holds-due", due),
		holdsAt:      state.NewIndex(s, 0x08, "holds-at", due),
		holdsOf:      state.NewIndex(s, 0x09, "holds-of", state.TripleOf(state.String, state.Int64, state.Bytes)),
		totals:       state.NewMap(s, 0x0a, "totals", state.String, state.Proto[threatv1.HoldTotals]()),
		playbooks:    state.NewMap(s, 0x0b, "playbooks", state.String, state.Proto[threatv1.Playbook]()),
		responses:    state.NewMap(s, 0x0c, "responses", state.Bytes, state.Proto[threatv1.Response]()),
		responsesOf:  state.NewIndex(s, 0x0d, "responses-of", state.PairOf(state.String, state.Bytes)),
		responsesDue: state.NewIndex(s, 0x0e, "responses-due", due),
		standings:    state.NewMap(s, 0x0f, "standings", state.String, state.Proto[threatv1.Standing]()),
		traces:       state.NewMap(s, 0x10, "traces", state.String, traceValue{}),
		journals:     state.NewMap(s, 0x11, "journals", state.Int64, state.Proto[threatv1.Journal]()),
		pages:        state.NewMap(s, 0x12, "pages", state.Uint32, state.Proto[threatv1.Page]()),
		progress:     state.NewItem(s, 0x13, "progress", state.Proto[threatv1.Progress]()),
		breaker:      state.NewItem(s, 0x14, "breaker", state.Proto[threatv1.BreakerState]()),
		acting:       state.NewMap(s, 0x15, "acting", state.String, state.Proto[threatv1.Acting]()),
		standingsDue: state.NewIndex(s, 0x16, "standings-due", state.PairOf(state.Int64, state.String)),
		voices:       state.NewMap(s, 0x17, "voices", state.Bytes, state.Uint64Value),
	}
}
