//go:build linux

// Command soak lets four validator processes of the built program work at a steady rate, of
// which one has a small budget of disk and prunes, and one is an archive, and checks at the
// end that they kept what they should.
//
//	go run ./scripts/soak --binary bin/chancery --out soak
//	go run ./scripts/soak --binary bin/chancery --out soak --minutes 5 --rate 100
//
// Every ten seconds it writes a line for each node into samples.csv (disk by part, memory,
// goroutines, what is kept) and one into latency.csv. In the end it draws disk.png,
// memory.png and latency.png and writes summary.txt. The exit status is 1 when a check
// failed, and the network's folder then stays; 2 when the run could not be made.
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	"github.com/chancery/chancery/testnet"
)

type options struct {
	binary, out string
	rate        float64
	minutes     int
	budget      int64
	window      int64
	interval    int64
	tree        string
	keep        bool
}

// The roles of the validators, by index.
var roles = []string{"pruned", "archive", "full", "full"}

const (
	pruned  = 0
	archive = 1
	// sampleEvery is the time between two samples.
	sampleEvery = 10 * time.Second
	// clerks of each organisation sign.
	clerks = 25
	// proofs is how many heights a node's receipts are checked at.
	proofs = 40
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/chancery", "the built program")
	flag.StringVar(&o.out, "out", "", "folder of the results, made if need be")
	flag.Float64Var(&o.rate, "rate", 200, "transactions a second")
	flag.IntVar(&o.minutes, "minutes", 60, "how long to load")
	flag.Int64Var(&o.budget, "budget", 4<<30, "pruning.disk_bytes of the pruned node")
	flag.Int64Var(&o.window, "window", 2000, "pruning.window_blocks of the pruned node")
	flag.Int64Var(&o.interval, "snapshots", 1000, "snapshots.interval of all nodes")
	flag.StringVar(&o.tree, "tree", config.TreeMemory, "state.tree of the pruned node: memory or disk")
	flag.BoolVar(&o.keep, "keep", false, "leave the network's folder, OUT/net, in any case")
	flag.Parse()
	if flag.NArg() > 0 || o.out == "" || o.rate <= 0 || o.minutes < 1 {
		fmt.Fprintln(os.Stderr, "soak: give --out, a positive --rate, and at least one of --minutes")
		os.Exit(2)
	}
	ctx, interrupt := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer interrupt()
	s, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	fmt.Print(s.text())
	if len(s.violations) > 0 {
		os.Exit(1)
	}
}

// site is the network and what is needed to talk to it.
type site struct {
	options
	dir     testnet.Dir
	net     *testnet.Network
	record  *testnet.Record
	clients []*client.Client
	target  *bench.Chain
	work    bench.Workload
	pids    []int
	genesis *types.GenesisDoc
	proofs  *state.Registry
}

func run(ctx context.Context, o options) (_ *summary, err error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	s := &site{options: o, dir: testnet.Dir(filepath.Join(o.out, "net"))}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	sum, err := s.soak(ctx)
	if err = errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	if len(sum.violations) == 0 && !o.keep {
		err = os.RemoveAll(string(s.dir))
	}
	return sum, errors.Join(err, os.WriteFile(filepath.Join(o.out, "summary.txt"), []byte(sum.text()), 0o644))
}

