package chain_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// electors are validators by place in the list, with powers.
type electors []int64

func (e electors) address(i int) [20]byte { return [20]byte{19: byte(i)} }

func (e electors) Powers(chain.ReadCtx) (out []chain.Power, total int64) {
	for i, p := range e {
		out = append(out, chain.Power{Address: e.address(i), Power: p})
		total += p
	}
	return out, total
}

// votes are a vote of each validator of a set, with its list.
func (e electors) votes(lists map[int][]tx.ID) []*chainv1.Vote {
	var out []*chainv1.Vote
	for i := range e {
		ids, ok := lists[i]
		if !ok {
			continue
		}
		slices.SortFunc(ids, func(a, b tx.ID) int { return bytes.Compare(a[:], b[:]) })
		x := &chainv1.Extension{Unlisted: len(ids) == 0}
		for _, id := range slices.Compact(ids) {
			x.Listed = append(x.Listed, id[:]...)
		}
		raw, err := x.MarshalVT()
		if err != nil {
			panic(err)
		}
		address := e.address(i)
		out = append(out, &chainv1.Vote{Validator: address[:], Extension: raw, Signature: make([]byte, 64)})
	}
	return out
}

// counted is a chain with validators whose lists count.
type counted struct {
	*chain.App
	now int64
}

func newCounted(t testing.TB, e electors) *counted {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Validators: e, Rand: rand.New(rand.NewSource(1)), Partial: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	c := &counted{App: app, now: chaintest.GenesisTime}
	c.commit(t, c.begin())
	return c
}

func (c *counted) begin(votes ...*chainv1.Vote) *chain.Execution {
	return c.Begin(chain.Header{Height: c.Tree().Version() + 1, Time: c.now}, votes...)
}

func (c *counted) commit(t testing.TB, x *chain.Execution) *chain.Block {
	t.Helper()
	b := x.End()
	if _, err := c.Apply(b); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
	c.now += 1000
	return b
}

func drawPowers(r *rapid.T) electors {
	return rapid.SliceOfN(rapid.Int64Range(1, 1000), 1, 20).Draw(r, "powers")
}

// SPEC I2, I3: whatever powers and lists there are, in every block what is demanded is what
// more than a third of all power lists by the lists that count, and no less.
func TestDemandsAreWhatMoreThanAThirdLists(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := drawPowers(r)
		_, total := e.Powers(nil)
		c := newCounted(t, e)
		model := make(map[int][]tx.ID)
		at := make(map[int]int64)
		for b := range rapid.IntRange(1, 25).Draw(r, "blocks") {
			lists := make(map[int][]tx.ID)
			for i := range e {
				if rapid.IntRange(0, 3).Draw(r, fmt.Sprint("speaks", b, i)) > 0 {
					continue
				}
				for range rapid.IntRange(0, 3).Draw(r, fmt.Sprint("n", b, i)) {
					lists[i] = append(lists[i], tx.ID{byte(rapid.IntRange(1, 6).Draw(r, fmt.Sprint("id", b, i)))})
				}
				if lists[i] == nil {
					lists[i] = []tx.ID{}
				}
			}
			c.commit(t, c.begin(e.votes(lists)...))
			height := c.Tree().Version()
			for i, ids := range lists {
				model[i], at[i] = ids, height
			}
			want := make(map[tx.ID]int64)
			for i, ids := range model {
				if height-at[i] >= 16 {
					continue
				}
				for j, id := range ids {
					if !slices.Contains(ids[:j], id) {
						want[id] += e[i]
					}
				}
			}
			got := make(map[tx.ID]bool)
			for _, d := range c.Demands() {
				got[tx.ID(d.TxId)] = true
			}
			for id := byte(1); id <= 6; id++ {
				if power := want[tx.ID{id}]; got[tx.ID{id}] != (3*power > total) {
					r.Fatalf("block %d: %d of %d list it, demanded: %v", height, power, total, got[tx.ID{id}])
				}
			}
		}
	})
}

