package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/intel"
	"github.com/chancery/chancery/node/intel/stix"
	"github.com/chancery/chancery/node/internal/durable"
)

func (a *app) intelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "intel",
		Short: "Keep the node's files of indicators and of the operator's opinions",
		Long: lines(
			"A node holds indicators against whoever acts on the chain, and tells its opinion to the",
			"other validators, with what its operator says of them. These commands work on files",
			"alone and need no node. docs/intelligence.md has the forms.",
		),
		Example: examples("chancery intel import --dry-run bundle.json"),
	}
	c.AddCommand(a.intelImport(), a.intelOpine())
	return c
}

// intelImport is the flags of the command.
type intelImport struct {
	format, to, level, share string
	dry, merge               bool
}

const formatSTIX = "stix"

var circles = map[string]stix.Sharing{"green": stix.Green, "amber": stix.Amber, "red": stix.Red}

func (a *app) intelImport() *cobra.Command {
	var i intelImport
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Check indicators and make them the node's",
		Long: lines(
			"Reads indicators and writes the node's file of them, whole or not at all; a node that",
			"watches the file takes it over within seconds. The new file replaces the old one unless",
			"--merge keeps what the import does not name.",
			"",
			"Of a STIX 2.1 bundle the report names every object that was not mapped, and why. What a",
			"marking keeps from the community (TLP:AMBER and TLP:RED) is not mapped unless --share",
			"says so, for an opinion is told to all members of the consortium. Of CSV and JSON lines",
			"any fault refuses the file; each is named with its line.",
		),
		Example: examples(
			"chancery intel import --dry-run bundle.json",
			"chancery intel import --format csv --merge indicators.csv",
			"chancery intel import --level low --to config/indicators.jsonl --output json - < bundle.json",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.importIndicators(&i, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&i.format, "format", formatSTIX, "stix, csv or jsonl")
	f.BoolVar(&i.dry, "dry-run", false, "report, write nothing")
	f.StringVar(&i.to, "to", "", "the node's file of indicators, .csv or .jsonl (by default config/indicators.jsonl in the home folder)")
	f.BoolVar(&i.merge, "merge", false, "keep indicators of the file that the import does not name")
	f.StringVar(&i.level, "level", intel.LevelGuarded.String(), "level of STIX indicators without confidence: low, guarded, high or severe")
	f.StringVar(&i.share, "share", "green", "widest circle of STIX indicators that are taken: green, amber or red")
	complete(c, "format", formatSTIX, string(intel.CSV), string(intel.JSONL))
	complete(c, "share", "green", "amber", "red")
	complete(c, "level", "low", "guarded", "high", "severe")
	return c
}

func (a *app) importIndicators(i *intelImport, path string) error {
	if err := oneOf("--format", i.format, formatSTIX, string(intel.CSV), string(intel.JSONL)); err != nil {
		return err
	}
	circle, ok := circles[i.share]
	if !ok {
		return usagef("--share is %q; choose green, amber or red", i.share)
	}
	level, err := intel.ParseLevel(i.level)
	if err != nil || level == intel.LevelNone {
		return usagef("--level is %q; choose low, guarded, high or severe", i.level)
	}
	to := i.to
	if to == "" {
		to = a.homeDir().IndicatorFile()
	}
	format, err := intel.FormatOf(to)
	if err != nil {
		return usagef("--to: %v", err)
	}
	raw, err := a.read(path)
	if err != nil {
		return err
	}
	var list []intel.Indicator
	var report *stix.Report
	if i.format == formatSTIX {
		report, err = stix.Read(bytes.NewReader(raw), stix.Options{Now: time.Now(), Level: level, Sharing: circle})
		if err == nil {
			list = report.Indicators
		}
	} else {
		list, err = intel.ParseIndicators(raw, intel.Format(i.format))
	}
	if err != nil {
		return errDocuments.With("%s: %v", path, err)
	}
	before, err := indicators(to, format)
	if err != nil {
		if i.merge || !errors.Is(err, errFile) {
			return err
		}
		a.note("the file that is replaced cannot be read: %v", err)
	}
	named := make(map[string]bool, len(list))
	for _, x := range list {
		named[string(x.Kind)+" "+x.Value] = true
	}
	kept, removed := 0, 0
	for _, x := range before {
		switch {
		case named[string(x.Kind)+" "+x.Value]:
		case i.merge:
			kept++
			list = append(list, x)
		default:
			removed++
		}
	}
	if len(list) > intel.MaxIndicators {
		return errDocuments.With("%d indicators, at most %d", len(list), intel.MaxIndicators)
	}
	out, err := intel.EncodeIndicators(list, format)
	if err != nil {
		return errNotSaved.Wrap(err)
	}
	if !i.dry {
		if err := durable.Replace(to, out); err != nil {
			return errNotSaved.Wrap(err)
		}
	}
	return a.printImported(i, to, len(named), kept, removed, list, report)
}

// indicators are those of a file, none where there is no file.
func indicators(path string, format intel.Format) ([]intel.Indicator, error) {
	raw, err := durable.Read(path, intel.MaxIndicatorBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []intel.Indicator
	if err == nil {
		list, err = intel.ParseIndicators(raw, format)
	}
	if err != nil {
		return nil, errFile.With("%s: %v", path, err)
	}
	return list, nil
}

func (a *app) printImported(i *intelImport, to string, imported, kept, removed int, list []intel.Indicator, report *stix.Report) error {
	f := facts{{"imported", imported}, {"kept", kept}, {"removed", removed}, {"indicators", len(list)}, {"file", to}, {"written", !i.dry}}
	if report != nil {
		f = append(f, fact{"bundle", report.Bundle}, fact{"objects", report.Objects}, fact{"mapped", len(report.Mapped)}, fact{"not mapped", len(report.Unmapped)})
	}
	if a.output == outputJSON {
		rows := []facts{}
		for _, x := range list {
			rows = append(rows, facts{{"type", x.Kind}, {"value", x.Value}, {"level", x.Level.String()}, {"until", moment(x.Until)}, {"note", x.Note}})
		}
		f = append(f, fact{"list", rows})
		if report != nil {
			f = append(f, fact{"mapped objects", report.Mapped}, fact{"not mapped objects", report.Unmapped})
		}
		return a.print(f)
	}
	var b strings.Builder
	if report != nil {
		for _, m := range report.Mapped {
			fmt.Fprintf(&b, "mapped      %s: %d\n", clean(m.ID), m.Count)
		}
		for _, u := range report.Unmapped {
			fmt.Fprintf(&b, "not mapped  %s: %s\n", clean(u.ID), clean(u.Reason))
		}
	}
	rows := [][]string{{"TYPE", "VALUE", "LEVEL", "UNTIL", "NOTE"}}
	for _, x := range list {
		rows = append(rows, []string{string(x.Kind), x.Value, x.Level.String(), dash(stamp(x.Until)), dash(x.Note)})
	}
	b.WriteString(table(rows) + "\n" + f.text())
	return a.write(b.String())
}
