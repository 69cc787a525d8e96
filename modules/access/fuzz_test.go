package access

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Whatever enters as policies, schema, entities and context is refused with one of
// the module's errors, or can be evaluated, twice with the same answer, and what is
// stored of an entity reads back as itself.
func FuzzCedarEntry(f *testing.F) {
	f.Add(hospitalPolicies, strictSchema, `[{"uid":{"type":"Record","id":"1"},"attrs":{"level":4},"parents":[]}]`, `{"note":"x"}`)
	f.Add(when(`if context has a.b then context.a.b.contains(1) else resource like "*a\**"`), "entity E; action a appliesTo {principal: E, resource: E};", `[]`, `{"a":{"b":[1,[2],{"c":true}]}}`)
	f.Add(when(`principal.hasTag("x") && principal.getTag("x") == ip("10.0.0.1")`), "namespace N { type T = Set<Set<Long>>; entity E in [E] {t?: T} tags String; entity F enum [\"a\"]; }", `[{"uid":{"type":"U","id":"u"},"attrs":{},"parents":[{"type":"U","id":"u"}],"tags":{"x":{"__extn":{"fn":"ip","arg":"10.0.0.1"}}}}]`, ``)
	f.Add(when(`[1, -2, 3 - -4].containsAll([]) || {"a b": "\u{1F600}"}["a b"] != "" && decimal("1.5").lessThan(decimal("2.0"))`), ``, `[{"uid":{"__entity":{"type":"U","id":"\u0000"}},"attrs":{"r":{"__entity":{"type":"U","id":"u"}}},"parents":[]}]`, `{"d":{"__extn":{"fn":"datetime","arg":"2026-01-01"}}}`)
	f.Add("@id(\"a\") forbid (principal is U in U::\"g\", action in [Action::\"a\"], resource) unless { datetime(\"2026-01-01\") < context.now }; // c", `{"":{"entityTypes":{},"actions":{}}}`, `[1]`, `[]`)
	f.Fuzz(func(t *testing.T, policies, schema, entities, context string) {
		c := newCaches()
		format := accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR
		if len(schema) > 0 && schema[0] == '{' {
			format = accessv1.SchemaFormat_SCHEMA_FORMAT_JSON
		}
		set, err := c.parseDocuments(document(policies))
		if err != nil {
			own(t, err)
			set = emptySet
		}
		s, err := c.parseSchema(&accessv1.SchemaText{Format: format, Text: schema})
		if err != nil {
			own(t, err)
			s = nil
		}
		if s != nil {
			if err := s.validate(set); err != nil {
				own(t, err)
			}
		}
		list, err := parseEntities(entities, maxEntitiesPerMessage, s)
		if err != nil {
			own(t, err)
		}
		for _, e := range list {
			again, err := parseEntity(e.json, nil)
			if err != nil || again.json != e.json || !again.cedar.Equal(e.cedar) {
				t.Fatalf("%q is stored and does not read back: %v", e.json, err)
			}
			if err := checkEntity(e); err != nil {
				own(t, err)
			}
		}
		given, err := parseContext(context)
		if err != nil {
			own(t, err)
			given = types.Record{}
		}
		var first *answer
		for range 2 {
			q := &question{
				request:  types.Request{Principal: types.NewEntityUID("U", "u"), Action: types.NewEntityUID("Action", "a"), Resource: types.NewEntityUID("Record", "1"), Context: given},
				policies: set, guardRails: emptySet, schema: s,
				source: func(uid types.EntityUID) (*entity, uint64, bool) {
					i := slices.IndexFunc(list, func(e *entity) bool { return e.cedar.UID == uid })
					if i < 0 {
						return nil, 0, false
					}
					return list[i], 1, true
				},
				charge: func(uint64) {},
			}
			a, err := judge(q)
			if err != nil {
				own(t, err)
				return
			}
			if first == nil {
				first = a
				continue
			}
			if a.allowed != first.allowed || a.steps != first.steps || !slices.Equal(a.policies, first.policies) || !slices.Equal(a.errors, first.errors) ||
				a.malformed != first.malformed || len(a.slice.asked()) != len(first.slice.asked()) {
				t.Fatalf("two evaluations differ: %+v and %+v", first, a)
			}
			in := &inputs{request: &accessv1.Request{}, principal: &accessv1.Principal{}, consent: &accessv1.ConsentFinding{}}
			if !bytes.Equal(in.hash(a), in.hash(first)) {
				t.Fatal("two evaluations have different inputs")
			}
		}
	})
}

