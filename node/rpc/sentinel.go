package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/node/evidence"
	"github.com/chancery/chancery/node/explain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// maxNotable is the most transactions that are told of one block.
	maxNotable = 100
	// maxRows and defaultRows bound Rows; rowsPerResponse bounds one response.
	maxRows         = 1_000_000
	defaultRows     = 100_000
	rowsPerResponse = 200
	// maxEntries, maxDockets and defaultEntries bound Evidence.
	maxEntries     = 1000
	maxDockets     = 50
	defaultEntries = 50
	// maxExplainers is how many models are kept decoded.
	maxExplainers = 4
	// maxScore is the highest score.
	maxScore = detector.MaxScore
)

// Evidence is what a node saw of proposals that the rules refuse.
type Evidence interface {
	// Entries are the latest, oldest first, and how many were dropped.
	Entries() ([]evidence.Entry, uint64)
}

type sentinelService struct {
	nodev1.UnimplementedSentinelServer
	s        *Server
	evidence Evidence // nil: none

	mu    sync.Mutex // guards known
	known []known    // the latest used last
}

// known is a model that was decoded.
type known struct {
	hash      []byte
	explainer *explain.Explainer
}

// question is the queries that explanations are made from, by full method.
const (
	holdMethod     = "/chancery.threat.v1.Query/Hold"
	modelMethod    = "/chancery.threat.v1.Query/Model"
	modelsMethod   = "/chancery.threat.v1.Query/Models"
	identityMethod = "/chancery.identity.v1.Query/Identity"
)

// ask runs a module's query on the state of a height, 0 for the latest.
func ask[M proto.Message](ctx context.Context, s *Server, height int64, method string, request proto.Message) (M, error) {
	var none M
	q, ok := s.methods[method]
	if !ok {
		return none, ErrNoMethod.With("%s", method)
	}
	out, err := q.handler(q.service, withReading(ctx, &reading{height: height}), func(into any) error {
		proto.Merge(into.(proto.Message), request)
		return nil
	}, nil)
	if err != nil {
		return none, err
	}
	m, ok := out.(M)
	if !ok {
		return none, chain.ErrInternal.With("%s answers with %T", method, out)
	}
	return m, nil
}

// incidental tells whether an error of a query is a refusal, and not a fault of the node.
func incidental(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Code != errs.Internal
}

// explainer is that of a model, read from the state of a height or from the latest. nil
// without an error: neither has its bytes any more.
func (t *sentinelService) explainer(ctx context.Context, height int64, hash []byte) (*explain.Explainer, error) {
	if len(hash) == 0 {
		return nil, nil
	}
	t.mu.Lock()
	for i, k := range t.known {
		if bytes.Equal(k.hash, hash) {
			t.known = append(slices.Delete(t.known, i, i+1), k)
			t.mu.Unlock()
			return k.explainer, nil
		}
	}
	t.mu.Unlock()
	for _, at := range []int64{height, 0} {
		r, err := ask[*threatv1.ModelResponse](ctx, t.s, at, modelMethod, &threatv1.ModelRequest{Hash: hash})
		if err != nil && !incidental(err) {
			return nil, err
		}
		if err != nil || len(r.Bytes) == 0 {
			continue
		}
		d, err := detector.Decode(r.Bytes)
		if err != nil {
			continue // of a program of another version
		}
		x := explain.New(d)
		t.mu.Lock()
		if len(t.known) == maxExplainers {
			t.known = slices.Delete(t.known, 0, 1)
		}
		t.known = append(t.known, known{hash, x})
		t.mu.Unlock()
		return x, nil
	}
	return nil, nil
}

// source is what is known of a transaction besides its result.
type source struct {
	author, organisation string
	kinds                []string
	model                []byte // that decided; nil: not said
}

// told is what a result's own events say of its transaction.
func told(r *chainv1.TxResult) (source, bool) {
	for _, e := range r.Events {
		var h *threatv1.Hold
		switch e.Type {
		case string((&threatv1.TxHeld{}).ProtoReflect().Descriptor().FullName()):
			m := new(threatv1.TxHeld)
			if m.UnmarshalVT(e.Value) != nil {
				continue
			}
			h = m.Hold
		case string((&threatv1.TxDenied{}).ProtoReflect().Descriptor().FullName()):
			m := new(threatv1.TxDenied)
			if m.UnmarshalVT(e.Value) != nil {
				continue
			}
			h = m.Hold
		case string((&threatv1.Alarm{}).ProtoReflect().Descriptor().FullName()):
			m := new(threatv1.Alarm)
			if m.UnmarshalVT(e.Value) != nil || !bytes.Equal(m.TxId, r.TxId) {
				continue
			}
			return source{m.Author, m.Organisation, m.Kinds, m.Model}, true
		}
		// A transaction that reviews another one has that one's events too.
		if bytes.Equal(h.GetTxId(), r.TxId) {
			return source{h.Author, h.Organisation, h.Kinds, h.Model}, true
		}
	}
	return source{}, false
}

