package cli

import (
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/testnet"
)

const defaultTimeout = 30 * time.Second

// commands are all of the program's commands, in the order of its help.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		grouped("node", a.initCommand()),
		grouped("node", a.joinCommand()),
		grouped("node", a.startCommand()),
		grouped("node", a.statusCommand()),
		grouped("node", a.healthCommand()),
		grouped("node", a.doctorCommand()),
		grouped("node", a.logLevelCommand()),
		grouped("node", a.resetCommand()),
		grouped("node", a.nodeKeyCommand()),
		grouped("node", a.genesisCommand()),
		grouped("node", a.stateCommand()),
		grouped("node", a.fsckCommand()),
		grouped("node", a.backupCommand()),
		grouped("node", a.restoreCommand()),
		grouped("node", a.upgradeCommand()),
		grouped("node", a.validatorCommand()),
		grouped("node", a.signerCommand()),

		grouped("node", testnet.Command(testnet.Deps{})),

		grouped("use", a.keysCommand()),
		grouped("use", a.certsCommand()),
		grouped("use", a.txCommand()),
		grouped("use", a.queryCommand()),
		grouped("use", a.simulateCommand()),
		grouped("use", a.verifyCommand()),
		grouped("use", a.checkpointCommand()),
		grouped("use", a.witnessCommand()),
		grouped("use", a.eventsCommand()),
		grouped("use", a.importCommand()),
		grouped("use", a.modelCommand()),
		grouped("use", a.intelCommand()),
		grouped("use", a.webhookCommand()),
		grouped("use", a.threatCommand()),
		grouped("use", a.govCommand()),
		grouped("use", a.benchCommand()),

		a.versionCommand(),
		a.docsCommand(),
	}
}

// root is the program.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "chancery",
		Short: "The records office of a consortium",
		Long: lines(
			"Chancery keeps one chain for organisations that share sensitive data: who may see",
			"what, who agreed to it, where the data came from, and who is who.",
			"",
			"Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 no node can be",
			"reached, 4 time ran out, 5 there is no such thing, 6 the transaction is held for",
			"reviewers, 7 another version of the program is needed.",
		),
		Example: examples(
			"chancery status",
			"chancery keys create alice",
			"chancery query identity document --did did:chancery:mercy",
			"chancery events --from 1/0",
		),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.output != outputText && a.output != outputJSON {
				return usagef("--output is %q; choose text or json", a.output)
			}
			if a.timeout < 0 {
				return usagef("--timeout is %v; it may not be negative, and 0 is for ever", a.timeout)
			}
			a.started = true
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.home, "home", a.variable(homeVariable, a.defaultHome()), "folder of node and keyring; "+homeVariable+" says it too")
	f.StringVar(&a.node, "node", a.variable(nodeVariable, defaultNode), "HOST:PORT of a node, several with commas between them; "+nodeVariable+" says it too")
	f.StringVar(&a.output, "output", outputText, "text or json")
	f.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long to wait for an answer; 0 for ever")
	f.BoolVar(&a.progress, "progress", false, "show progress although this is no terminal")
	f.StringVar(&a.ca, "tls-ca", a.variable("CHANCERY_TLS_CA", ""), "PEM file of the authorities that sign the nodes' certificates")
	f.StringVar(&a.cert, "tls-cert", a.variable("CHANCERY_TLS_CERT", ""), "PEM file of your certificate")
	f.StringVar(&a.key, "tls-key", a.variable("CHANCERY_TLS_KEY", ""), "PEM file of its private key")
	complete(root, "output", outputText, outputJSON)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; see %s --help", err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "Run a node:"},
		&cobra.Group{ID: "use", Title: "Use the chain:"},
	)
	root.AddCommand(a.commands()...)
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

func grouped(group string, c *cobra.Command) *cobra.Command {
	c.GroupID = group
	return c
}

// strict makes a command that only holds others refuse what is none of them, where
// cobra would print help and succeed.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	if c.HasSubCommands() && !c.Runnable() && c.HasParent() {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			text := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text = "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], text)
		}
		c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version, and what it was built from",
		Example: examples("chancery version --output json"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.print(facts{
				{"version", a.Version}, {"revision", a.Revision}, {"go", runtime.Version()},
				{"platform", runtime.GOOS + "/" + runtime.GOARCH},
			})
		},
	}
}

// complete offers fixed values of a flag to the shell.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("cli: " + err.Error())
	}
}

func lines(l ...string) string { return strings.Join(l, "\n") }

// examples indents command lines as cobra shows them.
func examples(l ...string) string { return "  " + strings.Join(l, "\n  ") }
