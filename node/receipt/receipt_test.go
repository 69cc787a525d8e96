package receipt_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	ics23 "github.com/cosmos/ics23/go"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Keys of the core's collections, which every chain has.
var (
	paramsKey = []byte{1, 1}
	headKey   = []byte{1, 2}
)

// seenKey is present for blocks with transactions alone.
func seenKey(height byte) []byte { return []byte{1, 3, 0, 0, 0, 0, 0, 0, 0, height} }

// history is a chain of 14 blocks whose validators changed twice, and changed back
// once in between.
func history(t testing.TB) *nodetest.Chain {
	c := nodetest.New(t, nodetest.Config{})
	block := func(n int) {
		for range n {
			c.Block(c.SetParams())
		}
	}
	block(2)
	c.SetValidators(0, 1, 2, 3, 4)
	block(3)
	c.SetValidators(0, 1, 2, 3)
	block(3)
	c.SetValidators(1, 2, 5, 6, 7)
	block(2)
	c.SetValidators(5, 6, 7, 8)
	block(2)
	c.Block()
	return c
}

func build(t testing.TB, c *nodetest.Chain, height int64, keys ...[]byte) []byte {
	t.Helper()
	raw, err := receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), c).Build(c.Snapshot(height), keys)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func verify(c *nodetest.Chain, raw []byte) (*receipt.Report, error) {
	return receipt.Verify(raw, c.Genesis, c.App.Registry())
}

