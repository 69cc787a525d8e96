package node

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/types"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/nodetest"
	"github.com/chancery/chancery/node/signer"
)

// The only validator of a chain has its key in a signer: without it there is no block, and
// the node lives and raises an alert; with it there are blocks.
func TestAlertOfASignerThatIsAway(t *testing.T) {
	home, c := nodetest.NewHome(t, NewGenesis)
	key, err := signer.ReadKey(home.ValidatorKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	state, err := signer.ReadState(home.ValidatorStateFile())
	if err != nil {
		t.Fatal(err)
	}
	// A path of a socket has about a hundred bytes at most.
	short, err := os.MkdirTemp("", "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	at := "unix://" + filepath.Join(short, "s")
	f := signer.Folder(filepath.Join(t.TempDir(), "signer"))
	if err := signer.Init(f, signer.InitOptions{Settings: signer.Settings{ChainID: nodetest.HomeChain, Node: at}, Key: key, State: &state}); err != nil {
		t.Fatal(err)
	}
	c.Signer.Listen, c.Signer.PublicKey = at, hex.EncodeToString(key.PubKey().Bytes())
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(home, Options{Log: nowhere}); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Fatalf("the key is in the home and in the signer: %v", err)
	}
	if err := os.Remove(home.ValidatorKeyFile()); err != nil {
		t.Fatal(err)
	}
	n, err := Open(home, Options{Log: nowhere})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	rec := alerttest.Record(t, "ChancerySignerAway")
	serve := func() (stop func()) {
		s, err := signer.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, nowhere) }()
		return func() {
			cancel()
			if err := errors.Join(<-done, s.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	scrape := func(minute int, connected string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(alerttest.Ask(n.TelemetryAddress()), "chancery_signer_connected "+connected+"\n"); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the node does not tell %s", connected)
			}
		}
		rec.Scrape(minute, "node", n.TelemetryAddress())
	}
	blocks := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := n.Engine().Records().Wait(ctx, n.Engine().Records().Head()+3); err != nil {
			t.Fatal(err)
		}
	}
	stop := serve()
	blocks()
	scrape(0, "1")
	stop()
	scrape(5, "0")
	head := n.Engine().Records().Head()
	time.Sleep(500 * time.Millisecond)
	if now := n.Engine().Records().Head(); now > head+1 {
		t.Errorf("blocks without a key: %d after %d", now, head)
	}
	if s := n.face().Status(); !strings.HasPrefix(s.Signer, "away for ") {
		t.Errorf("the status says %q", s.Signer)
	}
	stop = serve()
	defer stop()
	blocks()
	scrape(10, "1")
}

