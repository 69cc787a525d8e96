// Package doctor examines a node's home, machine and network for what keeps a node from
// running well, whether it runs or not, and names the remedy. It changes nothing.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/node/config"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	Fault   Level = "fault"   // the node does not run, or endangers itself or others
	Warning Level = "warning" // it runs, and may not for long or not as meant
	Skipped Level = "skipped" // it could not be examined; the finding says why
)

// Check is one thing that is examined.
type Check struct {
	Code   string // permanent
	What   string // what must be so
	Remedy string // what to do where it is not
	Level  Level  // of what it finds
	Needs  need

	look func(ctx context.Context, e *exam) []string
}

// need is what a check is skipped without.
type need string

const (
	needsNothing need = ""
	needsConfig  need = "a configuration that can be read"
	needsGenesis need = "a genesis file that can be read"
	needsStopped need = "a node that is stopped"
	needsRunning need = "a node that runs and answers at telemetry.listen"
	needsPeers   need = "the gRPC address of another member's node; name it with --peer"
)

// Finding is a check that found something, or was skipped.
type Finding struct {
	Code   string `json:"code"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is what was found.
type Report struct {
	Home     string    `json:"home"`
	Running  bool      `json:"running"`
	Passed   []string  `json:"passed"`
	Findings []Finding `json:"findings"`
}

// Faults tells how many findings have a level.
func (r *Report) Count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Peer is what another member's node answered.
type Peer struct {
	Address string
	Err     error // why it answered nothing; the rest is then empty
	Status  *nodev1.StatusResponse
	At      time.Time         // when Status came
	Genesis []byte            // the genesis file's SHA-256
	Light   *types.LightBlock // of its latest signed block
}

// Options is what is examined.
type Options struct {
	Home      config.Home
	Overrides []config.Override
	Version   string
	// Peers ask other members' nodes; nil: none is asked. It is asked once.
	Peers func(ctx context.Context) []Peer
	// Executable says why this program cannot go on from the state of a home whose node is
	// stopped, or cannot for long; nil: that is not examined.
	Executable func(ctx context.Context) error
	// MinFree is how many bytes the disk must have left. 0: 5 GiB.
	MinFree uint64
	// Lookup is os.LookupEnv.
	Lookup func(string) (string, bool)
	// Cgroup is where the machine's control groups are mounted. Empty: /sys/fs/cgroup.
	Cgroup string
	// LargePages is where the system says what has huge pages. Empty:
	// /sys/kernel/mm/transparent_hugepage.
	LargePages string
	// Patience is how long one answer of the network may take. 0: 3 s.
	Patience time.Duration
	// Now is time.Now but in tests.
	Now func() time.Time
}

// Checks are all checks, in the order in which they are made.
func Checks() []Check {
	return slices.Concat(homeChecks, networkChecks, machineChecks, trapChecks, chainChecks)
}

// Run makes all checks.
func Run(ctx context.Context, o Options) *Report {
	o.MinFree = cmp.Or(o.MinFree, 5<<30)
	o.Cgroup = cmp.Or(o.Cgroup, "/sys/fs/cgroup")
	o.LargePages = cmp.Or(o.LargePages, "/sys/kernel/mm/transparent_hugepage")
	o.Patience = cmp.Or(o.Patience, 3*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	e := newExam(ctx, o)
	r := &Report{Home: string(o.Home), Running: e.running, Passed: []string{}, Findings: []Finding{}}
	for _, c := range Checks() {
		if why := e.lacks(c.Needs); why != "" {
			r.Findings = append(r.Findings, Finding{Code: c.Code, Level: Skipped, Found: "not examined: it needs " + why})
			continue
		}
		found := c.look(ctx, e)
		if len(found) == 0 {
			r.Passed = append(r.Passed, c.Code)
		}
		for _, text := range found {
			r.Findings = append(r.Findings, Finding{Code: c.Code, Level: c.Level, Found: text, Remedy: c.Remedy})
		}
	}
	return r
}

// one is a finding, none where the text is empty.
func one(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }

// Document is docs/doctor.md.
func Document() string {
	var b strings.Builder
	b.WriteString(`# chancery doctor

` + "`chancery doctor`" + ` examines a node's home, its machine and its network, whether the node runs or not, and says for each fault what to do. It changes
nothing. The exit code is 1 when there is a fault; warnings alone leave it 0, and with ` + "`--strict`" + ` they do not. ` + "`--output json`" + ` is for
programs: codes are permanent.

Some checks need something to ask. Name other members' nodes with ` + "`--peer HOST:PORT`" + ` (their gRPC address, with the same ` + "`--tls-*`" + ` as other commands), and
the doctor compares genesis file, version, clock, height and state root with theirs, and looks for signatures of this node's key that this home did not make. What
it cannot examine it names as skipped.

This page is written by ` + "`go test ./node/doctor -run TestDocument -rewrite`" + `.

| Code | Level | What must be so | Needs | Remedy |
|---|---|---|---|---|
`)
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", c.Code, c.Level, c.What, cmp.Or(string(c.Needs), "–"), strings.ReplaceAll(c.Remedy, "|", "\\|"))
	}
	return b.String()
}
