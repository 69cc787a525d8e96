package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	tempPrefix = ".tmp-"
	// maxFile bounds what is read of a file, in bytes. The largest that is written
	// has about 6 KiB.
	maxFile = 64 << 10
)

// disk is what the keyring does to files, one step a method, so that tests can
// fail each.
type disk interface {
	// writeTemp writes data to a new file in dir and flushes it to the medium. It
	// may return a path and an error both.
	writeTemp(dir string, data []byte) (path string, err error)
	rename(from, to string) error
	remove(path string) error
	// syncDir flushes the names in dir to the medium.
	syncDir(dir string) error
}

type osDisk struct{}

func (osDisk) writeTemp(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) remove(path string) error { return os.Remove(path) }

func (osDisk) syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be flushed there
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// replace puts data at path: a crash at any moment leaves all of it there, or what
// was there before.
func replace(d disk, path string, data []byte) error {
	dir := filepath.Dir(path)
	temp, err := d.writeTemp(dir, data)
	if err == nil {
		err = d.rename(temp, path)
	}
	if err != nil {
		if temp != "" {
			_ = d.remove(temp) // otherwise sweep does
		}
		return err
	}
	if err := d.syncDir(dir); err != nil {
		return fmt.Errorf("written, but it may not survive a power failure: %w", err)
	}
	return nil
}

// sweep removes the temporary files of writers that died. The caller holds the lock.
func sweep(d disk, dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if strings.HasPrefix(file.Name(), tempPrefix) {
			if err := d.remove(filepath.Join(dir, file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, path, maxFile)
	}
	return raw, nil
}
