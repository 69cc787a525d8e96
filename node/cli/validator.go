package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/signer"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

func (a *app) validatorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "validator",
		Short: "Change the key that a node's validator signs with",
		Long: lines(
			"A validator's key is changed by one proposal: the new key takes the old one's place at one",
			"height, on the chain and in the node. The node needs no restart. See docs/keys.md.",
		),
	}
	c.AddCommand(a.validatorRotate(), a.validatorKeys(), a.validatorAbandon())
	return c
}

func (a *app) validatorRotate() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make the next validator key, and the proposal that puts it into place",
		Long: lines(
			"Makes a new key beside the one that the node signs with, asks the chain what that one is",
			"bound as, and writes the proposal to config/rotate-validator.json. The node finds the new",
			"key by itself. When the proposal has passed and acts, the new key signs from the same",
			"height on at which the chain makes it the validator, and the old one signs nothing any",
			"more. At the node's next start the old key is put aside into config/retired.",
			"",
			"Run again, it writes the proposal for the key that is there.",
		),
		Example: examples("chancery validator rotate --home /var/lib/chancery --node mercy.example:9090"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := a.homeDir()
			c, err := config.Load(h)
			if err != nil {
				return errHome.Wrap(err)
			}
			if c.Signer.Remote() {
				return sentence(errHome, "the key of %s is in a signer; see 'With a signer' in docs/keys.md for how it is changed", a.home)
			}
			current, err := signer.ReadKey(h.ValidatorKeyFile())
			if err != nil {
				return errHome.Wrap(err)
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			bound, err := a.boundValidator(ctx, current.PubKey().Bytes())
			if err != nil {
				return err
			}
			next, err := node.MakeNextKey(h)
			if errors.Is(err, node.ErrNext) {
				next, err = nextKey(h)
			}
			if err != nil {
				return errHome.Wrap(err)
			}
			raw, err := protojson.Marshal(&txv1.Message{Sum: &txv1.Message_BindValidator{BindValidator: &identityv1.BindValidator{
				PublicKey: next, Power: bound.Power, Organisation: bound.Organisation, Moniker: bound.Moniker, Replaces: bound.PublicKey,
			}}})
			if err != nil {
				return err
			}
			path := filepath.Join(filepath.Dir(h.ConfigFile()), "rotate-validator.json")
			if err := replace(path, fmt.Appendf(nil, "[%s]\n", raw)); err != nil {
				return err
			}
			return a.print(facts{
				{"home", a.home}, {"organisation", bound.Organisation}, {"moniker", bound.Moniker}, {"power", bound.Power},
				{"current validator", current.PubKey().Address().String()}, {"next validator", next.Address().String()},
				{"next validator key base64", base64.StdEncoding.EncodeToString(next)}, {"proposal", path},
				{"next", []string{
					fmt.Sprintf("Have the members vote: chancery gov propose --file %s --title 'Change the validator key of %s' --rationale WHY.pdf --from A-MEMBER'S-KEY", path, bound.Moniker),
					fmt.Sprintf("Watch: chancery validator keys --home %s", a.home),
					"When the new key signs, restart the node at a quiet time, and back up its new key.",
				}},
			})
		},
	}
	return c
}

// nextKey is the public half of the next key of a home.
func nextKey(h config.Home) (ed25519.PubKey, error) {
	key, err := signer.ReadKey(h.NextValidatorKeyFile())
	if err != nil {
		return nil, err
	}
	return ed25519.PubKey(key.PubKey().Bytes()), nil
}

func (a *app) validatorKeys() *cobra.Command {
	return &cobra.Command{
		Use:   "keys",
		Short: "Show a home's validator keys and what they signed last",
		Long: lines(
			"Shows the key that the node signs with, the next one where there is one, and those that were",
			"put aside. It reads files alone.",
		),
		Example: examples("chancery validator keys --home /var/lib/chancery", "chancery validator keys --output json"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h := a.homeDir()
			out := facts{{"home", a.home}}
			for _, k := range []struct{ name, key, state string }{
				{"current", h.ValidatorKeyFile(), h.ValidatorStateFile()}, {"next", h.NextValidatorKeyFile(), h.NextValidatorStateFile()},
			} {
				key, err := signer.ReadKey(k.key)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					return errHome.Wrap(err)
				}
				s, err := signer.ReadState(k.state)
				if err != nil {
					return errHome.Wrap(err)
				}
				out = append(out, facts{{k.name + " validator", key.PubKey().Address().String()}, {k.name + " signed height", s.Height}}...)
			}
			if len(out) == 1 {
				return sentence(errNothing, "%s holds no validator key", a.home)
			}
			retired, err := filepath.Glob(filepath.Join(h.RetiredKeys(), "*-key.json"))
			if err != nil {
				return errHome.Wrap(err)
			}
			return a.print(append(out, fact{"put aside", retired}))
		},
	}
}

func (a *app) validatorAbandon() *cobra.Command {
	sure := false
	c := &cobra.Command{
		Use:   "abandon",
		Short: "Remove the next validator key, which has signed nothing",
		Long: lines(
			"Removes the key that 'chancery validator rotate' made, where the change is not to be. The",
			"node must be stopped. A key that the chain has made a validator is refused, and so is one",
			"that signed.",
		),
		Example: examples("chancery validator abandon --home /var/lib/chancery --yes"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := a.homeDir()
			next, err := nextKey(h)
			if errors.Is(err, fs.ErrNotExist) {
				return sentence(errNothing, "%s holds no next validator key", a.home)
			}
			if err != nil {
				return errHome.Wrap(err)
			}
			lock, err := a.occupy()
			if err != nil {
				return err
			}
			defer lock.Close()
			if s, err := signer.ReadState(h.NextValidatorStateFile()); err != nil && !errors.Is(err, fs.ErrNotExist) || s.Height > 0 {
				return sentence(errHome, "the next validator key has signed block %d: start the node, which puts it into place", s.Height)
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			switch _, err := a.boundValidator(ctx, next); {
			case err == nil:
				return sentence(errHome, "the chain has made the next key a validator: start the node, which signs with it")
			case !errors.Is(err, errNothing):
				return err
			}
			if err := a.confirm(sure, "Remove the next validator key of %s?", a.home); err != nil {
				return err
			}
			// The key first: what it signed is of no use without it, and not the other way round.
			for _, path := range []string{h.NextValidatorKeyFile(), h.NextValidatorStateFile()} {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return errHome.Wrap(err)
				}
			}
			return a.print(facts{{"home", a.home}, {"removed validator", next.Address().String()}})
		},
	}
	c.Flags().BoolVar(&sure, "yes", false, "do not ask")
	return c
}

// boundValidator is what the chain has bound a consensus key as; errNothing where it has not.
func (a *app) boundValidator(ctx context.Context, key []byte) (*identityv1.Validator, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	query := identityv1.NewQueryClient(c.Conn())
	for token := []byte(nil); ; {
		page, err := query.Validators(ctx, &identityv1.ValidatorsRequest{Limit: 500, PageToken: token})
		if err != nil {
			return nil, err
		}
		for _, v := range page.Validators {
			if bytes.Equal(v.PublicKey, key) {
				return v, nil
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			return nil, sentence(errNothing, "the chain has no validator with the key %x", key)
		}
	}
}
