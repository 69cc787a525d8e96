package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/intel"
	"github.com/chancery/chancery/node/webhook"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	alpha = "did:chancery:alpha" // has the only validator
	beta  = "did:chancery:beta"
)

// newJudgingHome is the home of the only validator of two organisations on a chain
// whose detector has the default rules and nothing that learnt.
func newJudgingHome(t *testing.T) (config.Home, config.Config) {
	t.Helper()
	home := config.Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	made, err := home.CreateKeys()
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1767600000000)
	founder := func(name string) identity.Founder {
		return identity.Founder{DID: name, Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(name).Public()}}}
	}
	first := founder(alpha)
	first.Validators = []identity.FoundingValidator{{PublicKey: made.Validator, Power: 10, Moniker: "alpha"}}
	first.Nodes = []string{made.NodeID}
	founded, err := identity.NewGenesis(identity.Founding{At: at.UnixMilli(), Threshold: 2, Organisations: []identity.Founder{first, founder(beta)}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := detector.Encode(detector.Build("small", nil))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]json.RawMessage{}
	for name, m := range map[string]proto.Message{"identity": founded, "threat": threat.NewGenesis(raw, 0)} {
		if sections[name], err = chain.WriteGenesis(m); err != nil {
			t.Fatal(err)
		}
	}
	appState, err := json.Marshal(sections)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := NewGenesis(testChain, at, appState)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.WriteGenesis(home.GenesisFile(), doc); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.RPC.Development = true
	c.Consensus.Commit = config.Duration(20 * time.Millisecond)
	c.Signer.WatchBlocks = 0 // nobody copies this home
	c.State.NoSync = true
	c.Intelligence.Poll = config.Duration(100 * time.Millisecond)
	c.Forecast.Bucket = config.Duration(time.Second)
	return home, c
}

