// Command scale simulates the time between blocks of validators that are far from one
// another: proposal, prevotes and precommits over a gossip graph, as CometBFT has them,
// without losses and without rounds after the first.
//
//	go run ./scripts/scale
//	go run ./scripts/scale --validators 100 --missing 34 --execute 80
//
// The regions' delays are assumptions of the size that providers state, not measured
// here; --delays replaces them.
package main

import (
	"container/heap"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chancery/chancery/testnet/links"
)

// model is what is simulated. Times are milliseconds.
type model struct {
	validators int
	missing    int // of them that do not take part, the last ones
	far        links.Regions
	neighbours int     // that each validator begins a connection to
	hop        float64 // for a node to take a message and hand it on
	sleep      float64 // gossip's pause, of which a message waits half on average
	execute    float64 // a block, on one validator
	delay      float64 // next_block_delay
	commit     float64 // timeout_commit
}

func main() {
	m := model{}
	var sizes, delays string
	var heights int
	var seed uint64
	f := flag.NewFlagSet("scale", flag.ExitOnError)
	f.StringVar(&sizes, "validators", "4,7,16,50,100", "numbers of validators, with commas between; from 1 to 1000")
	f.IntVar(&m.missing, "missing", 0, "how many of them do not take part")
	f.StringVar(&delays, "delays", links.DefaultRegions, "one-way delays between regions 1-2, 2-3 and 1-3, in milliseconds")
	f.IntVar(&m.neighbours, "neighbours", 8, "connections that each validator begins")
	f.Float64Var(&m.hop, "hop", 1, "milliseconds in which a node hands a message on")
	f.Float64Var(&m.sleep, "sleep", 10, "gossip's pause in milliseconds")
	f.Float64Var(&m.execute, "execute", 40, "milliseconds in which a validator executes a block")
	f.Float64Var(&m.delay, "delay", 25, "next_block_delay in milliseconds")
	f.Float64Var(&m.commit, "commit", 100, "timeout_commit in milliseconds")
	f.IntVar(&heights, "heights", 300, "blocks to simulate")
	f.Uint64Var(&seed, "seed", 1, "of the random numbers")
	_ = f.Parse(os.Args[1:])
	if err := m.read(delays); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
	fmt.Println("| validators | regions | missing | time between blocks, ms: p50 | p99 |\n|---|---|---|---|---|")
	for _, text := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 || m.missing >= n-2*n/3 && m.missing > 0 || heights < 1 || heights > 100_000 {
			fmt.Fprintf(os.Stderr, "scale: --validators %s: want 1 to 1000, less than a third of them missing, and 1 to 100000 heights\n", text)
			os.Exit(2)
		}
		for _, regions := range []int{1, 3} {
			m.validators = n
			times := m.run(heights, regions, rand.New(rand.NewPCG(seed, uint64(n))))
			fmt.Printf("| %d | %d | %d | %.0f | %.0f |\n", n, regions, m.missing, quantile(times, 0.5), quantile(times, 0.99))
		}
	}
}

func (m *model) read(delays string) error {
	var err error
	if m.far, err = links.ParseRegions(delays); err != nil {
		return fmt.Errorf("--delays %q: %w", delays, err)
	}
	if m.neighbours < 1 || m.hop < 0 || m.sleep < 0 || m.execute < 0 || m.delay < 0 || m.commit < 0 || m.missing < 0 {
		return fmt.Errorf("no number may be negative, and each validator needs a neighbour")
	}
	return nil
}

// edge is a connection, with its delay without what is random.
type edge struct {
	to    int
	delay float64
}

