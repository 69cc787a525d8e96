//go:build linux

package perturb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	// checkPatience bounds a question of the checks, and how often it is asked anew.
	checkPatience = 20 * time.Second
	sampled       = 6 // receipts of a run
)

// block is what a node says of one height.
type block struct {
	header   string // hash, which covers the app hash of the height before
	app      string
	record   string // SHA-256 of what validators agree on in the record
	proposer string // address of its consensus key, in hexadecimal
	time     int64
	txs      []string
}

// check compares all that the nodes have up to a height with each other and with what
// clients were told.
func (r *run) check(ctx context.Context, last int64) {
	r.result.Blocks = last
	chains := make([]map[int64]block, Validators)
	var blocks map[int64]block // of a node that has all
	var addresses [Validators]string
	for i := range Validators {
		status, err := r.status(ctx, i)
		if err != nil {
			r.violated("validator %d does not say what it has: %v", i, err)
			return
		}
		addresses[i] = status.ValidatorAddress
		r.saw(status.Version)
		oldest := status.OldestRecord
		chains[i] = make(map[int64]block)
		for h := max(1, oldest); h <= last; h++ {
			b, err := r.block(ctx, i, h)
			if err != nil {
				r.violated("validator %d has not block %d of %d: %v", i, h, last, err)
				return
			}
			chains[i][h] = b
		}
		if oldest <= 1 && blocks == nil {
			blocks = chains[i]
		}
	}
	if blocks == nil {
		r.violated("no validator has all blocks")
		return
	}
	r.agree(chains, blocks)
	r.onceEach(blocks, last)
	r.refused(blocks, addresses)
	for h := int64(3); h <= last; h++ {
		pause := time.Duration(blocks[h].time-blocks[h-1].time) * time.Millisecond
		r.result.LongestPause = max(r.result.LongestPause, pause.Seconds())
		if r.plan.Mode == Minority && pause > mostPause {
			r.violated("%v between blocks %d and %d while one of four was disturbed", pause, h-1, h)
		}
	}
	r.consents(ctx)
	// A receipt leads from the genesis to its block by the headers between them, which a
	// node that began with a snapshot does not have.
	var provers []int
	for i, chain := range chains {
		if _, first := chain[1]; first {
			provers = append(provers, i)
		}
	}
	r.receipts(ctx, provers)
}

// agree compares what nodes have of each height with what one has that has all.
func (r *run) agree(chains []map[int64]block, all map[int64]block) {
	for i, chain := range chains {
		for h, want := range all {
			switch b, ok := chain[h]; {
			case !ok:
			case b.header != "" && want.header != "" && b.header != want.header:
				r.violated("at height %d validator %d has header %s with app hash %s, another %s with %s", h, i, b.header, b.app, want.header, want.app)
			case b.record != want.record:
				r.violated("the record of block %d differs on validator %d", h, i)
			}
		}
	}
}

// onceEach checks that each transaction is in one block, and those that were acknowledged
// where their results say.
func (r *run) onceEach(blocks map[int64]block, last int64) {
	type place struct {
		height int64
		index  uint32
	}
	at := make(map[string]place)
	for h := int64(1); h <= last; h++ {
		for i, id := range blocks[h].txs {
			if was, twice := at[id]; twice {
				r.violated("transaction %x is in block %d at %d and in block %d at %d", id, was.height, was.index, h, i)
			}
			at[id] = place{h, uint32(i)}
		}
	}
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	for _, a := range r.load.acks {
		if is, ok := at[a.id]; !ok {
			r.violated("transaction %x, acknowledged for block %d, is in no block", a.id, a.height)
		} else if is != (place{a.height, a.index}) {
			r.violated("transaction %x, acknowledged for block %d at %d, is in block %d at %d", a.id, a.height, a.index, is.height, is.index)
		}
	}
}

func (r *run) status(ctx context.Context, i int) (*nodev1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	return r.load.nodes[i].Status(ctx)
}

// saw notes that a version of the program ran.
func (r *run) saw(version string) {
	if !slices.Contains(r.result.Versions, version) {
		r.result.Versions = append(r.result.Versions, version)
	}
}

