package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/modules/threat/detector"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// anchoring is a command line that the world's detector holds.
func anchoring(id string, more ...string) []string {
	root := strings.Repeat("ab", 32)
	batch := fmt.Sprintf(`{"root": "hex:%s", "leaves": 4, "format": %q}`, root, "bytes")
	return append([]string{"tx", "provenance", "anchor-batch", "--from", "reg", "--id", id, "--batch", batch}, more...)
}

func TestAHeldTransactionIsExplainedProvenAndReleased(t *testing.T) {
	s := onChain(t)
	o := s.run(anchoring("held-1", "--output", "json")...)
	if o.code != exitHeld {
		t.Fatalf("exit code %d\n%s%s", o.code, o.out, o.err)
	}
	v := s.decode(o.out)
	id, next := v["tx_id"].(string), v["next"].([]any)
	if v["code"] != 16.0 || v["verdict"].(map[string]any)["ruling"] != "hold" || len(next) != 3 {
		t.Errorf("%v", v)
	}
	for _, line := range next[:2] {
		s.ok(strings.Fields(line.(string))[1:]...)
	}
	s.fails(exitHeld, "chancery tx threat appeal --tx-id", anchoring("held-2")...)
	if hint := s.json(anchoring("held-3", "--wait", "check")...)["hint"].(map[string]any); hint["ruling"] != "hold" || hint["score"] != 8000.0 {
		t.Errorf("%v", hint)
	}

	text := strings.Join(strings.Fields(s.ok("threat", "explain", id)), " ")
	for _, words := range []string{
		"What was asked for.", registrar + ", of " + alpha, "provenance.AnchorBatch", "8000 of 10000", "the test asks for people to look",
		"It was held: kept, and not executed.", "What would have to be different.", "PART POINTS", "rules 8000 a fixed rule anchored",
	} {
		if !strings.Contains(text, words) {
			t.Errorf("no %q in\n%s", words, text)
		}
	}
	if j := s.json("threat", "explain", id); j["outcome"] != "OUTCOME_HELD" || j["model_name"] != "watchful" {
		t.Errorf("%v", j)
	}
	s.fails(2, "no id of a transaction", "threat", "explain", "xyz")
	s.fails(5, "node/3", "threat", "explain", strings.Repeat("00", 32))

	receipt := s.path("hold.receipt")
	s.ok("query", "threat", "hold", "--tx-id", id, "--prove", receipt)
	if out := s.ok("verify", receipt); !strings.Contains(out, "threat/holds") || !strings.Contains(out, "hold") {
		t.Errorf("%s", out)
	}

	height := fmt.Sprint(int64(v["height"].(float64)))
	if out := s.ok("threat", "watch", "--from", height, "--once"); !strings.Contains(out, "block "+height) || !strings.Contains(out, "1 held") || !strings.Contains(out, id) {
		t.Errorf("%s", out)
	}
	lines := strings.Split(strings.TrimSpace(s.ok("threat", "watch", "--from", height, "--once", "--output", "json")), "\n")
	if first := s.decode(lines[0]); first["height"] != height || first["held"] != 1.0 {
		t.Errorf("%v", first)
	}
	s.ok("threat", "watch", "--once")
	s.fails(2, "--min-score", "threat", "watch", "--min-score", "10001")

	s.ok("tx", "threat", "appeal", "--from", "reg", "--tx-id", id, "--text-hash", strings.Repeat("cd", 32))
	if r := s.json("tx", "threat", "release", "--from", "one", "--tx-id", id); r["responses"].([]any)[0].(map[string]any)["value"].(map[string]any)["status"] != "HOLD_STATUS_RELEASED" {
		t.Errorf("%v", r)
	}
	text = strings.Join(strings.Fields(s.ok("threat", "explain", id)), " ")
	for _, words := range []string{registrar + " appealed", "spoke for releasing it", "Reviewers released it"} {
		if !strings.Contains(text, words) {
			t.Errorf("no %q in\n%s", words, text)
		}
	}

	// One that is denied ends as any refusal, with the same help.
	s.ok("tx", "provenance", "register-entity", "--from", "reg", "--id", "doomed", "--entity", `{"media_type": "text/plain"}`)
	s.fails(1, "chancery threat explain", "tx", "provenance", "invalidate-entity", "--from", "reg", "--id", "doomed", "--reason", "erroneous")
}

