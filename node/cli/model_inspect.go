package cli

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/model"
)

func (a *app) modelInspect() *cobra.Command {
	card := ""
	all := false
	c := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show what a model is made of",
		Long: lines(
			"Checks a model as a validator would and shows its size, bounds, thresholds and features.",
			"With --card it also checks that the card is the one that the model was made with, and",
			"shows what was measured and the model's limits.",
		),
		Example: examples(
			"chancery model inspect fraud.model",
			"chancery model inspect fraud.model --card fraud.model.card.json",
			"chancery model inspect fraud.model --all-features --output json",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.openModel(args[0])
			if err != nil {
				return err
			}
			message := m.Message()
			var c *model.Card
			if card != "" {
				raw, err := readFile(card)
				if err != nil {
					return err
				}
				if c, err = model.ReadCard(raw, message.CardHash); err != nil {
					return err
				}
			}
			features := model.CardFeatures(message)
			if a.output == outputJSON {
				hash := m.Hash()
				f := facts{{"name", m.Name()}, {"hash", digits(hash[:])}, {"bytes", m.Size()}, {"card_hash", digits(message.CardHash)}, {"max_work", m.MaxWork()}}
				if e := m.Boosted(); e != nil {
					f = append(f, fact{"boosted", facts{{"trees", e.Trees()}, {"splits", e.Splits()}, {"depth", e.Depth()}, {"bias", units(e.Bias())}}})
				}
				if e := m.Forest(); e != nil {
					f = append(f, fact{"forest", facts{{"trees", e.Trees()}, {"splits", e.Splits()}, {"depth", e.Depth()}, {"samples", message.Forest.Samples}, {"bias", units(e.Bias())}}})
				}
				f = append(f, fact{"thresholds", facts{{"hold", message.GetThresholds().GetHold()}, {"deny", message.GetThresholds().GetDeny()}}}, fact{"features", features})
				if c != nil {
					f = append(f, fact{"card", c})
				}
				return a.print(f)
			}
			f := append(modelFacts(m), fact{"card's hash", dash(hex.EncodeToString(message.CardHash))})
			var b strings.Builder
			b.WriteString(f.text() + "\n")
			rows := [][]string{{"FEATURE", "DECIMALS", "UNIT", "COLUMN", "MONOTONE", "SHARE OF SPLITS"}}
			const most = 30
			for i, x := range features {
				if i == most && !all {
					break
				}
				y := message.Features[i]
				rows = append(rows, []string{x.Name, strconv.Itoa(int(x.Decimals)), dash(y.Unit), dash(y.Column), dash(x.Monotone), fmt.Sprintf("%.1f%%", 100*x.Splits)})
			}
			b.WriteString(table(rows))
			if len(features) > most && !all {
				fmt.Fprintf(&b, "and %d more; --all-features shows them\n", len(features)-most)
			}
			if c != nil {
				b.WriteString("\n" + facts{{"origin", c.Origin}, {"seed", c.Seed}}.text())
				if c.Data != nil {
					b.WriteString(facts{{"trained on", fmt.Sprintf("%d rows, %d positive and %d negative, SHA-256 %s", c.Data.Rows, c.Data.Positives, c.Data.Negatives, c.Data.SHA256)}}.text())
				}
				for _, x := range c.Measured {
					for _, p := range x.Parts {
						fmt.Fprintf(&b, "measured on %s: %s ROC-AUC %.4f, PR-AUC %.4f, recall %.4f at 1%% false positives\n", x.On, p.Part, p.Metrics.ROC, p.Metrics.PR, p.Metrics.Recall01)
					}
				}
				for _, l := range c.Limits {
					b.WriteString("limit: " + clean(l) + "\n")
				}
			}
			return a.write(b.String())
		},
	}
	c.Flags().StringVar(&card, "card", "", "the model's card, to check and show")
	c.Flags().BoolVar(&all, "all-features", false, "show every feature, not the first 30 alone")
	return c
}