// start makes the network, gives each node its part, and has clerks registered.
func (s *site) start(ctx context.Context) (err error) {
	if s.net, err = testnet.Create(ctx, s.dir, s.binary, testnet.Design{Validators: len(roles), By: testnet.Shipped(false)}); err != nil {
		return err
	}
	if s.record, err = testnet.Load(s.dir); err != nil {
		return err
	}
	for i, v := range s.record.Validators {
		home := s.dir.Home(v)
		c, err := config.Load(home)
		if err != nil {
			return err
		}
		c.Snapshots.Interval = s.interval
		switch i {
		case pruned:
			c.State.Tree = s.tree
			c.Pruning = config.Pruning{Mode: config.PruningPruned, WindowBlocks: s.window, DiskBytes: s.budget}
		case archive:
			c.State.Tree = config.TreeDisk
			c.Pruning.Mode = config.PruningArchive
		default:
			c.State.Tree = config.TreeMemory
		}
		if err := config.Write(home, c); err != nil {
			return err
		}
	}
	if _, err := s.net.Start(ctx); err != nil {
		return err
	}
	if err := s.net.Ready(ctx); err != nil {
		return err
	}
	if s.record, err = testnet.Load(s.dir); err != nil {
		return err
	}
	var addresses []string
	var by []bench.Author
	for _, v := range s.record.Validators {
		addresses = append(addresses, v.RPC)
		s.pids = append(s.pids, v.Process.PID)
		author, err := s.administrators(v)
		if err != nil {
			return err
		}
		by = append(by, author)
	}
	credentials, err := s.dir.Credentials(s.record, s.record.Validators[0]).Options()
	if err != nil {
		return err
	}
	if s.target, err = bench.Dial(ctx, addresses, credentials...); err != nil {
		return err
	}
	for _, a := range addresses {
		c, err := client.Dial(ctx, a, credentials...)
		if err != nil {
			return err
		}
		s.clients = append(s.clients, c)
	}
	authors, err := bench.Prepare(ctx, s.target.First(), bench.Consent, by, clerks, 0)
	if err != nil {
		return err
	}
	if s.work, err = bench.NewWork(s.target.ChainID(), bench.Consent, authors, 1); err != nil {
		return err
	}
	if s.genesis, _, err = config.ReadGenesis(s.dir.Home(s.record.Validators[0]).GenesisFile()); err != nil {
		return err
	}
	s.proofs, err = node.Registry()
	return err
}

// administrators act for the organisation of a validator.
func (s *site) administrators(v testnet.Validator) (bench.Author, error) {
	by := bench.Author{DID: v.Organisation, Organisation: v.Organisation}
	ring, err := testnet.OpenKeyring(s.dir, s.dir.Home(v))
	if err != nil {
		return by, err
	}
	for _, name := range []string{"admin-1", "admin-2"} {
		e, err := ring.Lookup(name)
		if err != nil {
			return by, err
		}
		key, err := ring.Signer(name)
		if err != nil {
			return by, err
		}
		by.Signers = append(by.Signers, client.Signer(e.KeyURL, key))
	}
	return by, nil
}

func (s *site) stop() (err error) {
	for _, c := range s.clients {
		err = errors.Join(err, c.Close())
	}
	if s.target != nil {
		err = errors.Join(err, s.target.Close())
	}
	if s.net != nil {
		// An interrupted run must end its processes, too.
		_, stopped := s.net.Stop(context.Background())
		err = errors.Join(err, stopped)
	}
	return err
}

// soak loads the network, samples it, and checks it at the end.
func (s *site) soak(ctx context.Context) (*summary, error) {
	sum := &summary{options: s.options}
	begun := time.Now()
	sampling, end := context.WithCancel(ctx)
	var group sync.WaitGroup
	var sampled error
	group.Go(func() { sampled = s.sample(sampling, begun, sum) })
	err := s.load(ctx, begun, sum)
	end()
	group.Wait()
	if err = errors.Join(err, sampled); err != nil {
		return nil, err
	}
	s.checkReceipts(ctx, sum)
	sum.judge()
	return sum, sum.draw(s.out)
}

