package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/chancery/chancery/node/client"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

func (a *app) eventsCommand() *cobra.Command {
	var from, file string
	var types []string
	noFollow := false
	c := &cobra.Command{
		Use:   "events",
		Short: "Stream what happens on the chain",
		Long: lines(
			"Prints every event after a cursor, in order, and goes on until it is interrupted. A",
			"broken connection is resumed where it broke.",
			"",
			"A cursor is HEIGHT/INDEX, as printed before each event in text and as its field in",
			"JSON: 1/0 is the beginning of the chain. With --cursor-file the program keeps it in a",
			"file and begins there the next time; it is written after the events were, so that none",
			"is lost when the program is killed, and the last may come twice.",
		),
		Example: examples(
			"chancery events --from 1/0 --no-follow",
			"chancery events --types consent.Withdrawn,access.Decided --output json",
			"chancery events --from 1/0 --cursor-file feed.cursor --output json | my-importer",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			wanted, err := fullTypes(types)
			if err != nil {
				return err
			}
			if err := a.checkCursor(from); err != nil {
				return err
			}
			dialing, cancel := a.within(cmd)
			defer cancel()
			c, err := a.dial(dialing)
			if err != nil {
				return err
			}
			defer c.Close()
			at, err := a.cursor(dialing, c, from, file)
			if err != nil {
				return err
			}
			follow := c.Subscribe
			if noFollow {
				follow = c.Replay
			}
			kept := at
			keep := func(to client.Cursor) error {
				if file == "" || to == kept {
					return nil
				}
				kept = to
				return replace(file, []byte(to.String()+"\n"))
			}
			err = follow(ctx, at, wanted, func(b client.Batch) error {
				for _, e := range b.Events {
					if err := a.printEvent(e); err != nil {
						return err
					}
				}
				return keep(b.Cursor)
			})
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "cursor to begin at: HEIGHT/INDEX, a height, start, or now (the default)")
	c.Flags().StringSliceVar(&types, "types", nil, "types of events, such as consent.Given; by default all")
	c.Flags().StringVar(&file, "cursor-file", "", "file that keeps the cursor; it goes before --from where it exists")
	c.Flags().BoolVar(&noFollow, "no-follow", false, "end at the latest block")
	complete(c, "from", "start", "now")
	complete(c, "types", eventTypes()...)
	return c
}

// cursor is where to begin.
func (a *app) cursor(ctx context.Context, c *client.Client, from, file string) (client.Cursor, error) {
	if file != "" {
		raw, err := os.ReadFile(file)
		switch {
		case err == nil:
			at, err := client.ParseCursor(string(raw))
			if err != nil {
				return at, sentence(errFile, "%s: %v", file, err)
			}
			return at, nil
		case !errors.Is(err, fs.ErrNotExist):
			return client.Cursor{}, errFile.Wrap(err)
		}
	}
	switch from {
	case "", "now":
		return c.Now(ctx)
	case "start":
		return client.Cursor{Height: 1}, nil
	}
	at, err := client.ParseCursor(from)
	if err != nil {
		return at, usagef("--from: %v", err)
	}
	return at, nil
}

// checkCursor refuses what --from cannot hold, before a node is asked.
func (a *app) checkCursor(from string) error {
	switch from {
	case "", "now", "start":
		return nil
	}
	if _, err := client.ParseCursor(from); err != nil {
		return usagef("--from: %v", err)
	}
	return nil
}

// fullTypes turns consent.Given into chancery.consent.v1.Given. A short name that
// the program does not know would silently match nothing; a full one may be of a
// module that is newer than the program.
func fullTypes(names []string) ([]string, error) {
	known := eventTypes()
	out := make([]string, len(names))
	for i, name := range names {
		if strings.Count(name, ".") > 1 {
			out[i] = name
			continue
		}
		if !slices.Contains(known, name) {
			return nil, usagef("--types: there is no event %q; there are %s", name, strings.Join(known, ", "))
		}
		module, event, _ := strings.Cut(name, ".")
		out[i] = "chancery." + module + ".v1." + event
	}
	return out, nil
}

// eventLine is an event in JSON: one line each.
type eventLine struct {
	// Cursor is the place after the event.
	Cursor string          `json:"cursor"`
	Height int64           `json:"height"`
	Index  uint32          `json:"index"`
	Time   int64           `json:"time"`
	TxID   string          `json:"tx_id"`
	Type   string          `json:"type"`
	Event  json.RawMessage `json:"event"`
}

func (a *app) printEvent(e *nodev1.BlockEvent) error {
	after := client.Cursor{Height: e.Height, Index: e.Index + 1}
	if a.output == outputJSON {
		value, err := valueJSON(e.GetEvent().GetType(), e.GetEvent().GetValue())
		if err != nil {
			return err
		}
		raw, err := jsonOf(eventLine{
			after.String(), e.Height, e.Index, e.Time, hex.EncodeToString(e.TxId), e.GetEvent().GetType(), value,
		})
		if err != nil {
			return err
		}
		return a.write(string(raw) + "\n")
	}
	text := fmt.Sprintf("%d/%d  %s  %s", e.Height, e.Index, stamp(e.Time), shortType(e.GetEvent().GetType()))
	if len(e.TxId) > 0 {
		text += "  transaction " + hex.EncodeToString(e.TxId)
	}
	text += "\n"
	if m := decode(e.GetEvent().GetType(), e.GetEvent().GetValue()); m != nil {
		text += indented(render(m.ProtoReflect()))
	}
	return a.write(clean(text))
}
