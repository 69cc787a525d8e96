// Package witness is a witness of transparency logs (https://c2sp.org/tlog-witness): it
// co-signs a checkpoint when that goes on from the latest that it co-signed of the same log,
// and never two that do not.
//
// Its folder has witness_key, logs (a line "log KEY" for each key that is believed, of which
// several may be of one log), and for each log a sealed file with the latest checkpoint that
// it co-signed. That file is written before the signature leaves, and read anew for each
// request, so that what is on disk alone decides. An old copy of the folder must never be
// used: a witness that forgot signs a fork.
package witness

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"golang.org/x/mod/sumdb/note"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/internal/durable"
)

// maxLogs bounds the keys of a witness.
const maxLogs = 10_000

// What keeps a witness from signing. Codes are permanent.
var (
	Errors = errs.Module("witness")

	ErrMalformed  = Errors.New(2, "the request is no body of add-checkpoint (https://c2sp.org/tlog-witness)")
	ErrUnknownLog = Errors.New(3, "the witness does not know the log; have its operator add the key that 'chancery checkpoint key' prints")
	ErrUnsigned   = Errors.New(4, "no key that the witness knows of this log signed the checkpoint; have its operator add the key that 'chancery checkpoint key' prints")
	ErrFork       = Errors.New(5, "the checkpoint does not go on from the one that the witness co-signed: the log was forked, or the proof is wrong")
	ErrState      = Errors.New(6, "the witness cannot read or write what it co-signed, and signs nothing; its log says why")
	ErrFolder     = Errors.New(7, "the witness's folder cannot be used")
	ErrOtherSize  = Errors.New(errs.RetryFrom, "the witness has co-signed a checkpoint of another size; prove from that one")
)

// Conflict is ErrOtherSize with the size.
type Conflict struct {
	// Size is that of the latest checkpoint that the witness co-signed.
	Size int64
	why  *errs.Error
}

// Error implements error.
func (c *Conflict) Error() string { return c.why.Error() }

// Unwrap returns the error with its code.
func (c *Conflict) Unwrap() error { return c.why }

// Folder is a witness's folder.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }

// KeyFile is the key.
func (f Folder) KeyFile() string { return f.path("witness_key") }

// LogsFile is the keys that are believed.
func (f Folder) LogsFile() string { return f.path("logs") }

// state is where the latest checkpoint of a log is.
func (f Folder) state(origin string) string {
	return f.path(fmt.Sprintf("state-%x", sha256.Sum256([]byte(origin))))
}

