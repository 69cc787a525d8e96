package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/gofrs/flock"

	"github.com/chancery/chancery/chain/keys"
)

const (
	right = "correct horse battery"
	wrong = "incorrect donkey battery"
)

// asked answers with the given passphrases in turn, then repeats the last, and
// notes what it was asked.
type asked struct {
	mu       sync.Mutex // guards the fields below
	answers  []string
	prompts  []string
	confirms []bool
}

func (a *asked) ask(prompt string, confirm bool) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prompts, a.confirms = append(a.prompts, prompt), append(a.confirms, confirm)
	answer := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return []byte(answer), nil
}

func open(t testing.TB, dir string, passphrase PassphraseFunc) *Keyring {
	t.Helper()
	k, err := Open(dir, passphrase, WorkFactor(2))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fresh(t testing.TB) (*Keyring, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keyring")
	return open(t, dir, Static(right)), dir
}

func create(t testing.TB, k *Keyring, name string) Entry {
	t.Helper()
	entry, err := k.Create(name, keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// works fails the test unless the key signs for entry's public key.
func works(t testing.TB, k *Keyring, name string, entry Entry) {
	t.Helper()
	signer, err := k.Signer(name)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if !signer.Public().Equal(entry.Public) || !entry.Public.Verify([]byte("message"), sig) {
		t.Fatalf("%q signs for another key", name)
	}
}

func TestACreatedKeySignsAfterReopening(t *testing.T) {
	k, dir := fresh(t)
	for _, typ := range []keys.Type{keys.Ed25519, keys.P256, keys.MLDSA65} {
		name := "key-" + typ.String()
		entry, err := k.Create(name, typ)
		if err != nil {
			t.Fatal(err)
		}
		if entry.Name != name || entry.Type != typ || entry.Created.IsZero() {
			t.Errorf("entry %+v", entry)
		}
		again := open(t, dir, Static(right))
		works(t, again, name, entry)
		found, err := again.Lookup(name)
		if err != nil || fmt.Sprint(found) != fmt.Sprint(entry) {
			t.Errorf("Lookup: %+v, %v; not %+v", found, err, entry)
		}
	}
	entries, err := k.List()
	if err != nil || len(entries) != 3 || entries[0].Name != "key-ed25519" || entries[1].Name != "key-ml-dsa-65" {
		t.Errorf("List: %+v, %v", entries, err)
	}
}

func TestCreateMakesDifferentKeys(t *testing.T) {
	k, _ := fresh(t)
	if create(t, k, "a").Public.Equal(create(t, k, "b").Public) {
		t.Error("two keys are the same")
	}
}

func TestAnImportedSeedGivesItsKey(t *testing.T) {
	k, _ := fresh(t)
	seed := bytes.Repeat([]byte{7}, keys.SeedSize)
	signer, err := keys.NewSigner(keys.P256, seed)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := k.Import("imported", keys.P256, seed)
	if err != nil || !entry.Public.Equal(signer.Public()) {
		t.Fatalf("%+v, %v", entry, err)
	}
	works(t, k, "imported", entry)
	if _, err := k.Import("short", keys.P256, seed[1:]); !errors.Is(err, keys.ErrSeed) {
		t.Errorf("short seed: %v", err)
	}
	if _, err := k.Import("odd", 9, seed); !errors.Is(err, keys.ErrType) {
		t.Errorf("unknown type: %v", err)
	}
}

func TestThePassphraseIsAskedOnceAndConfirmedOnlyWhenNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keyring")
	a := &asked{answers: []string{right}}
	k := open(t, dir, a.ask)
	if len(a.prompts) != 0 {
		t.Error("Open asks")
	}
	create(t, k, "a")
	create(t, k, "b")
	if _, err := k.Signer("a"); err != nil {
		t.Fatal(err)
	}
	if len(a.prompts) != 1 || !a.confirms[0] || !strings.Contains(a.prompts[0], dir) {
		t.Errorf("asked %q, confirm %v", a.prompts, a.confirms)
	}

	a = &asked{answers: []string{right}}
	k = open(t, dir, a.ask)
	for _, name := range []string{"a", "b", "a"} {
		if _, err := k.Signer(name); err != nil {
			t.Fatal(err)
		}
	}
	create(t, k, "c")
	if len(a.prompts) != 1 || a.confirms[0] {
		t.Errorf("asked %q, confirm %v", a.prompts, a.confirms)
	}
}

func TestAWrongPassphraseIsSaidAndAskedAgain(t *testing.T) {
	k, dir := fresh(t)
	entry := create(t, k, "a")
	a := &asked{answers: []string{wrong, right}}
	k = open(t, dir, a.ask)
	_, err := k.Signer("a")
	if !errors.Is(err, ErrPassphrase) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "a.age") {
		t.Fatalf("%v", err)
	}
	works(t, k, "a", entry)
}

func TestANewKeyNeedsThePassphraseOfTheOthers(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	k = open(t, dir, Static(wrong))
	if _, err := k.Create("b", keys.Ed25519); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("%v", err)
	}
	if _, err := k.Lookup("b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestADamagedKeyDoesNotStopNewOnes(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	create(t, k, "b")
	if err := os.WriteFile(filepath.Join(dir, "a.age"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	k = open(t, dir, Static(right))
	works(t, k, "c", create(t, k, "c"))
}

func TestPassphrasesThatAreShortEmptyOrMissingAreRefused(t *testing.T) {
	for passphrase, want := range map[string]error{"": ErrNoPassphrase, "1234567": ErrWeakPassphrase} {
		k := open(t, filepath.Join(t.TempDir(), "k"), Static(passphrase))
		if _, err := k.Create("a", keys.Ed25519); !errors.Is(err, want) {
			t.Errorf("%q: %v", passphrase, err)
		}
	}
	k, dir := fresh(t)
	create(t, k, "a")
	k = open(t, dir, nil)
	if _, err := k.Signer("a"); !errors.Is(err, ErrNoPassphrase) {
		t.Errorf("nil function: %v", err)
	}
	if _, err := k.List(); err != nil {
		t.Errorf("List asks: %v", err)
	}
	interrupted := errors.New("interrupted")
	k = open(t, dir, func(string, bool) ([]byte, error) { return nil, interrupted })
	if _, err := k.Signer("a"); !errors.Is(err, interrupted) {
		t.Errorf("%v", err)
	}
}

func TestNamesAreRestricted(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "good")
	long := strings.Repeat("a", 64)
	for _, name := range []string{"a", "0", "a.b_c-d", "a.json", "a.age", long} {
		works(t, k, name, create(t, k, name))
	}
	for _, name := range []string{"", ".a", "-a", "_a", "A", "a b", "a/b", "../a", "a\x00", "ä", "a\n", long + "a"} {
		_, createErr := k.Create(name, keys.Ed25519)
		_, signerErr := k.Signer(name)
		_, lookupErr := k.Lookup(name)
		_, exportErr := k.Export(name)
		for _, err := range []error{createErr, signerErr, lookupErr, exportErr, k.Delete(name), k.Bind(name, "", ""),
			k.Rename(name, "b"), k.Rename("good", name)} {
			if !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	files, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(files) != 1 {
		t.Errorf("files beside the keyring: %v, %v", files, err)
	}
}

func TestAnExistingKeyIsNeverReplaced(t *testing.T) {
	k, _ := fresh(t)
	a, b := create(t, k, "a"), create(t, k, "b")
	backup, err := k.Export("b")
	if err != nil {
		t.Fatal(err)
	}
	_, createErr := k.Create("a", keys.P256)
	_, importErr := k.Import("a", keys.Ed25519, make([]byte, 32))
	_, restoreErr := k.Restore("a", backup)
	for _, err := range []error{createErr, importErr, restoreErr, k.Rename("b", "a"), k.Rename("a", "a")} {
		if !errors.Is(err, ErrExists) {
			t.Errorf("%v", err)
		}
	}
	works(t, k, "a", a)
	works(t, k, "b", b)
}

func TestOnlyTheOwnerCanReadTheFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes have no meaning here")
	}
	k, dir := fresh(t)
	create(t, k, "a")
	if err := k.Bind("a", "did:chancery:mercy", "did:chancery:mercy#key-1"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file.Name(), info.Mode(), err)
		}
	}
	for _, mode := range []os.FileMode{0o755, 0o750, 0o710, 0o701, 0o704} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 700 "+dir) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestOpenRefusesWhatIsNoDirectoryAndOddWorkFactors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil {
		t.Error("a file is opened as a keyring")
	}
	for _, n := range []int{-1, 0, 21} {
		if _, err := Open(t.TempDir(), nil, WorkFactor(n)); err == nil {
			t.Errorf("work factor %d is accepted", n)
		}
	}
}

