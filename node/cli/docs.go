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

// head is the page's beginning: what holds for every command.
const head = `# The command line

The reference of the program %chancery%. %chancery docs% prints it for your version of the program; this page is written
by %go test ./node/cli -run TestTheReferenceIsInSync -rewrite%. Every command has %--help% with examples.

## Answers

Without a flag an answer is text for people: one line for each field that is set, times in RFC 3339, bytes in
hexadecimal. With %--output json% it is JSON for programs, always on standard output:

- What the chain stores and answers is protobuf JSON with the names of the %.proto% files. As that form has it, bytes
  are base64 and integers of 64 bits are strings (%"height": "12"%; in jq, %.height|tonumber%). Fields that are not
  set are there with their default.
- What is of the program itself (the result of a transaction around its messages, a verified receipt, an event's line, a
  key) has plain numbers, and ids of transactions, keys of the state and hashes in hexadecimal, as commands take them.
- %events%, %state get%, %state diff% and %query … --all% write one object after another.

Progress and remarks are on standard error, and only where there is somebody to read them: at a terminal, or with
%--progress%. With %--output json% there are none.

## Errors and exit codes

An error is one sentence on standard error that says what to do, with the module and the permanent code of
[errors.md](errors.md) where the chain or a node refused. With %--output json% there is also an object
%{"error": {"module", "code", "text", "detail", "retryable", "exit"}}% on standard output.

| Exit code | Meaning |
|---|---|
| 0 | done |
| 1 | refused: a transaction failed, a query was refused, a receipt does not verify |
| 2 | the command line is wrong |
| 3 | no node can be reached |
| 4 | time ran out; the outcome of a transaction is then not known, and %chancery tx wait% asks for it |
| 5 | there is no such thing: what was asked for is absent, or a file to read is |
| 6 | the transaction is in a block and held: kept, not executed, until reviewers release or reject it (%chain/16%) |
| 7 | another version of the program is needed, before an upgrade or after one |
| 8 | the node's state has parted from what the others signed (%divergence/2%); a restart does not help |

A query that is proven (%--prove%) and finds nothing ends with 5 and writes its receipt, which proves the absence. A
transaction that was refused ends with 1, never with 5.

A transaction that is held is not lost and need not be sent again: %chancery query threat hold --tx-id ID% shows how it
stands, %chancery threat explain ID% says why, and %chancery tx threat appeal --tx-id ID% asks reviewers to look. When it is
released it is executed then, in the transaction of the reviewer who releases it. One that is denied ends with 1 (%chain/17%)
and can be appealed in the same way. With %--output json% the result of either has these command lines in %next%.

## Values

Bytes are hexadecimal digits, %base64:…% or %@FILE%. Times are RFC 3339, a date, %now%, or a duration from now such as
%+10m% or %-30d%; durations are %90s%, %10m%, %2h%, %30d%. Enums are their short names (%explicit-consent%). Nested messages are
JSON or %@FILE%, and flags of lists may be repeated. Text that begins with %@% is read from that file; %\\@% stands for the
sign itself. In %--json% the same forms are understood besides protobuf JSON, with %hex:…% for bytes in hexadecimal.
%tx … --skeleton% prints a message to fill in.

## Environment

| Variable | Meaning |
|---|---|
| %CHANCERY_HOME% | folder of node and keyring, like %--home% |
| %CHANCERY_NODE% | addresses of nodes, like %--node% |
| %CHANCERY_PASSPHRASE_FILE% | file, or %fd:N%, that holds the keyring's passphrase |
| %CHANCERY_PASSPHRASE% | the keyring's passphrase |
| %CHANCERY_TLS_CA%, %CHANCERY_TLS_CERT%, %CHANCERY_TLS_KEY% | PEM files, like %--tls-ca%, %--tls-cert%, %--tls-key% |

A flag goes before its variable. Nodes on this machine are reached in the clear, all others by TLS.

## Completion

%chancery completion bash|zsh|fish|powershell% prints a script that completes commands, flags, names of keys,
modules' messages and enums; %chancery completion bash --help% says how to load it.

## Flags of every command

`

// reference is docs/cli.md.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(head, "%", "`"))
	flagTable(&b, root.PersistentFlags())
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			referenceOf(&b, c, 2)
		}
	}
	return b.String()
}

func referenceOf(b *strings.Builder, c *cobra.Command, level int) {
	if c.Annotations[fromProto] != "" {
		fmt.Fprintf(b, "\n%s %s\n\n", strings.Repeat("#", min(level, 4)), c.CommandPath())
		protoTable(b, c)
		return
	}
	fmt.Fprintf(b, "\n%s %s\n\n", strings.Repeat("#", min(level, 4)), c.CommandPath())
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(b, "`%s`\n\n", strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	b.WriteString(long + "\n")
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

// fromProto marks a command whose commands are made of the messages or queries of
// a module: their flags are the fields, which the .proto file describes.
const fromProto = "chancery-proto"

// protoTable lists the commands of a module; their help has the fields.
func protoTable(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "The fields, which are flags, are in [%[1]s](../%[1]s) and in each command's `--help`.\n\n", c.Annotations[fromProto])
	b.WriteString("| Command | What it does |\n|---|---|\n")
	for _, sub := range c.Commands() {
		fmt.Fprintf(b, "| `%s` | %s |\n", sub.Name(), strings.ReplaceAll(sub.Short, "|", "\\|"))
	}
}

func flagTable(b *strings.Builder, f *pflag.FlagSet) {
	b.WriteString("| Flag | Meaning |\n|---|---|\n")
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		kind, text := pflag.UnquoteUsage(flag)
		if flag.Name == "home" {
			text += " (by default .chancery in your home folder)"
		} else if flag.DefValue != "" && flag.DefValue != "false" && flag.DefValue != "[]" && flag.DefValue != "0" {
			text += " (by default " + flag.DefValue + ")"
		}
		if kind != "" {
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
