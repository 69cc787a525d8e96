//go:build linux

package testnet_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/testnet"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// bulkDetector holds transactions of at least hold messages and denies those of at
// least deny, whatever else they are. More trees make its bytes more.
func bulkDetector(t *testing.T, name string, hold, deny int64, more int) []byte {
	t.Helper()
	var model *threatv1.Model
	if more > 0 {
		model = &threatv1.Model{Format: artifact.Format, Name: "filler", Boosted: &threatv1.Boosted{
			Calibration: &threatv1.Calibration{Margin: []int64{0}, Score: []uint32{0}},
		}}
		free := 0
		for i, f := range features.Table {
			model.Features = append(model.Features, &threatv1.Feature{Name: f.Name, Unit: f.Unit.String(), Monotone: detector.Direction(f.Monotone)})
			if f.Monotone == trees.Free {
				free = i
			}
		}
		for i := range more {
			tree := &threatv1.BoostedTree{Splits: new(threatv1.Splits)}
			const splits = 31
			sum := sha256.Sum256(fmt.Append(nil, name, i))
			for s := range int32(splits) {
				children := [2]int32{2*s + 1, 2*s + 2}
				for c := range children {
					if children[c] >= splits {
						children[c] = splits - 1 - children[c] // leaf children[c]-splits
					}
				}
				tree.Splits.Feature = append(tree.Splits.Feature, uint32(free))
				tree.Splits.Threshold = append(tree.Splits.Threshold, int64(binary.BigEndian.Uint16(sum[s%16*2:]))<<8|int64(s))
				tree.Splits.Left = append(tree.Splits.Left, children[0])
				tree.Splits.Right = append(tree.Splits.Right, children[1])
				tree.Splits.DefaultLeft = append(tree.Splits.DefaultLeft, false)
				tree.Expected = append(tree.Expected, 0)
			}
			tree.Leaf = make([]int32, splits+1)
			model.Boosted.Trees = append(model.Boosted.Trees, tree)
		}
	}
	return nodetest.Bulk(t, name, model, hold, deny)
}

// enforced are parameters whose breaker stays closed.
func enforced() *threatv1.Params {
	p := threat.DefaultParams()
	p.Mode = threatv1.Mode_MODE_ENFORCE
	p.MaxScoreWork = 1_000_000
	p.Breaker = &threatv1.Breaker{Window: 10_000, Rate: 10_000, Actor: 10_000, RestMs: time.Minute.Milliseconds()}
	return p
}

// guarded is a network that judges its transactions.
type guarded struct {
	*started
	nodes   []*client.Client // one of each validator
	threats []threatv1.QueryClient
	latest  int64 // height of the latest transaction of does
}

func startGuarded(t *testing.T, by testnet.Sentinel) *guarded {
	e := newE2E(t)
	if _, err := testnet.Create(t.Context(), testnet.Dir(e.dir), e.binary, testnet.Design{Validators: 4, By: by}); err != nil {
		t.Fatal(err)
	}
	e.run("testnet", "start", "--dir", e.dir, "--detach")
	g := &guarded{started: &started{e2e: e}}
	g.reload()
	for i := range g.record.Validators {
		g.nodes = append(g.nodes, g.dial(i))
		g.threats = append(g.threats, threatv1.NewQueryClient(g.nodes[i].Conn()))
	}
	return g
}

// who acts, with the keys that sign for it.
type who struct {
	did  string
	keys []tx.Signer
}

func (g *guarded) member(i int, name string) who {
	g.t.Helper()
	id, key := g.signer(i, name)
	return who{id, []tx.Signer{key}}
}

func (g *guarded) consortium() who {
	g.t.Helper()
	return who{did.Consortium, slices.Concat(g.member(0, "admin-1").keys, g.member(2, "admin-1").keys, g.member(3, "admin-1").keys)}
}

// does commits a transaction by way of a validator, which has the one before by then.
func (g *guarded) does(i int, by who, messages ...proto.Message) (*chainv1.TxResult, error) {
	g.t.Helper()
	g.has(i, g.latest)
	r, err := g.nodes[i].Do(g.t.Context(), by.did, by.keys, messages...)
	g.latest = max(g.latest, r.GetHeight())
	return r, err
}

