package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/google/pprof/profile"
)

// part is something that a validator spends processor time on, told by the beginnings of
// the names of its functions.
type part struct {
	name  string
	begin []string
}

const (
	house  = "github.com/chancery/chancery/"
	engine = "github.com/cometbft/cometbft/"
	rest   = "everything else"
)

// parts are what a sample of a profile is told to belong to: the part of the innermost
// function that has one, so that what the runtime and libraries do counts to who called
// them. Where two fit a function the first one has it.
var parts = []part{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.(*mheap).nextSpanForSweep"}},
	{"signatures of transactions", []string{house + "chain/keys"}},
	{"scoring", []string{house + "modules/threat"}},
	{"state and its tree", []string{house + "chain/state", "github.com/cosmos/iavl"}},
	{"rules of the modules, execution, events", []string{house + "modules/", house + "chain.", house + "chain/tx"}},
	{"records and indexes", []string{house + "consensus/records"}},
	{"pool and admission", []string{house + "consensus.(*Pool)", house + "consensus.(*intake)"}},
	{"docket, extensions, inclusion lists", []string{house + "consensus"}},
	{"door: gRPC, events told", []string{house + "node/", "google.golang.org/grpc", "golang.org/x/net/http2"}},
	{"engine: gossip", []string{engine + "p2p"}},
	{"engine: mempool", []string{engine + "mempool"}},
	{"engine: votes and their signatures", []string{engine + "crypto", engine + "types.(*Vote", engine + "types.(*ExtendedCommit", engine + "privval"}},
	{"engine: blocks, parts, stores, log", []string{engine + "store", engine + "state", engine + "types", engine + "libs/autofile", engine + "consensus.(*BaseWAL)", engine + "consensus.(*WALEncoder)"}},
	{"engine: consensus", []string{engine + "consensus"}},
	{"engine: the example application", []string{engine + "abci"}},
	{"engine: what else", []string{engine, "github.com/cometbft/"}},
	{"scheduler and idle", []string{"runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.mstart", "runtime.sysmon"}},
}

// partOf is the index in parts of a function's, -1 where it has none.
func partOf(function string) int {
	for i, p := range parts {
		for _, b := range p.begin {
			if strings.HasPrefix(function, b) {
				return i
			}
		}
	}
	return -1
}

// shares are what each part has of the processor time in a CPU profile; they sum up to 1.
func shares(r io.Reader) (map[string]float64, error) {
	p, err := profile.Parse(r)
	if err != nil {
		return nil, err
	}
	value := len(p.SampleType) - 1 // nanoseconds, behind the number of samples
	of, sum := make(map[string]float64), 0.0
	for _, s := range p.Sample {
		name := rest
		// Locations run from the innermost outwards, and so do lines where calls were inlined.
	search:
		for _, l := range s.Location {
			for _, line := range l.Line {
				if i := partOf(line.Function.Name); i >= 0 {
					name = parts[i].name
					break search
				}
			}
		}
		of[name] += float64(s.Value[value])
		sum += float64(s.Value[value])
	}
	if sum == 0 {
		return nil, errors.New("the profile holds no sample")
	}
	for name := range of {
		of[name] /= sum
	}
	return of, nil
}

// telemetry is what the first validator's telemetry has under a path. It is to be closed.
func (n *network) telemetry(ctx context.Context, path string) (io.ReadCloser, error) {
	url := fmt.Sprintf("http://%s%s", n.members[0].config.Telemetry.Listen, path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, res.Status), res.Body.Close())
	}
	return res.Body, nil
}

// profile writes a CPU profile of the first validator and gives the parts' shares.
func (n *network) profile(ctx context.Context, seconds int, path string) (map[string]float64, error) {
	body, err := n.telemetry(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, body)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	var of map[string]float64
	if err == nil {
		of, err = shares(f)
	}
	return of, errors.Join(err, f.Close())
}

// costs is the table of what the parts of a transaction cost a validator, in the closed
// loop, "" where nothing was profiled.
func (r *report) costs() string {
	var of []*series
	for _, s := range r.Series {
		if len(s.Rounds) > 0 && len(s.Rounds[0].Shares) > 0 {
			of = append(of, s)
		}
	}
	if len(of) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nProcessor time of a transaction at one validator in the closed loop, µs, by what it is for: the shares in a CPU profile of the first validator, of the time that all took divided by their number.\n\n| part |")
	line := "|---|"
	for _, s := range of {
		fmt.Fprintf(&b, " %s |", s.label(r))
		line += "---|"
	}
	b.WriteString("\n" + line + "\n")
	row := func(name string, share func(figures) float64) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, s := range of {
			fmt.Fprintf(&b, " %s |", s.of(func(f figures) float64 { return share(f) * f.Closed.CPU / float64(s.Validators) }).text("%.1f"))
		}
		b.WriteString("\n")
	}
	for _, p := range append(parts, part{name: rest}) {
		row(p.name, func(f figures) float64 { return f.Shares[p.name] })
	}
	row("**together**", func(figures) float64 { return 1 })
	return b.String()
}
