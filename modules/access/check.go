package access

import (
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// PolicyPlace is a policy and where its text is.
type PolicyPlace struct {
	ID       string
	Document string
	Line     int // of the document, from 1
}

// EntityText is an entity in the form in which it is stored.
type EntityText struct {
	UID  *accessv1.EntityUid
	JSON string
}

// Checker checks for clients what they are about to submit. It remembers what it
// parsed.
type Checker struct{ caches *caches }

// NewChecker makes a Checker.
func NewChecker() *Checker { return &Checker{newCaches()} }

// Policies says what SetPolicies would say of documents and a schema, either
// of which may be absent, as far as no state decides it: form, bounds, syntax, and
// the policies against the schema.
func (k *Checker) Policies(documents []*accessv1.Document, schema *accessv1.SchemaText) ([]PolicyPlace, error) {
	set, err := k.caches.parseDocuments(documents)
	if err != nil {
		return nil, err
	}
	s, err := k.caches.parseSchema(schema)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.validate(set); err != nil {
			return nil, err
		}
	}
	out := make([]PolicyPlace, len(set.policies))
	for i, p := range set.policies {
		at := p.compiled.Position()
		out[i] = PolicyPlace{ID: p.id, Document: at.Filename, Line: at.Line}
	}
	return out, nil
}

// Entities says what PutEntities would say of a list under a schema, which may
// be absent, as far as no state decides it, and returns the entities as they would
// be stored, by type and id.
func (k *Checker) Entities(text string, schema *accessv1.SchemaText) ([]EntityText, error) {
	s, err := k.caches.parseSchema(schema)
	if err != nil {
		return nil, err
	}
	list, err := parseEntities(text, maxEntitiesPerMessage, s)
	if err != nil {
		return nil, err
	}
	out := make([]EntityText, len(list))
	for i, e := range list {
		if err := checkEntity(e); err != nil {
			return nil, err
		}
		out[i] = EntityText{UID: fromCedar(e.cedar.UID), JSON: e.json}
	}
	return out, nil
}
