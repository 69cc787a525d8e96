package cli

import "github.com/spf13/cobra"

func (a *app) threatCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "threat",
		Short:   "See what the sentinel sees",
		Example: examples("chancery threat forecast"),
	}
	c.AddCommand(a.threatForecast())
	return c
}
