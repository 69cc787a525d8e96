package governance

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// plain is the votes counted in fractions, as a person would.
type plain struct {
	total, yes, no, abstain, veto uint64
	organisations                 uint32
}

func (h *hall) plainly(p *governancev1.Proposal) plain {
	var out plain
	params := h.m.paramsIn(h.View())
	for _, did := range h.id.members {
		weight := uint64(1)
		for _, w := range params.Weights {
			if w.Organisation == did {
				weight = uint64(w.Weight)
			}
		}
		out.total += weight
		b, ok := h.m.ballots.Lookup(h.View(), state.Join(p.Id, did))
		if !ok || weight == 0 || h.id.suspended[did] {
			continue
		}
		switch b.Choice {
		case yes:
			out.yes += weight
			out.organisations++
		case no:
			out.no += weight
		case abstain:
			out.abstain += weight
		case veto:
			out.veto += weight
		}
	}
	return out
}

// passes tells whether the votes are enough, without a share of a share.
func (x plain) passes(r *governancev1.Rule, threshold uint32) bool {
	return x.total > 0 && x.yes > 0 && x.organisations >= max(1, threshold) &&
		(x.yes+x.no+x.abstain+x.veto)*million >= uint64(r.Quorum)*x.total &&
		x.yes*million >= uint64(r.Threshold)*(x.total-x.abstain) &&
		x.veto*million < uint64(r.Veto)*x.total
}

