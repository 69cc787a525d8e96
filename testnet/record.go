package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/chancery/chancery/node/config"
)

// recordVersion is the form of testnet.json.
const recordVersion = 1

// lockPatience is how long another command on the same network is waited for.
const lockPatience = 15 * time.Second

// Record is testnet.json.
type Record struct {
	Version    int         `json:"version"`
	ChainID    string      `json:"chain_id"`
	BasePort   int         `json:"base_port"`
	Validators []Validator `json:"validators"`
	// Containers is there where the nodes run in containers instead of as processes of
	// this program.
	Containers *Containers `json:"containers,omitempty"`
}

// Validator is one member's node.
type Validator struct {
	Index        int    `json:"index"`
	Organisation string `json:"organisation"` // DID
	Home         string `json:"home"`         // relative to the network's folder
	NodeID       string `json:"node_id"`
	RPC          string `json:"rpc"`       // host:port
	P2P          string `json:"p2p"`       // host:port; of a container, in the network of validators
	Telemetry    string `json:"telemetry"` // host:port; of a container, within it
	// Process is the node's, absent when it was stopped in good order.
	Process *Process `json:"process,omitempty"`
}

// Containers is what the record says of a network in containers.
type Containers struct {
	// Project begins the names of everything that the network has in the engine.
	Project string `json:"project"`
	Image   string `json:"image"`
}

// Process is a process of this machine.
type Process struct {
	PID int `json:"pid"`
	// Started tells apart processes with one id: clock ticks since boot where there
	// is /proc, otherwise the date as ps prints it.
	Started string `json:"started"`
}

// Dir is a network's folder.
type Dir string

func (d Dir) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// RecordFile is testnet.json.
func (d Dir) RecordFile() string { return d.path("testnet.json") }

// PassphraseFile holds the passphrase of every keyring of the network.
func (d Dir) PassphraseFile() string { return d.path("passphrase") }

// Receipts is the folder of the demonstration's receipts.
func (d Dir) Receipts() string { return d.path("receipts") }

func (d Dir) lockFile() string   { return d.path(".lock") }
func (d Dir) makingFile() string { return d.path(".making") }

// Home is the home of a validator.
func (d Dir) Home(v Validator) config.Home { return config.Home(d.path(v.Home)) }

// LogFile is what a validator's process writes.
func (d Dir) LogFile(v Validator) string { return d.path(v.Home, "node.log") }

// ComposeFile describes a network in containers to compose.
func (d Dir) ComposeFile() string { return d.path("compose.yaml") }

// errNoNetwork says that there is no network in a folder.
var errNoNetwork = errors.New("there is no network")

// Load reads the record of a network.
func Load(d Dir) (*Record, error) {
	raw, err := os.ReadFile(d.RecordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s; make one with 'chancery testnet start --dir %s'", errNoNetwork, d, d)
	}
	if err != nil {
		return nil, fmt.Errorf("read the network's record: %w", err)
	}
	r := new(Record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; remove %s and start anew", d.RecordFile(), err, d)
	}
	if r.Version != recordVersion || len(r.Validators) == 0 {
		return nil, fmt.Errorf("%s is of version %d, this program reads version %d; remove %s and start anew", d.RecordFile(), r.Version, recordVersion, d)
	}
	return r, nil
}

// save writes the record whole or not at all. The caller holds the lock.
func (d Dir) save(r *Record) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the network's record: %w", err)
	}
	return replace(d.RecordFile(), append(raw, '\n'), 0o600)
}

// change reads the record, lets fn change it and writes it back, while no other
// command does.
func (d Dir) change(ctx context.Context, fn func(*Record) error) error {
	return d.locked(ctx, func() error {
		r, err := Load(d)
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		return d.save(r)
	})
}

// locked runs fn while no other command holds the network's lock.
func (d Dir) locked(ctx context.Context, fn func() error) error {
	if _, err := os.Stat(string(d)); err != nil {
		return fmt.Errorf("%w in %s; make one with 'chancery testnet start --dir %s'", errNoNetwork, d, d)
	}
	lock := flock.New(d.lockFile(), flock.SetPermissions(0o600))
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	held, err := lock.TryLockContext(wait, 20*time.Millisecond)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded) || err == nil && !held:
		return fmt.Errorf("another command is at work on %s; try again when it has finished", d)
	case err != nil:
		return fmt.Errorf("lock %s: %w", d.lockFile(), err)
	}
	defer lock.Close()
	return fn()
}

// replace writes a file so that it is there whole or as it was before.
func replace(path string, raw []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(raw)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