func (r *run) block(ctx context.Context, i int, height int64) (block, error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	response, err := nodev1.NewNodeClient(r.load.nodes[i].Conn()).Block(ctx, &nodev1.BlockRequest{Height: height})
	if err != nil {
		return block{}, err
	}
	record := response.Record
	b := block{time: record.Time}
	for _, t := range record.Txs {
		b.txs = append(b.txs, string(t.TxId))
		// Each node's own, which nobody agrees on.
		t.Log, t.Row = "", nil
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
	if err != nil {
		return block{}, err
	}
	b.record = fmt.Sprintf("%x", sha256.Sum256(raw))
	if len(response.SignedHeader) > 0 {
		signed := new(cmtproto.SignedHeader)
		if err := signed.Unmarshal(response.SignedHeader); err != nil {
			return block{}, err
		}
		header, err := cmttypes.HeaderFromProto(signed.Header)
		if err != nil {
			return block{}, err
		}
		b.header, b.app, b.proposer = header.Hash().String(), hex.EncodeToString(header.AppHash), header.ProposerAddress.String()
	}
	return b, nil
}

// consents asks every node whether what was withdrawn permits anything, and what was not,
// still does.
func (r *run) consents(ctx context.Context) {
	r.load.mu.Lock()
	all := slices.Clone(r.load.consents)
	r.load.mu.Unlock()
	for _, g := range all {
		if g.ended && g.withdrawn == 0 {
			continue // the outcome is not known
		}
		if g.ended {
			r.result.Withdrawn++
		} else {
			r.result.Kept++
		}
		for i := range Validators {
			permitted, err := r.permitted(ctx, i, g)
			switch {
			case err != nil:
				r.violated("validator %d does not say whether consent %x permits: %v", i, g.id, err)
			case permitted && g.ended:
				r.violated("validator %d permits what was withdrawn in block %d: consent %x", i, g.withdrawn, g.id)
			case !permitted && !g.ended:
				r.violated("validator %d does not permit what consent %x permits", i, g.id)
			}
		}
	}
}

// permitted insists on an answer.
func (r *run) permitted(ctx context.Context, i int, g *given) (permitted bool, err error) {
	for until := time.Now().Add(checkPatience); ; {
		permitted, err = r.load.permitted(ctx, i, g)
		if err == nil || time.Now().After(until) || ctx.Err() != nil {
			return permitted, err
		}
	}
}

// receipts has a sample of entities proven by some nodes in turn.
func (r *run) receipts(ctx context.Context, by []int) {
	genesis, _, err := config.ReadGenesis(r.home(0).GenesisFile())
	if err != nil {
		r.violated("the genesis file cannot be read: %v", err)
		return
	}
	r.load.mu.Lock()
	ids := slices.Clone(r.load.entities)
	r.load.mu.Unlock()
	for n := range min(sampled, len(ids)) {
		id, i := ids[n*len(ids)/min(sampled, len(ids))], by[n%len(by)]
		var proof client.Receipt
		asking, cancel := context.WithTimeout(client.Prove(ctx, &proof), checkPatience)
		answer, err := provenancev1.NewQueryClient(r.load.nodes[i].Conn()).Entity(asking, &provenancev1.NodeRequest{
			Organisation: r.record.Validators[0].Organisation, Id: id,
		})
		cancel()
		if err != nil || answer.GetNode() == nil {
			r.violated("validator %d does not prove entity %s: %v", i, id, err)
			continue
		}
		if _, err := node.VerifyReceipt(proof.Bytes, genesis); err != nil {
			r.violated("the receipt of entity %s by validator %d does not verify: %v", id, i, err)
			continue
		}
		spoilt := bytes.Clone(proof.Bytes)
		spoilt[len(spoilt)/2] ^= 1
		if _, err := node.VerifyReceipt(spoilt, genesis); err == nil {
			r.violated("a spoilt receipt of entity %s verifies", id)
			continue
		}
		r.result.Receipts++
	}
}

// followed waits until the subscribers have been told of a height.
func (r *run) followed(ctx context.Context, last int64) {
	for until := time.Now().Add(answerPatience); ; time.Sleep(pollStatus) {
		r.load.mu.Lock()
		late := slices.IndexFunc(r.load.cursors[:], func(c client.Cursor) bool { return c.Height <= last })
		at := r.load.cursors[max(late, 0)]
		r.load.mu.Unlock()
		if late < 0 || ctx.Err() != nil {
			return
		}
		if time.Now().After(until) {
			r.violated("subscriber %d is at %s after %v, and the chain beyond block %d", late, at, answerPatience, last)
			return
		}
	}
}

// streams compares what subscribers were told with the events in the records.
func (r *run) streams(ctx context.Context, last int64) {
	var want []told
	for h := int64(1); h <= last; h++ {
		record, err := r.events(ctx, h)
		if err != nil {
			r.violated("no validator has the events of block %d: %v", h, err)
			return
		}
		for i, e := range record {
			want = append(want, told{h, uint32(i), e})
		}
	}
	r.result.Events = len(want)
	r.load.mu.Lock()
	defer r.load.mu.Unlock()
	for n, stream := range r.load.streams {
		got := slices.DeleteFunc(slices.Clone(stream), func(e told) bool { return e.height > last })
		if fault := differ(got, want); fault != "" {
			r.violated("subscriber %d: %s", n, fault)
		}
	}
}

// differ says where what was told parts from what there is; empty: nowhere.
func differ(got, want []told) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("told %d of %d events", len(got), len(want))
		case i >= len(want):
			return fmt.Sprintf("told %d events, there are %d", len(got), len(want))
		case got[i] != want[i]:
			return fmt.Sprintf("event %d was told as %d/%d, it is %d/%d", i, got[i].height, got[i].index, want[i].height, want[i].index)
		}
	}
	return ""
}

// events are those in the record of a block, in order.
func (r *run) events(ctx context.Context, height int64) ([]string, error) {
	var failed error
	for i := range Validators {
		response, err := func() (*nodev1.BlockResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, checkPatience)
			defer cancel()
			return nodev1.NewNodeClient(r.load.nodes[i].Conn()).Block(ctx, &nodev1.BlockRequest{Height: height})
		}()
		if err != nil {
			failed = err
			continue
		}
		var out []string
		add := func(id []byte, events []*chainv1.Event) {
			for _, e := range events {
				out = append(out, fmt.Sprintf("%x %s %x", id, e.Type, e.Value))
			}
		}
		for _, t := range response.Record.Txs {
			add(t.TxId, t.Events)
		}
		add(nil, response.Record.Events)
		return out, nil
	}
	return nil, failed
}
