package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/chancery/chancery/node/checkpoint"
)

const origin = "chancery/harbour-1"

// world is a log, a key of it and a witness that knows the key.
type world struct {
	t       testing.TB
	folder  Folder
	key     *checkpoint.Signer
	log     *checkpoint.Log
	witness *Witness
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, folder: Folder(t.TempDir())}
	var err error
	if w.key, err = checkpoint.NewSigner(origin, checkpoint.LogRole); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(w.folder, "witness.example/w1"); err != nil {
		t.Fatal(err)
	}
	if err := w.folder.Add(w.key.Public().String()); err != nil {
		t.Fatal(err)
	}
	w.log = logOf(t, "block", 40)
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	if w.witness != nil {
		if err := w.witness.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	if w.witness, err = Open(w.folder, slog.New(slog.DiscardHandler)); err != nil {
		w.t.Fatal(err)
	}
}

func logOf(t testing.TB, what string, size int) *checkpoint.Log {
	t.Helper()
	l, _, err := checkpoint.OpenLog(t.TempDir(), origin)
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		name := "block"
		if i >= 10 {
			name = what // a fork parts behind ten blocks
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, i))
		if err := l.Append(sum[:]); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// body asks for a signature on the first blocks of a log.
func (w *world) body(l *checkpoint.Log, old, size int64) []byte {
	w.t.Helper()
	root, err := l.Root(size)
	if err != nil {
		w.t.Fatal(err)
	}
	c := checkpoint.Checkpoint{Origin: origin, Size: size, Root: root}
	note, err := c.Sign(w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	b := checkpoint.Consistency{Old: old, Checkpoint: note}
	if old < size {
		if b.Path, err = l.Consistency(old, c); err != nil {
			w.t.Fatal(err)
		}
	}
	return b.Text()
}

func (w *world) signs(l *checkpoint.Log, old, size int64) {
	w.t.Helper()
	body := w.body(l, old, size)
	lines, err := w.witness.AddCheckpoint(body)
	if err != nil {
		w.t.Fatal(err)
	}
	_, note, _ := bytes.Cut(body, []byte("\n\n"))
	if _, err := checkpoint.AddCosignature(note, lines, w.witness.Key()); err != nil {
		w.t.Fatal(err)
	}
	if bytes.Count(lines, []byte("\n")) != 1 {
		w.t.Errorf("%q", lines)
	}
	if c, err := w.folder.Latest(origin); err != nil || c.Size != size {
		w.t.Fatal(c, err)
	}
}

func (w *world) conflict(body []byte, size int64, want error) {
	w.t.Helper()
	_, err := w.witness.AddCheckpoint(body)
	var c *Conflict
	if !errors.As(err, &c) || c.Size != size || !errors.Is(err, want) {
		w.t.Fatalf("%v, want a conflict with %d", err, size)
	}
}

func TestAWitnessSignsWhatGoesOnAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.signs(w.log, 0, 12)
	w.signs(w.log, 12, 12)
	w.signs(w.log, 12, 30)
	w.conflict(w.body(w.log, 12, 40), 30, ErrOtherSize)
	w.conflict(w.body(w.log, 0, 40), 30, ErrOtherSize)
	w.conflict(w.body(w.log, 0, 20), 30, ErrOtherSize)

	fork := logOf(t, "forged", 40)
	w.conflict(w.body(fork, 30, 30), 30, ErrFork)
	if _, err := w.witness.AddCheckpoint(w.body(fork, 30, 40)); !errors.Is(err, ErrFork) {
		t.Error(err)
	}
	w.open()
	if _, err := w.witness.AddCheckpoint(w.body(fork, 30, 40)); !errors.Is(err, ErrFork) {
		t.Errorf("after a restart: %v", err)
	}
	w.signs(w.log, 30, 40)
}

