package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "docs",
		Short:   "Print the reference of all commands in Markdown",
		Hidden:  true,
		Example: examples("chancery docs > docs/cli.md"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.write(reference(cmd.Root()))
		},
	}
}

// reference is docs/cli.md.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(`# The command line

The reference of the program ` + "`chancery`" + `, printed by ` + "`chancery docs`" + `. Do not edit it.

Every command takes ` + "`--output text|json`" + `. In JSON, messages are protobuf JSON with the names of the ` +
		"`.proto`" + ` files (bytes in base64); ids of transactions, keys of the state and hashes of files are in hexadecimal.

Values on the command line: bytes are hexadecimal digits, ` + "`base64:…`" + ` or ` + "`@FILE`" + `; times are RFC 3339, a
date, ` + "`now`" + ` or a duration from now such as ` + "`+10m`" + ` or ` + "`+30d`" + `; enums are their short names; nested
messages are JSON or ` + "`@FILE`" + `. Flags of lists may be repeated. In ` + "`--json`" + ` the same forms are understood
besides protobuf JSON, with ` + "`hex:…`" + ` for bytes in hexadecimal.

Errors are one sentence on standard error with the module and the permanent code; with ` + "`--output json`" + ` also
an object ` + "`error`" + ` on standard output.

| Exit code | Meaning |
|---|---|
| 0 | done |
| 1 | refused: a transaction failed, a query was refused, a receipt does not verify |
| 2 | the command line is wrong |
| 3 | no node can be reached |
| 4 | time ran out; the outcome of a transaction is then not known, and ` + "`chancery tx wait`" + ` asks for it |
| 5 | there is no such thing |

| Environment | Meaning |
|---|---|
| ` + "`CHANCERY_HOME`" + ` | folder of node and keyring, like ` + "`--home`" + ` |
| ` + "`CHANCERY_NODE`" + ` | addresses of nodes, like ` + "`--node`" + ` |
| ` + "`CHANCERY_PASSPHRASE_FILE`" + ` | file, or ` + "`fd:N`" + `, that holds the keyring's passphrase |
| ` + "`CHANCERY_PASSPHRASE`" + ` | the keyring's passphrase |
| ` + "`CHANCERY_TLS_CA`, `CHANCERY_TLS_CERT`, `CHANCERY_TLS_KEY`" + ` | PEM files, like ` + "`--tls-ca`, `--tls-cert`, `--tls-key`" + ` |

Flags of every command:

`)
	flagTable(&b, root.PersistentFlags())
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			referenceOf(&b, c, 2)
		}
	}
	b.WriteString("\n## chancery completion\n\nPrints a script that completes commands, flags, names of keys and values in bash, zsh, fish or PowerShell; see `chancery completion bash --help`.\n")
	return b.String()
}

func referenceOf(b *strings.Builder, c *cobra.Command, level int) {
	fmt.Fprintf(b, "\n%s %s\n\n", strings.Repeat("#", min(level, 4)), c.CommandPath())
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	text, nested, _ := strings.Cut(long, "\n\n")
	if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(b, "`%s`\n\n", c.UseLine())
	}
	b.WriteString(text + "\n")
	if nested != "" {
		fmt.Fprintf(b, "\n```text\n%s\n```\n", nested)
	}
	if c.HasAvailableLocalFlags() && !c.HasSubCommands() {
		b.WriteString("\n")
		flagTable(b, c.LocalNonPersistentFlags())
	}
	if c.Example != "" && !c.HasSubCommands() {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", unindent(c.Example))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			referenceOf(b, sub, level+1)
		}
	}
}

func flagTable(b *strings.Builder, f *pflag.FlagSet) {
	b.WriteString("| Flag | Meaning |\n|---|---|\n")
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		kind := flag.Value.Type()
		text := flag.Usage
		if flag.Name == "home" {
			text += " (by default .chancery in your home folder)"
		} else if flag.DefValue != "" && flag.DefValue != "false" && flag.DefValue != "[]" && flag.DefValue != "0" {
			text += " (by default " + flag.DefValue + ")"
		}
		if kind == "bool" {
			kind = ""
		} else {
			kind = " " + kind
		}
		fmt.Fprintf(b, "| `--%s%s` | %s |\n", flag.Name, kind, strings.ReplaceAll(text, "|", "\\|"))
	})
}

func unindent(s string) string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		out = append(out, strings.TrimPrefix(l, "  "))
	}
	return strings.Join(out, "\n")
}
