package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// offlineValidity is how long a transaction may wait for its block that is signed
// in several places: close to the most that chains allow.
const offlineValidity = 9 * time.Minute

func (a *app) txCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tx",
		Short: "Change what the chain holds",
		Long: lines(
			"Builds a transaction, signs it with keys of the keyring, submits it and waits until",
			"it is committed. Each module's messages are commands here.",
			"",
			"Where the signers are not in one place: write the transaction with --generate-only,",
			"let each sign the file with chancery tx sign, join the files with chancery tx merge,",
			"and submit the result with chancery tx submit.",
		),
		Example: examples(
			"chancery tx consent withdraw --from alice --id 3f0c…",
			"chancery tx consent give --from alice --json @consent.json",
			"chancery tx identity register-organisation --author did:chancery:consortium --generate-only --json @new.json --out new.tx",
		),
	}
	for _, p := range parts() {
		if len(p.messages) == 0 {
			continue
		}
		m := &cobra.Command{
			Use:   p.name,
			Short: "Messages of the module " + p.name,
			Long:  "Messages of the module " + p.name + ". Each command's help lists the message's fields.",
			Example: examples(
				fmt.Sprintf("chancery tx %s %s --help", p.name, kebab(string(p.messages[0].Message().Name()))),
			),
			Annotations: map[string]string{fromProto: "proto/" + p.messages[0].Message().ParentFile().Path()},
		}
		for _, arm := range p.messages {
			m.AddCommand(a.messageCommand(p.name, arm))
		}
		c.AddCommand(m)
	}
	c.AddCommand(a.txBundle(), a.txSign(), a.txMerge(), a.txSubmit(), a.txWait(), a.txShow())
	return c
}

// sending is what the commands share that make a transaction of messages.
type sending struct {
	app        *app
	from       []string
	author     string
	wait       string
	validUntil string
	generate   bool
	simulate   bool
	out        string
	chainID    string
}

// dial connects to the nodes of the chain that --chain-id names, where it does.
func (s *sending) dial(ctx context.Context) (*client.Client, error) {
	if s.chainID == "" {
		return s.app.dial(ctx)
	}
	return s.app.dial(ctx, client.ChainID(s.chainID))
}

// flags gives a command the flags of sending.
func (s *sending) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&s.from, "from", nil, "key that signs; repeat for several signatures")
	f.StringVar(&s.author, "author", "", "DID on whose behalf; by default what the first key is bound to")
	f.StringVar(&s.wait, "wait", waitCommit, "what to wait for: commit, or check (a node took it)")
	f.StringVar(&s.validUntil, "tx-valid-until", "", "time after which the transaction is void, such as +5m; by default +1m, and +9m with --generate-only")
	f.BoolVar(&s.generate, "generate-only", false, "write the unsigned transaction and submit nothing")
	f.BoolVar(&s.simulate, "simulate", false, "execute on the latest state and keep nothing")
	f.StringVar(&s.out, "out", "", "file for --generate-only, which must not exist; by default standard output")
	f.StringVar(&s.chainID, "chain-id", "", "the chain: nodes of any other are refused; with --generate-only no node is asked")
	complete(c, "wait", waitCommit, waitCheck)
	s.completeKeys(c)
}

// completeKeys offers the keyring's keys for --from.
func (s *sending) completeKeys(c *cobra.Command) {
	err := c.RegisterFlagCompletionFunc("from", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return s.app.keyNames(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("cli: " + err.Error())
	}
}

const (
	waitCommit = "commit"
	waitCheck  = "check"
)

func (a *app) messageCommand(module string, arm protoreflect.FieldDescriptor) *cobra.Command {
	d := arm.Message()
	name := kebab(string(d.Name()))
	s := &sending{app: a}
	blankForm := false
	c := &cobra.Command{
		Use:   name,
		Short: sentenceOf(comment(d)),
		Long:  about(comment(d), d),
		Args:  cobra.NoArgs,
		Example: examples(
			fmt.Sprintf("chancery tx %s %s --from alice%s", module, name, exampleFlags(d, true)),
			fmt.Sprintf("chancery tx %s %s --skeleton > message.json", module, name),
			fmt.Sprintf("chancery tx %s %s --from alice --json @message.json", module, name),
		),
	}
	f := a.newForm(c, d)
	s.flags(c)
	c.Flags().BoolVar(&blankForm, "skeleton", false, "print the message's JSON to fill in, and do nothing")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if blankForm {
			text, err := skeleton(d)
			if err != nil {
				return err
			}
			return a.write(text)
		}
		m, err := f.message(cmd)
		if err != nil {
			return err
		}
		return s.send(cmd, m)
	}
	return c
}

