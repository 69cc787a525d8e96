package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	kindAuto    = "auto"
	kindReceipt = "receipt"
	kindFile    = "file"
)

func (a *app) verifyCommand() *cobra.Command {
	kind, genesis := kindAuto, ""
	var inclusion, policy string
	c := &cobra.Command{
		Use:   "verify FILE…",
		Short: "Verify receipts offline, or ask who registered a file",
		Long: lines(
			"A receipt is verified with nothing but the genesis file: that validators with more than",
			"two thirds of the voting power signed a state, and that the state holds, or does not",
			"hold, the records in it. No node is asked.",
			"",
			"With --inclusion and --policy it is verified besides that the block in which the validators",
			"signed is in a checkpoint that witnesses co-signed; see 'chancery checkpoint prove'.",
			"",
			"Any other file is hashed, whatever its size, and a node is asked who registered that",
			"content, when, and what it came from.",
			"",
			"Exit codes: 0 verified or registered, 1 the receipt does not verify or a file cannot be",
			"read, 5 nobody has registered the file.",
		),
		Example: examples(
			"chancery verify decision.receipt --genesis genesis.json",
			"chancery verify decision.receipt --genesis genesis.json --inclusion decision.tlog-proof --policy policy",
			"chancery verify results.csv",
			"chancery verify --kind file decision.receipt",
		),
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != kindAuto && kind != kindReceipt && kind != kindFile {
				return usagef("--kind is %q; choose auto, receipt or file", kind)
			}
			if (inclusion == "") != (policy == "") {
				return usagef("--inclusion and --policy go together")
			}
			v := &verifier{app: a, cmd: cmd, kind: kind, genesisPath: genesis, inclusionPath: inclusion, policyPath: policy}
			defer v.close()
			var worst error
			for _, path := range args {
				if err := v.verify(path); err != nil {
					if len(args) > 1 {
						a.note("chancery: %s: %s", path, clean(sayAny(err)))
					}
					if worst == nil || code(err) == exitRefused {
						worst = err
					}
				}
			}
			return worst
		},
	}
	c.Flags().StringVar(&kind, "kind", kind, "what the files are: auto, receipt or file")
	c.Flags().StringVar(&genesis, "genesis", "", "genesis file of the chain; by default the home's")
	c.Flags().StringVar(&inclusion, "inclusion", "", "proof that the receipt's block is in a checkpoint")
	c.Flags().StringVar(&policy, "policy", "", "file that says whose checkpoints are believed")
	complete(c, "kind", kindAuto, kindReceipt, kindFile)
	return c
}

// sayAny is any error in one line.
func sayAny(err error) string {
	var e *errs.Error
	if errors.As(err, &e) {
		return say(e)
	}
	return err.Error()
}

// verifier verifies files one by one. It reads the genesis file and connects to a
// node when the first file needs it.
type verifier struct {
	app                       *app
	cmd                       *cobra.Command
	kind                      string
	genesisPath               string
	genesis                   *types.GenesisDoc
	inclusionPath, policyPath string
	client                    *client.Client
	cancel                    context.CancelFunc
	ctx                       context.Context
}

func (v *verifier) close() {
	if v.client != nil {
		_ = v.client.Close()
		v.cancel()
	}
}

