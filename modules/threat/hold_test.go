package threat

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestKeepRecordsWhatIsHeld(t *testing.T) {
	d := newDesk(t)
	model := bytes.Repeat([]byte{5}, 32)
	k := keeping{model: model, other: &otherVerdict{model: bytes.Repeat([]byte{6}, 32), score: 12, flagged: true}}
	c := d.candidate(suspect, k, &accessv1.Revoke{DecisionId: make([]byte, 32)}, &consentv1.Expire{}, &accessv1.Revoke{})
	r := d.tryKeep(c, k)
	h := soleEvent[threatv1.TxHeld](t, r).Hold
	want := &threatv1.Hold{
		TxId: c.ID[:], Author: suspect, Organisation: house, Kinds: []string{"chancery.access.v1.Revoke", "chancery.consent.v1.Expire"},
		Verdict: &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_HOLD, Score: 9000, Drivers: []*chainv1.Driver{{Part: 1, Feature: 3, Value: -7, Points: 9000}}},
		Model:   model, OtherModel: k.other.model, OtherScore: 12, OtherFlagged: true,
		Height: d.Height(), Time: d.Now, ExpiresAt: d.Now + 10_000, Status: held, Size: uint32(len(c.Raw)),
	}
	if !proto.Equal(h, want) || !proto.Equal(d.holdOf(c.ID[:]), want) {
		t.Fatalf("record %v\nwant %v", h, want)
	}
	kept, _ := d.m.kept.Lookup(d.View(), c.ID[:])
	if !bytes.Equal(kept.GetRaw(), c.Raw) {
		t.Fatal("the bytes that are kept are others")
	}
	d.audit()
}

func TestKeepRecordsWhatIsDenied(t *testing.T) {
	d := newDesk(t)
	k := keeping{ruling: chainv1.Ruling_RULING_DENY, approvals: 3}
	c := d.candidate(suspect, k)
	h := soleEvent[threatv1.TxDenied](t, d.tryKeep(c, k)).Hold
	if h.Status != denied || h.ExpiresAt != d.Now+20_000 || h.Approvals != 0 || h.EndedTime != 0 {
		t.Fatalf("record %v", h)
	}
	d.wantKept(c.ID[:], true)
	d.audit()
}

// The bytes of a key and of a record, which proofs are about.
func TestHoldBytes(t *testing.T) {
	d := newDesk(t)
	id := bytes.Repeat([]byte{0xab}, 32)
	if got, want := hex.EncodeToString(d.m.HoldKey(id)), "1405"+strings.Repeat("ab", 32)+"0001"; got != want {
		t.Fatalf("key %s, want %s", got, want)
	}
	raw, err := (&threatv1.Hold{
		TxId: []byte{1}, Author: "a", Organisation: "o", Kinds: []string{"k"}, Verdict: &chainv1.Verdict{Ruling: 2, Score: 9000},
		Model: []byte{2}, OtherModel: []byte{3}, OtherScore: 4, OtherFlagged: true, Playbook: "p", Height: 5, Time: 6, ExpiresAt: 7, Status: 1,
		Reviews: []*threatv1.Opinion{{Organisation: "n", Reviewer: "r", Release: true, NoteHash: []byte{8}, Time: 9}},
		Appeals: []*threatv1.AppealRecord{{Author: "a", TextHash: []byte{10}, Time: 11, Status: 2}},
		Code:    12, Codespace: "c", EndedHeight: 13, EndedTime: 14, Size: 15, Approvals: 16, Signers: []string{"s"}, Reopened: 17,
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	const want = "0a01011201611a016f22016b2a05080210a846320102" + "3a0103400448015201705805600668077001" +
		"7a0d0a016e12017218012201082809" + "82010a0a016112010a180b2002" + "88010c920101639801" + "0da0010ea8010fb00110ba010173c00111"
	if got := hex.EncodeToString(raw); got != want {
		t.Fatalf("record %s\nwant   %s", got, want)
	}
}

func TestKeepStaysWithinTheBudget(t *testing.T) {
	size := 0
	{
		d := newDesk(t)
		size = len(d.candidate(suspect, keeping{}).Raw)
	}
	tests := map[string]struct {
		change func(*threatv1.Params)
		fit    []string // authors, of transactions of the same size
		beyond string
	}{
		"of all":             {func(p *threatv1.Params) { p.MaxHeld = 2 }, []string{house + ":aaaaaaa", north + ":aaaaaaa"}, south + ":aaaaaaa"},
		"of an organisation": {func(p *threatv1.Params) { p.MaxHeldOrganisation = 1 }, []string{house + ":aaaaaaa", north + ":aaaaaaa"}, house + ":bbbbbbb"},
		"bytes of all": {func(p *threatv1.Params) {
			p.MaxHeld, p.MaxHeldOrganisation, p.MaxHeldBytes = 100, 100, uint64(2*size)
		}, []string{house + ":aaaaaaa", north + ":aaaaaaa"}, house + ":aaaaaaa"},
		"bytes of an organisation": {func(p *threatv1.Params) {
			p.MaxHeld, p.MaxHeldOrganisation, p.MaxHeldBytes = 9, 3, uint64(6*size) // a third of the bytes
		}, []string{house + ":aaaaaaa", house + ":aaaaaaa", north + ":aaaaaaa"}, house + ":aaaaaaa"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, test.change)
			for i, author := range test.fit {
				k := keeping{ruling: chainv1.Ruling_RULING_HOLD}
				if i == 0 {
					k.ruling = chainv1.Ruling_RULING_DENY // which takes room as well
				}
				d.keeps(author, k)
				d.audit()
			}
			before := d.Root()
			c := d.candidate(test.beyond, keeping{})
			r := d.tryKeep(c, keeping{})
			if r.Code != ErrHoldsFull.Code || r.Codespace != "threat" || !ErrHoldsFull.Retryable() {
				t.Fatalf("result %s/%d %s", r.Codespace, r.Code, r.Log)
			}
			if d.m.holds.Has(d.View(), c.ID[:]) || bytes.Equal(before, d.Root()) {
				t.Fatal("a transaction that was refused left a trace")
			}
			// What ends makes room again.
			d.pass(60_000)
			d.keeps(test.beyond, keeping{})
			d.audit()
		})
	}
}

