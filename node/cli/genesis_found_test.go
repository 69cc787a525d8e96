package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery/chancery/node/config"
)

const begins = "2027-01-15T09:00:00Z"

// founderShell is the machine of a founding organisation, with its part.
type founderShell struct {
	*shell
	part string
}

func newFounder(t *testing.T, slug string, power int) *founderShell {
	t.Helper()
	s := &founderShell{shell: newShell(t), part: filepath.Join(t.TempDir(), slug+".part.json")}
	s.ok("init", "--moniker", slug+"-1", "--set", "rpc.development=true", "--set", "p2p.listen=0.0.0.0:26656")
	s.ok("keys", "create", "admin-1")
	ca := filepath.Join(t.TempDir(), "ca")
	s.ok("certs", "ca", "--name", slug, "--out", ca)
	s.ok("genesis", "part", "--chain-id", "records-1", "--organisation", "did:chancery:"+slug, "--administrator", "admin-1",
		"--authority", ca+".der", "--address", slug+".example:26656", "--power", fmt.Sprint(power), "--out", s.part)
	return s
}

// Three organisations make one genesis file, each by itself, and a stranger's file is
// not taken.
func TestOrganisationsFoundAConsortium(t *testing.T) {
	all := []*founderShell{newFounder(t, "mercy", 10), newFounder(t, "northside", 10), newFounder(t, "harbour", 10)}
	second := newShell(t) // another machine of harbour's
	second.ok("init", "--moniker", "harbour-2", "--set", "rpc.development=true")
	further := filepath.Join(t.TempDir(), "harbour-2.part.json")
	second.ok("genesis", "part", "--chain-id", "records-1", "--organisation", "did:chancery:harbour", "--address", "harbour-2.example:26656", "--out", further)
	parts := []string{all[0].part, all[1].part, all[2].part, further}

	hashes := make(map[string]bool)
	var file, voice string
	for i, s := range all {
		file = filepath.Join(t.TempDir(), "genesis.json")
		args := append([]string{"genesis", "assemble", "--chain-id", "records-1", "--time", begins, "--out", file}, parts[i:]...)
		made := s.json(append(args, parts[:i]...)...)
		hashes[made["sha256"].(string)] = true
		voice = made["by_voice"].(string)
		if strings.ReplaceAll(voice, " ", "") != made["sha256"] {
			t.Errorf("%v", made)
		}
		who := fmt.Sprint(made["organisations"])
		if strings.Count(who, "stands still without") != 1 || !strings.Contains(who, "did:chancery:harbour: 1 of 1 administrators, 2 validators, power 20; the chain stands still") {
			t.Error(who)
		}
	}
	if len(hashes) != 1 {
		t.Fatalf("the organisations made different files: %v", hashes)
	}
	all[0].ok("genesis", "validate", file)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"learning_until"`, `"authorities"`, `"mode": "MODE_ENFORCE"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the genesis file lacks %s", want)
		}
	}

	s := all[1]
	s.ok(append([]string{"genesis", "install", file, "--sha256", strings.ToUpper(voice)}, parts...)...)
	c, err := config.Load(s.home())
	if err != nil || len(c.P2P.PersistentPeers) != 3 || strings.Contains(fmt.Sprint(c.P2P.PersistentPeers), "northside") || c.P2P.Listen != "0.0.0.0:26656" {
		t.Errorf("%v, %v", c.P2P, err)
	}
	s.ok(append([]string{"genesis", "install", file, "--sha256", voice}, parts...)...) // again
	installed, err := os.ReadFile(s.home().GenesisFile())
	if err != nil || string(installed) != string(raw) {
		t.Errorf("the home has another file (%v)", err)
	}

	other := filepath.Join(t.TempDir(), "other.json")
	made := s.json(append([]string{"genesis", "assemble", "--chain-id", "records-1", "--time", begins, "--no-detector", "--out", other}, parts...)...)
	s.fails(1, "another genesis file", append([]string{"genesis", "install", other, "--sha256", made["sha256"].(string)}, parts...)...)
	z := all[2]
	z.fails(1, "not the one that you give", append([]string{"genesis", "install", other, "--sha256", voice}, parts...)...)
	z.fails(1, "none of the parts is of this home", "genesis", "install", file, parts[0], "--sha256", voice)
	stranger := newFounder(t, "quay", 10)
	z.fails(1, "assembled from other parts", append([]string{"genesis", "install", file, "--sha256", voice, stranger.part}, parts...)...)
	if _, err := os.Stat(z.home().GenesisFile()); err == nil {
		t.Error("a refused file is in the home")
	}
}

