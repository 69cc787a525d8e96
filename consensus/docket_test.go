package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// voice says what it is told to and takes extensions that begin with an exclamation mark.
type voice struct{ says []byte }

func (v *voice) Extension(int64, int64) []byte { return v.says }
func (v *voice) Check(extension []byte) error {
	if extension[0] != '!' {
		return errors.New("no exclamation")
	}
	return nil
}

var judging = &chaintest.Screen{Hash: bytes.Repeat([]byte{9}, 32)}

func newJudge(t testing.TB) *host {
	h := newScreenedHost(t, judging)
	h.voice = new(voice)
	return h
}

// extension is one in form, of a voice and ids; without either it is empty.
func extension(voice string, ids ...tx.ID) string {
	e := &chainv1.Extension{Voice: []byte(voice)}
	slices.SortFunc(ids, func(a, b tx.ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		e.Listed = append(e.Listed, id[:]...)
	}
	raw, err := e.MarshalVT()
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// vote is a validator's signed extension for a height and round, of a voice alone.
func vote(key ed25519.PrivKey, height int64, round int32, voice string) abci.ExtendedVoteInfo {
	return signed(key, height, round, extension(voice))
}

// signed is a validator's signed extension for a height and round.
func signed(key ed25519.PrivKey, height int64, round int32, extension string) abci.ExtendedVoteInfo {
	signature, err := key.Sign(types.VoteExtensionSignBytes(chaintest.ChainID, &cmtproto.Vote{Height: height, Round: round, Extension: []byte(extension)}))
	if err != nil {
		panic(err)
	}
	return abci.ExtendedVoteInfo{
		Validator: abci.Validator{Address: key.PubKey().Address(), Power: 10}, VoteExtension: []byte(extension), ExtensionSignature: signature,
		BlockIdFlag: cmtproto.BlockIDFlagCommit,
	}
}

// propose is prepare with the extensions of the last commit.
func (h *host) propose(t testing.TB, round int32, votes ...abci.ExtendedVoteInfo) [][]byte {
	t.Helper()
	res, err := h.PrepareProposal(context.Background(), &abci.RequestPrepareProposal{
		Height: h.height() + 1, Time: h.now, MaxTxBytes: 1 << 20, LocalLastCommit: abci.ExtendedCommitInfo{Round: round, Votes: votes},
	})
	if err != nil {
		t.Fatal(err)
	}
	return res.Txs
}

// SPEC B2, D3: with a screen and with votes too, whatever is prepared is accepted by a node
// that saw nothing of it.
func TestProcessAcceptsDockets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proposer, validator := newJudge(t), newJudge(t)
		for b := range rapid.IntRange(1, 3).Draw(r, "blocks") {
			for i := range rapid.IntRange(0, 12).Draw(r, "txs") {
				author := rapid.SampledFrom([]string{chaintest.Consortium, "did:chancery:acme:held", "did:chancery:acme:denied", "did:chancery:acme:full", "did:chancery:acme:dear"}).Draw(r, fmt.Sprint("author", b, i))
				proposer.force(t, setParams(author, proposer.now.UnixMilli()+1000))
			}
			round := rapid.Int32Range(0, 3).Draw(r, "round")
			var votes []abci.ExtendedVoteInfo
			for i, v := range voters {
				if rapid.Bool().Draw(r, fmt.Sprint("votes", i)) {
					votes = append(votes, vote(v, proposer.height(), round, fmt.Sprint("!", i)))
				}
			}
			// What no docket may carry is left out, not proposed.
			votes = append(votes, vote(voters[0], proposer.height(), round, ""), vote(ed25519.GenPrivKeyFromSecret([]byte("stranger")), proposer.height(), round, "!"))
			txs := proposer.propose(t, round, votes...)
			if !validator.accepts(t, txs) {
				r.Fatalf("block %d was rejected", validator.height()+1)
			}
			a, v := proposer.decide(t, txs), validator.decide(t, txs)
			if !bytes.Equal(a.AppHash, v.AppHash) || len(a.TxResults) != len(txs) {
				r.Fatalf("app hashes %x and %x, %d results for %d transactions", a.AppHash, v.AppHash, len(a.TxResults), len(txs))
			}
			proposer.commit(t, a)
			validator.commit(t, v)
		}
	})
}

