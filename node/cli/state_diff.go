package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/backup"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) stateDiff() *cobra.Command {
	var height int64
	c := &cobra.Command{
		Use:   "diff STATE STATE",
		Short: "Compare two states key by key",
		Long: lines(
			"Compares two states at one height, by default the latest that both have, and shows",
			"every key in which they differ. Each is that of a running node (HOST:PORT), of a stopped",
			"one (its home folder), or of a backup (its file). Where nodes part in an app hash and",
			"halt, this says in what. Exit code 0: they are equal; 1: they differ.",
		),
		Example: examples(
			"chancery state diff 127.0.0.1:9090 127.0.0.1:9190 --at-height 120",
			"chancery state diff /var/lib/chancery mercy.backup",
		),
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := notNegative(flagOf{"at-height", height}); err != nil {
				return err
			}
			registry, err := node.Registry()
			if err != nil {
				return err
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			left, right, err := a.openSides(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, left.close(), right.close()) }()
			if height, err = commonHeight(ctx, height, left, right); err != nil {
				return err
			}
			return a.diff(ctx, registry, left, right, height)
		},
	}
	c.Flags().Int64Var(&height, "at-height", 0, "height of the states; 0 for the latest that both have")
	return c
}

// side is one of two states that are compared.
type side interface {
	chainID() string
	latest(ctx context.Context) (int64, error)
	// walk begins to read all pairs at a height, in order of key.
	walk(ctx context.Context, height int64) (pairReader, error)
	// hashes answers questions about the state of a height.
	hashes(height int64) (divergence.Source, error)
	close() error
}

// pairReader yields pairs, and nil at the end.
type pairReader interface {
	next() (*nodev1.Pair, error)
}

// openSides opens two states of one chain.
func (a *app) openSides(ctx context.Context, one, other string) (left, right side, err error) {
	if filepath.Clean(one) == filepath.Clean(other) {
		if _, err := os.Stat(one); err == nil {
			return nil, nil, usagef("both states are that of %s", one)
		}
	}
	if left, err = a.openSide(ctx, one, ""); err != nil {
		return nil, nil, err
	}
	if right, err = a.openSide(ctx, other, left.chainID()); err != nil {
		return nil, nil, errors.Join(err, left.close())
	}
	return left, right, nil
}

// commonHeight is the height that was asked for, or where that is 0 the latest that all have.
func commonHeight(ctx context.Context, asked int64, sides ...side) (int64, error) {
	if asked > 0 {
		return asked, nil
	}
	common := int64(math.MaxInt64)
	for _, s := range sides {
		h, err := s.latest(ctx)
		if err != nil {
			return 0, err
		}
		common = min(common, h)
	}
	return common, nil
}

// openSide opens what an argument names: a folder, a file, or else a node. A chain id
// that is not empty must be its own.
func (a *app) openSide(ctx context.Context, name, chainID string) (side, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		var options []client.Option
		if chainID != "" {
			options = append(options, client.ChainID(chainID))
		}
		c, err := a.dialTo(ctx, name, options...)
		if err != nil {
			return nil, err
		}
		return nodeSide{c}, nil
	case info.IsDir():
		return a.openHomeSide(config.Home(name), name, chainID)
	}
	return a.openBackupSide(ctx, name, chainID)
}

// nodeSide is the state of a running node.
type nodeSide struct{ c *client.Client }

func (s nodeSide) chainID() string { return s.c.ChainID() }
func (s nodeSide) close() error    { return s.c.Close() }

func (s nodeSide) latest(ctx context.Context) (int64, error) {
	r, err := s.c.Status(ctx)
	if err != nil {
		return 0, err
	}
	return r.Height, nil
}

func (s nodeSide) walk(ctx context.Context, height int64) (pairReader, error) {
	return openPairs(ctx, s.c, height, nil)
}

func (s nodeSide) hashes(int64) (divergence.Source, error) {
	return func(ctx context.Context, q *nodev1.HashesRequest) (r *nodev1.HashesResponse, err error) {
		err = patiently(ctx, func() error {
			r, err = nodev1.NewNodeClient(s.c.Conn()).Hashes(ctx, q)
			return err
		})
		return r, err
	}, nil
}

// homeSide is the state in a home, which no node uses meanwhile.
type homeSide struct {
	name  string
	chain string
	tree  state.Tree
	lock  *flock.Flock
	stage string // a folder that was made for it; empty: none
	stop  func() // of the walk; nil: none was begun
}

func (a *app) openHomeSide(home config.Home, name, chainID string) (_ *homeSide, err error) {
	s := &homeSide{name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.lock, err = a.stopped(home); err != nil {
		return nil, err
	}
	c, err := config.Load(home)
	if err != nil {
		return nil, err
	}
	doc, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		return nil, err
	}
	if s.chain = doc.ChainID; chainID != "" && chainID != s.chain {
		return nil, sentence(errHome, "%s is of the chain %s, the other of %s", name, s.chain, chainID)
	}
	s.tree, err = offline.Tree(home, c.State.Backend)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, sentence(errNothing, "%s holds no state", name)
	case err != nil:
		return nil, errHome.Wrap(err)
	}
	return s, nil
}