// run is the times between blocks. Validators are spread over so many regions in turn.
func (m *model) run(heights, regions int, r *rand.Rand) []float64 {
	n := m.validators - m.missing
	graph := m.connect(n, regions, r)
	done := make([]float64, n) // when each has committed the height before
	all := make([]float64, n)  // and when each has all votes for it
	times := make([]float64, 0, heights)
	last := 0.0
	for h := range heights {
		proposer := h % n
		// The proposer begins when it has all votes, or has waited for them, and has rested as
		// long as a block takes; and it executes what it proposes.
		begin := max(done[proposer]+m.rest(), min(all[proposer], done[proposer]+m.commit))
		start := begin + m.work(r)
		arrival := m.spread(graph, proposer, start, r)
		prevote := make([]float64, n)
		for i := range n {
			// A validator that is still at the height before looks at the proposal later.
			prevote[i] = max(arrival[i], done[i])
			if i != proposer {
				prevote[i] += m.work(r)
			}
		}
		precommit, _ := m.quorum(graph, prevote, r)
		done, all = m.quorum(graph, precommit, r)
		at := slices.Min(done)
		if h > 0 {
			times = append(times, at-last)
		}
		last = at
	}
	return times
}

// connect makes a random graph in which all are reached.
func (m *model) connect(n, regions int, r *rand.Rand) [][]edge {
	graph := make([][]edge, n)
	have := make(map[[2]int]bool)
	join := func(a, b int) {
		if a == b || have[[2]int{a, b}] {
			return
		}
		have[[2]int{a, b}], have[[2]int{b, a}] = true, true
		d := float64(m.far.Delay(a%regions, b%regions)) / float64(time.Millisecond)
		graph[a], graph[b] = append(graph[a], edge{b, d}), append(graph[b], edge{a, d})
	}
	for i := range n {
		join(i, (i+1)%n)
		for range m.neighbours {
			join(i, r.IntN(n))
		}
	}
	return graph
}

// rest is the pause after a block.
func (m *model) rest() float64 { return max(m.delay, min(m.execute, m.commit)) }

// work is how long a validator executes a block: the median is m.execute.
func (m *model) work(r *rand.Rand) float64 { return m.execute * math.Exp(0.2*r.NormFloat64()) }

// spread is when a message that one sends reaches each, over whichever way is shortest.
func (m *model) spread(graph [][]edge, from int, at float64, r *rand.Rand) []float64 {
	out := make([]float64, len(graph))
	for i := range out {
		out[i] = math.Inf(1)
	}
	out[from] = at
	queue := &reached{{from, at}}
	for queue.Len() > 0 {
		x := heap.Pop(queue).(place)
		if x.at > out[x.node] {
			continue
		}
		for _, e := range graph[x.node] {
			t := x.at + m.hop + m.sleep*r.Float64() + e.delay*(1+0.1*r.ExpFloat64())
			if t < out[e.to] {
				out[e.to] = t
				heap.Push(queue, place{e.to, t})
			}
		}
	}
	return out
}

// quorum is when each has the votes of more than two thirds of all validators, of which
// the missing ones have none, and when it has those of all (+Inf: never). votes is when each votes.
func (m *model) quorum(graph [][]edge, votes []float64, r *rand.Rand) (out, all []float64) {
	n := len(graph)
	arrivals := make([][]float64, n) // of each vote at each validator
	for i := range n {
		arrivals[i] = m.spread(graph, i, votes[i], r)
	}
	need := 2*m.validators/3 + 1
	out, all = make([]float64, n), make([]float64, n)
	at := make([]float64, n)
	for i := range n {
		for v := range n {
			at[v] = arrivals[v][i]
		}
		slices.Sort(at)
		// Nobody goes on before the own vote.
		out[i] = max(at[need-1], votes[i])
		if all[i] = max(at[n-1], votes[i]); m.missing > 0 {
			all[i] = math.Inf(1)
		}
	}
	return out, all
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// place is a validator that a message has reached.
type place struct {
	node int
	at   float64
}

// reached is a heap of places, the earliest first.
type reached []place

func (h reached) Len() int           { return len(h) }
func (h reached) Less(i, j int) bool { return h[i].at < h[j].at }
func (h reached) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *reached) Push(x any)        { *h = append(*h, x.(place)) }
func (h *reached) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