// SPEC D4: before the first block nobody voted, whatever a validator has signed.
func TestTheFirstDocketHasNoVotes(t *testing.T) {
	h := newJudge(t)
	for height, want := range map[int64]int{1: 0, 2: 1} {
		info := vote(voters[0], height-1, 1, "!a")
		if got := h.votes(height, abci.ExtendedCommitInfo{Round: 1, Votes: []abci.ExtendedVoteInfo{info}}, 1<<20); len(got) != want {
			t.Errorf("block %d: %d votes are proposed", height, len(got))
		}
		v := &chainv1.Vote{Validator: info.Validator.Address, Extension: info.VoteExtension, Signature: info.ExtensionSignature}
		docket := h.app.Begin(headerOf(height, h.now)).Docket(1, []*chainv1.Vote{v})
		if _, err := h.docket(height, [][]byte{docket}); (err == nil) != (want == 1) {
			t.Errorf("block %d: the docket is judged %v", height, err)
		}
	}
}

// SPEC D1, D2, D3, D4: a docket that lies is refused, whatever the lie, and told of.
func TestLyingDocketsAreRefused(t *testing.T) {
	h := newJudge(t)
	h.commit(t, h.decide(t, h.propose(t, 0)))
	var lies []Lie
	h.lied = func(l Lie) { lies = append(lies, l) }
	raws := [][]byte{
		setParams("did:chancery:acme:held", h.now.UnixMilli()+1000),
		setParams(chaintest.Consortium, h.now.UnixMilli()+1000),
	}
	h.force(t, raws...)
	last := h.height()
	good := h.propose(t, 1, vote(voters[0], last, 1, "!a"), vote(voters[1], last, 1, "!b"))
	docket, err := chain.DecodeDocket(good[0])
	if err != nil || len(docket.Votes) != 2 || len(docket.Verdicts) != 2 {
		t.Fatal(docket, err)
	}
	tag := good[0][:len(good[0])-docket.SizeVT()]
	h.candidates.clear() // judge it as another node would
	if !h.accepts(t, good) {
		t.Fatal("the honest block was rejected")
	}
	other := vote(voters[0], last, 1, "!z")
	for name, lie := range map[string]func(d *chainv1.Docket) [][]byte{
		"a wrong score":               func(d *chainv1.Docket) [][]byte { d.Verdicts[1].Score++; return nil },
		"a ruling made milder":        func(d *chainv1.Docket) [][]byte { d.Verdicts[0].Ruling = chainv1.Ruling_RULING_ADMIT; return nil },
		"another driver":              func(d *chainv1.Docket) [][]byte { d.Verdicts[0].Drivers = []*chainv1.Driver{{Part: 1}}; return nil },
		"a verdict missing":           func(d *chainv1.Docket) [][]byte { d.Verdicts = d.Verdicts[:1]; return nil },
		"a verdict too many":          func(d *chainv1.Docket) [][]byte { d.Verdicts = append(d.Verdicts, new(chainv1.Verdict)); return nil },
		"no verdicts":                 func(d *chainv1.Docket) [][]byte { d.Verdicts = nil; return nil },
		"another model":               func(d *chainv1.Docket) [][]byte { d.Model[3] ^= 1; return nil },
		"no model":                    func(d *chainv1.Docket) [][]byte { d.Model = nil; return nil },
		"another round":               func(d *chainv1.Docket) [][]byte { d.Round++; return nil },
		"a forged extension":          func(d *chainv1.Docket) [][]byte { d.Votes[0].Extension = []byte(extension("!forged")); return nil },
		"a forged signature":          func(d *chainv1.Docket) [][]byte { d.Votes[0].Signature[5] ^= 1; return nil },
		"another's signature":         func(d *chainv1.Docket) [][]byte { d.Votes[0].Signature = d.Votes[1].Signature; return nil },
		"a vote twice":                func(d *chainv1.Docket) [][]byte { d.Votes[1] = d.Votes[0]; return nil },
		"votes out of order":          func(d *chainv1.Docket) [][]byte { slices.Reverse(d.Votes); return nil },
		"an extension out of form":    func(d *chainv1.Docket) [][]byte { d.Votes[0].Extension = []byte("a"); return nil },
		"an empty extension":          func(d *chainv1.Docket) [][]byte { d.Votes[0].Extension = nil; return nil },
		"a stranger's vote":           func(d *chainv1.Docket) [][]byte { d.Votes[0].Validator = make([]byte, 20); return nil },
		"a vote of an earlier height": func(d *chainv1.Docket) [][]byte { v := vote(voters[0], last-1, 1, "!a"); set(d, v); return nil },
		"transactions the other way":  func(*chainv1.Docket) [][]byte { return [][]byte{good[0], good[2], good[1]} },
		"no docket":                   func(*chainv1.Docket) [][]byte { return good[1:] },
		"the docket last":             func(*chainv1.Docket) [][]byte { return [][]byte{good[1], good[2], good[0]} },
		"two dockets":                 func(*chainv1.Docket) [][]byte { return append([][]byte{good[0]}, good...) },
		"a byte behind the docket":    func(*chainv1.Docket) [][]byte { return append([][]byte{append(bytes.Clone(good[0]), 0)}, good[1:]...) },
		"an empty block":              func(*chainv1.Docket) [][]byte { return [][]byte{} },
	} {
		d := docket.CloneVT()
		txs := lie(d)
		if txs == nil {
			raw, err := d.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			txs = append([][]byte{append(bytes.Clone(tag), raw...)}, good[1:]...)
		}
		lies = nil
		if h.accepts(t, txs) {
			t.Errorf("%s: accepted", name)
		}
		if len(lies) != 1 || lies[0].Height != last+1 || lies[0].Reason == nil {
			t.Errorf("%s: told %v", name, lies)
		}
	}
	// Another extension that the validator did sign, and one left out, are no lies.
	for name, change := range map[string]func(d *chainv1.Docket){
		"another that it signed": func(d *chainv1.Docket) { set(d, other) },
		"left out":               func(d *chainv1.Docket) { d.Votes = d.Votes[1:] },
	} {
		d := docket.CloneVT()
		change(d)
		raw, _ := d.MarshalVT()
		if !h.accepts(t, append([][]byte{append(bytes.Clone(tag), raw...)}, good[1:]...)) {
			t.Errorf("%s: rejected", name)
		}
	}
}

