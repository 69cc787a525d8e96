package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
	"github.com/chancery/chancery/node/signer"
)

// openValidator opens what signs for the node: the key in the home's file, or a signer in
// another process. It decides whether the key must be watched first.
func (n *Node) openValidator(version int64) (types.PrivValidator, error) {
	c := n.config.Signer
	n.keys = new(guardedKeys)
	if !c.Remote() {
		promoted, err := promote(n.home)
		if err != nil {
			return nil, err
		}
		if promoted != "" {
			n.log.Info("the next validator key has taken the place of the old one, which lies in the folder beside", "folder", n.home.RetiredKeys(), "validator", promoted)
		}
		last, err := signer.ReadState(n.home.ValidatorStateFile())
		if err != nil {
			return nil, fmt.Errorf("read what the validator key signed last: %w", err)
		}
		pv := privval.LoadFilePV(n.home.ValidatorKeyFile(), n.home.ValidatorStateFile())
		n.keys.add(guardedKey{address: pv.GetAddress(), state: n.home.ValidatorStateFile()})
		if c.WatchBlocks > 0 && (last.Height > 0 || version > 0) {
			n.watch = newStartWatch(c.WatchBlocks, c.WatchTime.Std(), n.log)
		}
		return pv, nil
	}
	public, err := hex.DecodeString(c.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("signer.public_key: %w", err)
	}
	network, where, err := signer.SplitAddress(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("signer.listen: %w", err)
	}
	o := signer.RemoteOptions{
		Address: c.Listen, ChainID: n.genesis.ChainID, Key: ed25519.PubKey(public), Timeout: c.Timeout.Std(), Log: n.log.With("part", "signer"),
	}
	if network == "unix" {
		o.Address = "unix://" + n.home.Resolve(where)
	} else {
		own, err := p2p.LoadNodeKey(n.home.NodeKeyFile())
		if err != nil {
			return nil, fmt.Errorf("read the node key: %w", err)
		}
		o.Own, o.Signer = own.PrivKey, p2p.ID(c.ID)
	}
	if n.remote, err = signer.Listen(o); err != nil {
		return nil, err
	}
	recorded, err := signer.Record(n.remote, n.home.ValidatorStateFile())
	if err != nil {
		return nil, errors.Join(err, n.remote.Close())
	}
	n.keys.add(guardedKey{address: o.Key.Address(), state: n.home.ValidatorStateFile()})
	if c.WatchBlocks > 0 {
		n.watch = newStartWatch(c.WatchBlocks, c.WatchTime.Std(), n.log)
	}
	return closing{recorded, n.remote}, nil
}

// closing is a validator key that is recorded, whose connection the engine closes.
type closing struct {
	*signer.Recorded
	remote *signer.Remote
}

// Close implements io.Closer.
func (c closing) Close() error { return c.remote.Close() }

// maySign says why the key must not sign now.
func (n *Node) maySign() error {
	if n.foreign.Load() {
		return errForeign
	}
	if n.hold != nil {
		if err := n.hold.may(); err != nil {
			return err
		}
	}
	if n.watch != nil {
		return n.watch.may()
	}
	return nil
}

// signerReach tells whether the key is in reach, and says why where it is not.
func (n *Node) signerReach() (bool, string) {
	if n.remote == nil {
		return true, ""
	}
	here, since := n.remote.Connected()
	if here {
		return true, "connected"
	}
	return false, fmt.Sprintf("away for %s; the validator signs nothing", time.Since(since).Round(time.Second))
}

// nextEvery is how often the node looks whether a next validator key was made.
const nextEvery = time.Second