func TestTheLiveViewDrawsAndLeavesTheTerminalAsItWas(t *testing.T) {
	s := onChain(t)
	s.screen = true
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(3*time.Second, cancel).Stop()
	o := s.runContext(ctx, "threat", "watch", "--from", "1")
	if o.code != 0 || !strings.HasPrefix(o.out, enterView) || !strings.Contains(o.out, "The sentinel, block") || !strings.Contains(o.out, "9000 to 10000") {
		t.Errorf("exit code %d\n%q%s", o.code, o.out, o.err)
	}
	if _, rest, ok := strings.Cut(o.out, leaveView); !ok || !strings.HasPrefix(rest, "watched up to block ") {
		t.Errorf("%q", rest)
	}
}

func TestTheViewCountsAndDraws(t *testing.T) {
	v := &view{least: 5000}
	if got := strings.Join(v.lines(), "\n"); !strings.Contains(got, "waiting for a block") {
		t.Error(got)
	}
	bands := make([]uint32, 20)
	bands[0], bands[1], bands[16] = 6, 2, 2
	v.add(&nodev1.WatchResponse{Head: 7, Block: &nodev1.JudgedBlock{Height: 6, Time: 1000, Txs: 10, Admitted: 8, Held: 2, Bands: bands, Notable: []*nodev1.Notable{{TxId: []byte{0xab}, Score: 8000, Reason: "why \x1b[2J"}}}})
	v.add(&nodev1.WatchResponse{Head: 7, Block: &nodev1.JudgedBlock{Height: 7, Time: 3000, Txs: 4, Admitted: 4, Bands: make([]uint32, 20)}})
	got := strings.Join(v.lines(), "\n")
	for _, words := range []string{
		"block 7.", "no model decides; since block 6 14 transactions, of them 2 held or denied", "14 transactions, 2 a second; 2 held",
		"    0 to   999       8  " + strings.Repeat("█", 40), " 8000 to  8999       2  " + strings.Repeat("█", 10), "6  unspecified  8000  ab",
	} {
		if !strings.Contains(got, words) {
			t.Errorf("no %q in\n%s", words, got)
		}
	}
	for h := range int64(200) {
		v.add(&nodev1.WatchResponse{Head: h, Block: &nodev1.JudgedBlock{Height: h, Notable: []*nodev1.Notable{{}, {}}}})
	}
	if len(v.blocks) != rateWindow || len(v.notable) != shownNotable {
		t.Errorf("%d blocks, %d transactions", len(v.blocks), len(v.notable))
	}
}

func TestNoEvidence(t *testing.T) {
	s := onChain(t)
	if out := s.ok("threat", "evidence"); out != "no proposal was refused\n" {
		t.Errorf("%s", out)
	}
	if v := s.json("threat", "evidence", "--dockets"); len(v["entries"].([]any)) != 0 {
		t.Errorf("%v", v)
	}
	s.fails(2, "--limit", "threat", "evidence", "--limit", "51", "--dockets", "--output", "json")
	s.fails(2, "--dockets", "threat", "evidence", "--dockets")
}

func TestAModelIsTrainedFromTheChainsOwnHistory(t *testing.T) {
	s := onChain(t)
	for i := range 12 {
		s.ok("tx", "provenance", "register-entity", "--from", "reg", "--id", fmt.Sprint("history-", i), "--entity", `{"media_type": "text/csv"}`)
	}
	s.fails(exitHeld, "chain/16", anchoring("history-held")...)
	rows := s.path("rows.csv")
	v := s.json("model", "history", "--out", rows, "--normal")
	if v["rows"].(float64) < 13 || v["normal"].(float64) < 12 || v["file"] != rows {
		t.Errorf("%v", v)
	}
	s.fails(1, "exists already", "model", "history", "--out", rows)
	raw, err := os.ReadFile(rows)
	if err != nil {
		t.Fatal(err)
	}
	table := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if !strings.HasPrefix(table[0], "author-kind,roles,") || !strings.HasSuffix(table[0], ",label") || float64(len(table)-1) != v["rows"] {
		t.Errorf("%d lines, the first %s", len(table), table[0])
	}
	model := s.path("own.model")
	s.ok("model", "train", "--data", rows, "--schema", rows+".schema.json", "--label", "label", "--kind", "forest", "--forest-trees", "5", "--forest-samples", "8", "--out", model)
	trained, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	m := new(threatv1.Model)
	if err := m.UnmarshalVT(trained); err != nil {
		t.Fatal(err)
	}
	// Its features are a detector's.
	if _, err := detector.Encode(detector.Build("own", m)); err != nil {
		t.Error(err)
	}
}