// within is what the block's bytes say of a transaction; txs are the block's.
func within(r *chainv1.TxResult, txs [][]byte) (source, bool) {
	if int(r.Index) >= len(txs) {
		return source{}, false
	}
	d, err := tx.Decode(txs[r.Index])
	if err != nil || !bytes.Equal(d.ID[:], r.TxId) {
		return source{}, false
	}
	out := source{author: d.Body.Author}
	for _, m := range d.Messages {
		if kind := string(m.ProtoReflect().Descriptor().FullName()); !slices.Contains(out.kinds, kind) {
			out.kinds = append(out.kinds, kind)
		}
	}
	return out, true
}

// Explain implements nodev1.SentinelServer.
func (t *sentinelService) Explain(ctx context.Context, req *nodev1.ExplainRequest) (*nodev1.ExplainResponse, error) {
	id, err := parseID(req.TxId)
	if err != nil {
		return nil, err
	}
	r, err := t.s.result(id)
	if err != nil {
		return nil, err
	}
	out := &nodev1.ExplainResponse{
		TxId: r.TxId, Height: r.Height, Time: r.Time, Verdict: r.Verdict, Outcome: explain.Outcome(r),
		Code: r.Code, Codespace: r.Codespace, Log: r.Log,
	}
	if err := t.origin(ctx, r, out); err != nil {
		return nil, err
	}
	if out.Outcome == nodev1.Outcome_OUTCOME_HELD || out.Outcome == nodev1.Outcome_OUTCOME_DENIED {
		h, err := ask[*threatv1.HoldResponse](ctx, t.s, 0, holdMethod, &threatv1.HoldRequest{TxId: r.TxId})
		switch {
		case err == nil:
			out.Hold = h.Hold
		case !incidental(err):
			return nil, err
		default:
			out.Gaps = append(out.Gaps, "The chain has no record of how it stands.")
		}
	}
	if r.Verdict != nil && len(out.Model) > 0 {
		x, err := t.explainer(ctx, r.Height, out.Model)
		if err != nil {
			return nil, err
		}
		if x == nil {
			out.Gaps = append(out.Gaps, "The model's bytes are no longer on this chain or cannot be read by this program, so its reasons cannot be put into words; a node that keeps old states may have them.")
		} else {
			out.ModelName = x.Name()
			out.HoldScore, out.DenyScore = x.Thresholds()
			out.Reasons, out.Rules, out.Contributions = x.Reasons(r.Row, r.Verdict), x.Rules(r.Row), x.Contributions(r.Row)
			out.Otherwise = x.Otherwise(r.Row, r.Verdict)
		}
	}
	out.Paragraphs = explain.Prose(out)
	return out, nil
}

// origin fills in who asked for what, and which model decided.
func (t *sentinelService) origin(ctx context.Context, r *chainv1.TxResult, out *nodev1.ExplainResponse) error {
	from, said := told(r)
	if !said {
		txs, ok := t.s.engine.Txs(r.Height)
		if ok {
			from, ok = within(r, txs)
		}
		if !ok {
			out.Gaps = append(out.Gaps, "This node no longer has the block, so it cannot say who sent the transaction and what it holds; the explanation is from the node's record of the result alone.")
		}
	}
	out.Author, out.Organisation, out.Kinds = from.author, from.organisation, from.kinds
	if out.Organisation == "" && out.Author != "" {
		i, err := ask[*identityv1.IdentityResponse](ctx, t.s, 0, identityMethod, &identityv1.IdentityRequest{Did: out.Author})
		switch {
		case err == nil:
			out.Organisation = i.GetIdentity().GetOrganisation()
		case !incidental(err):
			return err
		}
	}
	if r.Verdict == nil || len(r.Row) == 0 {
		return nil // no model scored it
	}
	if said {
		out.Model = from.model
		return nil
	}
	block, err := t.s.records.Block(r.Height)
	if err != nil {
		return err
	}
	out.Model = block.Model
	m, err := ask[*threatv1.ModelsResponse](ctx, t.s, r.Height-1, modelsMethod, &threatv1.ModelsRequest{})
	switch {
	case err == nil && len(m.GetSchedule().GetCanary()) > 0:
		out.Gaps = append(out.Gaps, "A canary model decided for a share of the organisations then. For a transaction that raised no alarm it is not on record which of the two decided; this is by the active one.")
	case err != nil && !incidental(err):
		return err
	}
	return nil
}

