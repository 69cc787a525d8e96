package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/doctor"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

var rewrite = flag.Bool("rewrite", false, "write docs/doctor.md anew")

// docs/doctor.md is the table of checks. A code is permanent: the diff shows one that goes
// away.
func TestDocument(t *testing.T) {
	const path = "../../docs/doctor.md"
	if *rewrite {
		if err := os.WriteFile(path, []byte(doctor.Document()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != doctor.Document() {
		t.Fatalf("docs/doctor.md is not what the checks are (%v); run the test with -rewrite and look at the difference", err)
	}
	seen := map[string]bool{}
	for _, c := range doctor.Checks() {
		if seen[c.Code] || c.Remedy == "" || c.What == "" || c.Level == "" {
			t.Errorf("%+v: want a code of its own, what must be so, a remedy and a level", c)
		}
		seen[c.Code] = true
	}
}

// patient is a home that a test makes ill.
type patient struct {
	t      *testing.T
	home   config.Home
	config config.Config
	o      doctor.Options
}

// newPatient is the home of one of the validators of a consortium; with one it can run.
func newPatient(t *testing.T, validators int) *patient {
	t.Helper()
	home := config.Home(filepath.Join(t.TempDir(), "home"))
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(string(home), 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := home.CreateKeys()
	if err != nil {
		t.Fatal(err)
	}
	var founding identity.Founding
	founding.At, founding.Threshold = time.Now().Add(-time.Minute).UnixMilli(), 1
	for i := range validators {
		did := fmt.Sprintf("did:chancery:member-%d", i)
		signer, err := keys.NewSigner(keys.Ed25519, []byte(strings.Repeat(string(rune('a'+i)), keys.SeedSize)))
		if err != nil {
			t.Fatal(err)
		}
		key := made.Validator
		if i > 0 {
			other, err := keys.NewSigner(keys.Ed25519, []byte(strings.Repeat(string(rune('A'+i)), keys.SeedSize)))
			if err != nil {
				t.Fatal(err)
			}
			key = other.Public().Bytes
		}
		founder := identity.Founder{
			DID: did, Threshold: 1,
			Members: []identity.FoundingMember{{
				DID: did + ":" + strings.Repeat("a", 26), Kind: identityv1.Kind_KIND_PERSON, Administrator: true,
				Keys: []identity.FoundingKey{{ID: "key-1", Public: signer.Public()}},
			}},
			Validators: []identity.FoundingValidator{{PublicKey: key, Power: 10, Moniker: fmt.Sprintf("member-%d", i)}},
		}
		if i == 0 {
			founder.Nodes = []string{made.NodeID}
		}
		founding.Organisations = append(founding.Organisations, founder)
	}
	founded, err := identity.NewGenesis(founding)
	if err != nil {
		t.Fatal(err)
	}
	section, err := chain.WriteGenesis(founded)
	if err != nil {
		t.Fatal(err)
	}
	params := threat.DefaultParams()
	params.Mode = threatv1.Mode_MODE_ENFORCE
	judged, err := chain.WriteGenesis(&threatv1.Genesis{Params: params})
	if err != nil {
		t.Fatal(err)
	}
	appState, err := json.Marshal(map[string]json.RawMessage{"identity": section, "threat": judged})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := node.NewGenesis("doctor-test", time.Now().Add(-time.Minute), appState)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.WriteGenesis(home.GenesisFile(), doc); err != nil {
		t.Fatal(err)
	}
	p := &patient{t: t, home: home, config: config.Default()}
	p.config.RPC.Listen, p.config.P2P.Listen, p.config.Telemetry.Listen = free(t), free(t), free(t)
	p.config.RPC.Development = true
	p.config.Node.MemoryLimit = 512 << 20
	p.o = doctor.Options{
		Home: home, Version: "v1", MinFree: 1, Patience: 2 * time.Second, Cgroup: t.TempDir(), LargePages: t.TempDir(),
		Lookup: func(string) (string, bool) { return "", false },
	}
	p.write()
	return p
}

// free is an address of this machine that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *patient) write() {
	p.t.Helper()
	if err := config.Write(p.home, p.config); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) path(name string) string { return filepath.Join(string(p.home), name) }

// occupy listens until the test ends, and hangs up on whoever calls.
func (p *patient) occupy(address string) string {
	p.t.Helper()
	l, err := net.Listen("tcp", address)
	p.do(err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	p.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// certificate writes a pair that is valid from and until some time from now.
func (p *patient) certificate(from, until time.Duration, names ...string) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.do(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "member"}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	p.do(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	p.do(err)
	p.do(os.WriteFile(p.path("tls.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600))
	p.do(os.WriteFile(p.path("tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	p.config.RPC.TLSCert, p.config.RPC.TLSKey, p.config.RPC.ClientCA = "tls.pem", "tls.key", "tls.pem"
	p.write()
}

// start runs the node of the home until the test ends.
func (p *patient) start() *node.Node {
	p.t.Helper()
	n, err := node.Open(p.home, node.Options{Version: "v1", Log: slog.New(slog.DiscardHandler)})
	p.do(err)
	p.do(n.Start())
	p.t.Cleanup(func() { p.do(n.Stop()) })
	for end := time.Now().Add(60 * time.Second); n.Engine().Status().Height < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatal("no block after a minute")
		}
	}
	return n
}

// peer answers the doctor as another member's node.
func (p *patient) peer(change func(*doctor.Peer)) {
	peer := doctor.Peer{
		Address: "other:9090", At: time.Now(),
		Status: &nodev1.StatusResponse{ChainId: "doctor-test", Version: "v1", Time: time.Now().UnixMilli()},
	}
	change(&peer)
	p.o.Peers = func(context.Context) []doctor.Peer { return []doctor.Peer{peer} }
}

// A home that is well has no fault, and what is skipped says what it lacks.
func TestWell(t *testing.T) {
	p := newPatient(t, 1)
	for _, f := range doctor.Run(t.Context(), p.o).Findings {
		// Tests run on whatever disk there is, without certificates.
		if f.Level != doctor.Skipped && f.Code != "disk-kind" && f.Code != "trap-insecure" && f.Code != "open-files" {
			t.Errorf("%+v", f)
		}
		if f.Level == doctor.Skipped && !strings.Contains(f.Found, "it needs") {
			t.Errorf("%+v", f)
		}
	}
	entries, err := os.ReadDir(p.home.Data())
	p.do(err)
	if len(entries) != 1 {
		t.Errorf("the doctor left %v", entries)
	}
	r := doctor.Run(t.Context(), doctor.Options{Home: config.Home(p.path("nowhere")), Cgroup: t.TempDir(), LargePages: t.TempDir()})
	if r.Count(doctor.Fault) == 0 {
		t.Error("a home that does not exist is well")
	}
}

// Each fault is found by its check, which names a remedy, and goes away with it.
func TestFaults(t *testing.T) {
	for _, w := range []struct {
		code    string
		says    string
		provoke func(p *patient)
	}{
		{"config-present", "chancery.toml does not exist", func(p *patient) { p.do(os.Remove(p.home.ConfigFile())) }},
		{"config-keys", "did you mean pool.max_bytes?", func(p *patient) {
			p.do(os.WriteFile(p.home.ConfigFile(), []byte("[pool]\nmax_byte = 1\n"), 0o600))
		}},
		{"config-keys", "is no duration", func(p *patient) {
			p.do(os.WriteFile(p.home.ConfigFile(), []byte("[consensus]\ntimeout_commit = \"soon\"\n"), 0o600))
		}},
		{"config-keys", "go together", func(p *patient) {
			p.do(os.WriteFile(p.home.ConfigFile(), []byte("[rpc]\ntls_cert = \"x\"\n"), 0o600))
		}},
		{"config-keys", "CHANCERY_SET", func(p *patient) {
			p.o.Overrides = []config.Override{{Key: "p2p.listn", Value: "x", From: "CHANCERY_SET"}}
		}},
		{"genesis", "genesis", func(p *patient) { p.do(os.Remove(p.home.GenesisFile())) }},
		{"genesis", "", func(p *patient) { p.do(os.WriteFile(p.home.GenesisFile(), []byte("{}"), 0o600)) }},
		{"node-key", "node_key.json", func(p *patient) { p.do(os.Remove(p.home.NodeKeyFile())) }},
		{"validator-key", "priv_validator_key.json", func(p *patient) { p.do(os.Remove(p.home.ValidatorKeyFile())) }},
		{"validator-key", "is no validator key", func(p *patient) { p.do(os.WriteFile(p.home.ValidatorKeyFile(), []byte("{}"), 0o600)) }},
		{"validator-state", "priv_validator_state.json", func(p *patient) { p.do(os.Remove(p.home.ValidatorStateFile())) }},
		{"key-permissions", "0644", func(p *patient) { p.do(os.Chmod(p.home.ValidatorKeyFile(), 0o644)) }},
		{"key-permissions", "keyring", func(p *patient) {
			p.do(os.WriteFile(filepath.Join(p.home.Keyring(), "alice"), nil, 0o600))
			p.do(os.Chmod(filepath.Join(p.home.Keyring(), "alice"), 0o640))
		}},
		{"home-permissions", "0777", func(p *patient) { p.do(os.Chmod(p.home.Data(), 0o777)) }},
		{"secrets-readable", "no such file", func(p *patient) {
			p.config.RPC.TLSCert, p.config.RPC.TLSKey, p.config.RPC.ClientCA = "a.pem", "b.pem", "c.pem"
			p.write()
		}},
		{"state-tree", "other kind", func(p *patient) { p.do(os.Mkdir(filepath.Join(p.home.Data(), "state.db"), 0o700)) }},
		{"upgrade", "this program knows 1 to 1", func(p *patient) {
			p.o.Executable = func(context.Context) error {
				return chain.ErrUpgradeNeeded.With("the state is of version 2, this program knows 1 to 1")
			}
		}},
		{"data-whole", "data/records.db", func(p *patient) { p.do(os.Mkdir(filepath.Join(p.home.Data(), "state.memory"), 0o700)) }},
		{"process", "does not answer", func(p *patient) {
			l := flock.New(filepath.Join(p.home.Data(), "node.lock"))
			_, err := l.TryLock()
			p.do(err)
			p.t.Cleanup(func() { _ = l.Close() })
		}},
		{"certificates", "expired", func(p *patient) { p.certificate(-48*time.Hour, -time.Hour, "a") }},
		{"certificates", "valid from", func(p *patient) { p.certificate(time.Hour, 400*24*time.Hour, "a") }},
		{"certificates", "names no host", func(p *patient) { p.certificate(-time.Hour, 400*24*time.Hour) }},
		{"certificates", "private key does not match", func(p *patient) {
			p.certificate(-time.Hour, 400*24*time.Hour, "a")
			key, err := os.ReadFile(p.path("tls.key"))
			p.do(err)
			p.certificate(-time.Hour, 400*24*time.Hour, "a")
			p.do(os.WriteFile(p.path("tls.key"), key, 0o600))
		}},
		{"certificates-expiry", "in 6 days", func(p *patient) { p.certificate(-time.Hour, 7*24*time.Hour-time.Minute, "a") }},
		{"ports", "address already in use", func(p *patient) { p.occupy(p.config.P2P.Listen) }},
		{"ports", "cannot assign", func(p *patient) { p.config.P2P.Listen = "192.0.2.1:26656"; p.write() }},
		{"ports-distinct", "both", func(p *patient) { p.config.P2P.Listen = p.config.Telemetry.Listen; p.write() }},
		{"p2p-reachable", "on another machine", func(p *patient) {
			p.config.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@192.0.2.1:1"}
			p.write()
		}},
		{"peers-listed", "lists this node itself", func(p *patient) {
			made, err := p.home.Keys()
			p.do(err)
			p.config.P2P.PersistentPeers = []string{made.NodeID + "@127.0.0.1:1"}
			p.write()
		}},
		{"peers-reachable", "refused", func(p *patient) {
			p.config.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@" + free(p.t)}
			p.write()
		}},
		{"peers-reachable", "no such host", func(p *patient) {
			p.config.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@member.invalid:1"}
			p.write()
		}},
		{"peers-reachable", "does not speak as a node", func(p *patient) {
			p.config.P2P.PersistentPeers = []string{strings.Repeat("a", 40) + "@" + p.occupy("127.0.0.1:0")}
			p.write()
		}},
		{"disk-space", "are free", func(p *patient) { p.o.MinFree = 1 << 60 }},
		{"memory", "the control group allows 512 MiB", func(p *patient) {
			p.do(os.WriteFile(filepath.Join(p.o.Cgroup, "memory.max"), []byte("536870912\n"), 0o600))
		}},
		{"processor", "50% of a processor", func(p *patient) {
			p.do(os.WriteFile(filepath.Join(p.o.Cgroup, "cpu.max"), []byte("50000 100000\n"), 0o600))
		}},
		{"large-pages", "enabled says never", func(p *patient) {
			p.do(os.WriteFile(filepath.Join(p.o.LargePages, "enabled"), []byte("always madvise [never]\n"), 0o600))
		}},
		{"trap-nosync", "true", func(p *patient) { p.config.State.NoSync = true; p.write() }},
		{"trap-double-sign-heights", "10", func(p *patient) { p.config.Consensus.DoubleSignHeights = 10; p.write() }},
		{"trap-watch", "is 0", func(p *patient) { p.config.Signer.WatchBlocks = 0; p.write() }},
		{"validator-key", "holds the key that the signer holds too", func(p *patient) {
			made, err := p.home.Keys()
			p.do(err)
			p.config.Signer.Listen, p.config.Signer.PublicKey = "unix://data/signer.sock", hex.EncodeToString(made.Validator)
			p.write()
		}},
		{"trap-exit", "20", func(p *patient) { p.config.Watchdog.ExitSeconds = 20; p.write() }},
		{"trap-telemetry", "empty", func(p *patient) { p.config.Telemetry.Listen = ""; p.write() }},
		{"door", "neither TLS", func(p *patient) { p.config.RPC.Development = false; p.write() }},
		{"trap-insecure", "without TLS", func(*patient) {}},
		{"trap-log", "debug", func(p *patient) { p.config.Node.LogLevel = "debug"; p.write() }},
		{"trap-pprof", "true", func(p *patient) { p.config.Telemetry.Pprof = true; p.write() }},
		{"trap-environment", "GOGC is off", func(p *patient) {
			p.o.Lookup = func(name string) (string, bool) { return "off", name == "GOGC" }
		}},
		{"trap-engine-file", "is not read", func(p *patient) { p.do(os.WriteFile(p.path("config/config.toml"), nil, 0o600)) }},
		{"members-answer", "refused", func(p *patient) {
			p.peer(func(d *doctor.Peer) { d.Err, d.Status = errors.New("connection refused"), nil })
		}},
		{"genesis-agrees", "has the genesis file", func(p *patient) { p.peer(func(d *doctor.Peer) { d.Genesis = make([]byte, 32) }) }},
		{"version-agrees", "runs v2", func(p *patient) { p.peer(func(d *doctor.Peer) { d.Status.Version = "v2" }) }},
		{"clock", "off the time of other:9090", func(p *patient) {
			p.peer(func(d *doctor.Peer) { d.Status.Time -= 60_000 })
		}},
	} {
		t.Run(w.code+"/"+w.says, func(t *testing.T) {
			p := newPatient(t, 1)
			w.provoke(p)
			expect(t, doctor.Run(t.Context(), p.o), w.code, w.says)
		})
	}
}

// expect wants a finding with a remedy.
func expect(t *testing.T, r *doctor.Report, code, says string) {
	t.Helper()
	i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool {
		return f.Code == code && f.Level != doctor.Skipped && strings.Contains(f.Found, says)
	})
	if i < 0 || r.Findings[i].Remedy == "" {
		t.Errorf("%s %q is not among %+v", code, says, r.Findings)
	}
}

// A validator of several that lists no peer never gets on.
func TestNoPeers(t *testing.T) {
	p := newPatient(t, 2)
	expect(t, doctor.Run(t.Context(), p.o), "peers-listed", "names 2 validators")
}

// To a second connection a peer hangs up. It is reached where the running node has it.
func TestAConnectedPeerHangsUp(t *testing.T) {
	p := newPatient(t, 2)
	mine, other := strings.Repeat("a", 40), strings.Repeat("b", 40)
	connected := mine
	running := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			fmt.Fprint(w, `{"state": "healthy"}`)
		case "/status":
			fmt.Fprintf(w, `{"peer_ids": [%q]}`, connected)
		}
	}))
	defer running.Close()
	p.config.Telemetry.Listen = running.Listener.Addr().String()
	p.config.P2P.PersistentPeers = []string{mine + "@" + p.occupy("127.0.0.1:0")}
	p.write()
	if r := doctor.Run(t.Context(), p.o); !r.Running || !slices.Contains(r.Passed, "peers-reachable") {
		t.Errorf("%+v", r)
	}
	connected = other
	expect(t, doctor.Run(t.Context(), p.o), "peers-reachable", "does not speak as a node")
}

// A running node whose limit of memory cannot be raised any further says so to the doctor.
func TestTheLimitOfMemoryIsReached(t *testing.T) {
	p := newPatient(t, 1)
	level := 1
	running := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			fmt.Fprint(w, `{"state": "healthy"}`)
		case "/metrics":
			fmt.Fprintf(w, "chancery_memory_limit_level %d\nchancery_memory_live_bytes 2147483648\n", level)
		case "/status":
			fmt.Fprint(w, `{}`)
		}
	}))
	defer running.Close()
	p.config.Telemetry.Listen = running.Listener.Addr().String()
	p.write()
	if r := doctor.Run(t.Context(), p.o); !r.Running || !slices.Contains(r.Passed, "memory") {
		t.Errorf("%+v", r)
	}
	level = 2
	expect(t, doctor.Run(t.Context(), p.o), "memory", "live on the heap")
}

