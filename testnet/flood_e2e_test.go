//go:build linux

package testnet_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/testnet"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	floodRounds  = 5
	floodWindow  = 2500 * time.Millisecond
	floodRate    = 200 // transactions a second
	floodBudget  = 50  // that may be held of one organisation
	floodClients = 8   // honest ones
	// floodSlack is how slow, of 100, others may become: more than the tenth that is
	// asked for, since the processors are shared with the flood's own client.
	floodSlack = 125
)

// latency is how long transactions took from being built to being committed, how many
// there were, and what all validators together computed for it: that figure is the same
// however busy the machine is otherwise.
type latency struct {
	p50, p99, cpu time.Duration
	n             int
}

// cpu is how long all validators have computed so far.
func (g *guarded) cpu() (sum time.Duration) {
	g.t.Helper()
	for _, v := range g.record.Validators {
		used, err := bench.CPU(v.Process.PID)
		if err != nil {
			g.t.Fatal(err)
		}
		sum += used
	}
	return sum
}

// measure lets honest clients of the third organisation, over all validators, commit one
// transaction after another for a window.
func (g *guarded) measure(by who) latency {
	g.t.Helper()
	var (
		mu    sync.Mutex // guards took and fault
		took  []time.Duration
		fault error
		group sync.WaitGroup
	)
	before := g.cpu()
	end := time.Now().Add(floodWindow)
	for w := range floodClients {
		group.Go(func() {
			for time.Now().Before(end) {
				began := time.Now()
				_, err := g.nodes[w%len(g.nodes)].Do(g.t.Context(), by.did, by.keys, &provenancev1.RegisterEntity{
					Id: fmt.Sprintf("honest-%d", entities.Add(1)), Entity: &provenancev1.Entity{MediaType: "text/plain"},
				})
				mu.Lock()
				took, fault = append(took, time.Since(began)), cmp.Or(fault, err)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if fault != nil || len(took) < 2*floodClients {
		g.t.Fatalf("honest clients: %d transactions, %v", len(took), fault)
	}
	slices.Sort(took)
	return latency{took[len(took)/2], took[len(took)*99/100], g.cpu() - before, len(took)}
}

// pour submits signed transactions at the flood's pace until the context ends, and
// tells how each was answered.
func (g *guarded) pour(ctx context.Context, raws [][]byte) (sent int, acks []*nodev1.Ack, err error) {
	var mu sync.Mutex // guards acks
	stream, err := g.nodes[0].Stream(ctx, 64, func(_ uint64, a []*nodev1.Ack) {
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, a...)
	})
	if err != nil {
		return 0, nil, err
	}
	const batch = 10
	for began := time.Now(); sent+batch <= len(raws) && time.Since(began) < floodWindow; sent += batch {
		if pause := time.Until(began.Add(time.Duration(sent) * time.Second / floodRate)); pause > 0 {
			time.Sleep(pause)
		}
		if _, err := stream.Send(raws[sent : sent+batch]); err != nil {
			return sent, acks, err
		}
	}
	if err := stream.Close(); err != nil {
		return sent, acks, err
	}
	mu.Lock()
	defer mu.Unlock()
	return sent, acks, nil
}

// signed are transactions of so many messages, signed beforehand so that it costs
// nothing while something is measured.
func (g *guarded) signed(c *client.Client, by who, n, messages int) (raws [][]byte, ids []tx.ID) {
	g.t.Helper()
	for range n {
		m, _ := things(messages)
		raw, id, err := c.Draft(by.did, m...).Sign(by.keys...)
		if err != nil {
			g.t.Fatal(err)
		}
		raws, ids = append(raws, raw), append(ids, id)
	}
	return raws, ids
}

// heldOf is how many transactions of an organisation are held.
func (g *guarded) heldOf(i int, organisation string) (n int) {
	g.t.Helper()
	var token []byte
	for {
		out, err := g.threats[i].Holds(g.t.Context(), &threatv1.HoldsRequest{Organisation: organisation, Status: threatv1.HoldStatus_HOLD_STATUS_HELD, Limit: 500, PageToken: token})
		if err != nil {
			g.t.Fatal(err)
		}
		n += len(out.Holds)
		if token = out.NextPageToken; len(token) == 0 {
			return n
		}
	}
}

// One organisation floods with transactions that would be held, many times beyond what
// may be held of it: that is all that is held, each other one is refused such that its
// bytes can be submitted again, none of them is lost, and others go on as if there were
// no flood. The latency of others is measured in turns without a flood, with as many
// transactions of the same organisation that are executed, and with the flood.
func TestSentinelFloodOfHeldTransactions(t *testing.T) {
	p := enforced()
	p.MaxHeldOrganisation = floodBudget
	g := startGuarded(t, testnet.Sentinel{Detector: bulkDetector(t, "bulk", 3, 5, 0), Params: p})
	loud, quiet := g.member(0, "registrar"), g.member(2, "registrar")
	home := g.record.Validators[0].Organisation
	slow, err := client.Dial(t.Context(), g.record.Validators[0].RPC, client.ChainID(g.record.ChainID), client.Validity(5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slow.Close() })
	const each = int(floodRate * floodWindow / time.Second)
	arms := []string{"quiet", "executed", "flood"}
	seen := make(map[string][]latency)
	var flooded [][]byte
	answers := make(map[string]int)
	var taken int
	for round := range floodRounds {
		for k := range arms {
			arm := arms[(k+round)%len(arms)]
			var raws [][]byte
			switch arm {
			case "executed":
				raws, _ = g.signed(slow, loud, each, 2)
			case "flood":
				raws, _ = g.signed(slow, loud, each, 3)
				flooded = append(flooded, raws...)
			}
			done := make(chan error, 1)
			if raws == nil {
				done <- nil
			} else {
				go func() {
					sent, acks, err := g.pour(t.Context(), raws)
					if err == nil && len(acks) != sent {
						err = fmt.Errorf("%d answers to %d transactions", len(acks), sent)
					}
					for _, a := range acks {
						if arm == "flood" {
							answers[fmt.Sprintf("%s/%d", a.Codespace, a.Code)]++
							if a.Code == 0 {
								taken++
							}
						}
					}
					done <- err
				}()
			}
			l := g.measure(quiet)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			seen[arm] = append(seen[arm], l)
			if held := g.heldOf(round%4, home); held > floodBudget {
				t.Errorf("round %d: %d are held of one organisation, at most %d may be", round, held, floodBudget)
			}
		}
	}
	for code := range answers {
		if code != "/0" && code != fmt.Sprintf("%s/%d", threat.ErrHoldsFull.Module, threat.ErrHoldsFull.Code) {
			t.Errorf("%d were refused with %s", answers[code], code)
		}
	}
	if held := g.heldOf(1, home); held != floodBudget {
		t.Errorf("after the flood %d are held, want %d", held, floodBudget)
	}
	if answers[fmt.Sprintf("%s/%d", threat.ErrHoldsFull.Module, threat.ErrHoldsFull.Code)] == 0 {
		t.Error("nothing of the flood was refused")
	}

	// The table of docs/threat-network.md.
	over := func(arm string, of func(latency) time.Duration) (median, least, most time.Duration) {
		var all []time.Duration
		for _, l := range seen[arm] {
			all = append(all, of(l))
		}
		slices.Sort(all)
		return all[len(all)/2], all[0], all[len(all)-1]
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000) }
	report := "| arm | p50 ms (min–max) | p99 ms (min–max) | validators' CPU ms (min–max) | transactions of others |\n|---|---|---|---|---|\n"
	for _, arm := range arms {
		m50, l50, h50 := over(arm, func(l latency) time.Duration { return l.p50 })
		m99, l99, h99 := over(arm, func(l latency) time.Duration { return l.p99 })
		mc, lc, hc := over(arm, func(l latency) time.Duration { return l.cpu })
		n := 0
		for _, l := range seen[arm] {
			n += l.n
		}
		report += fmt.Sprintf("| %s | %s (%s–%s) | %s (%s–%s) | %s (%s–%s) | %d |\n",
			arm, ms(m50), ms(l50), ms(h50), ms(m99), ms(l99), ms(h99), ms(mc), ms(lc), ms(hc), n)
	}
	t.Logf("latency of another organisation, medians of %d rounds:\n%s%d of the flood were sent; answers: %v", floodRounds, report, len(flooded), answers)
	a, _, _ := over("quiet", func(l latency) time.Duration { return l.p50 })
	b, _, _ := over("flood", func(l latency) time.Duration { return l.p50 })
	if b > a*floodSlack/100 {
		t.Errorf("the median latency of another organisation is %v with the flood and %v without", b, a)
	}

	// Nothing is lost: when there is room, the same bytes are held.
	p.MaxHeldOrganisation = uint32(len(flooded)) + 1
	g.must(0, g.consortium(), &threatv1.SetParams{Params: p})
	refusals, err := slow.SubmitBatch(t.Context(), flooded)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range refusals {
		if err != nil {
			t.Fatalf("transaction %d, submitted again: %v", i, err)
		}
	}
	for end := time.Now().Add(30 * time.Second); g.heldOf(2, home) < len(flooded); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			break
		}
	}
	if held := g.heldOf(2, home); held != len(flooded) {
		t.Errorf("%d of %d are held after there was room for all", held, len(flooded))
	}
}
