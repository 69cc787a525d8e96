package provenance

import (
	"crypto/sha256"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	maxRelationTypes      = 4
	maxRelationAttributes = 8
	relationDomain        = "chancery/provenance/relation/v1"

	// lastLineage is the last of the kinds that form the lineage.
	lastLineage = pb.RelationKind_RELATION_KIND_MENTION
	// lastTraced is the last of the kinds that a trace follows by default.
	lastTraced = pb.RelationKind_RELATION_KIND_MEMBERSHIP
	lastKind   = pb.RelationKind_RELATION_KIND_ALTERNATE
)

const (
	anyKind      = pb.NodeKind_NODE_KIND_UNSPECIFIED
	entityKind   = pb.NodeKind_NODE_KIND_ENTITY
	activityKind = pb.NodeKind_NODE_KIND_ACTIVITY
	agentKind    = pb.NodeKind_NODE_KIND_AGENT
)

// shape is what PROV-DM section 5 says of one kind of relation.
type shape struct {
	subject, object pb.NodeKind
	objectOptional  bool
	timed           bool // happened_at
	role            bool
	activity        bool
	plan            bool
	bundle          bool // required
	derivation      bool // generation, usage
	bare            bool // neither name, types nor attributes
}

// shapes is indexed by kind.
var shapes = [lastKind + 1]shape{
	pb.RelationKind_RELATION_KIND_DERIVATION:     {subject: entityKind, object: entityKind, activity: true, derivation: true},
	pb.RelationKind_RELATION_KIND_REVISION:       {subject: entityKind, object: entityKind, activity: true, derivation: true},
	pb.RelationKind_RELATION_KIND_QUOTATION:      {subject: entityKind, object: entityKind, activity: true, derivation: true},
	pb.RelationKind_RELATION_KIND_PRIMARY_SOURCE: {subject: entityKind, object: entityKind, activity: true, derivation: true},
	pb.RelationKind_RELATION_KIND_GENERATION:     {subject: entityKind, object: activityKind, objectOptional: true, timed: true, role: true},
	pb.RelationKind_RELATION_KIND_USAGE:          {subject: activityKind, object: entityKind, objectOptional: true, timed: true, role: true},
	pb.RelationKind_RELATION_KIND_COMMUNICATION:  {subject: activityKind, object: activityKind},
	pb.RelationKind_RELATION_KIND_START:          {subject: activityKind, object: entityKind, objectOptional: true, timed: true, role: true, activity: true},
	pb.RelationKind_RELATION_KIND_SPECIALIZATION: {subject: entityKind, object: entityKind, bare: true},
	pb.RelationKind_RELATION_KIND_MENTION:        {subject: entityKind, object: entityKind, bundle: true, bare: true},
	pb.RelationKind_RELATION_KIND_MEMBERSHIP:     {subject: entityKind, object: entityKind, bare: true},
	pb.RelationKind_RELATION_KIND_END:            {subject: activityKind, object: entityKind, objectOptional: true, timed: true, role: true, activity: true},
	pb.RelationKind_RELATION_KIND_INVALIDATION:   {subject: entityKind, object: activityKind, objectOptional: true, timed: true, role: true},
	pb.RelationKind_RELATION_KIND_ATTRIBUTION:    {subject: entityKind, object: agentKind},
	pb.RelationKind_RELATION_KIND_ASSOCIATION:    {subject: activityKind, object: agentKind, objectOptional: true, role: true, plan: true},
	pb.RelationKind_RELATION_KIND_DELEGATION:     {subject: agentKind, object: agentKind, activity: true},
	pb.RelationKind_RELATION_KIND_INFLUENCE:      {subject: anyKind, object: anyKind},
	pb.RelationKind_RELATION_KIND_ALTERNATE:      {subject: entityKind, object: entityKind, bare: true},
}

func isKind(k pb.RelationKind) bool {
	return k > pb.RelationKind_RELATION_KIND_UNSPECIFIED && k <= lastKind
}

