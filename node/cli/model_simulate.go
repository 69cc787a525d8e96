package cli

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/testnet/scenarios"
)

// rowColumns are the columns of a row before its features. 'model train' leaves out
// all but the label: --ignore at,author,kind,code,score,ruling,campaign,attack.
var rowColumns = []string{"at", "author", "kind", "code", "score", "ruling", "campaign", "attack", "label"}

func (a *app) modelSimulate() *cobra.Command {
	var o scenarios.Options
	var attacks, out, plan string
	var warm, enforce bool
	var detector string
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate a consortium's life and attacks, and write what the sentinel sees",
		Long: lines(
			"Makes up the life of a consortium, with attacks on it, and executes it on a chain in",
			"this process, in virtual time and with real signatures. --out has a row for each",
			"transaction: the features that the scorer saw, which campaign and attack it belongs",
			"to, and the label 1 where it does harm. Rows of the warm-up, in which nobody has a",
			"past yet, are left out. --plan has the transactions themselves, as JSON lines.",
			"The same options give the same files.",
		),
		Example: examples(
			"chancery model simulate --seed 1 --days 28 --attacks all --out rows.csv",
			"chancery model simulate --seed 9 --days 14 --attacks burst,mimicry --out held-out.csv --plan plan.jsonl",
			"chancery model simulate --seed 2 --days 7 --attacks none --plan quiet.jsonl",
		),
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.SortFlags = false
	f.Uint64Var(&o.Seed, "seed", 1, "what everything follows from")
	f.IntVar(&o.Days, "days", 28, "days of life, from a Monday on")
	f.IntVar(&o.Warmup, "warmup", 0, "days before the first attack; 0 for a quarter of --days, at most ten")
	f.StringVar(&attacks, "attacks", "all", "all, none, or kinds with commas between them")
	f.IntVar(&o.Campaigns, "campaigns", 0, "campaigns of each kind; 0 for one, and one more for every two weeks")
	f.IntVar(&o.Organisations, "organisations", 0, "4 to 7; 0 for as many as the seed says")
	f.Float64Var(&o.Life, "life", 1, "how much everybody does, against what docs/scenarios.md says")
	f.Float64Var(&o.Force, "force", 1, "how much an attack does")
	f.StringVar(&out, "out", "", "file of rows to write, which must not exist")
	f.StringVar(&plan, "plan", "", "file of transactions to write, which must not exist")
	f.StringVar(&detector, "detector", "", "file of the detector that scores; by default one without trees that holds nothing")
	f.BoolVar(&enforce, "enforce", false, "hold and deny what the detector says")
	f.BoolVar(&warm, "with-warmup", false, "write the rows of the warm-up too")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if out == "" && plan == "" {
			return usagef("say what to write with --out or --plan")
		}
		if o.Attacks, err = scenarios.ParseKinds(attacks); err != nil {
			return usagef("--attacks: %v", err)
		}
		p, err := scenarios.New(o)
		if err != nil {
			return usagef("%v", err)
		}
		if plan != "" {
			if err := writeNew(plan, func(w io.Writer) error {
				for a := range p.Actions() {
					if err := a.Write(w); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		result := facts{{"seed", o.Seed}, {"days", o.Days}, {"organisations", p.Options().Organisations}}
		if plan != "" {
			result = append(result, fact{"plan", plan})
		}
		if out == "" {
			return a.print(result)
		}
		raw, err := scenarios.Probe()
		if detector != "" {
			raw, err = a.read(detector)
		}
		if err != nil {
			return err
		}
		sentinel, err := scenarios.Sentinel(raw, enforce)
		if err != nil {
			return err
		}
		m := &meter{app: a, what: "simulating", unit: func(n int64) string { return fmt.Sprintf("%d transactions", n) }}
		s := &rows{from: p.Options().Start}
		if !warm {
			s.from += int64(p.Options().Warmup) * 24 * time.Hour.Milliseconds()
		}
		var report *scenarios.Report
		err = writeNew(out, func(w io.Writer) error {
			s.out = csv.NewWriter(w)
			report, err = scenarios.Run(cmd.Context(), p, scenarios.RunOptions{
				Genesis:  map[string]json.RawMessage{"threat": sentinel},
				Progress: func(int, int64) { m.add(1000) },
			}, s.add)
			s.out.Flush()
			return errors.Join(err, s.out.Error())
		})
		m.end()
		if err != nil {
			return err
		}
		return a.print(append(result,
			fact{"transactions", report.Transactions}, fact{"blocks", report.Blocks}, fact{"failed", report.Failed},
			fact{"refused", report.Refused}, fact{"app_hash", digits(report.Root)}, fact{"rows", s.rows}, fact{"harmful", s.harmful}, fact{"written", out},
		))
	}
	return c
}

// rows writes outcomes as a table.
type rows struct {
	out           *csv.Writer
	from          int64 // virtual time before which nothing is written
	begun         bool
	rows, harmful int
	line          []string
}

func (s *rows) add(o *scenarios.Outcome) error {
	if o.Result == nil || o.At < s.from {
		return nil
	}
	if !s.begun {
		s.begun = true
		head := append([]string(nil), rowColumns...)
		if err := s.out.Write(append(head, features.Names()...)); err != nil {
			return err
		}
	}
	label := "0"
	if o.Harmful {
		label = "1"
		s.harmful++
	}
	v := o.Result.Verdict
	s.line = append(s.line[:0],
		strconv.FormatInt(o.At, 10), o.Author, string(o.Messages[0].ProtoReflect().Descriptor().FullName()),
		strconv.FormatUint(uint64(o.Result.Code), 10), strconv.FormatUint(uint64(v.GetScore()), 10),
		strconv.FormatInt(int64(v.GetRuling()), 10), o.Campaign, o.Attack.String(), label,
	)
	for i := range features.Names() {
		x := int64(trees.Missing)
		if i < len(o.Result.Row) {
			x = o.Result.Row[i]
		}
		cell := ""
		if x != trees.Missing {
			cell = strconv.FormatInt(x, 10)
		}
		s.line = append(s.line, cell)
	}
	s.rows++
	return s.out.Write(s.line)
}

// writeNew writes a file that must not exist, and removes it when that fails.
func writeNew(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return sentence(errNotSaved, "%s exists already; name another file or remove it", path)
	case err != nil:
		return errNotSaved.Wrap(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(write(w), w.Flush(), f.Close())
	if err != nil {
		_ = os.Remove(path) // what is left of it says nothing
	}
	return err
}
