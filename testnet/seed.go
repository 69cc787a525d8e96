//go:build unix

package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/chancery/chancery/node/config"
)

// seed fills a node's home from another folder with what a node needs: configuration,
// keys, certificates, genesis and what the validator key signed last. A home that is there is left
// as it is, above all what its key signed last: an older copy could make the validator
// sign two blocks of one height. People's keyrings stay where they are.
func seed(from, to config.Home, uid, gid int) (filled bool, err error) {
	genesis, err := os.ReadFile(from.GenesisFile())
	if err != nil {
		return false, fmt.Errorf("read what to fill the home with: %w", err)
	}
	// The configuration is written last: it marks a home that is complete.
	if _, err := os.Stat(to.ConfigFile()); err == nil {
		have, err := os.ReadFile(to.GenesisFile())
		if err != nil {
			return false, fmt.Errorf("read the home that is there: %w", err)
		}
		if !bytes.Equal(genesis, have) {
			return false, fmt.Errorf("%s is a home of another network; remove its volume, or make the network under another name", to)
		}
		return false, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for a home: %w", err)
	}
	var files []string
	err = filepath.WalkDir(filepath.Dir(from.ConfigFile()), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || path == from.ConfigFile() {
			return err
		}
		files = append(files, path)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for what to fill the home with: %w", err)
	}
	if _, err := os.Stat(to.ValidatorStateFile()); errors.Is(err, fs.ErrNotExist) {
		files = append(files, from.ValidatorStateFile())
	} else if err != nil {
		return false, fmt.Errorf("look for a home: %w", err)
	}
	for _, path := range append(files, from.ConfigFile()) {
		rel, err := filepath.Rel(string(from), path)
		if err != nil {
			return false, fmt.Errorf("fill the home: %w", err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return false, fmt.Errorf("fill the home: %w", err)
		}
		if err := put(string(to), rel, raw, uid, gid); err != nil {
			return false, fmt.Errorf("fill the home: %w", err)
		}
	}
	return true, nil
}

// put writes a file, and the folders that it is in, for their owner alone.
func put(home, rel string, raw []byte, uid, gid int) error {
	dir := home
	for _, part := range strings.Split(filepath.Dir(rel), string(filepath.Separator)) {
		for _, d := range []string{dir, filepath.Join(dir, part)} {
			if err := os.Mkdir(d, 0o700); errors.Is(err, fs.ErrExist) {
				continue
			} else if err != nil {
				return err
			}
			if err := os.Chown(d, uid, gid); err != nil {
				return err
			}
		}
		dir = filepath.Join(dir, part)
	}
	path := filepath.Join(home, rel)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Chown(uid, gid), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// owner reads UID:GID.
func owner(text string) (uid, gid int, err error) {
	a, b, ok := strings.Cut(text, ":")
	uid, errUID := strconv.Atoi(a)
	gid, errGID := strconv.Atoi(b)
	if !ok || errUID != nil || errGID != nil || uid < 0 || gid < 0 {
		return 0, 0, usagef("--owner %q: want UID:GID in numbers", text)
	}
	return uid, gid, nil
}
