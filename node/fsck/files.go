package fsck

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/internal/durable"
)

// keys checks the node's and the validator's key, and what the latter signed last.
func (c *checker) keys() error {
	if _, err := p2p.LoadNodeKey(c.home.NodeKeyFile()); err != nil {
		c.problem(c.home.NodeKeyFile(), 0, "put your copy of the key there", "the node key cannot be read: %v", err)
	}
	if _, err := checkpoint.ReadKey(c.home.CheckpointKeyFile(), checkpoint.LogRole); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.problem(c.home.CheckpointKeyFile(), 0, "put your copy of the key there, or move the file away and give witnesses the new key", "the key that signs checkpoints cannot be used: %v", err)
	}
	var key privval.FilePVKey
	if c.config.Signer.Remote() {
		public, err := c.config.Keys(c.home)
		if err != nil {
			c.problem(c.home.ConfigFile(), 0, "see docs/keys.md", "the signer's key: %v", err)
			return nil
		}
		key.PubKey = ed25519.PubKey(public.Validator)
		return c.signed(key)
	}
	raw, err := os.ReadFile(c.home.ValidatorKeyFile())
	if err == nil {
		err = cmtjson.Unmarshal(raw, &key)
	}
	switch {
	case err != nil:
	case key.PrivKey == nil || key.PubKey == nil:
		err = errors.New("it holds no key")
	case !key.PrivKey.PubKey().Equals(key.PubKey) || !bytes.Equal(key.PubKey.Address(), key.Address):
		err = errors.New("its private and its public half do not belong together")
	}
	if err != nil {
		c.problem(c.home.ValidatorKeyFile(), 0, "put your copy of the key there", "the validator key cannot be used: %v", err)
		return nil
	}
	return c.signed(key)
}

// signed checks what the validator key signed last.
func (c *checker) signed(key privval.FilePVKey) error {
	if err := c.lastSigned(key); err != nil {
		c.problem(c.home.ValidatorStateFile(), 0,
			"put the newest copy of the file there. If there is none: restore the home from a backup, after which the validator waits until it is safe to sign", "what the validator key signed last: %v", err)
	}
	return nil
}

// steps are what a validator signs of a height in turn.
const (
	stepPropose   = 1
	stepPrevote   = 2
	stepPrecommit = 3
)

// lastSigned checks the file by the signature in it, which covers height, round and step.
// A file without a signature is one of a validator that signed nothing since the home was
// made or restored; then restoring says from which height on it may.
func (c *checker) lastSigned(key privval.FilePVKey) error {
	raw, err := os.ReadFile(c.home.ValidatorStateFile())
	if err != nil {
		return err
	}
	var s privval.FilePVLastSignState
	if err := cmtjson.Unmarshal(raw, &s); err != nil {
		return err
	}
	if again, err := cmtjson.MarshalIndent(s, "", "  "); err != nil || !bytes.Equal(again, raw) {
		return errors.New("the file is not as the node writes it")
	}
	if len(s.SignBytes) == 0 && len(s.Signature) == 0 {
		floor, err := node.SigningFloor(c.home)
		if err != nil {
			return err
		}
		if s.Height != floor || s.Round != 0 || s.Height > 0 && s.Step != stepPrecommit || s.Height == 0 && s.Step != 0 {
			return fmt.Errorf("it says height %d, round %d, step %d without a signature", s.Height, s.Round, s.Step)
		}
		return nil
	}
	if !key.PubKey.VerifySignature(s.SignBytes, s.Signature) {
		return errors.New("the signature in it does not verify")
	}
	height, round, step := int64(0), int64(0), int8(0)
	if s.Step == stepPropose {
		var p cmtproto.CanonicalProposal
		if err := protoio.UnmarshalDelimited(s.SignBytes, &p); err != nil {
			return err
		}
		if p.Type == cmtproto.ProposalType {
			step = stepPropose
		}
		height, round = p.Height, p.Round
	} else {
		var v cmtproto.CanonicalVote
		if err := protoio.UnmarshalDelimited(s.SignBytes, &v); err != nil {
			return err
		}
		switch v.Type {
		case cmtproto.PrevoteType:
			step = stepPrevote
		case cmtproto.PrecommitType:
			step = stepPrecommit
		}
		height, round = v.Height, v.Round
	}
	if s.Height != height || int64(s.Round) != round || s.Step != step {
		return fmt.Errorf("it says height %d, round %d, step %d, and what was signed says %d, %d, %d", s.Height, s.Round, s.Step, height, round, step)
	}
	return nil
}

// checkpoints computes the log of blocks anew, and compares it with the headers.
func (c *checker) checkpoints() error {
	dir := c.home.Checkpoints()
	const remedy = "remove data/checkpoints/head: the node computes the log of blocks anew at its next start"
	n, err := checkpoint.CheckFolder(dir, checkpoint.Origin(c.report.ChainID), func(height int64) []byte {
		c.progress("log of blocks", height)
		return c.headers[height].hash
	})
	if err != nil {
		c.problem(filepath.Join(dir, "hashes"), n, remedy, "%v", err)
	}
	for _, name := range []string{"signed", "witnessed"} {
		path := filepath.Join(dir, name)
		if _, err := durable.ReadSealed(path, sealedLimit); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.problem(path, 0, "move the file away: the witnesses know what this node signed", "%v", err)
		}
	}
	return nil
}

// sealedLimit is more than any of the small files holds.
const sealedLimit = 256 << 20

// sealed checks the small files that carry a checksum in their last line, and looks for
// files that no part of the node wrote.
func (c *checker) sealed() error {
	for _, dir := range []string{c.home.Judgement(), c.home.Webhooks()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // the node begins what is not there
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
				continue // left by a crash while it was written; nothing reads it
			}
			if _, err := durable.ReadSealed(path, sealedLimit); err != nil {
				c.problem(path, 0, "restore the file from a backup, or move it away: the node begins a new one", "%v", err)
			}
		}
	}
	if path := c.home.RestoredFile(); exists(path) {
		if _, err := node.SigningFloor(c.home); err != nil {
			c.problem(path, 0, "restore the home from the backup again", "%v", err)
		}
	}
	return nil
}
