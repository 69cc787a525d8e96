package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/client"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// redrawPause is the least time between two pictures of the live view.
	redrawPause = 200 * time.Millisecond
	// rateWindow is over how many blocks the live view's rates are.
	rateWindow = 60
	// shownNotable is how many transactions the live view lists.
	shownNotable = 8
	// barWidth is the longest bar of the live view, in characters.
	barWidth = 40
	// highestScore is that of the scorer.
	highestScore = 10000
)

func (a *app) threatWatch() *cobra.Command {
	var from int64
	var least uint32
	once := false
	c := &cobra.Command{
		Use:   "watch",
		Short: "Watch what the sentinel says, block by block",
		Long: lines(
			"On a terminal it shows a view that is drawn again as blocks come: rates, scores by band,",
			"and the latest transactions that are held, denied or score --min-score or more. Otherwise",
			"it prints a line for each block with transactions and one for each such transaction; with",
			"--output json an object for each block. It goes on until it is interrupted, and resumes a",
			"broken connection where it broke.",
			"",
			"With --once it ends at the latest block, of which alone it tells unless --from is given.",
		),
		Example: examples(
			"chancery threat watch",
			"chancery threat watch --from 1 --min-score 8000 --once",
			"chancery threat watch --output json | my-dashboard",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from < 0 {
				return usagef("--from is %d; heights begin at 1", from)
			}
			if least > highestScore {
				return usagef("--min-score is %d; give 0 to %d", least, highestScore)
			}
			ctx := cmd.Context()
			dialing, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(dialing)
			if err != nil {
				return err
			}
			defer c.Close()
			if from == 0 && once {
				s, err := c.Status(dialing)
				if err != nil {
					return err
				}
				from = max(s.Height, 1)
			}
			if a.Screen && a.output == outputText && !once {
				err = a.liveView(ctx, c, from, least)
			} else {
				err = c.Watch(ctx, from, least, !once, func(r *nodev1.WatchResponse) error {
					if r.Block == nil {
						return nil
					}
					return a.printJudged(r.Block, once)
				})
			}
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	f := c.Flags()
	f.Int64Var(&from, "from", 0, "height to begin at; by default after the latest block")
	f.Uint32Var(&least, "min-score", 5000, "score from which an executed transaction is shown, of 10000")
	f.BoolVar(&once, "once", false, "end at the latest block")
	return c
}

// printJudged prints a block: in text, one without transactions only where it was asked
// for.
func (a *app) printJudged(b *nodev1.JudgedBlock, empty bool) error {
	if a.output == outputJSON {
		raw, err := protoJSON(b)
		if err != nil {
			return err
		}
		return a.write(string(raw) + "\n")
	}
	if b.Txs == 0 && !empty {
		return nil
	}
	text := fmt.Sprintf("block %d  %s  %s\n", b.Height, stamp(b.Time), countsText(b))
	for _, n := range b.Notable {
		text += "  " + notableText(n) + "\n"
	}
	if b.LeftOut > 0 {
		text += fmt.Sprintf("  and %d more\n", b.LeftOut)
	}
	return a.write(clean(text))
}

func countsText(b *nodev1.JudgedBlock) string {
	text := fmt.Sprintf("%d transactions: %d admitted, %d held, %d denied", b.Txs, b.Admitted, b.Held, b.Denied)
	if b.Unjudged > 0 {
		text += fmt.Sprintf(", %d not scored", b.Unjudged)
	}
	return text
}

// notableText is a transaction in one line.
func notableText(n *nodev1.Notable) string {
	text := fmt.Sprintf("%-5s %5d  %s  %s  %s", rulingText(n.Ruling), n.Score, hex.EncodeToString(n.TxId), dash(n.Author), dash(shortType(n.Kind)))
	if n.Reason != "" {
		text += "  " + n.Reason
	}
	return text
}

// view is what the live view shows.
type view struct {
	head    int64
	blocks  []*nodev1.JudgedBlock // the latest, at most rateWindow
	notable []string
	least   uint32
	total   uint64 // transactions since the view began
	kept    uint64 // of them held or denied
	from    int64
}

func (v *view) add(r *nodev1.WatchResponse) {
	v.head = r.Head
	b := r.Block
	if b == nil {
		return
	}
	if v.from == 0 {
		v.from = b.Height
	}
	if v.blocks = append(v.blocks, b); len(v.blocks) > rateWindow {
		v.blocks = slices.Delete(v.blocks, 0, 1)
	}
	v.total += uint64(b.Txs)
	v.kept += uint64(b.Held + b.Denied)
	for _, n := range b.Notable {
		v.notable = append(v.notable, fmt.Sprintf("%d  %s", b.Height, notableText(n)))
	}
	v.notable = v.notable[max(0, len(v.notable)-shownNotable):]
}

// lines is the picture, without control characters.
func (v *view) lines() []string {
	out := []string{fmt.Sprintf("The sentinel, block %d.   Ctrl-C ends it.", v.head)}
	if len(v.blocks) == 0 {
		return append(out, "", "waiting for a block")
	}
	first, last := v.blocks[0], v.blocks[len(v.blocks)-1]
	var txs, held, denied uint32
	var bands [10]uint32 // of 1000 points
	recent := make([]float64, len(v.blocks))
	most := 0.0
	for i, b := range v.blocks {
		txs, held, denied = txs+b.Txs, held+b.Held, denied+b.Denied
		recent[i] = float64(b.Txs)
		most = max(most, recent[i])
		for k, n := range b.Bands {
			bands[min(k/2, len(bands)-1)] += n
		}
	}
	pace := ""
	if span := last.Time - first.Time; span > 0 {
		pace = fmt.Sprintf(", %s a second", number(float64(txs-first.Txs)*1000/float64(span)))
	}
	model := "no model decides"
	if len(last.Model) > 0 {
		model = fmt.Sprintf("model %.8x…", last.Model)
	}
	out = append(out,
		fmt.Sprintf("%s; since block %d %d transactions, of them %d held or denied", model, v.from, v.total, v.kept),
		fmt.Sprintf("last %d blocks: %d transactions%s; %d held, %d denied", len(v.blocks), txs, pace, held, denied),
		"transactions per block  "+sparkline(recent, most), "")
	largest := slices.Max(bands[:])
	for i, n := range slices.Backward(bands[:]) {
		bar := 0
		if n > 0 {
			bar = max(1, int(uint64(n)*barWidth/uint64(largest)))
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%5d to %5d %7d  %s", i*1000, i*1000+999+i/9, n, strings.Repeat("█", bar)), " "))
	}
	out = append(out, "", fmt.Sprintf("held, denied, or a score of %d or more:", v.least))
	for _, n := range slices.Backward(v.notable) {
		out = append(out, n)
	}
	if len(v.notable) == 0 {
		out = append(out, "(none)")
	}
	return out
}

// The control sequences of a live view (ECMA-48, and xterm's second screen).
const (
	enterView = "\x1b[?1049h\x1b[?25l\x1b[?7l" // second screen, no cursor, no wrapping
	leaveView = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	homeView  = "\x1b[H"
	restLine  = "\x1b[K\r\n"
	restView  = "\x1b[J"
)

// liveView draws until the context ends. The terminal is left as it was.
func (a *app) liveView(ctx context.Context, c *client.Client, from int64, least uint32) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses := make(chan *nodev1.WatchResponse)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Watch(ctx, from, least, true, func(r *nodev1.WatchResponse) error {
			select {
			case responses <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	if err := a.write(enterView); err != nil {
		return err
	}
	v := &view{least: least}
	defer func() {
		if failure := a.write(leaveView + fmt.Sprintf("watched up to block %d: %d transactions, of them %d held or denied\n", v.head, v.total, v.kept)); err == nil {
			err = failure
		}
	}()
	draw := func() error {
		var b strings.Builder
		b.WriteString(homeView)
		for _, l := range v.lines() {
			b.WriteString(clean(l) + restLine)
		}
		return a.write(b.String() + restView)
	}
	tick := time.NewTicker(redrawPause)
	defer tick.Stop()
	dirty := true
	for {
		select {
		case r := <-responses:
			v.add(r)
			dirty = true
		case <-tick.C:
			if !dirty {
				continue
			}
			dirty = false
			if err := draw(); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

func (a *app) threatEvidence() *cobra.Command {
	var limit uint32
	dockets := false
	c := &cobra.Command{
		Use:   "evidence",
		Short: "Show which proposals the node refused, and why",
		Long: lines(
			"Lists the blocks that the node refused because their proposer broke a rule, such as a",
			"docket whose verdicts differ from its own, the newest first. It is the node's own record.",
			"What validators agree on about a proposer is in chancery query threat risk.",
		),
		Example: examples("chancery threat evidence", "chancery threat evidence --dockets --limit 1 --output json"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			most := uint32(1000)
			if dockets {
				most = 50
			}
			if limit < 1 || limit > most {
				return usagef("--limit is %d; give 1 to %d", limit, most)
			}
			if dockets && a.output != outputJSON {
				return usagef("--dockets are bytes; give --output json with it")
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := nodev1.NewSentinelClient(c.Conn()).Evidence(ctx, &nodev1.EvidenceRequest{Limit: limit, Dockets: dockets})
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.print(r)
			}
			if r.Dropped > 0 {
				a.note("%d more came too fast to be kept", r.Dropped)
			}
			if len(r.Entries) == 0 {
				return a.write("no proposal was refused\n")
			}
			rows := [][]string{{"HEIGHT", "SEEN", "PROPOSER", "ORGANISATION", "REASON"}}
			for _, e := range r.Entries {
				rows = append(rows, []string{fmt.Sprint(e.Height), e.Seen, e.Proposer, dash(e.Organisation), e.Reason})
			}
			return a.write(table(rows))
		},
	}
	c.Flags().Uint32Var(&limit, "limit", 50, "how many, at most 1000, with --dockets 50")
	c.Flags().BoolVar(&dockets, "dockets", false, "with the refused blocks' dockets, in JSON")
	return c
}
