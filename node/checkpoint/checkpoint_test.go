package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const chainID = "harbour-1"

// seeded is the same key each time.
func seeded(name string, role Role) *Signer {
	sum := sha256.Sum256([]byte(name))
	s := newSigner(name, role, sum[:])
	s.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	return s
}

func logKey() *Signer { return seeded(Origin(chainID), LogRole) }

func headerHash(height int64) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "header %d", height))
	return sum[:]
}

// grown is a log of so many blocks.
func grown(t interface {
	Helper()
	Fatal(...any)
}, dir string, size int64) *Log {
	t.Helper()
	l, damaged, err := OpenLog(dir, Origin(chainID))
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	for h := l.Size() + 1; h <= size; h++ {
		if err := l.Append(headerHash(h)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func headOf(t interface {
	Helper()
	Fatal(...any)
}, l *Log, size int64) Checkpoint {
	t.Helper()
	root, err := l.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	return Checkpoint{Origin(chainID), size, root}
}

// signed is the checkpoint of a size, with the node's signature and those of witnesses.
func signed(t testing.TB, c Checkpoint, witnesses ...*Signer) []byte {
	t.Helper()
	raw, err := c.Sign(logKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range witnesses {
		raw = cosign(t, raw, w)
	}
	return raw
}

func cosign(t testing.TB, raw []byte, w *Signer) []byte {
	t.Helper()
	both, err := AddCosignature(raw, linesOf(t, raw, w), w.Public())
	if err != nil {
		t.Fatal(err)
	}
	return both
}

func linesOf(t testing.TB, raw []byte, w *Signer) []byte {
	t.Helper()
	_, n, err := open(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := note.Sign(&note.Note{Text: n.Text}, w)
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := bytes.Cut(alone, []byte("\n\n"))
	return lines
}

func policyOf(t testing.TB, quorum string, witnesses ...*Signer) *Policy {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# of a test\nlog %s\n", logKey().Public())
	for i, w := range witnesses {
		fmt.Fprintf(&b, "witness w%d %s https://w%d.example\n", i, w.Public(), i)
	}
	b.WriteString(quorum)
	p, err := ParsePolicy([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func golden(t *testing.T, name string, raw []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, raw, want)
	}
}

// The bytes of checkpoint and proofs, and of what is signed, never change.
func TestGoldenBytes(t *testing.T) {
	l := grown(t, t.TempDir(), 12)
	w := seeded("witness.example/w1", WitnessRole)
	raw := signed(t, headOf(t, l, 12), w)
	golden(t, "checkpoint.txt", raw)
	path, err := l.Inclusion(5, headOf(t, l, 12))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "inclusion.tlog-proof", Inclusion{Block{5, headerHash(5)}, path, raw}.Text())
	tree, err := l.Consistency(7, headOf(t, l, 12))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "consistency.txt", Consistency{7, tree, raw}.Text())
	golden(t, "keys.txt", fmt.Appendf(nil, "%s\n%s\n", logKey().Public(), w.Public()))
}

// The examples of the specifications of C2SP, whose keys nobody has published, parse; what
// differs in form does not.
func TestOthersCheckpointsParse(t *testing.T) {
	const example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n" +
		"— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" +
		"— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
	c, err := Parse([]byte(example))
	if err != nil || c.Origin != "example.com/behind-the-sofa" || c.Size != 20852163 || c.Root.String() != "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=" {
		t.Fatalf("%+v, %v", c, err)
	}
	_, n, err := open([]byte(example), nil)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := CosignedAt(n.UnverifiedSigs[1]); !ok || at.Unix() != 1679315147 {
		t.Errorf("%v, %v", at, ok)
	}
	for _, bad := range []string{
		strings.Replace(example, "20852163", "020852163", 1), strings.Replace(example, "20852163", "-1", 1),
		strings.Replace(example, "CsUY", "CsU", 1), strings.Replace(example, "q2I=", "q2J=", 1),
		strings.Replace(example, "20852163\n", "", 1), strings.Replace(example, "20852163", "20852163 ", 1),
		"", "\n\n", example[1:][:40], strings.Repeat("x", MaxNote+1),
	} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrNotCheckpoint) {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
}

// Proofs of random trees verify here and by the other library, for the block and the sizes
// that they are of and for no other.
func TestProofsOfRandomTrees(t *testing.T) {
	l := grown(t, t.TempDir(), 300)
	hasher := rfc6962.DefaultHasher
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 300).Draw(t, "size")
		old := rapid.Int64Range(1, size).Draw(t, "old")
		height := rapid.Int64Range(1, size).Draw(t, "height")
		head, older := headOf(t, l, size), headOf(t, l, old)

		path, err := l.Inclusion(height, head)
		if err != nil {
			t.Fatal(err)
		}
		leaf := hasher.HashLeaf(Block{height, headerHash(height)}.Leaf())
		if err := proof.VerifyInclusion(hasher, uint64(height-1), uint64(size), leaf, plain(path), head.Root[:]); err != nil {
			t.Fatal(err)
		}
		tree, err := l.Consistency(old, head)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(hasher, uint64(old), uint64(size), plain(tree), older.Root[:], head.Root[:]); err != nil {
			t.Fatal(err)
		}
		c := Consistency{Old: old, Path: tree}
		if err := c.Check(older, head); err != nil {
			t.Fatal(err)
		}
		other := older
		other.Root[0] ^= 1
		if err := c.Check(other, head); !errors.Is(err, ErrMismatch) && !errors.Is(err, ErrFork) {
			t.Fatalf("another root passes: %v", err)
		}
		if h := rapid.Int64Range(1, size).Draw(t, "other"); h != height {
			if tlog.CheckRecord(path, size, head.Root, h-1, Block{h, headerHash(h)}.leafHash()) == nil {
				t.Fatalf("the proof of block %d passes for %d", height, h)
			}
		}
	})
}

func plain(path []tlog.Hash) (out [][]byte) {
	for _, h := range path {
		out = append(out, h[:])
	}
	return out
}

// Whoever alters a proof of inclusion, or a signature in it, is found.
func TestFlippedProofs(t *testing.T) {
	w := seeded("witness.example/w1", WitnessRole)
	l := grown(t, t.TempDir(), 13)
	head := headOf(t, l, 13)
	path, err := l.Inclusion(6, head)
	if err != nil {
		t.Fatal(err)
	}
	raw := Inclusion{Block{6, headerHash(6)}, path, signed(t, head, w)}.Text()
	policy := policyOf(t, "quorum w0\n", w)
	check := func(raw []byte) error {
		p, err := ParseInclusion(raw)
		if err == nil {
			_, err = p.Verify(policy)
		}
		return err
	}
	if err := check(raw); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if check(bad) == nil {
				t.Fatalf("byte %d bit %d of\n%s", i, bit, raw)
			}
		}
	}
}

