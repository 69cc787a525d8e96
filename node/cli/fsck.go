package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/fsck"
	"github.com/chancery/chancery/node/offline"
)

func (a *app) fsckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fsck",
		Short: "Check all that a stopped node has on disk",
		Long: lines(
			"Checks a stopped node's data and changes nothing: every block with its hash and its",
			"signatures, every version of the state from its leaves to the root in the headers,",
			"every result and event, what the validator key signed last, the genesis file, and the",
			"checksums of every file. It names what is wrong, where, and the remedy.",
			"Exit code 0: all is well; 1: something is not; 5: there is no data.",
		),
		Example: examples("chancery fsck --home /var/lib/chancery", "chancery fsck --output json"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lock, err := a.stopped(a.homeDir())
			if err != nil {
				return err
			}
			defer lock.Close()
			r, err := a.check(cmd.Context(), a.homeDir())
			if err != nil {
				return err
			}
			return a.tellCheck(r)
		},
	}
}

// stopped takes the lock of a home that holds data.
func (a *app) stopped(home config.Home) (*flock.Flock, error) {
	if _, err := os.Stat(home.Data()); errors.Is(err, fs.ErrNotExist) {
		return nil, sentence(errNothing, "%s holds no data", home)
	}
	lock, err := offline.Lock(home)
	if errors.Is(err, offline.ErrRunning) {
		return nil, sentence(errHome, "a node is running in %s; stop it first", home)
	}
	if err != nil {
		return nil, errHome.Wrap(err)
	}
	return lock, nil
}

// check checks a home whose lock is held, and shows how far it is.
func (a *app) check(ctx context.Context, home config.Home) (*fsck.Report, error) {
	m := &meter{app: a, unit: func(n int64) string { return fmt.Sprint(n) }}
	defer m.end()
	r, err := fsck.Check(ctx, home, fsck.Options{Progress: func(part string, done int64) {
		m.what = "checking " + part + ":"
		m.add(done - m.done)
	}})
	if err != nil {
		return nil, errHome.Wrap(err)
	}
	return r, nil
}

// tellCheck prints a report. Its error says that there are problems.
func (a *app) tellCheck(r *fsck.Report) error {
	if a.output == outputJSON {
		if err := a.print(r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			where := p.File
			if p.Height > 0 {
				where += fmt.Sprintf(", height %d", p.Height)
			}
			if err := a.write(clean(fmt.Sprintf("%s: %s\n  remedy: %s\n", where, p.What, p.Remedy))); err != nil {
				return err
			}
		}
		for _, n := range r.Notes {
			if err := a.write(clean("note: " + n + "\n")); err != nil {
				return err
			}
		}
		err := a.print(facts{
			{"chain", r.ChainID}, {"blocks", fmt.Sprintf("%d to %d, %d checked", r.Oldest, r.Height, r.Blocks)},
			{"state", fmt.Sprintf("%s, height %d, %d versions checked", r.Tree, r.State, r.Versions)},
			{"records", fmt.Sprintf("height %d", r.Records)}, {"problems", len(r.Problems)},
		})
		if err != nil {
			return err
		}
	}
	if n := len(r.Problems); n > 0 {
		return silent{sentence(errDamaged, "%d problems were found", n)}
	}
	return nil
}
