package cli

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	identitydid "github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/keyring"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Keep signing keys, encrypted",
		Long: lines(
			"The keyring is the folder keyring of the home. One passphrase opens all of it. It is",
			"asked at the terminal, or taken from the file that CHANCERY_PASSPHRASE_FILE names,",
			"or from CHANCERY_PASSPHRASE; never from the command line.",
		),
		Example: examples(
			"chancery keys create alice",
			"chancery keys bind alice did:chancery:mercy#key-1",
			"chancery keys list --output json",
		),
	}
	c.AddCommand(a.keysCreate(), a.keysList(), a.keysShow(), a.keysBind(), a.keysNewKey(), a.keysRename(),
		a.keysDelete(), a.keysExport(), a.keysImport(), a.keysPassphrase())
	return c
}

// entryFacts describes a key.
func entryFacts(e keyring.Entry) facts {
	return facts{
		{"name", e.Name}, {"type", e.Type.String()}, {"public", e.Public.Multibase()},
		{"did", e.DID}, {"key url", e.KeyURL}, {"created", e.Created.Format(time.RFC3339)},
	}
}

// withKey runs a command on the key that its first argument names.
func (a *app) withKey(c *cobra.Command, fn func(cmd *cobra.Command, k *keyring.Keyring, args []string) error) *cobra.Command {
	if c.Args == nil {
		c.Args = cobra.ExactArgs(1)
	}
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.keyNames(), cobra.ShellCompDirectiveNoFileComp
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		k, err := a.openKeyring()
		if err != nil {
			return keyFault(err)
		}
		return keyFault(fn(cmd, k, args))
	}
	return c
}

// keyNames lists the keys without opening anything, for the shell.
func (a *app) keyNames() []string {
	if _, err := os.Stat(a.homeDir().Keyring()); err != nil {
		return nil
	}
	k, err := a.openKeyring()
	if err != nil {
		return nil
	}
	entries, _ := k.List() // those that can be read
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names
}

// keyFault is an error of the keyring as one of the command line.
func keyFault(err error) error {
	for _, own := range []error{
		keyring.ErrName, keyring.ErrNotFound, keyring.ErrExists, keyring.ErrPassphrase, keyring.ErrWeakPassphrase,
		keyring.ErrNoPassphrase, keyring.ErrDamaged, keyring.ErrPermissions, keyring.ErrBusy, keyring.ErrBinding,
		keyring.ErrMismatch, keyring.ErrSame, keys.ErrType, keys.ErrSeed,
	} {
		if errors.Is(err, own) {
			e := errKey.Wrap(err)
			e.Text, e.Detail = strings.TrimPrefix(err.Error(), "keyring: "), ""
			return e
		}
	}
	return err
}

func (a *app) keysCreate() *cobra.Command {
	typ := ""
	c := a.withKey(&cobra.Command{
		Use:     "create NAME",
		Short:   "Make a new key",
		Long:    "Makes a key from the system's randomness. The first key of a keyring sets its passphrase.",
		Example: examples("chancery keys create alice", "chancery keys create vault --type ml-dsa-65"),
	}, func(_ *cobra.Command, k *keyring.Keyring, args []string) error {
		t, err := keys.ParseType(typ)
		if err != nil {
			return usagef("--type: %v", err)
		}
		e, err := k.Create(args[0], t)
		if err != nil {
			return err
		}
		return a.print(entryFacts(e))
	})
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.Flags().StringVar(&typ, "type", "ed25519", "ed25519, p256 or ml-dsa-65")
	complete(c, "type", "ed25519", "p256", "ml-dsa-65")
	return c
}

func (a *app) keysList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the keys",
		Example: examples("chancery keys list"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := a.openKeyring()
			if err != nil {
				return keyFault(err)
			}
			entries, damaged := k.List()
			if a.output == outputJSON {
				if entries == nil {
					entries = []keyring.Entry{}
				}
				if err := a.print(entries); err != nil {
					return err
				}
				return keyFault(damaged)
			}
			rows := [][]string{{"NAME", "TYPE", "DID", "KEY"}}
			for _, e := range entries {
				rows = append(rows, []string{e.Name, e.Type.String(), dash(e.DID), dash(e.KeyURL)})
			}
			if err := a.write(table(rows)); err != nil {
				return err
			}
			return keyFault(damaged)
		},
	}
}

