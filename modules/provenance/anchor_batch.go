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
	return chain.Handle(chain.Handler[*pb.AnchorBatch]{
		Validate: func(msg *pb.AnchorBatch) error {
			if err := checkID(msg.Id); err != nil {
				return err
			}
			return checkBatch(msg.Batch)
		},
		Check: func(r chain.ReadCtx, msg *pb.AnchorBatch) error {
			_, _, err := m.planAnchor(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *pb.AnchorBatch) (proto.Message, error) {
			a, known, err := m.planAnchor(ctx, msg)
			if err != nil {
				return nil, err
			}
			if !known {
				id := ctx.TxID()
				a.Author, a.RegisteredAt, a.Height, a.TxId = ctx.Author(), ctx.Time(), ctx.Height(), id[:]
				m.putAnchor(ctx, a)
				ctx.Emit(&pb.BatchAnchored{
					Organisation: a.Organisation, Id: a.Id, Root: a.Batch.Root, Leaves: a.Batch.Leaves, Author: a.Author,
				})
			}
			return &pb.AnchorBatchResponse{Organisation: a.Organisation, Id: a.Id, Created: !known}, nil
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

// planAnchor is the anchor as it is stored, and whether it is there already. A
// batch about the latest version of a node that was revised since is another batch.
func (m *Module) planAnchor(r chain.ReadCtx, msg *pb.AnchorBatch) (a *pb.Anchor, known bool, err error) {
	a = &pb.Anchor{Organisation: r.Organisation(), Id: msg.Id, Batch: msg.Batch.CloneVT()}
	b := a.Batch
	b.Types, b.Attributes = sortedTypes(b.Types), sortedAttributes(b.Attributes)
	if b.About != nil {
		if b.About, _, err = m.lookup(r, "about", b.About); err != nil {
			return nil, false, err
		}
	}
	there, ok := m.anchors.Lookup(r, state.Join(a.Organisation, a.Id))
	switch {
	case !ok:
		return a, false, nil
	case !there.Batch.EqualVT(b):
		return nil, false, ErrAnchorExists.With("%s", msg.Id)
	}
	return there, true, nil
}

func (m *Module) putAnchor(w state.Writer, a *pb.Anchor) {
	m.anchors.Put(w, state.Join(a.Organisation, a.Id), a)
	m.roots.Add(w, state.Join3(a.Batch.Root, a.RegisteredAt, state.Join(a.Organisation, a.Id)))
}