func fails(t *testing.T, c *nodetest.Chain, raw []byte, want *errs.Error) {
	t.Helper()
	_, err := verify(c, raw)
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func parse(t testing.TB, raw []byte) *nodev1.Receipt {
	t.Helper()
	r, err := receipt.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func marshal(t testing.TB, r *nodev1.Receipt) []byte {
	t.Helper()
	raw, err := receipt.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestReceiptOfPresenceAndAbsence(t *testing.T) {
	c := history(t)
	raw := build(t, c, 3, paramsKey, headKey, seenKey(2), seenKey(200))
	report, err := verify(c, raw)
	if err != nil {
		t.Fatal(err)
	}
	if report.Height != 3 || report.SignedHeight != 4 || report.ChainID != c.App.ChainID() {
		t.Fatalf("height %d signed at %d of %s", report.Height, report.SignedHeight, report.ChainID)
	}
	if report.SignedPower != report.TotalPower || report.TotalPower != 10+11+12+13 || len(report.Signers) != 4 {
		t.Fatalf("%d of %d signed: %v", report.SignedPower, report.TotalPower, report.Signers)
	}
	want := []struct {
		collection string
		present    bool
		value      string
	}{
		{"chain/params", true, "maxTxBytes"},
		{"chain/head", true, `"height":"3"`},
		{"chain/seen", true, "ids"},
		{"chain/seen", false, ""},
	}
	for i, f := range report.Facts {
		if f.Collection != want[i].collection || f.Present != want[i].present || !strings.Contains(string(f.Value), want[i].value) {
			t.Errorf("fact %d is %+v, value %s; want %+v", i, f, f.Value, want[i])
		}
	}
	if len(report.Facts) != len(want) {
		t.Fatalf("%d facts, want %d", len(report.Facts), len(want))
	}
}

func TestReceiptFollowsValidatorChanges(t *testing.T) {
	c := history(t)
	changes := map[int64]int{}
	b := receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), c)
	// In an order that makes the builder use, extend and drop what it remembers.
	for _, height := range []int64{12, 1, 5, 13, 8, 10, 3, 12, 6, 13} {
		raw, err := b.Build(c.Snapshot(height), [][]byte{paramsKey})
		if err != nil {
			t.Fatal(err)
		}
		report, err := verify(c, raw)
		if err != nil {
			t.Fatalf("height %d: %v", height, err)
		}
		changes[height] = report.ValidatorChanges
	}
	for height, want := range map[int64]int{1: 0, 3: 0, 5: 1, 8: 0} {
		if changes[height] != want {
			t.Errorf("height %d needs %d changes, the receipt has %d", height, want, changes[height])
		}
	}
	if changes[12] < 2 || changes[13] < 2 {
		t.Errorf("the receipts of 12 and 13 have %d and %d changes, at least 2 are needed", changes[12], changes[13])
	}
}

// TestEveryByteCounts flips every byte of receipts, as damage would, and again with
// the checksum made right, as a forger would.
func TestEveryByteCounts(t *testing.T) {
	c := history(t)
	for name, raw := range map[string][]byte{
		"present":           build(t, c, 2, paramsKey),
		"absent":            build(t, c, 2, seenKey(99)),
		"several":           build(t, c, 3, paramsKey, headKey, seenKey(2), seenKey(200)),
		"changed":           build(t, c, 5, headKey),
		"changed more":      build(t, c, 13, headKey, seenKey(1)),
		"signed by a part":  partlySigned(t, c),
		"some voted for no": votedNil(t, c),
	} {
		if _, err := verify(c, raw); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := rand.New(rand.NewSource(1))
		for i := range raw {
			for _, flip := range []byte{1 << (i % 8), byte(r.Intn(255) + 1)} {
				bad := bytes.Clone(raw)
				bad[i] ^= flip
				mustFail(t, c, bad, "%s: byte %d of %d flipped by %#x", name, i, len(raw), flip)
				if i < len(raw)-sha256.Size {
					sum := sha256.Sum256(bad[:len(bad)-sha256.Size])
					copy(bad[len(bad)-sha256.Size:], sum[:])
					mustFail(t, c, bad, "%s: byte %d of %d flipped by %#x, with the checksum made right", name, i, len(raw), flip)
				}
			}
		}
	}
}

func mustFail(t *testing.T, c *nodetest.Chain, raw []byte, format string, args ...any) {
	t.Helper()
	report, err := verify(c, raw)
	if err == nil {
		t.Fatalf(format+" verifies: %+v", append(args, report)...)
	}
	var e *errs.Error
	if !errors.As(err, &e) || e.Module != "receipt" || e.Code == errs.Internal {
		t.Fatalf(format+" fails without a code: %v", append(args, err)...)
	}
}

// resign replaces the signed header of the receipt of height 3.
func resign(t testing.TB, c *nodetest.Chain, change func(*types.LightBlock) *types.LightBlock) []byte {
	t.Helper()
	r := parse(t, build(t, c, 3, paramsKey))
	l, err := c.LightBlock(4)
	if err != nil {
		t.Fatal(err)
	}
	if r.SignedHeader, err = change(l).SignedHeader.ToProto().Marshal(); err != nil {
		t.Fatal(err)
	}
	return marshal(t, r)
}

// partlySigned lacks the signature of the validator with the least power.
func partlySigned(t testing.TB, c *nodetest.Chain) []byte {
	return resign(t, c, func(l *types.LightBlock) *types.LightBlock { return c.Sign(*l.Header, l.ValidatorSet, 1) })
}

// votedNil has a signed vote for no block.
func votedNil(t testing.TB, c *nodetest.Chain) []byte {
	return resign(t, c, func(l *types.LightBlock) *types.LightBlock {
		signed := c.Sign(*l.Header, l.ValidatorSet, 1)
		last := l.ValidatorSet.Size() - 1
		v := l.ValidatorSet.Validators[last]
		at := l.Time.Add(time.Second)
		for i := range 4 {
			key := ed25519.GenPrivKeyFromSecret(fmt.Appendf(nil, "nodetest/%d", i))
			if !key.PubKey().Equals(v.PubKey) {
				continue
			}
			vote := &cmtproto.Vote{Type: cmtproto.PrecommitType, Height: l.Height, Timestamp: at, ValidatorAddress: v.Address, ValidatorIndex: int32(last)}
			sig, err := key.Sign(types.VoteSignBytes(l.ChainID, vote))
			if err != nil {
				t.Fatal(err)
			}
			signed.Commit.Signatures[last] = types.CommitSig{BlockIDFlag: types.BlockIDFlagNil, ValidatorAddress: v.Address, Timestamp: at, Signature: sig}
		}
		return signed
	})
}

func TestTooFewSignatures(t *testing.T) {
	c := history(t)
	for abstain := 2; abstain <= 4; abstain++ {
		fails(t, c, resign(t, c, func(l *types.LightBlock) *types.LightBlock {
			return c.Sign(*l.Header, l.ValidatorSet, abstain)
		}), receipt.ErrSignatures)
	}
}

func TestForeignAndOldChains(t *testing.T) {
	c := history(t)
	raw := build(t, c, 3, paramsKey)
	other := *c.Genesis
	other.ChainID = "another-chain"
	if _, err := receipt.Verify(raw, &other, c.App.Registry()); !errors.Is(err, receipt.ErrWrongChain) {
		t.Fatalf("got %v", err)
	}
	// The receipt claims the chain of the genesis file, its header is of another.
	r := parse(t, raw)
	r.ChainId = "another-chain"
	if _, err := receipt.Verify(marshal(t, r), &other, c.App.Registry()); !errors.Is(err, receipt.ErrHeader) {
		t.Fatalf("got %v", err)
	}
	// The same chain id with other validators: a chain that was started anew.
	renewed := *c.Genesis
	renewed.Validators = nodetest.New(t, nodetest.Config{Validators: 5}).Genesis.Validators
	if _, err := receipt.Verify(raw, &renewed, c.App.Registry()); !errors.Is(err, receipt.ErrHistory) {
		t.Fatalf("got %v", err)
	}
	empty := *c.Genesis
	empty.Validators = nil
	if _, err := receipt.Verify(raw, &empty, c.App.Registry()); !errors.Is(err, receipt.ErrGenesis) {
		t.Fatalf("got %v", err)
	}
	twice := *c.Genesis
	twice.Validators = append(twice.Validators[:len(twice.Validators):len(twice.Validators)], twice.Validators[0])
	if _, err := receipt.Verify(raw, &twice, c.App.Registry()); !errors.Is(err, receipt.ErrGenesis) {
		t.Fatalf("got %v", err)
	}
}

func TestForgedHistory(t *testing.T) {
	c := history(t)
	good := build(t, c, 13, paramsKey)
	change := func(f func(r *nodev1.Receipt)) []byte {
		r := parse(t, good)
		f(r)
		return marshal(t, r)
	}
	fails(t, c, change(func(r *nodev1.Receipt) { r.History = r.History[1:] }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History = nil }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History = append(r.History, r.History[0]) }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History[0], r.History[1] = r.History[1], r.History[0] }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) {
		v := r.History[0].Validators
		v[0], v[1] = v[1], v[0]
	}), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History[0].Validators = r.History[0].Validators[1:] }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History[0].Validators = nil }), receipt.ErrHistory)
	fails(t, c, change(func(r *nodev1.Receipt) { r.History[0].SignedHeader = r.SignedHeader }), receipt.ErrHistory)
	// A link that changes nothing lengthens a receipt without end.
	fails(t, c, change(func(r *nodev1.Receipt) {
		l, err := c.LightBlock(1)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := l.SignedHeader.ToProto().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		idle := &nodev1.Link{SignedHeader: raw}
		for _, v := range l.ValidatorSet.Validators {
			idle.Validators = append(idle.Validators, v.Bytes())
		}
		r.History = append([]*nodev1.Link{idle}, r.History...)
	}), receipt.ErrHistory)
}

