package cli

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInitMakesAHomeOnce(t *testing.T) {
	genesis := onChain(t).home().GenesisFile()
	s := newShell(t)
	made := s.json("init", "--moniker", "mercy-1", "--genesis", genesis)
	if len(made["node_id"].(string)) != 40 || made["moniker"] != "mercy-1" {
		t.Errorf("%v", made)
	}
	raw, err := hex.DecodeString(made["validator_key"].(string))
	if err != nil || base64.StdEncoding.EncodeToString(raw) != made["validator_key_base64"] {
		t.Errorf("%v", made)
	}
	s.ok("genesis", "validate")
	s.fails(1, "home already", "init")

	fresh := newShell(t)
	fresh.fails(1, "chancery init", "start")
	if o := fresh.run("init"); o.code != 0 || !strings.Contains(o.err, "genesis file") {
		t.Errorf("%v", o)
	}
	fresh.fails(1, "does not exist", "start")
	fresh = newShell(t)
	fresh.fails(2, "moniker", "init", "--moniker", "no names\n")
	fresh.fails(1, "genesis", "init", "--genesis", fresh.file("g.json", "{}"))
	if entries, err := os.ReadDir(fresh.env[homeVariable]); err != nil || len(entries) != 0 {
		t.Errorf("a refused init left %v, %v", entries, err)
	}
}

func TestResetKeepsWhatTheValidatorSigned(t *testing.T) {
	s := newShell(t)
	s.fails(5, "holds no data", "reset")
	s.ok("init")
	data := s.home().Data()
	for _, dir := range []string{"state.db", "blockstore.db"} {
		if err := os.MkdirAll(filepath.Join(data, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.in = strings.NewReader("n\n")
	s.fails(1, "nothing was changed", "reset")
	if _, err := os.Stat(filepath.Join(data, "state.db")); err != nil {
		t.Error(err)
	}
	s.ok("reset", "--yes")
	if _, err := os.Stat(filepath.Join(data, "state.db")); err == nil {
		t.Error("the state is still there")
	}
	for _, path := range []string{s.home().ValidatorStateFile(), s.home().ValidatorKeyFile(), s.home().NodeKeyFile(), s.home().ConfigFile()} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	// Not under a running node.
	lock, err := (&app{home: s.env[homeVariable]}).occupy()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s.fails(1, "a node is running", "reset", "--yes")
	s.fails(1, "a node is running", "start")
}