// Watch implements nodev1.SentinelServer. As with events, nothing is buffered for a
// client.
func (t *sentinelService) Watch(req *nodev1.WatchRequest, stream nodev1.Sentinel_WatchServer) error {
	if req.MinScore > maxScore {
		return ErrBadRequest.With("min_score is %d, at most %d", req.MinScore, maxScore)
	}
	var from *nodev1.Cursor
	if req.From != 0 {
		from = &nodev1.Cursor{Height: req.From}
	}
	at, err := t.s.begin(from)
	if err != nil {
		return err
	}
	next := at.height
	last := time.Now()
	tell := func(block *nodev1.JudgedBlock) error {
		last = time.Now()
		return stream.Send(&nodev1.WatchResponse{Next: next, Head: t.s.records.Head(), Block: block})
	}
	if err := tell(nil); err != nil {
		return err
	}
	for {
		if next > t.s.records.Head() {
			if !req.Follow {
				return nil
			}
			err := t.s.waitFor(stream.Context(), next, t.s.limits.Heartbeat-time.Since(last))
			if errors.Is(err, errElapsed) {
				err = tell(nil)
			}
			if err != nil {
				return err
			}
			continue
		}
		record, err := t.s.records.Block(next)
		if errors.Is(err, records.ErrNoBlock) {
			return ErrCursorTooOld.With("block %d", next)
		}
		if err != nil {
			return err
		}
		block, err := t.judged(stream.Context(), record, req.MinScore)
		if err != nil {
			return err
		}
		next++
		if err := tell(block); err != nil {
			return err
		}
	}
}

// judged sums a block up.
func (t *sentinelService) judged(ctx context.Context, b *chainv1.BlockRecord, least uint32) (*nodev1.JudgedBlock, error) {
	out := &nodev1.JudgedBlock{
		Height: b.Height, Time: b.Time, Txs: uint32(len(b.Txs)), Bands: make([]uint32, detector.Bands), Model: b.Model,
	}
	var txs [][]byte
	looked := false
	for _, r := range b.Txs {
		v := r.Verdict
		kept := false
		switch v.GetRuling() {
		case chainv1.Ruling_RULING_HOLD:
			out.Held, kept = out.Held+1, true
		case chainv1.Ruling_RULING_DENY:
			out.Denied, kept = out.Denied+1, true
		case chainv1.Ruling_RULING_ADMIT:
			out.Admitted++
		default:
			out.Unjudged++
			continue
		}
		scored := len(r.Row) > 0
		if scored {
			out.Bands[detector.Band(uint16(min(v.Score, maxScore)))]++
		}
		if !kept && (!scored || v.Score < least) {
			continue
		}
		if len(out.Notable) == maxNotable {
			out.LeftOut++
			continue
		}
		from, said := told(r)
		if !said {
			if !looked {
				txs, _ = t.s.engine.Txs(b.Height)
				looked = true
			}
			from, _ = within(r, txs)
			from.model = b.Model
		}
		n := &nodev1.Notable{TxId: r.TxId, Author: from.author, Score: v.Score, Ruling: v.Ruling}
		if len(from.kinds) > 0 {
			n.Kind = from.kinds[0]
		}
		if len(v.Drivers) > 0 {
			x, err := t.explainer(ctx, b.Height, from.model)
			if err != nil {
				return nil, err
			}
			if x != nil {
				n.Reason = x.Sentence(v)
			}
		}
		out.Notable = append(out.Notable, n)
	}
	return out, nil
}

// authorClasses are what an author is, by the row's first feature.
var authorClasses = map[int64]string{
	int64(features.AuthorConsortium): "consortium", int64(features.AuthorOrganisation): "organisation",
	int64(features.AuthorPerson): "person", int64(features.AuthorDevice): "device", int64(features.AuthorService): "service",
}