// must is does for what succeeds.
func (g *guarded) must(i int, by who, messages ...proto.Message) *chainv1.TxResult {
	g.t.Helper()
	r, err := g.does(i, by, messages...)
	if err != nil {
		g.t.Fatalf("%T by %s: %v", messages[0], by.did, err)
	}
	return r
}

// refused is does for what ends with an error.
func (g *guarded) refused(want *errs.Error, i int, by who, messages ...proto.Message) *chainv1.TxResult {
	g.t.Helper()
	r, err := g.does(i, by, messages...)
	if !errors.Is(err, want) {
		g.t.Fatalf("%T by %s: %v, want %v", messages[0], by.did, err, want)
	}
	return r
}

// things are so many new entities with names that begin alike.
func things(n int) (messages []proto.Message, ids []string) {
	for range n {
		id := fmt.Sprintf("thing-%d", entities.Add(1))
		ids = append(ids, id)
		messages = append(messages, &provenancev1.RegisterEntity{Id: id, Entity: &provenancev1.Entity{MediaType: "text/plain"}})
	}
	return messages, ids
}

func (g *guarded) exists(i int, organisation, id string) bool {
	g.t.Helper()
	_, err := provenancev1.NewQueryClient(g.nodes[i].Conn()).Entity(g.t.Context(), &provenancev1.NodeRequest{Organisation: organisation, Id: id})
	var refusal *errs.Error
	if err != nil && !(errors.As(err, &refusal) && refusal.Module == "provenance") {
		g.t.Fatal(err)
	}
	return err == nil
}

// has waits until a validator has a height.
func (g *guarded) has(i int, height int64) {
	g.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s, err := g.nodes[i].Status(g.t.Context())
		if err == nil && s.Height >= height {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("validator %d is not at height %d: %v, %v", i, height, s, err)
		}
	}
}

// reach waits until every validator has a height.
func (g *guarded) reach(height int64) {
	g.t.Helper()
	for i := range g.nodes {
		g.has(i, height)
	}
}

// hold is the record of a transaction as of a height: the same on every validator, and
// proven by a receipt that verifies with nothing but the genesis file.
func (g *guarded) hold(step string, id []byte, height int64, want threatv1.HoldStatus) *threatv1.Hold {
	g.t.Helper()
	g.reach(height + 1)
	ctx := client.AtHeight(g.t.Context(), height)
	var first *threatv1.Hold
	for i, q := range g.threats {
		out, err := q.Hold(ctx, &threatv1.HoldRequest{TxId: id})
		if err != nil {
			g.t.Fatalf("%s: validator %d: %v", step, i, err)
		}
		if first == nil {
			first = out.Hold
		} else if !proto.Equal(first, out.Hold) {
			g.t.Fatalf("%s: validator %d says %v, validator 0 %v", step, i, out.Hold, first)
		}
	}
	if first.Status != want {
		g.t.Fatalf("%s: %s, want %s", step, first.Status, want)
	}
	var proof client.Receipt
	if _, err := g.threats[1].Hold(client.Prove(ctx, &proof), &threatv1.HoldRequest{TxId: id}); err != nil {
		g.t.Fatalf("%s: %v", step, err)
	}
	genesis, _, err := config.ReadGenesis(testnet.Dir(g.dir).Home(g.record.Validators[3]).GenesisFile())
	if err != nil {
		g.t.Fatal(err)
	}
	report, err := node.VerifyReceipt(proof.Bytes, genesis)
	if err != nil {
		g.t.Fatalf("%s: the receipt: %v", step, err)
	}
	at := slices.IndexFunc(report.Facts, func(f receipt.Fact) bool { return f.Collection == "threat/holds" })
	if at < 0 || report.Height != height {
		g.t.Fatalf("%s: the receipt is of height %d and has no record of a held transaction", step, report.Height)
	}
	proven := new(threatv1.Hold)
	if err := protojson.Unmarshal(report.Facts[at].Value, proven); err != nil {
		g.t.Fatalf("%s: %v in %s", step, err, report.Facts[at].Value)
	}
	if !proto.Equal(proven, first) {
		g.t.Fatalf("%s: the receipt proves %v, the validators say %v", step, proven, first)
	}
	g.t.Logf("%-44s height %4d  %-21s receipt of %d bytes, signed by %d of %d", step, height, first.Status, len(proof.Bytes), report.SignedPower, report.TotalPower)
	return first
}

