// Package private reads what is secret, and tells whether others may.
package private

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/chancery/chancery/node/internal/durable"
)

// ErrPermissions says that others than the owner may read a private key.
var ErrPermissions = errors.New("others than its owner may read it")

// Check refuses a file that others than its owner may read.
func Check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %[2]s", ErrPermissions, path, mode)
	}
	return nil
}

// Read is the content of a file of at most so many bytes that its owner alone may read.
func Read(path string, most int64) ([]byte, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	return durable.Read(path, most)
}
