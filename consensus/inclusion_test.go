package consensus

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"pgregory.net/rapid"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// idOf is the id of a good transaction.
func (h *host) idOf(t testing.TB, raw []byte) tx.ID {
	t.Helper()
	d, err := h.app.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d.ID
}

// listed are votes for the latest block of the first n voters, each with a list.
func (h *host) listed(n int, ids ...tx.ID) []abci.ExtendedVoteInfo {
	var out []abci.ExtendedVoteInfo
	for _, v := range voters[:n] {
		out = append(out, signed(v, h.height(), 0, extension("", ids...)))
	}
	return out
}

// unlisted are votes that take lists back.
func (h *host) unlisted(n int) []abci.ExtendedVoteInfo {
	var out []abci.ExtendedVoteInfo
	for _, v := range voters[:n] {
		out = append(out, signed(v, h.height(), 0, "\x18\x01"))
	}
	return out
}

// pass commits a block with votes and raws, made by hand, on all hosts.
func pass(t testing.TB, votes []abci.ExtendedVoteInfo, raws [][]byte, hosts ...*host) {
	t.Helper()
	x := hosts[0].app.Begin(headerOf(hosts[0].height()+1, hosts[0].now))
	for _, raw := range raws {
		d, err := hosts[0].app.Decode(raw)
		if err == nil {
			_, err = x.Deliver(d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	txs := append([][]byte{x.Docket(0, hosts[0].votes(hosts[0].height()+1, abci.ExtendedCommitInfo{Votes: votes}, 1<<20))}, raws...)
	for _, h := range hosts {
		if !h.accepts(t, txs) {
			t.Fatalf("block %d is refused", h.height()+1)
		}
		h.commit(t, h.decide(t, txs))
	}
}

func good(h *host, author string) []byte { return setParams(author, h.now.UnixMilli()+60_000) }

// SPEC I1, V2: what a list may be is told by its bytes.
func TestListsInForm(t *testing.T) {
	h := newHost(t)
	a, b := tx.ID{1}, tx.ID{2}
	many := make([]tx.ID, chain.MaxListed+1)
	for i := range many {
		many[i] = tx.ID{byte(i + 1)}
	}
	field := func(ids ...tx.ID) string {
		out := []byte{0x12, byte(32 * len(ids))}
		for _, id := range ids {
			out = append(out, id[:]...)
		}
		return string(out)
	}
	for name, c := range map[string]struct {
		raw string
		ok  bool
	}{
		"one":               {extension("", a), true},
		"two":               {field(a, b), true},
		"as many as it may": {extension("", many[1:]...), true},
		"taken back":        {"\x18\x01", true},
		"one too many":      {extension("", many...), false},
		"out of order":      {field(b, a), false},
		"twice":             {field(a, a), false},
		"a part of an id":   {"\x12\x01a", false},
		"both":              {field(a) + "\x18\x01", false},
		"unknown field":     {field(a) + "\x20\x01", false},
		"not canonical":     {field(a) + "\x18\x00", false},
		"no extension":      {"!a", false},
	} {
		res, err := h.VerifyVoteExtension(context.Background(), &abci.RequestVerifyVoteExtension{VoteExtension: []byte(c.raw)})
		if err != nil || (res.Status == abci.ResponseVerifyVoteExtension_ACCEPT) != c.ok {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
}

// SPEC I3, I4: what more than a third lists is demanded, and from the last of the blocks in
// which it must come on, a block that leaves it out holds nothing that is not demanded.
func TestWhatIsDueComesBeforeAllElse(t *testing.T) {
	h := newHost(t)
	k := int64(chain.DefaultParams().InclusionBlocks)
	x, y, other := good(h, "did:chancery:acme"), good(h, "did:chancery:acme"), func() []byte { return good(h, "did:chancery:mercy") }
	a, b := h.idOf(t, x), h.idOf(t, y)
	pass(t, h.listed(1, a, b), nil, h) // exactly a third: one of three
	if d := h.app.Demands(); len(d) != 0 {
		t.Fatalf("a third alone demands %v", d)
	}
	pass(t, h.listed(2, a), nil, h)
	pass(t, h.listed(2, a, b), nil, h)
	if d := h.app.Demands(); len(d) != 2 {
		t.Fatalf("demanded: %v", d)
	}
	made := h.height() - 1 // of the first
	for h.height()+1 < made+k {
		pass(t, nil, [][]byte{other()}, h) // it is not due
	}
	if h.accepts(t, h.block(other())) {
		t.Error("a block is accepted that leaves out what is due, and holds another")
	}
	if h.accepts(t, h.block(other(), y)) {
		t.Error("a block is accepted that leaves out what is due, and holds another besides a demanded one")
	}
	for name, block := range map[string][][]byte{
		"empty": h.block(), "with a demanded one": h.block(y), "with what is due": h.block(other(), x), "with all": h.block(x, other(), y),
	} {
		if !h.accepts(t, block) {
			t.Errorf("a block is refused that is %s", name)
		}
	}
	pass(t, nil, [][]byte{other(), x}, h)
	if d := h.app.Demands(); len(d) != 1 || !bytes.Equal(d[0].TxId, b[:]) {
		t.Fatalf("demanded: %v", d)
	}
	if h.accepts(t, h.block(other())) {
		t.Error("the second was due as well")
	}
	pass(t, nil, [][]byte{y}, h)
	pass(t, h.listed(3, a, b), [][]byte{other()}, h)
	if d := h.app.Demands(); len(d) != 0 {
		t.Fatalf("what is in a block is demanded: %v", d)
	}
}

// SPEC I2: a demand ends when no more than a third lists its transaction: because they take
// it back, or because they say nothing for long. A restart in between changes nothing.
func TestDemandsEndWithTheLists(t *testing.T) {
	other := func(h *host) [][]byte { return [][]byte{good(h, "did:chancery:mercy")} }
	for name, end := range map[string]func(h *host){
		"taken back": func(h *host) { pass(t, h.unlisted(2), nil, h) },
		"other lists": func(h *host) {
			pass(t, []abci.ExtendedVoteInfo{signed(voters[0], h.height(), 0, extension("", tx.ID{1})), signed(voters[1], h.height(), 0, extension("", tx.ID{2}))}, nil, h)
		},
		"forgotten": func(h *host) {
			for range 16 {
				pass(t, nil, nil, h)
			}
		},
	} {
		h := newHost(t)
		pass(t, h.listed(2, tx.ID{7}), nil, h)
		for range 5 {
			pass(t, nil, nil, h)
		}
		h.open(t)
		if h.accepts(t, append(h.block(), other(h)...)) {
			t.Fatalf("%s: it was not due", name)
		}
		end(h)
		if d := h.app.Demands(); len(d) != 0 {
			t.Fatalf("%s: %v", name, d)
		}
		pass(t, nil, other(h), h)
	}
}

// SPEC I3: a demand binds no longer than a transaction can be valid, however long it is
// listed; and the parameter may say that none binds.
func TestDemandsBindForATime(t *testing.T) {
	h := newHost(t)
	for range 3 {
		pass(t, h.listed(3, tx.ID{7}), nil, h)
	}
	pass(t, h.listed(3, tx.ID{7}), nil, h)
	pass(t, h.listed(3, tx.ID{7}), nil, h)
	if h.accepts(t, h.block(good(h, "did:chancery:mercy"))) {
		t.Fatal("it was not due")
	}
	h.now = h.now.Add(time.Duration(chain.DefaultParams().MaxValidityMs) * time.Millisecond)
	pass(t, h.listed(3, tx.ID{7}), [][]byte{good(h, "did:chancery:mercy")}, h)
	if d := h.app.Demands(); len(d) != 1 {
		t.Fatalf("it is made anew: %v", d)
	}
}

// SPEC I4, D5: when two thirds decide a block that leaves out what is due, every node goes
// on alike.
func TestDecidedOmissionIsTheSameEverywhere(t *testing.T) {
	a, b := newHost(t), newHost(t)
	x := good(a, "did:chancery:acme")
	pass(t, a.listed(3, a.idOf(t, x)), nil, a, b)
	for range 3 {
		pass(t, nil, nil, a, b)
	}
	txs := a.block(good(a, "did:chancery:mercy"))
	if a.accepts(t, txs) {
		t.Fatal("it was not due")
	}
	ra, rb := a.decide(t, txs), b.decide(t, txs)
	if !bytes.Equal(ra.AppHash, rb.AppHash) || len(ra.TxResults) != 2 {
		t.Fatal(ra, rb)
	}
}

// SPEC B2, I5: whatever is listed, demanded and in the pool, a node that saw nothing of it
// accepts what is proposed; and a proposer that holds what is demanded proposes it at once.
func TestProcessAcceptsWhatIsProposedUnderDemands(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proposer, validator := newHost(t), newHost(t)
		var known [][]byte
		for b := range rapid.IntRange(1, 12).Draw(r, "blocks") {
			for i := range rapid.IntRange(0, 4).Draw(r, "txs") {
				author := rapid.SampledFrom([]string{chaintest.Consortium, "did:chancery:mercy", "did:chancery:acme:x"}).Draw(r, fmt.Sprint("author", b, i))
				raw := setParams(author, proposer.now.UnixMilli()+rapid.Int64Range(-2_000, 20_000).Draw(r, fmt.Sprint("ahead", b, i)))
				known = append(known, raw)
				if rapid.Bool().Draw(r, fmt.Sprint("held", b, i)) {
					proposer.force(t, raw)
				}
			}
			var votes []abci.ExtendedVoteInfo
			for i, v := range voters {
				var ids []tx.ID
				for j, raw := range known {
					if rapid.IntRange(0, 2).Draw(r, fmt.Sprint("lists", b, i, j)) == 0 && len(ids) < chain.MaxListed {
						ids = append(ids, proposer.idOf(t, raw))
					}
				}
				votes = append(votes, signed(v, proposer.height(), 0, extension("", ids...)))
			}
			wanted := proposer.app.Demands()
			held := make(map[tx.ID]bool)
			for _, d := range wanted {
				w := proposer.pool.lookup(tx.ID(d.TxId))
				held[tx.ID(d.TxId)] = w != nil && w.Body.ValidUntil >= proposer.now.UnixMilli()
			}
			txs := proposer.propose(t, 0, votes...)
			for _, raw := range txs[1:] {
				delete(held, proposer.idOf(t, raw))
			}
			for id, ok := range held {
				if ok {
					r.Fatalf("%s is demanded and held, and not proposed", id)
				}
			}
			if !validator.accepts(t, txs) {
				r.Fatalf("block %d was rejected", validator.height()+1)
			}
			p, v := proposer.decide(t, txs), validator.decide(t, txs)
			if !bytes.Equal(p.AppHash, v.AppHash) {
				r.Fatalf("app hashes %x and %x", p.AppHash, v.AppHash)
			}
			proposer.commit(t, p)
			validator.commit(t, v)
		}
	})
}

// A validator lists what waits for long and would go into a block: of each organisation
// the one that waits longest. It takes its list back when there is none any more.
func TestWhatAValidatorLists(t *testing.T) {
	h := newHost(t)
	sum := voters[0].PubKey().Address()
	h.self = func() types.Address { return sum }
	clock := h.now
	h.pool.now = func() time.Time { return clock }
	first, second, mercy := good(h, "did:chancery:acme"), good(h, "did:chancery:acme"), good(h, "did:chancery:mercy")
	void, soon := setParams("did:chancery:mercy", h.now.UnixMilli()-5000), setParams("did:chancery:mercy", h.now.UnixMilli()+5000)
	h.force(t, void, first, second, soon, mercy)
	list := func() (ids []tx.ID, taken bool) {
		t.Helper()
		res, err := h.ExtendVote(context.Background(), &abci.RequestExtendVote{Height: h.height() + 1, Time: h.now})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.VoteExtension) == 0 {
			return nil, false
		}
		e, err := chain.ParseExtension(res.VoteExtension)
		if err != nil {
			t.Fatal(err)
		}
		for raw := e.Listed; len(raw) > 0; raw = raw[32:] {
			ids = append(ids, tx.ID(raw))
		}
		return ids, e.Unlisted
	}
	if ids, taken := list(); len(ids) != 0 || taken {
		t.Fatalf("what arrived just now is listed: %v", ids)
	}
	clock = clock.Add(DefaultPoolOptions().ListAfter)
	want := []tx.ID{h.idOf(t, first), h.idOf(t, mercy)}
	slices.SortFunc(want, func(a, b tx.ID) int { return bytes.Compare(a[:], b[:]) })
	if ids, _ := list(); !slices.Equal(ids, want) {
		t.Fatalf("%v are listed, want %v", ids, want)
	}
	pass(t, h.listed(1, want...), [][]byte{first, second, mercy}, h)
	if ids, taken := list(); len(ids) != 0 || !taken {
		t.Errorf("lists %v, taken back: %v", ids, taken)
	}
	h.force(t, first)
	clock = clock.Add(DefaultPoolOptions().ListAfter)
	if ids, _ := list(); len(ids) != 0 || h.pool.lookup(h.idOf(t, first)) != nil {
		t.Errorf("what the door refuses is listed, or stays in the pool: %v", ids)
	}
	large := good(h, "did:chancery:acme")
	h.force(t, large)
	h.most = int64(len(large)) - 1
	clock = clock.Add(DefaultPoolOptions().ListAfter)
	if ids, _ := list(); len(ids) != 0 {
		t.Errorf("lists what may not fit into a block")
	}
}

// What is demanded is offered to the peers at once, before all else.
func TestWhatIsDemandedIsOfferedAtOnce(t *testing.T) {
	h := newHost(t)
	clock := h.now
	h.pool.now = func() time.Time { return clock }
	a, b, c := good(h, "did:chancery:acme"), good(h, "did:chancery:acme"), good(h, "did:chancery:acme")
	h.force(t, a, b)
	h.pool.Reap(0)
	h.force(t, c)
	pass(t, h.listed(2, h.idOf(t, b), tx.ID{9}), nil, h)
	if got := h.pool.Reap(0); len(got) != 2 || !bytes.Equal(got[0], b) || !bytes.Equal(got[1], c) {
		t.Fatalf("%d are offered", len(got))
	}
	if got := h.pool.Reap(0); len(got) != 0 {
		t.Fatalf("%d are offered again", len(got))
	}
}

// censored runs a network with some of it offline and submits marked transactions among
// others to an honest validator. All are of one organisation, so that the marked ones wait
// behind the others in its lane. Deaf validators never propose a marked one, nor anybody's
// votes; where the others are biased they propose it only when they must. It checks in how
// many blocks each was: from when all who propose it held it, or else from the demand.
func censored(t *testing.T, n int, deaf, offline []int, biased bool) {
	if testing.Short() {
		t.Skip("skipped with -short: runs several validators for several seconds")
	}
	const mark = 7 // what valid_until ends with of those that are omitted
	nodes := network(t, n, func(_ int, o *Options) {
		o.Pool = DefaultPoolOptions()
		o.Pool.ListAfter = time.Millisecond
	})
	var omitted atomic.Int64
	var open []*Node
	for i, node := range nodes {
		omits := func(d *tx.Decoded) bool {
			if d.Body.ValidUntil%10 != mark {
				return false
			}
			omitted.Add(1)
			return true
		}
		switch {
		case slices.Contains(offline, i):
			continue
		case slices.Contains(deaf, i):
			node.app.deaf, node.app.omit = true, func(d *tx.Decoded, _ bool) bool { return omits(d) }
		case biased:
			node.app.omit = func(d *tx.Decoded, due bool) bool { return !due && omits(d) }
			fallthrough
		default:
			open = append(open, node)
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 100*time.Second)
	first := open[0]
	if err := first.Records().Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	k := int64(chain.DefaultParams().InclusionBlocks)
	worst, demanded, submitted := int64(0), 0, 0
	for omitted.Load() < 4 || submitted < 3 {
		until := time.Now().Add(time.Minute).UnixMilli() / 10 * 10
		at := first.Records().Head() // what is demanded may be so before all hold it
		for range 3 {
			if _, _, err := first.Submit(ctx, setParams(chaintest.Consortium, until), false); err != nil {
				t.Fatal(err)
			}
		}
		id, _, err := first.Submit(ctx, setParams(chaintest.Consortium, until+mark), false)
		if err != nil {
			t.Fatal(err)
		}
		submitted++
		// What proposers do not know they cannot propose.
		since := int64(0)
		for since == 0 {
			head := first.Records().Head()
			if !slices.ContainsFunc(open, func(n *Node) bool { return n.pool.lookup(id) == nil && !n.App().Seen(id) }) {
				since = head
			} else if ctx.Err() != nil {
				t.Fatal("a transaction does not reach all validators")
			} else {
				time.Sleep(time.Millisecond)
			}
		}
		for ; ; at++ {
			if err := first.Records().Wait(ctx, at+1); err != nil {
				t.Fatalf("after %d transactions: %v", submitted, err)
			}
			block, err := first.Records().Block(at + 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range block.Events {
				made := new(chainv1.Demanded)
				if e.Type == "chancery.chain.v1.Demanded" && made.UnmarshalVT(e.Value) == nil && tx.ID(made.Demand.TxId) == id {
					demanded++
					if biased {
						since = made.Demand.Height
					}
				}
			}
			r, ok, err := first.Records().Tx(id)
			if err != nil {
				t.Fatal(err)
			}
			if ok && r.Height <= at+1 {
				worst = max(worst, r.Height-since)
				break
			}
		}
	}
	most := k
	if !biased {
		most++ // for the block that is being made when the last validator learns of it
	}
	if worst > most {
		t.Errorf("a transaction was in a block only %d blocks later, want at most %d", worst, most)
	}
	if biased && demanded < submitted {
		t.Errorf("%d of %d were demanded: others came into a block without", demanded, submitted)
	}
	height := first.Records().Head()
	t.Logf("of %d validators %v are deaf and %v offline, the others biased: %v; %d transactions, left out %d times, demanded %d times, in a block at most %d blocks later; height %d",
		n, deaf, offline, biased, submitted, omitted.Load(), demanded, worst, height)
	var roots [][]byte
	for _, node := range open {
		if err := node.Records().Wait(ctx, height); err != nil {
			t.Fatal(err)
		}
		_, snap, err := node.App().View(height)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, snap.Root())
	}
	for _, r := range roots[1:] {
		if !bytes.Equal(r, roots[0]) {
			t.Fatalf("roots of height %d differ: %x", height, roots)
		}
	}
}

// Two of seven proposers that omit transactions, and everybody's votes, cannot delay them
// for more blocks than there are for it.
func TestTwoOfSevenCannotCensor(t *testing.T) { censored(t, 7, []int{0, 3}, nil, false) }

// SPEC I4: where nobody proposes a transaction that need not, lists bring it into a block all
// the same, with one of four offline and one that breaks the rule.
func TestWhatNobodyLikesIsIncluded(t *testing.T) { censored(t, 4, []int{0}, []int{3}, true) }
