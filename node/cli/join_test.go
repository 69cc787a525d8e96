package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery/chancery/node/config"
)

// The ceremony asks two addresses at least, compares what they say, makes the home, and
// may be run again with the same keys until there is a state.
func TestJoinMakesAHomeThatTrustsWhatMembersAgreeOn(t *testing.T) {
	chain := onChain(t)
	genesis := chain.home().GenesisFile()
	const peer = "0123456789abcdef0123456789abcdef01234567@127.0.0.1:26656"
	s := newShell(t)
	address := chain.env[nodeVariable]
	join := func(more ...string) []string {
		return append([]string{
			"join", "--genesis", genesis, "--organisation", "did:chancery:quay", "--moniker", "quay-1",
			"--peers", peer, "--members", address + "," + strings.Replace(address, "127.0.0.1", "localhost", 1),
		}, more...)
	}
	s.fails(2, "at least two --members", "join", "--genesis", genesis, "--organisation", "did:chancery:quay", "--peers", peer, "--members", address)
	s.fails(2, "twice", join("--members", address)...)
	s.fails(2, "--organisation", join("--organisation", "quay")...)
	s.fails(2, "go together", join("--trust-height", "1")...)
	s.fails(1, "do not join before you know why", join("--trust-height", "1", "--trust-hash", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")...)
	s.fails(2, "persistent_peers", join("--peers", "nobody")...)
	s.fails(1, "was not made by chancery join", "join", "status", "--home", chain.env[homeVariable])
	if entries, err := os.ReadDir(s.env[homeVariable]); err == nil && len(entries) != 0 {
		t.Fatalf("what was refused left %v", entries)
	}

	made := s.json(join()...)
	if made["step"] != stepRequested || len(made["trusted_by"].([]any)) != 2 || len(made["next"].([]any)) < 4 {
		t.Errorf("%v", made)
	}
	c, err := config.Load(s.home())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Sync.Enabled() || c.Sync.TrustHash != made["trusted_hash"] || c.P2P.PersistentPeers[0] != peer {
		t.Errorf("%+v", c)
	}
	status := s.json("join", "status")
	if status["step"] != stepRequested || status["voting_power"] != 0.0 {
		t.Errorf("%v", status)
	}
	again := s.json(join("--trust-height", fmt.Sprint(made["trusted_height"]), "--trust-hash", made["trusted_hash"].(string))...)
	if again["node_id"] != made["node_id"] || again["trusted_height"] != made["trusted_height"] {
		t.Errorf("%v", again)
	}
	if err := os.MkdirAll(filepath.Join(s.home().Data(), "state.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.fails(1, "has a state already", join()...)
	if err := os.WriteFile(s.home().RestoringFile(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.json(join()...)
}
