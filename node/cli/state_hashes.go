package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/divergence"
	"github.com/chancery/chancery/node"
)

func (a *app) stateHashes() *cobra.Command {
	var height int64
	c := &cobra.Command{
		Use:   "hashes STATE [STATE]",
		Short: "Show a hash of each module's state, or compare two states by such hashes",
		Long: lines(
			"Shows how many keys each module has in a state, and a hash of them. With two states it",
			"says which modules differ, and finds the first key that does by hashes of ever smaller",
			"ranges of keys; of values that of this key alone is sent, in its proof. It is what nodes",
			"do by themselves when an app hash parts. The states are named as for chancery state diff,",
			"which shows all keys that differ with their values. Exit code 0: they are equal; 1: they",
			"differ.",
		),
		Example: examples(
			"chancery state hashes 127.0.0.1:9090",
			"chancery state hashes 127.0.0.1:9090 127.0.0.1:9190 --at-height 120",
			"chancery state hashes /var/lib/chancery mercy.backup --output json",
		),
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := notNegative(flagOf{"at-height", height}); err != nil {
				return err
			}
			registry, err := node.Registry()
			if err != nil {
				return err
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			if len(args) == 1 {
				return a.hashesOf(ctx, registry, args[0], height)
			}
			left, right, err := a.openSides(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, left.close(), right.close()) }()
			if height, err = commonHeight(ctx, height, left, right); err != nil {
				return err
			}
			l, err := left.hashes(height)
			if err != nil {
				return err
			}
			r, err := right.hashes(height)
			if err != nil {
				return err
			}
			c, err := divergence.Compare(ctx, registry, height, l, r)
			if err != nil {
				return err
			}
			return a.printComparison(height, c)
		},
	}
	c.Flags().Int64Var(&height, "at-height", 0, "height of the states; 0 for the latest that both have")
	return c
}

// hashesOf shows the hashes of one state.
func (a *app) hashesOf(ctx context.Context, registry *state.Registry, name string, height int64) (err error) {
	s, err := a.openSide(ctx, name, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if height, err = commonHeight(ctx, height, s); err != nil {
		return err
	}
	of, err := s.hashes(height)
	if err != nil {
		return err
	}
	c, err := divergence.Hashes(ctx, registry, height, of)
	if err != nil {
		return err
	}
	return a.printHashes(height, c)
}

func (a *app) printHashes(height int64, c *divergence.Comparison) error {
	if a.output == outputJSON {
		type module struct {
			Module string `json:"module"`
			Keys   uint64 `json:"keys"`
			Hash   string `json:"hash"`
		}
		out := struct {
			Height  int64    `json:"height"`
			Root    string   `json:"root"`
			Modules []module `json:"modules"`
		}{Height: height, Root: c.LeftRoot}
		for _, m := range c.Modules {
			out.Modules = append(out.Modules, module{m.Name, m.LeftKeys, m.Left})
		}
		return a.print(out)
	}
	rows := [][]string{{"MODULE", "KEYS", "HASH"}}
	for _, m := range c.Modules {
		rows = append(rows, []string{m.Name, fmt.Sprint(m.LeftKeys), m.Left})
	}
	a.note("the state of height %d, root %s", height, c.LeftRoot)
	return a.write(table(rows))
}

func (a *app) printComparison(height int64, c *divergence.Comparison) error {
	var parted []string
	rows := [][]string{{"MODULE", "KEYS", "KEYS", "STATES"}}
	for _, m := range c.Modules {
		word := "equal"
		if m.Differs() {
			word, parted = "differ", append(parted, m.Name)
		}
		rows = append(rows, []string{m.Name, fmt.Sprint(m.LeftKeys), fmt.Sprint(m.RightKeys), word})
	}
	if a.output == outputJSON {
		if err := a.print(struct {
			Height int64 `json:"height"`
			*divergence.Comparison
		}{height, c}); err != nil {
			return err
		}
	} else if err := a.write(table(rows)); err != nil {
		return err
	}
	switch {
	case c.First != nil:
		d := c.First
		if a.output != outputJSON {
			if err := a.print(facts{{"first difference", d.Collection + " " + d.Key}, {"raw key", d.RawKey}, {"left", d.Left}, {"right", d.Right}}); err != nil {
				return err
			}
		}
		return silent{sentence(errDiffers, "the states of height %d differ in %s, first in %s of %s", height, strings.Join(parted, ", "), d.Key, d.Collection)}
	case c.LeftRoot != c.RightRoot:
		return silent{sentence(errDiffers, "the states of height %d hold the same records and have other roots: the trees differ in their shape", height)}
	}
	a.note("the states of height %d are equal", height)
	return nil
}
