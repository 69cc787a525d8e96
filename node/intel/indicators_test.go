package intel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	nodeA = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func TestIndicatorsReadTheSameFromBothFormats(t *testing.T) {
	fromCSV, err := ParseIndicators([]byte(`type,value,level,until,note
# a comment
did,did:chancery:acme:laptop-1,high,2027-01-31T00:00:00Z,"stolen, says ""IT"""
organisation,did:chancery:mercy,1,,
key,z6MkExample,severe,,
resource-hash,`+hashA+`,guarded,,
node-id,`+nodeA+`,low,,
`), CSV)
	if err != nil {
		t.Fatal(err)
	}
	if i := fromCSV[0]; i.Kind != KindDID || i.Level != LevelHigh || i.Until != 1801353600000 || i.Note != `stolen, says "IT"` {
		t.Errorf("%+v", i)
	}
	for _, format := range []Format{CSV, JSONL} {
		raw, err := EncodeIndicators(fromCSV, format)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseIndicators(raw, format)
		if err != nil || len(again) != len(fromCSV) {
			t.Fatalf("%s: %v\n%s", format, err, raw)
		}
		twice, err := EncodeIndicators(again, format)
		if err != nil || !bytes.Equal(raw, twice) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestEveryFaultyLineIsNamed(t *testing.T) {
	csv := `type,value,level,until,note
did,acme,high,,
did,did:chancery:acme,high,tomorrow,
did,did:chancery:mercy,urgent,,
did,did:chancery:globex,none,,
did,did:chancery:initech,high
ip,1.2.3.4,high,,
resource-hash,ABC,high,,
organisation,did:chancery:acme:laptop-1,high,,
key,,high,,
did,did:chancery:umbrella,high,,
did,did:chancery:umbrella,low,,
key,x,high,,` + strings.Repeat("n", 300) + "\n"
	_, err := ParseIndicators([]byte(csv), CSV)
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("%v", err)
	}
	var lines []int
	for _, f := range faults {
		lines = append(lines, f.Line)
	}
	if fmt.Sprint(lines) != "[2 3 4 5 6 7 8 9 10 12 13]" {
		t.Errorf("%v: %v", lines, err)
	}
	if text := err.Error(); !strings.Contains(text, "line 2: ") || !strings.Contains(text, "and 1 more") {
		t.Errorf("%s", text)
	}

	jsonl := `{"type":"did","value":"did:chancery:acme","level":"high"}

{"type":"did","value":"did:chancery:mercy","level":"high","colour":"red"}
{"type":"did","value":"did:chancery:mercy"}
{"type":"did"
{"type":"did","value":"did:chancery:mercy","level":2.5}
` + `{"type":"key","value":"k","level":"high","note":"` + strings.Repeat("n", maxLine) + `"}`
	_, err = ParseIndicators([]byte(jsonl), JSONL)
	lines = nil
	if errors.As(err, &faults) {
		for _, f := range faults {
			lines = append(lines, f.Line)
		}
	}
	if fmt.Sprint(lines) != "[3 4 5 6 7]" {
		t.Errorf("%v: %v", lines, err)
	}
}

func TestAFileOfIndicatorsIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("type,value,level,until,note\n")
	for i := range MaxIndicators {
		fmt.Fprintf(&b, "key,k%d,low,,\n", i)
	}
	if list, err := ParseIndicators([]byte(b.String()), CSV); err != nil || len(list) != MaxIndicators {
		t.Fatal(err)
	}
	b.WriteString("key,one-more,low,,\n")
	if _, err := ParseIndicators([]byte(b.String()), CSV); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("line %d", MaxIndicators+2)) {
		t.Errorf("%v", err)
	}
	if _, err := ParseIndicators(make([]byte, MaxIndicatorBytes+1), CSV); err == nil {
		t.Error("a file that is too large was read")
	}
	_, err := ParseIndicators([]byte("type,value,level,until,note\n"+strings.Repeat("x\n", 5000)), CSV)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != maxFaults+1 {
		t.Errorf("%d faults", len(faults))
	}
	for _, raw := range []string{"", "# nothing", "did,did:chancery:acme,low,,\n", "type,value,level,until,note\n\"did", "\xff"} {
		if _, err := ParseIndicators([]byte(raw), CSV); err == nil {
			t.Errorf("%q was read", raw)
		}
	}
}

