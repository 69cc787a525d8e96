package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/node/internal/clock"
	"github.com/chancery/chancery/node/internal/durable"
)

const (
	signedFile    = "signed"    // the checkpoint that was signed last, sealed
	witnessedFile = "witnessed" // the latest that the quorum co-signed, sealed
	// flushBlocks is after how many blocks a log that catches up is flushed.
	flushBlocks  = 4096
	firstPause   = time.Second
	longestPause = time.Minute
)

// ErrNoHeader says that the chain does not have the header of a block, or no longer.
var ErrNoHeader = errors.New("no header of this block")

// Chain is the committed blocks of a node.
type Chain interface {
	// Head is the latest block, 0 before the first.
	Head() int64
	// Wait returns when Head is at least height, or with the context's error.
	Wait(ctx context.Context, height int64) error
	// HeaderHash is the hash of a block's header, or ErrNoHeader.
	HeaderHash(height int64) ([]byte, error)
}

// Options is what a Publisher is made of.
type Options struct {
	// Dir is its folder, which is made.
	Dir string
	// Key signs; its name is the log's origin.
	Key   *Signer
	Chain Chain
	// Fetch appends to a log the blocks that Chain has no headers of, verified, and no
	// others. nil: nobody can be asked.
	Fetch func(ctx context.Context, l *Log) error
	// Interval is after how many blocks a checkpoint is signed.
	Interval int64
	// Witnesses are asked to co-sign, and Quorum is how many must for a checkpoint to be
	// handed out; 0: none must.
	Witnesses []Witness
	Quorum    int
	Version   string // of the program, for the User-Agent
	Metrics   prometheus.Registerer
	Log       *slog.Logger
}

// Publisher follows a chain, signs checkpoints and gathers signatures of witnesses.
type Publisher struct {
	o       Options
	tree    *Log
	metrics *metrics
	news    chan struct{} // a checkpoint was signed
	pauses  struct{ first, longest time.Duration }
	write   func(path string, raw []byte) error // durable.ReplaceSealed but in tests

	mu        sync.Mutex // guards all below
	signed    published
	asked     published // what the round under way is about; signed may be newer
	witnessed published
	witnesses []*witness
	failure   error // why nothing is signed; nil: nothing is wrong
}

// published is a checkpoint with its note; the zero value is none.
type published struct {
	Checkpoint
	note []byte
}

// NewPublisher opens the folder. Run follows the chain; Close closes the folder after it.
func NewPublisher(o Options) (*Publisher, error) {
	p := &Publisher{o: o, news: make(chan struct{}, 1), write: durable.ReplaceSealed}
	p.pauses.first, p.pauses.longest = firstPause, longestPause
	var damaged, err error
	if p.tree, damaged, err = OpenLog(o.Dir, o.Key.Name()); err != nil {
		return nil, err
	}
	if damaged != nil {
		o.Log.Warn("the log of blocks is damaged and is computed anew", "error", damaged)
	}
	for _, w := range o.Witnesses {
		w, err := newWitness(w, o.Version)
		if err != nil {
			return nil, errors.Join(err, p.tree.Close())
		}
		p.witnesses = append(p.witnesses, w)
	}
	if p.signed, err = p.read(signedFile); err == nil {
		p.witnessed, err = p.read(witnessedFile)
	}
	if err == nil {
		p.metrics, err = newMetrics(p, o.Metrics)
	}
	if err != nil {
		return nil, errors.Join(err, p.tree.Close())
	}
	return p, nil
}

// read is a checkpoint of the folder, none where there is no file.
func (p *Publisher) read(name string) (published, error) {
	path := filepath.Join(p.o.Dir, name)
	raw, err := durable.ReadSealed(path, 2*MaxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return published{}, nil
	}
	if err != nil {
		return published{}, fmt.Errorf("%w; if it cannot be restored, move it away: the witnesses know what this node signed", err)
	}
	c, err := Parse(raw)
	if err == nil && c.Origin != p.o.Key.Name() {
		err = ErrOtherLog.With("it is of %.64q", c.Origin)
	}
	if err != nil {
		return published{}, fmt.Errorf("%s: %w", path, err)
	}
	return published{c, raw}, nil
}

// Close closes the folder.
func (p *Publisher) Close() error { return p.tree.Close() }

