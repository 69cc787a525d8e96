package importer

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"

	"github.com/chancery/chancery/modules/consent/commitment"
)

// Salts keeps one salt per scope and identifier. Salts never reach the chain.
type Salts interface {
	// Salt is the salt of an identifier in a scope, at least 16 bytes; a new one is
	// drawn and kept when there is none.
	Salt(scope, identifier string) ([]byte, error)
}

const saltSize = 32

type saltKey struct{ scope, identifier string }

// MemorySalts keeps salts in memory. Draw makes one; nil draws from crypto/rand.
type MemorySalts struct {
	Draw func(scope, identifier string) []byte

	mu    sync.Mutex // guards salts
	salts map[saltKey][]byte
}

// Salt implements Salts.
func (m *MemorySalts) Salt(scope, identifier string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := saltKey{scope, identifier}
	if s, ok := m.salts[k]; ok {
		return s, nil
	}
	var s []byte
	if m.Draw != nil {
		s = m.Draw(scope, identifier)
	} else {
		s = fresh()
	}
	if m.salts == nil {
		m.salts = map[saltKey][]byte{}
	}
	m.salts[k] = s
	return s, nil
}

func fresh() []byte {
	s := make([]byte, saltSize)
	_, _ = rand.Read(s) // never fails
	return s
}

// entry is one line of a salt file.
type entry struct {
	Scope      string `json:"scope"`
	Identifier string `json:"identifier"`
	Salt       string `json:"salt"`       // hexadecimal
	Commitment string `json:"commitment"` // hexadecimal
}

// SaltFile keeps salts in a file of JSON lines, each with scope, identifier, salt
// and commitment. Whoever reads it can tell whom the chain speaks of: it has mode
// 0600, belongs off the chain and into the backups of the organisation's secrets,
// and a person is forgotten by deleting their lines.
type SaltFile struct {
	mu     sync.Mutex // guards all below
	file   *os.File   // nil: nothing is kept
	lock   *flock.Flock
	memory map[saltKey][]byte
}

// OpenSaltFile opens or makes a salt file, for one process at a time. It refuses one
// that others can read.
func OpenSaltFile(path string) (*SaltFile, error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, ErrSaltFile.Wrap(err)
	}
	if !held {
		return nil, ErrSaltFile.With("another import uses %s", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, ErrSaltFile.Wrap(errors.Join(err, lock.Close()))
	}
	s := &SaltFile{file: f, lock: lock, memory: map[saltKey][]byte{}}
	whole, ended, err := s.load(f, path)
	if err == nil {
		// A line that an interruption cut off holds a salt that nothing was made with.
		err = f.Truncate(whole)
	}
	if err == nil && !ended {
		_, err = f.WriteString("\n")
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, ErrSaltFile.Wrap(errors.Join(err, s.Close()))
	}
	return s, nil
}

// syncFolder makes durable that a new file is in a folder.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadSaltFile reads a salt file, if there is one, and keeps new salts in memory
// alone.
func ReadSaltFile(path string) (*SaltFile, error) {
	s := &SaltFile{memory: map[saltKey][]byte{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, ErrSaltFile.Wrap(err)
	}
	_, _, err = s.load(f, path)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, ErrSaltFile.Wrap(err)
	}
	return s, nil
}

// load reads the lines and returns how many bytes of them are whole, and whether the
// last of these has its end.
func (s *SaltFile) load(f *os.File, path string) (whole int64, ended bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	if !info.Mode().IsRegular() {
		return 0, false, fmt.Errorf("%s is no regular file", path)
	}
	if info.Mode().Perm()&^0o600 != 0 {
		return 0, false, fmt.Errorf("%s has mode %o; it must not be open to others: chmod 600", path, info.Mode().Perm())
	}
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return 0, false, err
		}
		k, salt, err := parseEntry(line)
		switch {
		case last && err != nil:
			return whole, true, nil
		case err != nil:
			return 0, false, fmt.Errorf("line %d of %s %w", n, path, err)
		}
		s.memory[k] = salt
		whole += int64(len(line))
		if last {
			return whole, false, nil
		}
	}
}

func parseEntry(line string) (saltKey, []byte, error) {
	var e entry
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return saltKey{}, nil, errors.New("is not an entry")
	}
	salt, err := hex.DecodeString(e.Salt)
	if err != nil || len(salt) < commitment.MinSalt {
		return saltKey{}, nil, errors.New("has no salt")
	}
	return saltKey{e.Scope, e.Identifier}, salt, nil
}

// Salt implements Salts. A new salt is durable before it is returned.
func (s *SaltFile) Salt(scope, identifier string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := saltKey{scope, identifier}
	if salt, ok := s.memory[k]; ok {
		return salt, nil
	}
	salt := fresh()
	if s.file == nil {
		s.memory[k] = salt
		return salt, nil
	}
	c, err := commitment.New(salt, []byte(identifier))
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(entry{scope, identifier, hex.EncodeToString(salt), hex.EncodeToString(c)})
	if err != nil {
		return nil, err
	}
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		return nil, ErrSaltFile.Wrap(err)
	}
	if err := s.file.Sync(); err != nil {
		return nil, ErrSaltFile.Wrap(err)
	}
	s.memory[k] = salt
	return salt, nil
}

// Close closes the file.
func (s *SaltFile) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), s.lock.Close())
}

// secrets commits to what must not be on the chain in the clear.
type secrets struct {
	salts Salts
	scope string // the organisation's DID
}

// commit is the commitment to an identifier. One salt per identifier and scope.
func (s secrets) commit(identifier string) ([]byte, error) {
	salt, err := s.salts.Salt(s.scope, identifier)
	if err != nil {
		return nil, err
	}
	return commitment.New(salt, []byte(identifier))
}

// seal is the commitment to content: to its SHA-256, named by what it is.
func (s secrets) seal(what string, content []byte) ([]byte, error) {
	sum := sha256.Sum256(content)
	return s.commit(what + " sha256:" + hex.EncodeToString(sum[:]))
}

var alphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// personID is 26 characters of lower-case base32: 128 bits of a commitment.
func personID(commitment []byte) string { return alphabet.EncodeToString(commitment[:16]) }
