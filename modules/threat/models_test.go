package threat

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// rawDetector is the bytes of a detector of its own, without trees.
func rawDetector(t testing.TB, name string, change ...func(*threatv1.Detector)) []byte {
	t.Helper()
	d := detector.Build(name, nil)
	for _, c := range change {
		c(d)
	}
	raw, err := detector.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// manyRules makes a detector large: three chunks of it.
func manyRules(d *threatv1.Detector) {
	longest := ""
	for _, f := range features.Table {
		if len(f.Name) > len(longest) {
			longest = f.Name
		}
	}
	for i := range 64 - len(d.Rules.Rules) {
		r := &threatv1.Rule{Name: fmt.Sprintf("z-%02d", i), Reason: strings.Repeat("none ", 50), Score: 1}
		all := &threatv1.CountTest{Least: 1}
		for range 62 {
			all.Parts = append(all.Parts, &threatv1.Predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{
				Feature: longest, Comparison: threatv1.Comparison_COMPARISON_LESS, Number: -1 << 62,
			}}})
		}
		r.When = &threatv1.Predicate{Kind: &threatv1.Predicate_Count{Count: all}}
		d.Rules.Rules = append(d.Rules.Rules, r)
	}
}

func hashOf(raw []byte) []byte {
	h := sha256.Sum256(raw)
	return h[:]
}

func pieces(raw []byte) (out [][]byte) {
	for len(raw) > 0 {
		n := min(len(raw), chunkSize)
		out = append(out, raw[:n])
		raw = raw[n:]
	}
	return out
}

// registers registers a model and sends all of it.
func (d *desk) registers(raw []byte) []byte {
	d.t.Helper()
	hash := hashOf(raw)
	messages := []proto.Message{&threatv1.RegisterModel{Hash: hash, Size: uint32(len(raw))}}
	for i, p := range pieces(raw) {
		messages = append(messages, &threatv1.AddModelChunk{Hash: hash, Index: uint32(i), Bytes: p})
	}
	d.Do(chaintest.Consortium, messages...)
	return hash
}

func (d *desk) model(hash []byte) *threatv1.ModelRecord {
	d.t.Helper()
	rec, ok := d.m.models.Lookup(d.View(), hash)
	if !ok {
		d.t.Fatalf("no model %x", hash)
	}
	return rec
}

func (d *desk) wantStage(hash []byte, want threatv1.Stage) {
	d.t.Helper()
	if got := d.model(hash).Stage; got != want {
		d.t.Fatalf("%s is %s, want %s", d.model(hash).Name, got, want)
	}
}

func to(hash []byte, stage threatv1.Stage) *threatv1.SetModelStage {
	m := &threatv1.SetModelStage{Hash: hash, Stage: stage}
	if stage == canaryStage {
		m.Share = 2500
	}
	return m
}

const (
	loadingStage    = threatv1.Stage_STAGE_LOADING
	registeredStage = threatv1.Stage_STAGE_REGISTERED
	shadowStage     = threatv1.Stage_STAGE_SHADOW
	canaryStage     = threatv1.Stage_STAGE_CANARY
	activeStage     = threatv1.Stage_STAGE_ACTIVE
	retiredStage    = threatv1.Stage_STAGE_RETIRED
)

func (d *desk) moves(hash []byte, stages ...threatv1.Stage) {
	d.t.Helper()
	for _, s := range stages {
		d.Do(chaintest.Consortium, to(hash, s))
	}
}

func nameOfLoaded(l *loaded) string {
	if l == nil {
		return ""
	}
	return l.detector.Name()
}

func TestWhichModelDecides(t *testing.T) {
	d := newDesk(t)
	wants := func(c *chosen, organisation, decides, beside, why string) {
		t.Helper()
		a, b, err := c.deciding(organisation)
		if nameOfLoaded(a) != decides || nameOfLoaded(b) != beside || (err != nil) != (why != "") || err != nil && err.Error() != why {
			t.Fatalf("%s: %q decides beside %q (%v), want %q beside %q (%s)", organisation, nameOfLoaded(a), nameOfLoaded(b), err, decides, beside, why)
		}
	}
	now := func() *chosen { return d.m.choose(d.View()) }
	wants(now(), house, "", "", "no model is active")

	one, two, three := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two")), d.registers(rawDetector(t, "three"))
	d.moves(one, shadowStage)
	wants(now(), house, "", "one", "no model is active")
	d.moves(one, activeStage)
	wants(now(), house, "one", "", "")
	d.moves(two, shadowStage)
	wants(now(), house, "one", "two", "")

	d.moves(two, canaryStage)
	share, others := "", ""
	for i := range 1000 {
		o := fmt.Sprintf("did:chancery:o%d", i)
		if inShare(two, o, 2500) {
			share = o
		} else {
			others = o
		}
	}
	wants(now(), share, "two", "one", "")
	wants(now(), others, "one", "two", "")
	d.moves(three, shadowStage)
	wants(now(), share, "two", "one", "")
	wants(now(), others, "one", "three", "")
	d.CheckGenesis()
}

