package fsck

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
)

// ran is the home of a validator that made some blocks and was stopped.
func ran(t *testing.T, tree, backend string, blocks int64) config.Home {
	t.Helper()
	home, c := nodetest.NewHome(t, node.NewGenesis)
	c.State.Tree, c.State.Backend = tree, backend
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
	n := opened(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func opened(t *testing.T, home config.Home) *node.Node {
	t.Helper()
	n, err := node.Open(home, node.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
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

var _ = fmt.Sprint
var _ = rand.New
var _ = os.Stat
var _ = filepath.Join
var _ = strconv.Itoa
