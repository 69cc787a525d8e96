package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A flag goes before the environment, which goes before the file, which goes before the
// default.
func TestPrecedence(t *testing.T) {
	home := Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	text := "[p2p]\nlisten = \"127.0.0.1:1\"\npersistent_peers = [\"" + strings.Repeat("a", 40) + "@h:1\"]\n[node]\nmoniker = \"file\"\nlog_level = \"warn\"\n"
	if err := os.WriteFile(home.ConfigFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environment, err := Environment([]string{"PATH=/bin", "CHANCERY_SET_NODE_MONIKER=environment", "CHANCERY_SET_P2P_LISTEN=127.0.0.1:2", "CHANCERY_SET_CONSENSUS_TIMEOUT_COMMIT=1s"})
	if err != nil {
		t.Fatal(err)
	}
	peers := strings.Repeat("b", 40) + "@h:2," + strings.Repeat("c", 40) + "@h:3"
	flags, err := Flags("--set", []string{"p2p.listen=127.0.0.1:3", "p2p.persistent_peers=" + peers, "pool.max_bytes=2097152", "pool.max_organisation_bytes=1048576", "telemetry.pprof=true"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(home, append(environment, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	if c.P2P.Listen != "127.0.0.1:3" || c.Node.Moniker != "environment" || c.Node.LogLevel != "warn" || c.RPC.Listen != Default().RPC.Listen ||
		c.Consensus.Commit.Std() != time.Second || c.Pool.MaxBytes != 2<<20 || !c.Telemetry.Pprof ||
		!reflect.DeepEqual(c.P2P.PersistentPeers, strings.Split(peers, ",")) {
		t.Errorf("%+v", c)
	}
}

// What is not known is refused with the nearest that is, wherever it was given.
func TestUnknownNames(t *testing.T) {
	if _, err := Environment([]string{"CHANCERY_SET_P2P_LISTENS=x"}); err == nil || !strings.Contains(err.Error(), "did you mean CHANCERY_SET_P2P_LISTEN?") {
		t.Error(err)
	}
	c := Default()
	if err := c.apply(Override{Key: "p2p.lissten", Value: "x", From: "--set"}); err == nil || !strings.Contains(err.Error(), "did you mean p2p.listen?") {
		t.Error(err)
	}
	if _, err := Parse([]byte("[pool]\nmax_byte = 3\n")); err == nil || !strings.Contains(err.Error(), "did you mean pool.max_bytes?") {
		t.Error(err)
	}
	if _, err := Flags("--set", []string{"p2p.listen"}); err == nil {
		t.Error("a flag without a value is taken")
	}
	for _, o := range []Override{
		{Key: "pool.max_bytes", Value: "many"}, {Key: "consensus.timeout_commit", Value: "3 apples"}, {Key: "webhook.url", Value: "x"},
		{Key: "pool.max_bytes", Value: "1\n[node]\nmoniker = \"x\""}, {Key: "node", Value: "x"}, {Key: "", Value: ""},
	} {
		if err := c.apply(o); err == nil {
			t.Errorf("%v is taken", o)
		}
	}
}