// openBackupSide builds a home of a backup in a folder of its own, which close removes.
func (a *app) openBackupSide(ctx context.Context, name, chainID string) (_ *homeSide, err error) {
	stage, err := os.MkdirTemp("", "chancery-diff-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(stage))
		}
	}()
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }() // it is only read
	m := &meter{app: a, what: "reading " + filepath.Base(name) + ":", unit: size}
	defer m.end()
	home := config.Home(filepath.Join(stage, "home"))
	if _, err := backup.Extract(ctx, in, home, backup.Keys{}, func(n int64) { m.add(n - m.done) }); err != nil {
		return nil, err
	}
	s, err := a.openHomeSide(home, name, chainID)
	if err != nil {
		return nil, err
	}
	s.stage = stage
	return s, nil
}

func (s *homeSide) chainID() string { return s.chain }

func (s *homeSide) latest(context.Context) (int64, error) {
	if v := s.tree.Version(); v > 0 {
		return v, nil
	}
	return 0, sentence(errNothing, "%s holds no state of a block", s.name)
}

func (s *homeSide) at(height int64) (state.Snapshot, error) {
	at, err := s.tree.At(height)
	if err != nil {
		return nil, sentence(errNothing, "%s has no state of height %d; its latest is %d", s.name, height, s.tree.Version())
	}
	return at, nil
}

func (s *homeSide) hashes(height int64) (divergence.Source, error) {
	at, err := s.at(height)
	if err != nil {
		return nil, err
	}
	return divergence.Local(at), nil
}

func (s *homeSide) walk(_ context.Context, height int64) (pairReader, error) {
	at, err := s.at(height)
	if err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(at.Walk(nil, nil, false))
	s.stop = stop
	return pulled(next), nil
}

// pulled is a walk of pairs that is asked for them.
type pulled func() ([]byte, []byte, bool)

func (p pulled) next() (*nodev1.Pair, error) {
	if k, v, ok := p(); ok {
		return &nodev1.Pair{Key: k, Value: v}, nil
	}
	return nil, nil
}

func (s *homeSide) close() error {
	var err error
	if s.stop != nil {
		s.stop()
	}
	if s.tree != nil {
		err = s.tree.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	if s.stage != "" {
		err = errors.Join(err, os.RemoveAll(s.stage))
	}
	return err
}

// difference is a key in which two states differ; nil is absence.
type difference struct {
	Collection string          `json:"collection"`
	Key        string          `json:"key"`
	RawKey     string          `json:"raw_key"`
	Left       json.RawMessage `json:"left"`
	Right      json.RawMessage `json:"right"`
}

func (a *app) diff(ctx context.Context, registry *state.Registry, left, right side, height int64) error {
	l, err := left.walk(ctx, height)
	if err != nil {
		return err
	}
	r, err := right.walk(ctx, height)
	if err != nil {
		return err
	}
	m := &meter{app: a, what: "compared", unit: func(n int64) string { return fmt.Sprintf("%d keys", n) }}
	defer m.end()
	x, err := l.next()
	if err != nil {
		return err
	}
	y, err := r.next()
	if err != nil {
		return err
	}
	var keys, differ int64
	for x != nil || y != nil {
		order := 0
		switch {
		case x == nil:
			order = 1
		case y == nil:
			order = -1
		default:
			order = bytes.Compare(x.Key, y.Key)
		}
		var d difference
		same := false
		switch {
		case order < 0:
			d = differenceOf(describe(registry, x.Key, x.Value))
			d.Right = nil
		case order > 0:
			d = differenceOf(describe(registry, y.Key, y.Value))
			d.Left, d.Right = nil, d.Left
		default:
			same = bytes.Equal(x.Value, y.Value)
			d = differenceOf(describe(registry, x.Key, x.Value))
			d.Right = describe(registry, y.Key, y.Value).Value
		}
		if !same {
			differ++
			if err := a.printDifference(d); err != nil {
				return err
			}
		}
		keys++
		m.add(1)
		if order <= 0 {
			if x, err = l.next(); err != nil {
				return err
			}
		}
		if order >= 0 {
			if y, err = r.next(); err != nil {
				return err
			}
		}
	}
	if differ > 0 {
		return silent{sentence(errDiffers, "the states of height %d differ in %d of %d keys", height, differ, keys)}
	}
	a.note("the states of height %d are equal: %d keys", height, keys)
	return nil
}

func differenceOf(r record) difference {
	return difference{Collection: r.Collection, Key: r.Key, RawKey: r.RawKey, Left: r.Value}
}

func (a *app) printDifference(d difference) error {
	if a.output == outputJSON {
		raw, err := jsonOf(d)
		if err != nil {
			return err
		}
		return a.write(string(raw) + "\n")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", d.Collection, d.Key)
	for _, side := range []struct {
		mark  string
		value json.RawMessage
	}{{"-", d.Left}, {"+", d.Right}} {
		if side.value != nil {
			fmt.Fprintf(&b, "  %s %s\n", side.mark, side.value)
		} else {
			fmt.Fprintf(&b, "  %s (absent)\n", side.mark)
		}
	}
	return a.write(clean(b.String()))
}