// agree compares what all validators have of every block: its record and the state
// root of the block before.
func (g *guarded) agree() {
	g.t.Helper()
	s, err := g.nodes[0].Status(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	g.reach(s.Height + 1)
	roots := make(map[string]bool)
	for h := int64(1); h <= s.Height; h++ {
		var first *nodev1.BlockResponse
		var root []byte
		for i, c := range g.nodes {
			b, err := nodev1.NewNodeClient(c.Conn()).Block(g.t.Context(), &nodev1.BlockRequest{Height: h})
			if err != nil {
				g.t.Fatalf("block %d of validator %d: %v", h, i, err)
			}
			signed := new(cmtproto.SignedHeader)
			if err := signed.Unmarshal(b.SignedHeader); err != nil || signed.Header == nil {
				g.t.Fatalf("block %d of validator %d: its header: %v", h, i, err)
			}
			if first == nil {
				first, root = b, signed.Header.AppHash
				continue
			}
			if !proto.Equal(b.Record, first.Record) || !bytes.Equal(root, signed.Header.AppHash) {
				g.t.Fatalf("block %d: validator %d has app hash %x and %v, validator 0 %x and %v", h, i, signed.Header.AppHash, b.Record, root, first.Record)
			}
		}
		roots[string(root)] = true
	}
	g.t.Logf("%d blocks with %d state roots, the same on %d validators", s.Height, len(roots), len(g.nodes))
}

// events are those of a kind that no transaction caused, in all blocks so far.
func events[E any, P interface {
	*E
	proto.Message
}](g *guarded) (out []P) {
	g.t.Helper()
	s, err := g.nodes[0].Status(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	for h := int64(1); h <= s.Height; h++ {
		b, err := nodev1.NewNodeClient(g.nodes[0].Conn()).Block(g.t.Context(), &nodev1.BlockRequest{Height: h})
		if err != nil {
			g.t.Fatal(err)
		}
		out = append(out, chaintest.Events[E, P](g.t, &chainv1.TxResult{Events: b.Record.Events})...)
	}
	return out
}

// What becomes of held and denied transactions, each step proven offline.
func TestSentinelHoldsReleasesAndRejects(t *testing.T) {
	g := startGuarded(t, testnet.Sentinel{Detector: bulkDetector(t, "bulk", 3, 5, 0), Params: enforced()})
	began := time.Now()
	registrar := g.member(0, "registrar")
	home := g.record.Validators[0].Organisation
	lab, harbour, delta := g.member(1, "admin-1"), g.member(2, "admin-1"), g.member(3, "admin-1")

	// Held, and released by two organisations: executed then.
	messages, ids := things(3)
	r := g.refused(chain.ErrHeld, 0, registrar, messages...)
	if told := chaintest.Events[threatv1.TxHeld](t, r); len(told) != 1 || r.Verdict.Score != 8000 {
		t.Fatalf("held with %d events and score %d", len(told), r.Verdict.Score)
	}
	g.hold("a transaction is held", r.TxId, r.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	if g.exists(2, home, ids[0]) {
		t.Fatal("a held transaction had its effect")
	}
	g.refused(threat.ErrNotReviewer, 0, registrar, &threatv1.Release{TxId: r.TxId})
	one := g.must(2, harbour, &threatv1.Release{TxId: r.TxId})
	g.refused(threat.ErrTwice, 2, harbour, &threatv1.Release{TxId: r.TxId})
	g.hold("one organisation is for its release", r.TxId, one.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	two := g.must(3, delta, &threatv1.Release{TxId: r.TxId})
	if told := chaintest.Events[threatv1.TxReleased](t, two); len(told) != 1 || len(told[0].Responses) != 3 {
		t.Fatalf("released with %v", told)
	}
	g.hold("a second organisation releases it", r.TxId, two.Height, threatv1.HoldStatus_HOLD_STATUS_RELEASED)
	for i := range g.nodes {
		if !g.exists(i, home, ids[2]) {
			t.Errorf("validator %d: a released transaction had no effect", i)
		}
	}

	// Its author's key is revoked meanwhile: released, and it fails.
	seed := make([]byte, 32)
	rand.Read(seed)
	second, err := keys.NewSigner(keys.Ed25519, seed)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := second.Sign(identity.PossessionMessage(g.record.ChainID, registrar.did, "key-2", second.Public()))
	if err != nil {
		t.Fatal(err)
	}
	g.must(0, registrar, &identityv1.AddKey{Did: registrar.did, Key: &identityv1.NewKey{
		Id: "key-2", Type: identityv1.KeyType_KEY_TYPE_ED25519, Public: second.Public().Bytes, Proof: proof,
		Purposes: []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION},
	}})
	messages, ids = things(3)
	r = g.refused(chain.ErrHeld, 0, who{registrar.did, []tx.Signer{client.Signer(did.URL(registrar.did, "key-2"), second)}}, messages...)
	g.must(0, registrar, &identityv1.RevokeKey{Did: registrar.did, KeyId: "key-2", Reason: identityv1.Reason_REASON_COMPROMISED})
	g.must(2, harbour, &threatv1.Release{TxId: r.TxId})
	two = g.must(3, delta, &threatv1.Release{TxId: r.TxId})
	failed := g.hold("its author's key was revoked meanwhile", r.TxId, two.Height, threatv1.HoldStatus_HOLD_STATUS_FAILED)
	if !errors.Is(client.FromCode(failed.Codespace, failed.Code, ""), identity.ErrKeyRevoked) {
		t.Errorf("it failed with %s/%d, want %v", failed.Codespace, failed.Code, identity.ErrKeyRevoked)
	}
	if g.exists(0, home, ids[0]) {
		t.Error("a transaction whose key was revoked had its effect")
	}

	// Rejected.
	messages, _ = things(3)
	r = g.refused(chain.ErrHeld, 0, registrar, messages...)
	g.must(3, delta, &threatv1.Reject{TxId: r.TxId})
	two = g.must(2, harbour, &threatv1.Reject{TxId: r.TxId})
	g.hold("two organisations reject it", r.TxId, two.Height, threatv1.HoldStatus_HOLD_STATUS_REJECTED)
	g.refused(threat.ErrWrongStatus, 1, lab, &threatv1.Release{TxId: r.TxId})

	// Denied, appealed, held again, released.
	messages, ids = things(5)
	r = g.refused(chain.ErrDenied, 0, registrar, messages...)
	g.hold("a transaction is denied", r.TxId, r.Height, threatv1.HoldStatus_HOLD_STATUS_DENIED)
	g.refused(threat.ErrWrongStatus, 2, harbour, &threatv1.Release{TxId: r.TxId})
	reasons := sha256.Sum256([]byte("these are the reasons"))
	g.refused(threat.ErrNotAppellant, 2, harbour, &threatv1.Appeal{Against: &threatv1.Appeal_TxId{TxId: r.TxId}, TextHash: reasons[:]})
	appeal := g.must(0, registrar, &threatv1.Appeal{Against: &threatv1.Appeal_TxId{TxId: r.TxId}, TextHash: reasons[:]})
	g.hold("its author appeals", r.TxId, appeal.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	g.must(1, lab, &threatv1.Release{TxId: r.TxId})
	two = g.must(2, harbour, &threatv1.Release{TxId: r.TxId})
	g.hold("two organisations release it", r.TxId, two.Height, threatv1.HoldStatus_HOLD_STATUS_RELEASED)
	if !g.exists(3, home, ids[4]) {
		t.Error("a transaction that was released on appeal had no effect")
	}

	// A person who is flagged withdraws consents: at once.
	person := g.member(0, "admin-2")
	var given [][]byte
	for range 3 {
		subject := sha256.Sum256(client.NewSalt())
		out := g.must(0, person, &consentv1.Give{Terms: &consentv1.Terms{
			Subject: subject[:], Controller: home, Purposes: []string{"https://w3id.org/dpv#ServiceProvision"},
			Categories: []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Contact"}},
			LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL",
			Notice: &consentv1.Notice{Version: "1", Hash: subject[:], Language: "en"},
		}})
		given = append(given, chaintest.Response[consentv1.GiveResponse](t, out).Id)
	}
	messages, _ = things(3)
	r = g.refused(chain.ErrHeld, 0, person, messages...)
	g.hold("a person is flagged", r.TxId, r.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	r = g.must(0, person, &consentv1.Withdraw{Id: given[0]}, &consentv1.Withdraw{Id: given[1]}, &consentv1.Withdraw{Id: given[2]})
	if r.Verdict.Score != 8000 || len(chaintest.Events[threatv1.Alarm](t, r)) != 1 {
		t.Errorf("withdrawals of a flagged person: verdict %v", r.Verdict)
	}
	for i, c := range g.nodes {
		g.reach(r.Height)
		out, err := consentv1.NewQueryClient(c.Conn()).Consent(t.Context(), &consentv1.ConsentRequest{Id: given[2]})
		if err != nil || out.Record.GetStatus() != consentv1.Status_STATUS_WITHDRAWN {
			t.Errorf("validator %d: the consent is %v, %v", i, out, err)
		}
	}
	g.agree()
	t.Logf("took %v with the network running", time.Since(began).Round(time.Second))
}

// Of a time that is a minute at least: a held transaction expires, and a breaker that
// opened closes. Verdicts are not carried out in between.
func TestSentinelExpiresAndItsBreakerRests(t *testing.T) {
	p := enforced()
	p.HoldMs = time.Minute.Milliseconds()
	p.Breaker = &threatv1.Breaker{Window: 20, Rate: 1000, Actor: 5, RestMs: time.Minute.Milliseconds()}
	g := startGuarded(t, testnet.Sentinel{Detector: bulkDetector(t, "bulk", 3, 5, 0), Params: p})
	registrar := g.member(0, "registrar")
	var held *chainv1.TxResult
	for i := range 3 { // more than a tenth of twenty, and not all of one organisation
		messages, _ := things(3)
		held = g.refused(chain.ErrHeld, i%2, g.member(i%2, "registrar"), messages...)
	}
	mode := func(want threatv1.Mode) {
		t.Helper()
		for i, q := range g.threats {
			out, err := q.Breaker(t.Context(), &threatv1.BreakerRequest{})
			if err != nil || out.Mode != want {
				t.Fatalf("validator %d: %v, %v, want %s", i, out, err, want)
			}
		}
	}
	g.hold("the last before the breaker opens", held.TxId, held.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	opened := events[threatv1.BreakerOpened](g)
	if len(opened) != 1 || opened[0].Flagged != 3 {
		t.Fatalf("opened: %v", opened)
	}
	mode(threatv1.Mode_MODE_LOG)
	messages, ids := things(3)
	r := g.must(0, registrar, messages...)
	if r.Verdict.Score != 8000 || r.Verdict.Ruling != chainv1.Ruling_RULING_ADMIT || !g.exists(0, g.record.Validators[0].Organisation, ids[0]) {
		t.Fatalf("while the breaker is open: %v", r.Verdict)
	}
	for end := time.Now().Add(90 * time.Second); len(events[threatv1.BreakerClosed](g)) == 0; time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the breaker does not close")
		}
	}
	mode(threatv1.Mode_MODE_ENFORCE)
	messages, _ = things(3)
	again := g.refused(chain.ErrHeld, 0, registrar, messages...)
	g.hold("after the breaker closed", again.TxId, again.Height, threatv1.HoldStatus_HOLD_STATUS_HELD)
	h := g.hold("the time of the first is over", held.TxId, again.Height, threatv1.HoldStatus_HOLD_STATUS_EXPIRED)
	if h.EndedTime < h.Time+p.HoldMs {
		t.Errorf("it expired %d ms after it was held", h.EndedTime-h.Time)
	}
	g.refused(threat.ErrWrongStatus, 2, g.member(2, "admin-1"), &threatv1.Release{TxId: held.TxId})
	if n := len(events[threatv1.TxExpired](g)); n != 3 {
		t.Errorf("%d expired, want 3", n)
	}
	g.agree()
}

// A model is registered in chunks, scores in shadow, decides for some as canary and for
// all from a height on, and is rolled back; the validators agree throughout.
func TestSentinelChangesItsModel(t *testing.T) {
	first := bulkDetector(t, "first", 3, 5, 0)
	next := bulkDetector(t, "next", 2, 5, 900)
	g := startGuarded(t, testnet.Sentinel{Detector: first, Params: enforced()})
	hash := detector.Hash(next)
	consortium := g.consortium()
	const chunk = 64 << 10
	var chunks [][]byte
	for rest := next; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
		chunks = append(chunks, rest[:min(chunk, len(rest))])
	}
	if len(chunks) < 2 {
		t.Fatalf("the model has %d bytes, which is one chunk", len(next))
	}
	pairs := make([]int64, 4) // heights at which each organisation sent two messages
	send := func(i int) *chainv1.TxResult {
		t.Helper()
		messages, _ := things(2)
		r, err := g.does(i, g.member(i, "registrar"), messages...)
		if err != nil && !errors.Is(err, chain.ErrHeld) {
			t.Fatal(err)
		}
		pairs[i] = r.Height
		return r
	}
	stage := func(want threatv1.Stage) *threatv1.ModelRecord {
		t.Helper()
		g.has(2, g.latest)
		out, err := g.threats[2].Model(t.Context(), &threatv1.ModelRequest{Hash: hash[:]})
		if err != nil || out.Model.Stage != want {
			t.Fatalf("the model is %v, %v, want %s", out.GetModel(), err, want)
		}
		return out.Model
	}

	// With wrong bytes it is refused: at the chunk where its hash was announced, and at
	// the end where it was not.
	r := g.must(0, consortium, &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(next))})
	for i, raw := range chunks {
		raw = bytes.Clone(raw)
		if i == len(chunks)-1 {
			raw[len(raw)/2] ^= 1
		}
		r = g.must(0, g.member(3, "registrar"), &threatv1.AddModelChunk{Hash: hash[:], Index: uint32(i), Bytes: raw})
	}
	if out := chaintest.Response[threatv1.AddModelChunkResponse](t, r); out.Loaded != 0 || out.Stage != threatv1.Stage_STAGE_LOADING {
		t.Fatalf("a model with a wrong byte is %v", out)
	}
	g.refused(threat.ErrModelStage, 0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_SHADOW})
	var hashes [][]byte
	for _, raw := range chunks {
		h := sha256.Sum256(raw)
		hashes = append(hashes, h[:])
	}
	g.must(0, consortium, &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(next)), ChunkHashes: hashes})
	wrong := bytes.Clone(chunks[0])
	wrong[7] ^= 1
	g.refused(threat.ErrBadChunk, 0, g.member(3, "registrar"), &threatv1.AddModelChunk{Hash: hash[:], Bytes: wrong})
	for i, raw := range chunks {
		g.must(0, g.member(3, "registrar"), &threatv1.AddModelChunk{Hash: hash[:], Index: uint32(i), Bytes: raw})
	}
	stage(threatv1.Stage_STAGE_REGISTERED)

	// In shadow: it flags and nothing follows.
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_SHADOW})
	for i := range 4 {
		if r := send(i); r.Code != 0 {
			t.Fatalf("organisation %d: held by a model in shadow", i)
		}
	}
	g.reach(slices.Max(pairs))
	if c := stage(threatv1.Stage_STAGE_SHADOW).Counts; c.GetScored() < 4 || c.GetFlagged() < 4 {
		t.Errorf("in shadow it counted %v", c)
	}

	// As canary: for the organisations that the hash says.
	const share = 5000
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_CANARY, Share: share})
	chosen := 0
	for i, v := range g.record.Validators {
		sum := sha256.Sum256(append(bytes.Clone(hash[:]), v.Organisation...))
		want := binary.BigEndian.Uint64(sum[:8])%10_000 < share
		if r := send(i); (r.Code != 0) != want {
			t.Errorf("canary: organisation %d is held %v, want %v", i, r.Code != 0, want)
		}
		if want {
			chosen++
		}
	}
	t.Logf("the canary decided for %d of 4 organisations", chosen)

	// Active from a height on.
	s, err := g.nodes[0].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := s.Height + 12
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_REGISTERED})
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_SHADOW})
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_ACTIVE, AtHeight: at})
	before, after := 0, 0
	for i := 0; after < 3; i++ {
		r := send(i % 4)
		if held := r.Code != 0; held != (r.Height >= at) {
			t.Fatalf("at height %d, with the model active from %d on: held %v", r.Height, at, held)
		} else if held {
			after++
		} else {
			before++
		}
	}
	if before == 0 {
		t.Error("nothing was sent before the model became active")
	}
	stage(threatv1.Stage_STAGE_ACTIVE)
	g.must(0, consortium, &threatv1.RollBack{})
	if r := send(1); r.Code != 0 || !bytes.Equal(g.modelAt(r.Height), hashOf(first)) {
		t.Errorf("after the roll-back: code %d by the model %x", r.Code, g.modelAt(r.Height))
	}
	g.refused(threat.ErrNoPrevious, 0, consortium, &threatv1.RollBack{})
	t.Logf("%d bytes in %d chunks; active from height %d on, %d sent before and %d after", len(next), len(chunks), at, before, after)
	g.agree()
}

