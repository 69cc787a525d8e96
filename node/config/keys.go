package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"

	"github.com/chancery/chancery/node/internal/private"
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

// NextNodeID is the node id of the key that waits to be taken. The error wraps
// fs.ErrNotExist where none waits, and ErrPermissions where others may read it.
func (h Home) NextNodeID() (string, error) { return idOf(h.NextNodeKeyFile()) }

// LastNodeID is the node id of the key before the latest change. The error is as that of
// NextNodeID.
func (h Home) LastNodeID() (string, error) { return idOf(h.LastNodeKeyFile()) }

func idOf(path string) (string, error) {
	if err := private.Check(path); err != nil {
		return "", fmt.Errorf("read the node key: %w", err)
	}
	key, err := p2p.LoadNodeKey(path)
	if err != nil {
		return "", fmt.Errorf("read the node key %s: %w", path, err)
	}
	return string(key.ID()), nil
}

// PrepareNodeKey makes the key that a start takes once the chain binds it, and returns
// its node id. Where one waits already, that one stays.
func (h Home) PrepareNodeKey() (id string, made bool, err error) {
	if id, err = h.NextNodeID(); !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	raw, err := cmtjson.Marshal(&p2p.NodeKey{PrivKey: ed25519.GenPrivKey()})
	if err != nil {
		return "", false, fmt.Errorf("make a node key: %w", err)
	}
	if err := replace(h.NextNodeKeyFile(), raw); err != nil {
		return "", false, fmt.Errorf("write the next node key: %w", err)
	}
	id, err = h.NextNodeID()
	return id, true, err
}

// ReplaceNodeKey puts the next node key in the place of the present one, and that one
// into LastNodeKeyFile. At each moment the home has a whole key.
func (h Home) ReplaceNodeKey() error {
	if _, err := h.NextNodeID(); err != nil {
		return err
	}
	if err := os.Remove(h.LastNodeKeyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace the node key: %w", err)
	}
	if err := os.Link(h.NodeKeyFile(), h.LastNodeKeyFile()); err != nil {
		return fmt.Errorf("keep the old node key: %w", err)
	}
	if err := os.Rename(h.NextNodeKeyFile(), h.NodeKeyFile()); err != nil {
		return fmt.Errorf("replace the node key: %w", err)
	}
	return nil
}

// ErrPermissions says that others than the owner may read a private key.
var ErrPermissions = private.ErrPermissions

// Keys reads the public halves of the home's keys. The error wraps ErrPermissions where a
// private one lies open.
func (h Home) Keys() (NodeKeys, error) {
	for _, path := range []string{h.NodeKeyFile(), h.ValidatorKeyFile()} {
		if err := private.Check(path); err != nil {
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
	if err := private.Check(h.NodeKeyFile()); err != nil {
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