// checkRelation refuses a relation that does not have the shape of its kind.
func checkRelation(r *pb.Relation) error {
	if !isKind(r.GetKind()) {
		return ErrBadRelation.With("kind is missing or unknown")
	}
	s := shapes[r.Kind]
	if err := checkRef("subject", r.Subject); err != nil {
		return err
	}
	if r.Subject.External != "" {
		return ErrNotYours.With("the subject is external")
	}
	if r.Object == nil && (!s.objectOptional || s.plan && r.Plan == nil) {
		return ErrBadRelation.With("%s needs an object", r.Kind)
	}
	for _, part := range []struct {
		name    string
		ref     *pb.Ref
		allowed bool
	}{
		{"object", r.Object, true},
		{"activity", r.Activity, s.activity},
		{"plan", r.Plan, s.plan},
		{"bundle", r.Bundle, s.bundle},
	} {
		switch {
		case part.ref == nil:
			continue
		case !part.allowed:
			return ErrBadRelation.With("%s has no %s", r.Kind, part.name)
		}
		if err := checkRef(part.name, part.ref); err != nil {
			return err
		}
	}
	switch {
	case s.bundle && r.Bundle == nil:
		return ErrBadRelation.With("%s needs a bundle", r.Kind)
	case s.bare && (r.Name != "" || len(r.Types)+len(r.Attributes) > 0):
		return ErrBadRelation.With("%s has neither name, types nor attributes", r.Kind)
	case !isMoment(r.HappenedAt) || r.HappenedAt != 0 && !s.timed:
		return ErrBadRelation.With("%s has no such happened_at", r.Kind)
	case r.Role != "" && (!s.role || !isRole(r.Role)):
		return ErrBadRelation.With("%s has no such role", r.Kind)
	case r.Name != "" && !isID(r.Name):
		return ErrBadID.With("name is %.140q", r.Name)
	case !isPart(r.Generation, s.derivation) || !isPart(r.Usage, s.derivation):
		return ErrBadRelation.With("generation and usage are ids of relations, of derivations alone")
	case len(r.Usage) > 0 && (r.Activity == nil || r.Activity.External != ""):
		return ErrBadRelation.With("usage needs the activity that used")
	}
	if err := checkTypes(r.Types, maxRelationTypes); err != nil {
		return err
	}
	return checkAttributes(r.Attributes, maxRelationAttributes)
}

func isPart(id []byte, allowed bool) bool {
	return len(id) == 0 || allowed && len(id) == sha256.Size
}

// lookup fills a reference and finds its node. External references have none.
func (m *Module) lookup(r chain.ReadCtx, where string, ref *pb.Ref) (*pb.Ref, *pb.Node, error) {
	if ref.External != "" {
		return &pb.Ref{External: ref.External}, nil, nil
	}
	organisation := ref.Organisation
	if organisation == "" {
		organisation = r.Organisation()
	}
	n, ok := m.node(r, organisation, ref.Id, ref.Version)
	if !ok {
		return nil, nil, ErrNotFound.With("%s: %s of %s, version %d", where, ref.Id, organisation, ref.Version)
	}
	return n.Ref, n, nil
}

// expect refuses a reference to a node that is not there or of another kind.
func (m *Module) expect(r chain.ReadCtx, where string, ref *pb.Ref, want pb.NodeKind) error {
	_, n, err := m.lookup(r, where, ref)
	if err != nil {
		return err
	}
	return fitting(where, n, want)
}

func fitting(where string, n *pb.Node, want pb.NodeKind) error {
	if n == nil || want == anyKind || kindOf(n) == want {
		return nil
	}
	return ErrOtherKind.With("%s is %s, want %s", where, kindOf(n), want)
}

