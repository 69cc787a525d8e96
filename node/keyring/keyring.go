package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/chancery/chancery/chain/keys"
)

const (
	keySuffix  = ".age"
	metaSuffix = ".json"
	lockName   = ".lock"

	// lockPatience is how long a writer waits for another process.
	lockPatience = 10 * time.Second
	// minPassphrase is the shortest new passphrase, in bytes.
	minPassphrase = 8

	// DefaultWorkFactor is log2 of scrypt's N for new files: 256 MiB and about a
	// second.
	DefaultWorkFactor = 18
	// maxWorkFactor is the largest that a file may ask for: 1 GiB.
	maxWorkFactor = 20
)

var (
	// ErrName says that a key's name is not of the form [a-z0-9][a-z0-9._-]{0,63}.
	ErrName = errors.New("invalid key name")
	// ErrNotFound says that the keyring has no key of that name.
	ErrNotFound = errors.New("no such key")
	// ErrExists says that the keyring has a key of that name already.
	ErrExists = errors.New("the key exists already")
	// ErrPassphrase says that the passphrase does not open the key. The next call
	// asks for it again.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrWeakPassphrase says that a new passphrase is too short.
	ErrWeakPassphrase = errors.New("passphrase too short")
	// ErrSame says that a passphrase was to be replaced by itself.
	ErrSame = errors.New("the new passphrase is the old one")
	// ErrNoPassphrase says that there is nobody and nothing to ask.
	ErrNoPassphrase = errors.New("no passphrase available")
	// ErrDamaged says that a file is not what this package writes.
	ErrDamaged = errors.New("damaged file")
	// ErrPermissions says that others than the owner can enter the directory.
	ErrPermissions = errors.New("the keyring is open to other users")
	// ErrBusy says that another process holds the keyring's lock.
	ErrBusy = errors.New("the keyring is in use by another process")
	// ErrBinding says that a DID and a key URL do not fit together.
	ErrBinding = errors.New("invalid binding")
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Option changes how a keyring is opened.
type Option func(*Keyring)

// WorkFactor sets log2 of scrypt's N for the files that the keyring writes, 1 to
// 20; the default is DefaultWorkFactor. Less than 15 protects nothing and is for
// tests.
func WorkFactor(logN int) Option {
	return func(k *Keyring) { k.workFactor = logN }
}

// Keyring is an open directory of keys. It is safe for concurrent use, also by
// several processes.
type Keyring struct {
	dir        string
	ask        PassphraseFunc
	workFactor int
	disk       disk
	patience   time.Duration

	mu sync.Mutex // held through each operation; guards known
	// known returns the passphrase, nil until it was asked and found right. It is
	// a closure so that printing a Keyring does not show it.
	known func() string
}

// Open opens the keyring in dir and makes the directory if there is none. The
// passphrase is asked when a key is first created or used; with a nil function,
// keys can only be listed, renamed, bound and deleted. The error wraps
// ErrPermissions if others can enter dir.
func Open(dir string, passphrase PassphraseFunc, options ...Option) (*Keyring, error) {
	k := &Keyring{dir: dir, ask: passphrase, workFactor: DefaultWorkFactor, disk: osDisk{}, patience: lockPatience}
	for _, option := range options {
		option(k)
	}
	if k.workFactor < 1 || k.workFactor > maxWorkFactor {
		return nil, fmt.Errorf("keyring: work factor %d: use 15 to %d", k.workFactor, maxWorkFactor)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keyring: make the directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("keyring: %w: %s has mode %04o; run: chmod 700 %[2]s", ErrPermissions, dir, mode)
	}
	return k, nil
}

// Create makes a key from the system's randomness and stores it. The error wraps
// ErrName, ErrExists, keys.ErrType or one of the passphrase errors. After any
// other error the key may have been stored nevertheless: look it up.
func (k *Keyring) Create(name string, t keys.Type) (Entry, error) {
	var seed [keys.SeedSize]byte
	rand.Read(seed[:]) // never fails: it ends the process instead
	defer clear(seed[:])
	return k.Import(name, t, seed[:])
}

// Import stores the key that keys.NewSigner derives from seed. The caller may
// overwrite seed afterwards. Errors are those of Create and keys.ErrSeed.
func (k *Keyring) Import(name string, t keys.Type, seed []byte) (Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add(Entry{Name: name, Type: t, Created: time.Now().UTC().Truncate(time.Second)}, seed)
}

// Restore stores the key in a backup that Export made, under the name that it had
// if name is empty. It asks for the backup's passphrase, then for the keyring's.
// The error wraps ErrPassphrase or ErrDamaged if the backup cannot be opened.
func (k *Keyring) Restore(name string, backup []byte) (Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	passphrase, err := k.askFor("Passphrase of the backup", false)
	if err != nil {
		return Entry{}, err
	}
	s, err := unsealArmored(backup, passphrase)
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: the backup: %w", err)
	}
	defer clear(s.Seed)
	entry, err := s.entry()
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: the backup: %w", err)
	}
	if name != "" {
		entry.Name = name
	}
	return k.add(entry, s.Seed)
}

