package forecast_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/forecast"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

const (
	alpha = "did:chancery:alpha"
	clerk = alpha + ":clerk"
	// monday is 2026-01-05 08:00:00 UTC, in Unix milliseconds.
	monday = 1767600000000
)

func event(t testing.TB, m proto.Message) *chainv1.Event {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &chainv1.Event{Type: string(m.ProtoReflect().Descriptor().FullName()), Value: raw}
}

// block is a record with one transaction of the clerk.
func block(t testing.TB, height, time int64) *chainv1.BlockRecord {
	return &chainv1.BlockRecord{Height: height, Time: time, Txs: []*chainv1.TxResult{{
		TxId: []byte{byte(height >> 8), byte(height)}, Height: height, Time: time, Events: []*chainv1.Event{event(t, &accessv1.Revoked{By: clerk})},
	}}}
}

// ledger is a log of records that a test appends to.
type ledger struct {
	t   testing.TB
	db  dbm.DB
	log *records.Log
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	l := &ledger{t: t, db: dbm.NewMemDB()}
	var err error
	if l.log, err = records.Open(l.db, true); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ledger) append(height, time int64) {
	l.t.Helper()
	if err := l.log.Append(block(l.t, height, time)); err != nil {
		l.t.Fatal(err)
	}
	l.log.Publish(height)
}

// follow runs a follower until the test ends or stop is called.
func (l *ledger) follow(back time.Duration, to *slog.Logger) (store *forecast.Store, stop func()) {
	l.t.Helper()
	s := forecast.DefaultSettings()
	s.LookBack = back
	store, err := forecast.NewStore(s)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { forecast.Follow(ctx, store, l.log, forecast.FromEvents, to) })
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	l.t.Cleanup(stop)
	return store, stop
}

func reaches(t testing.TB, store *forecast.Store, height int64) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); store.Place().Height < height; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the follower is at %+v, want block %d", store.Place(), height)
		}
	}
}

func events(t testing.TB, store *forecast.Store) uint64 {
	t.Helper()
	r, _ := store.Find(forecast.Actor, clerk)
	return r.Events
}

func TestARestartedNodeHasItsHistoryAgain(t *testing.T) {
	l := newLedger(t)
	quiet := slog.New(slog.DiscardHandler)
	for h := int64(1); h <= 300; h++ {
		l.append(h, monday+h*60_000)
	}
	first, stop := l.follow(time.Hour*24, quiet)
	reaches(t, first, 300)
	for h := int64(301); h <= 310; h++ {
		l.append(h, monday+h*60_000)
	}
	reaches(t, first, 310)
	stop()
	again, _ := l.follow(time.Hour*24, quiet)
	reaches(t, again, 310)
	a, _ := first.Find(forecast.Actor, clerk)
	b, ok := again.Find(forecast.Actor, clerk)
	if !ok || a.Events != 310 || b.Events != 310 || len(a.History.Counts) != 309 || len(b.History.Counts) != 309 {
		t.Errorf("%d and %d events", a.Events, b.Events)
	}
	for i := range a.History.Counts {
		if a.History.Counts[i] != b.History.Counts[i] || a.History.Counts[i] != 1 {
			t.Fatalf("bucket %d: %v and %v", i, a.History.Counts[i], b.History.Counts[i])
		}
	}
}

func TestTheLookBackIsBounded(t *testing.T) {
	l := newLedger(t)
	for h := int64(1); h <= 300; h++ {
		l.append(h, monday+h*60_000)
	}
	for back, want := range map[time.Duration]uint64{0: 1, 10 * time.Minute: 11, 299 * time.Minute: 300, 1000 * time.Hour: 300} {
		store, stop := l.follow(back, slog.New(slog.DiscardHandler))
		reaches(t, store, 300)
		if got := events(t, store); got != want {
			t.Errorf("%v back: %d events, want %d", back, got, want)
		}
		stop()
	}
}

// A node that took its state from a snapshot has no records of earlier blocks.
func TestRecordsMayBeginLate(t *testing.T) {
	l := newLedger(t)
	store, _ := l.follow(time.Hour, slog.New(slog.DiscardHandler))
	for h := int64(50); h <= 60; h++ {
		l.append(h, monday+h*1000)
	}
	reaches(t, store, 60)
	if got := events(t, store); got != 11 {
		t.Errorf("%d events", got)
	}
}

// A record that cannot be read is logged, and no reason to end.
func TestABrokenRecordIsTold(t *testing.T) {
	l := newLedger(t)
	l.append(1, monday)
	said := make(chan string, 10)
	store, _ := l.follow(time.Hour, slog.New(slog.NewTextHandler(lines(said), nil)))
	reaches(t, store, 1)
	if err := l.log.Append(block(t, 2, monday+1)); err != nil {
		t.Fatal(err)
	}
	if err := l.db.Set([]byte("b\x00\x00\x00\x00\x00\x00\x00\x02"), []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	// The latest records are in memory as well, within a bound that one block may break.
	large := block(t, 3, monday+2)
	large.Events = []*chainv1.Event{{Type: "large", Value: make([]byte, 9<<20)}}
	if err := l.log.Append(large); err != nil {
		t.Fatal(err)
	}
	l.log.Publish(3)
	select {
	case line := <-said:
		if !strings.Contains(line, "corrupt") || !strings.Contains(line, "ERROR") {
			t.Errorf("%s", line)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was said")
	}
	if p := store.Place(); !p.CatchingUp() || p.Height != 1 {
		t.Errorf("%+v", p)
	}
}

type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
		return len(p), nil
	default:
		return 0, errors.New("full")
	}
}

func TestWhatEventsTell(t *testing.T) {
	decided := event(t, &accessv1.Decided{
		Author: clerk, Principal: alpha + ":other", Organisation: "did:chancery:beta", ConsentId: []byte{0xab},
		Resource: &accessv1.EntityUid{Type: "Record", Id: "7"},
	})
	got := forecast.FromEvents(&chainv1.BlockRecord{Height: 3, Time: monday, Txs: []*chainv1.TxResult{
		{Events: []*chainv1.Event{{Type: "unknown.Type"}, decided, event(t, &accessv1.Revoked{By: alpha})}},
		{Code: 1},
		{Events: []*chainv1.Event{event(t, &consentv1.Requested{Controller: alpha})}},
		{Events: []*chainv1.Event{event(t, &accessv1.Revoked{By: "nobody"})}},
		{Events: []*chainv1.Event{{Type: decided.Type, Value: []byte{0xff}}}},
	}})
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	o := got[0]
	if o.Height != 3 || o.Time != monday || o.Actor != clerk || o.Organisation != alpha || o.Scored ||
		strings.Join(o.Resources, "|") != "entity:did:chancery:beta Record::7|consent:ab" {
		t.Errorf("%+v", o)
	}
}
