package fsck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
)

// ran is the home of a validator that made some blocks and was stopped.
func ran(t *testing.T, tree, backend string, blocks int64) config.Home {
	t.Helper()
	home, c := nodetest.NewHome(t, node.NewGenesis)
	c.State.Tree, c.State.Backend = tree, backend
	c.Snapshots.Interval = 3 // so that there is one
	c.Checkpoint.Interval = 2
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := start(t, home)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Engine().Records().Wait(ctx, blocks); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	return home
}

func start(t *testing.T, home config.Home) *node.Node {
	t.Helper()
	n, err := node.Open(home, node.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func check(t *testing.T, home config.Home) *Report {
	t.Helper()
	r, err := Check(t.Context(), home, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAHomeThatWasStoppedIsClean(t *testing.T) {
	for _, tree := range []string{"disk", "memory"} {
		for _, backend := range []string{"pebble", "goleveldb"} {
			t.Run(tree+" "+backend, func(t *testing.T) {
				home := ran(t, tree, backend, 8)
				r := check(t, home)
				if len(r.Problems) > 0 || len(r.Notes) > 0 || r.Height < 8 || r.Blocks != r.Height || r.Versions < r.State || r.Records != r.State || r.State != r.Height {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// served is a digest of all that a node of a home answers with: every block with its
// commit, every version of the state with its root and all its pairs, every record and
// every transaction's place, up to a height. The node is opened as it is at its start, and
// so replays what a home lacks.
func served(t *testing.T, home config.Home, height int64) (digest [32]byte, err error) {
	t.Helper()
	err = guarded(func() error {
		n, err := node.Open(home, node.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			return err
		}
		defer func() { _ = n.Stop() }()
		h := sha256.New()
		e := n.Engine()
		for at := int64(1); at <= height; at++ {
			light, err := e.LightBlock(at)
			if err != nil {
				return err
			}
			signed, err := light.ToProto()
			if err != nil {
				return err
			}
			raw, err := signed.Marshal()
			if err != nil {
				return err
			}
			txs, ok := e.Txs(at)
			fmt.Fprintf(h, "%x %v %x\n", raw, ok, txs)
			r, err := e.Records().Block(at)
			if err != nil {
				return err
			}
			again, err := r.MarshalVT()
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%x\n", again)
			for _, x := range r.Txs {
				found, ok, err := e.Records().Tx(tx.ID(x.TxId))
				if err != nil || !ok || found.Height != at {
					return fmt.Errorf("transaction %x is not found: %v", x.TxId, err)
				}
			}
			s, err := e.App().Tree().At(at)
			if errors.Is(err, state.ErrNoVersion) {
				fmt.Fprintln(h, "pruned")
				continue
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%x\n", s.Root())
			for k, v := range s.Walk(nil, nil, false) {
				fmt.Fprintf(h, "%x=%x %x\n", k, v, s.Lookup(k))
			}
		}
		digest = [32]byte(h.Sum(nil))
		return nil
	})
	return digest, err
}

// dataFiles are the files under a home's data folder.
func dataFiles(t *testing.T, home config.Home) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(home.Data(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() == 0 {
			return err
		}
		rel, err := filepath.Rel(string(home), path)
		files = append(files, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// flips is how many bits are flipped for each kind of home. CHANCERY_FLIPS asks for more.
func flips(t *testing.T) int {
	t.Helper()
	raw := os.Getenv("CHANCERY_FLIPS")
	if raw == "" {
		return 6
	}
	n, err := strconv.Atoi(raw)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A bit that is flipped anywhere in the data folder is found by fsck, or by the node at its
// start, or changes nothing that the node serves. Each file is hit as often as each other,
// so that small ones are not missed.
func TestAFlippedBitIsFoundOrChangesNothing(t *testing.T) {
	seed := time.Now().UnixNano()
	if raw := os.Getenv("CHANCERY_SEED"); raw != "" {
		var err error
		if seed, err = strconv.ParseInt(raw, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	for _, kind := range [][2]string{{"disk", "pebble"}, {"memory", "pebble"}, {"disk", "goleveldb"}} {
		t.Run(kind[0]+" "+kind[1], func(t *testing.T) {
			home := ran(t, kind[0], kind[1], 6)
			report := check(t, home)
			if len(report.Problems) > 0 {
				t.Fatalf("before any flip: %+v", report.Problems)
			}
			want, err := served(t, copied(t, home), report.Height)
			if err != nil {
				t.Fatal(err)
			}
			files := dataFiles(t, home)
			found := map[string]int{}
			for i := range flips(t) {
				file := files[(i+random.Intn(len(files)))%len(files)]
				bad := copied(t, home)
				bit := flip(t, bad, file, random)
				r, err := Check(t.Context(), bad, Options{})
				switch {
				case err != nil || len(r.Problems) > 0:
					found["by fsck"]++
					continue
				}
				got, err := served(t, bad, report.Height)
				switch {
				case err != nil:
					found["by the node"]++
				case got == want:
					found["changes nothing"]++
				default:
					t.Errorf("seed %d: bit %d of %s changes what is served and is not found", seed, bit, file)
				}
			}
			t.Logf("%v", found)
		})
	}
}

func flip(t *testing.T, home config.Home, file string, random *rand.Rand) int64 {
	t.Helper()
	path := filepath.Join(string(home), file)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bit := random.Int63n(8 * int64(len(raw)))
	raw[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return bit
}

func copied(t *testing.T, home config.Home) config.Home {
	t.Helper()
	to := filepath.Join(t.TempDir(), "home")
	if err := os.CopyFS(to, os.DirFS(string(home))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{config.Home(to).NodeKeyFile(), config.Home(to).ValidatorKeyFile(), config.Home(to).CheckpointKeyFile()} {
		if err := os.Chmod(key, 0o600); err != nil { // which CopyFS does not keep
			t.Fatal(err)
		}
	}
	return config.Home(to)
}

// A pruned home is sound, and what is damaged of the headers that it keeps for evidence is
// found.
func TestAPrunedHomeIsSoundAndItsDamageIsFound(t *testing.T) {
	home, c := nodetest.NewHome(t, node.NewGenesis)
	c.State.Tree = "disk"
	c.Pruning = config.Pruning{Mode: config.PruningPruned, WindowBlocks: 100}
	c.Consensus.Propose, c.Consensus.Commit, c.Consensus.NextBlockDelay, c.Snapshots.Interval = config.Duration(20*time.Millisecond), 0, 0, 0
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := start(t, home)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for height := int64(100); n.Engine().Pruning().OldestBlock < 10; height++ {
		if err := n.Engine().Records().Wait(ctx, height); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if r := check(t, home); len(r.Problems) > 0 || len(r.Notes) > 0 || r.Oldest < 10 {
		t.Fatalf("%+v", r)
	}
	damage := func(name, key string, value []byte) (was []byte) {
		t.Helper()
		write, err := cmtdb.NewGoLevelDB(name, home.Engine())
		if err != nil {
			t.Fatal(err)
		}
		if was, err = write.Get([]byte(key)); err != nil || len(was) == 0 {
			t.Fatalf("%s: %v", key, err)
		}
		if value == nil {
			err = write.Delete([]byte(key))
		} else {
			err = write.Set([]byte(key), value)
		}
		if err = errors.Join(err, write.Close()); err != nil {
			t.Fatal(err)
		}
		return was
	}
	for _, d := range []struct{ name, key string }{{"blockstore", "H:5"}, {"blockstore", "C:5"}, {"state", "validatorsKey:5"}} {
		was := damage(d.name, d.key, nil)
		if r := check(t, home); len(r.Problems) == 0 {
			t.Errorf("nothing is said of %s, which is gone", d.key)
		}
		bent := bytes.Clone(was)
		bent[len(bent)/2] ^= 4
		write, err := cmtdb.NewGoLevelDB(d.name, home.Engine())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(write.Set([]byte(d.key), bent), write.Close()); err != nil {
			t.Fatal(err)
		}
		if r := check(t, home); len(r.Problems) == 0 {
			t.Errorf("nothing is said of %s, in which a bit is another", d.key)
		}
		damage(d.name, d.key, was)
	}
	if r := check(t, home); len(r.Problems) > 0 {
		t.Errorf("all is as it was, and %+v", r.Problems)
	}
}
