package cli

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/intel"
	"github.com/chancery/chancery/node/internal/durable"
)

// intelOpine is the flags of the command.
type intelOpine struct {
	level, until, note, to string
	remove                 bool
}

func (a *app) intelOpine() *cobra.Command {
	var o intelOpine
	c := &cobra.Command{
		Use:   "opine SUBJECT",
		Short: "Say what you think of somebody, in the node's name",
		Long: lines(
			"Writes what the operator thinks of a DID into a file, which a running node takes over",
			"within seconds and tells the other validators with its votes. It goes before whatever",
			"the node's other sources say of the subject: level none clears it of all they say.",
			"It holds until the time that --until names, or until --remove takes it out of the file.",
		),
		Example: examples(
			"chancery intel opine did:chancery:mercy:registrar --level high --until +7d",
			"chancery intel opine did:chancery:mercy --level none --note 'looked into on Monday'",
			"chancery intel opine did:chancery:mercy --remove",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.opine(&o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.level, "level", "", "none, low, guarded, high or severe")
	f.StringVar(&o.until, "until", "", "when it ends, such as +7d or 2027-01-31T00:00:00Z (by default never)")
	f.StringVar(&o.note, "note", "", "a note for those who read the file; it is told to nobody")
	f.StringVar(&o.to, "to", "", "the node's file of opinions, .csv or .jsonl (by default config/opinions.jsonl in the home folder)")
	f.BoolVar(&o.remove, "remove", false, "take out what the file says of the subject")
	complete(c, "level", "none", "low", "guarded", "high", "severe")
	return c
}

func (a *app) opine(o *intelOpine, subject string) error {
	said := intel.Indicator{Kind: intel.KindDID, Value: subject, Note: o.note}
	switch {
	case o.remove && (o.level != "" || o.until != "" || o.note != ""):
		return usagef("--remove goes with no other flag but --to")
	case o.remove:
	case o.level == "":
		return usagef("--level is missing; choose none, low, guarded, high or severe")
	default:
		var err error
		if said.Level, err = intel.ParseLevel(o.level); err != nil {
			return usagef("--level is %q; choose none, low, guarded, high or severe", o.level)
		}
		if o.until != "" {
			if said.Until, err = parseTime(o.until); err != nil {
				return usagef("--until: %v", err)
			}
			if said.Until <= now().UnixMilli() {
				return usagef("--until is %s, which has passed", o.until)
			}
		}
	}
	if err := said.CheckOpinion(); err != nil {
		return usagef("%v", err)
	}
	to := o.to
	if to == "" {
		to = a.homeDir().OpinionFile()
	}
	format, err := intel.FormatOf(to)
	if err != nil {
		return usagef("--to: %v", err)
	}
	var list []intel.Indicator
	raw, err := durable.Read(to, intel.MaxIndicatorBytes)
	if err == nil {
		list, err = intel.ParseOpinions(raw, format)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errFile.With("%s: %v", to, err)
	}
	before := len(list)
	list = slices.DeleteFunc(list, func(i intel.Indicator) bool { return i.Value == subject })
	removed := before - len(list)
	if !o.remove {
		list = append(list, said)
	}
	if len(list) > intel.MaxIndicators {
		return errDocuments.With("%d opinions, at most %d", len(list), intel.MaxIndicators)
	}
	out, err := intel.EncodeIndicators(list, format)
	if err == nil && (removed > 0 || !o.remove) {
		err = durable.Replace(to, out)
	}
	if err != nil {
		return errNotSaved.Wrap(err)
	}
	f := facts{{"subject", subject}, {"replaced", removed > 0 && !o.remove}, {"removed", removed > 0 && o.remove}, {"opinions", len(list)}, {"file", to}}
	if !o.remove {
		f = slices.Insert(f, 1, fact{"level", said.Level.String()}, fact{"until", moment(said.Until)})
	}
	return a.print(f)
}
