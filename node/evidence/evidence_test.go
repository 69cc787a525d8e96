package evidence

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/internal/durable"
)

// few is how many entries the tests keep.
const few = 20

func start(t *testing.T, path string) (*Log, func()) {
	t.Helper()
	l, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.limit = few
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	return l, func() { cancel(); <-done }
}

// Evidence survives a restart, in order, without what is beyond the bounds.
func TestEvidenceSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lies.jsonl")
	l, stop := start(t, path)
	for i := range few + 5 {
		for {
			before, _ := l.Entries()
			l.Add(Entry{Height: int64(i), Proposer: "AB", Reason: strings.Repeat("x", 5000)}, make([]byte, 100_000))
			after, _ := l.Entries()
			if len(after) > len(before) || len(after) == few && after[few-1].Height == int64(i) {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	stop()
	l, stop = start(t, path)
	defer stop()
	got, dropped := l.Entries()
	if len(got) != few || dropped != 0 || got[0].Height != 5 || got[few-1].Height != few+4 {
		t.Fatalf("%d entries from %d to %d, %d dropped", len(got), got[0].Height, got[len(got)-1].Height, dropped)
	}
	if len(got[0].Reason) != maxReason || len(got[0].Docket) > maxDocket*4/3+4 || got[0].Seen == "" {
		t.Fatalf("entry %.200v", got[0])
	}
}

// What comes faster than the disk is counted, and nobody waits.
func TestEvidenceNeverWaits(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "lies.jsonl"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range queue + 7 {
		l.Add(Entry{Height: int64(i)}, nil)
	}
	if got, dropped := l.Entries(); len(got) != queue || dropped != 7 {
		t.Fatalf("%d kept, %d dropped", len(got), dropped)
	}
}

// A broken line is said, with its number.
func TestBrokenEvidenceIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lies.jsonl")
	lines := []byte("{\"height\":1}\n{oops\n")
	for _, c := range []struct {
		raw  []byte
		says string
	}{{durable.Seal(lines), "line 2"}, {lines, "SHA-256"}} {
		if err := os.WriteFile(path, c.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Fatal(fmt.Sprint(err))
		}
	}
}
