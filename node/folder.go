package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
)

// folder is the state.Files of a folder on disk.
type folder struct {
	dir  string
	lock *flock.Flock
}

// openFolder makes the folder, if it is not there, and locks it.
func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &folder{dir: dir, lock: flock.New(filepath.Join(dir, config.FolderLock), flock.SetPermissions(0o600))}
	free, err := f.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !free {
		return nil, fmt.Errorf("%s is in use (is another node running in this home?)", dir)
	}
	// The folder itself must outlast a power failure.
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, errors.Join(err, f.lock.Unlock())
	}
	return f, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// List implements state.Files.
func (f *folder) List() ([]string, error) { return durable.Files(f.dir, config.FolderLock) }

// Open implements state.Files.
func (f *folder) Open(name string) (io.ReadCloser, int64, error) { return durable.Open(f.path(name)) }

// Create implements state.Files.
func (f *folder) Create(name string) (state.File, error) {
	file, err := os.OpenFile(f.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return file, nil
}

// Truncate implements state.Files.
func (f *folder) Truncate(name string, size int64) error {
	file, err := os.OpenFile(f.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err = file.Truncate(size); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Rename implements state.Files.
func (f *folder) Rename(from, to string) error { return os.Rename(f.path(from), f.path(to)) }

// Remove implements state.Files.
func (f *folder) Remove(name string) error { return os.Remove(f.path(name)) }

// Sync implements state.Files.
func (f *folder) Sync() error { return syncDir(f.dir) }

// Close implements state.Files.
func (f *folder) Close() error { return f.lock.Unlock() }