// Signer opens the key. It asks for the passphrase unless an earlier call found
// it. If the key's .json file is lost, Signer writes it anew, without a binding.
// The error wraps ErrNotFound, ErrDamaged or one of the passphrase errors.
func (k *Keyring) Signer(name string) (keys.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.unseal(name)
	if err != nil {
		return nil, err
	}
	defer clear(s.Seed)
	sealed, err := s.entry()
	if err != nil {
		return nil, fmt.Errorf("keyring: %s: %w", k.path(name, keySuffix), err)
	}
	sealed.Name = name

	entry, err := k.entry(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := k.locked(func() error { return k.writeEntry(sealed) }); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case !entry.Public.Equal(sealed.Public):
		return nil, fmt.Errorf("keyring: %w: %s states another public key than %s holds; move it away and it is written anew",
			ErrDamaged, k.path(name, metaSuffix), k.path(name, keySuffix))
	}
	return keys.NewSigner(sealed.Type, s.Seed)
}

// List returns the keys in the order of their names. A key whose .json file
// cannot be read is left out and named by the error, which is returned together
// with the others.
func (k *Keyring) List() ([]Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, err := k.names()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	var errs []error
	for _, name := range names {
		entry, err := k.entry(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entries = append(entries, entry)
	}
	return entries, errors.Join(errs...)
}

// Lookup returns what is known of a key without its passphrase. The error wraps
// ErrName, ErrNotFound or ErrDamaged.
func (k *Keyring) Lookup(name string) (Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.present(name); err != nil {
		return Entry{}, err
	}
	return k.entry(name)
}

// Rename gives a key another name. It needs no passphrase. The error wraps
// ErrName, ErrNotFound, ErrExists or ErrDamaged.
func (k *Keyring) Rename(from, to string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locked(func() error {
		if err := k.present(from); err != nil {
			return err
		}
		if err := k.absent(to); err != nil {
			return err
		}
		entry, err := k.entry(from)
		if err != nil {
			return err
		}
		entry.Name = to
		if err := k.writeEntry(entry); err != nil {
			return err
		}
		if err := k.disk.rename(k.path(from, keySuffix), k.path(to, keySuffix)); err != nil {
			return fmt.Errorf("keyring: rename %q: %w", from, err)
		}
		if err := k.disk.remove(k.path(from, metaSuffix)); err != nil {
			return fmt.Errorf("keyring: %q is now %q, but its old file remains: %w", from, to, err)
		}
		return k.settle()
	})
}

// Delete removes a key. It needs no passphrase. What the medium and its backups
// still hold of the file is encrypted. The error wraps ErrName or ErrNotFound.
func (k *Keyring) Delete(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locked(func() error {
		if err := k.present(name); err != nil {
			return err
		}
		if err := k.disk.remove(k.path(name, keySuffix)); err != nil {
			return fmt.Errorf("keyring: delete %q: %w", name, err)
		}
		if err := k.disk.remove(k.path(name, metaSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keyring: %q is deleted, but %s remains: %w", name, k.path(name, metaSuffix), err)
		}
		return k.settle()
	})
}

// Bind records which DID the key signs for, and the DID URL of the verification
// method that is the key, such as did:chancery:mercy and did:chancery:mercy#key-1.
// Two empty strings end the binding. The error wraps ErrName, ErrNotFound,
// ErrDamaged or ErrBinding.
func (k *Keyring) Bind(name, did, keyURL string) error {
	if err := checkBinding(did, keyURL); err != nil {
		return fmt.Errorf("keyring: bind %q: %w", name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locked(func() error {
		if err := k.present(name); err != nil {
			return err
		}
		entry, err := k.entry(name)
		if err != nil {
			return err
		}
		entry.DID, entry.KeyURL = did, keyURL
		return k.writeEntry(entry)
	})
}

// Export returns a backup of the key and its binding: an armored age file under a
// passphrase of its own, which is asked for twice. The age program opens it, and
// Restore takes it back. Errors are those of Signer and ErrWeakPassphrase.
func (k *Keyring) Export(name string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.unseal(name)
	if err != nil {
		return nil, err
	}
	defer clear(s.Seed)
	entry, err := k.entry(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.Name, s.DID, s.KeyURL = name, entry.DID, entry.KeyURL
	passphrase, err := k.askFor(fmt.Sprintf("Passphrase for the backup of %q", name), true)
	if err != nil {
		return nil, err
	}
	backup, err := sealArmored(s, passphrase, k.workFactor)
	if err != nil {
		return nil, fmt.Errorf("keyring: seal the backup of %q: %w", name, err)
	}
	return backup, nil
}

// ChangePassphrase asks for the old passphrase, unless an earlier call found it,
// and for a new one, and seals every key under the new one. If it fails half way,
// call it again with the same two passphrases: keys that are done are left alone.
// Every key opens with one of the two at any moment. The error wraps ErrDamaged or
// one of the passphrase errors.
func (k *Keyring) ChangePassphrase() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	names, err := k.names()
	if err != nil {
		return err
	}
	var before string
	if k.known != nil {
		before = k.known()
	} else if before, err = k.askFor(k.prompt(), false); err != nil {
		return err
	}
	after, err := k.askFor("New passphrase for the keyring "+k.dir, true)
	if err != nil {
		return err
	}
	if before == after {
		return fmt.Errorf("keyring: %w; if the environment holds it, unset %s and %s and type both",
			ErrSame, PassphraseVariable, PassphraseFileVariable)
	}
	err = k.locked(func() error {
		for _, name := range names {
			if err := k.reseal(name, before, after); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	k.known = func() string { return after }
	return nil
}

// reseal needs the lock.
func (k *Keyring) reseal(name, before, after string) error {
	s, err := k.unsealWith(name, before)
	if errors.Is(err, ErrPassphrase) {
		if done, err := k.unsealWith(name, after); err == nil {
			clear(done.Seed)
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer clear(s.Seed)
	sealed, err := seal(s, after, k.workFactor)
	if err != nil {
		return fmt.Errorf("keyring: seal %q: %w", name, err)
	}
	return k.write(k.path(name, keySuffix), sealed)
}

// add seals and stores a key. It needs mu.
func (k *Keyring) add(entry Entry, seed []byte) (Entry, error) {
	if err := k.absent(entry.Name); err != nil {
		return Entry{}, err
	}
	signer, err := keys.NewSigner(entry.Type, seed)
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: key %q: %w", entry.Name, err)
	}
	entry.Public = signer.Public()
	passphrase, err := k.sealingPassphrase()
	if err != nil {
		return Entry{}, err
	}
	sealed, err := seal(secret{
		Version: secretVersion,
		Type:    entry.Type.String(),
		Seed:    seed,
		Public:  entry.Public.Multibase(),
		Created: entry.Created,
	}, passphrase, k.workFactor)
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: seal %q: %w", entry.Name, err)
	}
	err = k.locked(func() error {
		if err := k.absent(entry.Name); err != nil {
			return err
		}
		if err := k.writeEntry(entry); err != nil {
			return err
		}
		return k.write(k.path(entry.Name, keySuffix), sealed)
	})
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

// unseal opens a key's .age file and remembers the passphrase that did. It needs mu.
func (k *Keyring) unseal(name string) (secret, error) {
	if err := k.present(name); err != nil {
		return secret{}, err
	}
	known := k.known
	if known == nil {
		passphrase, err := k.askFor(k.prompt(), false)
		if err != nil {
			return secret{}, err
		}
		known = func() string { return passphrase }
	}
	s, err := k.unsealWith(name, known())
	if errors.Is(err, ErrPassphrase) && k.known != nil {
		return secret{}, fmt.Errorf("keyring: %w: the key %q has another one than the rest of the keyring; move it to a directory of its own, or finish the change of passphrase",
			ErrPassphrase, name)
	}
	if err != nil {
		return secret{}, err
	}
	k.known = known
	return s, nil
}

func (k *Keyring) unsealWith(name, passphrase string) (secret, error) {
	path := k.path(name, keySuffix)
	sealed, err := readBounded(path)
	if err != nil {
		return secret{}, fmt.Errorf("keyring: read the key %q: %w", name, err)
	}
	s, err := unseal(sealed, passphrase)
	if err != nil {
		return secret{}, fmt.Errorf("keyring: %s: %w", path, err)
	}
	return s, nil
}

// sealingPassphrase returns the passphrase for a new key: the one of the keys that
// are there, or a new one for an empty keyring. It needs mu.
func (k *Keyring) sealingPassphrase() (string, error) {
	if k.known != nil {
		return k.known(), nil
	}
	names, err := k.names()
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		passphrase, err := k.askFor("New passphrase for the keyring "+k.dir, true)
		if err != nil {
			return "", err
		}
		k.known = func() string { return passphrase }
		return passphrase, nil
	}
	passphrase, err := k.askFor(k.prompt(), false)
	if err != nil {
		return "", err
	}
	var damaged []error
	for _, name := range names {
		s, err := k.unsealWith(name, passphrase)
		switch {
		case err == nil:
			clear(s.Seed)
			k.known = func() string { return passphrase }
			return passphrase, nil
		case errors.Is(err, ErrDamaged):
			damaged = append(damaged, err)
		default:
			return "", err
		}
	}
	return "", fmt.Errorf("keyring: no key is left to check the passphrase with; move the damaged files away: %w", errors.Join(damaged...))
}

func (k *Keyring) prompt() string { return "Passphrase of the keyring " + k.dir }

// askFor asks for a passphrase; with confirm, for a new one.
func (k *Keyring) askFor(prompt string, confirm bool) (string, error) {
	if k.ask == nil {
		return "", fmt.Errorf("keyring: %w: it was opened without one", ErrNoPassphrase)
	}
	passphrase, err := k.ask(prompt, confirm)
	if err != nil {
		return "", fmt.Errorf("keyring: %w", err)
	}
	defer clear(passphrase)
	switch {
	case len(passphrase) == 0:
		return "", fmt.Errorf("keyring: %w: it is empty", ErrNoPassphrase)
	case confirm && len(passphrase) < minPassphrase:
		return "", fmt.Errorf("keyring: %w: use at least %d characters", ErrWeakPassphrase, minPassphrase)
	}
	return string(passphrase), nil
}

func (k *Keyring) path(name, suffix string) string { return filepath.Join(k.dir, name+suffix) }

// names lists the keys in order.
func (k *Keyring) names() ([]string, error) {
	files, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("keyring: list the keys: %w", err)
	}
	var names []string
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name(), keySuffix); ok && nameForm.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("keyring: %w %.80q: use 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit", ErrName, name)
	}
	return nil
}

// present returns nil if the key exists.
func (k *Keyring) present(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	switch _, err := os.Lstat(k.path(name, keySuffix)); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("keyring: %w: %q in %s", ErrNotFound, name, k.dir)
	case err != nil:
		return fmt.Errorf("keyring: look for %q: %w", name, err)
	}
	return nil
}

// absent returns nil if the name is free.
func (k *Keyring) absent(name string) error {
	switch err := k.present(name); {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("keyring: %w: %q in %s; choose another name, or rename or delete that key", ErrExists, name, k.dir)
}

// locked runs fn while no other process writes to the keyring, after sweeping what
// a crash left behind. It needs mu.
func (k *Keyring) locked(fn func() error) error {
	lock := flock.New(filepath.Join(k.dir, lockName), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(context.Background(), k.patience)
	defer cancel()
	held, err := lock.TryLockContext(ctx, 20*time.Millisecond)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || err == nil && !held:
		return fmt.Errorf("keyring: %w: %s; try again when it has finished", ErrBusy, lock.Path())
	case err != nil:
		return fmt.Errorf("keyring: lock %s: %w", lock.Path(), err)
	}
	defer lock.Close()
	if err := sweep(k.disk, k.dir); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	return fn()
}

// write puts data at path durably: path holds all of it or is as it was before. It
// needs the lock.
func (k *Keyring) write(path string, data []byte) error {
	if err := replace(k.disk, path, data); err != nil {
		return fmt.Errorf("keyring: write %s: %w", path, err)
	}
	return nil
}

// settle makes renames and removals durable.
func (k *Keyring) settle() error {
	if err := k.disk.syncDir(k.dir); err != nil {
		return fmt.Errorf("keyring: the change is made but may not survive a power failure: %w", err)
	}
	return nil
}
