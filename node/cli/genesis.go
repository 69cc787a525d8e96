package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) genesisCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "genesis",
		Short: "Found a consortium, and look at its genesis file",
		Long: lines(
			"The genesis file is what a chain began with. It is all that is needed to verify",
			"receipts, so get it from somebody you trust, and compare its hash with other members.",
		),
		Example: examples("chancery genesis hash", "chancery genesis validate genesis.json"),
	}
	c.AddCommand(a.genesisPart(), a.genesisAssemble(), a.genesisInstall(), a.genesisShow(), a.genesisValidate(), a.genesisHash())
	return c
}

// genesisBytes reads a genesis file: the named one, or the home's.
func (a *app) genesisBytes(args []string) (path string, g *types.GenesisDoc, raw []byte, err error) {
	path = a.homeDir().GenesisFile()
	if len(args) > 0 {
		path = args[0]
	}
	if g, raw, err = config.ReadGenesis(path); err != nil {
		if _, absent := os.Stat(path); errors.Is(absent, fs.ErrNotExist) {
			return path, nil, nil, sentence(errNothing, "%v", err)
		}
		err = errFile.Wrap(err)
	}
	return path, g, raw, err
}

func (a *app) genesisShow() *cobra.Command {
	fromNode := false
	c := &cobra.Command{
		Use:     "show [FILE]",
		Short:   "Print a genesis file, the home's by default",
		Example: examples("chancery genesis show", "chancery genesis show --from-node > genesis.json"),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !fromNode {
				_, _, raw, err := a.genesisBytes(args)
				if err != nil {
					return err
				}
				return a.write(string(raw))
			}
			if len(args) > 0 {
				return usagef("--from-node and a file exclude each other")
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			raw, err := fetchGenesis(ctx, c)
			if err != nil {
				return err
			}
			return a.write(string(raw))
		},
	}
	c.Flags().BoolVar(&fromNode, "from-node", false, "ask the node for it")
	return c
}

func fetchGenesis(ctx context.Context, c *client.Client) ([]byte, error) {
	s, err := nodev1.NewNodeClient(c.Conn()).Genesis(ctx, &nodev1.GenesisRequest{})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
		if out.Len()+len(r.Part) > config.MaxGenesisBytes {
			return nil, sentence(errFile, "the node's genesis file has more than %d bytes", config.MaxGenesisBytes)
		}
		out.Write(r.Part)
	}
}

func (a *app) genesisValidate() *cobra.Command {
	return &cobra.Command{
		Use:     "validate [FILE]",
		Short:   "Check that a chain could start with a genesis file",
		Example: examples("chancery genesis validate genesis.json"),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, g, raw, err := a.genesisBytes(args)
			if err != nil {
				return err
			}
			if err := node.CheckGenesis(g); err != nil {
				return errFile.Wrap(err)
			}
			return a.print(genesisFacts(path, g, raw))
		},
	}
}

func genesisFacts(path string, g *types.GenesisDoc, raw []byte) facts {
	sum := sha256.Sum256(raw)
	var sections map[string]json.RawMessage
	_ = json.Unmarshal(g.AppState, &sections) // only counted
	var power int64
	for _, v := range g.Validators {
		power += v.Power
	}
	return facts{
		{"file", path}, {"sha256", digits(sum[:])}, {"chain id", g.ChainID}, {"time", moment(g.GenesisTime.UnixMilli())},
		{"validators", len(g.Validators)}, {"voting power", power}, {"sections", len(sections)},
	}
}

func (a *app) genesisHash() *cobra.Command {
	return &cobra.Command{
		Use:     "hash [FILE]",
		Short:   "Print the SHA-256 of a genesis file",
		Example: examples("chancery genesis hash"),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, _, raw, err := a.genesisBytes(args)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(raw)
			if a.output == outputText {
				return a.write(hex.EncodeToString(sum[:]) + "  " + path + "\n")
			}
			return a.print(facts{{"sha256", digits(sum[:])}, {"file", path}})
		},
	}
}
