package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the table in docs/operating.md")

func TestWhatIsWrittenIsRead(t *testing.T) {
	c := Default()
	c.Node.Moniker = "alpha-1"
	c.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@10.1.2.3:26656", strings.Repeat("b", 40) + "@node.example:26656"}
	c.RPC.Listen, c.RPC.TLSCert, c.RPC.TLSKey, c.RPC.ClientCA = "0.0.0.0:9090", `certs\"server".pem`, "key.pem", "ca.pem"
	c.Consensus.DoubleSignHeights = 10
	c.State.NoSync = true
	c.Intelligence.Indicators, c.Intelligence.Feed, c.Intelligence.Adaptive = "iocs.csv", "127.0.0.1:1", false
	for _, name := range []string{"pager", "board"} {
		w := DefaultWebhook()
		w.Name, w.URL, w.SecretFiles, w.SecretEnv = name, "https://"+name+".example/hook", []string{"config/" + name}, []string{}
		w.Types, w.MaxAttempts = []string{"chancery.threat.v1.TxHeld"}, 0
		c.Webhooks = append(c.Webhooks, w)
	}
	home := Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	if err := Write(home, c); err != nil {
		t.Fatal(err)
	}
	got, err := Load(home)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Fatalf("read %+v, wrote %+v", got, c)
	}
	if empty, err := Parse(nil); err != nil || !reflect.DeepEqual(empty, Default()) {
		t.Fatalf("an empty file is not the default: %+v, %v", empty, err)
	}
	if left, err := filepath.Glob(home.path("config/chancery.toml.*")); err != nil || len(left) > 0 {
		t.Fatalf("files left behind: %v, %v", left, err)
	}
}

func TestUnknownKeysAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"[rpc]\nlisten = \"127.0.0.1:1\"\nlimit = 3\n": "rpc.limit",
		"[wire]\nx = 1\n":            "wire",
		"top = 1\n":                  "top",
		"[node]\nMoniker_ = \"x\"\n": "node.Moniker_",
		"[[webhook]]\nname = \"a\"\nsecret = \"whsec_x\"\n": "webhook.secret",
		"[consensus]\ntimeout_comit = \"1s\"\n[rpc]\na=1\n": "consensus.timeout_comit, did you mean consensus.timeout_commit?; rpc.a",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "unknown keys") {
			t.Errorf("%q: %v, want it to name %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"[rpc]\nlisten = 3\n":           "line 2",
		"[rpc\n":                        "line 2",
		"[rpc]\ndeadline = \"soon\"\n":  "is no duration",
		"[rpc]\nmax_calls = \"many\"\n": "line 2",
		"[rpc]\nlisten='a'\nlisten='b'": "line 3",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %s", text, err, want)
		}
	}
}

// syncing is a configuration that begins with a snapshot.
func syncing() Config {
	c := Default()
	c.P2P.PersistentPeers = []string{strings.Repeat("0", 40) + "@127.0.0.1:1"}
	c.Sync.Servers, c.Sync.TrustHeight, c.Sync.TrustHash = []string{"a.example:1", "b.example:1"}, 1, strings.Repeat("0", 64)
	return c
}