// followNext takes the next validator key when 'chancery validator rotate' has made it. It
// signs from the height on at which the chain makes it a validator.
func (n *Node) followNext(ctx context.Context) {
	tick := time.NewTicker(nextEvery)
	defer tick.Stop()
	for {
		if fileExists(n.home.NextValidatorKeyFile()) {
			if err := n.takeNext(); err != nil {
				n.log.Error("the next validator key cannot be used; the current one signs on", "error", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) takeNext() error {
	if _, err := signer.ReadKey(n.home.NextValidatorKeyFile()); err != nil {
		return err
	}
	if _, err := signer.ReadState(n.home.NextValidatorStateFile()); err != nil {
		return err
	}
	pv := privval.LoadFilePV(n.home.NextValidatorKeyFile(), n.home.NextValidatorStateFile())
	n.keys.add(guardedKey{address: pv.GetAddress(), state: n.home.NextValidatorStateFile()})
	if err := n.engine.SetNext(pv); err != nil {
		return err
	}
	n.log.Info("the next validator key is ready; it takes over when the chain makes it a validator", "validator", pv.GetAddress().String())
	return nil
}

// ErrNext says that a home has a next validator key already.
var ErrNext = errors.New("the home has a next validator key already")

// MakeNextKey makes the key that is to take the place of a home's validator key. The file of
// what it signed comes first: a key without it is not used.
func MakeNextKey(home config.Home) (ed25519.PubKey, error) {
	if fileExists(home.NextValidatorKeyFile()) {
		return nil, ErrNext
	}
	key := ed25519.GenPrivKey()
	if err := signer.WriteState(home.NextValidatorStateFile(), signer.State{}); err != nil {
		return nil, err
	}
	public := key.PubKey()
	raw, err := cmtjson.MarshalIndent(privval.FilePVKey{Address: public.Address(), PubKey: public, PrivKey: key}, "", "  ")
	if err != nil {
		return nil, err
	}
	return ed25519.PubKey(public.Bytes()), durable.Replace(home.NextValidatorKeyFile(), raw)
}

// promote puts the next validator key into the place of the current one, where it has signed:
// then the chain has made it a validator, and the old key is none any more. It may be stopped
// between any two steps and goes on at the next start:
//
//  1. copies of the old key and of what it signed into the folder of retired keys
//  2. what the next key signed into its place. With the old key it would sign nothing below
//  3. the next key into its place
//
// It returns the address of the key that took over, empty where none did.
func promote(home config.Home) (string, error) {
	if !fileExists(home.NextValidatorKeyFile()) {
		return "", nil
	}
	next, err := signer.ReadKey(home.NextValidatorKeyFile())
	if err != nil {
		return "", fmt.Errorf("read the next validator key: %w", err)
	}
	old, err := signer.ReadKey(home.ValidatorKeyFile())
	if err != nil {
		return "", fmt.Errorf("read the validator key: %w", err)
	}
	retired := filepath.Join(home.RetiredKeys(), old.PubKey().Address().String())
	state, err := signer.ReadState(home.NextValidatorStateFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Only step 2 takes it away, and step 1 was before it.
		if !fileExists(retired + "-key.json") {
			return "", fmt.Errorf("%s is missing, which says what the next validator key signed: restore it, or abandon the next key with 'chancery validator abandon'", home.NextValidatorStateFile())
		}
		return next.PubKey().Address().String(), rename(home.NextValidatorKeyFile(), home.ValidatorKeyFile())
	case err != nil:
		return "", fmt.Errorf("read what the next validator key signed last: %w", err)
	case state.Height == 0:
		return "", nil
	}
	if err := os.MkdirAll(home.RetiredKeys(), 0o700); err != nil {
		return "", err
	}
	for _, f := range []struct{ from, to string }{{home.ValidatorStateFile(), retired + "-state.json"}, {home.ValidatorKeyFile(), retired + "-key.json"}} {
		raw, err := os.ReadFile(f.from)
		if err != nil {
			return "", err
		}
		if err := durable.Replace(f.to, raw); err != nil {
			return "", err
		}
	}
	if err := syncDir(filepath.Dir(home.RetiredKeys())); err != nil {
		return "", err
	}
	if err := rename(home.NextValidatorStateFile(), home.ValidatorStateFile()); err != nil {
		return "", err
	}
	return next.PubKey().Address().String(), rename(home.NextValidatorKeyFile(), home.ValidatorKeyFile())
}

// rename replaces a file by another, on disk when it returns.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}
