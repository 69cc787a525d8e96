package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
)

func (a *app) queryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "query",
		Short: "Ask what the chain holds",
		Long: lines(
			"Asks a node. Each module's queries are commands here.",
			"",
			"With --prove the answer comes with a receipt, which proves every record that was",
			"looked up, present or absent, to anybody who has the genesis file.",
		),
		Example: examples(
			"chancery query identity document --did did:chancery:mercy",
			"chancery query consent consent --id 3f0c… --prove consent.receipt",
			"chancery query provenance nodes --organisation did:chancery:mercy --all --output json",
		),
	}
	for _, p := range parts() {
		if len(p.queries) == 0 {
			continue
		}
		m := &cobra.Command{
			Use:   p.name,
			Short: "Queries of the module " + p.name,
			Long:  "Queries of the module " + p.name + ". Each command's help lists the request's fields.",
			Example: examples(
				fmt.Sprintf("chancery query %s %s --help", p.name, kebab(string(p.queries[0].Name()))),
			),
			Annotations: map[string]string{fromProto: "proto/" + p.queries[0].ParentFile().Path()},
		}
		if p.name == "node" {
			m.Short, m.Long = "Queries of the node itself", "Queries of the node itself. Each command's help lists the request's fields."
		}
		for _, method := range p.queries {
			m.AddCommand(a.methodCommand(p.name, method))
		}
		c.AddCommand(m)
	}
	return c
}

// asking is the flags of a query.
type asking struct {
	height  int64
	prove   string
	genesis string
	all     bool
}

func (a *app) methodCommand(module string, method protoreflect.MethodDescriptor) *cobra.Command {
	name := kebab(string(method.Name()))
	example := fmt.Sprintf("chancery query %s %s%s", module, name, exampleFlags(method.Input(), false))
	c := &cobra.Command{
		Use:     name,
		Short:   sentenceOf(comment(method)),
		Long:    about(comment(method), method.Input()),
		Example: examples(example, example+" --output json"),
		Args:    cobra.NoArgs,
	}
	q := &asking{}
	f := a.newForm(c, method.Input())
	c.Flags().Int64Var(&q.height, "at-height", 0, "height of the state to read; 0 for the latest")
	if module != "node" {
		c.Flags().StringVar(&q.prove, "prove", "", "file for a receipt of the answer, which must not exist")
		c.Flags().StringVar(&q.genesis, "genesis", "", "genesis file to verify the receipt with; by default the home's, if there is one")
	}
	paged := method.Input().Fields().ByName("page_token") != nil && method.Output().Fields().ByName("next_page_token") != nil
	if paged {
		c.Flags().BoolVar(&q.all, "all", false, "fetch every page; each is printed by itself")
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		request, err := f.message(cmd)
		if err != nil {
			return err
		}
		if q.height < 0 {
			return usagef("--at-height is %d; heights begin at 1", q.height)
		}
		if q.genesis != "" && q.prove == "" {
			return usagef("--genesis is for the receipt that --prove writes")
		}
		ctx, cancel := a.within(cmd)
		defer cancel()
		c, err := a.dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		return a.ask(ctx, c, method, request, q)
	}
	return c
}

func (a *app) ask(ctx context.Context, c *client.Client, method protoreflect.MethodDescriptor, request proto.Message, q *asking) error {
	if q.all && q.prove != "" {
		return usagef("--all and --prove exclude each other: a list cannot be proven, its records can")
	}
	if q.height > 0 {
		ctx = client.AtHeight(ctx, q.height)
	}
	var receipt client.Receipt
	call := ctx
	if q.prove != "" {
		call = client.Prove(ctx, &receipt)
	}
	full := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	for {
		answer, err := blank(method.Output())
		if err != nil {
			return err
		}
		err = c.Conn().Invoke(call, full, request, answer)
		if q.prove != "" && len(receipt.Bytes) > 0 {
			if err := a.saveReceipt(q, receipt); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if err := a.printAnswer(answer); err != nil {
			return err
		}
		if !q.all {
			return a.noteMore(answer)
		}
		r := request.ProtoReflect()
		token := answer.ProtoReflect().Get(method.Output().Fields().ByName("next_page_token")).Bytes()
		field := method.Input().Fields().ByName("page_token")
		if len(token) == 0 || bytes.Equal(token, r.Get(field).Bytes()) {
			return nil
		}
		r.Set(field, protoreflect.ValueOfBytes(token))
	}
}

// noteMore says how to get the next page.
func (a *app) noteMore(answer proto.Message) error {
	fd := answer.ProtoReflect().Descriptor().Fields().ByName("next_page_token")
	if fd != nil && answer.ProtoReflect().Has(fd) {
		a.note("there is more: add --all, or --page-token %x", answer.ProtoReflect().Get(fd).Bytes())
	}
	return nil
}

// printAnswer prints an answer. One that is nothing but a document is printed as that
// document.
func (a *app) printAnswer(answer proto.Message) error {
	m := answer.ProtoReflect()
	if fd := m.Descriptor().Fields().ByName("document"); a.output == outputText && fd != nil && fd.Kind() == protoreflect.BytesKind {
		if cut := m.Descriptor().Fields().ByName("truncated"); cut != nil && m.Get(cut).Bool() {
			a.note("the document is not complete: a bound left something out")
		}
		return a.write(strings.TrimRight(clean(string(m.Get(fd).Bytes())), "\n") + "\n")
	}
	if fd := m.Descriptor().Fields().ByName("json"); a.output == outputText && fd != nil && fd.Kind() == protoreflect.StringKind {
		var out bytes.Buffer
		if json.Indent(&out, []byte(m.Get(fd).String()), "", "  ") == nil {
			return a.write(clean(out.String()) + "\n")
		}
	}
	return a.print(answer)
}

// saveReceipt writes a receipt and verifies it where a genesis file is at hand.
func (a *app) saveReceipt(q *asking, r client.Receipt) error {
	if err := create(q.prove, r.Bytes, 0o644); err != nil {
		return err
	}
	path, named := a.genesisFile(q.genesis)
	g, _, err := config.ReadGenesis(path)
	if err != nil {
		if named {
			return errFile.Wrap(err)
		}
		a.note("receipt of height %d in %s; not verified, since there is no genesis file: chancery verify %[2]s --genesis FILE", r.Height, q.prove)
		return nil
	}
	if _, err := node.VerifyReceipt(r.Bytes, g); err != nil {
		return err
	}
	a.note("receipt of height %d in %s, verified against %s", r.Height, q.prove, path)
	return nil
}

// genesisFile is the genesis file to use, and whether it was named.
func (a *app) genesisFile(named string) (string, bool) {
	if named != "" {
		return named, true
	}
	return a.homeDir().GenesisFile(), false
}
