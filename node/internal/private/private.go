// Package private tells whether others may read what is secret.
package private

import (
	"errors"
	"fmt"
	"os"
	"runtime"
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