func (a *app) keysShow() *cobra.Command {
	return a.withKey(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show a key's public part and what it is bound to",
		Example: examples("chancery keys show alice"),
	}, func(_ *cobra.Command, k *keyring.Keyring, args []string) error {
		e, err := k.Lookup(args[0])
		if err != nil {
			return err
		}
		return a.print(entryFacts(e))
	})
}

func (a *app) keysBind() *cobra.Command {
	did := ""
	c := a.withKey(&cobra.Command{
		Use:   "bind NAME [DID#KEY]",
		Short: "Say which DID a key signs for",
		Long: lines(
			"Binds a key to the DID URL by which the chain knows it. Without a URL, the chain is",
			"asked which DID holds the public key. --did names the author that the key usually",
			"signs for, where that is another than the one that holds it, such as the",
			"organisation of an administrator. An empty URL ends the binding.",
		),
		Example: examples(
			"chancery keys bind alice",
			"chancery keys bind alice did:chancery:mercy#key-1",
			"chancery keys bind admin did:chancery:mercy:abc#key-1 --did did:chancery:mercy",
		),
		Args: cobra.RangeArgs(1, 2),
	}, func(cmd *cobra.Command, k *keyring.Keyring, args []string) error {
		e, err := k.Lookup(args[0])
		if err != nil {
			return err
		}
		url := ""
		if len(args) == 2 {
			url = args[1]
		} else if url, err = a.holder(cmd, e.Public); err != nil {
			return err
		}
		owner := did
		if owner == "" {
			owner, _, _ = strings.Cut(url, "#")
		}
		if err := k.Bind(args[0], owner, url); err != nil {
			return err
		}
		if e, err = k.Lookup(args[0]); err != nil {
			return err
		}
		return a.print(entryFacts(e))
	})
	c.Flags().StringVar(&did, "did", "", "the author that the key signs for; by default the DID that holds it")
	return c
}

// holder asks the chain for the DID URL of a public key.
func (a *app) holder(cmd *cobra.Command, public keys.Public) (string, error) {
	ctx, cancel := a.within(cmd)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	r, err := identityv1.NewQueryClient(c.Conn()).ByKey(ctx, &identityv1.ByKeyRequest{Multibase: public.Multibase()})
	if err != nil {
		return "", err
	}
	return r.GetHolder().GetDid() + "#" + r.GetHolder().GetKey(), nil
}

func (a *app) keysNewKey() *cobra.Command {
	var did, id, chainID string
	purposes := []string{"authentication"}
	c := a.withKey(&cobra.Command{
		Use:   "new-key NAME",
		Short: "Print a key as messages take it, with its proof of possession",
		Long: lines(
			"Prints the key as the JSON of chancery.identity.v1.NewKey, signed by itself for one",
			"DID and one key id on one chain. register-identity, add-key and rotate-key take it;",
			"for rotate-key, give --purpose ''.",
		),
		Example: examples(
			"chancery keys new-key alice2 --did did:chancery:mercy --id key-2",
			`chancery tx identity add-key --from alice --did did:chancery:mercy --key "$(chancery keys new-key alice2 --did did:chancery:mercy --id key-2)"`,
		),
	}, func(cmd *cobra.Command, k *keyring.Keyring, args []string) error {
		var wanted []identityv1.Purpose
		for _, p := range purposes {
			if p == "" {
				continue
			}
			n, err := enumOf(identityv1.Purpose(0).Descriptor(), p)
			if err != nil {
				return usagef("--purpose: %v", err)
			}
			wanted = append(wanted, identityv1.Purpose(n))
		}
		if _, _, err := identitydid.ParseURL(did + "#" + id); err != nil {
			return usagef("--did and --id: %q is no DID with a key: write did:chancery:SLUG or did:chancery:SLUG:ID, and an id of a-z, 0-9 and '-'", did+"#"+id)
		}
		ctx, cancel := a.within(cmd)
		defer cancel()
		chain, err := a.chainOf(ctx, chainID)
		if err != nil {
			return err
		}
		s, err := k.Signer(args[0])
		if err != nil {
			return err
		}
		key, err := identity.Possess(chain, did, id, s, wanted...)
		if err != nil {
			return err
		}
		raw, err := protoJSON(key)
		if err != nil {
			return err
		}
		return a.write(string(raw) + "\n")
	})
	c.Flags().StringVar(&did, "did", "", "the DID that gets the key")
	c.Flags().StringVar(&id, "id", "", "the key's id within the DID, such as key-2")
	c.Flags().StringSliceVar(&purposes, "purpose", purposes, "what it may be used for: "+strings.Join(choices(identityv1.Purpose(0).Descriptor()), ", "))
	c.Flags().StringVar(&chainID, "chain-id", "", "the chain; by default that of the node")
	require(c, "did", "id")
	complete(c, "purpose", choices(identityv1.Purpose(0).Descriptor())...)
	return c
}