func TestCheckNamesTheKey(t *testing.T) {
	for _, c := range []Config{Default(), syncing()} {
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for key, spoil := range map[string]func(c *Config){
		"node.moniker":                    func(c *Config) { c.Node.Moniker = "two words" },
		"node.log_level":                  func(c *Config) { c.Node.LogLevel = "loud" },
		"node.log_format":                 func(c *Config) { c.Node.LogFormat = "xml" },
		"node.workers":                    func(c *Config) { c.Node.Workers = -1 },
		"node.garbage_percent":            func(c *Config) { c.Node.GarbagePercent = 0 },
		"node.memory_limit_bytes":         func(c *Config) { c.Node.MemoryLimit = 1 << 20 },
		"rpc.listen":                      func(c *Config) { c.RPC.Listen = "0.0.0.0:9090" },
		"rpc.tls_cert":                    func(c *Config) { c.RPC.TLSCert = "cert.pem" },
		"rpc.max_connections":             func(c *Config) { c.RPC.MaxConnections = 0 },
		"rpc.max_streams":                 func(c *Config) { c.RPC.MaxStreams = 0 },
		"rpc.max_calls":                   func(c *Config) { c.RPC.MaxCalls = 0 },
		"rpc.max_subscribers":             func(c *Config) { c.RPC.MaxSubscribers = 0 },
		"rpc.max_message_bytes":           func(c *Config) { c.RPC.MaxMessage = 1 << 30 },
		"rpc.deadline":                    func(c *Config) { c.RPC.Deadline = 0 },
		"rpc.max_deadline":                func(c *Config) { c.RPC.MaxDeadline = 1 },
		"rpc.slow_reader":                 func(c *Config) { c.RPC.SlowReader = 0 },
		"rpc.handshake":                   func(c *Config) { c.RPC.Handshake = 0 },
		"rpc.idle":                        func(c *Config) { c.RPC.Idle = 0 },
		"rpc.keepalive":                   func(c *Config) { c.RPC.Keepalive = 0 },
		"rpc.heartbeat":                   func(c *Config) { c.RPC.Heartbeat = 0 },
		"snapshots.interval":              func(c *Config) { c.Snapshots.Interval = -1 },
		"snapshots.keep":                  func(c *Config) { c.Snapshots.Keep = 11 },
		"sync.servers":                    func(c *Config) { *c = syncing(); c.Sync.Servers = c.Sync.Servers[:1] },
		"sync.trust_height":               func(c *Config) { *c = syncing(); c.Sync.TrustHeight = 0 },
		"sync.trust_hash":                 func(c *Config) { *c = syncing(); c.Sync.TrustHash = "00" },
		"sync.trust_period":               func(c *Config) { *c = syncing(); c.Sync.TrustPeriod = 1 },
		"p2p.listen":                      func(c *Config) { c.P2P.Listen = "26656" },
		"p2p.external_address":            func(c *Config) { c.P2P.ExternalAddress = "here" },
		"p2p.persistent_peers":            func(c *Config) { c.P2P.PersistentPeers = []string{"node.example:26656"} },
		"p2p.max_inbound":                 func(c *Config) { c.P2P.MaxInbound = 0 },
		"p2p.send_rate":                   func(c *Config) { c.P2P.SendRate = 1 },
		"p2p.recv_rate":                   func(c *Config) { c.P2P.RecvRate = 1 },
		"consensus.timeout_propose":       func(c *Config) { c.Consensus.Propose = 0 },
		"consensus.timeout_propose_delta": func(c *Config) { c.Consensus.ProposeDelta = 0 },
		"consensus.timeout_vote":          func(c *Config) { c.Consensus.Vote = 0 },
		"consensus.timeout_vote_delta":    func(c *Config) { c.Consensus.VoteDelta = 0 },
		"consensus.timeout_commit":        func(c *Config) { c.Consensus.Commit = -1 },
		"consensus.next_block_delay":      func(c *Config) { c.Consensus.NextBlockDelay = c.Consensus.Propose/2 + 1 },
		"consensus.gossip_sleep":          func(c *Config) { c.Consensus.GossipSleep = 0 },
		"consensus.flush_throttle":        func(c *Config) { c.Consensus.FlushThrottle = 0 },
		"consensus.reap_interval":         func(c *Config) { c.Consensus.ReapInterval = 0 },
		"consensus.double_sign_check":     func(c *Config) { c.Consensus.DoubleSignHeights = -1 },
		"pool.max_bytes":                  func(c *Config) { c.Pool.MaxBytes = 0 },
		"pool.max_organisation_bytes":     func(c *Config) { c.Pool.MaxLaneBytes = c.Pool.MaxBytes + 1 },
		"state.tree":                      func(c *Config) { c.State.Tree = "paper" },
		"state.keep_versions":             func(c *Config) { c.State.KeepVersions = 0 },
		"state.keep_bytes":                func(c *Config) { c.State.KeepBytes = 0 },
		"state.backend":                   func(c *Config) { c.State.Backend = "rocksdb" },
		"state.block_cache":               func(c *Config) { c.State.BlockCache = 0 },
		"state.node_cache":                func(c *Config) { c.State.NodeCache = 0 },
		"state.value_cache":               func(c *Config) { c.State.ValueCache = 0 },
		"telemetry.listen":                func(c *Config) { c.Telemetry.Listen = "192.0.2.1:26660" },
		"watchdog.stall_seconds":          func(c *Config) { c.Watchdog.StallSeconds = 0 },
		"watchdog.exit_seconds":           func(c *Config) { c.Watchdog.ExitSeconds = 1 },
		"forecast.bucket":                 func(c *Config) { c.Forecast.Bucket = 7 },
		"forecast.buckets":                func(c *Config) { c.Forecast.Buckets = 1 },
		"forecast.hours":                  func(c *Config) { c.Forecast.Hours = 1 },
		"forecast.subjects":               func(c *Config) { c.Forecast.Subjects = -1 },
		"intelligence.indicators":         func(c *Config) { c.Intelligence.Indicators = "iocs.txt" },
		"intelligence.opinions":           func(c *Config) { c.Intelligence.Opinions = "opinions" },
		"intelligence.poll":               func(c *Config) { c.Intelligence.Poll = 1 },
		"intelligence.look_back_blocks":   func(c *Config) { c.Intelligence.LookBack = -1 },
		"intelligence.adaptive_budget":    func(c *Config) { c.Intelligence.Budget = 0 },
		"intelligence.feed_address":       func(c *Config) { c.Intelligence.Feed = "feed.example:1" },
		"intelligence.feed_tls_ca":        func(c *Config) { c.Intelligence.Feed, c.Intelligence.FeedCA = "127.0.0.1:1", "ca.pem" },
		"intelligence.feed_timeout":       func(c *Config) { c.Intelligence.Feed, c.Intelligence.FeedTimeout = "127.0.0.1:1", 1 },
		"intelligence.feed_interval":      func(c *Config) { c.Intelligence.Feed, c.Intelligence.FeedPause = "127.0.0.1:1", 1 },
		"intelligence.feed_queue":         func(c *Config) { c.Intelligence.Feed, c.Intelligence.FeedQueue = "127.0.0.1:1", 1 },
		"intelligence.feed_failures":      func(c *Config) { c.Intelligence.Feed, c.Intelligence.Failures = "127.0.0.1:1", 0 },
		"intelligence.feed_open_for":      func(c *Config) { c.Intelligence.Feed, c.Intelligence.OpenFor = "127.0.0.1:1", 1 },
		"intelligence.feed_max_open":      func(c *Config) { c.Intelligence.Feed, c.Intelligence.MaxOpen = "127.0.0.1:1", 1 },
		`webhook: endpoint ""`:            func(c *Config) { c.Webhooks = []Webhook{{}} },
		"forecast.look_back":              func(c *Config) { c.Forecast.LookBack = -1 },
	} {
		c := Default()
		spoil(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A table of a list has its own defaults, and the file without any says how one looks.
func TestWebhooksAreAList(t *testing.T) {
	c, err := Parse([]byte(`
[[webhook]]
name = "pager"
url = "https://pager.example/hook"
secret_env = ["PAGER_SECRET"]
[[webhook]]
name = "board"
url = "http://127.0.0.1:8080/"
secret_files = ["config/board.secret"]
max_attempts = 0
timeout = "1s"
`))
	if err != nil {
		t.Fatal(err)
	}
	d := DefaultWebhook()
	want := []Webhook{
		{Name: "pager", URL: "https://pager.example/hook", SecretEnv: []string{"PAGER_SECRET"}, Timeout: d.Timeout, MaxAttempts: d.MaxAttempts},
		{Name: "board", URL: "http://127.0.0.1:8080/", SecretFiles: []string{"config/board.secret"}, Timeout: Duration(time.Second)},
	}
	if !reflect.DeepEqual(c.Webhooks, want) {
		t.Fatalf("read %+v", c.Webhooks)
	}
	if text := string(Default().Bytes()); !strings.Contains(text, "\n#[[webhook]]\n") || !strings.Contains(text, "\n#max_attempts = 30\n") {
		t.Errorf("the file does not say how a webhook is written:\n%s", text)
	}
	for text, want := range map[string]string{
		"[[webhook]]\nname = \"a\"\nurl = \"https://user:word@a.example\"\nsecret_env = [\"A\"]\n": "must not hold a name or password",
		"[[webhook]]\nname = \"a\"\nurl = \"https://a.example\"\n":                                 "name at least one",
		"[webhook]\nname = \"a\"\n": "webhook",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %s", text, err, want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, "[::]:1": false, ":1": false, "10.0.0.1:1": false, "node.example:1": false, "localhost": false, "": false,
	} {
		if got := Loopback(address); got != want {
			t.Errorf("Loopback(%q) is %v", address, got)
		}
	}
}

// TestEngine holds what the design says of the engine's traps against what the
// engine is told.
func TestEngine(t *testing.T) {
	c := Default()
	c.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@127.0.0.1:1", strings.Repeat("b", 40) + "@127.0.0.1:2"}
	e, err := c.Engine("/home/x")
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"the mempool is the application's":                       e.Mempool.Type == "app",
		"it is reaped often":                                     e.Mempool.ReapInterval == 5*time.Millisecond,
		"peers are asked for on the chain":                       e.FilterPeers,
		"nothing is discovered":                                  !e.P2P.PexReactor && e.P2P.Seeds == "",
		"all peers are listed":                                   strings.Count(e.P2P.PersistentPeers, ",") == 1,
		"empty blocks are made, without a pause of the engine's": e.Consensus.CreateEmptyBlocks && e.Consensus.CreateEmptyBlocksInterval == 0,
		"commits wait for late votes while there are some":       e.Consensus.TimeoutCommit == 100*time.Millisecond && e.Consensus.SkipTimeoutCommit,
		"gossip is quick":                                        e.Consensus.PeerGossipSleepDuration == 10*time.Millisecond && e.P2P.FlushThrottleTimeout == time.Millisecond,
		"adaptive sync is off":                                   !e.BlockSync.AdaptiveSync,
		"the engine has no door of its own":                      e.RPC.ListenAddress == "" && e.RPC.GRPCListenAddress == "" && e.RPC.PprofListenAddress == "",
		"the engine has no listener for metrics":                 e.Instrumentation.PrometheusListenAddr == "",
		"the engine indexes nothing":                             e.TxIndex.Indexer == "null",
		"the state is not in the engine's folder": e.DBDir() == filepath.FromSlash("/home/x/data/engine") &&
			strings.HasPrefix(e.Consensus.WalFile(), filepath.FromSlash("/home/x/data/engine/")),
		"the validator's keys are the home's": e.PrivValidatorKeyFile() == Home("/home/x").ValidatorKeyFile() &&
			e.PrivValidatorStateFile() == Home("/home/x").ValidatorStateFile() && e.NodeKeyFile() == Home("/home/x").NodeKeyFile(),
		"several nodes may share loopback": e.P2P.AllowDuplicateIP,
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	c.P2P.Listen = "0.0.0.0:26656"
	if e, err = c.Engine("/home/x"); err != nil || e.P2P.AllowDuplicateIP {
		t.Errorf("peers may share an address that is not loopback: %v", err)
	}
}

func TestKeysAreMadeOnce(t *testing.T) {
	home := Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	made, err := home.CreateKeys()
	if err != nil {
		t.Fatal(err)
	}
	if len(made.NodeID) != 40 || len(made.Validator) != 32 || len(made.ValidatorAddress) != 40 {
		t.Fatalf("made %+v", made)
	}
	read, err := home.Keys()
	if err != nil || !reflect.DeepEqual(read, made) {
		t.Fatalf("read %+v, made %+v: %v", read, made, err)
	}
	for _, path := range []string{home.NodeKeyFile(), home.ValidatorKeyFile(), home.ValidatorStateFile()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	if _, err := home.CreateKeys(); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("keys are replaced: %v", err)
	}
}

// TestOperatingGuideListsEveryKey holds the table in docs/operating.md against the
// configuration; -rewrite brings it up to date.
func TestOperatingGuideListsEveryKey(t *testing.T) {
	const begin, end = "<!-- keys: written by go test ./node/config -rewrite -->\n", "<!-- end of keys -->\n"
	path := filepath.FromSlash("../../docs/operating.md")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s lacks the marks of the table", path)
	}
	var table bytes.Buffer
	table.WriteString("\n")
	section := ""
	for _, k := range Keys() {
		if k.Section != section {
			section = k.Section
			heading := "[" + section + "]"
			if k.List {
				heading = "[" + heading + "]"
			}
			fmt.Fprintf(&table, "### %s\n\n%s\n\n| Key | Default | Meaning |\n|---|---|---|\n", heading, sectionDoc(t, section))
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", k.Name, k.Default, strings.ReplaceAll(k.Doc, "|", `\|`))
		if last := lastOf(section); k.Name == last {
			table.WriteString("\n")
		}
	}
	want := head + begin + table.String() + end + tail
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Fatalf("the table of keys in %s is not what the configuration says; run go test ./node/config -rewrite", path)
	}
}

func lastOf(section string) (name string) {
	for _, k := range Keys() {
		if k.Section == section {
			name = k.Name
		}
	}
	return name
}

func sectionDoc(t *testing.T, section string) string {
	t.Helper()
	for i := range reflect.TypeFor[Config]().NumField() {
		if tag := reflect.TypeFor[Config]().Field(i).Tag; tag.Get("toml") == section {
			return tag.Get("doc")
		}
	}
	t.Fatalf("no section %s", section)
	return ""
}

// TestEveryKeyIsDocumented: a key without a doc tag would have no comment and no
// row.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, k := range Keys() {
		if k.Name == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("[%s] %s is documented as %q", k.Section, k.Name, k.Doc)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Default().Bytes())
	f.Add([]byte("[[webhook]]\nname = \"a\"\nurl = \"https://a.example\"\nsecret_env = [\"A\"]\n"))
	f.Add([]byte("webhook = []\n"))
	f.Add([]byte("[rpc]\nlisten = \"127.0.0.1:9090\"\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err != nil {
			return
		}
		// What was accepted can be written and is then the same.
		var again Config
		if _, err := toml.Decode(string(c.Bytes()), &again); err != nil {
			t.Fatal(err)
		}
		if len(c.P2P.PersistentPeers) == 0 {
			c.P2P.PersistentPeers, again.P2P.PersistentPeers = nil, nil
		}
		for _, all := range [][]Webhook{c.Webhooks, again.Webhooks} {
			for i := range all {
				for _, list := range []*[]string{&all[i].SecretFiles, &all[i].SecretEnv, &all[i].Types} {
					if len(*list) == 0 {
						*list = nil
					}
				}
			}
		}
		if len(c.Webhooks) == 0 {
			c.Webhooks, again.Webhooks = nil, nil
		}
		if !reflect.DeepEqual(again, c) {
			t.Fatalf("wrote %+v, read %+v", c, again)
		}
	})
}