// The scanner never misses nesting: text without strings and comments that it
// accepts has no more open brackets at once than it allows.
// FuzzStored holds the reading of stored entities against Cedar's, for what may be stored; of any
// other text it only wants an answer.
func FuzzStored(f *testing.F) {
	f.Add(`{"uid":{"type":"U","id":"u"},"attrs":{"a":[1,{"b":"c"},{"__extn":{"fn":"decimal","arg":"1.5"}}]},"parents":[{"type":"U","id":"v"}],"tags":{"x":{"__entity":{"type":"U","id":"w"}}}}`)
	f.Add(`{"uid":{"type":"U","id":"\u0041"},"parents":[],"attrs":{},"tags":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		readStored(text)
		if scanJSON(text, 100) != nil {
			return
		}
		e, err := parseEntity(text, nil)
		if err != nil {
			return
		}
		if !asCedarReads(t, e.json) && !strings.Contains(e.json, "\\") {
			t.Fatalf("%s was not read, though nothing in it is escaped", e.json)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add(when("((1))"))
	f.Add("\"((\\\"((\" // ((\n/* (( */ ((")
	f.Add(strings.Repeat("([{", 70))
	f.Fuzz(func(t *testing.T, text string) {
		if err := scanSchema(text); err != nil {
			own(t, err)
		}
		if err := scanJSON(text, 10); err != nil {
			own(t, err)
		}
		if err := scanPolicies(text); err != nil {
			own(t, err)
			return
		}
		if strings.ContainsAny(text, "\"/") {
			return
		}
		open := 0
		for _, c := range text {
			switch c {
			case '(', '[', '{':
				if open++; open > maxDepth {
					t.Fatalf("%d brackets are open at once", open)
				}
			case ')', ']', '}':
				open = max(open-1, 0)
			}
		}
	})
}

// own fails unless an error is one of the module's.
func own(t *testing.T, err error) {
	t.Helper()
	for _, e := range Errors.All() {
		if e.Is(errs.As(err)) {
			return
		}
	}
	t.Fatalf("%v is no error of the module", err)
}

// fixed is Snapshots of one state.
type fixed struct{ chain.ReadCtx }

func (f fixed) At(context.Context) (chain.ReadCtx, error) { return f.ReadCtx, nil }

// A page token of any bytes is refused, or answered with nothing of others.
func FuzzPageToken(f *testing.F) {
	w := newWorld(f)
	q, c := &queries{module: w.module, snapshots: fixed{w.View()}}, f.Context()
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Add([]byte(hospital))
	f.Fuzz(func(t *testing.T, token []byte) {
		mine, err := q.Entities(c, &accessv1.EntitiesRequest{Organisation: hospital, PageToken: token})
		for _, e := range mine.GetEntities() {
			if e.Organisation != hospital {
				t.Fatalf("%x: %v is of another organisation", token, e)
			}
		}
		answers := []error{err}
		ask := func(_ any, err error) { answers = append(answers, err) }
		ask(q.History(c, &accessv1.HistoryRequest{Organisation: hospital, PageToken: token}))
		ask(q.Decisions(c, &accessv1.DecisionsRequest{By: &accessv1.DecisionsRequest_Organisation{Organisation: hospital}, PageToken: token}))
		ask(q.BreakGlasses(c, &accessv1.BreakGlassesRequest{By: &accessv1.BreakGlassesRequest_Organisation{Organisation: hospital}, PageToken: token}))
		ask(q.Reviews(c, &accessv1.ReviewsRequest{Organisation: hospital, PageToken: token}))
		for _, err := range answers {
			if err != nil {
				own(t, err)
			}
		}
	})
}
