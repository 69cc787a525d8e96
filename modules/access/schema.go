package access

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	schemaast "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// cedarSchema is a parsed schema. It is shared and never changed.
type cedarSchema struct {
	resolved  *resolved.Schema
	validator *validate.Validator
	envs      uint64 // combinations of principal type, action and resource type
	types     uint64 // types once common types are expanded
}

func schemaHash(s *accessv1.SchemaText) []byte {
	h := sha256.New()
	h.Write([]byte{byte(s.Format)})
	h.Write([]byte(s.Text))
	return h.Sum(nil)
}

// parseSchema checks the bounds of a schema and parses it; an empty one is nil.
func (c *caches) parseSchema(s *accessv1.SchemaText) (*cedarSchema, error) {
	if s == nil || s.Text == "" {
		return nil, nil
	}
	if len(s.Text) > maxDocumentBytes {
		return nil, ErrTooLarge.With("the schema has %d bytes, at most %d", len(s.Text), maxDocumentBytes)
	}
	// The hash covers one byte of the format, so the format is judged first.
	if s.Format != accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR && s.Format != accessv1.SchemaFormat_SCHEMA_FORMAT_JSON {
		return nil, ErrField.With("schema.format must be cedar or json")
	}
	hash := string(schemaHash(s))
	if parsed, ok := c.schemas.Get(hash); ok {
		return parsed, nil
	}
	parsed, err := parseSchemaText(s)
	if err != nil {
		return nil, err
	}
	c.schemas.Add(hash, parsed)
	return parsed, nil
}

func parseSchemaText(s *accessv1.SchemaText) (*cedarSchema, error) {
	var raw schema.Schema
	if s.Format == accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR {
		if err := scanSchema(s.Text); err != nil {
			return nil, in("schema", err)
		}
		if err := raw.UnmarshalCedar([]byte(s.Text)); err != nil {
			return nil, ErrSchema.With("%s", clip(err.Error()))
		}
	} else {
		if err := scanJSON(s.Text, maxElements); err != nil {
			return nil, in("schema", err)
		}
		if err := raw.UnmarshalJSON([]byte(s.Text)); err != nil {
			return nil, ErrSchema.With("%s", clip(err.Error()))
		}
	}
	out := &cedarSchema{types: expandedTypes(raw.AST())}
	if out.types > maxSchemaTypes {
		return nil, ErrTooLarge.With("the schema has more than %d types once its common types are expanded", maxSchemaTypes)
	}
	var err error
	if out.resolved, err = raw.Resolve(); err != nil {
		return nil, ErrSchema.With("%s", clip(err.Error()))
	}
	for _, uid := range out.actions() {
		a := out.resolved.Actions[uid]
		if a.AppliesTo == nil {
			continue
		}
		out.envs += uint64(len(a.AppliesTo.Principals)) * uint64(len(a.AppliesTo.Resources))
		for _, key := range systemKeys {
			if attr, ok := a.AppliesTo.Context[types.String(key.name)]; ok && !sameType(attr.Type, key.typ) {
				return nil, ErrSchema.With("action %s declares %s in its context with another type than the module gives it; see docs/modules/access.md", uid, key.name)
			}
		}
	}
	if out.envs > maxValidationWork {
		return nil, ErrTooLarge.With("the schema has %d combinations of principal, action and resource", out.envs)
	}
	out.validator = validate.New(out.resolved, validate.WithStrict())
	return out, nil
}

// actions are the schema's actions, sorted.
func (s *cedarSchema) actions() []types.EntityUID {
	return slices.SortedFunc(maps.Keys(s.resolved.Actions), compareUIDs)
}

// validationWork estimates the type checker's work on a policy set: each policy
// in each environment, with guards compared pairwise.
func (s *cedarSchema) validationWork(set *policySet) uint64 {
	work := uint64(0)
	for _, p := range set.policies {
		work += uint64(p.nodes + p.guards*p.guards)
	}
	envs := max(s.envs, 1)
	if work > maxValidationWork || envs > maxValidationWork {
		return maxValidationWork + 1
	}
	return work * envs
}

// validate type-checks a policy set, strictly, and names everything that is wrong.
func (s *cedarSchema) validate(set *policySet) error {
	if s.validationWork(set) > maxValidationWork {
		return ErrTooLarge.With("policies × combinations of principal, action and resource type are more than can be validated; scope policies or split the schema")
	}
	var found []string
	for _, p := range set.policies {
		if err := s.validator.Policy(p.id, p.tree); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "for policy") {
					line = fmt.Sprintf("for policy `%s`, %s", p.id, line)
				}
				found = append(found, line)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	found = slices.Compact(found)
	return ErrPolicies.With("%d: %s", len(found), clip(strings.Join(found, "; ")))
}

