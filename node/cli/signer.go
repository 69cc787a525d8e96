package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
	"github.com/chancery/chancery/node/signer"
)

func (a *app) signerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "signer",
		Short: "Hold a validator's key in a process of its own",
		Long: lines(
			"Holds the key that signs blocks outside of the node, in a file or in a PKCS#11 token, and",
			"signs for one node. It dials the node, at signer.listen of the node's configuration, and",
			"signs nothing that its record of what it signed last forbids. See docs/keys.md.",
		),
	}
	c.AddCommand(a.signerInit(), a.signerMakeKey(), a.signerShow(), a.signerStart())
	return c
}

// signerFolder adds the flag that names the signer's folder.
func signerFolder(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "dir", "", "the signer's folder")
}

// needFolder refuses a command without it.
func needFolder(dir string) (signer.Folder, error) {
	if dir == "" {
		return "", usagef("name the signer's folder with --dir")
	}
	return signer.Folder(dir), nil
}

func (a *app) signerInit() *cobra.Command {
	var dir, moved string
	s := signer.Settings{}
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a signer's folder: connection key, validator key, settings",
		Long: lines(
			"Makes the folder of a signer. Without more it makes a new validator key. With --from-home",
			"the key of a node that is stopped moves here, with the record of what it signed: the node",
			"has it no more. With --pkcs11-module the key is in a token, where 'chancery signer",
			"make-key' makes it; --from-home takes only the record then, of a key that was in that token",
			"before. The PIN is read from a file or from the environment, never from the command line.",
			"",
			"Nothing that exists is replaced.",
		),
		Example: examples(
			"chancery signer init --dir /var/lib/chancery-signer --chain-id harbour-1 \\\n    --signs-for tcp://0123456789abcdef0123456789abcdef01234567@10.0.0.7:26659",
			"chancery signer init --dir /var/lib/chancery-signer --chain-id harbour-1 --from-home /var/lib/chancery \\\n    --signs-for unix:///var/lib/chancery/data/signer.sock",
			"chancery signer init --dir /var/lib/chancery-signer --chain-id harbour-1 --signs-for unix:///run/signer.sock \\\n    --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token validators --pkcs11-key mercy-1 --pin-file pin",
		),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := needFolder(dir)
			if err != nil {
				return err
			}
			if err := s.Check(); err != nil {
				return usagef("%v; see chancery signer init --help", err)
			}
			o := signer.InitOptions{Settings: s}
			if moved != "" {
				home := config.Home(moved)
				lock, err := offline.Lock(home)
				if err != nil {
					return errHome.Wrap(err)
				}
				defer lock.Close()
				state, err := signer.ReadState(home.ValidatorStateFile())
				if err != nil {
					return errHome.Wrap(err)
				}
				o.State = &state
				if s.PKCS11 == (signer.PKCS11{}) {
					if o.Key, err = signer.ReadKey(home.ValidatorKeyFile()); err != nil {
						return errHome.Wrap(err)
					}
				}
			}
			if err := signer.Init(f, o); err != nil {
				return errKey.Wrap(err)
			}
			out := facts{{"folder", dir}, {"settings", f.SettingsFile()}}
			if o.Key != nil {
				// The copy is on disk: the node must not be able to sign beside it.
				home := config.Home(moved)
				aside := filepath.Join(home.RetiredKeys(), o.Key.PubKey().Address().String()+"-moved-to-signer.json")
				err := os.MkdirAll(home.RetiredKeys(), 0o700)
				if err == nil {
					err = os.Rename(home.ValidatorKeyFile(), aside)
				}
				if err != nil {
					return errHome.Wrap(fmt.Errorf("the key is in %s now; move it out of the node's home yourself: %w", dir, err))
				}
				out = append(out, fact{"key moved aside", aside})
			}
			next := []string{fmt.Sprintf("Show what the node's configuration needs: chancery signer show --dir %s", dir)}
			if s.PKCS11 != (signer.PKCS11{}) {
				next = append([]string{fmt.Sprintf("Make the key in the token, unless it is there: chancery-signer signer make-key --dir %s", dir)}, next...)
			}
			return a.print(append(out, fact{"next", next}))
		},
	}
	f := c.Flags()
	signerFolder(c, &dir)
	f.StringVar(&s.ChainID, "chain-id", "", "the chain that the key signs for")
	f.StringVar(&s.Node, "signs-for", "", "where the node awaits its signer: unix:///PATH or tcp://NODEID@HOST:PORT")
	f.StringVar(&moved, "from-home", "", "home of the node whose key moves to the signer")
	f.StringVar(&s.PKCS11.Module, "pkcs11-module", "", "path of a PKCS#11 library")
	f.StringVar(&s.PKCS11.Token, "pkcs11-token", "", "label of the token")
	f.StringVar(&s.PKCS11.Key, "pkcs11-key", "", "label of the key pair in it")
	f.StringVar(&s.PKCS11.PINFile, "pin-file", "", "file with the token's PIN, relative to the folder")
	f.StringVar(&s.PKCS11.PINEnv, "pin-env", "", "environment variable with the token's PIN, instead of a file")
	return c
}