// Init makes a folder with a new key. Nothing that exists is replaced.
func Init(f Folder, name string) (*checkpoint.Verifier, error) {
	if _, err := os.Stat(f.KeyFile()); err == nil {
		return nil, ErrFolder.With("%s exists already", f.KeyFile())
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	s, _, err := checkpoint.TakeKey(f.KeyFile(), name, checkpoint.WitnessRole)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(f.LogsFile(), nil); err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	return s.Public(), nil
}

// Key is the public key of a folder.
func (f Folder) Key() (*checkpoint.Verifier, error) {
	s, err := checkpoint.ReadKey(f.KeyFile(), checkpoint.WitnessRole)
	if err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	return s.Public(), nil
}

// Add believes one more key. A witness that runs takes it at its next start.
func (f Folder) Add(vkey string) error {
	v, err := checkpoint.ParseVerifier(vkey)
	if err == nil && v.Role() != checkpoint.LogRole {
		err = checkpoint.ErrKey.With("it is a witness's, not a log's")
	}
	if err != nil {
		return err
	}
	logs, err := f.Logs()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(logs, func(o *checkpoint.Verifier) bool { return o.String() == v.String() }) {
		return nil
	}
	var b strings.Builder
	for _, o := range append(logs, v) {
		fmt.Fprintf(&b, "log %s\n", o)
	}
	if err := durable.Replace(f.LogsFile(), []byte(b.String())); err != nil {
		return ErrFolder.Wrap(err)
	}
	return nil
}

// Logs are the keys that are believed.
func (f Folder) Logs() ([]*checkpoint.Verifier, error) {
	raw, err := durable.Read(f.LogsFile(), 4<<20)
	if err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	var out []*checkpoint.Verifier
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var v *checkpoint.Verifier
		err := error(checkpoint.ErrKey)
		if len(words) == 2 && words[0] == "log" {
			v, err = checkpoint.ParseVerifier(words[1])
		}
		if err == nil && v.Role() != checkpoint.LogRole {
			err = checkpoint.ErrKey
		}
		if err != nil {
			return nil, ErrFolder.With("%s, line %d must be: log KEY: %v", f.LogsFile(), n, err)
		}
		if out = append(out, v); len(out) > maxLogs {
			return nil, ErrFolder.With("%s has more than %d keys", f.LogsFile(), maxLogs)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	return out, nil
}

// Latest is the latest checkpoint of a log that the witness co-signed, of size 0 where it
// co-signed none.
func (f Folder) Latest(origin string) (checkpoint.Checkpoint, error) {
	none := checkpoint.Checkpoint{Origin: origin}
	raw, err := durable.ReadSealed(f.state(origin), 2*checkpoint.MaxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, ErrState.Wrap(err)
	}
	c, err := checkpoint.Parse(raw)
	if err == nil && c.Origin != origin {
		err = fmt.Errorf("%s is of %.64q", f.state(origin), c.Origin)
	}
	if err != nil {
		return none, ErrState.Wrap(err)
	}
	return c, nil
}

// Witness co-signs. It is safe for concurrent use.
type Witness struct {
	folder Folder
	lock   *flock.Flock
	key    *checkpoint.Signer
	logs   map[string]*watched // by origin
	write  func(path string, raw []byte) error
	log    *slog.Logger
}

// watched is a log that the witness watches.
type watched struct {
	keys []*checkpoint.Verifier
	mu   sync.Mutex // held from reading what was co-signed last until the next is on disk
}

// Open opens a folder, which no other process may have open.
func Open(f Folder, log *slog.Logger) (*Witness, error) {
	key, err := checkpoint.ReadKey(f.KeyFile(), checkpoint.WitnessRole)
	if err != nil {
		return nil, ErrFolder.Wrap(err)
	}
	logs, err := f.Logs()
	if err != nil {
		return nil, err
	}
	w := &Witness{folder: f, lock: flock.New(f.path("LOCK")), key: key, logs: map[string]*watched{}, write: durable.ReplaceSealed, log: log}
	for _, v := range logs {
		if w.logs[v.Name()] == nil {
			w.logs[v.Name()] = new(watched)
		}
		w.logs[v.Name()].keys = append(w.logs[v.Name()].keys, v)
	}
	if ok, err := w.lock.TryLock(); err != nil || !ok {
		return nil, ErrFolder.With("another process has %s open: %v", f, err)
	}
	return w, nil
}

// Close lets others open the folder.
func (w *Witness) Close() error { return w.lock.Close() }

// Key is the witness's public key.
func (w *Witness) Key() *checkpoint.Verifier { return w.key.Public() }

// Origins are the logs that it watches, in order.
func (w *Witness) Origins() []string {
	out := make([]string, 0, len(w.logs))
	for origin := range w.logs {
		out = append(out, origin)
	}
	slices.Sort(out)
	return out
}

// AddCheckpoint co-signs the checkpoint of a body of add-checkpoint, and returns the lines of
// its signature. The error is one of this package's, and a *Conflict where the old size is
// another than that of the checkpoint that the witness co-signed last.
func (w *Witness) AddCheckpoint(body []byte) ([]byte, error) {
	req, err := checkpoint.ParseConsistency(body)
	if err != nil {
		return nil, ErrMalformed.Wrap(err)
	}
	c, err := checkpoint.Parse(req.Checkpoint)
	if err != nil {
		return nil, ErrMalformed.Wrap(err)
	}
	log, ok := w.logs[c.Origin]
	if !ok {
		return nil, ErrUnknownLog.With("%.64q", c.Origin)
	}
	if _, _, err := checkpoint.Open(req.Checkpoint, log.keys...); err != nil {
		return nil, ErrUnsigned.Wrap(err)
	}
	if req.Old > c.Size || c.Size == 0 {
		return nil, ErrMalformed.With("from %d to %d", req.Old, c.Size)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	last, err := w.folder.Latest(c.Origin)
	if err != nil {
		w.log.Error("what was co-signed cannot be read; nothing is signed", "log", c.Origin, "error", err)
		return nil, err
	}
	if req.Old != last.Size {
		return nil, &Conflict{last.Size, ErrOtherSize.With("%d", last.Size)}
	}
	if err := req.Check(last, c); err != nil {
		w.log.Error("A FORK, OR A WRONG PROOF: a checkpoint with a valid signature does not go on from the one that was co-signed; nothing is signed",
			"log", c.Origin, "cosigned_size", last.Size, "cosigned_root", last.Root, "size", c.Size, "root", c.Root, "checkpoint", string(req.Checkpoint), "error", err)
		if errors.Is(err, checkpoint.ErrFork) {
			return nil, &Conflict{last.Size, ErrFork.Wrap(err)}
		}
		return nil, ErrFork.Wrap(err)
	}
	signed, err := note.Open(req.Checkpoint, note.VerifierList(verifiers(log.keys)...))
	if err != nil {
		return nil, ErrUnsigned.Wrap(err)
	}
	both, err := note.Sign(&note.Note{Text: signed.Text, Sigs: signed.Sigs}, w.key)
	if err != nil {
		return nil, ErrState.Wrap(err)
	}
	if err := w.write(w.folder.state(c.Origin), both); err != nil {
		w.log.Error("what was to be co-signed cannot be written; nothing is signed", "log", c.Origin, "size", c.Size, "error", err)
		return nil, ErrState.Wrap(err)
	}
	w.log.Info("co-signed", "log", c.Origin, "size", c.Size, "root", c.Root)
	// The witness's own line is the last.
	at := bytes.LastIndexByte(both[:len(both)-1], '\n') + 1
	return both[at:], nil
}

func verifiers(list []*checkpoint.Verifier) []note.Verifier {
	out := make([]note.Verifier, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}
