// Package evidence keeps what a node saw of proposals that the rules refuse: who proposed
// what, and why it was refused. It is this node's own record, for people; what validators
// agree on about a proposer is in the state of the module threat.
package evidence

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/chancery/chancery/node/internal/durable"
)

const (
	// MaxEntries is how many entries a file holds; the oldest go first.
	MaxEntries = 1000
	// maxDocket is how many bytes of a docket are kept.
	maxDocket = 64 << 10
	// maxReason is how many bytes of a reason are kept.
	maxReason = 2048
	// maxFile is more bytes than a file of so many entries has.
	maxFile = 256 << 20
	// queue is how many entries may wait to be written; more are counted and dropped.
	queue = 64
)

// Entry is a proposal that was refused. One line of the file, as JSON.
type Entry struct {
	Height       int64  `json:"height"`
	Seen         string `json:"seen"`         // RFC 3339, this machine's clock
	Proposer     string `json:"proposer"`     // 40 hexadecimal digits: the address of its consensus key
	Organisation string `json:"organisation"` // DID; empty when it is not known
	Reason       string `json:"reason"`
	Docket       string `json:"docket"` // base64 of the block's first transaction, cut at 64 KiB
}

// Log is a file of entries. Run must be running for entries to reach the disk.
type Log struct {
	path    string
	limit   int // MaxEntries
	log     *slog.Logger
	pending chan Entry

	mu      sync.Mutex // guards entries and dropped
	entries []Entry    // oldest first
	dropped uint64
}

// Open reads the file, or begins one. A line that is no entry is an error that names
// it: evidence does not vanish unsaid.
func Open(path string, log *slog.Logger) (*Log, error) {
	l := &Log{path: path, limit: MaxEntries, log: log, pending: make(chan Entry, queue)}
	raw, err := durable.ReadSealed(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the evidence: %w; move the file away to go on without it", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("read the evidence: %s, line %d: %w; move the file away to go on without it", path, n, err)
		}
		l.keep(e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the evidence: %w", err)
	}
	return l, nil
}

// Add keeps an entry. It never waits for the disk.
func (l *Log) Add(e Entry, docket []byte) {
	e.Docket = base64.StdEncoding.EncodeToString(docket[:min(len(docket), maxDocket)])
	e.Reason = e.Reason[:min(len(e.Reason), maxReason)]
	if e.Seen == "" {
		e.Seen = time.Now().UTC().Format(time.RFC3339Nano)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.pending <- e:
		l.keep(e)
	default:
		l.dropped++
	}
}

func (l *Log) keep(e Entry) {
	if len(l.entries) == l.limit {
		l.entries = append(l.entries[:0], l.entries[1:]...)
	}
	l.entries = append(l.entries, e)
}

// Entries are the latest, oldest first, and how many were dropped since the node started
// because they came faster than the disk.
func (l *Log) Entries() ([]Entry, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry(nil), l.entries...), l.dropped
}

// Run writes entries until ctx ends, and then what waits.
func (l *Log) Run(ctx context.Context) {
	for {
		select {
		case <-l.pending:
			l.drain()
			if err := l.save(); err != nil {
				l.log.Error("evidence could not be written down; it is kept in memory until the node stops", "error", err)
			}
		case <-ctx.Done():
			if len(l.pending) > 0 {
				l.drain()
				if err := l.save(); err != nil {
					l.log.Error("evidence could not be written down and is lost", "error", err)
				}
			}
			return
		}
	}
}

func (l *Log) drain() {
	for {
		select {
		case <-l.pending:
		default:
			return
		}
	}
}

// save replaces the file by what is kept, all or nothing.
func (l *Log) save() error {
	entries, _ := l.Entries()
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	for _, e := range entries {
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
	return durable.ReplaceSealed(l.path, out.Bytes())
}
