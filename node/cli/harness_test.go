package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/governance"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/keyring"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

// golden compares text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; if it should, run go test ./node/cli -rewrite\n%s", path, firstDifference(string(want), got))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return "want " + w[i] + "\n got " + g[i]
		}
	}
	return "one is longer"
}

const passphrase = "correct horse battery"

// outcome is what a run of the program did.
type outcome struct {
	code     int
	out, err string
}

// shell runs the program with an environment of its own.
type shell struct {
	t          *testing.T
	env        map[string]string
	in         io.Reader
	passphrase keyring.PassphraseFunc
	terminal   bool
	screen     bool
}

func newShell(t *testing.T) *shell {
	return &shell{
		t: t, env: map[string]string{homeVariable: t.TempDir(), nodeVariable: "127.0.0.1:1"},
		in: strings.NewReader(""), passphrase: keyring.Static(passphrase),
	}
}

func (s *shell) home() config.Home { return config.Home(s.env[homeVariable]) }

func (s *shell) run(args ...string) outcome {
	s.t.Helper()
	return s.runContext(s.t.Context(), args...)
}

func (s *shell) runContext(ctx context.Context, args ...string) outcome {
	s.t.Helper()
	var out, err bytes.Buffer
	code := Run(ctx, args, Environment{
		In: s.in, Out: &out, Err: &err, Passphrase: s.passphrase, Keyring: []keyring.Option{keyring.WorkFactor(2)},
		Terminal: s.terminal, Screen: s.screen, Version: "test",
		Lookup: func(name string) (string, bool) { v, ok := s.env[name]; return v, ok },
	})
	return outcome{code, out.String(), err.String()}
}

// ok runs the program, which must succeed, and returns what it printed.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.t.Fatalf("chancery %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.out, o.err)
	}
	return o.out
}

// json runs the program with --output json and decodes what it printed.
func (s *shell) json(args ...string) map[string]any {
	s.t.Helper()
	return s.decode(s.ok(append(args, "--output", "json")...))
}

func (s *shell) decode(text string) map[string]any {
	s.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// fails runs the program, which must end with a code and say some words.
func (s *shell) fails(code int, words string, args ...string) outcome {
	s.t.Helper()
	o := s.run(args...)
	if o.code != code || !strings.Contains(o.err, words) {
		s.t.Errorf("chancery %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), o.code, code, words, o.out, o.err)
	}
	return o
}

func (s *shell) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// key makes a key and returns its name.
func (s *shell) key(name string) string {
	s.t.Helper()
	s.ok("keys", "create", name)
	return name
}

// path is a file that does not exist.
func (s *shell) path(name string) string { return filepath.Join(s.t.TempDir(), name) }

const (
	alpha     = "did:chancery:alpha"
	registrar = alpha + ":registrar"
)

var (
	adminOne = alpha + ":" + strings.Repeat("a", 26)
	adminTwo = alpha + ":" + strings.Repeat("b", 26)
)

// world is a consortium of one organisation, which two administrators act for
// together, with one validator in this process.
type world struct {
	home    config.Home
	address string
	stop    func() error
	err     error
}

var theWorld = sync.OnceValue(newWorld)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if started {
		w := theWorld()
		if w.stop != nil {
			_ = w.stop()
		}
		_ = os.RemoveAll(string(w.home))
	}
	os.Exit(code)
}

var started bool

// onChain is a shell at the home of a running node. The keyring has the keys one
// and two of the administrators, and reg of a service with the role registrar.
func onChain(t *testing.T) *shell {
	t.Helper()
	started = true
	w := theWorld()
	if w.err != nil {
		t.Fatal(w.err)
	}
	s := newShell(t)
	s.env[homeVariable], s.env[nodeVariable] = string(w.home), w.address
	return s
}

// watchful is a detector that holds what anchors batches and denies what invalidates
// provenance.
func watchful(name string) ([]byte, error) {
	d := detector.Build(name, nil)
	rule := func(name, feature string, score uint32, is int64) *threatv1.Rule {
		return &threatv1.Rule{Name: name, Reason: "the test asks for people to look", Score: score, When: &threatv1.Predicate{
			Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{
				Feature: feature, Comparison: threatv1.Comparison_COMPARISON_EQUAL, Number: is,
			}},
		}}
	}
	d.Rules = &threatv1.RuleSet{Rules: []*threatv1.Rule{
		rule("anchored", "class", 8000, int64(features.ClassAnchor)), rule("invalidated", "class", 9500, int64(features.ClassInvalidate)),
	}}
	d.Thresholds = &threatv1.Thresholds{Hold: 7500, Deny: 9000}
	return detector.Encode(d)
}

