package rpc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/evidence"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/rpc"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const neighbour = "did:chancery:beta"

// watchful is a detector that holds bundles of three messages and denies those of five.
func watchful(t testing.TB) []byte {
	t.Helper()
	d := detector.Build("watchful", nil)
	bundle := func(name string, score uint32, least int64) *threatv1.Rule {
		return &threatv1.Rule{Name: name, Reason: "many things are asked for at once", Score: score, When: &threatv1.Predicate{
			Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{
				Feature: "messages", Comparison: threatv1.Comparison_COMPARISON_AT_LEAST, Number: least,
			}},
		}}
	}
	d.Rules = &threatv1.RuleSet{Rules: []*threatv1.Rule{bundle("bundle", 8000, 3), bundle("huge-bundle", 9500, 5)}}
	d.Thresholds = &threatv1.Thresholds{Hold: 7500, Deny: 9000}
	raw, err := detector.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sentinel is a chain of two organisations that is judged by a watchful detector.
func sentinel(t testing.TB) *nodetest.Chain {
	t.Helper()
	founder := func(did string) identity.Founder {
		return identity.Founder{DID: did, Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(did).Public()}}}
	}
	who, err := identity.NewGenesis(identity.Founding{At: 1, Threshold: 1, Organisations: []identity.Founder{founder(organisation), founder(neighbour)}})
	if err != nil {
		t.Fatal(err)
	}
	section := func(m proto.Message) string {
		raw, err := chain.WriteGenesis(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	m := node.Wire()
	return nodetest.New(t, nodetest.Config{
		Modules: m.List(), Authenticator: m.Identity, Screen: m.Threat,
		Genesis: fmt.Sprintf(`{"identity": %s, "threat": %s}`, section(who), section(threat.NewGenesis(watchful(t), 0))),
	})
}

// entities is a transaction that registers so many of them.
func entities(c *nodetest.Chain, name string, n int) []byte {
	var list []proto.Message
	for i := range n {
		list = append(list, &provenancev1.RegisterEntity{Id: fmt.Sprintf("%s-%d", name, i), Entity: &provenancev1.Entity{MediaType: "text/csv"}})
	}
	return c.Tx(organisation, list...)
}

func TestExplainSaysWhyAndWhatBecameOfIt(t *testing.T) {
	c := sentinel(t)
	plain, held, denied := entities(c, "plain", 1), entities(c, "held", 3), entities(c, "denied", 5)
	c.Block(plain, held, denied)
	client := nodev1.NewSentinelClient(serve(t, c, limits()).dial())
	ctx := t.Context()
	explained := func(raw []byte) *nodev1.ExplainResponse {
		t.Helper()
		r, err := client.Explain(ctx, &nodev1.ExplainRequest{TxId: idOf(t, raw)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	wants := func(r *nodev1.ExplainResponse, words ...string) {
		t.Helper()
		text := strings.Join(r.Paragraphs, "\n")
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}

	hash := detector.Hash(watchful(t))
	r := explained(held)
	if r.Outcome != nodev1.Outcome_OUTCOME_HELD || r.Verdict.Score != 8000 || r.Author != organisation || r.Organisation != organisation ||
		!slices.Equal(r.Kinds, []string{"chancery.provenance.v1.RegisterEntity"}) || r.ModelName != "watchful" || !bytes.Equal(r.Model, hash[:]) ||
		r.HoldScore != 7500 || r.DenyScore != 9000 || r.Hold.GetStatus() != threatv1.HoldStatus_HOLD_STATUS_HELD || r.Codespace != "chain" || r.Code != chain.ErrHeld.Code {
		t.Errorf("%v", r)
	}
	if len(r.Reasons) == 0 || r.Reasons[0].Part != "rules" || r.Reasons[0].Feature != "bundle" || r.Reasons[0].Points != 8000 {
		t.Errorf("%v", r.Reasons)
	}
	if len(r.Rules) != 1 || r.Rules[0].Name != "bundle" || len(r.Rules[0].Conditions) != 1 || !strings.Contains(r.Rules[0].Conditions[0], "messages: 3 (the rule asks for at least 3)") {
		t.Errorf("%v", r.Rules)
	}
	wants(r, "was held", "8000 of 10000", "From 7500 on", "many things are asked for at once", "It waits for reviewers until", "below 7500", "The rule bundle would have to be broken", "A person decides")

	r = explained(denied)
	if r.Outcome != nodev1.Outcome_OUTCOME_DENIED || len(r.Rules) != 2 || r.Rules[0].Name != "huge-bundle" {
		t.Errorf("%v", r)
	}
	wants(r, "It was denied", "an appeal by its author")

	// Of what raised no alarm the author is in the block alone.
	r = explained(plain)
	if r.Outcome != nodev1.Outcome_OUTCOME_EXECUTED || r.Author != organisation || len(r.Gaps) != 0 || r.Hold != nil {
		t.Errorf("%v", r)
	}
	wants(r, "It was executed.", "it would have been held from 7500 of 10000 on")
	c.Forget(c.Height())
	r = explained(plain)
	if r.Author != "" || len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "no longer has the block") || r.ModelName != "watchful" {
		t.Errorf("%v", r)
	}
	wants(r, "no longer has on record", "no longer has the block")

	// A review shows, and is a training label.
	c.Block(c.Tx(neighbour, &threatv1.Release{TxId: idOf(t, held)}))
	r = explained(held)
	if r.Hold.GetStatus() != threatv1.HoldStatus_HOLD_STATUS_RELEASED {
		t.Errorf("%v", r.Hold)
	}
	wants(r, neighbour+", for "+neighbour+", spoke for releasing it", "Reviewers released it")

	_, err := client.Explain(ctx, &nodev1.ExplainRequest{TxId: make([]byte, 32)})
	refused(t, err, rpc.ErrNoResult, codes.NotFound)
	_, err = client.Explain(ctx, &nodev1.ExplainRequest{TxId: []byte{1}})
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
}

// TestHintsOfAStreamAreAskedFor sees that Submit always says what the scorer would say,
// and SubmitStream where the client asks.
func TestHintsOfAStreamAreAskedFor(t *testing.T) {
	c := sentinel(t)
	client := nodev1.NewTxClient(serve(t, c, limits()).dial())
	one, err := client.Submit(t.Context(), &nodev1.SubmitRequest{Tx: entities(c, "held-alone", 3)})
	if err != nil || one.Hint.GetRuling() != chainv1.Ruling_RULING_HOLD {
		t.Errorf("Submit hints %v (%v)", one.GetHint(), err)
	}
	stream, err := client.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, hints := range []bool{false, true} {
		if err := stream.Send(&nodev1.SubmitStreamRequest{Txs: [][]byte{entities(c, fmt.Sprint("held-", hints), 3)}, Hints: hints}); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil || len(r.Acks) != 1 || r.Acks[0].Code != 0 {
			t.Fatalf("%v (%v)", r, err)
		}
		if got := r.Acks[0].Hint.GetRuling() == chainv1.Ruling_RULING_HOLD; got != hints {
			t.Errorf("hints %t: %v", hints, r.Acks[0])
		}
	}
}

func TestWatchTellsEachBlockOnce(t *testing.T) {
	c := sentinel(t)
	held := entities(c, "held", 3)
	c.Block(entities(c, "plain", 1), held, entities(c, "denied", 5))
	first := c.Height()
	d := serve(t, c, limits())
	client := nodev1.NewSentinelClient(d.dial())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	blocks := func(s nodev1.Sentinel_WatchClient, n int) (out []*nodev1.JudgedBlock, next int64) {
		t.Helper()
		for len(out) < n {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if next = r.Next; r.Block != nil {
				out = append(out, r.Block)
			}
		}
		return out, next
	}
	s, err := client.Watch(ctx, &nodev1.WatchRequest{From: first, MinScore: 5000, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	got, next := blocks(s, 1)
	b := got[0]
	if b.Height != first || b.Txs != 3 || b.Admitted != 1 || b.Held != 1 || b.Denied != 1 || b.Unjudged != 0 || len(b.Bands) != 20 || b.Bands[16] != 1 || b.Bands[19] != 1 || next != first+1 {
		t.Errorf("%v", b)
	}
	if len(b.Notable) != 2 || !bytes.Equal(b.Notable[0].TxId, idOf(t, held)) || b.Notable[0].Author != organisation ||
		b.Notable[0].Kind != "chancery.provenance.v1.RegisterEntity" || b.Notable[0].Ruling != chainv1.Ruling_RULING_HOLD || !strings.Contains(b.Notable[0].Reason, "rule bundle") {
		t.Errorf("%v", b.Notable)
	}
	c.Block(entities(c, "later", 1))
	if got, _ = blocks(s, 1); got[0].Height != first+1 || len(got[0].Notable) != 0 {
		t.Errorf("%v", got)
	}

	// Every scored one, to the head.
	s, err = client.Watch(ctx, &nodev1.WatchRequest{From: next})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ = blocks(s, 1); got[0].Height != first+1 || len(got[0].Notable) != 1 || got[0].Notable[0].Author != organisation {
		t.Errorf("%v", got)
	}
	if r, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v after the head", r, err)
	}

	s, err = client.Watch(ctx, &nodev1.WatchRequest{From: first + 100})
	if err == nil {
		_, err = s.Recv()
	}
	refused(t, err, rpc.ErrCursorAhead, codes.OutOfRange)
	s, err = client.Watch(ctx, &nodev1.WatchRequest{MinScore: 10001})
	if err == nil {
		_, err = s.Recv()
	}
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
}

// A client that takes nothing is ended, and finds out when it reads again.
func TestASlowWatcherIsCutOff(t *testing.T) {
	d := withRecords(t, limits())
	for h := int64(1); h <= 400; h++ {
		b := &chainv1.BlockRecord{Height: h, Time: h}
		for i := range 100 {
			id := tx.ID{byte(h), byte(h >> 8), byte(i)}
			b.Txs = append(b.Txs, &chainv1.TxResult{
				TxId: id[:], Height: h, Index: uint32(i), Verdict: &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_HOLD, Score: 9000},
			})
		}
		appendBlock(t, d.chain.Records, b)
	}
	s, err := nodev1.NewSentinelClient(d.dial()).Watch(t.Context(), &nodev1.WatchRequest{From: 1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the reader is cut off", func() bool { return d.measured("chancery_rpc_slow_readers_total") == 1 })
	next := int64(1)
	for {
		r, err := s.Recv()
		if err != nil {
			refused(t, err, rpc.ErrSlowReader, codes.ResourceExhausted)
			break
		}
		next = r.Next
	}
	if next < 2 || next > 300 {
		t.Errorf("cut off at %d", next)
	}
	s, err = nodev1.NewSentinelClient(d.dial()).Watch(t.Context(), &nodev1.WatchRequest{From: next})
	if err != nil {
		t.Fatal(err)
	}
	for r := (*nodev1.WatchResponse)(nil); ; {
		if r, err = s.Recv(); err != nil {
			break
		}
		if r.Block != nil && r.Block.Height != next {
			t.Fatalf("block %d, want %d", r.Block.Height, next)
		}
		next = r.Next
	}
	if !errors.Is(err, io.EOF) || next != 401 {
		t.Errorf("ended at %d with %v", next, err)
	}
}

func TestRowsToTrainFrom(t *testing.T) {
	c := sentinel(t)
	released, rejected, waiting := entities(c, "released", 3), entities(c, "rejected", 3), entities(c, "waiting", 3)
	c.Block(entities(c, "plain", 1), released)
	c.Block(rejected, waiting)
	c.Block(c.Tx(neighbour, &threatv1.Release{TxId: idOf(t, released)}), c.Tx(neighbour, &threatv1.Reject{TxId: idOf(t, rejected)}))
	client := nodev1.NewSentinelClient(serve(t, c, limits()).dial())
	read := func(req *nodev1.RowsRequest) (names []string, rows []*nodev1.TrainingRow, next int64) {
		t.Helper()
		s, err := client.Rows(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for {
			r, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return names, rows, next
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Features {
				names = append(names, f.Name)
			}
			rows, next = append(rows, r.Rows...), r.Next
		}
	}
	names, rows, next := read(&nodev1.RowsRequest{})
	if !slices.Equal(names, features.Names()) || len(rows) != 6 || next != c.Height()+1 {
		t.Fatalf("%d names, %d rows, next %d", len(names), len(rows), next)
	}
	want := map[string]nodev1.Label{
		string(idOf(t, released)): nodev1.Label_LABEL_RELEASED, string(idOf(t, rejected)): nodev1.Label_LABEL_REJECTED,
	}
	for _, r := range rows {
		if r.Label != want[string(r.TxId)] || len(r.Features) != features.Count || r.AuthorClass != "organisation" {
			t.Errorf("%v", r)
		}
	}
	// A limit never divides a block, and one goes on from there.
	_, rows, next = read(&nodev1.RowsRequest{From: 2, Limit: 1})
	if len(rows) != 2 || next != 3 {
		t.Errorf("%d rows, next %d", len(rows), next)
	}
	if _, rows, _ = read(&nodev1.RowsRequest{From: next, To: 3}); len(rows) != 2 {
		t.Errorf("%d rows", len(rows))
	}
	s, err := client.Rows(t.Context(), &nodev1.RowsRequest{Limit: 2_000_000})
	if err == nil {
		_, err = s.Recv()
	}
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
}

// seenLies is evidence of two refused proposals.
type seenLies struct{}

func (seenLies) Entries() ([]evidence.Entry, uint64) {
	return []evidence.Entry{
		{Height: 3, Seen: "2026-01-01T00:00:00Z", Proposer: strings.Repeat("A", 40), Reason: "chain/18: first", Docket: base64.StdEncoding.EncodeToString([]byte("docket"))},
		{Height: 9, Proposer: strings.Repeat("B", 40), Organisation: neighbour, Reason: "chain/18: second"},
	}, 7
}

func TestEvidenceOfLies(t *testing.T) {
	c := nodetest.New(t, nodetest.Config{})
	client := nodev1.NewSentinelClient(serveOptions(t, c, limits(), func(o *rpc.Options) { o.Evidence = seenLies{} }).dial())
	r, err := client.Evidence(t.Context(), &nodev1.EvidenceRequest{})
	if err != nil || r.Dropped != 7 || len(r.Entries) != 2 || r.Entries[0].Height != 9 || r.Entries[0].Organisation != neighbour || len(r.Entries[1].Docket) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	r, err = client.Evidence(t.Context(), &nodev1.EvidenceRequest{Limit: 2, Dockets: true})
	if err != nil || string(r.Entries[1].Docket) != "docket" {
		t.Errorf("%v, %v", r, err)
	}
	_, err = client.Evidence(t.Context(), &nodev1.EvidenceRequest{Limit: 51, Dockets: true})
	refused(t, err, rpc.ErrBadRequest, codes.InvalidArgument)
	none := nodev1.NewSentinelClient(serve(t, c, limits()).dial())
	if r, err := none.Evidence(t.Context(), &nodev1.EvidenceRequest{}); err != nil || len(r.Entries) != 0 {
		t.Errorf("%v, %v", r, err)
	}
}

// What is held, and with which verdict, has a receipt that verifies with the genesis file
// alone; so has that nothing of the kind is.
func TestAVerdictHasAReceipt(t *testing.T) {
	c := sentinel(t)
	held := entities(c, "held", 3)
	c.Block(held)
	c.Block()
	d := serve(t, c, limits())
	cl, err := client.Dial(t.Context(), d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ask := func(id []byte) (client.Receipt, error) {
		var proof client.Receipt
		_, err := threatv1.NewQueryClient(cl.Conn()).Hold(client.Prove(client.AtHeight(t.Context(), c.Height()-1), &proof), &threatv1.HoldRequest{TxId: id})
		return proof, err
	}
	proof, err := ask(idOf(t, held))
	if err != nil {
		t.Fatal(err)
	}
	v, err := node.VerifyReceipt(proof.Bytes, c.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	// The other fact is the height and time of the state.
	if f := v.Facts[len(v.Facts)-1]; f.Collection != "threat/holds" || !f.Present ||
		!strings.Contains(string(f.Value), `"ruling":"RULING_HOLD","score":8000`) {
		t.Errorf("%s", f.Value)
	}
	none := tx.ID{1}
	proof, err = ask(none[:])
	if !errors.Is(err, threat.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if v, err = node.VerifyReceipt(proof.Bytes, c.Genesis); err != nil || v.Facts[len(v.Facts)-1].Collection != "threat/holds" || v.Facts[len(v.Facts)-1].Present {
		t.Errorf("%v, %v", v, err)
	}
}
