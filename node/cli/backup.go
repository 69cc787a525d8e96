package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/backup"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/internal/durable"
	"github.com/chancery/chancery/node/offline"
)

const backupPassphrase = "CHANCERY_BACKUP_PASSPHRASE"

func (a *app) backupCommand() *cobra.Command {
	var out, passphrase string
	withKeys := false
	c := &cobra.Command{
		Use:   "backup",
		Short: "Write a backup of a node, which may run meanwhile",
		Long: lines(
			"Writes one file with all that the node needs to start again: blocks, state, records,",
			"configuration, genesis file and what it believes of others, each with its SHA-256. A",
			"running node goes on making blocks. The keys are left out unless --with-keys asks for",
			"them; they are then encrypted under a passphrase from a file or from",
			backupPassphrase+". The keyring of people's keys is never in it.",
		),
		Example: examples(
			"chancery backup --out mercy.backup --home /var/lib/chancery",
			"chancery backup --out mercy.backup --with-keys --passphrase-file /root/backup.passphrase",
			"chancery backup verify mercy.backup",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("--out says which file to write")
			}
			var keys []byte
			if withKeys {
				secret, err := a.backupSecret(passphrase)
				if err != nil {
					return err
				}
				if keys, err = backup.SealKeys(a.homeDir(), secret); err != nil {
					return errHome.Wrap(err)
				}
			}
			m, err := a.makeBackup(cmd.Context(), out, keys)
			if err != nil {
				return err
			}
			return a.tellBackup(out, m)
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write, which must not exist")
	c.Flags().BoolVar(&withKeys, "with-keys", false, "put the node's two keys into it, encrypted")
	c.Flags().StringVar(&passphrase, "passphrase-file", "", "file with the passphrase for the keys")
	c.AddCommand(a.backupVerify())
	return c
}

// backupSecret is the passphrase of a file, or of the environment.
func (a *app) backupSecret(path string) (string, error) {
	secret := a.variable(backupPassphrase, "")
	if path != "" {
		raw, err := durable.Read(path, 4096)
		if err != nil {
			return "", errFile.Wrap(err)
		}
		secret = strings.TrimRight(string(raw), "\r\n")
	}
	if secret == "" {
		return "", usagef("the keys need a passphrase: --passphrase-file or %s", backupPassphrase)
	}
	return secret, nil
}

func (a *app) tellBackup(path string, m *backup.Manifest) error {
	h := m.Header
	return a.print(facts{
		{"backup", path}, {"chain", h.ChainID}, {"height", h.Height}, {"state", h.Tree}, {"database", h.Backend},
		{"made", moment(h.Made.UnixMilli())}, {"keys", h.Keys}, {"entries", len(m.Entries)}, {"bytes", m.Size()},
	})
}

// makeBackup writes a backup, of the running node by its socket, or of the home of one
// that is stopped, and reads it again.
func (a *app) makeBackup(ctx context.Context, path string, keys []byte) (_ *backup.Manifest, err error) {
	home := a.homeDir()
	if _, err := os.Stat(home.Data()); errors.Is(err, fs.ErrNotExist) {
		return nil, sentence(errNothing, "%s holds no data", home)
	}
	// It has another name until it is whole.
	unfinished := path + ".unfinished"
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, sentence(errNotSaved, "%s exists already; name another file or remove it", path)
	}
	f, err := os.OpenFile(unfinished, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errNotSaved.Wrap(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(unfinished))
		}
	}()
	m := &meter{app: a, what: "backing up", unit: size}
	defer m.end()
	out := io.MultiWriter(f, m)
	lock, err := offline.Lock(home)
	switch {
	case errors.Is(err, offline.ErrRunning):
		err = online(ctx, home, keys, out)
	case err == nil:
		_, err = node.BackupStopped(ctx, home, a.Version, out, keys)
		err = errors.Join(err, lock.Close())
	}
	if err != nil {
		return nil, errNotSaved.Wrap(errors.Join(err, f.Close()))
	}
	manifest, err := verifyBackup(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errNotSaved.Wrap(err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return nil, errNotSaved.Wrap(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, errNotSaved.Wrap(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return nil, errNotSaved.Wrap(err)
	}
	return manifest, nil
}

func online(ctx context.Context, home config.Home, keys []byte, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/backup", bytes.NewReader(keys))
	if err != nil {
		return err
	}
	resp, err := node.AdminClient(home).Do(req)
	if err != nil {
		return fmt.Errorf("ask the running node for a backup: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // what there is of it
		return fmt.Errorf("the node makes no backup: %s", bytes.TrimSpace(text))
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("the backup was cut off, the node's log may say why: %w", err)
	}
	return nil
}

func verifyBackup(ctx context.Context, f io.ReadSeeker) (*backup.Manifest, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return backup.Read(ctx, f, nil, nil)
}

func (a *app) backupVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Check that a backup is whole",
		Long: lines(
			"Reads all of a backup and compares it with its manifest. chancery restore checks what",
			"is in it besides, as chancery fsck does.",
		),
		Example: examples("chancery backup verify mercy.backup"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return errFile.Wrap(err)
			}
			defer f.Close()
			m := &meter{app: a, what: "verifying", unit: size}
			defer m.end()
			manifest, err := backup.Read(cmd.Context(), f, m.add, nil)
			if err != nil {
				return errFile.Wrap(err)
			}
			return a.tellBackup(args[0], manifest)
		},
	}
}

