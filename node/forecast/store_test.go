package forecast

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func store(t testing.TB, change func(*Settings)) *Store {
	t.Helper()
	s := DefaultSettings()
	if change != nil {
		change(&s)
	}
	st, err := NewStore(s)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A store keeps, of any events and gaps, what one gets by counting them.
func TestHistoryIsWhatHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := DefaultSettings()
		s.Bucket = rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute, time.Hour}).Draw(t, "bucket")
		s.Buckets, s.Hours = rapid.IntRange(48, 60).Draw(t, "buckets"), rapid.IntRange(48, 60).Draw(t, "hours")
		st, err := NewStore(s)
		if err != nil {
			t.Fatal(err)
		}
		width := s.Bucket.Milliseconds()
		at := 20_000*day + rapid.Int64Range(0, day).Draw(t, "begin")
		counts, hours, sums := map[int64]float64{}, map[int64]float64{}, map[int64]float64{}
		first := int64(-1)
		events := rapid.IntRange(1, 60).Draw(t, "events")
		for i := range events {
			if first < 0 {
				first = at
			}
			score := rapid.Uint32Range(0, MaxScore).Draw(t, "score")
			st.Observe(int64(i+1), at, []Observation{{Height: int64(i + 1), Time: at, Actor: "a", Score: score, Scored: true}})
			counts[at/width]++
			hours[at/hour]++
			sums[at/width] += float64(score)
			at += rapid.SampledFrom([]int64{0, 1, width / 2, width, 3 * width, hour, 100 * hour}).Draw(t, "gap")
		}
		st.Observe(int64(events+1), at, nil)
		r, ok := st.Find(Actor, "a")
		if !ok || r.Events != uint64(events) || r.First != first/width*width {
			t.Fatalf("%v %+v", ok, r)
		}
		h := r.History
		if h.End != at/width || len(h.Counts) != int(min(int64(s.Buckets), h.End-first/width)) || len(h.Risks) != len(h.Counts) {
			t.Fatalf("%d buckets until %d, want until %d", len(h.Counts), h.End, at/width)
		}
		for i, v := range h.Counts {
			b := h.End - int64(len(h.Counts)) + int64(i)
			if v != counts[b] || (v == 0) != math.IsNaN(h.Risks[i]) {
				t.Fatalf("bucket %d: %v, risk %v, want %v", b, v, h.Risks[i], counts[b])
			}
			if v > 0 && math.Abs(h.Risks[i]-sums[b]/v) > 0.5 {
				t.Fatalf("bucket %d: risk %v, want %v", b, h.Risks[i], sums[b]/v)
			}
		}
		whole := (first + hour - 1) / hour
		if first/width*width == first/hour*hour {
			whole = first / hour
		}
		if h.HoursEnd != at/hour || len(h.Hours) != int(max(0, min(int64(s.Hours), h.HoursEnd-whole))) {
			t.Fatalf("%d hours until %d, from %d to %d", len(h.Hours), h.HoursEnd, whole, at/hour)
		}
		for i, v := range h.Hours {
			if b := h.HoursEnd - int64(len(h.Hours)) + int64(i); v != hours[b] {
				t.Fatalf("hour %d: %v, want %v", b, v, hours[b])
			}
		}
	})
}

// silence is quick, many times at once.
func TestSilenceIsManyEmptyBuckets(t *testing.T) {
	for _, n := range []int{1, 2, 17, 500} {
		a := newSeries(DefaultSettings(), 0)
		a.level, a.spread = 7, 3
		a.fine.push(1, noRisk)
		b := *a
		a.silence(int64(n))
		for range n {
			b.quick(0, noRisk)
		}
		near(t, "level", a.level, b.level, 1e-9)
		near(t, "spread", a.spread, b.spread, 1e-9)
		near(t, "oddity", a.odd, b.odd, 1e-9)
	}
}

func TestTheLeastRecentlyActiveGoFirst(t *testing.T) {
	st := store(t, func(s *Settings) { s.Subjects = 3 })
	at := 20_000 * day
	for i, name := range []string{"a", "b", "c", "a", "d", strings.Repeat("x", MaxSubject+1), ""} {
		st.Observe(int64(i+1), at+int64(i), []Observation{{Actor: name}})
	}
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true, strings.Repeat("x", MaxSubject+1): false, "": false} {
		if _, ok := st.Find(Actor, name); ok != want {
			t.Errorf("%.5q is there: %v, want %v", name, ok, want)
		}
	}
	if _, ok := st.Find(Organisation, "a"); ok {
		t.Error("an actor is an organisation")
	}
}

