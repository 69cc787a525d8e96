package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery/chancery/node/internal/durable"
	"github.com/chancery/chancery/node/internal/private"
)

// maxKey is the largest key file.
const maxKey = 4 << 10

// ReadKey reads a key's file. It refuses one that others than its owner may read, and one of
// another role. The error wraps fs.ErrNotExist where there is none.
func ReadKey(path string, role Role) (*Signer, error) {
	raw, err := private.Read(path, maxKey)
	if err != nil {
		return nil, err
	}
	s, err := ParseSigner(strings.TrimSuffix(string(raw), "\n"))
	if err == nil && s.role != role {
		err = ErrKey.With("it is of signature type %d, want %d", s.role, role)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// TakeKey reads a key's file, or makes the key of that name where there is none. made tells
// which.
func TakeKey(path, name string, role Role) (s *Signer, made bool, err error) {
	if s, err = ReadKey(path, role); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && s.name != name {
			return nil, false, fmt.Errorf("%s: %w", path, ErrOtherLog.With("the key is named %.64q, want %.64q", s.name, name))
		}
		return s, false, err
	}
	if s, err = NewSigner(name, role); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, err
	}
	if err := durable.Replace(path, []byte(s.Secret()+"\n")); err != nil {
		return nil, false, fmt.Errorf("write the key: %w", err)
	}
	return s, true, nil
}