func (a *app) restoreCommand() *cobra.Command {
	var o node.RestoreOptions
	passphrase := ""
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a node's home from a backup",
		Long: lines(
			"Checks a backup against its manifest, builds the home, checks that as chancery fsck",
			"does, and only then puts it in place. A home that holds data is refused unless --replace",
			"says otherwise; the data is then put aside, never removed. The keys are the home's own,",
			"or those in the backup, which need a passphrase.",
			"",
			"What the validator key signed after the backup is not known. Therefore it signs nothing",
			"until the node has caught up and has seen the others make two blocks. Where too many",
			"validators are lost for that, --sign-from says from which height on it may; read",
			"docs/recovery.md first.",
		),
		Example: examples(
			"chancery restore mercy.backup --home /var/lib/chancery",
			"chancery restore mercy.backup --passphrase-file /root/backup.passphrase",
			"chancery restore mercy.backup --replace --sign-from 1235",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notNegative(flagOf{"sign-from", o.SignFrom}); err != nil {
				return err
			}
			if passphrase != "" || a.variable(backupPassphrase, "") != "" {
				var err error
				if o.Passphrase, err = a.backupSecret(passphrase); err != nil {
					return err
				}
			}
			m := &meter{app: a, what: "restoring", unit: size}
			defer m.end()
			o.Progress = m.add
			o.Check = func(stage config.Home) error {
				m.end()
				r, err := a.check(cmd.Context(), stage)
				if err != nil {
					return err
				}
				if n := len(r.Problems); n > 0 {
					p := r.Problems[0]
					return sentence(errDamaged, "the backup's data is damaged, and nothing was restored: %d problems, the first in %s: %s", n, p.File, p.What)
				}
				return nil
			}
			r, err := node.Restore(cmd.Context(), args[0], a.homeDir(), o)
			switch {
			case errors.Is(err, node.ErrOccupied):
				return sentence(errHome, "%s holds data already; --replace puts it aside", a.homeDir().Data())
			case errors.Is(err, offline.ErrRunning):
				return sentence(errHome, "a node is running in %s; stop it first", a.home)
			case errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrPassphrase):
				return errFile.Wrap(err)
			case errors.Is(err, errDamaged):
				return err
			case err != nil:
				return errHome.Wrap(err)
			}
			signs := "when the node has caught up and the others have made two blocks"
			if o.SignFrom > 0 {
				signs = fmt.Sprintf("from height %d on", o.SignFrom)
			}
			h := r.Manifest.Header
			return a.print(facts{
				{"home", a.home}, {"chain", h.ChainID}, {"height", h.Height}, {"state", h.Tree}, {"signs", signs},
				{"put aside", r.Aside}, {"next", "chancery start --home " + a.home},
			})
		},
	}
	c.Flags().StringVar(&passphrase, "passphrase-file", "", "file with the passphrase of the keys in the backup; "+backupPassphrase+" says it too")
	c.Flags().BoolVar(&o.Replace, "replace", false, "put aside the data that the home holds")
	c.Flags().Int64Var(&o.SignFrom, "sign-from", 0, "height from which the validator signs, as the consortium agreed; 0: when others make blocks")
	return c
}