// SPEC I3: validators with a third of all power or less make no demand, whatever they list
// and however often.
func TestAThirdDemandsNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := drawPowers(r)
		_, total := e.Powers(nil)
		var liars []int
		power := int64(0)
		for _, i := range rapid.Permutation(indexes(e)).Draw(r, "order") {
			if 3*(power+e[i]) <= total {
				liars, power = append(liars, i), power+e[i]
			}
		}
		c := newCounted(t, e)
		for b := range rapid.IntRange(1, 8).Draw(r, "blocks") {
			lists := make(map[int][]tx.ID)
			for _, i := range liars {
				lists[i] = []tx.ID{{1}, {2}, {byte(rapid.IntRange(3, 5).Draw(r, fmt.Sprint(b, i)))}}
			}
			if made := c.commit(t, c.begin(e.votes(lists)...)); len(made.Demanded) > 0 || len(c.Demands()) > 0 {
				r.Fatalf("%d of %d demand %v", power, total, c.Demands())
			}
		}
	})
}

func indexes(e electors) []int {
	out := make([]int, len(e))
	for i := range out {
		out[i] = i
	}
	return out
}

// SPEC I4: where those with more than two thirds list what they hold, and less than a third
// of the proposers omit it, it is in a block within inclusion_blocks of the demand, unless
// more proposers in a row omit it than that; and none of them ever gets another transaction
// into a block while it is due.
func TestWhatHonestValidatorsListIsIncluded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := drawPowers(r)
		_, total := e.Powers(nil)
		censors := make(map[int]bool)
		power := int64(0)
		for _, i := range rapid.Permutation(indexes(e)).Draw(r, "order") {
			if 3*(power+e[i]) < total {
				censors[i], power = true, power+e[i]
			}
		}
		c := newCounted(t, e)
		k := int64(chain.DefaultParams().InclusionBlocks)
		victim := signedParams(t, c, "did:chancery:acme")
		lists := make(map[int][]tx.ID)
		for i := range e {
			if !censors[i] {
				lists[i] = []tx.ID{victim.ID}
			}
		}
		made, censored := int64(0), 0
		for b := 0; ; b++ {
			proposer := rapid.IntRange(0, len(e)-1).Draw(r, fmt.Sprint("proposer", b))
			if censored == 3*int(k) { // the rotation lets no minority propose for ever
				for proposer = 0; censors[proposer]; proposer++ {
				}
			}
			other := signedParams(t, c, "did:chancery:mercy")
			x := c.begin(e.votes(lists)...)
			if censors[proposer] {
				x = c.begin() // and leaves the lists out
				if _, err := x.Deliver(other); err != nil {
					r.Fatal(err)
				}
				due := made > 0 && c.Tree().Version()+1 >= made+k
				if err := x.CheckInclusion(); (err != nil) != due {
					r.Fatalf("a block without it is judged %v, due: %v", err, due)
				} else if err != nil {
					x = c.begin() // so it may propose nothing
				}
				censored++
			} else if made > 0 {
				for _, w := range x.Wanted() {
					if w.ID != victim.ID {
						r.Fatalf("%v is wanted", w)
					}
				}
				if _, err := x.Deliver(victim); err != nil {
					r.Fatal(err)
				}
				if _, err := x.Deliver(other); err != nil {
					r.Fatal(err)
				}
			}
			if err := x.CheckInclusion(); err != nil {
				r.Fatal(err)
			}
			if done := c.commit(t, x); len(done.Demanded) > 0 {
				made, censored = done.Header.Height, 0
			}
			if c.Seen(victim.ID) {
				if late := c.Tree().Version() - made; late > k && int64(censored) < k {
					r.Fatalf("in a block %d after the demand, of which %d were censors'", late, censored)
				}
				if len(c.Demands()) > 0 {
					r.Fatalf("still demanded: %v", c.Demands())
				}
				return
			}
		}
	})
}

// signedParams is a good transaction, valid for long.
func signedParams(t testing.TB, c *counted, author string) *tx.Decoded {
	t.Helper()
	salted++
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: author, ValidUntil: c.now + 300_000,
		Salt: binary.BigEndian.AppendUint64(make([]byte, 8), salted), Messages: []proto.Message{params(same)},
	}.Sign(chaintest.Actor(author))
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var salted uint64
