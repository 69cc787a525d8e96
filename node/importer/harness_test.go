package importer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/importer"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

const (
	hospital = "did:chancery:hospital"
	// later is a block time after those of all documents.
	later = chaintest.GenesisTime + 400*24*3600*1000
)

// salts draws salts that are the same in each run.
func salts() importer.Salts {
	return &importer.MemorySalts{Draw: func(scope, identifier string) []byte {
		sum := sha256.Sum256([]byte("test salt " + scope + "\x00" + identifier))
		return sum[:]
	}}
}

func options() importer.Options {
	return importer.Options{Organisation: hospital, Salts: salts(), Jurisdiction: "NL", Now: later}
}

// shared are the files of the shared vectors below a folder, by their path.
func shared(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	root := os.Getenv("CHANCERY_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(root, "vectors", folder)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the shared vectors are not at %s; set CHANCERY_SHARED", dir)
	}
	return files(t, dir)
}

func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = raw
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(m map[string][]byte) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// fhirFiles are those of the shared resources of a type.
func fhirFiles(t testing.TB, resource string) map[string][]byte {
	out := map[string][]byte{}
	for name, raw := range shared(t, "fhir") {
		if strings.HasPrefix(name, resource+"-") {
			out[name] = raw
		}
	}
	return out
}

func lineageFiles(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for name, raw := range shared(t, "openlineage") {
		if strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "client-events/") {
			out[name] = raw
		}
	}
	return out
}

// leaves are the values of a JSON document that hold no other, by pointer.
func leaves(t testing.TB, raw []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	var walk func(string, any)
	walk = func(at string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for k, item := range x {
				walk(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), item)
			}
			if len(x) > 0 {
				return
			}
		case []any:
			for i, item := range x {
				walk(fmt.Sprintf("%s/%d", at, i), item)
			}
			if len(x) > 0 {
				return
			}
		}
		out[at] = v
	}
	walk("", v)
	return out
}

// accounted is the property that nothing is dropped silently: every leaf of the
// document is mapped, kept off the chain, or said to be unmapped; and that the
// account speaks of nothing else. What is personal data or text for people is in no
// message.
func accounted(t testing.TB, name string, raw []byte, r *importer.Result) {
	t.Helper()
	all := leaves(t, raw)
	said := map[string]bool{}
	mapped := map[string]bool{}
	for _, m := range r.Mapped {
		if _, ok := all[m.Place]; !ok {
			t.Errorf("%s: mapped %q is no leaf of the document", name, m.Place)
		}
		said[m.Place] = true
		if text, ok := all[m.Place].(string); ok {
			mapped[text] = true
		}
	}
	var wire []byte
	for _, m := range r.Messages {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		wire = append(wire, b...)
	}
	for _, n := range r.Notes {
		if n.Class != importer.Remark {
			said[n.Place] = true
		}
		text, ok := all[n.Place].(string)
		// The names of a resource and of a node's kind are no person's, wherever they stand.
		word := text == "Patient" || text == "signature"
		if ok && !word && (n.Code == 30 || n.Code == 31 || n.Code == 41) && len(text) >= 5 && !mapped[text] && bytes.Contains(wire, []byte(text)) {
			t.Errorf("%s: %s, which is %s, is in a message: %q", name, n.Place, n.Reason, text)
		}
	}
	for at := range all {
		if !said[at] {
			t.Errorf("%s: nothing is said of %q", name, at)
		}
	}
}

// ledger is a chain of one organisation.
type ledger struct {
	t   testing.TB
	app *chain.App
	now int64
	n   uint64
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 10_000, ValueCache: 1000})
	if err != nil {
		t.Fatal(err)
	}
	app, err := node.Wire().App(chaintest.ChainID, tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	g, err := identity.NewGenesis(identity.Founding{At: chaintest.GenesisTime, Threshold: 1, Organisations: []identity.Founder{{
		DID: hospital, Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(hospital).Public()}},
		Validators: []identity.FoundingValidator{{PublicKey: chaintest.Actor("validator").Public().Bytes, Power: 1, Moniker: "v"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(map[string]json.RawMessage{"identity": section})
	l := &ledger{t: t, app: app, now: chaintest.GenesisTime}
	if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: l.now}, raw); err != nil {
		t.Fatal(err)
	}
	l.commit(app.Begin(chain.Header{Height: 1, Time: l.now}))
	l.now = later
	return l
}

func (l *ledger) commit(x *chain.Execution) {
	if _, err := l.app.Apply(x.End()); err != nil {
		l.t.Fatal(err)
	}
	if err := l.app.Commit(); err != nil {
		l.t.Fatal(err)
	}
}

// do executes messages in one transaction and block.
func (l *ledger) do(messages ...proto.Message) *chainv1.TxResult {
	l.t.Helper()
	l.n++
	salt := sha256.Sum256(fmt.Appendf(nil, "%d", l.n))
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: hospital, ValidUntil: l.now + 60_000, Salt: salt[:tx.SaltSize], Messages: messages,
	}.Sign(chaintest.Actor(hospital))
	if err != nil {
		l.t.Fatal(err)
	}
	d, err := l.app.Decode(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	l.now += 1000
	x := l.app.Begin(chain.Header{Height: l.app.Tree().Version() + 1, Time: l.now})
	r, err := x.Deliver(d)
	if err != nil {
		l.t.Fatal(err)
	}
	l.commit(x)
	return r
}

// golden compares what a document comes to with a file.
func golden(t *testing.T, name string, r *importer.Result) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "format %s\n", r.Format)
	for _, m := range r.Messages {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var tidy bytes.Buffer
		if err := json.Indent(&tidy, raw, "", "  "); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "message %s %s\n", proto.MessageName(m), tidy.String())
	}
	for _, m := range r.Mapped {
		fmt.Fprintf(&b, "mapped %s -> %s %s\n", m.Place, m.Message, m.Field)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s %s import/%d %s\n", n.Class, n.Place, n.Code, n.Reason)
	}
	for _, a := range r.Assumed {
		fmt.Fprintf(&b, "assumed %s %s = %s: %s\n", a.Message, a.Field, a.Value, a.Reason)
	}
	path := filepath.Join("testdata", "golden", strings.ReplaceAll(name, "/", "-")+".txt")
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != b.String() {
		t.Errorf("%s is not what %s comes to (%v); run the test with -rewrite and look at the difference", path, name, err)
	}
}
