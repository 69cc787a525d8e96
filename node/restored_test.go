package node

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/node/backup"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
)

var nowhere = slog.New(slog.NewTextHandler(io.Discard, nil))

func restoredHome(t *testing.T, height, signed, from int64) (config.Home, *signingHold) {
	t.Helper()
	home, _ := nodetest.NewHome(t, NewGenesis)
	if err := MarkRestored(home, height, signed, from); err != nil {
		t.Fatal(err)
	}
	h, err := newSigningHold(home, nowhere)
	if err != nil || h == nil {
		t.Fatal(h, err)
	}
	return home, h
}

func TestARestoredKeySignsWhenOthersHaveMadeBlocksAfterItsStart(t *testing.T) {
	home, h := restoredHome(t, 10, 0, 0)
	after := h.since + 1
	for _, step := range []struct {
		height, at int64
		catchingUp bool
		may        bool
	}{
		{11, after, true, false},
		{12, h.since - 5000, false, false}, // an old block
		{13, h.since, false, false},
		{14, after, false, false}, // the first
		{15, after + 1, false, false},
		{16, after + 2, false, true},
	} {
		if err := h.saw(step.height, step.at, step.catchingUp); err != nil {
			t.Fatal(err)
		}
		if got := h.may() == nil; got != step.may {
			t.Errorf("after block %d it may sign: %v", step.height, got)
		}
		if !step.may && !h.before(1000) {
			t.Error("while it is held, any block may carry an old signature")
		}
	}
	if !h.before(16) || h.before(17) {
		t.Error("blocks up to 16 may carry signatures of before")
	}
	again, err := newSigningHold(home, nowhere)
	if err != nil || again.may() != nil || !again.before(16) || again.before(17) {
		t.Error("after a restart it is held again, or forgets which blocks it signed before")
	}
}

func TestARestoredKeyRefusesHeightsThatItMayHaveSigned(t *testing.T) {
	for _, c := range []struct {
		height, signed, from int64
		refused              bool
		floor                int64
	}{
		{10, 0, 0, false, 10}, {10, 14, 0, false, 14}, {10, 0, 11, false, 10}, {10, 0, 30, false, 29},
		{10, 0, 10, true, 0}, {10, 14, 14, true, 0}, {10, 14, 15, false, 14},
	} {
		home, _ := nodetest.NewHome(t, NewGenesis)
		err := MarkRestored(home, c.height, c.signed, c.from)
		if (err != nil) != c.refused {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if c.refused {
			continue
		}
		if floor, err := SigningFloor(home); err != nil || floor != c.floor {
			t.Errorf("%+v: floor %d, %v", c, floor, err)
		}
		key := privval.LoadFilePV(home.ValidatorKeyFile(), home.ValidatorStateFile())
		for _, round := range []int32{0, 5} {
			if _, err := key.LastSignState.CheckHRS(c.floor, round, 1); round == 0 && err == nil {
				t.Errorf("%+v: the engine would sign height %d", c, c.floor)
			}
		}
		if _, err := key.LastSignState.CheckHRS(c.floor+1, 0, 1); err != nil {
			t.Errorf("%+v: the engine would not sign height %d: %v", c, c.floor+1, err)
		}
	}
}

// A backup of a running node is made while it makes blocks, holds no key, and makes a home
// that starts, on each kind of tree; a backup with one changed byte makes none.
func TestBackupOfARunningNode(t *testing.T) {
	onEachTree(t, func(t *testing.T, home config.Home) {
		n := open(t, home)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.engine.Records().Wait(ctx, 5); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "b")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := n.Backup(ctx, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		head := n.engine.Records().Head()
		if err := n.engine.Records().Wait(ctx, head+2); err != nil {
			t.Fatal("no block after the backup: ", err)
		}
		root := n.engine.App().Tree()
		then, err := root.At(m.Header.Height)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{home.ValidatorKeyFile(), home.NodeKeyFile()} {
			key, err := os.ReadFile(secret)
			if err != nil {
				t.Fatal(err)
			}
			_, private, _ := strings.Cut(string(key), `"priv_key"`)
			_, private, found := strings.Cut(private, `"value":`)
			if private = strings.Trim(private, " \"}\n"); !found || len(private) < 80 || strings.Contains(string(raw), private[:40]) {
				t.Errorf("the backup holds the key of %s, or the test does not find it there", secret)
			}
		}

		// A new machine, with the operator's own copy of the keys.
		fresh := config.Home(t.TempDir())
		if err := os.MkdirAll(filepath.Dir(fresh.NodeKeyFile()), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(ctx, path, fresh, RestoreOptions{}); err == nil {
			t.Error("a home without keys was restored")
		}
		for from, to := range map[string]string{home.NodeKeyFile(): fresh.NodeKeyFile(), home.ValidatorKeyFile(): fresh.ValidatorKeyFile()} {
			key, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []int{600, len(raw) / 3, len(raw) / 2} {
			bad := append([]byte(nil), raw...)
			bad[at] ^= 4
			other := filepath.Join(t.TempDir(), "bad")
			if err := os.WriteFile(other, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(ctx, other, fresh, RestoreOptions{}); err == nil {
				t.Errorf("a backup with byte %d changed was restored", at)
			}
		}
		r, err := Restore(ctx, path, fresh, RestoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Aside != "" || r.Manifest.Header.Height != m.Header.Height {
			t.Errorf("%+v", r)
		}
		if _, err := Restore(ctx, path, fresh, RestoreOptions{}); err == nil {
			t.Error("a home with data was restored")
		}
		again := open(t, fresh)
		defer func() { _ = again.Stop() }()
		s, err := again.engine.App().Tree().At(m.Header.Height)
		if err != nil || string(s.Root()) != string(then.Root()) {
			t.Errorf("root %x of height %d, before %x, %v", s.Root(), m.Header.Height, then.Root(), err)
		}
		if again.hold == nil || again.hold.may() == nil {
			t.Error("the restored validator may sign at once")
		}
	})
}

func TestKeysInABackupOpenByTheirPassphraseAlone(t *testing.T) {
	home, _ := nodetest.NewHome(t, NewGenesis)
	if _, err := backup.SealKeys(home, "short"); err == nil {
		t.Error("a short passphrase was taken")
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.engine.Records().Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	const phrase = "a long enough passphrase"
	sealed, err := backup.SealKeys(home, phrase)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "b")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := BackupStopped(ctx, home, "test", f, sealed); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := config.Home(filepath.Join(t.TempDir(), "new"))
	for _, wrong := range []string{"", "another long passphrase"} {
		if _, err := Restore(ctx, path, fresh, RestoreOptions{Passphrase: wrong}); err == nil {
			t.Errorf("the keys opened by %q", wrong)
		}
	}
	if _, err := Restore(ctx, path, fresh, RestoreOptions{Passphrase: phrase}); err != nil {
		t.Fatal(err)
	}
	want, err := home.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if have, err := fresh.Keys(); err != nil || have.ValidatorAddress != want.ValidatorAddress || have.NodeID != want.NodeID {
		t.Errorf("%+v, %v", have, err)
	}
}