// large is a detector of three chunks.
func large(t *testing.T) []byte {
	t.Helper()
	m := &threatv1.Model{
		Format: 1, Name: "large", Features: []*threatv1.Feature{{Name: "size"}},
		Boosted: &threatv1.Boosted{Calibration: &threatv1.Calibration{Margin: []int64{0}, Score: []uint32{0}}},
	}
	for range 1000 {
		tree := &threatv1.BoostedTree{Splits: new(threatv1.Splits)}
		const splits = 20
		for i := range splits {
			right := int32(i + 1)
			if i == splits-1 {
				right = -1 - splits
			}
			s := tree.Splits
			s.Feature, s.Threshold, s.Left, s.Right = append(s.Feature, 0), append(s.Threshold, int64(i)), append(s.Left, int32(-1-i)), append(s.Right, right)
			s.DefaultLeft = append(s.DefaultLeft, true)
			tree.Leaf, tree.Expected = append(tree.Leaf, 0), append(tree.Expected, 0)
		}
		tree.Leaf = append(tree.Leaf, 0)
		m.Boosted.Trees = append(m.Boosted.Trees, tree)
	}
	raw, err := detector.Encode(detector.Build("large", m))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestADetectorIsRegisteredAndResumed(t *testing.T) {
	s := onChain(t)
	raw := large(t)
	if chunks := len(announcement(raw).ChunkHashes); chunks != 3 {
		t.Fatalf("%d chunks of %d bytes", chunks, len(raw))
	}
	hash := fmt.Sprintf("%x", sha256.Sum256(raw))
	file := s.file("large.detector", string(raw))
	s.fails(1, "no detector", "model", "register", s.file("x", "x"), "--from", "one")
	s.fails(2, "--from", "model", "register", file)
	// One administrator alone is not the consortium.
	s.fails(1, "identity/", "model", "register", file, "--from", "one")

	// Announced in one place, one part sent by somebody, and the rest from here.
	announce, signed := s.path("announce.tx"), s.path("signed.tx")
	s.ok("model", "register", file, "--generate-only", "--out", announce)
	s.ok("tx", "sign", announce, "--from", "one", "--from", "two", "--out", signed)
	s.ok("tx", "submit", signed)
	first := s.file("chunk", string(raw[:modelChunk]))
	s.ok("tx", "threat", "add-model-chunk", "--from", "reg", "--hash", hash, "--index", "0", "--bytes", "@"+first)
	v := s.json("model", "register", file, "--from", "one")
	if v["announced"] != false || v["sent"] != 2.0 || v["chunks"] != 3.0 || v["stage"] != "registered" || v["hash"] != hash {
		t.Errorf("%v", v)
	}
	if v = s.json("model", "register", file, "--from", "one"); v["sent"] != 0.0 || v["stage"] != "registered" {
		t.Errorf("%v", v)
	}
	// The whole from nothing, and its stage by a transaction.
	small, err := watchful("another")
	if err != nil {
		t.Fatal(err)
	}
	v = s.json("model", "register", s.file("another.detector", string(small)), "--from", "one", "--from", "two")
	if v["announced"] != true || v["sent"] != 1.0 || v["stage"] != "registered" {
		t.Errorf("%v", v)
	}
	s.ok("tx", "threat", "set-model-stage", "--from", "one", "--from", "two", "--author", "did:chancery:consortium", "--hash", v["hash"].(string), "--stage", "shadow")
}