// A model that needs more than the parameters allow by now does not score.
func TestModelBeyondItsWork(t *testing.T) {
	d := newDesk(t)
	one := d.registers(rawDetector(t, "one"))
	d.moves(one, shadowStage, activeStage)
	l, err := d.m.usable(d.View(), one)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		most uint64
		want bool
	}{{l.detector.MaxWork(), true}, {l.detector.MaxWork() - 1, false}} {
		p := deskParams()
		p.MaxScoreWork = c.most
		d.step(putParams(p))
		decides, _, why := d.m.choose(d.View()).deciding(house)
		if (decides != nil) != c.want || (why == errTooMuch) == c.want {
			t.Fatalf("work of %d: %v, %v", c.most, decides, why)
		}
	}
}

// Over many organisations a canary decides for its share of them, a growing share
// takes nobody out, and other models have others.
func TestCanaryShare(t *testing.T) {
	const n = 1000
	a, b := hashOf([]byte("a")), hashOf([]byte("b"))
	count := func(hash []byte, share uint32) (in int) {
		for i := range n {
			if inShare(hash, fmt.Sprintf("did:chancery:organisation-%d", i), share) {
				in++
			}
		}
		return in
	}
	for _, share := range []uint32{1, 500, 1000, 2500, 5000, 9000} {
		// Four standard deviations of a binomial distribution.
		want, p := n*int(share)/whole, float64(share)/whole
		if got := count(a, share); float64((got-want)*(got-want)) > 16*(n*p*(1-p)+1) {
			t.Errorf("a share of %d has %d of %d", share, got, n)
		}
	}
	if count(a, 0) != 0 || count(a, whole) != n {
		t.Error("none and all are not none and all")
	}
	both := 0
	for i := range n {
		o := fmt.Sprintf("did:chancery:organisation-%d", i)
		if inShare(a, o, 1000) && !inShare(a, o, 2500) {
			t.Fatalf("%s leaves a share that grows", o)
		}
		if inShare(a, o, 2500) && inShare(b, o, 2500) {
			both++
		}
	}
	if both < 30 || both > 100 { // 62 of 1000, if they are independent
		t.Errorf("%d organisations are in the share of both models", both)
	}
}

// A fixed point of the share, so that no change of it goes unseen.
func TestCanaryShareIsPinned(t *testing.T) {
	hash := bytes.Repeat([]byte{1}, 32)
	least := uint32(0)
	for ; !inShare(hash, house, least); least++ {
	}
	const want = 9543
	if least != want {
		t.Fatalf("%s is in from a share of %d, want %d", house, least, want)
	}
}

// The cache is bounded, keeps what was used last, and decides nothing.
func TestDetectorCache(t *testing.T) {
	d := newDesk(t)
	var hashes [][]byte
	for i := range maxCached + 2 {
		hashes = append(hashes, d.registers(rawDetector(t, fmt.Sprintf("m%d", i))))
	}
	for _, h := range hashes {
		if _, err := d.m.usable(d.View(), h); err != nil {
			t.Fatal(err)
		}
		if _, err := d.m.usable(d.View(), hashes[0]); err != nil {
			t.Fatal(err)
		}
	}
	c := &d.m.detectors
	if len(c.list) != maxCached {
		t.Fatalf("%d are cached", len(c.list))
	}
	first, ok := c.lookup(hashes[0])
	if !ok || first.detector.Name() != "m0" {
		t.Fatal("what was used last is gone")
	}
	if _, ok := c.lookup(hashes[1]); ok {
		t.Fatal("what was used first is there")
	}
	again, err := d.m.usable(d.View(), hashes[0])
	if err != nil || again != first {
		t.Fatal("decoded again")
	}
	c.add(&loaded{hash: hashes[0], detector: first.detector})
	if len(c.list) != maxCached {
		t.Fatal("the same is there twice")
	}
}