func FuzzParseIndicators(f *testing.F) {
	f.Add([]byte("type,value,level,until,note\ndid,did:chancery:acme,high,,\n"), true)
	f.Add([]byte(`{"type":"key","value":"k","level":3,"until":"2027-01-31T00:00:00.5Z","note":"n"}`), false)
	f.Fuzz(func(t *testing.T, raw []byte, csv bool) {
		format := JSONL
		if csv {
			format = CSV
		}
		list, err := ParseIndicators(raw, format)
		if err != nil {
			return
		}
		for _, i := range list {
			if err := i.Check(); err != nil {
				t.Fatal(err)
			}
		}
		for _, format := range []Format{CSV, JSONL} {
			once, err := EncodeIndicators(list, format)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseIndicators(once, format)
			if err != nil || len(again) != len(list) {
				// A line grows when it is quoted, and may grow beyond its bound.
				if format == JSONL && err != nil && strings.Contains(err.Error(), "more than") {
					continue
				}
				t.Fatalf("%s: %v\n%s", format, err, once)
			}
		}
	})
}

// logs is a log that a test reads.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLog() (*slog.Logger, *logs) {
	l := new(logs)
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

// reading is what a counter or a gauge stands at.
func reading(c prometheus.Collector) float64 {
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	all, err := r.Gather()
	if err != nil {
		panic(err)
	}
	m := all[0].Metric[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

type watching struct {
	*Indicators
	t     *testing.T
	path  string
	clock atomic.Int64
	out   *logs
	edits int
}

func watch(t *testing.T, resolve Resolver) *watching {
	t.Helper()
	w := &watching{t: t, path: filepath.Join(t.TempDir(), "indicators.csv")}
	w.clock.Store(1000)
	log, out := newLog()
	w.out = out
	b := newBook(t)
	var err error
	w.Indicators, err = NewIndicators(IndicatorsOptions{Path: w.path, Poll: 100 * time.Millisecond}, b, w.clock.Load, resolve, b.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// edit writes lines and looks at the file once.
func (w *watching) edit(lines ...string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte("type,value,level,until,note\n"+strings.Join(lines, "\n")), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.edits++ // coarse clocks of file systems
	at := time.Unix(int64(w.edits)*10, 0)
	if err := os.Chtimes(w.path, at, at); err != nil {
		w.t.Fatal(err)
	}
	w.load()
}

func (w *watching) want(want string) {
	w.t.Helper()
	if got := brief(w.book.Opinions(w.clock.Load())); got != want {
		w.t.Errorf("believes %q, want %q", got, want)
	}
}

func TestABrokenFileLeavesTheLastGoodOneInForceAndSaysSo(t *testing.T) {
	w := watch(t, nil)
	w.edit("did,did:chancery:acme:laptop-1,high,,", "organisation,did:chancery:mercy,low,,")
	w.want("acme:laptop-1=3 mercy=1")
	w.edit("did,did:chancery:acme:laptop-1,urgent,,")
	w.want("acme:laptop-1=3 mercy=1")
	if text := w.out.String(); !strings.Contains(text, "last good one") || !strings.Contains(text, "line 2") || !strings.Contains(text, w.path) {
		t.Error(text)
	}
	if reading(w.metrics.stale.WithLabelValues("indicators")) != 1 || reading(w.metrics.failures.WithLabelValues("indicators")) != 1 {
		t.Error("the measurements do not say so")
	}
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.load()
	w.load()
	w.want("acme:laptop-1=3 mercy=1")
	if n := reading(w.metrics.failures.WithLabelValues("indicators")); n != 2 {
		t.Errorf("an absent file was said %v times", n-1)
	}
	w.edit("organisation,did:chancery:mercy,severe,,")
	w.want("mercy=4")
	if reading(w.metrics.stale.WithLabelValues("indicators")) != 0 {
		t.Error("still stale")
	}
	w.edit()
	w.want("")
}

func TestAnIndicatorEndsAndItsEndIsTheOpinions(t *testing.T) {
	w := watch(t, nil)
	w.edit("did,did:chancery:acme,high,1970-01-01T00:01:00Z,", "did,did:chancery:mercy,low,1970-01-01T00:00:00.5Z,")
	w.want("acme=3")
	w.clock.Store(minute)
	w.want("")
}

func TestKeysAndNodesBecomeTheSubjectsThatTheyBelongTo(t *testing.T) {
	known := map[string][]string{nodeA: {"did:chancery:mercy"}}
	w := watch(t, func(kind Kind, value string) []string { return known[value] })
	w.edit("key,z6Mk,high,,", "node-id,"+nodeA+",guarded,,")
	w.want("mercy=2")
	if reading(w.metrics.unresolved) != 1 {
		t.Error("the unknown key is not counted")
	}
	known["z6Mk"] = []string{"did:chancery:acme:pat", "did:chancery:mercy", "not a DID"}
	w.apply()
	w.want("acme:pat=3 mercy=3")
}

func TestWhoTouchesAnIndicatedResourceBecomesASubjectAlsoAfterARestart(t *testing.T) {
	w := watch(t, nil)
	w.edit("resource-hash,"+digest([]byte("ward/7"))+",high,,", "resource-hash,"+hashA+",low,,")
	touch := func(at int64, actor, resource string) {
		w.Observe(Block{Time: at, Observations: []Observation{{Actor: "did:chancery:" + actor, Resources: []string{"ward/1", resource}}}})
	}
	touch(1000, "acme:pat", "ward/7")
	touch(1000, "acme:kim", strings.ToUpper(hashA))
	touch(1000, "acme:lee", "ward/8")
	w.want("acme:kim=1 acme:pat=3")

	// The same book and file, another process.
	log, _ := newLog()
	again, err := NewIndicators(w.options, w.book, w.clock.Load, nil, w.metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	again.load()
	w.want("acme:kim=1 acme:pat=3")
	w.clock.Store(1000 + touchLife)
	again.apply()
	w.want("")
}

func TestRunSeesAChangeAndStops(t *testing.T) {
	w := watch(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if err := os.WriteFile(w.path, []byte("type,value,level,until,note\ndid,did:chancery:acme,high,,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { done <- w.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for brief(w.book.Opinions(1000)) != "acme=3" {
		if time.Now().After(deadline) {
			t.Fatal("the file was not seen")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOptionsOfIndicatorsAreChecked(t *testing.T) {
	for _, o := range []IndicatorsOptions{{Path: "x.txt", Poll: time.Second}, {Path: "x.csv"}} {
		if o.Check() == nil {
			t.Errorf("%+v passed", o)
		}
	}
	if err := (IndicatorsOptions{}).Check(); err != nil {
		t.Error(err)
	}
}

// What an operator says is of DIDs, at any level, and need not be there.
func TestWhatAnOperatorSaysIsAFile(t *testing.T) {
	w := watch(t, nil)
	indicators := w.Indicators
	indicators.options.Optional = true
	opinions, err := NewIndicators(IndicatorsOptions{Path: filepath.Join(t.TempDir(), "opinions.csv"), Poll: time.Second, Optional: true, Origin: OriginOperator}, w.book, w.clock.Load, nil, w.metrics, w.log)
	if err != nil {
		t.Fatal(err)
	}
	opinions.load()
	indicators.load()
	if text := w.out.String(); text != "" {
		t.Errorf("a file that need not be there is missed: %s", text)
	}
	w.edit("did,did:chancery:acme:laptop-1,high,,", "organisation,did:chancery:mercy,low,,")
	operator := &watching{Indicators: opinions, t: t, path: opinions.options.Path, out: w.out}
	operator.edit("did,did:chancery:acme:laptop-1,none,,looked into", "organisation,did:chancery:mercy,severe,,")
	w.want("mercy=4")
	for _, o := range w.book.Opinions(w.clock.Load()) {
		if o.Reason != ReasonOperator {
			t.Errorf("%+v", o)
		}
	}
	if reading(w.metrics.indicators.WithLabelValues("operator")) != 2 || reading(w.metrics.indicators.WithLabelValues("indicators")) != 2 {
		t.Error("the measurements do not tell them apart")
	}
	operator.edit("key,k,high,,")
	w.want("mercy=4")
	if !strings.Contains(w.out.String(), "write did or organisation") || reading(w.metrics.stale.WithLabelValues("operator")) != 1 || reading(w.metrics.stale.WithLabelValues("indicators")) != 0 {
		t.Error(w.out.String())
	}
	operator.edit()
	w.want("acme:laptop-1=3 mercy=1")
}

// A resource has a hash when it is one, when its name ends in it, or as that of its name.
func TestAResourceHasAHash(t *testing.T) {
	w := watch(t, nil)
	hash := strings.Repeat("ab", 32)
	w.edit("resource-hash,"+hash+",low,,", "resource-hash,"+digest([]byte("node:scan"))+",high,,")
	see := func(actor, resource string) {
		w.Observe(Block{Height: 1, Time: w.clock.Load(), Observations: []Observation{{Time: w.clock.Load(), Actor: "did:chancery:acme:" + actor, Resources: []string{resource}}}})
	}
	see("content", strings.ToUpper(hash))
	see("record", "decision:"+hash)
	see("named", "node:scan")
	see("other", "node:scam")
	w.want("acme:content=1 acme:named=3 acme:record=1")
}