// A genesis document that is taken is taken again as it is written.
func FuzzParseGenesis(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"genesis_time":"2026-01-01T00:00:00Z","chain_id":"ward-1","initial_height":"1","validators":[],"app_hash":"","app_state":{}}`))
	f.Add([]byte(`{"chain_id":"ward-1","initial_height":"9223372036854775807","consensus_params":{"block":{"max_bytes":"-2"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := ParseGenesis(raw)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "genesis.json")
		if err := WriteGenesis(path, g); err != nil {
			t.Fatalf("%q is taken and cannot be written: %v", raw, err)
		}
		again, _, err := ReadGenesis(path)
		if err != nil || again.ChainID != g.ChainID || !again.GenesisTime.Equal(g.GenesisTime) {
			t.Fatalf("%q reads back as %v, %v", raw, again, err)
		}
	})
}

// A node's key that others may read is refused with what mends it.
func TestKeysThatLieOpenAreRefused(t *testing.T) {
	h := Home(t.TempDir())
	if err := h.Create(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateKeys(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{h.NodeKeyFile(), h.ValidatorKeyFile()} {
		if _, err := h.Keys(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Keys(); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("%s: %v", path, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIssuersOfTokens(t *testing.T) {
	const door = "[rpc]\ntls_cert = \"a\"\ntls_key = \"b\"\n"
	const one = "[[oidc]]\nissuer = \"https://id.example\"\norganisation = \"did:chancery:alpha\"\naudience = \"a\"\n"
	c, err := Parse([]byte(door + one + "subjects = [\"a=b=did:chancery:alpha:x\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	i, err := c.OIDC[0].Provider()
	if err != nil || i.Subjects["a=b"] != "did:chancery:alpha:x" || i.Claim != "" || i.Skew != 30*time.Second || len(i.Algorithms) != 3 {
		t.Errorf("the issuer is %+v (%v)", i, err)
	}
	if again, err := Parse(c.Bytes()); err != nil || !reflect.DeepEqual(again.OIDC, c.OIDC) {
		t.Errorf("written and read again: %+v (%v)", again.OIDC, err)
	}
	for text, want := range map[string]string{
		one:                                    "take no tokens",
		door + one + one:                       "given twice",
		door + one + "subjects = [\"x\"]\n":    "SUBJECT=DID",
		door + one + "claim = \"\"\n":          "either a claim",
		door + one + "algorithms = [\"none\"]": "not one of",
		door + one + "keys = \"k\"\ntls_ca = \"c\"\n": "no effect",
		"[rest]\nlisten = \"0.0.0.0:80\"\n":           "rest.listen: 0.0.0.0:80 is not loopback",
		"[rest]\nlisten = \"127.0.0.1:9090\"\n":       "is rpc.listen too",
		"[rest]\nlisten = \"x\"\n":                    "rest.listen: \"x\" is not host:port",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
