package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/keys"
)

type mode int

const (
	before mode = iota // the step does nothing
	half               // a write stops in the middle; other steps do nothing
	after              // the step is done, and reported as failed
)

var errDisk = errors.New("injected fault")

// faulty is the real disk until step at. That one fails, and with crash so does
// all that follows, as if the process had died.
type faulty struct {
	osDisk
	at    int
	mode  mode
	crash bool
	steps int
}

// fails reports whether the next step fails, and whether it is done all the same.
func (f *faulty) fails() (fails, done bool) {
	step := f.steps
	f.steps++
	if step == f.at {
		return true, f.mode == after
	}
	return f.crash && step > f.at, false
}

func (f *faulty) writeTemp(dir string, data []byte) (string, error) {
	fails, done := f.fails()
	if !fails {
		return f.osDisk.writeTemp(dir, data)
	}
	if f.steps-1 == f.at && f.mode == half {
		data, done = data[:len(data)/2], true
	}
	if !done {
		return "", errDisk
	}
	path, err := f.osDisk.writeTemp(dir, data)
	return path, errors.Join(errDisk, err)
}

func (f *faulty) do(step func() error) error {
	fails, done := f.fails()
	if !fails {
		return step()
	}
	if done {
		return errors.Join(errDisk, step())
	}
	return errDisk
}

func (f *faulty) rename(from, to string) error {
	return f.do(func() error { return f.osDisk.rename(from, to) })
}

func (f *faulty) remove(path string) error {
	return f.do(func() error { return f.osDisk.remove(path) })
}

func (f *faulty) syncDir(dir string) error {
	return f.do(func() error { return f.osDisk.syncDir(dir) })
}

// eachFault runs act on a keyring that holds the bound key "a", once for each step
// of act, failing that step in each way, and then check on a sound keyring over
// the same directory. failed says whether act returned an error.
func eachFault(t *testing.T, act func(k *Keyring) error, check func(t *testing.T, k *Keyring, a Entry, failed bool)) {
	t.Helper()
	for _, m := range []mode{before, half, after} {
		for _, crash := range []bool{false, true} {
			for at := 0; ; at++ {
				dir := filepath.Join(t.TempDir(), "keyring")
				sound := open(t, dir, Static(right))
				create(t, sound, "a")
				if err := sound.Bind("a", "did:chancery:mercy", "did:chancery:mercy#key-1"); err != nil {
					t.Fatal(err)
				}
				a, err := sound.Lookup("a")
				if err != nil {
					t.Fatal(err)
				}
				d := &faulty{at: at, mode: m, crash: crash}
				k := open(t, dir, (&asked{answers: []string{right, changed}}).ask)
				k.disk = d
				actErr := act(k)
				if actErr != nil && !errors.Is(actErr, errDisk) {
					t.Fatalf("step %d: %v", at, actErr)
				}
				t.Run(fmt.Sprintf("mode=%d,crash=%v,step=%d", m, crash, at), func(t *testing.T) {
					check(t, open(t, dir, Static(right)), a, actErr != nil)
					leftovers(t, dir)
				})
				if d.steps <= at {
					if actErr != nil || at == 0 {
						t.Fatalf("step %d of %d: %v", at, d.steps, actErr)
					}
					break
				}
			}
		}
	}
}

const changed = "the changed passphrase"

// leftovers fails the test if a write after a crash leaves temporary files.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	k := open(t, dir, nil)
	entries, err := k.List()
	if err != nil || len(entries) == 0 {
		return
	}
	if err := k.Bind(entries[0].Name, "", ""); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasPrefix(file.Name(), tempPrefix) {
			t.Errorf("%s remains", file.Name())
		}
	}
}

func unharmed(t *testing.T, k *Keyring, name string, want Entry) {
	t.Helper()
	works(t, k, name, want)
	got, err := k.Lookup(name)
	want.Name = name
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%+v, %v; not %+v", got, err, want)
	}
}

func TestAFailedCreateLeavesAWholeKeyOrNone(t *testing.T) {
	eachFault(t, func(k *Keyring) error {
		_, err := k.Create("b", keys.Ed25519)
		return err
	}, func(t *testing.T, k *Keyring, a Entry, failed bool) {
		unharmed(t, k, "a", a)
		b, err := k.Lookup("b")
		switch {
		case err == nil:
			works(t, k, "b", b)
		case failed && errors.Is(err, ErrNotFound):
			works(t, k, "b", create(t, k, "b"))
		default:
			t.Fatalf("failed %v: %v", failed, err)
		}
	})
}

func TestAFailedRenameLeavesTheKeyUnderOneName(t *testing.T) {
	eachFault(t, func(k *Keyring) error { return k.Rename("a", "b") }, func(t *testing.T, k *Keyring, a Entry, failed bool) {
		entries, err := k.List()
		if err != nil || len(entries) != 1 || !failed && entries[0].Name != "b" {
			t.Fatalf("failed %v: %+v, %v", failed, entries, err)
		}
		unharmed(t, k, entries[0].Name, a)
		if entries[0].Name == "a" {
			if err := k.Rename("a", "b"); err != nil {
				t.Fatal(err)
			}
			unharmed(t, k, "b", a)
		}
	})
}

func TestAFailedDeleteLeavesAWholeKeyOrNone(t *testing.T) {
	eachFault(t, func(k *Keyring) error { return k.Delete("a") }, func(t *testing.T, k *Keyring, a Entry, failed bool) {
		switch _, err := k.Lookup("a"); {
		case err == nil && failed:
			unharmed(t, k, "a", a)
		case errors.Is(err, ErrNotFound):
			works(t, k, "a", create(t, k, "a"))
		default:
			t.Fatalf("failed %v: %v", failed, err)
		}
	})
}

func TestAFailedBindLeavesTheOldBindingOrTheNew(t *testing.T) {
	eachFault(t, func(k *Keyring) error {
		return k.Bind("a", "did:chancery:charity", "did:chancery:charity#key-2")
	}, func(t *testing.T, k *Keyring, a Entry, failed bool) {
		got, err := k.Lookup("a")
		if err != nil {
			t.Fatal(err)
		}
		if got.DID != "did:chancery:charity" && !failed {
			t.Error("the binding is lost")
		}
		if got.DID == "did:chancery:charity" {
			a.DID, a.KeyURL = "did:chancery:charity", "did:chancery:charity#key-2"
		}
		unharmed(t, k, "a", a)
	})
}

func TestAFailedChangeOfPassphraseLeavesTheKeyUnderOneOfTheTwo(t *testing.T) {
	eachFault(t, func(k *Keyring) error { return k.ChangePassphrase() }, func(t *testing.T, k *Keyring, a Entry, failed bool) {
		if failed {
			again := open(t, k.dir, (&asked{answers: []string{right, changed}}).ask)
			if _, err := k.Signer("a"); err != nil && !errors.Is(err, ErrPassphrase) {
				t.Fatal(err)
			}
			if err := again.ChangePassphrase(); err != nil {
				t.Fatal(err)
			}
		}
		unharmed(t, open(t, k.dir, Static(changed)), "a", a)
	})
}

func TestAFailedRepairOfADescriptionHarmsNothing(t *testing.T) {
	eachFault(t, func(k *Keyring) error {
		if err := os.Remove(k.path("a", metaSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_, err := k.Signer("a")
		return err
	}, func(t *testing.T, k *Keyring, a Entry, _ bool) {
		a.DID, a.KeyURL = "", ""
		unharmed(t, k, "a", a)
	})
}