// exampleFlags shows one or two flags of a message. A time to come makes sense of
// what is to be done, not of what is asked.
func exampleFlags(d protoreflect.MessageDescriptor, times bool) string {
	var out []string
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		var v string
		switch {
		case fd.Message() != nil:
			v = "'{…}'"
		case fd.Kind() == protoreflect.BytesKind:
			v = "3f0c…"
		case fd.Kind() == protoreflect.EnumKind:
			v = choices(fd.Enum())[0]
		case isTime(fd) && times:
			v = "+24h"
		case fd.Kind() == protoreflect.StringKind && strings.Contains(strings.ToLower(comment(fd)), "did"):
			v = "did:chancery:mercy"
		default:
			continue
		}
		name := kebab(string(fd.Name()))
		if reserved[name] {
			name = "field-" + name
		}
		if out = append(out, " --"+name+" "+v); len(out) == 2 {
			break
		}
	}
	return strings.Join(out, "")
}

// send makes a transaction of messages and does with it what the flags say.
func (s *sending) send(cmd *cobra.Command, messages ...proto.Message) error {
	a := s.app
	if s.wait != waitCommit && s.wait != waitCheck {
		return usagef("--wait is %q; choose commit or check", s.wait)
	}
	if err := s.contradiction(cmd); err != nil {
		return err
	}
	if len(s.from) == 0 && !s.generate {
		return usagef("name the key that signs with --from, or write an unsigned transaction with --generate-only")
	}
	if _, err := s.until(); err != nil {
		return err
	}
	if s.generate {
		ctx, cancel := a.within(cmd)
		defer cancel()
		return s.unsigned(ctx, messages)
	}
	signers, author, err := a.signers(s.from)
	if err != nil {
		return err
	}
	if s.author != "" {
		author = s.author
	}
	// All clocks start once the passphrase is typed.
	until, err := s.until()
	if err != nil {
		return err
	}
	ctx, cancel := a.within(cmd)
	defer cancel()
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	d := c.Draft(author, messages...)
	d.ValidUntil = until
	raw, id, err := d.Sign(signers...)
	if err != nil {
		return refused(err)
	}
	if s.simulate {
		return a.simulated(ctx, c, raw)
	}
	return a.submit(ctx, c, raw, id, s.wait)
}

// contradiction refuses flags that would do nothing beside others.
func (s *sending) contradiction(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case s.generate && s.simulate:
		return usagef("--generate-only and --simulate exclude each other: what nobody signed cannot be simulated")
	case s.generate && given("wait"):
		return usagef("--generate-only submits nothing that --wait could wait for")
	case s.simulate && given("wait"):
		return usagef("--simulate submits nothing that --wait could wait for")
	case !s.generate && s.out != "":
		return usagef("--out is for the unsigned transaction that --generate-only writes")
	}
	return nil
}

// until is valid_until in Unix milliseconds.
func (s *sending) until() (int64, error) {
	switch {
	case s.validUntil != "":
		at, err := parseTime(s.validUntil)
		if err != nil {
			return 0, usagef("--tx-valid-until: %v", err)
		}
		if at <= now().UnixMilli() {
			return 0, usagef("--tx-valid-until %s is over already; the transaction would be void", s.validUntil)
		}
		return at, nil
	case s.generate:
		return now().Add(offlineValidity).UnixMilli(), nil
	default:
		return now().Add(client.DefaultValidity).UnixMilli(), nil
	}
}