// set replaces the vote of a validator.
func set(d *chainv1.Docket, v abci.ExtendedVoteInfo) {
	for _, w := range d.Votes {
		if bytes.Equal(w.Validator, v.Validator.Address) {
			w.Extension, w.Signature = v.VoteExtension, v.ExtensionSignature
		}
	}
}

// SPEC D5: when two thirds decide a block whose docket breaks the rules, every node goes on
// alike: its votes do not count, its transactions do.
func TestDecidedLieIsTheSameEverywhere(t *testing.T) {
	a, b := newJudge(t), newJudge(t)
	good := setParams(chaintest.Consortium, a.now.UnixMilli()+1000)
	txs := [][]byte{[]byte("no docket"), good, []byte("garbage")}
	ra, rb := a.decide(t, txs), b.decide(t, txs)
	if !bytes.Equal(ra.AppHash, rb.AppHash) || len(ra.TxResults) != 3 || ra.TxResults[1].Code != 0 || ra.TxResults[2].Code == 0 {
		t.Fatal(ra, rb)
	}
	a.commit(t, ra)
	if a.app.Latest().Lookup(chaintest.VotesKey) != nil {
		t.Fatal("votes of a docket that breaks the rules were heard")
	}
}

// SPEC D4, B7: votes reach the screen before the transactions, with effect in the state.
func TestVotesAreHeard(t *testing.T) {
	h := newJudge(t)
	h.commit(t, h.decide(t, h.propose(t, 2, vote(voters[0], h.height(), 2, "!one"), vote(voters[2], h.height(), 2, "!three"))))
	got := h.app.Latest().Lookup(chaintest.VotesKey)
	if !bytes.Contains(got, []byte("!one")) || !bytes.Contains(got, []byte("!three")) {
		t.Fatalf("heard %q", got)
	}
}

