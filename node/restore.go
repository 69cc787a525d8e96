package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chancery/chancery/node/backup"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
	"github.com/chancery/chancery/node/signer"
)

// ErrOccupied says that a home that is to be restored holds data.
var ErrOccupied = errors.New("the home holds data already")

// RestoreOptions tunes Restore.
type RestoreOptions struct {
	// Passphrase opens the keys in the backup; empty: the home has its keys already.
	Passphrase string
	// Replace puts aside what the home holds.
	Replace bool
	// SignFrom is the height from which the validator may sign; see MarkRestored.
	SignFrom int64
	// Check is asked of the home before it takes its place; its error undoes all.
	Check func(config.Home) error
	// Progress, which may be nil, is told of bytes that were read.
	Progress func(int64)
}

// Restored is what Restore did.
type Restored struct {
	Manifest *backup.Manifest
	// Aside is where the data that the home held is now; empty: it held none.
	Aside string
}

// stageFolder is where a home is built before it takes its place. What a crash leaves there
// is removed by the next Restore.
const stageFolder = "restoring"

// Restore builds a home from a backup. Until all of it is checked and on disk, nothing in the
// home has changed but for the folder "restoring" in it; then data takes its place at last
// and at once.
func Restore(ctx context.Context, file string, home config.Home, o RestoreOptions) (_ *Restored, err error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }() // it is only read
	m, err := backup.Read(ctx, in, o.Progress, nil)
	if err != nil {
		return nil, err
	}
	if m.Header.Keys && o.Passphrase == "" && !fileExists(home.ValidatorKeyFile()) {
		return nil, errors.New("the home has no keys, those in the backup need a passphrase")
	}
	if err := os.MkdirAll(home.Data(), 0o700); err != nil {
		return nil, err
	}
	lock, err := offline.Lock(home)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	occupied, err := occupied(home)
	if err != nil {
		return nil, err
	}
	if occupied && !o.Replace {
		return nil, fmt.Errorf("%s: %w", home.Data(), ErrOccupied)
	}
	signed, err := signedUpTo(home)
	if err != nil {
		return nil, err
	}
	stage := config.Home(filepath.Join(string(home), stageFolder))
	if err := os.RemoveAll(string(stage)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(string(stage))) }()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	again, err := backup.Extract(ctx, in, stage, backup.Keys{Passphrase: o.Passphrase}, o.Progress)
	if err != nil {
		return nil, err
	}
	if again.Header != m.Header {
		return nil, fmt.Errorf("%s changed while it was read", file)
	}
	if err := o.configure(home, stage); err != nil {
		return nil, err
	}
	if err := MarkRestored(stage, m.Header.Height, signed, o.SignFrom); err != nil {
		return nil, err
	}
	if err := markNext(home, stage); err != nil {
		return nil, err
	}
	if o.Check != nil {
		if err := o.Check(stage); err != nil {
			return nil, err
		}
	}
	r := &Restored{Manifest: m}
	if occupied {
		r.Aside = aside(home, time.Now())
	}
	return r, settle(home, stage, r.Aside)
}

// aside is where a home's data is put, a path at which nothing is.
func aside(home config.Home, now time.Time) string {
	path := filepath.Join(string(home), "data.before-restore-"+strconv.FormatInt(now.Unix(), 10))
	for n := 2; ; n++ {
		if !fileExists(path) {
			return path
		}
		path = filepath.Join(string(home), fmt.Sprintf("data.before-restore-%d-%d", now.Unix(), n))
	}
}

// markNext carries over what a next validator key signed, which stays in the home. Where it
// signed, it is held below the same height as the current one.
func markNext(home, stage config.Home) error {
	if !fileExists(home.NextValidatorKeyFile()) {
		return nil
	}
	next, err := signer.ReadState(home.NextValidatorStateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing, which says what the next validator key signed: put it back, or move that key out of the home", home.NextValidatorStateFile())
	}
	if err != nil || next.Height == 0 {
		return errors.Join(err, signer.WriteState(stage.NextValidatorStateFile(), next))
	}
	floor, err := SigningFloor(stage)
	if err != nil {
		return err
	}
	if floor > next.Height {
		next = signer.State{Height: floor, Step: 3} // precommit, the last of a round
	}
	return signer.WriteState(stage.NextValidatorStateFile(), next)
}

// occupied tells whether a home holds more than what init and a lock leave.
func occupied(home config.Home) (bool, error) {
	entries, err := os.ReadDir(home.Data())
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		path := filepath.Join(home.Data(), e.Name())
		if path != home.LockFile() && path != home.ValidatorStateFile() && path != home.NextValidatorStateFile() {
			return true, nil
		}
	}
	return false, nil
}

// signedUpTo is the height that a home's record says that its key signed last, 0 where it
// has no record.
func signedUpTo(home config.Home) (int64, error) {
	if !fileExists(home.ValidatorStateFile()) {
		return 0, nil
	}
	s, err := signer.ReadState(home.ValidatorStateFile())
	return s.Height, err
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// configure completes the stage by what the home has: its configuration goes before that of
// the backup, its genesis file must be the same, and its keys too.
func (o RestoreOptions) configure(home, stage config.Home) error {
	type file struct {
		from, to, name string
		same           bool
	}
	for _, f := range []file{
		{home.ConfigFile(), stage.ConfigFile(), "configuration", false},
		{home.GenesisFile(), stage.GenesisFile(), "genesis file", true},
		{home.NodeKeyFile(), stage.NodeKeyFile(), "node key", true},
		{home.ValidatorKeyFile(), stage.ValidatorKeyFile(), "validator key", true},
	} {
		have, err := os.ReadFile(f.from)
		if errors.Is(err, fs.ErrNotExist) {
			if !fileExists(f.to) {
				if c, err := config.Load(stage); err == nil && c.Signer.Remote() && f.to == stage.ValidatorKeyFile() {
					continue // the key is in a signer
				}
				return fmt.Errorf("neither the home nor the backup has a %s: put your copy at %s, or restore a backup with keys and their passphrase", f.name, f.from)
			}
			continue
		}
		if err != nil {
			return err
		}
		if restored, err := os.ReadFile(f.to); err == nil && f.same && !sameText(have, restored) && !o.Replace {
			return fmt.Errorf("the %s at %s is another than that of the backup", f.name, f.from)
		} else if err == nil && f.same {
			continue
		}
		if err := os.WriteFile(f.to, have, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sameText tells whether two files hold the same, as JSON where they are JSON.
func sameText(a, b []byte) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, a) == nil && json.Compact(&y, b) == nil {
		return bytes.Equal(x.Bytes(), y.Bytes())
	}
	return bytes.Equal(a, b)
}

// settle puts the stage in place: configuration first, data at last.
func settle(home, stage config.Home, aside string) error {
	config := filepath.Dir(home.ConfigFile())
	if err := os.MkdirAll(config, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(stage.ConfigFile()))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(filepath.Dir(stage.ConfigFile()), e.Name()), filepath.Join(config, e.Name())); err != nil {
			return err
		}
	}
	if err := syncDir(config); err != nil {
		return err
	}
	if aside == "" {
		// Only what init made is there, and the lock.
		if err := os.RemoveAll(home.Data()); err != nil {
			return err
		}
	} else if err := os.Rename(home.Data(), aside); err != nil {
		return err
	}
	if err := os.Rename(stage.Data(), home.Data()); err != nil {
		return err
	}
	return syncDir(string(home))
}