func TestForgedEntries(t *testing.T) {
	c := history(t)
	good := build(t, c, 3, paramsKey, headKey, seenKey(2), seenKey(200))
	change := func(f func(r *nodev1.Receipt)) []byte {
		r := parse(t, good)
		f(r)
		return marshal(t, r)
	}
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[0].Value = r.Entries[1].Value }), receipt.ErrProof)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[0].Value = nil }), receipt.ErrProof)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[3].Value = []byte{1} }), receipt.ErrProof)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[3].Key = seenKey(201) }), receipt.ErrProof)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[0].Collection = "chain/head" }), receipt.ErrCollection)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[0].Key = []byte{0xEE, 1} }), receipt.ErrCollection)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[0], r.Entries[1] = r.Entries[1], r.Entries[0] }), receipt.ErrMalformed)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries[1] = r.Entries[0] }), receipt.ErrMalformed)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Entries = nil }), receipt.ErrNoEntries)
	fails(t, c, change(func(r *nodev1.Receipt) { r.Height++ }), receipt.ErrHeader)
	fails(t, c, change(func(r *nodev1.Receipt) { r.SignedHeader = nil }), receipt.ErrHeader)
	// A header of another height proves another state.
	fails(t, c, change(func(r *nodev1.Receipt) {
		r.SignedHeader, r.Height = parse(t, build(t, c, 2, paramsKey)).SignedHeader, 2
	}), receipt.ErrProof)
	// Proofs of kinds that nodes do not make, and proofs that index out of range.
	for i, p := range []*ics23.CommitmentProof{
		{},
		{Proof: &ics23.CommitmentProof_Exist{}},
		{Proof: &ics23.CommitmentProof_Nonexist{Nonexist: &ics23.NonExistenceProof{Key: seenKey(200)}}},
		{Proof: &ics23.CommitmentProof_Batch{Batch: &ics23.BatchProof{}}},
		{Proof: &ics23.CommitmentProof_Compressed{Compressed: &ics23.CompressedBatchProof{}}},
	} {
		raw, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		mustFail(t, c, change(func(r *nodev1.Receipt) { r.Entries[3].Proof = raw }), "proof %d", i)
	}
}

