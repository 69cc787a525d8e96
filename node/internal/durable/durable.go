// Package durable writes small files so that they outlast a power failure, and reads
// folders of them.
package durable

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Replace puts raw at path with mode 0600: a crash at any moment leaves all of it
// there, or what was there before. The folder must exist.
func Replace(path string, raw []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be flushed there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("written, but it may not survive a power failure: %w", err)
	}
	return nil
}

// Read is the bytes of a file of at most limit bytes; a longer one is refused.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return raw, nil
}

// seal begins the last line of a sealed file: the SHA-256 of all before it follows.
const seal = "#sha256 "

// Seal adds to a text the line by which Unseal finds that a bit of it has changed.
func Seal(raw []byte) []byte {
	if n := len(raw); n > 0 && raw[n-1] != '\n' {
		raw = append(bytes.Clone(raw), '\n')
	}
	return fmt.Appendf(bytes.Clone(raw), "%s%x\n", seal, sha256.Sum256(raw))
}

// ErrSeal says that a file is not as it was written.
var ErrSeal = errors.New("the file is not as the node wrote it: its last line must be the SHA-256 of the lines before")

// Unseal is the text that Seal was given, with a line's end.
func Unseal(raw []byte) ([]byte, error) {
	at := bytes.LastIndexByte(bytes.TrimSuffix(raw, []byte("\n")), '\n') + 1
	if !bytes.Equal(raw, Seal(raw[:at])) {
		return nil, ErrSeal
	}
	return raw[:at], nil
}

// ReplaceSealed is Replace of a text with its seal.
func ReplaceSealed(path string, raw []byte) error { return Replace(path, Seal(raw)) }

// ReadSealed is the text of a sealed file of at most limit bytes.
func ReadSealed(path string, limit int64) ([]byte, error) {
	raw, err := Read(path, limit)
	if err != nil {
		return nil, err
	}
	text, err := Unseal(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
