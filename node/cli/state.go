package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Look into a node's state",
		Long: lines(
			"Reads the raw state: collections of keys and values, which the program decodes. Where",
			"two nodes' state roots differ, chancery state hashes finds the first key that differs, and",
			"chancery state diff all of them.",
		),
		Example: examples("chancery state collections", "chancery state get consent/records"),
	}
	c.AddCommand(a.stateCollections(), a.stateGet(), a.stateHashes(), a.stateDiff(), a.stateExport())
	return c
}

func (a *app) stateCollections() *cobra.Command {
	return &cobra.Command{
		Use:     "collections",
		Short:   "List the collections of the state",
		Example: examples("chancery state collections"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := nodev1.NewNodeClient(c.Conn()).Collections(ctx, &nodev1.CollectionsRequest{})
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.print(r)
			}
			rows := [][]string{{"PREFIX", "NAME", "KEY", "VALUE"}}
			for _, x := range r.Collections {
				rows = append(rows, []string{hex.EncodeToString(x.Prefix), x.Name, dash(x.Key), x.Value})
			}
			return a.write(table(rows))
		},
	}
}

type flagOf struct {
	name  string
	value int64
}

func notNegative(flags ...flagOf) error {
	for _, f := range flags {
		if f.value < 0 {
			return usagef("--%s is %d; it may not be negative", f.name, f.value)
		}
	}
	return nil
}

// pairs streams the pairs of a state that begin with a prefix.
type pairs struct {
	stream interface {
		Recv() (*nodev1.StateResponse, error)
	}
	height int64
	page   []*nodev1.Pair
	ended  bool
}

// openPairs begins to stream. A node walks its state for few at a time, so it is
// asked again while it is busy.
func openPairs(ctx context.Context, c *client.Client, height int64, prefix []byte) (*pairs, error) {
	p := &pairs{height: height}
	err := patiently(ctx, func() error {
		s, err := nodev1.NewNodeClient(c.Conn()).State(ctx, &nodev1.StateRequest{Height: height, Prefix: prefix})
		if err != nil {
			return err
		}
		r, err := s.Recv()
		if err == nil {
			p.height, p.page = r.Height, r.Pairs
		} else if !errors.Is(err, io.EOF) {
			return err
		}
		p.stream, p.ended = s, err != nil
		return nil
	})
	return p, err
}

