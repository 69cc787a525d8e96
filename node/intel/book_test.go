package intel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/node/internal/durable"
)

const minute = int64(60_000)

func newBook(t testing.TB) *Book {
	t.Helper()
	b, err := Open(filepath.Join(t.TempDir(), "book.json"), BookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func about(subject string, l Level, until int64) Opinion {
	return Opinion{Subject: "did:chancery:" + subject, Level: l, Reason: ReasonFeed, Source: [32]byte{1}, Until: until}
}

func set(t testing.TB, b *Book, origin Origin, now int64, o Opinion) {
	t.Helper()
	if err := b.Set(origin, now, o); err != nil {
		t.Fatal(err)
	}
}

func brief(list []Opinion) string {
	var out []string
	for _, o := range list {
		out = append(out, fmt.Sprintf("%s=%d", strings.TrimPrefix(o.Subject, "did:chancery:"), o.Level))
	}
	return strings.Join(out, " ")
}

func wantNext(t *testing.T, b *Book, height, now int64, most int, want string) {
	t.Helper()
	if got := brief(b.Next(height, now, most)); got != want {
		t.Errorf("height %d: sent %q, want %q", height, got, want)
	}
}

func TestWhatChangedIsSentOnceTheHighestFirst(t *testing.T) {
	b := newBook(t)
	set(t, b, OriginFeed, 1000, about("acme", LevelLow, 100*minute))
	set(t, b, OriginFeed, 1001, about("mercy", LevelHigh, 100*minute))
	set(t, b, OriginFeed, 1002, about("globex", LevelHigh, 100*minute))
	wantNext(t, b, 1, 2000, 2, "mercy=3 globex=3")
	wantNext(t, b, 1, 2000, 2, "mercy=3 globex=3") // another round of the same height
	wantNext(t, b, 2, 2100, 2, "acme=1")
	wantNext(t, b, 3, 2200, 2, "")
	set(t, b, OriginFeed, 2300, about("acme", LevelLow, 200*minute)) // longer alone is no change
	wantNext(t, b, 4, 2400, 2, "")
	set(t, b, OriginFeed, 2500, about("acme", LevelGuarded, 200*minute))
	wantNext(t, b, 5, 2600, 2, "acme=2")
	set(t, b, OriginFeed, 2500, about("acme", LevelGuarded, 50*minute)) // shorter is one
	wantNext(t, b, 6, 2600, 2, "acme=2")
}

func TestAnOpinionIsSentAgainAfterHalfOfItsLife(t *testing.T) {
	b := newBook(t)
	set(t, b, OriginFeed, 0, about("acme", LevelHigh, 100*minute))
	set(t, b, OriginFeed, 0, about("mercy", LevelHigh, 80*minute))
	wantNext(t, b, 1, 0, 9, "acme=3 mercy=3")
	wantNext(t, b, 2, 40*minute-1, 9, "")
	wantNext(t, b, 3, 50*minute, 1, "mercy=3") // due since 40
	wantNext(t, b, 4, 50*minute, 1, "acme=3")  // due since 50
	wantNext(t, b, 5, 64*minute, 9, "")
	wantNext(t, b, 6, 65*minute, 9, "mercy=3") // half of the 30 minutes left
	wantNext(t, b, 7, 100*minute, 9, "")       // over, which others know
	if n := len(b.Opinions(100 * minute)); n != 0 || len(b.subjects) != 0 {
		t.Errorf("%d opinions and %d subjects are left", n, len(b.subjects))
	}
}

func TestWhatIsTakenBackIsToldAndOnlyIfItWasSent(t *testing.T) {
	b := newBook(t)
	set(t, b, OriginFeed, 0, about("acme", LevelHigh, 100*minute))
	set(t, b, OriginFeed, 0, about("mercy", LevelHigh, 100*minute))
	wantNext(t, b, 1, 0, 1, "acme=3")
	for _, s := range []string{"acme", "mercy"} {
		if was, err := b.Withdraw(OriginFeed, 10, "did:chancery:"+s); !was || err != nil {
			t.Fatal(was, err)
		}
	}
	sent := b.Next(2, 20, 9)
	if brief(sent) != "acme=0" || sent[0].Until != 100*minute || sent[0].Check() != nil {
		t.Errorf("%+v", sent)
	}
	wantNext(t, b, 3, minute, 9, "")
	wantNext(t, b, 4, 50*minute+20, 9, "acme=0")
	b.Expire(100 * minute)
	if len(b.subjects) != 0 {
		t.Errorf("%d subjects are left", len(b.subjects))
	}
	if was, err := b.Withdraw(OriginFeed, 10, "did:chancery:acme"); was || err != nil {
		t.Error(was, err)
	}
}

func TestTheHighestOfSeveralOriginsStandsAndTheOperatorGoesBeforeAll(t *testing.T) {
	b := newBook(t)
	set(t, b, OriginFeed, 0, about("acme", LevelLow, 100*minute))
	set(t, b, OriginAdaptive, 0, about("acme", LevelHigh, 10*minute))
	wantNext(t, b, 1, 0, 9, "acme=3")
	wantNext(t, b, 2, 11*minute, 9, "acme=1")
	set(t, b, OriginOperator, 12*minute, about("acme", LevelNone, 50*minute))
	wantNext(t, b, 3, 12*minute, 9, "acme=0")
	set(t, b, OriginIndicators, 13*minute, about("acme", LevelSevere, 100*minute))
	wantNext(t, b, 4, 13*minute, 9, "")
	wantNext(t, b, 5, 50*minute, 9, "acme=4")
}

func TestWhatDidNotArriveIsSentAgain(t *testing.T) {
	b := newBook(t)
	set(t, b, OriginFeed, 0, about("acme", LevelHigh, 100*minute))
	set(t, b, OriginFeed, 0, about("mercy", LevelHigh, 100*minute))
	wantNext(t, b, 1, 0, 1, "acme=3")
	wantNext(t, b, 2, 0, 1, "mercy=3")
	b.Missed(1)
	wantNext(t, b, 3, 10, 9, "acme=3")
	wantNext(t, b, 4, 20, 9, "")
}

func TestALongOpinionIsSentWithABoundedEndAndProlonged(t *testing.T) {
	b, err := Open(filepath.Join(t.TempDir(), "b"), BookOptions{MaxLife: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	set(t, b, OriginIndicators, 0, about("acme", LevelHigh, 1000*minute))
	if o := b.Next(1, 0, 0); len(o) != 1 || o[0].Until != 10*minute {
		t.Fatalf("%+v", o)
	}
	wantNext(t, b, 2, 4*minute, 0, "")
	if o := b.Next(3, 5*minute, 0); len(o) != 1 || o[0].Until != 15*minute {
		t.Fatalf("%+v", o)
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intel", "book.json")
	open := func() *Book {
		b, err := Open(path, BookOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	set(t, b, OriginFeed, 0, about("acme", LevelHigh, 100*minute))
	set(t, b, OriginOperator, 0, about("mercy", LevelSevere, 100*minute))
	// Nobody saved, but Set does not return before it is on disk.
	again := open()
	if got := brief(again.Opinions(1)); got != "acme=3 mercy=4" {
		t.Errorf("%s", got)
	}
	wantNext(t, b, 1, 0, 1, "mercy=4")
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	again = open()
	if !reflect.DeepEqual(again.subjects, b.subjects) || !reflect.DeepEqual(again.counts, b.counts) {
		t.Errorf("%v, %v", again.subjects, b.subjects)
	}
	wantNext(t, again, 1, 0, 1, "mercy=4") // asked again for the height after a crash
	wantNext(t, again, 2, 0, 9, "acme=3")
}

func TestACorruptFileIsAnErrorThatNamesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book.json")
	b, err := Open(path, BookOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set(t, b, OriginFeed, 0, about("acme", LevelHigh, 100*minute))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := durable.Unseal(good)
	if err != nil {
		t.Fatal(err)
	}
	good = text // what is bad has its seal all the same
	bad := map[string][]byte{
		"cut":     good[:len(good)/2],
		"empty":   {},
		"altered": bytes.Replace(good, []byte(`"level":3`), []byte(`"level":0`), 1),
		"more":    append(bytes.Clone(good), good...),
		"format":  bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1),
		"unknown": bytes.Replace(good, []byte(`"format":1`), []byte(`"format":1,"x":1`), 1),
	}
	for name, raw := range bad {
		if bytes.Equal(raw, good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(path, durable.Seal(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, BookOptions{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOriginHasItsOwnRoom(t *testing.T) {
	b := newBook(t)
	var list []Opinion
	for i := range MaxPerOrigin + 3 {
		list = append(list, about(fmt.Sprintf("org-%d", i), LevelLow, 100*minute))
	}
	list[MaxPerOrigin+1].Level = LevelHigh
	r, err := b.Replace(OriginIndicators, 0, list)
	if err != nil || r.Set != MaxPerOrigin || r.Left != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := b.Set(OriginIndicators, 0, about("late", LevelLow, 100*minute)); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if err := b.Set(OriginIndicators, 0, about("late", LevelGuarded, 100*minute)); err != nil {
		t.Errorf("a higher opinion found no room: %v", err)
	}
	if err := b.Set(OriginFeed, 0, about("other", LevelLow, 100*minute)); err != nil {
		t.Errorf("another origin found no room: %v", err)
	}
	if n := b.counts[OriginIndicators]; n != MaxPerOrigin {
		t.Errorf("%d", n)
	}
	wantNext(t, b, 1, 0, 2, fmt.Sprintf("org-%d=3 late=2", MaxPerOrigin+1))
	if r, err = b.Replace(OriginIndicators, 0, nil); err != nil || r.Withdrawn != MaxPerOrigin {
		t.Errorf("%+v, %v", r, err)
	}
	if got := brief(b.Opinions(0)); got != "other=1" {
		t.Errorf("%s", got)
	}
}

func TestUnusableOpinionsAreRefused(t *testing.T) {
	b := newBook(t)
	good := about("acme", LevelHigh, 100*minute)
	for name, spoil := range map[string]func(*Opinion){
		"subject":    func(o *Opinion) { o.Subject = "acme" },
		"consortium": func(o *Opinion) { o.Subject = "did:chancery:consortium" },
		"long":       func(o *Opinion) { o.Subject += ":" + strings.Repeat("a", 128) },
		"level":      func(o *Opinion) { o.Level = 5 },
		"reason":     func(o *Opinion) { o.Reason = 8 },
		"no reason":  func(o *Opinion) { o.Reason = 0 },
		"source":     func(o *Opinion) { o.Source = [32]byte{} },
		"over":       func(o *Opinion) { o.Until = 5 },
		"endless":    func(o *Opinion) { o.Until = 0 },
	} {
		o := good
		spoil(&o)
		if err := b.Set(OriginFeed, 5, o); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := b.Replace(OriginFeed, 5, []Opinion{good, o}); err == nil || len(b.subjects) != 0 {
			t.Errorf("%s: replaced, %d subjects", name, len(b.subjects))
		}
	}
	if err := b.Set("rumour", 5, good); err == nil {
		t.Error("an unknown origin was taken")
	}
}

func TestAnOpinionThatCannotBeWrittenIsInForceAndSaid(t *testing.T) {
	b := newBook(t)
	if err := os.RemoveAll(filepath.Dir(b.path)); err != nil {
		t.Fatal(err)
	}
	if err := b.Set(OriginFeed, 0, about("acme", LevelHigh, minute)); !errors.Is(err, ErrSave) || !strings.Contains(err.Error(), b.path) {
		t.Errorf("%v", err)
	}
	if got := brief(b.Opinions(0)); got != "acme=3" {
		t.Errorf("%s", got)
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(b.path, BookOptions{})
	if err != nil || brief(again.Opinions(0)) != "acme=3" {
		t.Errorf("%v", err)
	}
}

// Whoever follows the extensions, and forgets what is over, believes what the book
// believes as soon as nothing is left to send.
func TestWhoFollowsTheExtensionsKnowsTheBook(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		open := func() *Book {
			b, err := Open(path, BookOptions{MaxLife: 30 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			b.write = func(path string, raw []byte) error { return os.WriteFile(path, durable.Seal(raw), 0o600) }
			return b
		}
		b := open()
		var err error
		told := map[string]Opinion{}
		now, height := int64(1), int64(0)
		send := func(most int, arrives bool) int {
			height++
			out := b.Next(height, now, most)
			if !reflect.DeepEqual(out, b.Next(height, now, most)) {
				t.Fatal("two rounds of one height differ")
			}
			if len(out) > most {
				t.Fatalf("%d of at most %d", len(out), most)
			}
			if !arrives {
				b.Missed(height)
				return len(out)
			}
			for _, o := range out {
				if err := o.Check(); err != nil || o.Until <= now || o.Until > now+30*minute {
					t.Fatalf("sent %+v at %d: %v", o, now, err)
				}
				told[o.Subject] = o
			}
			return len(out)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += rapid.Int64Range(1, 10*minute).Draw(t, "pause")
			origin := rapid.SampledFrom(origins[:]).Draw(t, "origin")
			o := about(rapid.SampledFrom([]string{"aa", "bb", "cc", "dd"}).Draw(t, "subject"), Level(rapid.IntRange(0, 4).Draw(t, "level")), now+rapid.Int64Range(1, 90*minute).Draw(t, "life"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				err = b.Set(origin, now, o)
			case 1:
				_, err = b.Withdraw(origin, now, o.Subject)
			case 2:
				if err = b.Save(); err == nil {
					b = open()
				}
			case 3:
				send(rapid.IntRange(1, 3).Draw(t, "most"), rapid.Bool().Draw(t, "arrives"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for send(2, true) > 0 {
		}
		for s, o := range told {
			if o.Until <= now || o.Level == LevelNone {
				delete(told, s)
			}
		}
		believed := b.Opinions(now)
		if len(believed) != len(told) {
			t.Fatalf("believes %v, told %v", believed, told)
		}
		for _, o := range believed {
			if x := told[o.Subject]; x.Level != o.Level || x.Reason != o.Reason || x.Source != o.Source || x.Until > o.Until {
				t.Fatalf("believes %+v, told %+v", o, x)
			}
		}
	})
}