// Extensions that have not all room take turns.
func TestVotesTakeTurns(t *testing.T) {
	h := newJudge(t)
	long := "!" + string(bytes.Repeat([]byte{'x'}, 4000))
	heard := make(map[string]bool)
	for height := int64(1); height <= 3; height++ {
		var votes []abci.ExtendedVoteInfo
		for _, v := range voters {
			votes = append(votes, vote(v, height, 0, long))
		}
		got := h.votes(height+1, abci.ExtendedCommitInfo{Votes: votes}, 4*(4500))
		if len(got) != 1 {
			t.Fatalf("%d votes have room", len(got))
		}
		heard[string(got[0].Validator)] = true
	}
	if len(heard) != 3 {
		t.Fatalf("%d of 3 were heard", len(heard))
	}
}

// A block with many verdicts keeps within its size.
func TestDocketKeepsTheBlockSize(t *testing.T) {
	h := newJudge(t)
	for range 200 {
		h.force(t, setParams(chaintest.Consortium, h.now.UnixMilli()+1000))
	}
	res, err := h.PrepareProposal(context.Background(), &abci.RequestPrepareProposal{Height: h.height() + 1, Time: h.now, MaxTxBytes: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, raw := range res.Txs {
		size += protoSize(len(raw))
	}
	if size > 20_000 || len(res.Txs) < 20 {
		t.Fatalf("%d transactions of %d bytes", len(res.Txs), size)
	}
}

// SPEC V1, V2: a validator says what its voice says, and takes what has the form.
func TestExtensions(t *testing.T) {
	h := newJudge(t)
	says := h.voice.(*voice)
	for _, c := range []struct {
		say, want string
	}{{"", ""}, {"!x", "!x"}, {"out of form", ""}, {"!" + string(make([]byte, chain.MaxExtension)), ""}} {
		says.says = []byte(c.say)
		res, err := h.ExtendVote(context.Background(), &abci.RequestExtendVote{Height: 5, Time: time.UnixMilli(1)})
		if err != nil || string(res.VoteExtension) != extension(c.want) {
			t.Errorf("says %q: %q, %v", c.say, res.VoteExtension, err)
		}
		ok, err := h.VerifyVoteExtension(context.Background(), &abci.RequestVerifyVoteExtension{VoteExtension: []byte(extension(c.say))})
		if err != nil || (ok.Status == abci.ResponseVerifyVoteExtension_ACCEPT) != (c.say == c.want) {
			t.Errorf("verify %.20q: %v, %v", c.say, ok, err)
		}
	}
}

// What a block has no room for waits for a while before one tries it again, each time
// longer, and beyond a number of such it ends its organisation's turn, not the others'.
func TestWhatHasNoRoomIsPostponed(t *testing.T) {
	h := newJudge(t)
	now := h.now
	h.pool.now = func() time.Time { return now }
	until := h.now.UnixMilli() + 60_000
	for range 3 * mostRefused {
		h.force(t, setParams("did:chancery:acme:full", until))
	}
	h.force(t, setParams("did:chancery:acme:held", until), setParams("did:chancery:mercy", until))
	waiting := func() (n int) {
		h.pool.Candidates(room{}, nil, func(*tx.Decoded) Next { n++; return Continue })
		return n
	}
	if txs := h.prepare(t); len(txs) != 2 {
		t.Fatalf("a block with %d transactions, want the docket and the one of the organisation that has room", len(txs))
	}
	if n := waiting(); n != 3*mostRefused+2-mostRefused-1 {
		t.Fatalf("%d are tried next", n)
	}
	for range 2 {
		h.prepare(t)
	}
	txs := h.prepare(t)
	if len(txs) != 3 {
		t.Fatalf("a block with %d transactions: those without room keep back their organisation's others", len(txs))
	}
	if n := waiting(); n != 2 {
		t.Fatalf("%d are tried although there was no room for them just now", n)
	}
	now = now.Add(firstPause)
	if n := waiting(); n != 3*mostRefused+2 {
		t.Fatalf("%d are tried after the first pause", n)
	}
	for range 4 {
		h.prepare(t)
	}
	now = now.Add(firstPause)
	if n := waiting(); n != 2 {
		t.Fatalf("%d are tried as soon again as the first time", n)
	}
	if n, _ := h.pool.Size(); n != 3*mostRefused+2 {
		t.Fatalf("%d are in the pool: something was dropped", n)
	}
}
