package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// txFormat marks a file that holds a transaction, signed or not.
const txFormat = "chancery transaction 1"

// txFile is the form of such a file. The bytes alone count; the rest is for people
// and is checked against them.
type txFile struct {
	Format string `json:"format"`
	// TxID is in hexadecimal.
	TxID    string   `json:"tx_id"`
	ChainID string   `json:"chain_id"`
	Author  string   `json:"author"`
	Signed  []string `json:"signed_by"` // DID URLs of keys
	// Tx is chancery.tx.v1.Tx in base64.
	Tx []byte `json:"tx"`
}

// formOf describes a transaction.
func formOf(t *txv1.Tx) (*txFile, *txv1.Body, error) {
	body := new(txv1.Body)
	if err := proto.Unmarshal(t.Body, body); err != nil {
		return nil, nil, sentence(errFile, "the transaction's body does not parse")
	}
	raw, err := t.MarshalVT()
	if err != nil {
		return nil, nil, err
	}
	f := &txFile{
		Format: txFormat, TxID: tx.IDOf(body.ChainId, t.Body).String(),
		ChainID: body.ChainId, Author: body.Author, Signed: []string{}, Tx: raw,
	}
	for _, s := range t.Signatures {
		f.Signed = append(f.Signed, s.Key)
	}
	return f, body, nil
}

// writeTx writes a transaction to a file that must not exist, or to standard
// output.
func (a *app) writeTx(t *txv1.Tx, path string) error {
	f, _, err := formOf(t)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	raw = append(raw, '\n')
	if path == "" {
		return a.write(string(raw))
	}
	if err := create(path, raw, 0o644); err != nil {
		return err
	}
	return a.print(facts{{"tx id", f.TxID}, {"signed by", f.Signed}, {"file", path}})
}

// readTx reads a transaction that writeTx wrote, or its bare bytes.
func (a *app) readTx(path string) (*txv1.Tx, error) {
	raw, err := a.read(path)
	if err != nil {
		return nil, err
	}
	t := new(txv1.Tx)
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var f txFile
		if err := json.Unmarshal(raw, &f); err != nil || f.Format != txFormat {
			return nil, sentence(errFile, "%s is no file of a transaction; chancery tx … --generate-only writes one", path)
		}
		if err := proto.Unmarshal(f.Tx, t); err != nil {
			return nil, sentence(errFile, "the transaction in %s does not parse", path)
		}
		if have, _, err := formOf(t); err != nil {
			return nil, err
		} else if have.TxID != f.TxID {
			return nil, sentence(errFile, "%s was altered: it says transaction %.64s and holds %s", path, f.TxID, have.TxID)
		}
		return t, nil
	}
	if err := proto.Unmarshal(raw, t); err != nil || len(t.Body) == 0 {
		return nil, sentence(errFile, "%s is no file of a transaction; chancery tx … --generate-only writes one", path)
	}
	return t, nil
}

// signed is the canonical bytes of a transaction that has a signature.
func signed(t *txv1.Tx, path string) ([]byte, *tx.Decoded, error) {
	if len(t.Signatures) == 0 {
		return nil, nil, sentence(errFile, "nobody has signed %s yet; run: chancery tx sign %[1]s --from NAME", path)
	}
	raw, err := t.MarshalVT()
	if err != nil {
		return nil, nil, err
	}
	d, err := tx.Decode(raw)
	if err != nil {
		return nil, nil, refused(err)
	}
	return raw, d, nil
}

func (a *app) txSign() *cobra.Command {
	s := &sending{app: a}
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Add signatures to a transaction in a file",
		Long: lines(
			"Adds the signatures of keys to a transaction that was written with --generate-only.",
			"Look at it first: chancery tx show FILE. It needs no node.",
		),
		Example: examples("chancery tx sign new.tx --from alice --out new.alice.tx"),
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := a.readTx(args[0])
			if err != nil {
				return err
			}
			_, body, err := formOf(t)
			if err != nil {
				return err
			}
			signers, _, err := a.signers(s.from)
			if err != nil {
				return err
			}
			raw, _, err := tx.Seal(body.ChainId, t.Body, signers...)
			if err != nil {
				return refused(err)
			}
			if len(t.Signatures) > 0 {
				have, err := t.MarshalVT()
				if err != nil {
					return err
				}
				if raw, err = tx.Merge(have, raw); err != nil {
					return refused(err)
				}
			}
			out := new(txv1.Tx)
			if err := proto.Unmarshal(raw, out); err != nil {
				return err
			}
			return a.writeTx(out, s.out)
		},
	}
	c.Flags().StringSliceVar(&s.from, "from", nil, "key that signs; repeat for several")
	c.Flags().StringVar(&s.out, "out", "", "file to write, which must not exist; by default standard output")
	require(c, "from")
	s.completeKeys(c)
	return c
}