func newWorld() *world {
	w := new(world)
	w.err = w.start()
	return w
}

func (w *world) start() error {
	dir, err := os.MkdirTemp("", "chancery-cli")
	if err != nil {
		return err
	}
	w.home = config.Home(dir)
	if err := w.home.Create(); err != nil {
		return err
	}
	made, err := w.home.CreateKeys()
	if err != nil {
		return err
	}
	ring, err := keyring.Open(w.home.Keyring(), keyring.Static(passphrase), keyring.WorkFactor(2))
	if err != nil {
		return err
	}
	member := func(name, did string, kind identityv1.Kind, administrator bool, roles ...string) (identity.FoundingMember, error) {
		e, err := ring.Create(name, keys.Ed25519)
		if err == nil {
			err = ring.Bind(name, did, did+"#key-1")
		}
		return identity.FoundingMember{
			DID: did, Kind: kind, Administrator: administrator, Roles: roles,
			Keys: []identity.FoundingKey{{ID: "key-1", Public: e.Public}},
		}, err
	}
	one, err := member("one", adminOne, identityv1.Kind_KIND_PERSON, true)
	if err != nil {
		return err
	}
	two, err := member("two", adminTwo, identityv1.Kind_KIND_PERSON, true)
	if err != nil {
		return err
	}
	reg, err := member("reg", registrar, identityv1.Kind_KIND_SERVICE, false, "registrar")
	if err != nil {
		return err
	}
	at := time.Now().Add(-time.Minute)
	founded, err := identity.NewGenesis(identity.Founding{At: at.UnixMilli(), Threshold: 1, Organisations: []identity.Founder{{
		DID: alpha, Threshold: 2, Members: []identity.FoundingMember{one, two, reg},
		Validators: []identity.FoundingValidator{{PublicKey: made.Validator, Power: 10, Moniker: "alpha"}},
		Nodes:      []string{made.NodeID},
	}}})
	if err != nil {
		return err
	}
	section, err := chain.WriteGenesis(founded)
	if err != nil {
		return err
	}
	scorer, err := watchful("watchful")
	if err != nil {
		return err
	}
	judged, err := chain.WriteGenesis(threat.NewGenesis(scorer, 0))
	if err != nil {
		return err
	}
	governed := governance.DefaultParams()
	for _, k := range governed.Rules {
		k.Rule.TimeLockMs = 100
	}
	decides, err := chain.WriteGenesis(&governancev1.Genesis{Params: governed})
	if err != nil {
		return err
	}
	appState, err := json.Marshal(map[string]json.RawMessage{"identity": section, "threat": judged, "governance": decides})
	if err != nil {
		return err
	}
	doc, err := node.NewGenesis("cli-test", at, appState)
	if err != nil {
		return err
	}
	if err := config.WriteGenesis(w.home.GenesisFile(), doc); err != nil {
		return err
	}
	c := config.Default()
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = "127.0.0.1:0", "127.0.0.1:0", ""
	c.RPC.Development = true
	c.Consensus.Commit = config.Duration(20 * time.Millisecond)
	c.Signer.WatchBlocks = 0 // nobody copies this home
	c.State.NoSync = true
	if err := config.Write(w.home, c); err != nil {
		return err
	}
	n, err := node.Open(w.home, node.Options{Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	w.stop = n.Stop
	w.address = n.Address()
	return n.Start()
}