// resolved is the relation as it is stored, and its subject. The input is not
// changed.
func (m *Module) resolved(r chain.ReadCtx, given *pb.Relation) (*pb.Relation, *pb.Node, error) {
	s, out := shapes[given.Kind], given.CloneVT()
	out.Types, out.Attributes = sortedTypes(out.Types), sortedAttributes(out.Attributes)
	var subject *pb.Node
	for _, part := range []struct {
		name string
		ref  **pb.Ref
		want pb.NodeKind
	}{
		{"subject", &out.Subject, s.subject},
		{"object", &out.Object, s.object},
		{"activity", &out.Activity, activityKind},
		{"plan", &out.Plan, entityKind},
		{"bundle", &out.Bundle, entityKind},
	} {
		if *part.ref == nil {
			continue
		}
		ref, n, err := m.lookup(r, part.name, *part.ref)
		if err == nil {
			err = fitting(part.name, n, part.want)
		}
		if err != nil {
			return nil, nil, err
		}
		if *part.ref = ref; subject == nil {
			subject = n
		}
	}
	switch {
	case out.Subject.Organisation != r.Organisation():
		return nil, nil, ErrNotYours.With("the subject is in the namespace of %s", out.Subject.Organisation)
	case out.Kind > lastLineage && out.Object != nil && keyOf(out.Subject) == keyOf(out.Object):
		return nil, nil, ErrBadRelation.With("subject and object are the same")
	case len(out.Generation) > 0 && !m.out.Has(r, edgeKeyOf(out.Subject, pb.RelationKind_RELATION_KIND_GENERATION, out.Generation)):
		return nil, nil, ErrNoRelation.With("generation")
	}
	if len(out.Usage) > 0 {
		used, ok := m.out.Lookup(r, edgeKeyOf(out.Activity, pb.RelationKind_RELATION_KIND_USAGE, out.Usage))
		if !ok || used.Relation.Object == nil || keyOf(used.Relation.Object) != keyOf(out.Object) {
			return nil, nil, ErrNoRelation.With("usage of the object by the activity")
		}
	}
	return out, subject, nil
}

// relationID is the id of a relation as it is stored.
func relationID(r *pb.Relation) []byte {
	raw, err := r.MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal a relation", Err: err})
	}
	sum := sha256.Sum256(slices.Concat([]byte(relationDomain), raw))
	return sum[:]
}

// put registers a relation and tells whether it is new.
func (m *Module) put(ctx *chain.Ctx, given *pb.Relation) (id []byte, created bool, err error) {
	r, subject, err := m.resolved(ctx, given)
	if err != nil {
		return nil, false, err
	}
	id = relationID(r)
	if m.out.Has(ctx, edgeKeyOf(r.Subject, r.Kind, id)) {
		return id, false, nil
	}
	if r.Kind <= lastLineage && r.Object != nil && r.Object.External == "" {
		if err := m.keepAcyclic(ctx, keyOf(r.Subject), keyOf(r.Object)); err != nil {
			return nil, false, err
		}
	}
	m.putEdge(ctx, &pb.Edge{
		Id: id, Relation: r, Author: ctx.Author(), RegisteredAt: ctx.Time(), Height: ctx.Height(),
	})
	ctx.Emit(&pb.Related{Id: id, Kind: r.Kind, Subject: r.Subject, Object: r.Object, Author: ctx.Author()})
	if r.Kind == pb.RelationKind_RELATION_KIND_INVALIDATION {
		at := r.HappenedAt
		if at == 0 {
			at = ctx.Time()
		}
		m.invalidate(ctx, subject, pb.InvalidationReason_INVALIDATION_REASON_OTHER, at)
	}
	return id, true, nil
}

// putEdge writes a relation under both its ends.
func (m *Module) putEdge(w state.Writer, e *pb.Edge) {
	r := e.Relation
	m.out.Put(w, edgeKeyOf(r.Subject, r.Kind, e.Id), e)
	if r.Object != nil {
		m.in.Put(w, edgeKeyOf(r.Object, r.Kind, e.Id), &pb.Backlink{Subject: r.Subject, RegisteredAt: e.RegisteredAt})
	}
}
