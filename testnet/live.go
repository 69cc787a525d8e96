//go:build unix

package testnet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	lookInterval = 500 * time.Millisecond
	// progressEvery is how often a log without a terminal says how far the chain is.
	progressEvery = 10 * time.Second
)

// follow shows the network until the context ends.
func (n *Network) follow(ctx context.Context, out io.Writer, asJSON bool) error {
	screen := isTerminal(out) && !asJSON
	r, err := Load(n.Dir)
	if err != nil {
		return err
	}
	w, err := newWatch(n.Dir, r)
	if err != nil {
		return err
	}
	defer w.close()
	var (
		before   []View
		drawn    int
		progress = time.Now()
	)
	for {
		// Another command may have stopped and started nodes.
		if r, err = Load(n.Dir); err != nil {
			return err
		}
		views := w.look(ctx, r)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case screen:
			table := fit(Table(views), out)
			if drawn > 0 {
				// Cursor up, and erase from there to the end of the screen.
				fmt.Fprintf(out, "\x1b[%dA\x1b[J", drawn)
			}
			fmt.Fprint(out, table)
			drawn = strings.Count(table, "\n")
		default:
			due := time.Since(progress) >= progressEvery
			for i, v := range views {
				if before != nil && !changed(before[i], v) && !(due && i == 0) {
					continue
				}
				if err := writeLine(out, v, asJSON); err != nil {
					return err
				}
			}
			if due {
				progress = time.Now()
			}
		}
		before = views
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookInterval):
		}
	}
}

// changed tells whether a view differs in more than how far the chain is.
func changed(a, b View) bool {
	return a.Running != b.Running || a.PID != b.PID || a.Answers != b.Answers || a.Healthy != b.Healthy || a.CatchingUp != b.CatchingUp || a.Reason != b.Reason || a.Peers != b.Peers
}

func writeLine(out io.Writer, v View, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(v)
	}
	_, err := fmt.Fprintf(out, "%s validator %d (%s): %s, height %d, app hash %s, %d peers\n",
		time.Now().UTC().Format("15:04:05"), v.Index, slug(v.Organisation), v.health(), v.Height, v.prefix(), v.Peers)
	return err
}

// Table shows views in columns.
func Table(views []View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-3s %-18s %8s %7s  %-12s %5s %7s %6s  %-21s %s\n",
		"#", "organisation", "pid", "height", "app hash", "peers", "tx/s", "pool", "clients at", "health")
	for _, v := range views {
		pid := "-"
		if v.Running {
			pid = fmt.Sprint(v.PID)
		}
		fmt.Fprintf(&b, "%-3d %-18s %8s %7d  %-12s %5d %7.1f %6d  %-21s %s\n",
			v.Index, clip(slug(v.Organisation), 18), pid, v.Height, v.prefix(), v.Peers, v.TxRate, v.PoolTxs, v.RPC, v.health())
	}
	return b.String()
}

func (v View) health() string {
	switch {
	case !v.Running:
		return "stopped"
	case !v.Answers:
		return "does not answer"
	case !v.Healthy:
		return "unhealthy: " + clip(v.Reason, 60)
	case v.CatchingUp:
		return "catching up"
	}
	return "healthy"
}

// prefix is the beginning of the app hash.
func (v View) prefix() string {
	if v.AppHash == "" {
		return "-"
	}
	return v.AppHash[:min(12, len(v.AppHash))]
}

// slug is the last part of an organisation's DID.
func slug(organisation string) string {
	return organisation[strings.LastIndexByte(organisation, ':')+1:]
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-1] + "…"
}

// fit cuts lines to the width of the terminal, so that each takes one row.
func fit(table string, out io.Writer) string {
	f, ok := out.(*os.File)
	if !ok {
		return table
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 1 {
		return table
	}
	lines := strings.SplitAfter(table, "\n")
	for i, l := range lines {
		if text := []rune(strings.TrimSuffix(l, "\n")); len(text) >= width {
			lines[i] = string(text[:width-1]) + "\n"
		}
	}
	return strings.Join(lines, "")
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