// Two nodes of a chain with keys of their own are two keys of one log.
func TestTwoKeysOfALogShareOneHistory(t *testing.T) {
	w := newWorld(t)
	w.signs(w.log, 0, 20)
	other, err := checkpoint.NewSigner(origin, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	w.key = other
	if _, err := w.witness.AddCheckpoint(w.body(w.log, 20, 30)); !errors.Is(err, ErrUnsigned) {
		t.Fatal(err)
	}
	if err := w.folder.Add(other.Public().String()); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.conflict(w.body(w.log, 0, 30), 20, ErrOtherSize)
	if _, err := w.witness.AddCheckpoint(w.body(logOf(t, "forged", 40), 20, 30)); !errors.Is(err, ErrFork) {
		t.Error(err)
	}
	w.signs(w.log, 20, 30)
}

// Whether a write failed or only said so, no two checkpoints that part are signed, and the
// witness goes on.
func TestWritesFail(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, done := range []bool{false, true} {
		w := newWorld(t)
		w.signs(w.log, 0, 12)
		good := w.witness.write
		w.witness.write = func(path string, raw []byte) error {
			if done {
				return errors.Join(good(path, raw), broken)
			}
			return broken
		}
		if lines, err := w.witness.AddCheckpoint(w.body(w.log, 12, 20)); !errors.Is(err, ErrState) || lines != nil {
			t.Fatalf("%q, %v", lines, err)
		}
		w.witness.write = good
		fork := logOf(t, "forged", 40)
		if done {
			w.conflict(w.body(w.log, 12, 30), 20, ErrOtherSize)
			if _, err := w.witness.AddCheckpoint(w.body(fork, 20, 30)); !errors.Is(err, ErrFork) {
				t.Error(err)
			}
			w.signs(w.log, 20, 20)
		} else {
			w.signs(w.log, 12, 30)
		}
		w.open()
		if done {
			w.conflict(w.body(w.log, 12, 30), 20, ErrOtherSize)
		} else {
			w.conflict(w.body(w.log, 12, 40), 30, ErrOtherSize)
		}
	}
}

// A witness whose record is damaged signs nothing.
func TestADamagedRecord(t *testing.T) {
	w := newWorld(t)
	w.signs(w.log, 0, 12)
	path := w.folder.state(origin)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 4
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.witness.AddCheckpoint(w.body(w.log, 12, 20)); !errors.Is(err, ErrState) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

func TestAFolderHasOneProcess(t *testing.T) {
	w := newWorld(t)
	if _, err := Open(w.folder, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrFolder) {
		t.Error(err)
	}
	if _, err := Init(w.folder, "again"); !errors.Is(err, ErrFolder) {
		t.Error(err)
	}
	if err := w.folder.Add(w.witness.Key().String()); !errors.Is(err, checkpoint.ErrKey) {
		t.Error(err)
	}
	if err := os.WriteFile(w.folder.LogsFile(), []byte("# a comment\n\nlog nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.folder.Logs(); !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "line 3") {
		t.Error(err)
	}
}

// Many ask at once: the sizes that are signed only grow, each from the one before.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var bodies [][]byte
	for old := int64(0); old < 20; old++ {
		for size := old + 1; size <= 20; size++ {
			bodies = append(bodies, w.body(w.log, old, size))
		}
	}
	var mu sync.Mutex // guards signed
	signed := map[string]bool{}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range bodies {
				body := bodies[(j+i*31)%len(bodies)]
				if _, err := w.witness.AddCheckpoint(body); err == nil {
					old, _, _ := bytes.Cut(body, []byte("\n"))
					mu.Lock()
					if signed[string(old)] {
						t.Errorf("%q went on twice", old)
					}
					signed[string(old)] = true
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	if len(signed) == 0 {
		t.Error("nothing was signed")
	}
}

// Each answer has the code and the form of the protocol.
func TestAnswersOverHTTP(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.witness.Serve(ctx, l, nil) }()
	url := "http://" + l.Addr().String() + checkpoint.AddPath
	post := func(body []byte) (int, string, string) {
		t.Helper()
		resp, err := http.Post(url, "text/plain", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(raw)
	}
	stranger, err := checkpoint.NewSigner(origin, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	unknown := bytes.Replace(w.body(w.log, 0, 12), []byte(origin+"\n"), []byte("chancery/other\n"), 1)
	mine := w.key
	w.key = stranger
	strange := w.body(w.log, 0, 12)
	w.key = mine
	fork := logOf(t, "forged", 40)
	for _, c := range []struct {
		what string
		body []byte
		code int
		text string
	}{
		{"nothing", nil, 400, ""},
		{"too much", bytes.Repeat([]byte("x"), checkpoint.MaxProof+1), 400, ""},
		{"an unknown log", unknown, 404, ""},
		{"an unknown key", strange, 403, ""},
		{"a signature that is wrong", bytes.Replace(w.body(w.log, 0, 12), []byte("\n12\n"), []byte("\n13\n"), 1), 403, ""},
		{"the first", w.body(w.log, 0, 12), 200, "— witness.example/w1 "},
		{"an older size", w.body(w.log, 5, 12), 409, "12\n"},
		{"from more to less", w.body(w.log, 20, 12), 400, ""},
		{"a fork of the same size", w.body(fork, 12, 12), 409, "12\n"},
		{"a fork", w.body(fork, 12, 20), 422, ""},
		{"a proof that is none", append([]byte("old 12\n\n"), w.body(w.log, 0, 20)[len("old 0\n\n"):]...), 422, ""},
		{"what goes on", w.body(w.log, 12, 20), 200, "— witness.example/w1 "},
	} {
		code, kind, text := post(c.body)
		if code != c.code || !strings.HasPrefix(text, c.text) || (code == 409) != (kind == checkpoint.SizeType) || code == 409 && text != c.text {
			t.Errorf("%s: %d %s %q", c.what, code, kind, text)
		}
	}
	if resp, err := http.Get(url); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Error(resp, err)
	}
	if resp, err := http.Post("http://"+l.Addr().String()+"/", "", nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Error(resp, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// No body makes a witness sign but one with a valid signature of a log that it knows.
func FuzzAddCheckpoint(f *testing.F) {
	w := newWorld(f)
	w.signs(w.log, 0, 12)
	next := w.body(w.log, 12, 20)
	f.Add(next)
	f.Add(w.body(logOf(f, "forged", 40), 12, 20))
	f.Add([]byte("old 12\n\n"))
	_, want, _ := bytes.Cut(next, []byte("\n\n"))
	want, _, _ = bytes.Cut(want, []byte("\n\n"))
	w.witness.write = func(string, []byte) error { return nil } // each is asked in the same state
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := w.witness.AddCheckpoint(body); err != nil {
			return
		}
		_, got, _ := bytes.Cut(body, []byte("\n\n"))
		got, _, _ = bytes.Cut(got, []byte("\n\n"))
		if !bytes.Equal(got, want) {
			t.Fatalf("signed:\n%s", body)
		}
	})
}