func TestNotAReceipt(t *testing.T) {
	c := history(t)
	fails(t, c, nil, receipt.ErrNotReceipt)
	fails(t, c, []byte(receipt.Magic), receipt.ErrNotReceipt)
	fails(t, c, []byte("chancery receipt 2\n"+strings.Repeat("x", 64)), receipt.ErrNotReceipt)
	fails(t, c, make([]byte, receipt.MaxBytes+1), receipt.ErrTooLarge)
	raw := build(t, c, 3, paramsKey)
	fails(t, c, raw[:len(raw)-1], receipt.ErrDamaged)
	fails(t, c, append(bytes.Clone(raw), 0), receipt.ErrDamaged)
	// An unknown field at the end, with the checksum made right.
	long := append(bytes.Clone(raw[:len(raw)-sha256.Size]), 0xF8, 0x07, 0x01)
	sum := sha256.Sum256(long)
	fails(t, c, append(long, sum[:]...), receipt.ErrMalformed)
}

func TestBuildRefuses(t *testing.T) {
	c := history(t)
	b := receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), c)
	refused := func(height int64, want *errs.Error, keys ...[]byte) {
		t.Helper()
		if _, err := b.Build(c.Snapshot(height), keys); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	refused(3, receipt.ErrNoEntries)
	refused(3, receipt.ErrUnknownKeys, []byte{0xEE, 1})
	refused(3, receipt.ErrUnknownKeys, []byte{1, 3, 0})
	refused(c.Height(), receipt.ErrNotYet, paramsKey)
	many := make([][]byte, receipt.MaxEntries+1)
	for i := range many {
		many[i] = []byte{1, 3, 0, 0, 0, 0, 0, 0, byte(i >> 8), byte(i)}
	}
	refused(3, receipt.ErrNoEntries, many...)
	// The same key twice is one record.
	if n := len(parse(t, build(t, c, 3, paramsKey, paramsKey)).Entries); n != 1 {
		t.Fatalf("%d entries", n)
	}
}