func TestShareOfBytes(t *testing.T) {
	for _, c := range []struct {
		held, organisation uint32
		bytes, want        uint64
	}{
		{10, 2, 1000, 200}, {10, 10, 1000, 1000}, {10, 20, 1000, 1000}, {3, 1, 1000, 333}, {0, 0, 1000, 1000},
		{1 << 31, 1 << 30, 1 << 63, 1 << 62},
	} {
		p := &threatv1.Params{MaxHeld: c.held, MaxHeldOrganisation: c.organisation, MaxHeldBytes: c.bytes}
		if got := shareOf(p); got != c.want {
			t.Errorf("share of %v is %d, want %d", p, got, c.want)
		}
	}
}

func TestKeepNeverTwice(t *testing.T) {
	d := newDesk(t)
	c := d.candidate(suspect, keeping{})
	if r := d.tryKeep(c, keeping{}); r.Code != 0 {
		t.Fatal(r.Log)
	}
	if r := d.tryKeep(c, keeping{}); r.Code != ErrWrongStatus.Code {
		t.Fatalf("kept twice: %s", r.Log)
	}
	d.audit()
}

// Signers are recorded where approvals are asked for, each once.
func TestKeepRecordsSignersForApprovals(t *testing.T) {
	d := newDesk(t)
	by := []tx.Signer{chaintest.Actor(adminOf(house) + "2"), chaintest.Actor(adminOf(house))}
	id := d.keeps(suspect, keeping{playbook: "four-eyes", approvals: 1, signers: by})
	h := d.holdOf(id)
	if want := []string{adminOf(house), adminOf(house) + "2", suspect}; h.Approvals != 1 || h.Playbook != "four-eyes" || !slices.Equal(h.Signers, want) {
		t.Fatalf("record %v", h)
	}
}

func TestHoldsGenesis(t *testing.T) {
	d := newDesk(t)
	a, b := d.keeps(suspect, keeping{}), d.keeps(suspect, keeping{ruling: chainv1.Ruling_RULING_DENY})
	c, e := d.keeps(north+":x", keeping{}), d.keeps(north+":y", keeping{})
	for _, o := range []string{south, east} {
		d.Do(adminOf(o), releaseOf(c))
		d.Do(adminOf(o), rejectOf(e))
	}
	d.Do(suspect, appealOf(a))
	d.CheckGenesis()
	d.audit()
	for _, test := range []struct {
		name   string
		change func(map[string]*threatv1.GenesisHold)
	}{
		{"no bytes", func(h map[string]*threatv1.GenesisHold) { h[string(a)].Raw = nil }},
		{"other size", func(h map[string]*threatv1.GenesisHold) { h[string(b)].Hold.Size++ }},
		{"bytes of what is over", func(h map[string]*threatv1.GenesisHold) {
			h[string(c)].Raw, h[string(c)].Hold.Size = []byte{1}, 1
		}},
		{"no status", func(h map[string]*threatv1.GenesisHold) { h[string(c)].Hold.Status = 0 }},
		{"short id", func(h map[string]*threatv1.GenesisHold) { h[string(c)].Hold.TxId = []byte{1} }},
		{"twice", func(h map[string]*threatv1.GenesisHold) { h[string(c)].Hold.TxId = a }},
		{"reviews", func(h map[string]*threatv1.GenesisHold) { h[string(c)].Hold.Reopened = 9 }},
		{"no verdict", func(h map[string]*threatv1.GenesisHold) { h[string(c)].Hold.Verdict = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := d.m.exportHolds(d.View())
			byID := map[string]*threatv1.GenesisHold{}
			for _, h := range all {
				byID[string(h.Hold.TxId)] = h
			}
			test.change(byID)
			fresh := newDesk(t)
			r := fresh.step(func(ctx *chain.Ctx, m *Module) error { return m.importHolds(ctx, all) })
			if r.Code != ErrInvalid.Code {
				t.Fatalf("imported: %s", r.Log)
			}
		})
	}
}