// patiently repeats a call while the node says that it may succeed later. When the
// time is over, that refusal is the error.
func patiently(ctx context.Context, call func() error) error {
	for {
		err := call()
		var e *errs.Error
		if !errors.As(err, &e) || !e.Retryable() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// pause is the time between two questions to a node that is busy.
const pause = 200 * time.Millisecond

// next is the next pair in order of key, nil at the end.
func (p *pairs) next() (*nodev1.Pair, error) {
	for len(p.page) == 0 {
		if p.ended {
			return nil, nil
		}
		r, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		p.height, p.page = r.Height, r.Pairs
	}
	first := p.page[0]
	p.page = p.page[1:]
	return first, nil
}

// record is a pair in words.
type record struct {
	Collection string          `json:"collection"`
	Key        string          `json:"key"`
	RawKey     string          `json:"raw_key"`
	Value      json.RawMessage `json:"value"`
}

// describe decodes a pair as far as the program knows its collection.
func describe(r *state.Registry, key, value []byte) record {
	out := record{Collection: "?", Key: hex.EncodeToString(key), RawKey: hex.EncodeToString(key)}
	out.Value, _ = json.Marshal(hex.EncodeToString(value)) // a string always marshals
	c, ok := r.Of(key)
	if !ok {
		return out
	}
	out.Collection = c.Name
	if text, err := c.DescribeKey(key); err == nil {
		out.Key = text
	}
	if text, err := c.DescribeValue(value); err == nil {
		var compact bytes.Buffer
		if json.Compact(&compact, []byte(text)) == nil {
			out.Value = compact.Bytes()
		} else if quoted, err := json.Marshal(text); err == nil {
			out.Value = quoted
		}
	}
	return out
}

func (a *app) stateGet() *cobra.Command {
	var height, most int64
	prove := ""
	c := &cobra.Command{
		Use:   "get COLLECTION|KEY",
		Short: "Show the records of a collection, or those whose key begins with hexadecimal digits",
		Example: examples(
			"chancery state get identity/identities --limit 10",
			"chancery state get 1101 --at-height 120 --output json",
			"chancery state get 110145… --prove record.receipt",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notNegative(flagOf{"at-height", height}, flagOf{"limit", most}); err != nil {
				return err
			}
			registry, err := node.Registry()
			if err != nil {
				return err
			}
			prefix, err := keyOf(registry, args[0])
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
			if prove != "" {
				return a.proveKey(ctx, c, height, prefix, prove)
			}
			p, err := openPairs(ctx, c, height, prefix)
			if err != nil {
				return err
			}
			var n int64
			for ; most == 0 || n < most; n++ {
				x, err := p.next()
				if err != nil {
					return err
				}
				if x == nil {
					break
				}
				if err := a.printRecord(describe(registry, x.Key, x.Value)); err != nil {
					return err
				}
			}
			if n == 0 {
				return sentence(errNothing, "the state holds no record under %s", args[0])
			}
			return nil
		},
	}
	c.Flags().Int64Var(&height, "at-height", 0, "height of the state; 0 for the latest")
	c.Flags().Int64Var(&most, "limit", 0, "most records to show; 0 for all")
	c.Flags().StringVar(&prove, "prove", "", "file for a receipt of the record with exactly this key, present or absent")
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		registry, err := node.Registry()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, x := range registry.Collections() {
			names = append(names, x.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// keyOf is the prefix of a collection by its name, or bytes in hexadecimal.
func keyOf(r *state.Registry, s string) ([]byte, error) {
	for _, c := range r.Collections() {
		if c.Name == s {
			return c.Prefix, nil
		}
	}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) == 0 {
		return nil, usagef("%q is neither a collection nor hexadecimal; chancery state collections lists them", s)
	}
	return raw, nil
}

func (a *app) printRecord(r record) error {
	if a.output == outputJSON {
		raw, err := jsonOf(r)
		if err != nil {
			return err
		}
		return a.write(string(raw) + "\n")
	}
	return a.write(clean(fmt.Sprintf("%s %s\n  %s\n", r.Collection, r.Key, r.Value)))
}

func (a *app) proveKey(ctx context.Context, c *client.Client, height int64, key []byte, path string) error {
	if height == 0 {
		// The node's own choice is the state before the latest; see client.Prove.
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		height = s.Height
	}
	r, err := nodev1.NewReceiptsClient(c.Conn()).Build(ctx, &nodev1.BuildRequest{Height: height, Keys: []*nodev1.Key{{Key: key}}})
	if err != nil {
		return err
	}
	if err := create(path, r.Receipt, 0o644); err != nil {
		return err
	}
	return a.print(facts{{"receipt", path}, {"height", r.Height}, {"next", "chancery verify " + path}})
}

func (a *app) stateExport() *cobra.Command {
	var height int64
	out := ""
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the state as the genesis state that would build it",
		Long:  "Writes one JSON object with a section per module: what would be app_state in a genesis file.",
		Example: examples(
			"chancery state export --out state.json",
			"chancery state export --at-height 120 > state.json",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := notNegative(flagOf{"at-height", height}); err != nil {
				return err
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			s := &exporting{ctx: ctx, node: nodev1.NewNodeClient(c.Conn()), height: height}
			if err := patiently(ctx, s.begin); err != nil {
				return err
			}
			return a.export(s, out)
		},
	}
	c.Flags().Int64Var(&height, "at-height", 0, "height of the state; 0 for the latest")
	c.Flags().StringVar(&out, "out", "", "file to write, which must not exist; by default standard output")
	return c
}

// exporting streams an export. Its first part is fetched by begin, which may be
// repeated.
type exporting struct {
	ctx    context.Context
	node   nodev1.NodeClient
	height int64

	stream nodev1.Node_ExportClient
	first  *nodev1.ExportResponse
	err    error
}

func (e *exporting) begin() error {
	s, err := e.node.Export(e.ctx, &nodev1.ExportRequest{Height: e.height})
	if err != nil {
		return err
	}
	e.stream = s
	if e.first, e.err = s.Recv(); e.err != nil && !errors.Is(e.err, io.EOF) {
		return e.err
	}
	return nil
}

func (e *exporting) Recv() (*nodev1.ExportResponse, error) {
	if first := e.first; first != nil || e.err != nil {
		e.first = nil
		return first, e.err
	}
	return e.stream.Recv()
}

func (a *app) export(s *exporting, path string) (err error) {
	var to io.Writer = a.Out
	if path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return errNotSaved.Wrap(err)
		}
		buffered := bufio.NewWriter(f)
		to = buffered
		defer func() {
			if done := errors.Join(buffered.Flush(), f.Sync(), f.Close()); done != nil && err == nil {
				err = errNotSaved.Wrap(done)
			}
			if err != nil {
				err = errors.Join(err, os.Remove(path))
			}
		}()
	}
	m := &meter{app: a, what: "exporting", unit: size}
	defer m.end()
	var height, n int64
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		height = max(height, r.Height)
		if _, err := to.Write(r.Part); err != nil {
			return errNotSaved.Wrap(err)
		}
		n += int64(len(r.Part))
		m.add(int64(len(r.Part)))
	}
	if path == "" {
		return nil
	}
	return a.print(facts{{"height", height}, {"bytes", n}, {"file", path}})
}
