package node

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// openCheckpoints opens the log of blocks, where the configuration asks for checkpoints. The
// first time it makes the key that signs them.
func (n *Node) openCheckpoints(version string, registry *registry) error {
	c := n.config
	if c.Checkpoint.Interval == 0 {
		return nil
	}
	log := n.log.With("part", "checkpoint")
	key, made, err := checkpoint.TakeKey(n.home.CheckpointKeyFile(), checkpoint.Origin(n.genesis.ChainID), checkpoint.LogRole)
	if err != nil {
		return fmt.Errorf("the key that signs checkpoints: %w", err)
	}
	if made {
		log.Info("made the key that signs checkpoints; give its public half to witnesses", "key", key.Public().String())
	}
	o := checkpoint.Options{
		Dir: n.home.Checkpoints(), Key: key, Chain: headers{n.engine.Records(), n.engine}, Interval: c.Checkpoint.Interval,
		Quorum: c.Needed(), Version: version, Metrics: registry, Log: log,
	}
	if c.Sync.Enabled() {
		o.Fetch = n.fetchHeaders
	}
	for _, w := range c.Witnesses {
		witness, err := witnessOf(n.home, w)
		if err != nil {
			return fmt.Errorf("witness: %w", err)
		}
		o.Witnesses = append(o.Witnesses, witness)
	}
	if n.checkpoints, err = checkpoint.NewPublisher(o); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func witnessOf(h config.Home, c config.Witness) (w checkpoint.Witness, err error) {
	w.URL, w.Timeout = c.URL, c.Timeout.Std()
	if w.Key, err = checkpoint.ParseVerifier(c.Key); err != nil || c.CA == "" {
		return w, err
	}
	raw, err := os.ReadFile(h.Resolve(c.CA))
	if err != nil {
		return w, fmt.Errorf("tls_ca: %w", err)
	}
	if w.CA = x509.NewCertPool(); !w.CA.AppendCertsFromPEM(raw) {
		return w, fmt.Errorf("tls_ca: %s has no certificate", c.CA)
	}
	return w, nil
}

func (n *Node) closeCheckpoints() error {
	if n.checkpoints == nil {
		return nil
	}
	return n.checkpoints.Close()
}

// headers are the committed blocks as the log of blocks sees them.
type headers struct {
	*records.Log
	engine *consensus.Node
}

// HeaderHash implements checkpoint.Chain.
func (h headers) HeaderHash(height int64) ([]byte, error) {
	header, ok := h.engine.Header(height)
	if !ok {
		return nil, fmt.Errorf("%w: %d", checkpoint.ErrNoHeader, height)
	}
	return header.Hash(), nil
}

// fetchHeaders gets the headers that lead from the end of the log to the oldest that this node
// has, from the servers of [sync] in turn. Nobody is believed: each header names the hash of
// the one before, and the last is named by the node's own.
func (n *Node) fetchHeaders(ctx context.Context, l *checkpoint.Log) error {
	size, oldest := l.Size(), n.engine.Pruning().OldestHeader
	own, ok := n.engine.Header(oldest)
	if !ok || oldest <= size+1 {
		return fmt.Errorf("the node has no header of block %d", max(oldest, size+1))
	}
	options, err := n.syncClient()
	if err != nil {
		return err
	}
	failed := fmt.Errorf("headers of blocks %d to %d are missing", size+1, oldest-1)
	for _, address := range n.config.Sync.Servers {
		err := headersFrom(ctx, address, options, l, own)
		if err == nil {
			return nil
		}
		l.Drop(size)
		failed = errors.Join(failed, fmt.Errorf("%s: %w", address, err))
	}
	return failed
}

// headersFrom appends to a log what a server gives, up to the block before the node's own
// header. After an error what was appended is worth nothing.
func headersFrom(ctx context.Context, address string, options []client.Option, l *checkpoint.Log, own *types.Header) (err error) {
	c, err := client.Dial(ctx, address, options...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	nodes := nodev1.NewNodeClient(c.Conn())
	for l.Size() < own.Height-1 {
		list, err := someHeaders(ctx, nodes, l.Size()+1)
		if err != nil {
			return err
		}
		for _, h := range list[:min(int64(len(list)), own.Height-1-l.Size())] {
			if err := extend(l, h, own.ChainID); err != nil {
				return err
			}
		}
	}
	return follows(l, own)
}

// someHeaders asks for headers from a height on. There is one at least.
func someHeaders(ctx context.Context, c nodev1.NodeClient, height int64) ([]*types.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, historyPatience)
	defer cancel()
	got, err := c.Headers(ctx, &nodev1.HeadersRequest{Height: height})
	if err != nil {
		return nil, err
	}
	list := make([]*types.Header, len(got.Headers))
	for i, raw := range got.Headers {
		pb := new(cmtproto.Header)
		if err := pb.Unmarshal(raw); err != nil {
			return nil, fmt.Errorf("header %d: %w", height+int64(i), err)
		}
		h, err := types.HeaderFromProto(pb)
		if err != nil {
			return nil, fmt.Errorf("header %d: %w", height+int64(i), err)
		}
		list[i] = &h
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it gives no header of block %d", height)
	}
	return list, nil
}

// extend appends a header that names the last of the log as the one before.
func extend(l *checkpoint.Log, h *types.Header, chainID string) error {
	if want := l.Size() + 1; h.Height != want || h.ChainID != chainID {
		return fmt.Errorf("it gives a header of block %d of %.64q, where that of block %d of %s is wanted", h.Height, h.ChainID, want, chainID)
	}
	if err := follows(l, h); err != nil {
		return err
	}
	hash := h.Hash()
	if hash == nil {
		return fmt.Errorf("the header of block %d has no hash", h.Height)
	}
	return l.Append(hash)
}

// follows tells whether a header names the last block of a log as the one before it.
func follows(l *checkpoint.Log, h *types.Header) error {
	if l.Size() == 0 {
		if !bytes.Equal(h.LastBlockID.Hash, nil) {
			return errors.New("the header of block 1 names one before it")
		}
		return nil
	}
	same, err := l.Holds(l.Size(), h.LastBlockID.Hash)
	if err == nil && !same {
		err = fmt.Errorf("the header of block %d does not follow the one before it", h.Height)
	}
	return err
}
