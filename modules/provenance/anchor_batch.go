package provenance

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const maxLeaves = 1 << 32

func (m *Module) anchorBatch() chain.Route {
	return chain.HandlePlan(chain.Planner[*pb.AnchorBatch, anchoring]{
		Validate: func(msg *pb.AnchorBatch) error {
			if err := checkID(msg.Id); err != nil {
				return err
			}
			return checkBatch(msg.Batch)
		},
		Plan: m.planAnchor,
		Execute: func(ctx *chain.Ctx, _ *pb.AnchorBatch, p anchoring) (proto.Message, error) {
			a := p.anchor
			if !p.known {
				id := ctx.TxID()
				a.Author, a.RegisteredAt, a.Height, a.TxId = ctx.Author(), ctx.Time(), ctx.Height(), id[:]
				m.putAnchor(ctx, a)
				ctx.Emit(&pb.BatchAnchored{
					Organisation: a.Organisation, Id: a.Id, Root: a.Batch.Root, Leaves: a.Batch.Leaves, Author: a.Author,
				})
			}
			return &pb.AnchorBatchResponse{Organisation: a.Organisation, Id: a.Id, Created: !p.known}, nil
		},
	})
}

func checkBatch(b *pb.Batch) error {
	switch {
	case b == nil:
		return ErrBadBatch.With("batch is missing")
	case len(b.Root) != sha256.Size:
		return ErrBadBatch.With("root has %d bytes", len(b.Root))
	case b.Leaves == 0 || b.Leaves > maxLeaves:
		return ErrBadBatch.With("%d leaves", b.Leaves)
	case b.Format < pb.LeafFormat_LEAF_FORMAT_SHA256 || b.Format > pb.LeafFormat_LEAF_FORMAT_CANONICAL_JSON:
		return ErrBadBatch.With("format is missing or unknown")
	}
	if b.About != nil {
		if err := checkRef("about", b.About); err != nil {
			return err
		}
	}
	if err := checkTypes(b.Types, maxTypes); err != nil {
		return err
	}
	return checkAttributes(b.Attributes, maxAttributes)
}

// anchoring is a plan to anchor: the anchor as it is stored, and whether it is there
// already.
type anchoring struct {
	anchor *pb.Anchor
	known  bool
}

// planAnchor finds a batch about the latest version of a node that was revised since to be
// another batch.
func (m *Module) planAnchor(r chain.ReadCtx, msg *pb.AnchorBatch) (anchoring, error) {
	a := &pb.Anchor{Organisation: r.Organisation(), Id: msg.Id, Batch: msg.Batch.CloneVT()}
	b := a.Batch
	b.Types, b.Attributes = sortedTypes(b.Types), sortedAttributes(b.Attributes)
	if b.About != nil {
		var err error
		if b.About, _, err = m.lookup(r, "about", b.About); err != nil {
			return anchoring{}, err
		}
	}
	there, ok := m.anchors.Lookup(r, state.Join(a.Organisation, a.Id))
	switch {
	case !ok:
		return anchoring{anchor: a}, nil
	case !there.Batch.EqualVT(b):
		return anchoring{}, ErrAnchorExists.With("%s", msg.Id)
	}
	return anchoring{there, true}, nil
}

func (m *Module) putAnchor(w state.Writer, a *pb.Anchor) {
	m.anchors.Put(w, state.Join(a.Organisation, a.Id), a)
	m.roots.Add(w, state.Join3(a.Batch.Root, a.RegisteredAt, state.Join(a.Organisation, a.Id)))
}
