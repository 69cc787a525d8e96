package cli

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/node/importer"
)

// counts are what an import came to.
type counts struct {
	documents, committed, present, mapped, refused, skipped int
	messages, transactions                                  int
	elements, kept, unmapped, remarks, assumed              int
}

func tally(reports []*importer.Report) (c counts) {
	txs := map[string]bool{}
	messages := map[proto.Message]bool{} // Cedar files share some
	places := map[string]bool{}
	for n, r := range reports {
		c.documents++
		switch r.Status {
		case importer.Committed:
			c.committed++
		case importer.Present:
			c.present++
		case importer.Mapped:
			c.mapped++
		case importer.Skipped:
			c.skipped++
		default:
			c.refused++
		}
		for _, m := range r.Messages {
			messages[m.Proto] = true
			if m.Tx != "" {
				txs[m.Tx] = true
			}
		}
		for _, m := range r.Mapped {
			places[fmt.Sprint(n, " ", m.Place)] = true
		}
		for _, note := range r.Notes {
			switch note.Class {
			case importer.Kept:
				c.kept++
			case importer.Unmapped:
				c.unmapped++
			default:
				c.remarks++
			}
		}
		c.assumed += len(r.Assumed)
	}
	c.messages, c.transactions, c.elements = len(messages), len(txs), len(places)
	return c
}

func (c counts) facts() facts {
	return facts{
		{"documents", c.documents}, {"committed", c.committed}, {"present", c.present}, {"mapped", c.mapped},
		{"refused", c.refused}, {"skipped", c.skipped}, {"messages", c.messages}, {"transactions", c.transactions},
		{"elements mapped", c.elements}, {"elements kept", c.kept}, {"elements unmapped", c.unmapped},
		{"remarks", c.remarks}, {"assumed", c.assumed},
	}
}

// importText is the report of one document.
func importText(r *importer.Report, brief bool) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, clean(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")))
	}
	format := r.Format
	if format == "" {
		format = "unread"
	}
	fmt.Fprintf(&b, "%s: %s, %s\n", clean(r.Document), format, r.Status)
	if r.Error != nil {
		detail := ""
		if r.Error.Detail != "" {
			detail = " (" + r.Error.Detail + ")"
		}
		line(string(r.Status), "%s/%d: %s%s", r.Error.Module, r.Error.Code, r.Error.Text, detail)
	}
	for _, m := range r.Messages {
		records := strings.Join(m.Records, ", ")
		if len(m.Records) > 3 {
			records = fmt.Sprintf("%s, and %d more", strings.Join(m.Records[:3], ", "), len(m.Records)-3)
		}
		where := ""
		if m.Tx != "" {
			where = fmt.Sprintf(" in transaction %s of block %d", m.Tx, m.Height)
		}
		if records != "" {
			records = " " + records
		}
		line("message", "%s%s%s", shortType(m.Type), records, where)
	}
	for _, p := range r.Present {
		line("present", "%s", p)
	}
	for _, m := range r.Mapped {
		if !brief {
			line("mapped", "%s -> %s %s", place(m.Place), shortType(m.Message), m.Field)
		}
	}
	for _, n := range r.Notes {
		if !brief || n.Class != importer.Kept {
			line(string(n.Class), "%s import/%d %s", place(n.Place), n.Code, n.Reason)
		}
	}
	for _, s := range r.Assumed {
		if !brief {
			line("assumed", "%s %s = %s: %s", shortType(s.Message), s.Field, s.Value, s.Reason)
		}
	}
	return b.String()
}

func place(p string) string {
	if p == "" {
		return "/"
	}
	return p
}