// Rows implements nodev1.SentinelServer.
func (t *sentinelService) Rows(req *nodev1.RowsRequest, stream nodev1.Sentinel_RowsServer) error {
	head := t.s.records.Head()
	oldest, err := t.s.records.Oldest()
	if err != nil {
		return err
	}
	from, to, limit := req.From, req.To, int(req.Limit)
	if from == 0 {
		from = oldest
	}
	if to == 0 || to > head {
		to = head
	}
	if limit == 0 {
		limit = defaultRows
	}
	switch {
	case from < 0 || to < 0:
		return ErrBadRequest.With("from is %d and to is %d", req.From, req.To)
	case limit > maxRows:
		return ErrBadRequest.With("limit is %d, at most %d", limit, maxRows)
	case from < oldest:
		return ErrCursorTooOld.With("from is %d, the oldest block is %d", from, oldest)
	}
	first := new(nodev1.RowsResponse)
	for _, f := range features.Table {
		x := &nodev1.RowFeature{Name: f.Name, Unit: f.Unit.String()}
		switch f.Monotone {
		case trees.Increasing:
			x.Direction = 1
		case trees.Decreasing:
			x.Direction = -1
		}
		first.Features = append(first.Features, x)
	}
	if err := stream.Send(first); err != nil {
		return err
	}
	resp, sent := new(nodev1.RowsResponse), 0
	next := from
	for ; next <= to && sent < limit; next++ {
		if err := stream.Context().Err(); err != nil {
			return err
		}
		b, err := t.s.records.Block(next)
		if errors.Is(err, records.ErrNoBlock) {
			return ErrCursorTooOld.With("block %d", next)
		}
		if err != nil {
			return err
		}
		for _, r := range b.Txs {
			if len(r.Row) != features.Count || r.Verdict == nil {
				continue
			}
			row, err := t.row(stream.Context(), r)
			if err != nil {
				return err
			}
			resp.Rows = append(resp.Rows, row)
			if sent++; len(resp.Rows) == rowsPerResponse {
				if err := stream.Send(resp); err != nil {
					return err
				}
				resp = new(nodev1.RowsResponse)
			}
		}
	}
	resp.Next = next
	return stream.Send(resp)
}

// row is a transaction as a row to train from.
func (t *sentinelService) row(ctx context.Context, r *chainv1.TxResult) (*nodev1.TrainingRow, error) {
	out := &nodev1.TrainingRow{
		Height: r.Height, Time: r.Time, TxId: r.TxId, Features: r.Row, Ruling: r.Verdict.Ruling, Score: r.Verdict.Score,
		AuthorClass: authorClasses[r.Row[features.AuthorKindFeature]],
	}
	if out.AuthorClass == "" {
		out.AuthorClass = "unknown"
	}
	if out.Ruling != chainv1.Ruling_RULING_HOLD && out.Ruling != chainv1.Ruling_RULING_DENY {
		return out, nil
	}
	h, err := ask[*threatv1.HoldResponse](ctx, t.s, 0, holdMethod, &threatv1.HoldRequest{TxId: r.TxId})
	if err != nil {
		if incidental(err) {
			return out, nil
		}
		return nil, fmt.Errorf("look up how %x stands: %w", r.TxId, err)
	}
	switch h.GetHold().GetStatus() {
	case threatv1.HoldStatus_HOLD_STATUS_RELEASED, threatv1.HoldStatus_HOLD_STATUS_FAILED:
		out.Label = nodev1.Label_LABEL_RELEASED
	case threatv1.HoldStatus_HOLD_STATUS_REJECTED:
		out.Label = nodev1.Label_LABEL_REJECTED
	}
	return out, nil
}

// Evidence implements nodev1.SentinelServer.
func (t *sentinelService) Evidence(_ context.Context, req *nodev1.EvidenceRequest) (*nodev1.EvidenceResponse, error) {
	most := maxEntries
	if req.Dockets {
		most = maxDockets
	}
	limit := int(req.Limit)
	if limit == 0 {
		limit = defaultEntries
	}
	if limit > most {
		return nil, ErrBadRequest.With("limit is %d, at most %d", limit, most)
	}
	out := new(nodev1.EvidenceResponse)
	if t.evidence == nil {
		return out, nil
	}
	entries, dropped := t.evidence.Entries()
	out.Dropped = dropped
	for _, e := range slices.Backward(entries) {
		if len(out.Entries) == limit {
			break
		}
		x := &nodev1.EvidenceEntry{Height: e.Height, Seen: e.Seen, Proposer: e.Proposer, Organisation: e.Organisation, Reason: e.Reason}
		if req.Dockets {
			raw, err := base64.StdEncoding.DecodeString(e.Docket)
			if err != nil {
				return nil, fmt.Errorf("the docket of the evidence of height %d: %w", e.Height, err)
			}
			x.Docket = raw
		}
		out.Entries = append(out.Entries, x)
	}
	return out, nil
}
