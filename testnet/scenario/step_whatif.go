package scenario

import (
	"context"
	"fmt"
	"slices"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// whatIf asks what would have been decided without the policies on data sets: the
// researcher's two decisions flip, and nothing else does.
func (r *run) whatIf(ctx context.Context) error {
	q := accessv1.NewQueryClient(r.c.Conn())
	request := &accessv1.WhatIfRequest{
		Organisation: r.cast.hospital.Organisation, FromHeight: r.facts.start, Limit: 4,
		Change: &accessv1.WhatIfChange{Documents: r.documentsOf(false), ReplacePolicies: true},
	}
	var flips []string
	examined := 0
	for {
		page, err := q.WhatIf(ctx, request)
		if err != nil {
			return err
		}
		if len(page.Undetermined) > 0 {
			return fmt.Errorf("%d decisions could not be repeated", len(page.Undetermined))
		}
		for _, f := range page.Flips {
			if f.Recorded != allow || f.Changed != deny {
				return fmt.Errorf("decision %x flips from %s to %s; it should flip from allow to deny", f.DecisionId, word(f.Recorded), word(f.Changed))
			}
			flips = append(flips, string(f.DecisionId))
		}
		examined += int(page.Examined)
		if request.PageToken = page.NextPageToken; len(page.NextPageToken) == 0 {
			break
		}
	}
	var want []string
	for _, id := range r.facts.research {
		want = append(want, string(id))
	}
	if all := len(want) + r.facts.unchanged; examined != all {
		return fmt.Errorf("%d decisions were examined; %d were made", examined, all)
	}
	slices.Sort(want)
	slices.Sort(flips)
	if !slices.Equal(want, flips) {
		return fmt.Errorf("%d decisions flip (%x); it should be these %d: %x", len(flips), flips, len(want), want)
	}
	r.note("without the policies on data sets: of %d recorded decisions exactly the researcher's %d flip to deny", examined, len(flips))
	return nil
}
