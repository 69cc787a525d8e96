package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/modules/threat/trees"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) modelHistory() *cobra.Command {
	req := new(nodev1.RowsRequest)
	var out string
	normal := false
	c := &cobra.Command{
		Use:   "history",
		Short: "Write the chain's own transactions as a table to train from",
		Long: lines(
			"Asks a node for the features of the transactions that it has on record, as the scorer saw",
			"them, and writes a CSV with a column for each and one named label: 1 where reviewers",
			"rejected, 0 where they released, empty where nobody decided; with --normal also 0 where",
			"the transaction was executed without being held. Authors are not in it.",
			"",
			"FILE.schema.json is written beside it. Trained with --schema FILE.schema.json a model keeps",
			"the directions and the units that a detector asks for.",
		),
		Example: examples(
			"chancery model history --out rows.csv --normal",
			"chancery model train --data rows.csv --schema rows.csv.schema.json --label label --kind both --out own.model",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if out == "" {
				return usagef("say where to write the rows with --out")
			}
			if req.From < 0 || req.To < 0 {
				return usagef("--from and --to are heights, from 1")
			}
			if req.Limit < 1 || req.Limit > 1_000_000 {
				return usagef("--limit is %d; give 1 to 1000000", req.Limit)
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return sentence(errNotSaved, "%s exists already; name another file or remove it", out)
			}
			if err != nil {
				return errNotSaved.Wrap(err)
			}
			h := &historyFile{w: bufio.NewWriter(f), normal: normal}
			m := &meter{app: a, what: "reading rows", unit: func(n int64) string { return fmt.Sprintf("%d rows", n) }}
			// The call lasts as long as the table is long.
			err = c.Rows(cmd.Context(), req, func(r *nodev1.RowsResponse) error {
				m.add(int64(len(r.Rows)))
				return h.add(r)
			})
			m.end()
			saved := errors.Join(h.w.Flush(), f.Sync(), f.Close())
			if err == nil && saved != nil {
				err = errNotSaved.Wrap(saved)
			}
			if err == nil {
				err = create(out+".schema.json", h.schema, 0o644)
			}
			if err != nil {
				_ = os.Remove(out) // half a table would look like a whole one
				return err
			}
			return a.print(facts{
				{"rows", h.rows}, {"rejected", h.rejected}, {"released", h.released}, {"normal", h.admitted}, {"without label", h.rows - h.rejected - h.released - h.admitted},
				{"next", h.next}, {"file", out}, {"schema", out + ".schema.json"},
			})
		},
	}
	f := c.Flags()
	f.StringVar(&out, "out", "", "file to write, which must not exist; the schema goes to FILE.schema.json")
	f.Int64Var(&req.From, "from", 0, "first block; by default the oldest that the node has on record")
	f.Int64Var(&req.To, "to", 0, "last block; by default the latest")
	f.Uint32Var(&req.Limit, "limit", 100_000, "most rows, at most 1000000; the last block is not divided")
	f.BoolVar(&normal, "normal", false, "label 0 what was executed without being held")
	return c
}

// historyFile writes a table of rows.
type historyFile struct {
	w      *bufio.Writer
	normal bool
	schema []byte

	rows, rejected, released, admitted int
	next                               int64
}

// historyFeature is a feature as model train --schema reads it.
type historyFeature struct {
	Name     string `json:"name"`
	Unit     string `json:"unit"`
	Monotone string `json:"monotone,omitempty"`
}

// add writes a response. What the disk refuses shows when the writer is flushed.
func (h *historyFile) add(r *nodev1.RowsResponse) error {
	if len(r.Features) > 0 {
		var list []historyFeature
		for _, f := range r.Features {
			x := historyFeature{Name: f.Name, Unit: f.Unit}
			switch {
			case f.Direction > 0:
				x.Monotone = "increasing"
			case f.Direction < 0:
				x.Monotone = "decreasing"
			}
			list = append(list, x)
			_, _ = h.w.WriteString(f.Name + ",")
		}
		_, _ = h.w.WriteString("label\n")
		raw, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			return err
		}
		h.schema = append(raw, '\n')
	}
	for _, row := range r.Rows {
		var line []byte
		for _, v := range row.Features {
			if v != trees.Missing {
				line = strconv.AppendInt(line, v, 10)
			}
			line = append(line, ',')
		}
		h.rows++
		switch {
		case row.Label == nodev1.Label_LABEL_REJECTED:
			h.rejected++
			line = append(line, '1')
		case row.Label == nodev1.Label_LABEL_RELEASED:
			h.released++
			line = append(line, '0')
		case h.normal && rulingText(row.Ruling) == "admit":
			h.admitted++
			line = append(line, '0')
		}
		_, _ = h.w.Write(append(line, '\n'))
	}
	h.next = r.Next
	return nil
}