func start(t *testing.T, home config.Home, c config.Config) *Node {
	t.Helper()
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// assign is a transaction of beta that gives a role, which is power.
func assign(t *testing.T, role string) []byte {
	t.Helper()
	raw, _, err := tx.Draft{
		ChainID: testChain, Author: beta, ValidUntil: time.Now().Add(time.Minute).UnixMilli(), Salt: fmt.Appendf(nil, "%16s", role),
		Messages: []proto.Message{&identityv1.AssignRole{Did: beta, Role: role}},
	}.Sign(chaintest.Actor(beta))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// committed submits a transaction and waits for its result.
func committed(t *testing.T, client nodev1.TxClient, raw []byte) *chainv1.TxResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sent, err := client.Submit(ctx, &nodev1.SubmitRequest{Tx: raw})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Wait(ctx, &nodev1.WaitRequest{TxId: sent.TxId})
	if err != nil {
		t.Fatal(err)
	}
	return got.Result
}

// request is what a webhook was sent.
type request struct {
	header http.Header
	body   []byte
}

// TestAnIndicatorBecomesACommonRiskAndHolds: what the node of the only validator
// believes is told with its votes, becomes the common risk, holds a transaction of the
// one that it is about, and a webhook is told of that. A restart keeps it, and the
// operator can take it back.
func TestAnIndicatorBecomesACommonRiskAndHolds(t *testing.T) {
	home, c := newJudgingHome(t)
	posted := make(chan request, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- request{r.Header, body}
	}))
	defer receiver.Close()
	secret := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	if err := os.WriteFile(filepath.Join(string(home), "config", "pager.secret"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := config.DefaultWebhook()
	w.Name, w.URL, w.SecretFiles, w.Types = "pager", receiver.URL+"/hook", []string{"config/pager.secret"}, []string{"chancery.threat.v1.TxHeld"}
	c.Webhooks = []config.Webhook{w}

	n := start(t, home, c)
	conn := dial(t, n)
	txs, judged, forecasts := nodev1.NewTxClient(conn), threatv1.NewQueryClient(conn), nodev1.NewForecastsClient(conn)
	risk := func() threatv1.Risk {
		r, err := judged.Risk(t.Context(), &threatv1.RiskRequest{Subject: beta})
		if err != nil {
			t.Fatal(err)
		}
		return r.Common
	}
	until(t, "blocks are made", func() bool { return n.Engine().Status().Height >= 2 })
	if r := committed(t, txs, assign(t, "nurse")); r.Code != 0 || r.Verdict == nil {
		t.Fatalf("before anything is believed: %v", r)
	}

	line := `{"type":"organisation","value":"` + beta + `","level":"high"}` + "\n"
	if err := os.WriteFile(home.IndicatorFile(), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the risk is common", func() bool { return risk() == threatv1.Risk_RISK_HIGH })
	told := false
	for height := n.Engine().Status().Height; height > 0 && !told; height-- {
		docket, ok := n.Engine().Docket(height)
		if !ok {
			t.Fatalf("block %d has no docket", height)
		}
		for _, v := range docket.Votes {
			extension, err := chain.ParseExtension(v.Extension)
			if err != nil {
				t.Fatal(err)
			}
			said, err := threat.ParseExtension(extension.Voice)
			if err != nil {
				t.Fatal(err)
			}
			told = told || len(said.Assessments) > 0 && said.Assessments[0].Subject == beta && said.Assessments[0].Cause == threatv1.Cause_CAUSE_INDICATOR
		}
	}
	if !told {
		t.Error("no extension says it")
	}

	r := committed(t, txs, assign(t, "doctor"))
	if chain.ErrHeld.Code != r.Code || r.Verdict.Ruling != chainv1.Ruling_RULING_HOLD {
		t.Fatalf("a suspect gives a role: %v", r)
	}
	secrets, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-posted:
		if err := webhook.Verify(got.header, got.body, []webhook.Secret{secrets}, false); err != nil {
			t.Error(err)
		}
		var m struct {
			Type, TxID string
			Event      struct{ Hold struct{ Author string } }
		}
		if err := json.Unmarshal(got.body, &m); err != nil || m.Type != "chancery.threat.v1.TxHeld" || m.Event.Hold.Author != beta || !strings.EqualFold(m.TxID, hex.EncodeToString(r.TxId)) {
			t.Errorf("%s: %v", got.body, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the webhook was not told")
	}

	for kind, subject := range map[nodev1.SubjectKind]string{
		nodev1.SubjectKind_SUBJECT_KIND_ACTOR: beta, nodev1.SubjectKind_SUBJECT_KIND_ORGANISATION: beta, nodev1.SubjectKind_SUBJECT_KIND_RESOURCE: "did:" + beta,
	} {
		until(t, "the node forecasts "+kind.String(), func() bool {
			f, err := forecasts.Forecast(t.Context(), &nodev1.ForecastRequest{Kind: kind, Subject: subject, Horizon: 3})
			return err == nil && len(f.Points) == 3 && f.History.Events == 2
		})
	}
	for _, want := range []string{`chancery_intel_indicators{source="indicators"} 1`, `chancery_webhook_events_total{endpoint="pager",outcome="delivered"} 1`} {
		// A delivery counts once its answer is there, which the receiver above may still be writing.
		until(t, "/metrics has "+want, func() bool {
			resp, err := http.Get("http://" + n.TelemetryAddress() + "/metrics")
			if err != nil {
				return false
			}
			defer func() { _ = resp.Body.Close() }()
			metrics, err := io.ReadAll(resp.Body)
			return err == nil && strings.Contains(string(metrics), want)
		})
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}

	// The file may be gone: what is believed is in the book.
	if err := os.Remove(home.IndicatorFile()); err != nil {
		t.Fatal(err)
	}
	n = open(t, home)
	believed := func() intel.Level {
		for _, o := range n.judgement.book.Opinions(time.Now().UnixMilli()) {
			if o.Subject == beta {
				return o.Level
			}
		}
		return intel.LevelNone
	}
	if believed() != intel.LevelHigh {
		t.Fatal("a restart forgets what the node believes")
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	conn = dial(t, n)
	judged = threatv1.NewQueryClient(conn)
	if risk() != threatv1.Risk_RISK_HIGH {
		t.Error("the risk is common no more")
	}
	line = `{"type":"did","value":"` + beta + `","level":"none","note":"looked into"}` + "\n"
	if err := os.WriteFile(home.OpinionFile(), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the operator takes it back", func() bool { return risk() == threatv1.Risk_RISK_UNSPECIFIED })
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if len(posted) != 0 {
		t.Errorf("%d requests more", len(posted))
	}
}

// What a node must not do without stops it, and names the file; what it can do without
// does not.
func TestWhatStopsANodeThatJudges(t *testing.T) {
	home, c := newJudgingHome(t)
	refused := func(want string) {
		t.Helper()
		n, err := Open(home, Options{Config: &c, Log: quiet(t)})
		if err == nil {
			err = n.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %s", err, want)
		}
	}
	book := filepath.Join(home.Data(), "judgement", "book.json")
	if err := os.MkdirAll(filepath.Dir(book), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(book, []byte(`{"format":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(book)
	if err := os.Remove(book); err != nil {
		t.Fatal(err)
	}
	w := config.DefaultWebhook()
	w.Name, w.URL, w.SecretFiles = "pager", "https://pager.example", []string{"config/no.secret"}
	c.Webhooks = []config.Webhook{w}
	refused("no.secret")
	// A process that could not open its node ends; this one takes another home.
	home, c = newJudgingHome(t)
	c.Intelligence.Feed, c.Intelligence.FeedCA, c.Intelligence.FeedCert, c.Intelligence.FeedKey = "feed.example:1", "no.pem", "no.pem", "no.pem"
	c.Intelligence.Indicators = "no.csv"
	n, err := Open(home, Options{Config: &c, Log: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	if n.judgement.feed != nil {
		t.Error("there is a feed without its certificates")
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "blocks are made", func() bool { return n.Engine().Status().Height >= 2 })
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAndNodesAreLookedUp(t *testing.T) {
	home, c := newJudgingHome(t)
	n := start(t, home, c)
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	until(t, "blocks are made", func() bool { return n.Engine().Status().Height >= 2 })
	made, err := home.Keys()
	if err != nil {
		t.Fatal(err)
	}
	validator := identity.Multikey(identityv1.KeyType_KEY_TYPE_ED25519, made.Validator)
	for _, test := range []struct {
		kind  intel.Kind
		value string
		want  []string
	}{
		{intel.KindKey, chaintest.Actor(beta).Public().Multibase(), []string{beta}},
		{intel.KindKey, validator, []string{alpha}},
		{intel.KindKey, chaintest.Actor("nobody").Public().Multibase(), nil},
		{intel.KindKey, "no key", nil},
		{intel.KindNode, made.NodeID, []string{alpha}},
		{intel.KindNode, strings.Repeat("0", 40), nil},
		{intel.KindDID, beta, nil},
	} {
		if got := n.resolve(test.kind, test.value); !slices.Equal(got, test.want) {
			t.Errorf("%s %s belongs to %v, want %v", test.kind, test.value, got, test.want)
		}
	}
}

type missed []int64

func (m *missed) Missed(height int64) { *m = append(*m, height) }

func TestTheBookIsToldWhatDidNotArrive(t *testing.T) {
	me, other := bytes.Repeat([]byte{1}, 20), bytes.Repeat([]byte{2}, 20)
	blocks := map[int64]*chainv1.Docket{
		3: {Votes: []*chainv1.Vote{{Validator: me}, {Validator: other}}}, 4: {Votes: []*chainv1.Vote{{Validator: other}}}, 5: {}, // and no 6
		7: {Votes: []*chainv1.Vote{{Validator: me}}},
	}
	var got missed
	a := arrivals{address: me, book: &got, dockets: func(height int64) (*chainv1.Docket, bool) {
		d, ok := blocks[height]
		return d, ok
	}}
	a.follow(t.Context(), 3, func(_ context.Context, height int64) error {
		if height > 7 {
			return context.Canceled
		}
		return nil
	})
	if !slices.Equal(got, []int64{3, 4}) {
		t.Errorf("did not arrive: %v", got)
	}
}

func TestWhatIsSeenOfABlock(t *testing.T) {
	draft := func(author string, messages ...proto.Message) *tx.Decoded {
		raw, _, err := tx.Draft{ChainID: testChain, Author: author, ValidUntil: 1, Salt: make([]byte, 16), Messages: messages}.Sign(chaintest.Actor(author))
		if err != nil {
			t.Fatal(err)
		}
		d, err := tx.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	content := bytes.Repeat([]byte{0xab}, 32)
	txs := []*tx.Decoded{
		draft(beta+":clerk", &identityv1.AssignRole{Did: beta, Role: "nurse"}, &consentv1.Withdraw{Id: []byte{1}}),
		draft(alpha, &provenancev1.RegisterEntity{Id: "scan", Entity: &provenancev1.Entity{Hashes: [][]byte{append([]byte{0x12, 32}, content...), {0x13, 1, 1}}}}),
	}
	held, err := (&threatv1.TxHeld{Hold: &threatv1.Hold{Author: beta + ":clerk"}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	record := &chainv1.BlockRecord{Height: 5, Time: 1000, Txs: []*chainv1.TxResult{
		{Code: 16, Verdict: &chainv1.Verdict{Score: 8500}, Events: []*chainv1.Event{{Type: "chancery.threat.v1.TxHeld", Value: held}}},
		{},
	}}
	reads := 0
	d := newDeeds(func(height int64) ([]*tx.Decoded, bool) {
		reads++
		return txs, height == 5
	})
	got := d.intel(record)
	want := []intel.Observation{
		{Height: 5, Time: 1000, Actor: beta + ":clerk", Organisation: beta, Kind: "identity.AssignRole", Resources: []string{"did:" + beta, "consent:01"}, Score: 8500, Scored: true, Failed: true},
		{Height: 5, Time: 1000, Actor: alpha, Organisation: alpha, Kind: "provenance.RegisterEntity", Resources: []string{"node:scan", hex.EncodeToString(content)}},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("sees %+v\nwant %+v", got, want)
	}
	if f := d.forecast(record); len(f) != 2 || f[0].Score != 8500 || !f[0].Scored || f[1].Scored || len(f[1].Resources) != 1 || reads != 1 {
		t.Errorf("forecasts see %+v, after %d reads", f, reads)
	}
	// Without its bytes, as far as the record tells.
	record.Height = 6
	if got := d.intel(record); len(got) != 1 || got[0].Actor != beta+":clerk" || got[0].Score != 8500 || !got[0].Failed || got[0].Kind != "" {
		t.Errorf("without the block: %+v", got)
	}
	for h := range int64(100) {
		record.Height = 100 + h
		d.of(record)
	}
	if d.blocks.Len() != deedBlocks {
		t.Errorf("%d blocks are kept", d.blocks.Len())
	}
}
