//go:build unix

package testnet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// agreement is what all validators say the same of.
type agreement struct {
	Validators int `json:"validators"`
	// Blocks from 1 on, with their results, verdicts and app hashes.
	Blocks  int64 `json:"blocks"`
	Results int   `json:"results"`
	// Holds are the records of transactions that were held or denied on the network.
	Holds int `json:"holds"`
	// Receipts that were proven, by every validator, and verify with the genesis file alone.
	Receipts int `json:"receipts"`
}

const (
	// comparePatience is how long a validator may take to a height that another has.
	comparePatience = 30 * time.Second
	// provenEach is how many held transactions of each campaign are proven.
	provenEach = 1
)

// compare asks every validator for every block, and for every transaction that was held
// or denied, and fails where one says something else.
func (s *stage) compare(ctx context.Context) error {
	var nodes []*client.Client
	for _, v := range s.record.Validators {
		options, err := s.Dir.Credentials(s.record, v).Options()
		if err != nil {
			return err
		}
		c, err := client.Dial(ctx, v.RPC, append(options, client.ChainID(s.record.ChainID), client.UserAgent("chancery-testnet"))...)
		if err != nil {
			return err
		}
		defer c.Close()
		nodes = append(nodes, c)
	}
	status, err := nodes[0].Status(ctx)
	if err != nil {
		return err
	}
	// A block is signed by the next.
	height := status.Height - 1
	for _, x := range s.report.seen {
		height = max(height, x.result.GetHeight())
	}
	for i, c := range nodes {
		if err := reached(ctx, c, height+1); err != nil {
			return fmt.Errorf("validator %d: %w", i, err)
		}
	}
	a := &agreement{Validators: len(nodes), Blocks: height}
	for h := int64(1); h <= height; h++ {
		n, err := sameBlock(ctx, nodes, h)
		if err != nil {
			return err
		}
		a.Results += n
	}
	doc, _, err := config.ReadGenesis(s.Dir.Home(s.record.Validators[0]).GenesisFile())
	if err != nil {
		return err
	}
	at := client.AtHeight(ctx, height)
	proven := map[string]int{}
	for _, x := range s.report.seen {
		if !x.kept() {
			continue
		}
		prove := proven[x.Campaign] < provenEach
		if prove {
			proven[x.Campaign]++
		}
		var first *threatv1.Hold
		for i, c := range nodes {
			asked := at
			var proof client.Receipt
			if prove {
				asked = client.Prove(at, &proof)
			}
			out, err := threatv1.NewQueryClient(c.Conn()).Hold(asked, &threatv1.HoldRequest{TxId: x.result.TxId})
			if err != nil {
				return fmt.Errorf("validator %d: the held transaction %x: %w", i, x.result.TxId, err)
			}
			if first == nil {
				first = out.Hold
			}
			if !proto.Equal(first, out.Hold) || !proto.Equal(first.Verdict, x.result.Verdict) {
				return fmt.Errorf("validator %d has another record of the held transaction %x than validator 0", i, x.result.TxId)
			}
			if !prove {
				continue
			}
			report, err := node.VerifyReceipt(proof.Bytes, doc)
			if err != nil {
				return fmt.Errorf("validator %d: the receipt of the held transaction %x: %w", i, x.result.TxId, err)
			}
			if !slices.ContainsFunc(report.Facts, func(f receipt.Fact) bool { return f.Collection == "threat/holds" }) {
				return fmt.Errorf("validator %d: the receipt of the held transaction %x proves nothing of it", i, x.result.TxId)
			}
			a.Receipts++
		}
		a.Holds++
	}
	b, err := threatv1.NewQueryClient(nodes[0].Conn()).Breaker(ctx, &threatv1.BreakerRequest{})
	if err != nil {
		return err
	}
	s.report.BreakerOpen = b.GetBreaker().GetOpenUntil() > time.Now().UnixMilli()
	s.report.Agreement = a
	return nil
}

// reached waits until a node has a height.
func reached(ctx context.Context, c *client.Client, height int64) error {
	for end := time.Now().Add(comparePatience); ; {
		status, err := c.Status(ctx)
		if err == nil && status.Height >= height {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("it is not at height %d after %v: %v", height, comparePatience, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollReady):
		}
	}
}

// sameBlock compares what nodes have of a block: its results with their verdicts, and
// the app hash in its header. It returns how many results there are.
func sameBlock(ctx context.Context, nodes []*client.Client, h int64) (int, error) {
	var first *nodev1.BlockResponse
	var root []byte
	for i, c := range nodes {
		b, err := nodev1.NewNodeClient(c.Conn()).Block(ctx, &nodev1.BlockRequest{Height: h})
		if err != nil {
			return 0, fmt.Errorf("block %d of validator %d: %w", h, i, err)
		}
		signed := new(cmtproto.SignedHeader)
		if err := signed.Unmarshal(b.SignedHeader); err != nil || signed.Header == nil {
			return 0, fmt.Errorf("block %d of validator %d: its header: %w", h, i, err)
		}
		if first == nil {
			first, root = b, signed.Header.AppHash
		}
		if !proto.Equal(first.Record, b.Record) || !bytes.Equal(root, signed.Header.AppHash) {
			return 0, fmt.Errorf("block %d: validator %d has other results or another app hash than validator 0", h, i)
		}
	}
	return len(first.Record.GetTxs()), nil
}