func TestTheWorkFactorIsInTheFile(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	raw, err := os.ReadFile(filepath.Join(dir, "a.age"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(string(raw), "age-encryption.org/v1\n"), "\n")
	if !strings.HasPrefix(line, "-> scrypt ") || !strings.HasSuffix(line, " 2") {
		t.Errorf("%q", line)
	}
}

func TestAFileThatAsksForTooMuchWorkIsRefusedAtOnce(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	path := filepath.Join(dir, "a.age")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := bytes.Cut(raw, []byte(" 2\n"))
	if err := os.WriteFile(path, bytes.Join([][]byte{head, []byte(" 30\n"), rest}, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, Static(right)).Signer("a"); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func TestRenameKeepsTheKeyAndItsBinding(t *testing.T) {
	k, dir := fresh(t)
	entry := create(t, k, "a")
	if err := k.Bind("a", "did:chancery:mercy", "did:chancery:mercy#key-1"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, nil).Rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	works(t, k, "b", entry)
	renamed, err := k.Lookup("b")
	if err != nil || renamed.Name != "b" || renamed.KeyURL != "did:chancery:mercy#key-1" {
		t.Errorf("%+v, %v", renamed, err)
	}
	if _, err := k.Lookup("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := k.Rename("a", "c"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	onlyFiles(t, dir, "b.age", "b.json", ".lock")
}

func TestDeleteRemovesBothFiles(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	if err := k.Delete("a"); err != nil {
		t.Fatal(err)
	}
	onlyFiles(t, dir, ".lock")
	if err := k.Delete("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := k.Signer("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	works(t, k, "a", create(t, k, "a"))
}

func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, file := range files {
		got[file.Name()] = true
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s remains", name)
	}
}

func TestBindRefusesWhatIsNoDID(t *testing.T) {
	k, _ := fresh(t)
	create(t, k, "a")
	for _, v := range [][2]string{
		{"did:chancery:mercy", ""}, {"", "did:chancery:mercy#key-1"}, {"mercy", "mercy#key-1"},
		{"did:chancery:", "did:chancery:#k"}, {"did:chancery:mercy", "did:chancery:mercy"},
		{"did:chancery:mercy", "did:chancery:mercy#"}, {"did:chancery:mercy", "#key-1"},
		{"did:chancery:mercy", "did:chancery:mercy#a#b"}, {"did:chancery:mercy", "did:chancery:mercy#a b"},
		{"did:chancery:mercy\n", "did:chancery:mercy#k"}, {"did:chancery:" + strings.Repeat("m", 3000), "did:chancery:m#k"},
	} {
		if err := k.Bind("a", v[0], v[1]); !errors.Is(err, ErrBinding) || len(err.Error()) > 400 {
			t.Errorf("%.60q: %v", v, err)
		}
	}
	if err := k.Bind("b", "did:chancery:mercy", "did:chancery:mercy#key-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := k.Bind("a", "did:chancery:mercy", "did:chancery:mercy#key-1"); err != nil {
		t.Fatal(err)
	}
	if err := k.Bind("a", "", ""); err != nil {
		t.Fatal(err)
	}
	if entry, err := k.Lookup("a"); err != nil || entry.DID != "" || entry.KeyURL != "" {
		t.Errorf("%+v, %v", entry, err)
	}
}

func TestABackupIsRestoredElsewhere(t *testing.T) {
	k, dir := fresh(t)
	entry := create(t, k, "a")
	if err := k.Bind("a", "did:chancery:mercy", "did:chancery:mercy#key-1"); err != nil {
		t.Fatal(err)
	}
	const other = "a passphrase for backups"
	a := &asked{answers: []string{right, other}}
	backup, err := open(t, dir, a.ask).Export("a")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.confirms) != 2 || a.confirms[0] || !a.confirms[1] || !strings.Contains(a.prompts[1], `"a"`) {
		t.Errorf("asked %q, %v", a.prompts, a.confirms)
	}
	if !bytes.HasPrefix(backup, []byte(armor.Header)) {
		t.Errorf("the backup is not armored: %.40q", backup)
	}

	elsewhere := filepath.Join(t.TempDir(), "k")
	restored := open(t, elsewhere, (&asked{answers: []string{other, "yet another one"}}).ask)
	for _, name := range []string{"", "renamed"} {
		got, err := restored.Restore(name, backup)
		if name == "" {
			name = "a"
		}
		if err != nil || got.Name != name || got.KeyURL != "did:chancery:mercy#key-1" || !got.Created.Equal(entry.Created) {
			t.Fatalf("%+v, %v", got, err)
		}
		works(t, restored, name, entry)
		restored = open(t, elsewhere, (&asked{answers: []string{other, "yet another one"}}).ask)
	}

	for name, bad := range map[string]struct {
		backup     []byte
		passphrase string
		want       error
	}{
		"wrong passphrase": {backup, wrong, ErrPassphrase},
		"cut off":          {backup[:len(backup)/2], other, ErrDamaged},
		"empty":            {nil, other, ErrDamaged},
		"no age file":      {[]byte("hello"), other, ErrDamaged},
		"binary":           {readFile(t, filepath.Join(dir, "a.age")), right, ErrDamaged},
		"too long":         {bytes.Repeat([]byte("a"), maxFile+1), other, ErrDamaged},
	} {
		fresh := open(t, filepath.Join(t.TempDir(), "k"), Static(bad.passphrase))
		if _, err := fresh.Restore("x", bad.backup); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The age program can open a backup without this one.
func TestABackupIsAPlainAgeFile(t *testing.T) {
	k, _ := fresh(t)
	seed := bytes.Repeat([]byte{9}, 32)
	if _, err := k.Import("a", keys.Ed25519, seed); err != nil {
		t.Fatal(err)
	}
	backup, err := k.Export("a")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := age.NewScryptIdentity(right)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := age.Decrypt(armor.NewReader(bytes.NewReader(backup)), identity)
	if err != nil {
		t.Fatal(err)
	}
	var content struct {
		Name, Type string
		Seed       []byte
	}
	if err := json.NewDecoder(plaintext).Decode(&content); err != nil {
		t.Fatal(err)
	}
	if content.Name != "a" || content.Type != "ed25519" || !bytes.Equal(content.Seed, seed) {
		t.Errorf("%+v", content)
	}
}

func TestChangePassphraseSealsEveryKeyAnew(t *testing.T) {
	k, dir := fresh(t)
	a, b := create(t, k, "a"), create(t, k, "b")
	const next = "the next passphrase"
	if err := k.ChangePassphrase(); err == nil {
		t.Error("the same passphrase is accepted as the new one")
	}
	if err := open(t, dir, (&asked{answers: []string{wrong, next}}).ask).ChangePassphrase(); !errors.Is(err, ErrPassphrase) {
		t.Errorf("%v", err)
	}
	works(t, open(t, dir, Static(right)), "a", a)
	if err := open(t, dir, (&asked{answers: []string{right, "short"}}).ask).ChangePassphrase(); !errors.Is(err, ErrWeakPassphrase) {
		t.Errorf("%v", err)
	}
	changing := open(t, dir, (&asked{answers: []string{right, next}}).ask)
	if err := changing.ChangePassphrase(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*Keyring{changing, open(t, dir, Static(next))} {
		works(t, k, "a", a)
		works(t, k, "b", b)
	}
	if _, err := open(t, dir, Static(right)).Signer("a"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("%v", err)
	}
}

func TestEveryTruncationNamesTheFile(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	path := filepath.Join(dir, "a.age")
	whole := readFile(t, path)
	for n := range len(whole) {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, dir, Static(right)).Signer("a")
		if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), path) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	path := filepath.Join(dir, "a.age")
	whole := readFile(t, path)
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, dir, Static(right)).Signer("a")
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), path) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

func TestADescriptionThatDoesNotFitIsRefusedAndNamed(t *testing.T) {
	k, dir := fresh(t)
	a, b := create(t, k, "a"), create(t, k, "b")
	path := filepath.Join(dir, "a.json")
	good := string(readFile(t, path))
	for name, content := range map[string]string{
		"empty":           "",
		"cut off":         good[:len(good)/2],
		"of another key":  string(readFile(t, filepath.Join(dir, "b.json"))),
		"other public":    strings.Replace(good, a.Public.Multibase(), b.Public.Multibase(), 1),
		"other type":      strings.Replace(good, "ed25519", "p256", 1),
		"unknown field":   strings.Replace(good, "{", `{"x":1,`, 1),
		"followed by one": good + good,
		"odd DID":         strings.Replace(good, "{", `{"did":"x",`, 1),
		"huge":            good + strings.Repeat(" ", maxFile),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, dir, Static(right)).Signer("a"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "other public" {
			continue // only the sealed key shows that it is wrong
		}
		entries, err := open(t, dir, nil).List()
		if !errors.Is(err, ErrDamaged) || len(entries) != 1 || entries[0].Name != "b" {
			t.Errorf("%s: List: %+v, %v", name, entries, err)
		}
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Lookup("a"); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	works(t, k, "a", a)
	if entry, err := k.Lookup("a"); err != nil || !entry.Public.Equal(a.Public) || !entry.Created.Equal(a.Created) {
		t.Errorf("not written anew: %+v, %v", entry, err)
	}
}

func TestAnExchangedKeyFileIsNoticed(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	create(t, k, "b")
	if err := os.Rename(filepath.Join(dir, "b.age"), filepath.Join(dir, "a.age")); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Signer("a"); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func TestAKeyUnderAnotherPassphraseIsSaidToBeSo(t *testing.T) {
	k, dir := fresh(t)
	create(t, k, "a")
	otherDir := filepath.Join(t.TempDir(), "k")
	create(t, open(t, otherDir, Static(wrong)), "b")
	for _, name := range []string{"b.age", "b.json"} {
		if err := os.Rename(filepath.Join(otherDir, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Signer("b"); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "another") {
		t.Errorf("%v", err)
	}
}

func TestAWriterWaitsForAnotherProcess(t *testing.T) {
	_, dir := fresh(t)
	var wait sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wait.Go(func() {
			_, results[i] = open(t, dir, Static(right)).Create("same", keys.Ed25519)
		})
	}
	wait.Wait()
	created := 0
	for _, err := range results {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, ErrExists):
			t.Errorf("%v", err)
		}
	}
	if created != 1 {
		t.Errorf("%d of %d writers made the key", created, len(results))
	}
	k := open(t, dir, Static(right))
	entry, err := k.Lookup("same")
	if err != nil {
		t.Fatal(err)
	}
	works(t, k, "same", entry)
}

func TestAWriterGivesUpOnALockThatIsNotReleased(t *testing.T) {
	k, dir := fresh(t)
	entry := create(t, k, "a")
	holder := flock.New(filepath.Join(dir, lockName))
	if err := holder.Lock(); err != nil {
		t.Fatal(err)
	}
	k.patience = 50 * time.Millisecond
	if err := k.Delete("a"); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	works(t, k, "a", entry) // readers do not wait
	if err := holder.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := k.Delete("a"); err != nil {
		t.Errorf("%v", err)
	}
}

// Neither errors nor printed values hold the passphrase or the seed.
func TestNoSecretIsShown(t *testing.T) {
	seed := []byte("the seed of thirty-two bytes ab!")
	dir := filepath.Join(t.TempDir(), "keyring")
	k := open(t, dir, Static(right))
	entry, err := k.Import("a", keys.Ed25519, seed)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := k.Signer("a")
	if err != nil {
		t.Fatal(err)
	}
	backup, err := k.Export("a")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	show := func(values ...any) {
		for _, v := range values {
			for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				shown = append(shown, fmt.Sprintf(format, v))
			}
		}
	}
	show(k, *open(t, dir, Static(right)), entry, signer, Static(right))
	fail := func(_ any, err error) {
		if err == nil {
			t.Error("no error")
			return
		}
		show(err)
	}
	fail(k.Create("a", keys.Ed25519))
	fail(k.Create("A", keys.Ed25519))
	fail(k.Import("z", keys.Ed25519, seed[:31]))
	fail(k.Import("z", 99, seed))
	fail(k.Restore("a", backup))
	fail(k.Restore("b", seed))
	fail(k.Restore("b", append([]byte(armor.Header+"\n"), seed...)))
	fail(k.Restore("b", backup[:len(backup)-40]))
	fail(nil, k.ChangePassphrase())
	fail(open(t, dir, Static(wrong)).Signer("a"))
	fail(open(t, dir, Static(wrong)).Create("b", keys.Ed25519))
	fail(open(t, dir, Static(right[:7])).Export("a"))
	path := filepath.Join(dir, "a.age")
	whole := readFile(t, path)
	for _, content := range [][]byte{seed, whole[:len(whole)-1], nil} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		fail(k.Signer("a"))
	}
	for step := range 12 {
		d := &faulty{at: step, mode: before}
		other := open(t, filepath.Join(t.TempDir(), "k"), Static(right))
		other.disk = d
		if _, err := other.Import("a", keys.Ed25519, seed); err != nil {
			show(err)
		}
	}
	secrets := []string{right, wrong, string(seed), hex.EncodeToString(seed), base64.StdEncoding.EncodeToString(seed),
		hex.EncodeToString([]byte(right)), strings.Trim(fmt.Sprint([]byte(right)), "[]"), strings.Trim(fmt.Sprint(seed), "[]")}
	for _, text := range shown {
		for _, s := range secrets {
			if strings.Contains(strings.ToLower(text), strings.ToLower(s)) {
				t.Errorf("%q shows a secret", text)
			}
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func FuzzUnseal(f *testing.F) {
	sealed, err := seal(secret{Version: 1, Type: "ed25519", Seed: make([]byte, 32)}, right, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("age-encryption.org/v1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Contains(raw, []byte(" 1\n")) || !bytes.Contains(raw, []byte("-> scrypt")) { // little work
			if s, err := unseal(raw, right); err == nil {
				_, _ = s.entry()
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrPassphrase) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzEntry(f *testing.F) {
	signer, err := keys.NewSigner(keys.Ed25519, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := json.Marshal(Entry{Name: "a", Type: keys.Ed25519, Public: signer.Public(), DID: "did:chancery:mercy", KeyURL: "did:chancery:mercy#key-1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var entry, again Entry
		if json.Unmarshal(raw, &entry) != nil {
			return
		}
		written, err := json.Marshal(entry)
		if err != nil {
			t.Skip() // a year that JSON cannot hold
		}
		if err := json.Unmarshal(written, &again); err != nil || fmt.Sprint(again) != fmt.Sprint(entry) {
			t.Fatalf("%+v, %v; not %+v", again, err, entry)
		}
	})
}