func (a *app) signerMakeKey() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "make-key",
		Short: "Make the validator key in the signer's PKCS#11 token",
		Long: lines(
			"Makes an Ed25519 key pair in the token that the settings name. The private half cannot",
			"leave the token. A label that is taken is refused. It needs the build of 'make signer'.",
		),
		Example: examples("chancery signer make-key --dir /var/lib/chancery-signer"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := needFolder(dir)
			if err != nil {
				return err
			}
			s, err := signer.ReadSettings(f)
			if err != nil {
				return errKey.Wrap(err)
			}
			if s.PKCS11 == (signer.PKCS11{}) {
				return sentence(errKey, "the key of %s is in a file; its settings name no PKCS#11 module", dir)
			}
			if err := signer.MakeKey(f, s.PKCS11); err != nil {
				return errKey.Wrap(err)
			}
			return a.showSigner(f)
		},
	}
	signerFolder(c, &dir)
	return c
}

func (a *app) signerShow() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "show",
		Short: "Show a signer's keys, and what the node's configuration needs",
		Long: lines(
			"Shows the validator's public key, the signer's connection id, and what the key signed",
			"last. The signer must be stopped.",
		),
		Example: examples("chancery signer show --dir /var/lib/chancery-signer"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := needFolder(dir)
			if err != nil {
				return err
			}
			return a.showSigner(f)
		},
	}
	signerFolder(c, &dir)
	return c
}

func (a *app) showSigner(f signer.Folder) error {
	s, err := signer.Open(f)
	if err != nil {
		return signerFault(err)
	}
	defer s.Close()
	public, err := s.Key.GetPubKey()
	if err != nil {
		return errKey.Wrap(err)
	}
	out := facts{
		{"folder", string(f)}, {"chain", s.Settings.ChainID}, {"signs for", s.Settings.Node},
		{"validator address", public.Address().String()}, {"validator key base64", base64.StdEncoding.EncodeToString(public.Bytes())},
		{"last signed height", s.Key.Last()},
		{"signer.public_key", digits(public.Bytes())},
	}
	address, id, err := signer.SplitNode(s.Settings.Node)
	if err != nil {
		return errKey.Wrap(err)
	}
	if id != "" {
		out = append(out, fact{"signer.id", string(s.ID)})
	}
	return a.print(append(out, fact{"signer.listen", address}))
}

// signerFault is the error of a folder that cannot be opened.
func signerFault(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNothing.Wrap(err)
	}
	return errKey.Wrap(err)
}

func (a *app) signerStart() *cobra.Command {
	dir, level := "", "info"
	c := &cobra.Command{
		Use:   "start",
		Short: "Sign for the node until it is interrupted",
		Long: lines(
			"Dials the node and signs for it, and dials again when the connection ends. A second signer",
			"in the same folder is refused. It writes a JSON log to standard error: what it refused to",
			"sign at level error, what it signed at level debug. It stops in good order on an interrupt",
			"or SIGTERM, and ends with exit code 1 when it cannot write down what it signed.",
		),
		Example: examples("chancery signer start --dir /var/lib/chancery-signer"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := needFolder(dir)
			if err != nil {
				return err
			}
			least, err := config.Level(level)
			if err != nil {
				return usagef("--log-level: %v", err)
			}
			s, err := signer.Open(f)
			if err != nil {
				return signerFault(err)
			}
			log := slog.New(slog.NewJSONHandler(a.Err, &slog.HandlerOptions{Level: least}))
			log.Info("the signer runs", "folder", dir, "chain", s.Settings.ChainID, "node", s.Settings.Node, "last signed", s.Key.Last(), "version", a.Version)
			err = s.Run(cmd.Context(), log)
			if err := errors.Join(err, s.Close()); err != nil {
				return errKey.Wrap(err)
			}
			log.Info("the signer has stopped")
			return nil
		},
	}
	signerFolder(c, &dir)
	c.Flags().StringVar(&level, "log-level", level, "debug, info, warn or error")
	complete(c, "log-level", "debug", "info", "warn", "error")
	return c
}