func TestABlockCountsOnce(t *testing.T) {
	st := store(t, nil)
	at := 20_000 * day
	resources := []string{"r", "r", "q"}
	for i := range MaxResources {
		resources = append(resources, fmt.Sprint(i))
	}
	for _, height := range []int64{5, 5, 4} {
		st.Observe(height, at, []Observation{{Actor: "a", Organisation: "o", Resources: resources}})
	}
	for name, kind := range map[string]Kind{"a": Actor, "o": Organisation, "r": Resource, "q": Resource} {
		if r, ok := st.Find(kind, name); !ok || r.Events != 1 {
			t.Errorf("%s: %v, %d events", name, ok, r.Events)
		}
	}
	if _, ok := st.Find(Resource, fmt.Sprint(MaxResources-1)); ok {
		t.Error("more resources than the bound")
	}
}

// What is stated is measured, with subjects that are all as large as they can be, and
// new ones that push them out.
func TestMemoryIsBounded(t *testing.T) {
	const subjects = 300
	st := store(t, func(s *Settings) { s.Subjects = subjects })
	s := st.Settings()
	before := heap()
	at, height := 20_000*day, int64(0)
	block := func(first, n int) {
		height++
		all := make([]Observation, n)
		for i := range all {
			name := fmt.Sprintf("%0*d", MaxSubject, first+i)
			all[i] = Observation{Actor: name, Organisation: name, Resources: []string{name}, Score: 5000, Scored: true}
		}
		st.Observe(height, at, all)
	}
	for range s.Hours + 2 {
		block(0, subjects)
		at += hour
	}
	for range s.Buckets + 2 {
		block(0, subjects)
		at += s.Bucket.Milliseconds()
	}
	if r, _ := st.Find(Resource, fmt.Sprintf("%0*d", MaxSubject, 7)); len(r.History.Counts) != s.Buckets || len(r.History.Hours) != s.Hours {
		t.Fatalf("the subjects are not full: %d buckets, %d hours", len(r.History.Counts), len(r.History.Hours))
	}
	used := heap() - before
	t.Logf("%d bytes a subject, at most %d", used/(3*subjects), s.BytesPerSubject())
	if used > s.Bytes() {
		t.Errorf("%d bytes, stated are at most %d", used, s.Bytes())
	}
	for i := range 20 {
		block((i+1)*subjects, subjects)
	}
	if used := heap() - before; used > s.Bytes() {
		t.Errorf("%d bytes after others came, stated are at most %d", used, s.Bytes())
	}
	runtime.KeepAlive(st)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestLeadingSubjects(t *testing.T) {
	st := store(t, nil)
	r := rand.New(rand.NewPCG(3, 4))
	at := 20_000 * day
	for i := range 200 {
		var all []Observation
		add := func(name string, n int, score uint32) {
			for range n {
				all = append(all, Observation{Actor: name, Score: score, Scored: true})
			}
		}
		add("busy", 20+r.IntN(5), 100)
		add("risky", 1, 9000)
		add("calm", 4+r.IntN(3), 100)
		if i == 199 {
			add("calm", 30, 100)
		}
		st.Observe(int64(i+1), at, all)
		at += time.Minute.Milliseconds()
	}
	st.Observe(201, at, nil)
	for by, want := range map[Order]string{ByRate: "busy", ByRisk: "risky", ByDeviation: "calm"} {
		got := st.Leading(Actor, by, 2)
		if len(got) != 2 || got[0].Name != want {
			t.Errorf("order %d: %+v", by, slices.Collect(func(yield func(string) bool) {
				for _, g := range got {
					if !yield(g.Name) {
						return
					}
				}
			}))
		}
	}
	calm, _ := st.Find(Actor, "calm")
	if d, ok := Deviate(calm.History); !ok || d.Distance < 5 || d.Observed <= d.Rate.High95 {
		t.Errorf("the burst: %+v", d)
	}
	risky, _ := st.Find(Actor, "risky")
	if f := Predict(risky.History, 1); f.Points[0].Risk == nil || math.Abs(f.Points[0].Risk.Expected-9000) > 1 {
		t.Errorf("%+v", f.Points[0].Risk)
	}
}

func TestSettings(t *testing.T) {
	if err := DefaultSettings().Check(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Settings){
		"bucket":    func(s *Settings) { s.Bucket = 7 * time.Minute },
		"buckets":   func(s *Settings) { s.Buckets = 47 },
		"hours":     func(s *Settings) { s.Hours = 5000 },
		"subjects":  func(s *Settings) { s.Subjects = 0 },
		"look_back": func(s *Settings) { s.LookBack = -1 },
	} {
		s := DefaultSettings()
		spoil(&s)
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
