package access

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
	exptypes "github.com/cedar-policy/cedar-go/x/exp/types"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// entity is a parsed entity. It is shared and never changed.
type entity struct {
	cedar   types.Entity
	json    string            // canonical, with explicit escapes
	parents []types.EntityUID // sorted
	refs    []types.EntityUID // that its attributes and tags hold, sorted
	size    size
}

// size is what of values evaluation's work depends on.
type size struct {
	bytes  uint64 // of the largest value
	str    uint64 // bytes of the longest string
	set    uint64 // elements of the largest set
	values uint64
}

func (s *size) join(o size) {
	s.bytes, s.str, s.set = max(s.bytes, o.bytes), max(s.str, o.str), max(s.set, o.set)
	s.values += o.values
}

// measure returns the size of a value and adds the entities that it holds to refs.
func measure(v types.Value, refs *[]types.EntityUID) size {
	var out size
	switch v := v.(type) {
	case types.String:
		out = size{bytes: uint64(len(v)), str: uint64(len(v))}
	case types.EntityUID:
		*refs = append(*refs, v)
		out.bytes = uint64(len(v.Type) + len(v.ID))
	case types.Set:
		total := uint64(0)
		for e := range v.All() {
			s := measure(e, refs)
			total += s.bytes
			out.join(s)
		}
		out.bytes, out.set = total+uint64(v.Len()), max(out.set, uint64(v.Len()))
	case types.Record:
		total := uint64(0)
		for k, e := range v.All() {
			s := measure(e, refs)
			total += s.bytes + uint64(len(k))
			out.join(s)
		}
		out.bytes = total
	default:
		out.bytes = 16
	}
	out.values++
	return out
}

func compareUIDs(a, b types.EntityUID) int {
	if c := strings.Compare(string(a.Type), string(b.Type)); c != 0 {
		return c
	}
	return strings.Compare(string(a.ID), string(b.ID))
}

func sortedUIDs(uids []types.EntityUID) []types.EntityUID {
	if len(uids) < 2 {
		return uids
	}
	out := slices.Clone(uids)
	slices.SortFunc(out, compareUIDs)
	return slices.Compact(out)
}

// parseEntities reads a JSON array of entities, at most maxList, guided by a
// schema where there is one. The result is sorted by type and id.
func parseEntities(text string, maxList int, s *cedarSchema) ([]*entity, error) {
	if len(text) > maxDocumentBytes {
		return nil, ErrTooLarge.With("%d bytes of entities, at most %d", len(text), maxDocumentBytes)
	}
	if err := scanJSON(text, maxList); err != nil {
		return nil, err
	}
	var raws []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raws); err != nil {
		return nil, ErrEntities.With("%s", clip(err.Error()))
	}
	out := make([]*entity, len(raws))
	for i, raw := range raws {
		e, err := parseEntity(string(raw), s)
		if err != nil {
			return nil, err
		}
		out[i] = e
	}
	slices.SortFunc(out, func(a, b *entity) int { return compareUIDs(a.cedar.UID, b.cedar.UID) })
	for i := 1; i < len(out); i++ {
		if out[i].cedar.UID == out[i-1].cedar.UID {
			return nil, ErrEntities.With("entity %s is given twice", out[i].cedar.UID)
		}
	}
	return out, nil
}

// parseEntity reads one entity that scanJSON accepted.
func parseEntity(text string, s *cedarSchema) (*entity, error) {
	var e types.Entity
	if err := e.UnmarshalJSON([]byte(text)); err != nil {
		return nil, ErrEntities.With("%s", clip(err.Error()))
	}
	if err := checkUID(e.UID.Type, e.UID.ID); err != nil {
		return nil, err
	}
	if s != nil {
		guided := exptypes.Entity{}
		if err := guided.UnmarshalJSONWithSchema([]byte(text), s.resolved); err != nil {
			return nil, ErrEntity.With("%s: %s", e.UID, clip(err.Error()))
		}
		e = types.Entity(guided)
	}
	if e.Parents.Len() > maxParents {
		return nil, ErrTooLarge.With("%s has %d parents, at most %d", e.UID, e.Parents.Len(), maxParents)
	}
	for p := range e.Parents.All() {
		if err := checkUID(p.Type, p.ID); err != nil {
			return nil, err
		}
	}
	canonical, err := e.MarshalJSON()
	if err != nil {
		return nil, ErrEntities.With("%s: %s", e.UID, clip(err.Error()))
	}
	if len(canonical) > maxEntityBytes {
		return nil, ErrTooLarge.With("%s has %d bytes, at most %d", e.UID, len(canonical), maxEntityBytes)
	}
	out := newEntity(e, string(canonical), parentsOf(e))
	if out.size.str > maxStringBytes {
		return nil, ErrTooLarge.With("%s holds a string of %d bytes, at most %d", e.UID, out.size.str, maxStringBytes)
	}
	return out, nil
}

// newEntity measures an entity that has a canonical form and parents, which are sorted.
func newEntity(e types.Entity, canonical string, parents []types.EntityUID) *entity {
	out := &entity{cedar: e, json: canonical, parents: parents}
	out.size.join(measure(e.Attributes, &out.refs))
	out.size.join(measure(e.Tags, &out.refs))
	out.refs = sortedUIDs(out.refs)
	return out
}

func parentsOf(e types.Entity) []types.EntityUID {
	return slices.SortedFunc(e.Parents.All(), compareUIDs)
}

func checkUID(typ types.EntityType, id types.String) error {
	switch {
	case typ == "" || len(typ) > maxTypeBytes:
		return ErrField.With("an entity type has 1 to %d bytes", maxTypeBytes)
	case len(id) > maxIDBytes:
		return ErrField.With("an entity id has at most %d bytes", maxIDBytes)
	case !utf8.ValidString(string(id)):
		return ErrField.With("an entity id must be UTF-8")
	}
	if _, err := types.NewEntityType(string(typ)); err != nil {
		return ErrField.With("%q is no Cedar entity type", string(typ))
	}
	return nil
}

func checkUIDField(field string, uid *accessv1.EntityUid) error {
	if uid == nil {
		return ErrField.With("%s is missing", field)
	}
	if err := checkUID(types.EntityType(uid.Type), types.String(uid.Id)); err != nil {
		return in(field, err)
	}
	return nil
}

func toCedar(uid *accessv1.EntityUid) types.EntityUID {
	return types.NewEntityUID(types.EntityType(uid.GetType()), types.String(uid.GetId()))
}

func fromCedar(uid types.EntityUID) *accessv1.EntityUid {
	return &accessv1.EntityUid{Type: string(uid.Type), Id: string(uid.ID)}
}

// entity returns the parsed form of a stored entity, which is kept.
func (c *caches) entity(stored string) *entity {
	if e, ok := c.entities.Get(stored); ok {
		return e
	}
	e := storedEntity(stored)
	if len(stored) <= cachedEntityBytes {
		c.entities.Add(stored, e)
	}
	return e
}

// storedEntity parses a stored entity. It is canonical and within bounds: parseEntity saw to that.
func storedEntity(stored string) *entity {
	if e, parents, ok := readStored(stored); ok {
		return newEntity(e, stored, parents)
	}
	var e types.Entity
	if err := e.UnmarshalJSON([]byte(stored)); err != nil {
		panic("access: a stored entity does not parse: " + err.Error())
	}
	return newEntity(e, stored, parentsOf(e))
}

func toCedars(uids []*accessv1.EntityUid) []types.EntityUID {
	out := make([]types.EntityUID, len(uids))
	for i, uid := range uids {
		out[i] = toCedar(uid)
	}
	return out
}
