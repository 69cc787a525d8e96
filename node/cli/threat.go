package cli

import "github.com/spf13/cobra"

func (a *app) threatCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "threat",
		Short: "See what the sentinel sees",
		Long: lines(
			"Shows what the sentinel says of transactions, and why. What is held, who reviews it and",
			"which models there are is asked with chancery query threat, and decided with chancery tx",
			"threat; docs/threat.md has the tasks of operators and reviewers.",
		),
		Example: examples("chancery threat watch", "chancery threat explain 3f0c…", "chancery threat forecast"),
	}
	c.AddCommand(a.threatExplain(), a.threatWatch(), a.threatEvidence(), a.threatForecast())
	return c
}
