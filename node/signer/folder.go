package signer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/gofrs/flock"

	"github.com/chancery/chancery/node/internal/durable"
	"github.com/chancery/chancery/node/internal/private"
)

// fileLimit bounds the small files of a folder.
const fileLimit = 64 << 10

// Settings is signer.toml.
type Settings struct {
	// ChainID is of the chain that the key signs for.
	ChainID string `toml:"chain_id"`
	// Node is where the node awaits its signer: unix:///PATH or tcp://NODEID@HOST:PORT.
	Node string `toml:"node"`
	// PKCS11 names the key in a token; without a module the key is in a file.
	PKCS11 PKCS11 `toml:"pkcs11"`
}

// PKCS11 names a key in a token. The PIN is in a file or in the environment alone.
type PKCS11 struct {
	Module  string `toml:"module"`   // path of the library
	Token   string `toml:"token"`    // label of the token
	Key     string `toml:"key"`      // label of the key pair
	PINFile string `toml:"pin_file"` // file with the PIN in its first line, relative to the folder
	PINEnv  string `toml:"pin_env"`  // environment variable with the PIN, where there is no file
}

// Check refuses settings that a signer cannot run with.
func (s Settings) Check() error {
	if s.ChainID == "" {
		return errors.New("chain_id: name the chain that the key signs for")
	}
	if _, _, err := SplitNode(s.Node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	p := s.PKCS11
	if p == (PKCS11{}) {
		return nil
	}
	if p.Module == "" || p.Token == "" || p.Key == "" {
		return errors.New("pkcs11: module, token and key go together")
	}
	if (p.PINFile == "") == (p.PINEnv == "") {
		return errors.New("pkcs11: name the PIN's file with pin_file, or its environment variable with pin_env")
	}
	return nil
}

// SplitNode is the address in a node's name, and the node's id, which stands before the host
// of a TCP address.
func SplitNode(node string) (address string, id p2p.ID, err error) {
	if strings.HasPrefix(node, "unix://") {
		_, _, err := SplitAddress(node)
		return node, "", err
	}
	rest, ok := strings.CutPrefix(node, "tcp://")
	name, where, named := strings.Cut(rest, "@")
	if raw, err := hex.DecodeString(name); !ok || !named || err != nil || len(raw) != p2p.IDByteLength || strings.ToLower(name) != name {
		return "", "", fmt.Errorf("%q names no node: write unix:///PATH or tcp://NODEID@HOST:PORT, with the id that 'chancery status' of the node shows", node)
	}
	address = "tcp://" + where
	_, _, err = SplitAddress(address)
	return address, p2p.ID(name), err
}

// Folder is where a signer keeps what it needs.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }

// SettingsFile is the configuration.
func (f Folder) SettingsFile() string { return f.path("signer.toml") }

// ConnectionKeyFile is the key that the node knows the signer by.
func (f Folder) ConnectionKeyFile() string { return f.path("connection_key.json") }

// KeyFile is the validator key, where it is in no token.
func (f Folder) KeyFile() string { return f.path("validator_key.json") }

// StateFile is what the validator key signed last.
func (f Folder) StateFile() string { return f.path("last_signed.json") }

// LockFile is the file whose lock a running signer holds.
func (f Folder) LockFile() string { return f.path("signer.lock") }

// ErrThere says that a folder holds a signer already.
var ErrThere = errors.New("the folder holds a signer already; its keys and its record of what was signed are never replaced")

// InitOptions is what a new folder is made with.
type InitOptions struct {
	Settings Settings
	// Key and State are of a validator whose key moves here, both or neither. Without them
	// a new key is made, or the token has one that signed nothing yet.
	Key   crypto.PrivKey
	State *State
}

// Init makes the folder of a signer. The settings come last: they mark one that is complete.
func Init(f Folder, o InitOptions) error {
	if err := o.Settings.Check(); err != nil {
		return err
	}
	if (o.Key == nil) != (o.State == nil) && o.Settings.PKCS11 == (PKCS11{}) {
		return errors.New("a key moves with its record of what it signed")
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	for _, path := range []string{f.SettingsFile(), f.ConnectionKeyFile(), f.KeyFile(), f.StateFile()} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("%w (%s)", ErrThere, path), err)
		}
	}
	var state State
	if o.State != nil {
		state = *o.State
	}
	// The record before the key: a key without one signs nothing.
	if err := WriteState(f.StateFile(), state); err != nil {
		return err
	}
	if o.Settings.PKCS11 == (PKCS11{}) {
		key := o.Key
		if key == nil {
			key = ed25519.GenPrivKey()
		}
		raw, err := cmtjson.MarshalIndent(privval.FilePVKey{Address: key.PubKey().Address(), PubKey: key.PubKey(), PrivKey: key}, "", "  ")
		if err != nil {
			return err
		}
		if err := durable.Replace(f.KeyFile(), raw); err != nil {
			return err
		}
	}
	raw, err := cmtjson.Marshal(p2p.NodeKey{PrivKey: ed25519.GenPrivKey()})
	if err != nil {
		return err
	}
	if err := durable.Replace(f.ConnectionKeyFile(), raw); err != nil {
		return err
	}
	return durable.Replace(f.SettingsFile(), o.Settings.text())
}