func (a *app) txMerge() *cobra.Command {
	out := ""
	c := &cobra.Command{
		Use:     "merge FILE FILE…",
		Short:   "Join the signatures of copies of one transaction",
		Example: examples("chancery tx merge new.alice.tx new.bob.tx --out new.both.tx"),
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var raws [][]byte
			for _, path := range args {
				t, err := a.readTx(path)
				if err != nil {
					return err
				}
				raw, _, err := signed(t, path)
				if err != nil {
					return err
				}
				raws = append(raws, raw)
			}
			raw, err := tx.Merge(raws...)
			if err != nil {
				return refused(err)
			}
			t := new(txv1.Tx)
			if err := proto.Unmarshal(raw, t); err != nil {
				return err
			}
			return a.writeTx(t, out)
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write, which must not exist; by default standard output")
	return c
}

func (a *app) txSubmit() *cobra.Command {
	wait := waitCommit
	c := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit a signed transaction in a file",
		Long: lines(
			"Submits a signed transaction. Submitting it twice has no second effect: the first",
			"result is printed again.",
		),
		Example: examples("chancery tx submit new.both.tx"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait != waitCommit && wait != waitCheck {
				return usagef("--wait is %q; choose commit or check", wait)
			}
			t, err := a.readTx(args[0])
			if err != nil {
				return err
			}
			raw, d, err := signed(t, args[0])
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
			return a.submit(ctx, c, raw, d.ID, wait)
		},
	}
	c.Flags().StringVar(&wait, "wait", wait, "what to wait for: commit, or check (a node took it)")
	complete(c, "wait", waitCommit, waitCheck)
	return c
}

// parseTxID reads the id of a transaction on the command line.
func parseTxID(text string) (tx.ID, error) {
	id, err := tx.ParseID(text)
	if err != nil {
		return id, usagef("%q is no id of a transaction, which is 64 hexadecimal digits", text)
	}
	return id, nil
}

func (a *app) txWait() *cobra.Command {
	return &cobra.Command{
		Use:     "wait TX-ID",
		Short:   "Wait until a transaction is committed and show what became of it",
		Example: examples("chancery tx wait 9b1f… --timeout 2m"),
		Args:    cobra.ExactArgs(1),
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
			stop := a.spin("waiting for the block of " + id.String())
			r, err := c.Wait(ctx, id)
			stop()
			if err != nil {
				return err
			}
			return a.printResult(r, nil)
		},
	}
}

func (a *app) txShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE|TX-ID",
		Short: "Show a transaction in a file, or the result of a committed one",
		Example: examples(
			"chancery tx show new.tx",
			"chancery tx show 9b1f… --output json",
		),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if id, err := tx.ParseID(args[0]); err == nil {
				r, err := a.result(cmd, id)
				if err != nil {
					return err
				}
				return a.printResult(r, nil)
			}
			t, err := a.readTx(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return sentence(errNothing, "%s is neither a file nor the id of a transaction, which is 64 hexadecimal digits", args[0])
			}
			if err != nil {
				return err
			}
			return a.showTx(t)
		},
	}
}

// result asks a node for a committed transaction.
func (a *app) result(cmd *cobra.Command, id tx.ID) (*chainv1.TxResult, error) {
	ctx, cancel := a.within(cmd)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Result(ctx, id)
}

func (a *app) showTx(t *txv1.Tx) error {
	f, body, err := formOf(t)
	if err != nil {
		return err
	}
	var messages []typed
	text := facts{
		{"tx id", f.TxID}, {"chain id", f.ChainID}, {"author", f.Author},
		{"valid until", moment(body.ValidUntil)}, {"signed by", f.Signed},
	}.text()
	for i, e := range body.Messages {
		m, err := tx.Arm(e)
		if err != nil {
			return sentence(errFile, "message %d is of a kind that this program does not know; use one of the chain's version", i)
		}
		value, err := protoJSON(m)
		if err != nil {
			return err
		}
		name := string(m.ProtoReflect().Descriptor().FullName())
		messages = append(messages, typed{name, value})
		text += fmt.Sprintf("message %s\n%s", shortType(name), indented(render(m.ProtoReflect())))
	}
	if a.output == outputText {
		return a.write(text)
	}
	return a.print(facts{
		{"tx_id", f.TxID}, {"chain_id", f.ChainID}, {"author", f.Author}, {"valid_until", body.ValidUntil},
		{"salt", base64.StdEncoding.EncodeToString(body.Salt)}, {"signed_by", f.Signed}, {"messages", messages},
	})
}

func (a *app) txBundle() *cobra.Command {
	s := &sending{app: a}
	c := &cobra.Command{
		Use:   "bundle FILE",
		Short: "Send several messages as one transaction, all or none",
		Long: lines(
			"Reads a JSON array of messages, each an object with one field that names its kind, as",
			"in chancery.tx.v1.Message: [{\"consent_withdraw\": {\"id\": \"hex:3f0c…\"}}, …].",
			"They are executed in order, and all of them or none.",
		),
		Example: examples("chancery tx bundle messages.json --from alice"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			messages, err := a.bundled(args[0])
			if err != nil {
				return err
			}
			return s.send(cmd, messages...)
		},
	}
	s.flags(c)
	return c
}

// bundled reads the messages of a bundle.
func (a *app) bundled(path string) ([]proto.Message, error) {
	raw, err := a.read(path)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, usagef("%s holds no JSON array of messages", path)
	}
	var messages []proto.Message
	for i, one := range list {
		e := new(txv1.Message)
		if err := a.unmarshal(one, e); err != nil {
			return nil, inMessage(fmt.Sprintf("message %d", i), err)
		}
		m, err := tx.Arm(e)
		if err != nil {
			return nil, usagef("message %d is empty", i)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func (a *app) simulateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "simulate FILE",
		Short: "Execute a signed transaction in a file and keep nothing",
		Long: lines(
			"Executes a signed transaction on the latest state of a node and shows what would",
			"become of it. For a transaction that is not in a file: chancery tx … --simulate.",
		),
		Example: examples("chancery simulate new.both.tx"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.readTx(args[0])
			if err != nil {
				return err
			}
			raw, _, err := signed(t, args[0])
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
			return a.simulated(ctx, c, raw)
		},
	}
}