// FuzzVerify gives the verifier arbitrary bodies under a right checksum: whatever
// it accepts must be true of the chain.
func FuzzVerify(f *testing.F) {
	c := history(f)
	for _, raw := range [][]byte{
		build(f, c, 2, paramsKey), build(f, c, 2, seenKey(99)),
		build(f, c, 3, paramsKey, headKey, seenKey(2), seenKey(200)), build(f, c, 13, headKey),
		partlySigned(f, c), votedNil(f, c),
	} {
		f.Add(raw[len(receipt.Magic) : len(raw)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := append([]byte(receipt.Magic), body...)
		sum := sha256.Sum256(raw)
		raw = append(raw, sum[:]...)
		report, err := verify(c, raw)
		if err != nil {
			var e *errs.Error
			if !errors.As(err, &e) || e.Code == errs.Internal {
				t.Fatalf("fails without a code: %v", err)
			}
			return
		}
		state, _, err := c.App.View(report.Height)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range parse(t, raw).Entries {
			if have := state.Lookup(e.Key); !bytes.Equal(have, e.Value) {
				t.Fatalf("key %x is %x at height %d; a receipt says %x", e.Key, have, report.Height, e.Value)
			}
		}
	})
}

// young is a chain of whose blocks a node has the later ones alone, with changes of
// validators that are kept of those before.
type young struct {
	*nodetest.Chain
	oldest int64
	kept   []*nodev1.Link
}

func (y young) LightBlock(height int64) (*types.LightBlock, error) {
	if height < y.oldest {
		return nil, chain.ErrBadHeight.With("no header of height %d", height)
	}
	return y.Chain.LightBlock(height)
}

func (y young) History() (receipt.History, error) {
	h, err := y.Chain.History()
	h.Oldest, h.Changes = y.oldest, y.kept
	return h, err
}

// A node without the first headers makes receipts as long as what leads to the oldest one
// that it has is kept, however few headers it has besides, and says so where it is not.
func TestReceiptsWithoutTheFirstHeaders(t *testing.T) {
	c := history(t)
	whole := receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), c)
	changed, refused := 0, 0
	for oldest := int64(2); oldest < c.Height(); oldest++ {
		kept, err := whole.Links(oldest)
		if err != nil {
			t.Fatal(err)
		}
		set, err := receipt.Follow(c.Genesis, kept, oldest)
		if err != nil {
			t.Fatalf("what leads to block %d: %v", oldest, err)
		}
		light, err := c.LightBlock(oldest)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(set.Hash(), light.ValidatorsHash) {
			t.Fatalf("what leads to block %d ends with other validators", oldest)
		}
		b := receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), young{c, oldest, kept})
		for height := oldest; height < c.Height(); height++ {
			raw, err := b.Build(c.Snapshot(height), [][]byte{paramsKey})
			if err != nil {
				t.Fatalf("a receipt of %d with headers from %d on: %v", height, oldest, err)
			}
			report, err := verify(c, raw)
			if err != nil {
				t.Fatalf("the receipt of %d made with headers from %d on: %v", height, oldest, err)
			}
			changed += report.ValidatorChanges
		}
		if len(kept) == 0 {
			continue
		}
		next, err := c.LightBlock(oldest + 1)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(next.ValidatorsHash, receipt.FirstValidators(c.Genesis)) {
			continue // they are back, and need nothing to lead to them
		}
		refused++
		b = receipt.NewBuilder(c.App.ChainID(), c.App.Registry(), young{c, oldest, nil})
		if _, err := b.Build(c.Snapshot(oldest), [][]byte{paramsKey}); !errors.Is(err, receipt.ErrNoHistory) {
			t.Fatalf("a receipt without what leads to block %d: %v", oldest, err)
		}
		bad := proto.Clone(kept[0]).(*nodev1.Link)
		bad.SignedHeader[len(bad.SignedHeader)-1] ^= 1
		if _, err := receipt.Follow(c.Genesis, append([]*nodev1.Link{bad}, kept[1:]...), oldest); err == nil {
			t.Fatal("a forged change is followed")
		}
	}
	if changed == 0 || refused == 0 {
		t.Fatal("no receipt had a change of validators in it, or none was refused")
	}
}