// The doctor examines a node that runs: it asks it, and leaves its ports alone.
func TestRunning(t *testing.T) {
	p := newPatient(t, 1)
	n := p.start()
	r := doctor.Run(t.Context(), p.o)
	if !r.Running || !slices.Contains(r.Passed, "health") || !slices.Contains(r.Passed, "clock") || !slices.Contains(r.Passed, "quorum") {
		t.Errorf("%+v", r)
	}
	// The genesis above has the verdicts count, and no model.
	expect(t, r, "model", "no model is active")
	made, err := p.home.Keys()
	p.do(err)

	// Another home lists this node: under its id all is well, and with other ids and
	// genesis files the doctor says what it found there.
	other := newPatient(t, 1)
	peer := func(id string) *doctor.Report {
		other.config.P2P.PersistentPeers = []string{id + "@" + p.config.P2P.Listen}
		other.write()
		return doctor.Run(t.Context(), other.o)
	}
	if r := peer(made.NodeID); !slices.Contains(r.Passed, "peers-reachable") {
		t.Errorf("%+v", r)
	}
	expect(t, peer(strings.Repeat("a", 40)), "peers-reachable", "it is the node "+made.NodeID)
	raw, err := os.ReadFile(other.home.GenesisFile())
	p.do(err)
	p.do(os.WriteFile(other.home.GenesisFile(), []byte(strings.Replace(string(raw), `"doctor-test"`, `"another"`, 1)), 0o600))
	expect(t, peer(made.NodeID), "peers-reachable", `it is of the chain "doctor-test"`)

	// A copy of the key elsewhere: the chain has signatures that the copy's home did not
	// make.
	for _, path := range []func(config.Home) string{config.Home.ValidatorKeyFile, config.Home.GenesisFile} {
		raw, err := os.ReadFile(path(p.home))
		p.do(err)
		p.do(os.WriteFile(path(other.home), raw, 0o600))
	}
	light, err := n.Engine().LightBlock(n.Engine().Status().Height - 1)
	p.do(err)
	other.peer(func(d *doctor.Peer) { d.Light = light })
	expect(t, doctor.Run(t.Context(), other.o), "foreign-signature", "signed nothing after block 0")
}
