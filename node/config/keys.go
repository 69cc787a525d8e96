package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/node/signer"
)

// NodeKeys are the public halves of a home's two keys.
type NodeKeys struct {
	// NodeID is what peers know the node by: 40 hexadecimal digits.
	NodeID string
	// Validator is the Ed25519 public key that signs blocks, 32 bytes.
	Validator []byte
	// ValidatorAddress is 40 hexadecimal digits in upper case.
	ValidatorAddress string
}

// CreateKeys makes the home's keys, readable by the owner alone. It refuses a home
// that has one already.
func (h Home) CreateKeys() (NodeKeys, error) {
	for _, path := range []string{h.NodeKeyFile(), h.ValidatorKeyFile(), h.ValidatorStateFile()} {
		_, err := os.Stat(path)
		if err == nil {
			return NodeKeys{}, fmt.Errorf("%s exists already; a node's keys are never replaced in place", path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return NodeKeys{}, fmt.Errorf("create the node's keys: %w", err)
		}
	}
	node := &p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}
	if err := node.SaveAs(h.NodeKeyFile()); err != nil {
		return NodeKeys{}, fmt.Errorf("write the node key: %w", err)
	}
	key := ed25519.GenPrivKey()
	if err := saved(func() { privval.NewFilePV(key, h.ValidatorKeyFile(), h.ValidatorStateFile()).Save() }); err != nil {
		return NodeKeys{}, fmt.Errorf("write the validator key: %w", err)
	}
	return publicKeys(node, key.PubKey()), nil
}

// NodeID is what peers know a home's node by.
func NodeID(h Home) (string, error) {
	key, err := p2p.LoadNodeKey(h.NodeKeyFile())
	if err != nil {
		return "", fmt.Errorf("read the node key: %w", err)
	}
	return string(key.ID()), nil
}

// ErrPermissions says that others than the owner may read a private key.
var ErrPermissions = errors.New("others than its owner may read it")

// private refuses a file that others than its owner may read.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %[2]s", ErrPermissions, path, mode)
	}
	return nil
}

// Keys reads the public halves of the home's keys. The error wraps ErrPermissions where a
// private one lies open.
func (h Home) Keys() (NodeKeys, error) {
	for _, path := range []string{h.NodeKeyFile(), h.ValidatorKeyFile()} {
		if err := private(path); err != nil {
			return NodeKeys{}, fmt.Errorf("read the node's keys: %w", err)
		}
	}
	node, err := p2p.LoadNodeKey(h.NodeKeyFile())
	if err != nil {
		return NodeKeys{}, fmt.Errorf("read the node key: %w", err)
	}
	// The engine's reader ends the process when a file is missing or broken.
	if _, err := os.Stat(h.ValidatorStateFile()); err != nil {
		return NodeKeys{}, fmt.Errorf("read the validator key: %w", err)
	}
	key := privval.LoadFilePV(h.ValidatorKeyFile(), h.ValidatorStateFile()).Key.PubKey
	return publicKeys(node, key), nil
}

// Keys are the public halves of a node's keys, of which the validator's may be in a signer.
func (c Config) Keys(h Home) (NodeKeys, error) {
	if !c.Signer.Remote() {
		return h.Keys()
	}
	if err := private(h.NodeKeyFile()); err != nil {
		return NodeKeys{}, fmt.Errorf("read the node's keys: %w", err)
	}
	node, err := p2p.LoadNodeKey(h.NodeKeyFile())
	if err != nil {
		return NodeKeys{}, fmt.Errorf("read the node key: %w", err)
	}
	public, err := hex.DecodeString(c.Signer.PublicKey)
	if err != nil || len(public) != ed25519.PubKeySize {
		return NodeKeys{}, fmt.Errorf("signer.public_key: %q is not 64 hexadecimal digits", c.Signer.PublicKey)
	}
	if own, err := signer.ReadKey(h.ValidatorKeyFile()); err == nil && bytes.Equal(own.PubKey().Bytes(), public) {
		return NodeKeys{}, fmt.Errorf("%s holds the key that the signer holds too: move it away, so that no node can sign with it beside the signer", h.ValidatorKeyFile())
	}
	return publicKeys(node, ed25519.PubKey(public)), nil
}

func publicKeys(node *p2p.NodeKey, validator crypto.PubKey) NodeKeys {
	return NodeKeys{NodeID: string(node.ID()), Validator: validator.Bytes(), ValidatorAddress: validator.Address().String()}
}

// saved runs a function of the engine that panics when it cannot write.
func saved(fn func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	fn()
	return nil
}
