package state

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Schema is the list of a module's collections. It is filled while the module is
// built and read-only afterwards.
type Schema struct {
	module      string
	prefix      byte
	collections []Collection
}

// Collection describes one collection for documents, proofs and tools.
type Collection struct {
	Name   string // module/collection, e.g. "consent/records"
	Prefix []byte // module prefix and collection prefix
	Key    string // the key's encoding
	Value  string // the value's encoding: a message's full name, or a primitive

	describeKey   func([]byte) (string, error)
	describeValue func([]byte) (string, error)
}

// DescribeKey decodes a full tree key of this collection for people to read.
func (c Collection) DescribeKey(key []byte) (string, error) {
	if len(key) < len(c.Prefix) {
		return "", errKey
	}
	return c.describeKey(key[len(c.Prefix):])
}

// DescribeValue decodes a value of this collection as JSON.
func (c Collection) DescribeValue(value []byte) (string, error) { return c.describeValue(value) }

// NewSchema starts the schema of a module. The prefix is the module's own and
// must be unique among all modules of a chain, which Registry checks.
func NewSchema(module string, prefix byte) *Schema {
	return &Schema{module: module, prefix: prefix}
}

// Module is the name given to NewSchema.
func (s *Schema) Module() string { return s.module }

// Collections lists what was declared, in order of declaration.
func (s *Schema) Collections() []Collection { return slices.Clone(s.collections) }

func declare[K, V any](s *Schema, prefix byte, name string, kc KeyCodec[K], vc ValueCodec[V]) []byte {
	full := []byte{s.prefix, prefix}
	for _, c := range s.collections {
		if c.Prefix[1] == prefix {
			panic(fmt.Sprintf("state: module %s declares prefix %#02x for both %s and %s", s.module, prefix, c.Name, name))
		}
		if c.Name == s.module+"/"+name {
			panic(fmt.Sprintf("state: module %s declares collection %s twice", s.module, name))
		}
	}
	s.collections = append(s.collections, Collection{
		Name: s.module + "/" + name, Prefix: full, Key: kc.String(), Value: vc.String(),
		describeKey: func(b []byte) (string, error) {
			k, rest, err := kc.Decode(b)
			if err != nil {
				return "", err
			}
			if len(rest) != 0 {
				return "", errKey
			}
			return describeKey(k), nil
		},
		describeValue: func(b []byte) (string, error) {
			v, err := vc.Decode(b)
			if err != nil {
				return "", err
			}
			if m, ok := any(v).(proto.Message); ok {
				//determinism:allow for people to read, never part of state
				j, err := protojson.Marshal(m)
				return string(j), err
			}
			return fmt.Sprintf("%v", v), nil
		},
	})
	return full
}

func describeKey(k any) string {
	if b, ok := k.([]byte); ok {
		return fmt.Sprintf("%x", b)
	}
	s := fmt.Sprintf("%v", k)
	return strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
}

// Registry is every schema of a chain.
type Registry struct {
	schemas     []*Schema
	collections []Collection // sorted by prefix
}

// NewRegistry refuses module names and prefixes that clash.
func NewRegistry(schemas ...*Schema) (*Registry, error) {
	r := &Registry{schemas: schemas}
	for i, s := range schemas {
		for _, o := range schemas[:i] {
			if o.prefix == s.prefix {
				return nil, fmt.Errorf("modules %s and %s share the state prefix %#02x; give one of them another", o.module, s.module, s.prefix)
			}
			if o.module == s.module {
				return nil, fmt.Errorf("two modules are named %s; rename one", s.module)
			}
		}
		r.collections = append(r.collections, s.collections...)
	}
	slices.SortFunc(r.collections, func(a, b Collection) int { return slices.Compare(a.Prefix, b.Prefix) })
	return r, nil
}

// Collections lists every collection, sorted by prefix.
func (r *Registry) Collections() []Collection { return slices.Clone(r.collections) }

// Of names the collection that a full tree key belongs to.
func (r *Registry) Of(key []byte) (Collection, bool) {
	if len(key) < 2 {
		return Collection{}, false
	}
	i, ok := slices.BinarySearchFunc(r.collections, key[:2], func(c Collection, p []byte) int {
		return slices.Compare(c.Prefix, p)
	})
	if !ok {
		return Collection{}, false
	}
	return r.collections[i], true
}
