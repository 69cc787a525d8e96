package node

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/node/config"
)

// A state that a report in its home says to be wrong is not started with again; that of
// another root, of another height or of a split is.
func TestAStateThatPartedIsNotStartedAgain(t *testing.T) { onEachTree(t, testAPartedState) }

func testAPartedState(t *testing.T, home config.Home) {
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "blocks are made", func() bool { return n.Engine().Status().Height >= 2 })
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	tree := n.Engine().App().Tree()
	report := func(agreed *divergence.Agreed, root string) *divergence.Report {
		r := divergence.NewReport(agreed)
		r.Height, r.Own.AppHash = tree.Version(), root
		return r
	}
	own := hex.EncodeToString(tree.Root())
	path, err := keepReport(home, report(&divergence.Agreed{AppHash: "01"}, own))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(home, Options{Log: quiet(t)}); !errors.Is(err, divergence.ErrParted) || !strings.Contains(err.Error(), path) {
		t.Fatalf("it opens: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(home, Options{Log: quiet(t)}); err == nil || errors.Is(err, divergence.ErrParted) || !strings.Contains(err.Error(), path) {
		t.Fatalf("it opens beside a report that cannot be read: %v", err)
	}
	for _, r := range []*divergence.Report{report(nil, own), report(&divergence.Agreed{AppHash: "01"}, "02")} {
		if _, err := keepReport(home, r); err != nil {
			t.Fatal(err)
		}
		n, err := Open(home, Options{Log: quiet(t)})
		if err != nil {
			t.Fatalf("%s, own root %s: %v", r.Verdict, r.Own.AppHash, err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// The oldest reports of a home make room for new ones.
func TestReportsAreBounded(t *testing.T) {
	home, _ := newHome(t)
	for i := range int64(maxReports + 5) {
		r := divergence.NewReport(nil)
		r.Height = 1 + i
		path, err := keepReport(home, r)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-100) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(home.Data(), "divergence-*.json"))
	if err != nil || len(left) != maxReports {
		t.Fatalf("%d reports, %v", len(left), err)
	}
	for _, gone := range []int64{1, 5} {
		if _, err := os.Stat(filepath.Join(home.Data(), divergence.FileName(gone))); err == nil {
			t.Errorf("the report of height %d is still there", gone)
		}
	}
}
