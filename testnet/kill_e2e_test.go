//go:build linux

package testnet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/testnet"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// flood submits transactions to one validator as fast as it takes them, until ctx
// ends or the stream breaks, and counts those that were taken.
func (s *started) flood(ctx context.Context, i int, taken *atomic.Int64) error {
	c, err := client.Dial(ctx, s.record.Validators[i].RPC, client.ChainID(s.record.ChainID))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	who, key := s.signer(0, "registrar")
	stream, err := c.Stream(ctx, 8, func(_ uint64, acks []*nodev1.Ack) {
		for _, a := range acks {
			if a.Code == 0 {
				taken.Add(1)
			}
		}
	})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		batch := make([][]byte, 100)
		for j := range batch {
			raw, _, err := c.Draft(who, &provenancev1.RegisterEntity{
				Id: fmt.Sprintf("flood-%d", entities.Add(1)), Entity: &provenancev1.Entity{MediaType: "text/plain"},
			}).Sign(key)
			if err != nil {
				return err
			}
			batch[j] = raw
		}
		if _, err := stream.Send(batch); err != nil {
			return err
		}
	}
	return nil
}

// A validator that is killed under load, at whatever moment, starts again, catches
// up, and has the others' state. With CHANCERY_LONG=1 it is done 200 times, to those that
// have their state in memory.
func TestAValidatorKilledUnderLoadStartsAgain(t *testing.T) {
	s := start(t)
	kills, long := 12, os.Getenv("CHANCERY_LONG") != ""
	if long {
		kills = 200
	}
	var taken atomic.Int64
	for kill := range kills {
		victim := rand.IntN(4)
		if long {
			victim |= 1 // the state of every second one is in memory
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		for _, other := range []int{1, 2} {
			go func() { ended <- s.flood(ctx, (victim+other)%4, &taken) }()
		}
		time.Sleep(time.Duration(1000+rand.IntN(1500)) * time.Millisecond)
		s.run("testnet", "kill", fmt.Sprint(victim), "--dir", s.dir)
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		s.run("testnet", "restart", fmt.Sprint(victim), "--dir", s.dir)
		cancel()
		for range 2 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("kill %d of validator %d: a stream to another validator: %v", kill+1, victim, err)
			}
		}
		views := s.until(fmt.Sprintf("validator %d is at one height with the others after kill %d", victim, kill+1), 60*time.Second, func(v []testnet.View) bool {
			return oneHash(v) && v[0].PoolTxs == 0
		})
		t.Logf("kill %2d: validator %d, all at height %d, %d transactions taken so far", kill+1, victim, views[0].Height, taken.Load())
	}
	if taken.Load() < 1000*int64(kills) {
		t.Errorf("only %d transactions were taken: that is no load", taken.Load())
	}
}
