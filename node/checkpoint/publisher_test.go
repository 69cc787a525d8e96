package checkpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/checkpoint/witness"
)

const origin = "chancery/harbour-1"

// blocks is a chain that a test lengthens.
type blocks struct {
	mu      sync.Mutex // guards all below
	what    string     // another is another chain
	head    int64
	oldest  int64 // of the headers that are here
	changed chan struct{}
}

func newBlocks() *blocks { return &blocks{what: "block", oldest: 1, changed: make(chan struct{})} }

func (b *blocks) grow(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head += n
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *blocks) Head() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head
}

func (b *blocks) Wait(ctx context.Context, height int64) error {
	for {
		b.mu.Lock()
		head, changed := b.head, b.changed
		b.mu.Unlock()
		if head >= height {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *blocks) hash(height int64) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", b.what, height))
	return sum[:]
}

func (b *blocks) HeaderHash(height int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if height > b.head || height < b.oldest {
		return nil, fmt.Errorf("%w: %d", checkpoint.ErrNoHeader, height)
	}
	return b.hash(height), nil
}

// station is a node's publisher and what it is made of.
type station struct {
	t         *testing.T
	options   checkpoint.Options
	chain     *blocks
	publisher *checkpoint.Publisher
	service   *checkpoint.Service
	through   func(path string, write func() error) error // its writes; nil: they are made
	stop      func()
}

func newStation(t *testing.T, interval int64) *station {
	t.Helper()
	key, err := checkpoint.NewSigner(origin, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	chain := newBlocks()
	return &station{t: t, chain: chain, options: checkpoint.Options{
		Dir: t.TempDir(), Key: key, Chain: chain, Interval: interval, Version: "test", Log: slog.New(slog.DiscardHandler),
	}}
}

func (s *station) start() {
	s.t.Helper()
	if s.stop != nil {
		s.stop()
	}
	p, err := checkpoint.NewPublisher(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	checkpoint.Hurry(p)
	if s.through != nil {
		checkpoint.Break(p, s.through)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	s.publisher, s.service = p, checkpoint.NewService(p)
	s.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.stop)
}

// size waits until the checkpoint that is handed out has a size, and returns its note.
func (s *station) size(want int64) string {
	s.t.Helper()
	note := ""
	eventually(s.t, fmt.Sprintf("a checkpoint of %d blocks", want), func() bool {
		r, err := s.service.Checkpoint(s.t.Context(), nil)
		if err == nil && r.Size == want {
			note = r.Checkpoint
		}
		return note != ""
	})
	return note
}

// failure waits until checkpoints are not made, for a reason.
func (s *station) failure(want error) {
	s.t.Helper()
	code, _, _ := strings.Cut(want.Error(), ":")
	eventually(s.t, code, func() bool {
		r, err := s.service.Checkpoint(s.t.Context(), nil)
		return errors.Is(err, want) || err == nil && strings.Contains(r.Failure, code+":")
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// watchman is a witness of the program's own over HTTP.
type watchman struct {
	*httptest.Server
	folder witness.Folder
	key    *checkpoint.Verifier
	broken atomic.Bool
	asked  atomic.Int64
	pause  atomic.Int64 // before each answer
}

func newWatchman(t *testing.T, name string, keys ...*checkpoint.Signer) *watchman {
	t.Helper()
	w := &watchman{folder: witness.Folder(t.TempDir())}
	var err error
	if w.key, err = witness.Init(w.folder, name); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if err := w.folder.Add(k.Public().String()); err != nil {
			t.Fatal(err)
		}
	}
	inner, err := witness.Open(w.folder, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		time.Sleep(time.Duration(w.pause.Load()))
		if w.broken.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		w.Close()
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watchman) witness() checkpoint.Witness {
	return checkpoint.Witness{URL: w.URL, Key: w.key, Timeout: 5 * time.Second}
}

func policy(t *testing.T, s *station, quorum int, by ...*watchman) *checkpoint.Policy {
	t.Helper()
	text, names := fmt.Sprintf("log %s\n", s.options.Key.Public()), ""
	for i, w := range by {
		text += fmt.Sprintf("witness w%d %s\n", i, w.key)
		names += fmt.Sprintf(" w%d", i)
	}
	if quorum == 0 {
		text += "quorum none\n"
	} else {
		text += fmt.Sprintf("group all-of-them %d%s\nquorum all-of-them\n", quorum, names)
	}
	p, err := checkpoint.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Two nodes of one chain, of which one begins late, give the same text; every block and every
// older size is proven; both share two witnesses over HTTP.
func TestTwoNodesAndTheirWitnesses(t *testing.T) {
	first, second := newStation(t, 10), newStation(t, 10)
	second.chain = first.chain
	second.options.Chain = first.chain
	w1, w2 := newWatchman(t, "w1.example", first.options.Key, second.options.Key), newWatchman(t, "w2.example", first.options.Key, second.options.Key)
	for _, s := range []*station{first, second} {
		s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w1.witness(), w2.witness()}, 2
	}
	first.start()
	if _, err := first.publisher.Inclusion(1); !errors.Is(err, checkpoint.ErrNotYet) {
		t.Error(err)
	}
	first.chain.grow(25)
	first.size(20)
	second.start()
	first.chain.grow(12)
	body := func(note string) string { text, _, _ := strings.Cut(note, "\n\n"); return text }
	a, b := first.size(30), second.size(30)
	if body(a) != body(b) || a == b {
		t.Errorf("%s\n%s", a, b)
	}
	trusted := policy(t, second, 2, w1, w2)
	v, err := trusted.Verify([]byte(b))
	if err != nil || len(v.Witnesses) != 2 {
		t.Fatal(v, err)
	}
	for height := int64(1); height <= 30; height++ {
		p, err := second.publisher.Inclusion(height)
		if err != nil {
			t.Fatal(err)
		}
		again, err := checkpoint.ParseInclusion(p.Text())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Verify(trusted); err != nil || !bytes.Equal(again.Block.Hash, first.chain.hash(height)) {
			t.Fatalf("block %d: %v", height, err)
		}
	}
	old, err := checkpoint.Parse([]byte(first.size(30)))
	if err != nil {
		t.Fatal(err)
	}
	first.chain.grow(10)
	second.size(40)
	c, err := second.publisher.Consistency(30)
	if err != nil {
		t.Fatal(err)
	}
	head, err := checkpoint.Parse(c.Checkpoint)
	if err != nil || c.Check(old, head) != nil {
		t.Fatal(err, c.Check(old, head))
	}
	for _, bad := range []int64{0, -1, 41} {
		if _, err := second.publisher.Consistency(bad); err == nil {
			t.Error(bad)
		}
		if _, err := second.publisher.Inclusion(bad); err == nil {
			t.Error(bad)
		}
	}
}

// A checkpoint is handed out when the quorum has signed it, and keeps its place until then.
func TestTheQuorum(t *testing.T) {
	s := newStation(t, 5)
	w1, w2 := newWatchman(t, "w1.example", s.options.Key), newWatchman(t, "w2.example", s.options.Key)
	s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w1.witness(), w2.witness()}, 2
	s.start()
	s.chain.grow(5)
	s.size(5)
	w2.broken.Store(true)
	s.chain.grow(5)
	eventually(t, "the second witness is asked in vain", func() bool {
		r, err := s.service.Checkpoint(t.Context(), nil)
		return err == nil && r.Signed == 10 && r.Witnesses[0].Size == 10 && r.Witnesses[1].Failure != ""
	})
	if note := s.size(5); strings.Count(note, "— w") != 2 {
		t.Error(note)
	}
	// What was signed is there after a restart, and is asked for again.
	s.start()
	s.size(5)
	w2.broken.Store(false)
	if note := s.size(10); strings.Count(note, "— w") != 2 {
		t.Error(note)
	}
}

// A witness that takes longer than blocks until the next checkpoint is heard all the same.
func TestASlowWitness(t *testing.T) {
	s := newStation(t, 1)
	w := newWatchman(t, "w1.example", s.options.Key)
	w.pause.Store(int64(50 * time.Millisecond))
	s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w.witness()}, 1
	s.start()
	eventually(t, "a checkpoint while others are signed", func() bool {
		s.chain.grow(1)
		r, err := s.service.Checkpoint(t.Context(), nil)
		return err == nil && r.Size > 1 && r.Signed > r.Size
	})
}

// Without a quorum a checkpoint is handed out at once, and has the signatures that there are.
func TestSignaturesThatNobodyNeeds(t *testing.T) {
	s := newStation(t, 5)
	w := newWatchman(t, "w1.example", s.options.Key)
	s.options.Witnesses = []checkpoint.Witness{w.witness()}
	w.broken.Store(true)
	s.start()
	s.chain.grow(5)
	if note := s.size(5); strings.Contains(note, "— w1") {
		t.Error(note)
	}
	w.broken.Store(false)
	eventually(t, "the witness's signature", func() bool { return strings.Contains(s.size(5), "— w1") })
}

// A node whose chain was replaced signs nothing, and no witness co-signs it.
func TestAForkIsNotSigned(t *testing.T) {
	s := newStation(t, 10)
	w := newWatchman(t, "w1.example", s.options.Key)
	s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w.witness()}, 1
	s.start()
	s.chain.grow(20)
	s.size(20)
	s.stop()

	forged := newBlocks()
	forged.what = "forged"
	forged.grow(30)
	s.options.Chain = forged
	s.start()
	s.failure(checkpoint.ErrOldLog)
	s.stop() // it still asks about what was signed before, and would write what the witness answers

	// One that lost its memory, too, finds a witness that did not.
	for _, name := range []string{"signed", "witnessed", "head"} {
		if err := os.Remove(filepath.Join(s.options.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	eventually(t, "the witness refuses", func() bool {
		r, err := s.service.Checkpoint(t.Context(), nil)
		return err == nil && r.Signed == 30 && strings.Contains(r.Witnesses[0].Failure, "forked")
	})
	if c, err := w.folder.Latest(origin); err != nil || c.Size != 20 {
		t.Error(c, err)
	}
	if r, err := s.service.Checkpoint(t.Context(), nil); err != nil || r.Size != 0 {
		t.Error(r, err)
	}
}

// A node that lacks old headers says so, and makes checkpoints when it gets them.
func TestHeadersThatAreGone(t *testing.T) {
	s := newStation(t, 10)
	s.chain.oldest = 15
	s.start()
	s.chain.grow(24)
	s.failure(checkpoint.ErrNoHistory)
	s.stop()

	lies := atomic.Bool{}
	lies.Store(true)
	s.options.Fetch = func(_ context.Context, l *checkpoint.Log) error {
		for h := l.Size() + 1; h < 15; h++ {
			if err := l.Append(s.chain.hash(h)); err != nil {
				return err
			}
			if h == 7 && lies.Load() {
				return errors.New("the server lied")
			}
		}
		return nil
	}
	s.start()
	s.failure(checkpoint.ErrNoHistory)
	lies.Store(false)
	note := s.size(20)

	if _, err := s.publisher.Inclusion(14); !errors.Is(err, checkpoint.ErrPruned) {
		t.Error(err)
	}
	if _, err := s.publisher.Inclusion(15); err != nil {
		t.Error(err)
	}

	whole := newStation(t, 10)
	whole.start()
	whole.chain.grow(24)
	text := func(n string) string { b, _, _ := strings.Cut(n, "\n\n"); return b }
	if text(whole.size(20)) != text(note) {
		t.Error("another root than that of a node with all headers")
	}
}

// A log that is damaged is computed anew, and what was signed of it stays true.
func TestADamagedLogIsComputedAnew(t *testing.T) {
	s := newStation(t, 10)
	s.start()
	s.chain.grow(20)
	want := s.size(20)
	s.stop()
	path := filepath.Join(s.options.Dir, "hashes")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, 20*64), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.chain.grow(5)
	eventually(t, "a proof again", func() bool { _, err := s.publisher.Inclusion(20); return err == nil })
	if got := s.size(20); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

// Each file that cannot be written stops checkpoints until it can, and no two that part are
// signed, whether the write failed or only said so.
func TestWritesFail(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, name := range []string{"signed", "witnessed"} {
		for _, done := range []bool{false, true} {
			s := newStation(t, 10)
			w := newWatchman(t, "w1.example", s.options.Key)
			s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w.witness()}, 1
			var bad atomic.Bool
			s.through = func(path string, write func() error) error {
				if filepath.Base(path) != name || !bad.Load() {
					return write()
				}
				if done {
					return errors.Join(write(), broken)
				}
				return broken
			}
			s.start()
			s.chain.grow(10)
			s.size(10)
			bad.Store(true)
			s.chain.grow(10)
			eventually(t, "the fault is told", func() bool {
				r, err := s.service.Checkpoint(t.Context(), nil)
				return err == nil && r.Size == 10 && (strings.Contains(r.Failure, "fire") || strings.Contains(r.Witnesses[0].Failure, "fire"))
			})
			bad.Store(false)
			if done {
				s.start() // what was written counts
			}
			s.chain.grow(10)
			s.size(30)
		}
	}
}

// A witness that answers nonsense, another's signature, or somewhere else, changes nothing.
func TestWitnessesThatLie(t *testing.T) {
	s := newStation(t, 10)
	other := newWatchman(t, "w1.example", s.options.Key) // the same name, another key
	var answer atomic.Int64
	liar := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch answer.Add(1) % 6 {
		case 0:
			rw.Header().Set("Content-Type", checkpoint.SizeType)
			rw.WriteHeader(http.StatusConflict)
			_, _ = rw.Write([]byte("99999999999999999999\n"))
		case 1:
			rw.Header().Set("Content-Type", checkpoint.SizeType)
			rw.WriteHeader(http.StatusConflict)
			_, _ = rw.Write([]byte("7\n"))
		case 2:
			http.Redirect(rw, r, other.URL+checkpoint.AddPath, http.StatusTemporaryRedirect)
		case 3:
			_, _ = rw.Write(bytes.Repeat([]byte("x"), 1<<20))
		case 4:
			_, _ = rw.Write([]byte("— w1.example AAAAAAAA\n"))
		case 5:
			_, _ = rw.Write([]byte("\n\nchancery/harbour-1\n10\n"))
		}
	}))
	defer liar.Close()
	mine := newWatchman(t, "w1.example")
	s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{{URL: liar.URL, Key: mine.key, Timeout: time.Second}}, 1
	s.start()
	s.chain.grow(10)
	eventually(t, "every lie is told", func() bool { return answer.Load() > 12 })
	if r, err := s.service.Checkpoint(t.Context(), nil); err != nil || r.Size != 0 || r.Signed != 10 || r.Witnesses[0].Failure == "" {
		t.Errorf("%+v, %v", r, err)
	}
	if other.asked.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestWhereWitnessesMayBe(t *testing.T) {
	for _, good := range []string{"https://w.example", "https://w.example/prefix/", "http://127.0.0.1:9790", "http://localhost:1"} {
		if err := checkpoint.CheckWitness(good); err != nil {
			t.Error(good, err)
		}
	}
	for _, bad := range []string{"", "w.example", "http://w.example", "ftp://w.example", "https://u:p@w.example", "https://w.example/#a", "https://w.example/?q", "https://" + strings.Repeat("x", 3000)} {
		if checkpoint.CheckWitness(bad) == nil {
			t.Error(bad)
		}
	}
}

// Witnesses that are all away raise their alert, and are well when they come back.
func TestAlertOfCheckpointsThatNobodyWitnesses(t *testing.T) {
	s := newStation(t, 10)
	w := newWatchman(t, "w1.example", s.options.Key)
	registry := prometheus.NewRegistry()
	s.options.Metrics = registry
	s.options.Witnesses, s.options.Quorum = []checkpoint.Witness{w.witness()}, 1
	rec := alerttest.Record(t, "ChanceryCheckpointsUnwitnessed")
	s.start()
	s.chain.grow(10)
	s.size(10)
	rec.Gather(0, "node", registry)
	w.broken.Store(true)
	s.chain.grow(40)
	eventually(t, "it is asked in vain", func() bool {
		r, err := s.service.Checkpoint(t.Context(), nil)
		return err == nil && r.Signed == 50 && r.Witnesses[0].Failure != ""
	})
	for _, minute := range []int{5, 10, 15, 20, 25, 30, 35, 40} {
		if text := rec.Gather(minute, "node", registry); !strings.Contains(text, "chancery_checkpoint_unwitnessed_intervals 4") {
			t.Error(text)
		}
	}
	w.broken.Store(false)
	s.size(50)
	if text := rec.Gather(45, "node", registry); !strings.Contains(text, "chancery_checkpoint_unwitnessed_intervals 0") || !strings.Contains(text, `outcome="cosigned"`) {
		t.Error(text)
	}
}
