//go:build unix

package testnet_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/testnet"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// The drill of docs/recovery.md: its commands bring back a network of which three of four
// validators are destroyed under load. What clients were told by the survivor is there on
// all four afterwards, the chain goes on, and every home is clean.
func TestTheDisasterDrill(t *testing.T) {
	s := start(t)
	blocks := blocksOf(t, filepath.Join("..", "docs", "recovery.md"), "Drill")
	if len(blocks) != 4 {
		t.Fatalf("the drill has %d blocks of commands", len(blocks))
	}
	backups := t.TempDir()
	state := filepath.Join(backups, "variables") // what a shell hands on to the next block
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	shell := func(b block) {
		t.Helper()
		script := fmt.Sprintf("set -euo pipefail\nif [ -f %q ]; then . %q; fi\n%s\n{ echo \"H=${H:-}\"; echo \"export CHANCERY_BACKUP_PASSPHRASE='$CHANCERY_BACKUP_PASSPHRASE'\"; } > %q\n", state, state, b.text, state)
		cmd := exec.CommandContext(ctx, "bash", "-c", script)
		cmd.Env = append(s.command().Env, "NET="+s.dir, "BACKUPS="+backups, "PATH="+filepath.Dir(s.binary)+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docs/recovery.md:%d: %v\n%s\n%s", b.line, err, b.text, out)
		}
	}
	// The load goes on while backups are made. A client counts what validator 0 has told it.
	load := s.honest(6, 0)
	s.until("transactions are committed", time.Minute, func([]testnet.View) bool { return load.done() >= 100 })
	shell(blocks[0])
	before := load.done()
	s.until("more are committed after the backups", time.Minute, func([]testnet.View) bool { return load.done() >= before+100 })
	shell(blocks[1]) // under load
	load.cancel()
	shell(blocks[2])
	// The survivor is stopped: it has told all that it will.
	load.mu.Lock()
	acknowledged := slices.Clone(load.ids)
	load.mu.Unlock()
	shell(blocks[3])
	s.reload()

	raw, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	height, err := strconv.ParseInt(strings.TrimPrefix(first, "H="), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s.until("the chain goes on from the survivor's height on all four", 2*time.Minute, func(v []testnet.View) bool {
		for _, x := range v {
			if x.Height < height+5 {
				return false
			}
		}
		return len(v) == 4
	})
	again := s.honest(2, 1, 2)
	s.until("transactions are committed again", time.Minute, func([]testnet.View) bool { return again.done() >= 20 })
	again.stop()
	for i := range 4 {
		c := s.dial(i)
		txs := nodev1.NewTxClient(c.Conn())
		for _, id := range acknowledged {
			raw, err := hex.DecodeString(id)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := txs.Result(ctx, &nodev1.ResultRequest{TxId: raw}); err != nil || r.Result.Code != 0 {
				t.Fatalf("validator %d has lost the transaction %s, which was acknowledged: %v", i, id, err)
			}
		}
	}
	t.Logf("%d acknowledged transactions are on all four; the chain went on from height %d", len(acknowledged), height)
	for i := range 4 {
		s.run("testnet", "kill", fmt.Sprint(i), "--signal", "TERM", "--dir", s.dir)
	}
	for i := range 4 {
		home := string(testnet.Dir(s.dir).Home(s.record.Validators[i]))
		end := time.Now().Add(time.Minute)
		for {
			out, err := s.try("fsck", "--home", home)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("validator %d: %v\n%s", i, err, out)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	// Of four stopped homes, two of them restored from a backup, the states are one.
	home0 := string(testnet.Dir(s.dir).Home(s.record.Validators[0]))
	for i := 1; i < 4; i++ {
		if out := s.run("state", "diff", home0, string(testnet.Dir(s.dir).Home(s.record.Validators[i])), "--timeout", "2m"); !strings.Contains(out, "are equal") {
			t.Errorf("validators 0 and %d: %s", i, out)
		}
	}
}
