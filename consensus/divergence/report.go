package divergence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/chancery/chancery/chain/errs"
)

// The errors of nodes whose states part. Codes are permanent; see docs/errors.md.
var (
	Errors = errs.Module("divergence")

	ErrParted = Errors.New(2, "the node's state is not what more than two thirds of the voting power signed, and a restart does not help; read the report that is named, and build the state anew by docs/recovery.md")
)

// What a report concludes.
const (
	// ThisNode: more than two thirds of the voting power signed another root than this node's.
	ThisNode = "this node"
	// Split: peers have another root, and neither root was signed by more than two thirds.
	Split = "split"
)

// Report is what a node writes down when its state has parted from others'. Of values it
// holds hashes alone.
type Report struct {
	Format   int     `json:"format"` // 1
	ChainID  string  `json:"chain_id"`
	Time     string  `json:"time"`   // RFC 3339
	Height   int64   `json:"height"` // of the state
	Verdict  string  `json:"verdict"`
	Meaning  string  `json:"meaning"`
	Own      Own     `json:"own"`
	Agreed   *Agreed `json:"agreed,omitempty"` // nil: two thirds agree on no root
	Sides    []Side  `json:"sides"`            // the most power first
	Peers    []Peer  `json:"peers"`
	Compared string  `json:"compared_with,omitempty"` // node id of the right side
	// Comparison has this node's state on the left; nil: no peer could be compared with.
	Comparison *Comparison `json:"comparison,omitempty"`
	Problem    string      `json:"problem,omitempty"` // why the comparison is not complete
	Next       []string    `json:"next"`
}

// Own is the node that writes the report.
type Own struct {
	NodeID       string `json:"node_id"`
	AppHash      string `json:"app_hash"`
	Version      string `json:"version"`
	StateVersion uint32 `json:"state_version"`
	Tree         string `json:"tree"`
	Organisation string `json:"organisation,omitempty"`
	Power        int64  `json:"power"` // of the organisation's validators
}

// Agreed is the root that validators signed, in the header of the next height.
type Agreed struct {
	AppHash string `json:"app_hash"`
	Power   int64  `json:"power"` // that signed
	Of      int64  `json:"of"`    // all power
	By      string `json:"by"`    // "prevotes", "precommits" or "commit"
}

// Side is what peers and this node say of the state's root. Power counts each
// organisation once, for the first of its nodes that answers.
type Side struct {
	AppHash string `json:"app_hash"`
	Nodes   int    `json:"nodes"`
	Power   int64  `json:"power"`
}

// Peer is what a peer answered.
type Peer struct {
	NodeID       string `json:"node_id"`
	Organisation string `json:"organisation,omitempty"`
	Power        int64  `json:"power"` // of the organisation's validators
	AppHash      string `json:"app_hash,omitempty"`
	Version      string `json:"version,omitempty"`
	Tree         string `json:"tree,omitempty"`
	Silent       string `json:"silent,omitempty"` // why it did not answer
}

// FileName is what the report of a height is called in a node's data folder.
func FileName(height int64) string { return fmt.Sprintf("divergence-%d.json", height) }

// Bytes is the report for a file.
func (r *Report) Bytes() ([]byte, error) {
	raw, err := json.MarshalIndent(r, "", "  ")
	return append(raw, '\n'), err
}

// Parse reads what Bytes wrote.
func Parse(raw []byte) (*Report, error) {
	r := new(Report)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("it is no report of a divergence: %w", err)
	}
	if r.Format != 1 {
		return nil, fmt.Errorf("it is a report of a divergence of format %d; this program knows 1", r.Format)
	}
	return r, nil
}

// Summary says in a few words what the report found.
func (r *Report) Summary() string {
	switch c := r.Comparison; {
	case c == nil:
		return "no peer's state could be compared"
	case c.First == nil:
		return "no key was found to differ: " + r.Problem
	default:
		return fmt.Sprintf("the first key that differs is %s of %s", c.First.Key, c.First.Collection)
	}
}

// NewReport begins the report of a node that is wrong, by what was agreed on, or where
// nothing was, of nodes that are split.
func NewReport(agreed *Agreed) *Report {
	if agreed == nil {
		return &Report{
			Format: 1, Verdict: Split,
			Meaning: "Peers have another root of this state, and neither root was signed by more than two thirds of the voting power: the chain stands still, and who is wrong is not known.",
			Next: []string{
				"Keep this file and the node's log, and call all members: each collects the reports of its own nodes.",
				"Compare the programs (chancery version) and the states (chancery state hashes, chancery state diff) until it is known whose state is right.",
				"The members whose state is wrong build it anew by docs/recovery.md; with more than two thirds the chain goes on by itself.",
			},
		}
	}
	return &Report{
		Format: 1, Verdict: ThisNode, Agreed: agreed,
		Meaning: "More than two thirds of the voting power signed another root of this state than this node found. This node is wrong: it stops, and a restart does not help.",
		Next: []string{
			"Keep this file and the node's log, and file an incident with the consortium: what differs, on which machine, with which program.",
			"Look for the cause before the node comes back: chancery fsck of the stopped home (a damaged disk), the machine's memory, another program than the others run (chancery version).",
			"Keep a copy of the data folder while the cause is not known: chancery state diff compares it with another node's state, key by key.",
			"Build the state anew, from a backup of before the height or from the peers, by docs/recovery.md. The validator key stays as it is.",
		},
	}
}

// Tally counts who is on which side.
func (r *Report) Tally() {
	r.Sides = []Side{{AppHash: r.Own.AppHash, Nodes: 1, Power: r.Own.Power}}
	counted := map[string]bool{r.Own.Organisation: true}
	for _, p := range r.Peers {
		if p.AppHash == "" {
			continue
		}
		i := slices.IndexFunc(r.Sides, func(s Side) bool { return s.AppHash == p.AppHash })
		if i < 0 {
			i = len(r.Sides)
			r.Sides = append(r.Sides, Side{AppHash: p.AppHash})
		}
		r.Sides[i].Nodes++
		if !counted[p.Organisation] {
			counted[p.Organisation] = true
			r.Sides[i].Power += p.Power
		}
	}
	slices.SortStableFunc(r.Sides, func(a, b Side) int { return cmp.Compare(b.Power, a.Power) })
}