// load submits minute after minute. Latencies are those of each second; of ten seconds, the
// median of their medians and the worst of their 99th percentiles are written.
func (s *site) load(ctx context.Context, begun time.Time, sum *summary) (err error) {
	f, err := os.Create(filepath.Join(s.out, "latency.csv"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	if err := w.Write([]string{"seconds", "executed", "refused", "median_p50_ms", "worst_p99_ms"}); err != nil {
		return err
	}
	for minute := range s.minutes {
		at := time.Since(begun).Seconds()
		r, err := bench.Run(ctx, s.target, s.work, bench.Options{
			Rate: s.rate, Duration: time.Minute, Patience: 30 * time.Second, Drain: time.Minute,
		})
		if err != nil {
			return err
		}
		sum.due, sum.executed, sum.lost = sum.due+r.Counts.Due, sum.executed+r.Counts.Executed, sum.lost+r.Lost()
		for ten := range slices.Chunk(r.Series, int(sampleEvery/time.Second)) {
			l := tenSeconds(at, ten)
			at += float64(len(ten))
			sum.latencies = append(sum.latencies, l)
			if err := w.Write([]string{number(l.at), strconv.Itoa(l.executed), strconv.Itoa(l.refused), number(l.p50), number(l.p99)}); err != nil {
				return err
			}
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "minute %d of %d: %d executed, p50 %.0f ms, p99 %.0f ms\n", minute+1, s.minutes, r.Counts.Executed, r.Latency.P50, r.Latency.P99)
	}
	return nil
}

// latency is what ten seconds' transactions took.
type latency struct {
	at                float64 // seconds since the start
	executed, refused int
	p50, p99          float64 // milliseconds
}

func tenSeconds(at float64, moments []bench.Moment) latency {
	l := latency{at: at}
	var medians []float64
	for _, m := range moments {
		l.executed, l.refused, l.p99 = l.executed+m.Executed, l.refused+m.Refused, max(l.p99, m.P99)
		if m.Executed > 0 {
			medians = append(medians, m.P50)
		}
	}
	if slices.Sort(medians); len(medians) > 0 {
		l.p50 = medians[len(medians)/2]
	}
	return l
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// parts are the folders of a node's data that are told apart.
var parts = []string{"state", "records.db", "engine/blockstore.db", "engine/state.db", "engine/evidence.db", "engine/cs.wal", "snapshots", "other"}

// sample is what one node takes at one time.
type sample struct {
	at                   float64
	node                 int
	disk                 map[string]int64
	total, resident      int64
	goroutines           float64
	height               int64
	block, record, state int64 // the oldest that it has
	budgetLevel          float64
}

func (s *site) sample(ctx context.Context, begun time.Time, sum *summary) (err error) {
	f, err := os.Create(filepath.Join(s.out, "samples.csv"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	header := []string{"seconds", "node", "role", "height", "oldest_block", "oldest_record", "oldest_state", "resident_bytes", "goroutines", "budget_level", "disk_bytes"}
	if err := w.Write(append(header, parts...)); err != nil {
		return err
	}
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		for i := range roles {
			one, err := s.look(ctx, i)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("sample node %d: %w", i, err)
			}
			one.at = time.Since(begun).Seconds()
			sum.samples = append(sum.samples, *one)
			row := []string{
				number(one.at), strconv.Itoa(i), roles[i], fmt.Sprint(one.height), fmt.Sprint(one.block), fmt.Sprint(one.record), fmt.Sprint(one.state),
				fmt.Sprint(one.resident), number(one.goroutines), number(one.budgetLevel), fmt.Sprint(one.total),
			}
			for _, p := range parts {
				row = append(row, fmt.Sprint(one.disk[p]))
			}
			if err := w.Write(row); err != nil {
				return err
			}
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look samples a node from outside: its files, its process, its doors.
func (s *site) look(ctx context.Context, i int) (*sample, error) {
	v := s.record.Validators[i]
	one := &sample{node: i, disk: map[string]int64{}}
	var err error
	if one.total, err = measure(s.dir.Home(v).Data(), one.disk); err != nil {
		return nil, err
	}
	if one.resident, err = bench.Resident(s.pids[i]); err != nil {
		return nil, err
	}
	metrics, err := scrape(ctx, v.Telemetry)
	if err != nil {
		return nil, err
	}
	one.goroutines, one.budgetLevel = metrics["go_goroutines"], metrics["chancery_disk_budget_level"]
	status, err := s.status(ctx, i)
	if err != nil {
		return nil, err
	}
	one.height, one.block, one.record, one.state = status.Height, status.OldestBlock, status.OldestRecord, status.OldestState
	return one, nil
}

func (s *site) status(ctx context.Context, i int) (*nodev1.StatusResponse, error) {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return nodev1.NewNodeClient(s.clients[i].Conn()).Status(within, &nodev1.StatusRequest{})
}

// measure sums up the files of a data folder, by part.
func measure(dir string, by map[string]int64) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		by[partOf(filepath.ToSlash(rel))] += info.Size()
		total += info.Size()
		return nil
	})
	return total, err
}

func partOf(path string) string {
	if strings.HasPrefix(path, "state.") {
		return "state"
	}
	for _, p := range parts {
		if strings.HasPrefix(path, p+"/") {
			return p
		}
	}
	return "other"
}

// scrape reads the measurements without labels that a node serves.
func scrape(ctx context.Context, address string) (map[string]float64, error) {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is only read
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(raw)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = v
		}
	}
	return out, nil
}

// headKey is a record that every state has.
var headKey = []byte{1, 2}

// checkReceipts has the pruned node prove states of its window, and the archive states of
// all heights, and verifies what they give.
func (s *site) checkReceipts(ctx context.Context, sum *summary) {
	for _, i := range []int{pruned, archive} {
		status, err := s.status(ctx, i)
		if err != nil {
			sum.violate("%s node: %v", roles[i], err)
			continue
		}
		from, to := max(status.OldestState, 1), status.Height-1
		if i == archive && (from != 1 || status.OldestRecord != 1 || status.OldestBlock != 1) {
			sum.violate("the archive begins with block %d, records %d, state %d", status.OldestBlock, status.OldestRecord, status.OldestState)
		}
		if i == pruned {
			sum.oldest, sum.height = from, status.Height
			s.checkBelow(ctx, sum, from)
		}
		verified := 0
		for n := range int64(proofs) {
			height := from + (to-from)*n/(proofs-1)
			if err := s.prove(ctx, i, height); err != nil {
				// The window goes on meanwhile.
				if later, now := s.status(ctx, i); now == nil && later.OldestState > height {
					continue
				}
				sum.violate("%s node: the receipt of height %d: %v", roles[i], height, err)
				continue
			}
			verified++
		}
		if verified < proofs/2 {
			sum.violate("%s node: only %d of %d receipts were made", roles[i], verified, proofs)
		}
		sum.receipts = append(sum.receipts, fmt.Sprintf("%s node: %d receipts of heights %d to %d verify", roles[i], verified, from, to))
	}
}

func (s *site) prove(ctx context.Context, i int, height int64) error {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := nodev1.NewReceiptsClient(s.clients[i].Conn()).Build(within, &nodev1.BuildRequest{Height: height, Keys: []*nodev1.Key{{Key: headKey}}})
	if err != nil {
		return err
	}
	report, err := receipt.Verify(r.Receipt, s.genesis, s.proofs)
	if err != nil {
		return err
	}
	if report.Height != height {
		return fmt.Errorf("it is of height %d", report.Height)
	}
	return nil
}

// checkBelow asks the pruned node for what it has no more: it must say so.
func (s *site) checkBelow(ctx context.Context, sum *summary, oldest int64) {
	if oldest <= 1 {
		sum.violate("the pruned node pruned nothing")
		return
	}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := nodev1.NewNodeClient(s.clients[pruned].Conn()).Block(within, &nodev1.BlockRequest{Height: 1})
	if err == nil || !strings.Contains(err.Error(), "node/8") {
		sum.violate("the pruned node says of block 1: %v", err)
	}
	if err := s.prove(ctx, pruned, 1); err == nil || !strings.Contains(err.Error(), "chain/13") {
		sum.violate("the pruned node says of the state of block 1: %v", err)
	}
}