// text is the file of the settings. Quoted strings of Go are those of TOML.
func (s Settings) text() []byte {
	out := fmt.Appendf(nil, "# What this signer signs, and for which node; see docs/keys.md.\nchain_id = %q\nnode = %q\n", s.ChainID, s.Node)
	if p := s.PKCS11; p != (PKCS11{}) {
		out = fmt.Appendf(out, "\n[pkcs11]\nmodule = %q\ntoken = %q\nkey = %q\n", p.Module, p.Token, p.Key)
		if p.PINFile != "" {
			out = fmt.Appendf(out, "pin_file = %q\n", p.PINFile)
		} else {
			out = fmt.Appendf(out, "pin_env = %q\n", p.PINEnv)
		}
	}
	return out
}

// ReadKey reads a validator key in the engine's form.
func ReadKey(path string) (crypto.PrivKey, error) {
	raw, err := private.Read(path, fileLimit)
	if err != nil {
		return nil, err
	}
	var k privval.FilePVKey
	if err := cmtjson.Unmarshal(raw, &k); err != nil {
		return nil, fmt.Errorf("%s is no validator key: %w", path, err)
	}
	if k.PrivKey == nil || k.PrivKey.Type() != ed25519.KeyType {
		return nil, fmt.Errorf("%s holds no Ed25519 key", path)
	}
	if k.PubKey == nil || !k.PrivKey.PubKey().Equals(k.PubKey) {
		return nil, fmt.Errorf("%s: the private and the public half do not belong together", path)
	}
	return k.PrivKey, nil
}

// Signer is an open folder.
type Signer struct {
	Settings Settings
	// ID is what the node knows the signer by, over TCP.
	ID  p2p.ID
	Key *Guarded

	own   crypto.PrivKey
	lock  *flock.Flock
	close func() error // of the token
}

// ReadSettings reads the settings of a folder.
func ReadSettings(f Folder) (s Settings, err error) {
	raw, err := durable.Read(f.SettingsFile(), fileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("%s is no signer's folder; make one with 'chancery signer init': %w", f, err)
	}
	if err != nil {
		return s, err
	}
	meta, err := toml.Decode(string(raw), &s)
	if err != nil {
		return s, fmt.Errorf("%s: %w", f.SettingsFile(), err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return s, fmt.Errorf("%s: there is no key %s", f.SettingsFile(), unknown[0])
	}
	if err := s.Check(); err != nil {
		return s, fmt.Errorf("%s: %w", f.SettingsFile(), err)
	}
	return s, nil
}

// Open locks the folder and reads it; with a key in a token it logs into the token. Close
// the signer.
func Open(f Folder) (_ *Signer, err error) {
	settings, err := ReadSettings(f)
	if err != nil {
		return nil, err
	}
	s := &Signer{Settings: settings, close: func() error { return nil }}
	s.lock = flock.New(f.LockFile(), flock.SetPermissions(0o600))
	free, err := s.lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !free {
		return nil, fmt.Errorf("a signer runs in %s; stop it first", f)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	raw, err := private.Read(f.ConnectionKeyFile(), fileLimit)
	if err != nil {
		return nil, err
	}
	var own p2p.NodeKey
	if err := cmtjson.Unmarshal(raw, &own); err != nil || own.PrivKey == nil {
		return nil, errors.Join(fmt.Errorf("%s is no connection key", f.ConnectionKeyFile()), err)
	}
	s.own, s.ID = own.PrivKey, own.ID()
	var key crypto.PrivKey
	if s.Settings.PKCS11 == (PKCS11{}) {
		key, err = ReadKey(f.KeyFile())
	} else {
		var closeToken func() error
		if key, closeToken, err = openToken(f, s.Settings.PKCS11); err == nil {
			s.close = closeToken
		}
	}
	if err != nil {
		return nil, err
	}
	s.Key, err = Guard(key, f.StateFile(), s.Settings.ChainID)
	return s, err
}

// Close logs out of the token and gives the folder free.
func (s *Signer) Close() error { return errors.Join(s.close(), s.lock.Close()) }

// Run signs for the node until ctx ends; see Serve.
func (s *Signer) Run(ctx context.Context, log *slog.Logger) error {
	address, id, err := SplitNode(s.Settings.Node)
	if err != nil {
		return err
	}
	o := ServeOptions{Address: address, Key: s.Key, Log: log}
	if id != "" {
		o.Own, o.Node = s.own, id
	}
	return Serve(ctx, o)
}

// pin reads the PIN of a token.
func (p PKCS11) pin(f Folder) (string, error) {
	if p.PINEnv != "" {
		pin := os.Getenv(p.PINEnv)
		if pin == "" {
			return "", fmt.Errorf("the environment variable %s, which has the PIN of the token, is empty", p.PINEnv)
		}
		return pin, nil
	}
	path := p.PINFile
	if !filepath.IsAbs(path) {
		path = f.path(path)
	}
	raw, err := private.Read(path, fileLimit)
	if err != nil {
		return "", fmt.Errorf("read the PIN of the token: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s has no PIN in its first line", path)
	}
	return line, nil
}
