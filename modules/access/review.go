package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) review() chain.Handler[*accessv1.Review] {
	return chain.Handler[*accessv1.Review]{
		Validate: func(msg *accessv1.Review) error {
			if msg.Assessment != accessv1.Assessment_ASSESSMENT_JUSTIFIED && msg.Assessment != accessv1.Assessment_ASSESSMENT_UNJUSTIFIED {
				return ErrField.With("assessment must be justified or unjustified")
			}
			if len(msg.NoteHash) > 0 {
				if err := checkHash("note_hash", msg.NoteHash); err != nil {
					return err
				}
			}
			return checkHash("id", msg.Id)
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.Review) error {
			g, ok := m.store.glasses.Lookup(ctx, msg.Id)
			switch {
			case !ok:
				return ErrNotFound.With("break-glass %x", msg.Id)
			case !m.mayReview(ctx, g):
				return ErrNotReviewer.With("%s", ctx.Author())
			case g.Review != nil:
				return ErrReviewed.With("at %d by %s", g.Review.ReviewedAt, g.Review.Reviewer)
			case glassOpen(g, ctx.Time()):
				return ErrGlassStillOpen.With("until %d", g.ExpiresAt)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.Review) (proto.Message, error) {
			g, ok := m.store.glasses.Lookup(ctx, msg.Id)
			if !ok {
				return nil, ErrNotFound.With("break-glass %x", msg.Id)
			}
			txID := ctx.TxID()
			g.Review = &accessv1.ReviewRecord{
				Reviewer: ctx.Author(), Assessment: msg.Assessment, NoteHash: msg.NoteHash,
				ReviewedAt: ctx.Time(), TxId: txID[:],
			}
			m.store.glasses.Put(ctx, g.Id, g)
			m.store.reviewsByOrganisation.Remove(ctx, state.Join3(g.Scope.Organisation, g.ReviewDueAt, g.Id))
			m.store.reviewsByPerson.Remove(ctx, state.Join3(g.Person, g.ReviewDueAt, g.Id))
			ctx.Emit(&accessv1.Reviewed{BreakGlassId: g.Id, Reviewer: ctx.Author(), Assessment: msg.Assessment})
			if msg.Assessment == accessv1.Assessment_ASSESSMENT_UNJUSTIFIED {
				ctx.Emit(&accessv1.Alert{
					Kind: accessv1.AlertKind_ALERT_KIND_GLASS_UNJUSTIFIED, Organisation: g.Scope.Organisation,
					Subject: g.Person, BreakGlassId: g.Id,
				})
			}
			return &accessv1.ReviewResponse{}, nil
		},
	}
}

// mayReview tells whether the author may judge a break-glass: another person of
// the resource's organisation who administers it or has the role reviewer.
func (m *Module) mayReview(r chain.ReadCtx, g *accessv1.Glass) bool {
	author, organisation := r.Author(), g.Scope.Organisation
	if kind, ok := m.deps.Identity.Kind(r, author); !ok || kind != kindPerson || author == g.Person {
		return false
	}
	of, ok := m.deps.Identity.Organisation(r, author)
	if !ok || of != organisation || !m.deps.Identity.Active(r, author) {
		return false
	}
	return m.deps.Identity.IsAdministrator(r, organisation, author) || m.member(r, organisation, author, roleReviewer)
}