// chainOf is the chain that is named, or that of the node.
func (a *app) chainOf(ctx context.Context, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	c, err := a.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ChainID(), nil
}

func (a *app) keysRename() *cobra.Command {
	return a.withKey(&cobra.Command{
		Use:     "rename NAME NEW",
		Short:   "Give a key another name",
		Example: examples("chancery keys rename alice mercy-1"),
		Args:    cobra.ExactArgs(2),
	}, func(_ *cobra.Command, k *keyring.Keyring, args []string) error {
		if err := k.Rename(args[0], args[1]); err != nil {
			return err
		}
		e, err := k.Lookup(args[1])
		if err != nil {
			return err
		}
		return a.print(entryFacts(e))
	})
}

func (a *app) keysDelete() *cobra.Command {
	sure := false
	c := a.withKey(&cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove a key for ever",
		Long:    "Removes a key. Without a backup (chancery keys export), nobody can sign with it again.",
		Example: examples("chancery keys delete alice"),
	}, func(_ *cobra.Command, k *keyring.Keyring, args []string) error {
		if _, err := k.Lookup(args[0]); errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrName) {
			return err
		}
		if err := a.confirm(sure, "Delete the key %s for ever?", args[0]); err != nil {
			return err
		}
		if err := k.Delete(args[0]); err != nil {
			return err
		}
		return a.print(facts{{"deleted", args[0]}})
	})
	c.Flags().BoolVar(&sure, "yes", false, "do not ask")
	return c
}

func (a *app) keysExport() *cobra.Command {
	out := ""
	c := a.withKey(&cobra.Command{
		Use:     "export NAME",
		Short:   "Write a backup of a key, encrypted under a passphrase of its own",
		Long:    "The backup is an age file. The age program opens it, and chancery keys import takes it back.",
		Example: examples("chancery keys export alice --out alice.backup"),
	}, func(_ *cobra.Command, k *keyring.Keyring, args []string) error {
		backup, err := k.Export(args[0])
		if err != nil {
			return err
		}
		if out == "" {
			return a.write(string(backup))
		}
		if err := create(out, backup, 0o600); err != nil {
			return err
		}
		return a.print(facts{{"exported", args[0]}, {"file", out}})
	})
	c.Flags().StringVar(&out, "out", "", "file to write, which must not exist; by default standard output")
	return c
}