// Run follows the chain until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	if len(p.witnesses) > 0 {
		group.Go(func() { p.gather(ctx) })
	}
	pause := p.pauses.first
	for ctx.Err() == nil {
		err := p.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		p.fail(err)
		p.o.Log.Error("no checkpoint is made; it is tried again", "in", pause, "error", err)
		if !clock.Wait(ctx, pause) {
			break
		}
		pause = min(2*pause, p.pauses.longest)
	}
	for _, w := range p.witnesses {
		w.client.CloseIdleConnections()
	}
}

func (p *Publisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
}

// follow appends block after block and signs at each interval, until something fails.
func (p *Publisher) follow(ctx context.Context) error {
	if err := p.onThisChain(); err != nil {
		return err
	}
	for {
		next := p.tree.Size() + 1
		if err := p.o.Chain.Wait(ctx, next); err != nil {
			return err
		}
		hash, err := p.o.Chain.HeaderHash(next)
		if errors.Is(err, ErrNoHeader) {
			if err := p.fetch(ctx); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			err = p.tree.Append(hash)
		}
		if err != nil {
			return err
		}
		// A node that catches up signs the latest alone.
		due := next%p.o.Interval == 0 && next+p.o.Interval > p.o.Chain.Head()
		if due || next%flushBlocks == 0 {
			if err := p.tree.Flush(); err != nil {
				return err
			}
		}
		if due {
			if err := p.sign(next); err != nil {
				return err
			}
		}
	}
}

// onThisChain forgets a log whose last block is another than the chain's: one of a home whose
// chain began anew. What was signed keeps its say in sign.
func (p *Publisher) onThisChain() error {
	at := min(p.tree.Size(), p.o.Chain.Head())
	if at == 0 {
		return nil
	}
	hash, err := p.o.Chain.HeaderHash(at)
	if errors.Is(err, ErrNoHeader) {
		return nil
	}
	if err != nil {
		return err
	}
	same, err := p.tree.Holds(at, hash)
	if err == nil && same {
		return nil
	}
	p.o.Log.Warn("the log of blocks is not of the chain's blocks and is computed anew", "height", at, "error", err)
	p.tree.Drop(0)
	return nil
}

// fetch gets what the node itself has no headers of, all or none.
func (p *Publisher) fetch(ctx context.Context) error {
	if p.o.Fetch == nil {
		return ErrNoHistory
	}
	size := p.tree.Size()
	err := p.o.Fetch(ctx, p.tree)
	if err == nil && p.tree.Size() == size {
		err = errors.New("nothing was fetched")
	}
	if err == nil {
		err = p.tree.Flush()
	}
	if err != nil {
		p.tree.Drop(size)
		return ErrNoHistory.Wrap(err)
	}
	p.o.Log.Info("fetched and verified headers of old blocks", "from", size+1, "to", p.tree.Size())
	return nil
}

// sign makes the checkpoint of a size, unless it does not go on from what was signed last.
func (p *Publisher) sign(size int64) error {
	root, err := p.tree.Root(size)
	if err != nil {
		return err
	}
	c := Checkpoint{p.o.Key.Name(), size, root}
	p.mu.Lock()
	last := p.signed
	p.mu.Unlock()
	switch {
	case last.Size > size, last.Size == size && last.Root == root:
		return nil // a log that is computed anew comes by what was signed before
	case last.Size == size:
		return ErrOldLog.With("at %d blocks", size)
	case last.Size > 0:
		if have, err := p.tree.Root(last.Size); err != nil || have != last.Root {
			return errors.Join(err, ErrOldLog.With("at %d blocks", last.Size))
		}
		if _, err := p.tree.Consistency(last.Size, c); err != nil {
			return err
		}
	}
	note, err := c.Sign(p.o.Key)
	if err != nil {
		return err
	}
	if err := p.write(filepath.Join(p.o.Dir, signedFile), note); err != nil {
		return fmt.Errorf("write the checkpoint of %d blocks: %w", size, err)
	}
	p.mu.Lock()
	p.signed, p.failure = published{c, note}, nil
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
	return nil
}

// gather asks the witnesses in rounds: all of them about the latest checkpoint, side by side.
// A round after which a signature is missing is followed by another after a while.
func (p *Publisher) gather(ctx context.Context) {
	for pause := p.pauses.first; ; {
		if p.round(ctx) {
			pause = p.pauses.first
			select {
			case <-ctx.Done():
				return
			case <-p.news:
			}
			continue
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-p.news:
			t.Stop()
		case <-t.C:
			pause = min(2*pause, p.pauses.longest)
		}
	}
}

