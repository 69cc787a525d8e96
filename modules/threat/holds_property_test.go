package threat

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/errs"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Whatever is kept, said, appealed and left to expire, in whatever order: what is
// counted is what is there, within the budget; a transaction is executed at most once,
// and only after its release; a record stays for ever, and no longer changes once it is
// final.
func TestHoldsKeepTheirPromises(t *testing.T) {
	outcomes := map[threatv1.HoldStatus]int{}
	full, reopened := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		d := newDesk(t, func(p *threatv1.Params) {
			p.Reviewers = rapid.Uint32Range(1, 2).Draw(rt, "reviewers")
			p.MaxHeld = rapid.Uint32Range(2, 8).Draw(rt, "max_held")
			p.MaxHeldOrganisation = rapid.Uint32Range(2, 8).Draw(rt, "max_held_organisation")
			p.MaxHeldBytes = rapid.Uint64Range(1000, 4000).Draw(rt, "max_held_bytes")
			p.HoldMs, p.AppealMs = 12_000, 8000
		})
		var ids [][]byte
		final := map[string]*threatv1.Hold{}
		authors := []string{house + ":a", north + ":b", house, adminOf(south)}
		speakers := []string{adminOf(house), adminOf(house) + "-2", reviewerOf(north), adminOf(north), south, east, adminOf(nobody), house + ":a"}
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			var raws [][]byte
			for range rapid.IntRange(1, 6).Draw(rt, "in a block") {
				if len(ids) == 0 || rapid.IntRange(0, 9).Draw(rt, "keep") == 0 {
					k := keeping{ruling: chainv1.Ruling_RULING_HOLD}
					if rapid.IntRange(0, 2).Draw(rt, "deny") == 0 {
						k.ruling = chainv1.Ruling_RULING_DENY
					} else if rapid.IntRange(0, 3).Draw(rt, "step up") == 0 {
						k.playbook, k.approvals = "p", rapid.Uint32Range(1, 2).Draw(rt, "approvals")
					}
					c := d.candidate(rapid.SampledFrom(authors).Draw(rt, "author"), k)
					r := d.tryKeep(c, k)
					switch {
					case r.Code == 0:
						ids = append(ids, c.ID[:])
					case r.Code == ErrHoldsFull.Code:
						full++
					default:
						rt.Fatalf("not kept: %s", r.Log)
					}
					continue
				}
				id := rapid.SampledFrom(ids[max(0, len(ids)-3):]).Draw(rt, "which")
				author := rapid.SampledFrom(speakers).Draw(rt, "who")
				var msg proto.Message = rejectOf(id)
				switch rapid.IntRange(0, 4).Draw(rt, "what") {
				case 0, 1:
					msg = releaseOf(id)
				case 2:
					msg, author = appealOf(id), d.holdOf(id).Author
				}
				raws = append(raws, d.Tx(author, []proto.Message{msg}))
			}
			inactive := rapid.SampledFrom([]string{"", house + ":a", house}).Draw(rt, "inactive")
			d.houses.inactive[inactive] = true
			d.Now += rapid.Int64Range(0, 1500).Draw(rt, "time")
			for _, r := range d.Block(raws...) {
				if r.Code == errs.Internal || r.Codespace != "" && r.Codespace != "threat" {
					rt.Fatalf("result %s/%d %s", r.Codespace, r.Code, r.Log)
				}
			}
			delete(d.houses.inactive, inactive)
			d.audit()
			for _, id := range ids {
				h := d.holdOf(id)
				if was := final[string(id)]; was != nil && !h.EqualVT(was) {
					rt.Fatalf("%v\nwas final and became\n%v", was, h)
				}
				if !d.m.kept.Has(d.View(), id) {
					final[string(id)] = h
				}
			}
		}
		for _, id := range ids {
			h := d.holdOf(id)
			outcomes[h.Status]++
			if h.Reopened > 0 {
				reopened++
			}
			if d.View().Lookup(d.m.HoldKey(id)) == nil {
				rt.Fatalf("nothing under the key of %x", id)
			}
		}
	})
	for s := range threatv1.HoldStatus_name {
		if s := threatv1.HoldStatus(s); s != 0 && outcomes[s] == 0 {
			t.Errorf("no transaction became %s: too little was tried", s)
		}
	}
	if full == 0 || reopened == 0 {
		t.Errorf("%d were refused for want of room, %d reopened: too little was tried", full, reopened)
	}
	t.Log(outcomes, full, reopened)
}