// expandedTypes counts the types of a schema with its common types expanded
// wherever they are named, saturating above maxSchemaTypes. It errs upward.
func expandedTypes(s *schemaast.Schema) uint64 {
	x := &expansion{common: map[types.Path]schemaast.IsType{}, sizes: map[types.Path]uint64{}}
	for _, name := range sortedKeys(s.CommonTypes) {
		x.common[types.Path(name)] = s.CommonTypes[name].Type
	}
	for _, ns := range sortedKeys(s.Namespaces) {
		for _, name := range sortedKeys(s.Namespaces[ns].CommonTypes) {
			x.common[ns+"::"+types.Path(name)] = s.Namespaces[ns].CommonTypes[name].Type
		}
	}
	total := x.declarations("", s.Entities, s.Actions)
	for _, ns := range sortedKeys(s.Namespaces) {
		total = saturate(total + x.declarations(ns, s.Namespaces[ns].Entities, s.Namespaces[ns].Actions))
	}
	for _, name := range sortedKeys(x.common) {
		total = saturate(total + x.named(name))
	}
	return total
}

type expansion struct {
	common map[types.Path]schemaast.IsType
	sizes  map[types.Path]uint64 // 0 while being measured: a cycle, which Resolve refuses
}

func saturate(n uint64) uint64 { return min(n, maxSchemaTypes+1) }

func (x *expansion) declarations(ns types.Path, entities schemaast.Entities, actions schemaast.Actions) uint64 {
	total := uint64(0)
	for _, name := range sortedKeys(entities) {
		e := entities[name]
		total = saturate(total + 1 + uint64(len(e.ParentTypes)) + x.size(ns, e.Shape) + x.size(ns, e.Tags))
	}
	for _, name := range sortedKeys(actions) {
		total = saturate(total + 1)
		if a := actions[name].AppliesTo; a != nil {
			total = saturate(total + uint64(len(a.Principals)+len(a.Resources)) + x.size(ns, a.Context))
		}
	}
	return total
}

func (x *expansion) size(ns types.Path, t schemaast.IsType) uint64 {
	switch t := t.(type) {
	case nil:
		return 0
	case schemaast.SetType:
		return saturate(1 + x.size(ns, t.Element))
	case schemaast.RecordType:
		total := uint64(1)
		for _, name := range sortedKeys(t) {
			total = saturate(total + x.size(ns, t[name].Type))
		}
		return total
	case schemaast.TypeRef:
		return x.reference(ns, types.Path(t))
	case schemaast.EntityTypeRef:
		return x.reference(ns, types.Path(t))
	default:
		return 1
	}
}

// reference is the size of whatever a name may mean.
func (x *expansion) reference(ns, name types.Path) uint64 {
	size := x.named(name)
	if ns != "" {
		size = max(size, x.named(ns+"::"+name))
	}
	return max(size, 1)
}

func (x *expansion) named(name types.Path) uint64 {
	t, ok := x.common[name]
	if !ok {
		return 1
	}
	if size, ok := x.sizes[name]; ok {
		return size
	}
	x.sizes[name] = 0
	ns := types.Path("")
	if i := strings.LastIndex(string(name), "::"); i >= 0 {
		ns = name[:i]
	}
	size := x.size(ns, t)
	x.sizes[name] = size
	return size
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// sameType compares resolved types.
func sameType(a, b resolved.IsType) bool {
	switch a := a.(type) {
	case resolved.RecordType:
		b, ok := b.(resolved.RecordType)
		if !ok || len(a) != len(b) {
			return false
		}
		for _, name := range sortedKeys(a) {
			other, ok := b[name]
			if !ok || other.Optional != a[name].Optional || !sameType(a[name].Type, other.Type) {
				return false
			}
		}
		return true
	case resolved.SetType:
		b, ok := b.(resolved.SetType)
		return ok && sameType(a.Element, b.Element)
	default:
		return a == b
	}
}

var errNoAction = errors.New("the schema has no such action")

// request checks a request against the schema.
func (s *cedarSchema) request(r types.Request) error {
	if _, ok := s.resolved.Actions[r.Action]; !ok {
		return errNoAction
	}
	return s.validator.Request(r)
}