func TestPartsThatAreRefused(t *testing.T) {
	s := newFounder(t, "mercy", 10)
	raw, err := os.ReadFile(s.part)
	if err != nil {
		t.Fatal(err)
	}
	assemble := func(chain string, parts ...string) []string {
		return append([]string{"genesis", "assemble", "--chain-id", chain, "--time", begins, "--out", filepath.Join(t.TempDir(), "g.json")}, parts...)
	}
	s.ok(assemble("records-1", s.part)...)
	s.fails(1, `for the chain "records-1"`, assemble("records-2", s.part)...)
	s.fails(1, "two parts register", assemble("records-1", s.part, s.part)...)
	s.fails(2, "--time", "genesis", "assemble", "--chain-id", "a-1", "--time", "tomorrow", "--out", "x", s.part)
	s.fails(2, "required", "genesis", "assemble", s.part)

	change := func(fn func(map[string]any)) string {
		var v map[string]any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		fn(v)
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return s.file("changed.json", string(out))
	}
	messages := func(v map[string]any) []any { return v["messages"].([]any) }
	for want, fn := range map[string]func(map[string]any){
		"proof of possession":  func(v map[string]any) { v["chain_id"] = "records-2" },
		"host:port":            func(v map[string]any) { v["address"] = "mercy.example" },
		"lacks bind_validator": func(v map[string]any) { v["messages"] = messages(v)[:2] },
		"one of that kind":     func(v map[string]any) { v["messages"] = append(messages(v), messages(v)[3]) },
		"no part registers":    func(v map[string]any) { v["messages"] = messages(v)[2:] },
		"belong into the part": func(v map[string]any) { v["messages"] = messages(v)[1:] },
		"unknown field":        func(v map[string]any) { v["more"] = 1 },
		"register_organisation, ": func(v map[string]any) {
			v["messages"] = append(messages(v), map[string]any{"unbind_node": map[string]any{}})
		},
		"voting power is 0": func(v map[string]any) {
			delete(messages(v)[2].(map[string]any)["bind_validator"].(map[string]any), "power")
		},
		"and binds a validator of": func(v map[string]any) {
			messages(v)[2].(map[string]any)["bind_validator"].(map[string]any)["organisation"] = "did:chancery:acme"
		},
	} {
		s.fails(1, want, assemble("records-1", change(fn))...)
	}

	out := filepath.Join(t.TempDir(), "p.json")
	part := func(more ...string) []string {
		return append([]string{"genesis", "part", "--chain-id", "records-1", "--out", out}, more...)
	}
	s.fails(2, "did:chancery:SLUG", part("--organisation", "mercy", "--address", "a:1")...)
	s.fails(2, "host:port", part("--organisation", "did:chancery:mercy", "--address", "a")...)
	s.fails(2, "--authority goes with", part("--organisation", "did:chancery:mercy", "--address", "a:1", "--authority", "x")...)
	s.fails(1, "nobody of did:chancery:acme", part("--organisation", "did:chancery:acme", "--address", "a:1", "--administrator", "admin-1")...)
	s.fails(5, "no such key", part("--organisation", "did:chancery:mercy", "--address", "a:1", "--administrator", "nobody")...)
	s.fails(2, "threshold must be", part("--organisation", "did:chancery:mercy", "--address", "a:1", "--administrator", "admin-1", "--threshold", "3")...)
	s.fails(1, "no certificate", part("--organisation", "did:chancery:mercy", "--address", "a:1", "--administrator", "admin-1", "--authority", s.file("x.der", "x"))...)
	if _, err := os.Stat(out); err == nil {
		t.Error("a refused call left a part")
	}
	// Its key stays the administrator's whom it was bound to at first.
	s.ok(part("--organisation", "did:chancery:mercy", "--address", "a:1", "--administrator", "admin-1")...)
	who := s.json("keys", "show", "admin-1")["did"].(string)
	for _, path := range []string{s.part, out} {
		if raw, err := os.ReadFile(path); err != nil || !strings.Contains(string(raw), who) {
			t.Errorf("%s does not name %s (%v)", path, who, err)
		}
	}
	s.fails(1, "exists already", part("--organisation", "did:chancery:mercy", "--address", "a:1")...)
}

func TestANextNodeKeyIsPreparedOnce(t *testing.T) {
	s := newShell(t)
	s.fails(1, "node key", "node-key", "show")
	s.ok("init", "--set", "rpc.development=true")
	before := s.json("node-key", "show")
	if len(before["node_id"].(string)) != 40 || before["next"] != "" || before["last"] != "" {
		t.Errorf("%v", before)
	}
	made := s.json("node-key", "prepare")
	if len(made["next"].(string)) != 40 || made["next"] == made["node_id"] || made["node_id"] != before["node_id"] {
		t.Errorf("%v", made)
	}
	if again := s.json("node-key", "prepare"); again["next"] != made["next"] {
		t.Error("a second call made another key")
	}
	if info, err := os.Stat(s.home().NextNodeKeyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(s.home().NextNodeKeyFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	s.fails(1, "chmod 600", "node-key", "show")
	s.fails(1, "chmod 600", "node-key", "prepare")
}

func TestInitWritesWhatIsSet(t *testing.T) {
	s := newShell(t)
	s.fails(2, "no key rpc.lisden", "init", "--set", "rpc.lisden=1")
	s.fails(2, "not loopback", "init", "--set", "rpc.listen=192.0.2.1:9090")
	if o := s.run("init", "--set", "p2p.listen=192.0.2.1:26656"); o.code != 0 || !strings.Contains(o.err, "rpc.tls_cert") {
		t.Errorf("%v", o)
	}
	c, err := config.Load(s.home())
	if err != nil || c.P2P.Listen != "192.0.2.1:26656" || c.RPC.Development {
		t.Errorf("%+v, %v", c.P2P, err)
	}
}