// The next key takes the old one's place in a home only when it has signed, and whatever
// step the process ends at, the next start goes on from there.
func TestANextKeyTakesItsPlaceFromEveryStep(t *testing.T) {
	home, _ := nodetest.NewHome(t, NewGenesis)
	old, err := signer.ReadKey(home.ValidatorKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.WriteState(home.ValidatorStateFile(), signer.State{Height: 40, Step: 3}); err != nil {
		t.Fatal(err)
	}
	next, err := MakeNextKey(home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MakeNextKey(home); !errors.Is(err, ErrNext) {
		t.Errorf("a second next key: %v", err)
	}
	if who, err := promote(home); who != "" || err != nil {
		t.Fatalf("a key that signed nothing takes over: %s %v", who, err)
	}
	if err := signer.WriteState(home.NextValidatorStateFile(), signer.State{Height: 42, Step: 3}); err != nil {
		t.Fatal(err)
	}
	retired := filepath.Join(home.RetiredKeys(), old.PubKey().Address().String())
	copyTo := func(from, to string) {
		t.Helper()
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func(h config.Home){
		func(h config.Home) {
			copyTo(h.ValidatorStateFile(), strings.Replace(retired+"-state.json", string(home), string(h), 1))
		},
		func(h config.Home) {
			copyTo(h.ValidatorKeyFile(), strings.Replace(retired+"-key.json", string(home), string(h), 1))
		},
		func(h config.Home) {
			if err := os.Rename(h.NextValidatorStateFile(), h.ValidatorStateFile()); err != nil {
				t.Fatal(err)
			}
		},
		func(h config.Home) {
			if err := os.Rename(h.NextValidatorKeyFile(), h.ValidatorKeyFile()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for done := range len(steps) + 1 {
		h := config.Home(filepath.Join(t.TempDir(), "home"))
		if err := os.CopyFS(string(h), os.DirFS(string(home))); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{h.ValidatorKeyFile(), h.NextValidatorKeyFile()} {
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range steps[:done] {
			step(h)
		}
		who, err := promote(h)
		if err != nil || done < len(steps) && who != next.Address().String() {
			t.Fatalf("after %d steps: %s %v", done, who, err)
		}
		now, err := signer.ReadKey(h.ValidatorKeyFile())
		if err != nil || !now.PubKey().Equals(next) {
			t.Errorf("after %d steps the home has another key: %v", done, err)
		}
		s, err := signer.ReadState(h.ValidatorStateFile())
		if err != nil || s.Height != 42 {
			t.Errorf("after %d steps the record says height %d: %v", done, s.Height, err)
		}
		kept, err := signer.ReadKey(strings.Replace(retired+"-key.json", string(home), string(h), 1))
		if err != nil || !kept.PubKey().Equals(old.PubKey()) {
			t.Errorf("after %d steps the old key is lost: %v", done, err)
		}
		for _, path := range []string{h.NextValidatorKeyFile(), h.NextValidatorStateFile()} {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after %d steps %s is left: %v", done, path, err)
			}
		}
		if who, err := promote(h); who != "" || err != nil {
			t.Errorf("after %d steps it is done again: %s %v", done, who, err)
		}
	}
	// Without the record of what the next key signed, and before the old key is kept: a fault.
	if err := os.Remove(home.NextValidatorStateFile()); err != nil {
		t.Fatal(err)
	}
	if _, err := promote(home); err == nil || !strings.Contains(err.Error(), "abandon") {
		t.Errorf("a next key without a record: %v", err)
	}
}

// The guard takes a vote for foreign that is of a later step than this home signed.
func TestTheGuardHearsForeignVotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := signer.WriteState(path, signer.State{Height: 10, Round: 1, Step: 2}); err != nil {
		t.Fatal(err)
	}
	own := types.Address(make([]byte, 20))
	keys := new(guardedKeys)
	keys.add(guardedKey{address: own, state: path})
	now := time.Now()
	for _, c := range []struct {
		name    string
		v       types.Vote
		since   time.Time
		foreign bool
	}{
		{"what it signed", types.Vote{Height: 10, Round: 1, Type: cmtproto.PrevoteType}, time.Time{}, false},
		{"an earlier round", types.Vote{Height: 10, Round: 0, Type: cmtproto.PrecommitType}, time.Time{}, false},
		{"a later step", types.Vote{Height: 10, Round: 1, Type: cmtproto.PrecommitType}, time.Time{}, true},
		{"a later round", types.Vote{Height: 10, Round: 2, Type: cmtproto.PrevoteType}, time.Time{}, true},
		{"a later height", types.Vote{Height: 11, Round: 0, Type: cmtproto.PrevoteType}, time.Time{}, true},
		{"a signer's, of before the start", types.Vote{Height: 11, Type: cmtproto.PrevoteType}, now, false},
		{"a signer's, of long after", types.Vote{Height: 11, Type: cmtproto.PrevoteType}, now.Add(-time.Minute), true},
	} {
		g := keyGuard{keys: keys}
		if !c.since.IsZero() {
			g.since = c.since.UnixMilli()
		}
		c.v.ValidatorAddress, c.v.Timestamp = own, now
		if err := g.heard(&c.v); errors.Is(err, errForeign) != c.foreign || err != nil && !c.foreign {
			t.Errorf("%s: %v", c.name, err)
		}
		other := c.v
		other.ValidatorAddress = append(make([]byte, 19), 1)
		if err := g.heard(&other); err != nil {
			t.Errorf("%s, of another validator: %v", c.name, err)
		}
	}
}

// A node that starts waits for blocks of the others, or for as long as none comes.
func TestAKeyIsWatchedBeforeItSigns(t *testing.T) {
	w := newStartWatch(2, time.Hour, nowhere)
	now := time.Now()
	w.now, w.chance = func() time.Time { return now }, time.Minute
	signs := func(after time.Duration) bool { now = now.Add(after); w.look(); return w.may() == nil }
	for range 20 {
		now = now.Add(time.Second)
		w.saw(true)
	}
	if signs(w.chance) {
		t.Error("blocks that are fetched end the watch")
	}
	for range 20 {
		w.saw(false)
		now = now.Add(apart / 30)
	}
	if signs(w.chance) {
		t.Error("blocks that come at once end it")
	}
	w.saw(false)
	if signs(w.chance - 1) {
		t.Error("it ends before its time")
	}
	w.saw(false)
	if !signs(1) {
		t.Error("it does not end")
	}
	spread := make(map[time.Duration]bool)
	for range 100 {
		c := newStartWatch(2, time.Hour, nowhere).chance
		if spread[c/time.Minute] = true; c > time.Hour {
			t.Errorf("it may take %v more", c)
		}
	}
	if len(spread) < 30 {
		t.Errorf("of 100 watches, only %d end in minutes of their own", len(spread))
	}
	w = newStartWatch(2, 300*time.Millisecond, nowhere)
	begun := time.Now()
	w.run(t.Context())
	if took := time.Since(begun); w.may() != nil || took < 300*time.Millisecond || took > 5*time.Second {
		t.Errorf("without blocks it ends after %v: %v", took, w.may())
	}
}

// A next key that signed before the home was lost signs nothing below what the restored home
// holds the current one to.
func TestARestoreKeepsTheNextKeyBelowTheFloor(t *testing.T) {
	for _, c := range []struct{ signed, floor, want int64 }{{0, 50, 0}, {42, 50, 50}, {60, 50, 60}} {
		home, _ := nodetest.NewHome(t, NewGenesis)
		stage := config.Home(filepath.Join(t.TempDir(), "stage"))
		if err := stage.Create(); err != nil {
			t.Fatal(err)
		}
		if err := MarkRestored(stage, c.floor, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := markNext(home, stage); err != nil || fileExists(stage.NextValidatorStateFile()) {
			t.Fatalf("without a next key: %v", err)
		}
		if _, err := MakeNextKey(home); err != nil {
			t.Fatal(err)
		}
		if err := signer.WriteState(home.NextValidatorStateFile(), signer.State{Height: c.signed, Step: 3}); err != nil {
			t.Fatal(err)
		}
		if err := markNext(home, stage); err != nil {
			t.Fatal(err)
		}
		s, err := signer.ReadState(stage.NextValidatorStateFile())
		if err != nil || s.Height != c.want {
			t.Errorf("%+v: the record says %d: %v", c, s.Height, err)
		}
		if err := os.Remove(home.NextValidatorStateFile()); err != nil {
			t.Fatal(err)
		}
		if err := markNext(home, stage); err == nil || !strings.Contains(err.Error(), "put it back") {
			t.Errorf("without the record: %v", err)
		}
	}
}
