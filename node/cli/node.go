package cli

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
)

func (a *app) initCommand() *cobra.Command {
	var moniker, genesis string
	var set []string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a node's home: configuration and keys",
		Long: lines(
			"Makes the home folder of a node with its configuration and its two keys: the node key,",
			"by which peers know it, and the validator key, which signs blocks. Tell the consortium",
			"what it prints; it binds the node (identity bind-node) and the validator (identity",
			"bind-validator). The genesis file comes from the consortium, or is made together with it",
			"(genesis part). --set writes a key into the configuration.",
			"",
			"The door for clients needs TLS: a certificate at rpc.tls_cert and its key at",
			"rpc.tls_key. For development on this machine alone, --set rpc.development=true does",
			"without.",
		),
		Example: examples(
			"chancery init --home /var/lib/chancery --moniker mercy-1 --genesis genesis.json",
			"chancery init --home /var/lib/chancery --moniker mercy-1 --set rpc.listen=192.0.2.1:9090 --set p2p.listen=192.0.2.1:26656 \\\n    --set rpc.tls_cert=config/server.pem --set rpc.tls_key=config/server-key.pem",
			"chancery init --set rpc.development=true --output json",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h := a.homeDir()
			if _, err := os.Stat(h.ConfigFile()); err == nil {
				return sentence(errHome, "%s is a node's home already; choose another with --home", a.home)
			}
			c := config.Default()
			if moniker != "" {
				c.Node.Moniker = moniker
			}
			given, err := config.Flags("--set", set)
			if err == nil {
				c, err = c.With(given...)
			}
			if err != nil {
				return usagef("%v", err)
			}
			var raw []byte
			if genesis != "" {
				g, bytes, err := config.ReadGenesis(genesis)
				if err != nil {
					return errFile.Wrap(err)
				}
				if err := node.CheckGenesis(g); err != nil {
					return errFile.Wrap(err)
				}
				raw = bytes
			}
			keys, err := a.makeHome(c, raw)
			if err != nil {
				return err
			}
			if genesis == "" {
				a.note("put the consortium's genesis file to %s before the node starts", h.GenesisFile())
			}
			if r := c.RPC; (r.Listen != "" || c.REST.Listen != "") && !r.TLS() && !r.Development {
				a.note("set rpc.tls_cert and rpc.tls_key in %s before the node starts; rpc.development does without them, for development", h.ConfigFile())
			}
			return a.print(facts{
				{"home", a.home}, {"moniker", c.Node.Moniker}, {"node id", keys.NodeID},
				{"validator address", keys.ValidatorAddress},
				{"validator key", digits(keys.Validator)},
				{"validator key base64", base64.StdEncoding.EncodeToString(keys.Validator)},
			})
		},
	}
	c.Flags().StringVar(&moniker, "moniker", "", "the node's name for people")
	c.Flags().StringVar(&genesis, "genesis", "", "genesis file to copy into the home")
	setFlag(c, &set)
	return c
}

// makeHome makes a home with its keys, the bytes of its genesis file if they are known,
// and its configuration.
func (a *app) makeHome(c config.Config, genesis []byte) (config.NodeKeys, error) {
	h := a.homeDir()
	if err := h.Create(); err != nil {
		return config.NodeKeys{}, errHome.Wrap(err)
	}
	keys, err := h.CreateKeys()
	if err != nil {
		return keys, errHome.Wrap(err)
	}
	if genesis != nil {
		if err := create(h.GenesisFile(), genesis, 0o644); err != nil {
			return keys, err
		}
	}
	// The configuration last: it marks a home that is complete.
	if err := config.Write(h, c); err != nil {
		return keys, errHome.Wrap(err)
	}
	return keys, nil
}

func (a *app) startCommand() *cobra.Command {
	var set []string
	c := &cobra.Command{
		Use:   "start",
		Short: "Run the node until it is interrupted",
		Long: lines(
			"Runs the node of the home folder. It stops in good order on an interrupt or SIGTERM.",
			"It ends with exit code 1 when it cannot go on; its log says why.",
			"",
			"A key of the configuration file can be given by the environment, p2p.listen as",
			"CHANCERY_SET_P2P_LISTEN, or by --set, which goes before both.",
		),
		Example: examples(
			"chancery start --home /var/lib/chancery",
			"chancery start --set node.log_format=json --set p2p.listen=0.0.0.0:26656",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(a.homeDir().ConfigFile()); errors.Is(err, fs.ErrNotExist) {
				return sentence(errHome, "%s is no node's home; run: chancery init --home %[1]s", a.home)
			}
			lock, err := a.occupy()
			if err != nil {
				return err
			}
			defer lock.Close()
			overrides, err := a.overrides(set)
			if err != nil {
				return err
			}
			read, err := config.Load(a.homeDir(), overrides...)
			if err != nil {
				return errHome.Wrap(err)
			}
			return node.Run(cmd.Context(), a.homeDir(), node.Options{Config: &read, Version: a.Version})
		},
	}
	setFlag(c, &set)
	return c
}

// occupy takes the home's lock, which a running node holds.
func (a *app) occupy() (*flock.Flock, error) {
	if err := os.MkdirAll(a.homeDir().Data(), 0o700); err != nil {
		return nil, errHome.Wrap(err)
	}
	lock := flock.New(a.homeDir().LockFile(), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, errHome.Wrap(err)
	}
	if !held {
		return nil, sentence(errHome, "a node is running in %s; stop it first", a.home)
	}
	return lock, nil
}

func (a *app) resetCommand() *cobra.Command {
	sure := false
	c := &cobra.Command{
		Use:   "reset",
		Short: "Remove the chain's data from a node's home",
		Long: lines(
			"Removes the databases of a node that is stopped. It fetches the chain anew from its",
			"peers when it starts. Configuration, keys and genesis file stay, and so does the file",
			"that says what the validator key signed last: without it, the validator might sign two",
			"blocks of one height.",
		),
		Example: examples("chancery reset --home /var/lib/chancery --yes"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h := a.homeDir()
			if _, err := os.Stat(h.Data()); errors.Is(err, fs.ErrNotExist) {
				return sentence(errNothing, "%s holds no data", a.home)
			}
			lock, err := a.occupy()
			if err != nil {
				return err
			}
			defer lock.Close()
			if err := a.confirm(sure, "Remove the chain's data in %s?", h.Data()); err != nil {
				return err
			}
			entries, err := os.ReadDir(h.Data())
			if err != nil {
				return errHome.Wrap(err)
			}
			removed := []string{}
			for _, e := range entries {
				path := filepath.Join(h.Data(), e.Name())
				if path == h.ValidatorStateFile() || path == h.NextValidatorStateFile() || path == h.RestoredFile() || path == lock.Path() {
					continue
				}
				if err := os.RemoveAll(path); err != nil {
					return errHome.Wrap(err)
				}
				removed = append(removed, e.Name())
			}
			return a.print(facts{{"home", a.home}, {"removed", removed}, {"kept", h.ValidatorStateFile()}})
		},
	}
	c.Flags().BoolVar(&sure, "yes", false, "do not ask")
	return c
}
