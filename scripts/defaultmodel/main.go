// Command defaultmodel makes the detector that ships with the program from simulated
// life, and measures it on seeds that its making never saw.
//
//	defaultmodel build --out DIR          default.detector and its card
//	defaultmodel measure --detector FILE  a table as Markdown, on standard output
//
// The same flags give the same bytes, on one kind of processor.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "defaultmodel:", err)
		os.Exit(1)
	}
}

// seeds is a flag of numbers with commas between them.
type seeds []uint64

func (s *seeds) String() string { return fmt.Sprint(*s) }

func (s *seeds) Set(text string) error {
	*s = nil
	for _, x := range strings.Split(text, ",") {
		n, err := strconv.ParseUint(x, 10, 64)
		if err != nil {
			return err
		}
		*s = append(*s, n)
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want build or measure")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	life := lifeOptions{days: 14, life: 0.5, campaigns: 3}
	f.IntVar(&life.days, "days", life.days, "days of each seed")
	f.Float64Var(&life.life, "life", life.life, "how much everybody does")
	f.IntVar(&life.campaigns, "campaigns", life.campaigns, "campaigns of each kind and seed")
	switch args[0] {
	case "build":
		b := building{train: seeds{1, 2, 3, 4, 5, 6}, validate: seeds{101, 102, 103, 104}, life: life}
		out := f.String("out", "modules/threat/detector/data", "folder to write to")
		f.Var(&b.train, "train", "seeds to train on")
		f.IntVar(&b.campaigns, "training-campaigns", 6, "campaigns of each kind and seed to train on")
		f.Var(&b.validate, "validate", "seeds to choose calibrations and thresholds on")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		b.life = life
		return b.build(ctx, *out)
	case "measure":
		held := seeds{402, 403, 404} // in the plan of 401 somebody acts whose identity ended
		f.Var(&held, "seeds", "seeds that nothing was trained or chosen on")
		file := f.String("detector", "modules/threat/detector/data/default.detector", "detector to measure")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		return measure(ctx, *file, held, life)
	}
	return fmt.Errorf("no command %q; want build or measure", args[0])
}