func (v *verifier) verify(path string) error {
	f, err := os.Open(path)
	if err != nil {
		// Not as "there is no such thing", which is the answer of a node.
		return sentence(errFile, "%v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return errFile.Wrap(err)
	}
	if info.IsDir() {
		return sentence(errFile, "%s is a folder; name its files", path)
	}
	head := make([]byte, len(receipt.Magic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return errFile.Wrap(err)
	}
	rest := io.MultiReader(bytes.NewReader(head[:n]), f)
	// A receipt whose first line is damaged is still known by its name.
	if v.kind == kindReceipt || v.kind == kindAuto && (string(head[:n]) == receipt.Magic || strings.HasSuffix(path, ".receipt")) {
		return v.receipt(path, rest)
	}
	return v.file(path, rest, info.Size())
}

func (v *verifier) receipt(path string, r io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(r, receipt.MaxBytes+1))
	if err != nil {
		return errFile.Wrap(err)
	}
	if v.genesis == nil {
		at, _ := v.app.genesisFile(v.genesisPath)
		g, _, err := config.ReadGenesis(at)
		if err != nil {
			e := errFile.Wrap(err)
			e.Text, e.Detail = "a receipt is verified with the chain's genesis file, which --genesis names", err.Error()
			return e
		}
		v.genesis = g
	}
	report, err := node.VerifyReceipt(raw, v.genesis)
	if err != nil {
		return err
	}
	var seen facts
	if v.inclusionPath != "" {
		if seen, err = inclusionFacts(v.inclusionPath, v.policyPath, report); err != nil {
			return err
		}
	}
	if v.app.output == outputJSON {
		if seen != nil {
			return v.app.print(struct {
				*receipt.Report
				Checkpoint facts `json:"checkpoint"`
			}{report, seen})
		}
		return v.app.print(report)
	}
	text := reportText(path, report)
	if seen != nil {
		text += "\nwitnessed\n" + indented(seen.text())
	}
	return v.app.write(text)
}

// reportText is a verified receipt in words.
func reportText(path string, r *receipt.Report) string {
	var b strings.Builder
	b.WriteString(facts{
		{"verified", path}, {"chain", r.ChainID}, {"height", r.Height}, {"signed at", moment(r.SignedTime)},
		{"state root", r.StateRoot}, {"block", fmt.Sprintf("%d %s", r.SignedHeight, r.BlockHash)},
		{"signed by", fmt.Sprintf("%d validators with %d of %d voting power", len(r.Signers), r.SignedPower, r.TotalPower)},
		{"validator changes", r.ValidatorChanges},
	}.text())
	for _, f := range r.Facts {
		word := "present"
		if !f.Present {
			word = "absent "
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s  %s %s", word, f.Collection, clean(f.Key)), " ") + "\n")
		if f.Present {
			var pretty bytes.Buffer
			if json.Indent(&pretty, f.Value, "  ", "  ") == nil {
				fmt.Fprintf(&b, "  %s\n", clean(pretty.String()))
			}
		}
	}
	return b.String()
}

// registration is who registered a file, in JSON.
type registration struct {
	File          string            `json:"file"`
	Bytes         int64             `json:"bytes"`
	SHA256        digits            `json:"sha256"`
	Registrations []json.RawMessage `json:"registrations"`
}

func (v *verifier) file(path string, r io.Reader, total int64) error {
	a := v.app
	m := &meter{app: a, what: "hashing " + path, total: total, unit: size}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, m), r)
	m.end()
	if err != nil {
		return errFile.Wrap(err)
	}
	sum := h.Sum(nil)
	if v.client == nil {
		// The time for the node begins when the file is hashed.
		v.ctx, v.cancel = a.within(v.cmd)
		if v.client, err = a.dial(v.ctx); err != nil {
			v.cancel()
			return err
		}
	}
	q := provenancev1.NewQueryClient(v.client.Conn())
	var all []*provenancev1.Registration
	var token []byte
	for {
		page, err := q.ByHash(v.ctx, &provenancev1.ByHashRequest{Hash: sum, Limit: 500, PageToken: token})
		if err != nil {
			return err
		}
		all = append(all, page.Registrations...)
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	if len(all) == 0 {
		return sentence(errNothing, "nobody has registered the content of %s (%d bytes, SHA-256 %x)", path, n, sum)
	}
	if a.output == outputJSON {
		out := registration{File: path, Bytes: n, SHA256: sum}
		for _, x := range all {
			raw, err := protoJSON(x)
			if err != nil {
				return err
			}
			out.Registrations = append(out.Registrations, raw)
		}
		return a.print(out)
	}
	return a.write(registrationsText(path, n, sum, all))
}

func registrationsText(path string, n int64, sum []byte, all []*provenancev1.Registration) string {
	var b strings.Builder
	b.WriteString(facts{{"file", path}, {"size", fmt.Sprintf("%d bytes", n)}, {"sha256", digits(sum)}}.text())
	for _, x := range all {
		node := x.GetNode()
		rows := facts{
			{"registered", refText(node.GetRef())}, {"by", node.GetAuthor()}, {"at", moment(node.GetRegisteredAt())},
			{"block", node.GetHeight()}, {"transaction", digits(node.GetTxId())},
			{"status", choiceOf(node.GetStatus().Descriptor(), int32(node.GetStatus()))},
		}
		if e := node.GetEntity(); e.GetGeneratedAt() != 0 {
			rows = append(rows, fact{"made at", moment(e.GetGeneratedAt())})
		}
		for _, edge := range x.Edges {
			relation := edge.GetRelation()
			rows = append(rows, fact{choiceOf(relation.GetKind().Descriptor(), int32(relation.GetKind())), refText(relation.GetObject())})
		}
		b.WriteString("\n" + rows.text())
	}
	return b.String()
}

// refText is a reference in one word.
func refText(r *provenancev1.Ref) string {
	switch {
	case r == nil:
		return "-"
	case r.External != "":
		return r.External
	default:
		return fmt.Sprintf("%s %s version %d", r.Organisation, r.Id, r.Version)
	}
}
