package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/provenance"
	"github.com/chancery/chancery/node/importer"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// seeds adds our own documents, and the shared ones where they are.
func seeds(f *testing.F, own string, folders ...string) {
	for _, raw := range files(f, filepath.Join("testdata", own)) {
		f.Add(raw)
	}
	root := os.Getenv("CHANCERY_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	for _, folder := range folders {
		if dir := filepath.Join(root, "vectors", folder); exists(dir) {
			for _, raw := range files(f, dir) {
				f.Add(raw)
			}
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// sound is what holds of whatever an importer is given: it is refused with a
// permanent code, or every leaf is accounted for and the messages have the form
// that the modules ask for.
func sound(t *testing.T, raw []byte, mapper importer.Mapper, o importer.Options) {
	r, err := mapper(raw, o)
	if err != nil {
		refusedWell(t, err)
		return
	}
	accounted(t, "the document", raw, r)
	for _, m := range r.Messages {
		if b, err := proto.Marshal(m); err != nil || len(b) > 224<<10 {
			t.Errorf("a message of %d bytes, %v", len(b), err)
		}
	}
	if len(r.Messages) > 0 && len(r.Messages) < 40 {
		wellFormed(t, r.Messages)
	}
}

func refusedWell(t *testing.T, err error) {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Code <= errs.Internal || e.Module != "import" && e.Module != "access" {
		t.Fatalf("refused without a permanent code: %v", err)
	}
}

// wellFormed is that the chain, when it refuses messages, does so for what its
// state says, or for what a document states of the world, but not for their form.
func wellFormed(t *testing.T, messages []proto.Message) {
	t.Helper()
	r := newLedger(t).do(messages...)
	if r.Code == 0 {
		return
	}
	// A lineage with a cycle, an end before its start, a time to come.
	for _, e := range []*errs.Error{provenance.ErrCycle, provenance.ErrTooEntangled, provenance.ErrEnded, consent.ErrTime} {
		if r.Codespace == e.Module && r.Code == e.Code {
			return
		}
	}
	t.Errorf("the chain refuses the form: %s/%d %s", r.Codespace, r.Code, r.Log)
}

func FuzzFHIR(f *testing.F) {
	seeds(f, "fhir", "fhir")
	f.Fuzz(func(t *testing.T, raw []byte) {
		sound(t, raw, importer.FHIR, options())
		// law 1, law 8: whatever a consent says, its subject is a commitment and special
		// data has a condition.
		r, err := importer.FHIR(raw, options())
		if err != nil {
			return
		}
		for _, m := range r.Messages {
			if t2, ok := m.(interface{ GetTerms() *consentv1.Terms }); ok && (len(t2.GetTerms().GetSubject()) != 32 || t2.GetTerms().GetSpecialCondition() == 0) {
				t.Errorf("terms without a subject or condition: %v", m)
			}
		}
	})
}

func FuzzOpenLineage(f *testing.F) {
	seeds(f, "openlineage", "openlineage/examples", "openlineage/client-events")
	f.Fuzz(func(t *testing.T, raw []byte) {
		o := options()
		o.PublishHash = true
		sound(t, raw, importer.OpenLineage, o)
		o.HideNames = true
		if _, err := importer.OpenLineage(raw, o); err != nil {
			refusedWell(t, err)
		}
	})
}

func FuzzCedar(f *testing.F) {
	all := files(f, "testdata/cedar")
	f.Add(all["ward.cedar"], all["ward.cedarschema"], all["records.json"])
	f.Add([]byte(`permit(principal, action, resource) when { "a//b" == "/*" }; /* c */ // d`), []byte(`{"":{"entityTypes":{"U":{}},"actions":{}}}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, policies, schema, entities []byte) {
		schemaName := "s.cedarschema"
		if len(schema) > 0 && schema[0] == '{' {
			schemaName = "s.json"
		}
		list := []importer.File{{Name: "p.cedar", Raw: policies}, {Name: schemaName, Raw: schema}, {Name: "e.json", Raw: entities}}
		var plain []proto.Message
		for _, strip := range []bool{false, true} {
			o := options()
			o.StripComments = strip
			messages, results, err := importer.Cedar(list, nil, o)
			if err != nil {
				refusedWell(t, err)
				if strip && plain != nil {
					t.Errorf("without its comments it is refused: %v", err)
				}
				return
			}
			if !strip {
				plain = messages
				if results[2].Format == "cedar-entities" {
					accounted(t, "entities", entities, results[2])
				}
			}
			if len(messages) > 0 && len(messages) < 20 {
				if r := newLedger(t).do(messages...); r.Code != 0 {
					t.Errorf("the chain refuses it: %s/%d %s", r.Codespace, r.Code, r.Log)
				}
			}
		}
	})
}
