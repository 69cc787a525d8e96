package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/chancery/chancery/node/config"
)

// A door has TLS, or the configuration asks for development; then the log says so.
func TestTheDoorIsOpenOnlyWhenAskedFor(t *testing.T) {
	home, c := newHome(t)
	var log bytes.Buffer
	n, err := Open(home, Options{Version: "test", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "INSECURE: loopback development mode: rpc.development is set") {
		t.Error("the log does not say that the door is open")
	}
	c.RPC.Development = false
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(home, Options{Log: quiet(t)}); err == nil || !strings.Contains(err.Error(), "rpc.development = true") {
		t.Errorf("without TLS and without development: %v", err)
	}
	for _, listen := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:9090", ":0"} {
		c.RPC.Listen, c.RPC.Development = listen, true
		if err := config.Write(home, c); err == nil {
			t.Errorf("development opens %s", listen)
		}
		if _, err := Open(home, Options{Config: &c, Log: quiet(t)}); err == nil {
			t.Errorf("development serves %s", listen)
		}
	}
	c.RPC.Listen, c.RPC.Development = "", false
	if n, err = Open(home, Options{Config: &c, Log: quiet(t)}); err != nil {
		t.Fatalf("without a door: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
}

// A node takes its next key only where its own state binds it.
func TestANextNodeKeyWaitsForTheChain(t *testing.T) {
	home, _ := newHome(t)
	before, err := config.NodeID(home)
	if err != nil {
		t.Fatal(err)
	}
	next, made, err := home.PrepareNodeKey()
	if err != nil || !made {
		t.Fatal(made, err)
	}
	for range 2 { // without a state, and with one
		n := open(t, home)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "blocks are made", func() bool { return n.engine.Status().Height >= 2 })
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		if id, err := config.NodeID(home); err != nil || id != before {
			t.Fatalf("the node took a key that nobody binds: %s, %v", id, err)
		}
	}
	if id, err := home.NextNodeID(); err != nil || id != next {
		t.Errorf("%s, %v", id, err)
	}
}

func TestReplaceNodeKey(t *testing.T) {
	home, _ := newHome(t)
	before, err := config.NodeID(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := home.ReplaceNodeKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a next key: %v", err)
	}
	if id, err := config.NodeID(home); err != nil || id != before {
		t.Fatalf("%s, %v", id, err)
	}
	for range 2 {
		last, err := config.NodeID(home)
		if err != nil {
			t.Fatal(err)
		}
		next, _, err := home.PrepareNodeKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := home.ReplaceNodeKey(); err != nil {
			t.Fatal(err)
		}
		if id, err := config.NodeID(home); err != nil || id != next {
			t.Errorf("%s, want %s: %v", id, next, err)
		}
		if id, err := home.LastNodeID(); err != nil || id != last {
			t.Errorf("the last is %s, want %s: %v", id, last, err)
		}
		if _, err := home.NextNodeID(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a next key is left: %v", err)
		}
		for _, path := range []string{home.NodeKeyFile(), home.LastNodeKeyFile()} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
	}
}

// A node whose validator key is in a signer looks at its next node key, too.
func TestANextNodeKeyNeedsNoValidatorKey(t *testing.T) {
	home, _ := newHome(t)
	made, err := home.Keys()
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	c.Signer.Listen, c.Signer.PublicKey = "unix://signer.sock", hex.EncodeToString(made.Validator)
	genesis, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(home.ValidatorKeyFile()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := home.PrepareNodeKey(); err != nil {
		t.Fatal(err)
	}
	n := &Node{home: home, config: c, genesis: genesis, log: quiet(t)}
	if err := n.takeNextNodeKey(); err != nil {
		t.Error(err)
	}
	if id, err := config.NodeID(home); err != nil || id != made.NodeID {
		t.Errorf("the node has the id %s, %v", id, err)
	}
}
