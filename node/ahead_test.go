package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// TestAheadIsInTurn executes blocks of random transactions that get in each other's way: they
// give and withdraw the same consents, register and relate the same things, suspend and
// reinstate each other's authors, change roles, policies and entities that decisions in the
// same block go by, carry bad signatures, and are held and denied. A state machine that takes
// one after the other and one that looks ahead on several processors refuse the same for the
// same reasons, and come to the same results and roots. CHANCERY_SEED and CHANCERY_BLOCKS
// have it run others.
func TestAheadIsInTurn(t *testing.T) {
	seed, blocks := time.Now().UnixNano(), 60
	if s := os.Getenv("CHANCERY_SEED"); s != "" {
		seed, _ = strconv.ParseInt(s, 10, 64)
	}
	if s := os.Getenv("CHANCERY_BLOCKS"); s != "" {
		blocks, _ = strconv.Atoi(s)
	}
	t.Logf("CHANCERY_SEED=%d CHANCERY_BLOCKS=%d", seed, blocks)
	c := &crowd{t: t, r: rand.New(rand.NewSource(seed)), now: chaintest.GenesisTime}
	genesis := watchedGenesis(t, bulk(t, "ahead"), enforcing(), "work", "clerk", "nurse", "temp")
	one, several := c.open(genesis, 1), c.open(genesis, 4)
	var total chain.Foresight
	outcomes := make(map[string]int)
	for height := int64(1); height <= int64(blocks); height++ {
		var txs []*tx.Decoded
		if height > 1 {
			for range 1 + c.r.Intn(150) {
				txs = append(txs, c.transaction())
			}
		}
		c.now += 1 + c.r.Int63n(2*chaintest.BlockTime)
		h := chain.Header{Height: height, Time: c.now}
		a, refusedA := c.execute(one, h, txs, false)
		b, refusedB := c.execute(several, h, txs, true)
		for i := range txs {
			if refusedA[i] != refusedB[i] {
				t.Fatalf("block %d, transaction %d: %q in turn, %q ahead\n%v", height, i, refusedA[i], refusedB[i], txs[i].Messages)
			}
		}
		if !a.Record.EqualVT(b.Record) {
			for i, r := range a.Record.Txs {
				if !r.EqualVT(b.Record.Txs[i]) {
					t.Fatalf("block %d, result %d:\n%v in turn\n%v ahead", height, i, r, b.Record.Txs[i])
				}
			}
			t.Fatalf("block %d: records differ", height)
		}
		if rootA, rootB := one.Tree().Root(), several.Tree().Root(); !bytes.Equal(rootA, rootB) {
			t.Fatalf("block %d: root %x in turn, %x ahead", height, rootA, rootB)
		}
		c.learn(a.Record.Txs)
		total.Held, total.Anew = total.Held+b.Foresight.Held, total.Anew+b.Foresight.Anew
		for i, r := range refusedA {
			if r != "" {
				outcomes["refused"]++
			} else if i < len(a.Record.Txs) {
				outcomes["executed"]++
			}
		}
		for _, r := range a.Record.Txs {
			switch {
			case r.Code != 0:
				outcomes[fmt.Sprintf("%s/%d", r.Codespace, r.Code)]++
			default:
				outcomes["succeeded"]++
			}
		}
	}
	t.Logf("%d findings held, %d were made anew: %v", total.Held, total.Anew, outcomes)
	if blocks >= 60 && (total.Held < 1000 || total.Anew < 100 || outcomes["succeeded"] < 300 || outcomes["refused"] < 20) {
		t.Error("the blocks are too tame to say anything")
	}
}

// crowd makes transactions that get in each other's way.
type crowd struct {
	t        testing.TB
	r        *rand.Rand
	now      int64
	salt     int
	consents [][]byte
}

func (c *crowd) open(genesis []byte, workers int) *chain.App {
	tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true})
	if err != nil {
		c.t.Fatal(err)
	}
	modules := node.Wire()
	modules.Workers = workers
	app, err := modules.App(chaintest.ChainID, tree)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, json.RawMessage(genesis)); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = app.Close() })
	return app
}

// execute commits a block and says why each transaction was refused, "" where it was not.
func (c *crowd) execute(app *chain.App, h chain.Header, txs []*tx.Decoded, ahead bool) (*chain.Block, []string) {
	x := app.Begin(h)
	if ahead {
		// Some come that nobody expected, and some that were expected do not come.
		var patience chain.Patience
		if c.r.Intn(2) == 0 {
			var chunks atomic.Int64
			patience = func() func() bool {
				left := chunks.Add(1) % 5 * 9
				return func() bool { left--; return left < 0 }
			}
		}
		x.Foresee(txs[:len(txs)-len(txs)/8], patience)
	}
	refused := make([]string, len(txs))
	for i, d := range txs {
		if i%31 == 30 {
			continue
		}
		if _, err := x.Deliver(d); err != nil {
			refused[i] = err.Error()
		}
	}
	block := x.End()
	if _, err := app.Apply(block); err != nil {
		c.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		c.t.Fatal(err)
	}
	return block, refused
}