// Whatever is proposed, voted, changed, cancelled, and whoever comes, leaves and is
// suspended: a proposal is executed only when its votes were enough, not before its
// time-lock is over and at most once; what has ended stays as it is; tallies are what a
// plain count says; the indexes are the records; and a genesis that was exported is one.
func TestGovernanceKeepsItsPromises(t *testing.T) {
	seen := map[governancev1.Status]int{} // at the ends of blocks
	rapid.Check(t, func(rt *rapid.T) {
		rule := func(name string, lock int64) *governancev1.Rule {
			return &governancev1.Rule{
				Quorum:    rapid.SampledFrom([]uint32{1, 333_333, 500_001, 750_000, million}).Draw(rt, name+" quorum"),
				Threshold: rapid.SampledFrom([]uint32{500_001, 666_667, 750_000, million}).Draw(rt, name+" threshold"),
				Veto:      rapid.SampledFrom([]uint32{1, 333_334, 500_001, million}).Draw(rt, name+" veto"),
				VotingMs:  minute, MinVotingMs: minute, MaxVotingMs: hour, TimeLockMs: lock,
			}
		}
		everybody := append(slices.Clone(compass), far)
		h := newHall(t, func(p *governancev1.Params) {
			one := rule("rule", rapid.SampledFrom([]int64{0, minute}).Draw(rt, "lock"))
			for _, k := range p.Rules {
				k.Rule = one
			}
			p.Emergency = rule("emergency", 0)
			p.MaxOpen, p.MaxPerDay, p.MaxExecutions = 3, 6, rapid.Uint32Range(1, 2).Draw(rt, "executions")
			p.GraceMs = rapid.SampledFrom([]int64{minute, hour}).Draw(rt, "grace")
			slices.Sort(everybody)
			for _, did := range everybody {
				if w := rapid.Uint32Range(0, 4).Draw(rt, "weight of "+did); w != 1 {
					p.Weights = append(p.Weights, &governancev1.Weight{Organisation: did, Weight: w})
				}
			}
		})
		h.id.threshold = rapid.Uint32Range(1, 3).Draw(rt, "threshold")
		passedBy := map[uint64]bool{}  // their votes were enough when the voting ended
		final := map[uint64]string{}   // what has ended
		executed := map[uint64]int64{} // when
		for range rapid.IntRange(10, 40).Draw(rt, "blocks") {
			h.Now += rapid.SampledFrom([]int64{0, 0, 0, 10_000, 30_000, minute, 3 * minute}).Draw(rt, "time")
			next := h.m.nextID(h.View())
			var all [][]byte
			for range rapid.IntRange(0, 8).Draw(rt, "in a block") {
				who := rapid.SampledFrom(everybody).Draw(rt, "who")
				about := rapid.Uint64Range(max(1, next-min(next, 3)), next).Draw(rt, "about")
				switch what := rapid.IntRange(0, 9).Draw(rt, "what"); {
				case what < 2:
					msg := h.propose(group(fmt.Sprintf("p%d", rapid.Uint64Range(0, 2).Draw(rt, "name"))))
					if rapid.IntRange(0, 1).Draw(rt, "fails") == 0 {
						msg = h.propose(group("coin"))
					}
					msg.Emergency = rapid.Bool().Draw(rt, "emergency")
					all = append(all, h.Tx(who, msgs(msg)))
				case what == 2:
					by := rapid.SampledFrom([]string{who, chaintest.Consortium}).Draw(rt, "by")
					if rapid.IntRange(0, 2).Draw(rt, "cancel") == 0 {
						all = append(all, h.Tx(by, msgs(&governancev1.Cancel{ProposalId: about})))
					}
				case what == 3:
					for _, did := range h.id.members {
						all = append(all, h.Tx(did, msgs(ballot(about, yes))))
					}
				default:
					choice := rapid.SampledFrom([]governancev1.Choice{yes, yes, yes, no, abstain, veto}).Draw(rt, "choice")
					all = append(all, h.Tx(who, msgs(ballot(about, choice))))
				}
			}
			switch rapid.IntRange(0, 9).Draw(rt, "members") {
			case 0:
				h.id.members = slices.DeleteFunc(slices.Clone(everybody), func(did string) bool {
					return did == rapid.SampledFrom(everybody).Draw(rt, "who is none")
				})
			case 1:
				h.id.suspended = map[string]bool{rapid.SampledFrom(everybody).Draw(rt, "suspended"): true}
			case 2:
				h.id.suspended = map[string]bool{}
			}
			before := h.View()
			was := func(id uint64) governancev1.Status {
				p, _ := h.m.proposals.Lookup(before, id)
				return p.GetStatus()
			}
			for _, r := range h.Block(all...) {
				if r.Code == errs.Internal || r.Codespace != "" && r.Codespace != moduleName {
					rt.Fatalf("result %s/%d %s", r.Codespace, r.Code, r.Log)
				}
			}
			threshold := h.id.threshold
			due, opened := 0, 0
			for id := uint64(1); id < h.m.nextID(h.View()); id++ {
				p := h.get(id)
				seen[p.Status]++
				got, count := h.plainly(p), h.m.count(h.View(), p)
				if got.total != count.Total || got.yes != count.Yes || got.no != count.No || got.abstain != count.Abstain || got.veto != count.Veto || got.organisations != count.YesOrganisations {
					rt.Fatalf("proposal %d: counted %v, plainly %v", id, count, got)
				}
				if open(p.Status) {
					opened++
					if !h.m.due.Has(h.View(), state.Join(dueAt(p), id)) || !h.m.openOf.Has(h.View(), state.Join(p.Organisation, id)) {
						rt.Fatalf("proposal %d is open and not to be found", id)
					}
				}
				if !h.m.byStatus.Has(h.View(), state.Join(uint32(p.Status), id)) {
					rt.Fatalf("proposal %d is not listed as %s", id, p.Status)
				}
				// The electorate did not change within the block, and of several votes on one
				// proposal those after the one that ended it failed.
				if first := was(id); (first == voting || first == 0) && p.Status != voting && p.Status != cancelled {
					enough := got.passes(p.Rule, threshold)
					if wants := p.Status == passed || p.ExecutesAt != 0; wants != enough {
						rt.Fatalf("proposal %d became %s by %v, rule %v", id, p.Status, got, p.Rule)
					}
					passedBy[id] = enough
				}
				if p.Status == governancev1.Status_STATUS_EXECUTED || p.Status == failed {
					if _, ok := executed[id]; !ok {
						executed[id] = h.Now
						switch o := h.outcome(id); {
						case !passedBy[id]:
							rt.Fatalf("proposal %d was executed without enough votes", id)
						case h.Now < p.DecidedAt+p.Rule.TimeLockMs:
							rt.Fatalf("proposal %d was executed %d ms after it passed", id, h.Now-p.DecidedAt)
						case o.Time != h.Now || o.Height != h.Height():
							rt.Fatalf("proposal %d: outcome %v", id, o)
						}
					}
				}
				if !open(p.Status) {
					text := p.String()
					if o, ok := h.m.outcomes.Lookup(h.View(), id); ok {
						text += o.String()
					}
					if old, ok := final[id]; ok && old != text {
						rt.Fatalf("proposal %d had ended as\n%s\nand became\n%s", id, old, text)
					}
					final[id] = text
				}
			}
			for range h.m.due.Walk(h.View(), state.All()) {
				due++
			}
			if due != opened {
				rt.Fatalf("%d are due, %d are open", due, opened)
			}
		}
		times, done := h.did("coin"), 0
		for i := range 3 {
			times += h.did(fmt.Sprintf("p%d", i))
		}
		for id := uint64(1); id < h.m.nextID(h.View()); id++ {
			p := h.get(id)
			if p.Status == governancev1.Status_STATUS_EXECUTED {
				done++
			}
		}
		if times != done {
			rt.Fatalf("%d were executed, and %d had an effect", done, times)
		}
		h.CheckGenesis()
	})
	for s := range governancev1.Status_name {
		if s := governancev1.Status(s); s != 0 && seen[s] == 0 {
			t.Errorf("no proposal became %s: too little was tried", s)
		}
	}
	t.Log(seen)
}
