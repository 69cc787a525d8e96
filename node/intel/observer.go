package intel

import (
	"context"
	"errors"
	"log/slog"
	"time"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Observation is a committed transaction as the sources see it.
type Observation struct {
	Height       int64
	Time         int64    // Unix milliseconds of the block
	Actor        string   // DID of the author
	Organisation string   // DID of the author's organisation
	Kind         string   // kind of its messages, such as access.Decide
	Resources    []string // what it names, by name or hash
	Score        uint32   // of the consensus scorer, 0 to 10000, if Scored
	Scored       bool
	Failed       bool // it was refused or failed in its block
}

// Block is a block's observations.
type Block struct {
	Height int64
	Time   int64 // Unix milliseconds
	// Past tells that the block was committed before the node started: to learn
	// from, not to raise an alarm.
	Past         bool
	Observations []Observation
}

// Sink takes blocks in order, each once.
type Sink interface{ Observe(Block) }

// Blocks are the committed blocks that a node has records of.
type Blocks interface {
	// Head is the latest block, 0 before the first.
	Head() int64
	// Oldest is the oldest block with a record, 0 when there is none.
	Oldest() (int64, error)
	// Wait returns when Head is at least height, or with the context's error.
	Wait(ctx context.Context, height int64) error
	// Block is the record of a block.
	Block(height int64) (*chainv1.BlockRecord, error)
}

// Observer reads committed blocks and gives them to sinks.
type Observer struct {
	blocks   Blocks
	observe  func(*chainv1.BlockRecord) []Observation
	lookback int64
	sinks    []Sink
	metrics  *Metrics
	log      *slog.Logger
}

// NewObserver makes an observer. It begins so many blocks before the latest one, or
// at the oldest record.
func NewObserver(blocks Blocks, observe func(*chainv1.BlockRecord) []Observation, lookback int64, metrics *Metrics, log *slog.Logger, sinks ...Sink) *Observer {
	return &Observer{blocks: blocks, observe: observe, lookback: lookback, sinks: sinks, metrics: metrics, log: log}
}

// Run reads until ctx ends, and then returns nil. A block whose record cannot be read
// is left out and said.
func (o *Observer) Run(ctx context.Context) error {
	started := o.blocks.Head()
	next := max(1, started-o.lookback+1)
	for {
		if err := o.blocks.Wait(ctx, next); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		record, err := o.blocks.Block(next)
		if err != nil {
			oldest, oldErr := o.blocks.Oldest()
			if oldErr == nil && oldest > next {
				next = oldest
				continue
			}
			o.metrics.failures.WithLabelValues("observer").Inc()
			o.log.Error("a block is left out of the local judgement", "height", next, "error", errors.Join(err, oldErr))
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			next++
			continue
		}
		b := Block{Height: next, Time: record.Time, Past: next <= started, Observations: o.observe(record)}
		for _, s := range o.sinks {
			s.Observe(b)
		}
		next++
	}
}