// learn takes up what was made, for later transactions.
func (c *crowd) learn(results []*chainv1.TxResult) {
	for _, r := range results {
		for i := range r.Responses {
			given := new(consentv1.GiveResponse)
			if chain.ResponseOf(r, i, given) == nil && len(given.Id) == 32 {
				c.consents = append(c.consents, given.Id)
			}
		}
	}
	c.consents = c.consents[max(len(c.consents)-40, 0):]
}

func (c *crowd) pick(from ...string) string { return from[c.r.Intn(len(from))] }

func (c *crowd) organisation() string { return c.pick(members...) }

func (c *crowd) worker(organisation string) string {
	return person(organisation, c.pick("work", "clerk", "nurse", "temp"))
}

// transaction is one of somebody, signed, now and then badly.
func (c *crowd) transaction() *tx.Decoded {
	author, messages := c.deed()
	signers := actingFor(author)
	if c.r.Intn(20) == 0 {
		signers[0] = chaintest.Actor(c.worker(c.organisation())) // often not the author
	}
	c.salt++
	until := c.now + chaintest.Validity
	if c.r.Intn(50) == 0 {
		until = c.now - 1
	}
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: author, ValidUntil: until,
		Salt: fmt.Appendf(nil, "%0*d", tx.SaltSize, c.salt), Messages: messages,
	}.Sign(signers...)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.r.Intn(40) == 0 {
		raw[len(raw)-1] ^= 1 // a bad signature
	}
	d, err := tx.Decode(raw)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// deed is what somebody wants.
func (c *crowd) deed() (author string, messages []proto.Message) {
	o := c.organisation()
	switch p := c.r.Intn(100); {
	case p < 5:
		who := c.worker(o)
		return o, []proto.Message{&identityv1.Suspend{Did: who, Reason: identityv1.Reason_REASON_INVESTIGATION}}
	case p < 12:
		return o, []proto.Message{&identityv1.Reinstate{Did: c.worker(o)}}
	case p < 15:
		return o, []proto.Message{&identityv1.AssignRole{Did: c.worker(o), Role: c.pick("doctor", "registrar"), ExpiresAt: c.now + c.r.Int63n(3000)}}
	case p < 17:
		return o, []proto.Message{&identityv1.RevokeRole{Did: c.worker(o), Role: c.pick("doctor", "registrar")}}
	case p < 20:
		return o, []proto.Message{&accessv1.SetPolicies{Organisation: o, Documents: []*accessv1.Document{{
			Name: "main", Text: c.pick(`permit (principal, action, resource);`, `forbid (principal, action, resource);`, `permit (principal, action == Action::"read", resource) when { context.risk < 100 };`),
		}}}}
	case p < 24:
		return o, []proto.Message{&accessv1.PutEntities{Organisation: o, Entities: fmt.Sprintf(`[{"uid":{"type":"Record","id":"%d"},"attrs":{"locked":%v},"parents":[{"type":"Ward","id":"%d"}]}]`,
			c.r.Intn(4), c.r.Intn(2) == 0, c.r.Intn(2))}}
	case p < 40:
		who := c.worker(o)
		return who, []proto.Message{&accessv1.Decide{Request: &accessv1.Request{
			Organisation: o, Principal: who, Purpose: "https://w3id.org/dpv#ServiceProvision",
			Action: &accessv1.EntityUid{Type: "Action", Id: c.pick("read", "write")}, Resource: &accessv1.EntityUid{Type: "Record", Id: strconv.Itoa(c.r.Intn(4))},
		}}}
	case p < 60:
		author = c.worker(o)
		for range c.some() {
			name := fmt.Sprint("e", c.r.Intn(30))
			if c.r.Intn(2) == 0 {
				messages = append(messages, &provenancev1.RegisterEntity{Id: name, Entity: &provenancev1.Entity{MediaType: "text/plain"}})
			} else {
				messages = append(messages, &provenancev1.Relate{Relations: []*provenancev1.Relation{{
					Kind: provenancev1.RelationKind_RELATION_KIND_DERIVATION, Subject: local(name), Object: local(fmt.Sprint("e", c.r.Intn(30))),
				}}})
			}
		}
		return author, messages
	default:
		author = c.worker(o)
		for range c.some() {
			if len(c.consents) > 0 && c.r.Intn(3) == 0 {
				messages = append(messages, &consentv1.Withdraw{Id: c.consents[c.r.Intn(len(c.consents))]})
				continue
			}
			hash := bytes.Repeat([]byte{byte(c.r.Intn(12))}, 32)
			messages = append(messages, &consentv1.Give{
				Terms: &consentv1.Terms{
					Subject: hash, Controller: o, Purposes: []string{"https://w3id.org/dpv#ServiceProvision"},
					Categories: []*consentv1.Category{{Iri: "https://w3id.org/dpv/pd#Contact"}},
					LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL",
					Notice: &consentv1.Notice{Version: "1", Hash: hash, Language: "en"},
				},
				Method: consentv1.Method_METHOD_ELECTRONIC, EvidenceHash: hash,
			})
		}
		return author, messages
	}
}

func local(id string) *provenancev1.Ref {
	return &provenancev1.Ref{Id: id}
}

// some is how many messages a transaction has: mostly one, now and then so many that it is
// held or denied.
func (c *crowd) some() int {
	if c.r.Intn(4) > 0 {
		return 1
	}
	return 1 + c.r.Intn(5)
}