func (a *app) keysImport() *cobra.Command {
	var file, seed, typ string
	c := a.withKey(&cobra.Command{
		Use:   "import NAME",
		Short: "Take in a backup, or a seed",
		Long: lines(
			"Takes in a backup that chancery keys export wrote, or the 64 hexadecimal digits of a",
			"seed. A seed is read from a file or from standard input, never from the command line.",
		),
		Example: examples(
			"chancery keys import alice --file alice.backup",
			"chancery keys import hsm-copy --seed-file /media/usb/seed.hex --type p256",
		),
	}, func(cmd *cobra.Command, k *keyring.Keyring, args []string) error {
		if (file == "") == (seed == "") {
			return usagef("name either --file or --seed-file")
		}
		if file != "" && cmd.Flags().Changed("type") {
			return usagef("--type is for a seed; a backup says itself of what type its key is")
		}
		var e keyring.Entry
		if file != "" {
			backup, err := a.read(file)
			if err != nil {
				return err
			}
			if e, err = k.Restore(args[0], backup); err != nil {
				return err
			}
			return a.print(entryFacts(e))
		}
		t, err := keys.ParseType(typ)
		if err != nil {
			return usagef("--type: %v", err)
		}
		text, err := a.read(seed)
		if err != nil {
			return err
		}
		defer clear(text)
		raw := make([]byte, hex.DecodedLen(len(strings.TrimSpace(string(text)))))
		defer clear(raw)
		if _, err := hex.Decode(raw, []byte(strings.TrimSpace(string(text)))); err != nil {
			return sentence(errFile, "%s does not hold %d hexadecimal digits", seed, 2*keys.SeedSize)
		}
		if e, err = k.Import(args[0], t, raw); err != nil {
			return err
		}
		return a.print(entryFacts(e))
	})
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.Flags().StringVar(&file, "file", "", "backup to read; - for standard input")
	c.Flags().StringVar(&seed, "seed-file", "", "file with a seed in hexadecimal; - for standard input")
	c.Flags().StringVar(&typ, "type", "ed25519", "type of the seed's key: ed25519, p256 or ml-dsa-65")
	complete(c, "type", "ed25519", "p256", "ml-dsa-65")
	return c
}

func (a *app) keysPassphrase() *cobra.Command {
	return &cobra.Command{
		Use:     "passphrase",
		Short:   "Change the passphrase of the keyring",
		Example: examples("chancery keys passphrase"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			k, err := a.openKeyring()
			if err != nil {
				return keyFault(err)
			}
			if err := k.ChangePassphrase(); err != nil {
				return keyFault(err)
			}
			return a.print(facts{{"keyring", a.homeDir().Keyring()}, {"passphrase", "changed"}})
		},
	}
}

// signers opens the keys that --from names, in order, and the author that the first
// of them signs for.
func (a *app) signers(names []string) (signers []tx.Signer, author string, err error) {
	k, err := a.openKeyring()
	if err != nil {
		return nil, "", keyFault(err)
	}
	for _, name := range names {
		e, err := k.Lookup(name)
		if err != nil {
			return nil, "", keyFault(err)
		}
		if e.KeyURL == "" {
			return nil, "", sentence(errKey, "the key %s is not bound to a DID; run: chancery keys bind %[1]s", name)
		}
		s, err := k.Signer(name)
		if err != nil {
			return nil, "", keyFault(err)
		}
		if author == "" {
			author = e.DID
		}
		signers = append(signers, client.Signer(e.KeyURL, s))
	}
	return signers, author, nil
}

// confirm asks a person, unless they are sure already.
func (a *app) confirm(sure bool, question string, args ...any) error {
	if sure {
		return nil
	}
	f, ok := a.In.(*os.File)
	if ok && !term.IsTerminal(int(f.Fd())) {
		return usagef("this is no terminal to ask at; add --yes")
	}
	fmt.Fprintf(a.Err, question+" Type yes: ", args...)
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return errFile.Wrap(err)
	}
	if strings.TrimSpace(line) != "yes" {
		return errUnsure
	}
	return nil
}

// require refuses a command without certain flags.
func require(c *cobra.Command, flags ...string) {
	for _, f := range flags {
		c.Flags().Lookup(f).Usage += " (required)"
	}
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, f := range flags {
			if !cmd.Flags().Changed(f) {
				return usagef("--%s is required; see %s --help", f, cmd.CommandPath())
			}
		}
		return nil
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