// round asks each witness that has not co-signed the latest checkpoint. It tells whether all
// have by now.
func (p *Publisher) round(ctx context.Context) bool {
	p.mu.Lock()
	if p.asked.Size != p.signed.Size {
		p.asked = p.signed
	}
	target := p.asked
	p.mu.Unlock()
	if target.Size == 0 {
		return true
	}
	var group sync.WaitGroup
	for _, w := range p.witnesses {
		if w.at() == target.Size {
			continue
		}
		group.Go(func() {
			lines, outcome, err := w.ask(ctx, p.tree, target)
			if err == nil {
				if err = p.add(target, lines, w); err != nil {
					outcome = outcomeFailed
				}
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				p.o.Log.Warn("a witness did not co-sign a checkpoint", "witness", w.Key.Name(), "size", target.Size, "outcome", outcome, "error", err)
			}
			w.tell(target.Size, err)
			p.metrics.requests.WithLabelValues(w.Key.Name(), outcome).Inc()
		})
	}
	group.Wait()
	return !slices.ContainsFunc(p.witnesses, func(w *witness) bool { return w.at() != target.Size })
}

// add takes a witness's signature of a checkpoint, and hands the checkpoint out when the
// quorum has signed.
func (p *Publisher) add(target published, lines []byte, w *witness) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	base := &p.asked
	if p.witnessed.Size == target.Size {
		base = &p.witnessed
	}
	note, err := AddCosignature(base.note, lines, w.Key)
	if err != nil {
		return err
	}
	base.note = note
	n := 0
	for _, o := range p.witnesses {
		if _, _, err := Open(note, o.Key); err == nil {
			n++
		}
	}
	if n < p.o.Quorum {
		return nil
	}
	if err := p.write(filepath.Join(p.o.Dir, witnessedFile), note); err != nil {
		return fmt.Errorf("write the co-signed checkpoint of %d blocks: %w", target.Size, err)
	}
	p.witnessed = *base
	return nil
}

// current is the checkpoint that is handed out: the latest that the quorum co-signed, or that
// was signed where none must.
func (p *Publisher) current() (published, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.witnessed
	if p.o.Quorum == 0 && c.Size != p.signed.Size {
		c = p.signed
	}
	if c.Size == 0 {
		if p.failure != nil {
			return c, p.failure
		}
		return c, ErrNotYet.With("there is none; one is made every %d blocks", p.o.Interval)
	}
	return c, nil
}

// Inclusion proves a block in the checkpoint that is handed out.
func (p *Publisher) Inclusion(height int64) (Inclusion, error) {
	c, err := p.current()
	if err != nil {
		return Inclusion{}, err
	}
	switch {
	case height < 1:
		return Inclusion{}, ErrNoBlock.With("height is %d", height)
	case height > c.Size:
		return Inclusion{}, ErrNotYet.With("block %d; the checkpoint covers %d", height, c.Size)
	case c.Size > p.tree.Size():
		return Inclusion{}, ErrNotYet.With("the node computes its log of blocks anew; it has %d of %d", p.tree.Size(), c.Size)
	}
	hash, err := p.o.Chain.HeaderHash(height)
	if errors.Is(err, ErrNoHeader) {
		err = ErrPruned.With("block %d", height)
	}
	if err != nil {
		return Inclusion{}, err
	}
	path, err := p.tree.Inclusion(height, c.Checkpoint)
	if err != nil {
		return Inclusion{}, err
	}
	return Inclusion{Block: Block{Height: height, Hash: hash}, Path: path, Checkpoint: c.note}, nil
}

// Consistency proves that the checkpoint that is handed out goes on from the first old blocks.
func (p *Publisher) Consistency(old int64) (Consistency, error) {
	c, err := p.current()
	if err != nil {
		return Consistency{}, err
	}
	switch {
	case old < 1:
		return Consistency{}, ErrNoBlock.With("size is %d", old)
	case old > c.Size:
		return Consistency{}, ErrNotYet.With("a checkpoint of %d blocks is newer than this node's of %d", old, c.Size)
	case c.Size > p.tree.Size():
		return Consistency{}, ErrNotYet.With("the node computes its log of blocks anew; it has %d of %d", p.tree.Size(), c.Size)
	}
	path, err := p.tree.Consistency(old, c.Checkpoint)
	return Consistency{Old: old, Path: path, Checkpoint: c.note}, err
}