func TestWhomAPolicyBelieves(t *testing.T) {
	var w []*Signer
	for i := range 4 {
		w = append(w, seeded(fmt.Sprintf("witness.example/w%d", i), WitnessRole))
	}
	l := grown(t, t.TempDir(), 9)
	head := headOf(t, l, 9)
	nested := "group a 2 w0 w1\ngroup b any w2 w3\ngroup both all a b\nquorum both\n"
	for _, c := range []struct {
		quorum string
		by     []int
		want   error
	}{
		{"quorum none\n", nil, nil},
		{"quorum w1\n", []int{1}, nil},
		{"quorum w1\n", []int{0, 2, 3}, ErrQuorum},
		{"group g 2 w0 w1 w2\nquorum g\n", []int{0, 2}, nil},
		{"group g 2 w0 w1 w2\nquorum g\n", []int{0, 3}, ErrQuorum},
		{nested, []int{0, 1, 3}, nil},
		{nested, []int{0, 1}, ErrQuorum},
		{nested, []int{0, 2, 3}, ErrQuorum},
	} {
		var by []*Signer
		for _, i := range c.by {
			by = append(by, w[i])
		}
		v, err := policyOf(t, c.quorum, w...).Verify(signed(t, head, by...))
		if !errors.Is(err, c.want) {
			t.Errorf("%q by %v: %v", c.quorum, c.by, err)
		}
		if err == nil && (v.Checkpoint != head || len(v.Witnesses) != len(c.by) || v.Log.String() != logKey().Public().String()) {
			t.Errorf("%+v", v)
		}
	}
	// A witness's signature stands for no log, and a log's key of another name for none but its own.
	none := policyOf(t, "quorum none\n", w...)
	if _, err := none.Verify(cosignOnly(t, head, w[0])); !errors.Is(err, ErrSignatures) {
		t.Error(err)
	}
	other, err := Checkpoint{"chancery/other-1", 9, head.Root}.Sign(logKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Verify(other); !errors.Is(err, ErrSignatures) {
		t.Error(err)
	}
	wrong := bytes.Replace(signed(t, head, w[0]), []byte("\n9\n"), []byte("\n8\n"), 1)
	if _, err := none.Verify(wrong); !errors.Is(err, ErrSignatures) {
		t.Error(err)
	}
}

func cosignOnly(t *testing.T, c Checkpoint, w *Signer) []byte {
	t.Helper()
	raw, err := note.Sign(&note.Note{Text: c.Body()}, w)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatNoPolicyIs(t *testing.T) {
	k, w := logKey().Public().String(), seeded("w", WitnessRole).Public().String()
	for _, bad := range []string{
		"", "log " + k, "log " + w + "\nquorum none", "witness a " + k + "\nquorum a", "quorum a", "quorum none\nquorum none",
		"witness none " + w + "\nquorum none", "witness a " + w + "\nwitness b " + w + "\nquorum a", "log " + k + "\nlog " + k + "\nquorum none",
		"witness a " + w + "\ngroup a any a\nquorum a", "witness a " + w + "\ngroup g any a a\nquorum g", "witness a " + w + "\ngroup g 2 a\nquorum g",
		"witness a " + w + "\ngroup g 0 a\nquorum g", "witness a " + w + "\ngroup g any a\ngroup h any a\nquorum h", "group g any h\nquorum g",
		"believe everybody\nquorum none", "quorum none\r", "log\nquorum none", "log " + strings.Repeat("x", maxPolicy),
	} {
		if _, err := ParsePolicy([]byte(bad)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%.80q: %v", bad, err)
		}
	}
}

func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	// The first is of the text that https://pkg.go.dev/golang.org/x/mod/sumdb/note documents.
	v, err := ParseVerifier("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
	if err != nil || v.Name() != "PeterNeumann" || v.KeyHash() != 0xc74f20a3 || v.Role() != LogRole {
		t.Fatalf("%v, %v", v, err)
	}
	for _, role := range []Role{LogRole, WitnessRole} {
		path := filepath.Join(t.TempDir(), "keys", "key")
		s, made, err := TakeKey(path, "a.example/b", role)
		if err != nil || !made {
			t.Fatal(err)
		}
		again, made, err := TakeKey(path, "a.example/b", role)
		if err != nil || made || again.Secret() != s.Secret() || again.Public().String() != s.Public().String() {
			t.Fatal(err)
		}
		if back, err := ParseVerifier(s.Public().String()); err != nil || back.String() != s.Public().String() {
			t.Error(err)
		}
		if _, _, err := TakeKey(path, "other", role); !errors.Is(err, ErrOtherLog) {
			t.Error(err)
		}
		if _, err := ReadKey(path, LogRole+WitnessRole-role); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(path, role); err == nil {
			t.Error("a key that lies open is used")
		}
	}
	good := logKey().Public().String()
	for _, bad := range []string{"", "a", "a+b+c", good[:len(good)-1], good + "=", " " + good, strings.Replace(good, "chancery", "chancers", 1)} {
		if _, err := ParseVerifier(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := NewSigner("with space", LogRole); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}

// A cosignature is of its time, its key and its text.
func TestCosignatures(t *testing.T) {
	w, other := seeded("w", WitnessRole), seeded("o", WitnessRole)
	l := grown(t, t.TempDir(), 3)
	raw := signed(t, headOf(t, l, 3), w)
	_, sigs, err := Open(raw, w.Public())
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := CosignedAt(sigs[0]); !ok || at.Unix() != 1_800_000_000 {
		t.Errorf("%v %v", at, ok)
	}
	if _, err := AddCosignature(raw, linesOf(t, raw, other), w.Public()); !errors.Is(err, ErrSignatures) {
		t.Error(err)
	}
	if _, err := AddCosignature(raw, linesOf(t, signed(t, headOf(t, l, 2)), w), w.Public()); !errors.Is(err, ErrSignatures) {
		t.Error(err)
	}
	w.now = func() time.Time { return time.Unix(1_800_000_100, 0) }
	later := cosign(t, raw, w)
	if n := strings.Count(string(later), "— w "); n != 1 {
		t.Errorf("%d signatures of one witness", n)
	}
	if _, sigs, err = Open(later, w.Public()); err != nil {
		t.Fatal(err)
	}
	if at, _ := CosignedAt(sigs[0]); at.Unix() != 1_800_000_100 {
		t.Error(at)
	}
}

func FuzzCheckpoint(f *testing.F) {
	l := grown(f, f.TempDir(), 5)
	w := seeded("w", WitnessRole)
	raw := signed(f, headOf(f, l, 5), w)
	policy := policyOf(f, "quorum w0\n", w)
	f.Add(raw)
	f.Add([]byte("a\n0\n\n\n— a AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, mutated []byte) {
		c, err := Parse(mutated)
		if v, bad := policy.Verify(mutated); bad == nil && (err != nil || v.Checkpoint != c || c.Body() != headOf(t, l, 5).Body()) {
			t.Fatalf("accepted:\n%s", mutated)
		}
		if err == nil && !strings.HasPrefix(string(mutated), c.Body()) {
			t.Fatalf("%q is read as %q", mutated, c.Body())
		}
	})
}

func FuzzInclusion(f *testing.F) {
	l := grown(f, f.TempDir(), 11)
	head := headOf(f, l, 11)
	path, err := l.Inclusion(4, head)
	if err != nil {
		f.Fatal(err)
	}
	policy := policyOf(f, "quorum none\n")
	f.Add(Inclusion{Block{4, headerHash(4)}, path, signed(f, head)}.Text())
	f.Add([]byte(ProofMagic + "extra AAAA\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, mutated []byte) {
		p, err := ParseInclusion(mutated)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Text(), mutated) {
			t.Fatal("two files for one proof")
		}
		if _, err := p.Verify(policy); err == nil && (p.Block.Height != 4 || !bytes.Equal(p.Block.Hash, headerHash(4))) {
			t.Fatalf("accepted:\n%s", mutated)
		}
	})
}

func FuzzConsistency(f *testing.F) {
	l := grown(f, f.TempDir(), 11)
	old, head := headOf(f, l, 6), headOf(f, l, 11)
	path, err := l.Consistency(6, head)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Consistency{6, path, signed(f, head)}.Text())
	f.Add([]byte("old 0\n\n"))
	f.Fuzz(func(t *testing.T, mutated []byte) {
		c, err := ParseConsistency(mutated)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Text(), mutated) {
			t.Fatal("two bodies for one proof")
		}
		if got, err := Parse(c.Checkpoint); err != nil {
			t.Fatal(err)
		} else if c.Check(old, got) == nil && got.Size <= 11 && got.Root != headOf(t, l, max(1, got.Size)).Root {
			t.Fatalf("accepted:\n%s", mutated)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	w := seeded("w", WitnessRole)
	f.Add(fmt.Appendf(nil, "log %s\nwitness a %s\ngroup g any a\nquorum g\n", logKey().Public(), w.Public()))
	l := grown(f, f.TempDir(), 2)
	bare := signed(f, headOf(f, l, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParsePolicy(raw)
		if err != nil {
			return
		}
		if _, err := p.Verify(bare); err == nil && p.quorum != "" {
			t.Fatalf("no witness signed, and it passes:\n%s", raw)
		}
	})
}
