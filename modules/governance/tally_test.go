package governance

import (
	"testing"

	"pgregory.net/rapid"

	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// Voting ends early exactly when every way in which the rest could vote, or not, comes to
// the same; where no more passes, whether it is rejected or expires is left to nobody.
func TestVotingEndsEarlyOnlyWhenItIsSettled(t *testing.T) {
	settled := map[governancev1.Status]int{}
	rapid.Check(t, func(rt *rapid.T) {
		r := &governancev1.Rule{
			Quorum:    rapid.SampledFrom([]uint32{1, 250_000, 500_001, 666_667, million}).Draw(rt, "quorum"),
			Threshold: rapid.SampledFrom([]uint32{500_001, 666_667, 750_000, million}).Draw(rt, "threshold"),
			Veto:      rapid.SampledFrom([]uint32{1, 200_000, 333_334, million}).Draw(rt, "veto"),
		}
		base := &governancev1.Tally{LeastOrganisations: rapid.Uint32Range(1, 4).Draw(rt, "least")}
		add := func(t *governancev1.Tally, choice int, w uint64) {
			switch choice {
			case 1:
				t.Yes += w
				t.YesOrganisations++
			case 2:
				t.No += w
			case 3:
				t.Abstain += w
			case 4:
				t.Veto += w
			}
		}
		var waiting []uint64
		for range rapid.IntRange(1, 5).Draw(rt, "organisations") {
			w := rapid.Uint64Range(1, 3).Draw(rt, "weight")
			base.Total += w
			if choice := rapid.IntRange(0, 4).Draw(rt, "choice"); choice == 0 {
				waiting = append(waiting, w)
			} else {
				add(base, choice, w)
			}
		}
		missing(base, r)
		// Every completion: 0 is not voting at all.
		all := map[governancev1.Status]bool{}
		ways := 1
		for range waiting {
			ways *= 5
		}
		for way := range ways {
			c := base.CloneVT()
			for i, rest := 0, way; i < len(waiting); i, rest = i+1, rest/5 {
				add(c, rest%5, waiting[i])
			}
			missing(c, r)
			all[final(c)] = true
		}
		to, ok := settledBy(base, uint32(len(waiting)))
		switch {
		case ok && to == passed && (!all[passed] || len(all) != 1):
			rt.Fatalf("%v passes early, and could come to %v", base, all)
		case ok && to == vetoed && (!all[vetoed] || len(all) != 1):
			rt.Fatalf("%v is vetoed early, and could come to %v", base, all)
		case ok && to == rejected && all[passed]:
			rt.Fatalf("%v is rejected early, and could pass", base)
		case !ok && len(all) == 1:
			rt.Fatalf("%v can only come to %v, and votes are still taken", base, all)
		}
		if ok {
			settled[to]++
		}
	})
	if settled[passed] == 0 || settled[rejected] == 0 || settled[vetoed] == 0 {
		t.Errorf("too little was tried: %v", settled)
	}
}
