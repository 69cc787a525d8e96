package cli

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) threatExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain TX",
		Short: "Say in plain words why a transaction was judged as it was",
		Long: lines(
			"Says what was asked for, what the sentinel found, why, what became of it, what would",
			"have to be different, and who may do what now: what a data-protection officer needs to",
			"answer for a decision that a program prepared. A table of the reasons follows.",
			"",
			"TX is the id of a committed transaction in hexadecimal. The verdict is what all validators",
			"agreed on. The reasons are the node's own, from the features that it has on record.",
		),
		Example: examples(
			"chancery threat explain 3f0c…",
			"chancery threat explain 3f0c… --output json",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseTxID(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Explain(ctx, id[:])
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.print(r)
			}
			return a.write(explanationText(r))
		},
	}
}

// explanationText is an explanation as prose and tables.
func explanationText(r *nodev1.ExplainResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "transaction %s\n\n", hex.EncodeToString(r.TxId))
	for _, p := range r.Paragraphs {
		b.WriteString(clean(wrap(p, 92, "")) + "\n\n")
	}
	if len(r.Reasons) > 0 {
		rows := [][]string{{"PART", "POINTS", "WHAT IT LOOKS AT", "FEATURE", "VALUE"}}
		for _, x := range r.Reasons {
			rows = append(rows, []string{x.Part, fmt.Sprint(x.Points), x.What, dash(x.Feature), dash(x.Value)})
		}
		b.WriteString(table(rows))
	}
	if len(r.Contributions) > 0 {
		rows := [][]string{{"TREES", "FEATURE", "VALUE", "RAISED THE MARGIN BY", "MEANING"}}
		for _, x := range r.Contributions {
			rows = append(rows, []string{x.Part, x.Feature, x.Value, fmt.Sprintf("%.2f", float64(x.Contribution)/65536), x.Meaning})
		}
		b.WriteString("\n" + table(rows))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