// unsigned writes a transaction for others to sign.
func (s *sending) unsigned(ctx context.Context, messages []proto.Message) error {
	a := s.app
	author := s.author
	if author == "" {
		if len(s.from) == 0 {
			return usagef("name the author with --author, or a key that is bound to one with --from")
		}
		k, err := a.openKeyring()
		if err != nil {
			return keyFault(err)
		}
		e, err := k.Lookup(s.from[0])
		if err != nil {
			return keyFault(err)
		}
		if author = e.DID; author == "" {
			return sentence(errKey, "the key %s is not bound to a DID; run: chancery keys bind %[1]s", s.from[0])
		}
	}
	chain, err := a.chainOf(ctx, s.chainID)
	if err != nil {
		return err
	}
	until, err := s.until()
	if err != nil {
		return err
	}
	body, err := tx.Draft{ChainID: chain, Author: author, ValidUntil: until, Salt: client.NewSalt(), Messages: messages}.Body()
	if err != nil {
		return refused(err)
	}
	return a.writeTx(&txv1.Tx{Body: body}, s.out)
}

// submit gives a signed transaction to the chain.
func (a *app) submit(ctx context.Context, c *client.Client, raw []byte, id tx.ID, wait string) error {
	var hint *chainv1.Verdict
	ctx = client.OnHint(ctx, func(v *chainv1.Verdict) {
		if hint == nil && wait != waitCheck && v.Ruling != chainv1.Ruling_RULING_ADMIT && v.Ruling != chainv1.Ruling_RULING_UNSPECIFIED {
			a.note("a hint: as things stand it will not be executed (%s); its block decides", verdictText(v))
		}
		hint = v
	})
	if wait == waitCheck {
		_, r, err := c.Submit(ctx, raw)
		if err != nil {
			return refused(err)
		}
		if r != nil {
			return a.printResult(r, raw)
		}
		taken := facts{{"tx id", id.String()}, {"status", "in the pool"}, {"next", "chancery tx wait " + id.String()}}
		switch {
		case a.output == outputJSON:
			taken = append(taken, fact{"hint", verdictJSON(hint)})
		case hint != nil:
			taken = append(taken, fact{"hint", verdictText(hint) + "; its block decides"})
		}
		return a.print(taken)
	}
	stop := a.spin("waiting for the block of " + id.String())
	r, err := c.Commit(ctx, raw)
	stop()
	if r != nil {
		return a.printResult(r, raw)
	}
	return refused(err)
}

func (a *app) simulated(ctx context.Context, c *client.Client, raw []byte) error {
	r, err := c.Simulate(ctx, raw)
	if err != nil {
		return refused(err)
	}
	a.note("simulated: nothing was changed")
	return a.printResult(r, raw)
}

// refusedTx is an error of a transaction: never "there is no such thing" to a
// script, which could not tell it from an answer.
type refusedTx struct{ error }

func (r refusedTx) Unwrap() error { return r.error }

func refused(err error) error {
	if err == nil {
		return nil
	}
	return refusedTx{err}
}

// printResult prints what became of a transaction; of one that failed it is the
// error. The transaction itself, where it is at hand, tells the types of the
// responses.
func (a *app) printResult(r *chainv1.TxResult, raw []byte) error {
	failed := client.FromResult(r)
	if a.output == outputText && failed != nil {
		a.noteNext(r)
		e := *errs.As(failed)
		e.Detail = strings.TrimPrefix(fmt.Sprintf("%s; transaction %x, block %d", e.Detail, r.TxId, r.Height), "; ")
		return refused(&e)
	}
	if a.output == outputText {
		return a.write(resultText(r, responseTypes(raw)))
	}
	v, err := resultJSON(r, responseTypes(raw))
	if err != nil {
		return err
	}
	if err := a.print(v); err != nil {
		return err
	}
	if failed != nil {
		return silent{refused(failed)}
	}
	return nil
}

// noteNext says how to go on with a transaction that was held or denied.
func (a *app) noteNext(r *chainv1.TxResult) {
	next := nextSteps(r)
	if len(next) == 0 {
		return
	}
	a.note("it is kept, and people decide on it, not the program (%s):\n  why:                %s\n  how it stands:      %s\n  ask for a review:   %s",
		verdictText(r.Verdict), next[0], next[1], next[2])
}

// silent is an error whose JSON is printed already.
type silent struct{ error }

func (s silent) Unwrap() error { return s.error }