func hashOf(raw []byte) []byte {
	h := detector.Hash(raw)
	return h[:]
}

// modelAt is the model that judged a block.
func (g *guarded) modelAt(height int64) []byte {
	g.t.Helper()
	g.reach(height) // whoever answered the transaction may be ahead of the first node
	b, err := nodev1.NewNodeClient(g.nodes[0].Conn()).Block(g.t.Context(), &nodev1.BlockRequest{Height: height})
	if err != nil {
		g.t.Fatal(err)
	}
	return b.Record.Model
}

// Without a model, and with one that may need too much work, each kind does what
// params.fail_closed says, and every block says so.
func TestSentinelWithoutAModel(t *testing.T) {
	p := enforced()
	p.FailClosed = []string{"chancery.provenance.v1.InvalidateEntity"}
	g := startGuarded(t, testnet.Sentinel{Params: p})
	registrar := g.member(0, "registrar")
	consortium := g.consortium()
	classes := func(why string) {
		t.Helper()
		messages, ids := things(1)
		g.must(0, registrar, messages...)
		r := g.refused(chain.ErrHeld, 0, registrar, &provenancev1.InvalidateEntity{Id: ids[0], Reason: provenancev1.InvalidationReason_INVALIDATION_REASON_ERRONEOUS})
		if h := g.hold(why, r.TxId, r.Height, threatv1.HoldStatus_HOLD_STATUS_HELD); len(h.Model) != 0 {
			t.Errorf("%s: held by the model %x", why, h.Model)
		}
		said := events[threatv1.ModelAbsent](g)
		if len(said) < 2 || said[len(said)-1].Reason != why {
			t.Errorf("%s: what was said: %v", why, said)
		}
	}
	classes("no model is active")
	raw := bulkDetector(t, "bulk", 3, 5, 0)
	hash := detector.Hash(raw)
	g.must(0, consortium, &threatv1.RegisterModel{Hash: hash[:], Size: uint32(len(raw))})
	g.must(0, registrar, &threatv1.AddModelChunk{Hash: hash[:], Bytes: raw})
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_SHADOW})
	g.must(0, consortium, &threatv1.SetModelStage{Hash: hash[:], Stage: threatv1.Stage_STAGE_ACTIVE})
	messages, ids := things(1)
	g.must(0, registrar, messages...)
	r := g.must(0, registrar, &provenancev1.InvalidateEntity{Id: ids[0], Reason: provenancev1.InvalidationReason_INVALIDATION_REASON_ERRONEOUS})
	if !bytes.Equal(g.modelAt(r.Height), hash[:]) {
		t.Errorf("judged by %x", g.modelAt(r.Height))
	}
	p.MaxScoreWork = 1
	g.must(0, consortium, &threatv1.SetParams{Params: p})
	classes("the model may need more work than max_score_work")
	g.agree()
}

// The demonstration is normal life: the rules that every detector is built with hold
// nothing of it.
func TestTheDemonstrationPassesTheDefaultRules(t *testing.T) {
	e := newE2E(t)
	raw, err := detector.Encode(detector.Build("rules-alone", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testnet.Create(t.Context(), testnet.Dir(e.dir), e.binary, testnet.Design{Validators: 4, By: testnet.Sentinel{Detector: raw}}); err != nil {
		t.Fatal(err)
	}
	t.Log(e.run("testnet", "start", "--dir", e.dir, "--demo", "--once"))
}
