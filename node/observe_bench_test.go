package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/intel"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// BenchmarkObservations is what a committed transaction costs a node beside consensus:
// its decoding, once for all, and each of those that look at it. Blocks have 1000
// decisions of 200 actors.
func BenchmarkObservations(b *testing.B) {
	const size, actors = 1000, 200
	txs := make([]*tx.Decoded, size)
	record := &chainv1.BlockRecord{}
	for i := range txs {
		author := fmt.Sprintf("%s:clerk-%d", beta, i%actors)
		raw, _, err := tx.Draft{
			ChainID: testChain, Author: author, ValidUntil: 1, Salt: fmt.Appendf(nil, "%016d", i),
			Messages: []proto.Message{&accessv1.Decide{Request: &accessv1.Request{
				Organisation: beta, Principal: author, Purpose: "https://w3id.org/dpv#ServiceProvision",
				Action:   &accessv1.EntityUid{Type: "Action", Id: "read"},
				Resource: &accessv1.EntityUid{Type: "Record", Id: fmt.Sprint(i * 7919 % 5000)},
			}}},
		}.Sign(chaintest.Actor(author))
		if err != nil {
			b.Fatal(err)
		}
		if txs[i], err = tx.Decode(raw); err != nil {
			b.Fatal(err)
		}
		record.Txs = append(record.Txs, &chainv1.TxResult{Verdict: &chainv1.Verdict{Score: uint32(i)}})
	}
	// A node that follows has a block's transactions decoded.
	d := newDeeds(func(int64) ([]*tx.Decoded, bool) { return txs, true })
	next := func(n int) *chainv1.BlockRecord {
		record.Height++
		record.Time = 1767600000000 + int64(n)*1000
		return record
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/tx")
	}
	b.Run("decode", func(b *testing.B) {
		for n := range b.N {
			d.intel(next(n))
		}
		report(b)
	})

	log := slog.New(slog.DiscardHandler)
	metrics, err := intel.NewMetrics(nil)
	if err != nil {
		b.Fatal(err)
	}
	book, err := intel.Open(filepath.Join(b.TempDir(), "book.json"), intel.BookOptions{Metrics: metrics})
	if err != nil {
		b.Fatal(err)
	}
	adaptive, err := intel.NewAdaptive(intel.DefaultAdaptiveOptions(), book, metrics, log)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "indicators.csv")
	indicators, err := intel.NewIndicators(intel.IndicatorsOptions{Path: path, Poll: time.Second}, book, func() int64 { return 1767600000000 }, nil, metrics, log)
	if err != nil {
		b.Fatal(err)
	}
	var lines bytes.Buffer
	lines.WriteString("type,value,level,until,note\n")
	for i := range intel.MaxIndicators {
		fmt.Fprintf(&lines, "resource-hash,%064x,high,,\n", i)
	}
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if err := indicators.Run(stopped); err != nil { // it has looked at the file once
		b.Fatal(err)
	}
	o := intel.DefaultFeedOptions()
	o.Address = "127.0.0.1:1"
	feed, err := intel.NewFeed(o, "", testChain, book, metrics, log)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range []struct {
		name string
		sink intel.Sink
	}{{"adaptive", adaptive}, {"indicators", indicators}, {"feed", feed}} {
		b.Run(s.name, func(b *testing.B) {
			for n := range b.N {
				b.StopTimer()
				r := next(n)
				block := intel.Block{Height: r.Height, Time: r.Time, Observations: d.intel(r)}
				b.StartTimer()
				s.sink.Observe(block)
			}
			report(b)
		})
	}
	store, err := forecast.NewStore(forecast.DefaultSettings())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("forecast", func(b *testing.B) {
		for n := range b.N {
			b.StopTimer()
			r := next(n)
			list := d.forecast(r)
			b.StartTimer()
			store.Observe(r.Height, r.Time, list)
		}
		report(b)
	})
}
