package access

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

var rewrite = flag.Bool("rewrite", false, "write golden files anew")

type corpusCase struct {
	Schema   string          `json:"schema"`
	Policies string          `json:"policies"`
	Entities string          `json:"entities"`
	Requests []corpusRequest `json:"requests"`
}

type corpusRequest struct {
	Description string          `json:"description"`
	Principal   corpusUID       `json:"principal"`
	Action      corpusUID       `json:"action"`
	Resource    corpusUID       `json:"resource"`
	Context     json.RawMessage `json:"context"`
	Decision    string          `json:"decision"`
	Reason      []string        `json:"reason"`
	Errors      []string        `json:"errors"`
}

type corpusUID struct{ Type, ID string }

// corpusRefused is how many cases of the corpus the module's limits refuse.
const corpusRefused = 0

func (u corpusUID) cedar() types.EntityUID {
	return types.NewEntityUID(types.EntityType(u.Type), types.String(u.ID))
}

type corpusValidation struct {
	PolicyValidation  struct{ Strict bool }
	RequestValidation []struct {
		Description string
		Strict      bool
	}
}

// The corpus that ships with the Cedar library, whole: what enters must pass the
// module's checks, and decisions, reasons, errors and the verdicts of validation
// must be those of the reference implementation. What the module's limits refuse
// is in testdata/corpus-refused.txt, case by case.
func TestCedarCorpus(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	files := unpack(t, filepath.Join(dir, "corpus-tests.tar.gz"))
	verdicts := unpack(t, filepath.Join(dir, "corpus-tests-validation.tar.gz"))
	refused, tests, requests := runCorpus(t, files, func(name string) []byte {
		base := strings.TrimSuffix(filepath.Base(name), ".json")
		return verdicts["corpus-tests-validation/"+base+".validation.json"]
	})
	t.Logf("%d tests with %d requests, %d refused by limits", tests, requests, len(refused))
	if tests < 7000 || requests < 50_000 {
		t.Fatalf("only %d tests with %d requests ran", tests, requests)
	}
	golden(t, "corpus-refused.txt", strings.Join(append([]string{fmt.Sprintf("# %d cases of the corpus are refused by the module's limits", len(refused))}, append(refused, "")...), "\n"))
	if len(refused) != corpusRefused {
		t.Fatalf("limits refuse %d cases of the corpus, want %d", len(refused), corpusRefused)
	}
}

// The sample of the corpus among the shared vectors, by the same checks.
func TestCedarCorpusSample(t *testing.T) {
	dir := shared(t, "vectors/cedar")
	files := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(dir, "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, "corpus", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files["corpus-tests/"+e.Name()] = raw
	}
	_, tests, _ := runCorpus(t, files, func(name string) []byte {
		return files[strings.TrimSuffix(name, ".json")+".validation.json"]
	})
	if tests != 150 {
		t.Fatalf("%d tests ran, want 150", tests)
	}
}

func runCorpus(t *testing.T, files map[string][]byte, verdict func(name string) []byte) (refused []string, tests, requests int) {
	t.Helper()
	var names []string
	for name := range files {
		if strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".entities.json") && !strings.HasSuffix(name, ".validation.json") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	c := newCaches()
	for _, name := range names {
		var test corpusCase
		if err := json.Unmarshal(files[name], &test); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var want corpusValidation
		if err := json.Unmarshal(verdict(name), &want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tests++
		n, lines := runCorpusCase(t, c, name, test, files, want)
		requests += n
		refused = append(refused, lines...)
	}
	return refused, tests, requests
}

func runCorpusCase(t *testing.T, c *caches, name string, test corpusCase, files map[string][]byte, want corpusValidation) (requests int, refused []string) {
	t.Helper()
	base := strings.TrimSuffix(filepath.Base(name), ".json")
	limit := func(what string, err error) bool {
		if err == nil {
			return false
		}
		if e := errs.As(err); e.Is(ErrTooLarge) || e.Is(ErrTooDeep) || e.Is(ErrSlice) || e.Is(ErrTooMuchWork) || e.Is(ErrNumber) {
			refused = append(refused, fmt.Sprintf("%s %s access/%d %s", base, what, e.Code, e.Detail))
			return true
		}
		t.Fatalf("%s: %s: %v", name, what, err)
		return true
	}
	set, err := c.parseDocuments([]*accessv1.Document{{Name: "corpus", Text: string(files[test.Policies])}})
	if limit("policies", err) {
		return 0, refused
	}
	schema, err := c.parseSchema(&accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR, Text: string(files[test.Schema])})
	if limit("schema", err) {
		return 0, refused
	}
	entities, err := parseEntities(string(files[test.Entities]), maxEntitiesPerMessage, schema)
	if limit("entities", err) {
		return 0, refused
	}
	if schema == nil {
		t.Fatalf("%s has no schema", name)
	}
	err = schema.validate(set)
	if err != nil && !errs.As(err).Is(ErrPolicies) {
		limit("validation", err)
	} else if (err == nil) != want.PolicyValidation.Strict {
		t.Fatalf("%s: strict validation says %v, want %v", name, err, want.PolicyValidation.Strict)
	}
	byUID := map[types.EntityUID]*entity{}
	for _, e := range entities {
		byUID[e.cedar.UID] = e
	}
	for i, r := range test.Requests {
		requests++
		where := fmt.Sprintf("request %d", i)
		given, err := parseContext(string(r.Context))
		if limit(where, err) {
			continue
		}
		q := &question{
			request:  types.Request{Principal: r.Principal.cedar(), Action: r.Action.cedar(), Resource: r.Resource.cedar(), Context: given},
			policies: set, guardRails: emptySet,
			source: func(uid types.EntityUID) (*entity, uint64, bool) {
				e, ok := byUID[uid]
				return e, 1, ok
			},
			charge: func(uint64) {},
		}
		if i < len(want.RequestValidation) {
			if err := schema.request(q.request); (err == nil) != want.RequestValidation[i].Strict {
				t.Fatalf("%s: %s: request validation says %v, want %v", name, where, err, want.RequestValidation[i].Strict)
			}
		}
		a, err := judge(q)
		if limit(where, err) {
			continue
		}
		decision := "deny"
		if a.allowed {
			decision = "allow"
		}
		if decision != r.Decision || !slices.Equal(a.policies, corpusIDs(r.Reason)) || !slices.Equal(a.errors, corpusIDs(r.Errors)) {
			t.Fatalf("%s: %s: %s %v errors %v, want %s %v errors %v", name, where, decision, a.policies, a.errors, r.Decision, r.Reason, r.Errors)
		}
	}
	return requests, refused
}

// corpusIDs are the corpus's policy ids as the module names them, sorted.
func corpusIDs(ids []string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, "corpus#"+strings.TrimPrefix(id, "policy"))
	}
	slices.Sort(out)
	return out
}

func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(filepath.Base(h.Name), "._") {
			continue
		}
		raw, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = raw
	}
}

// golden compares with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Fatalf("%s differs; look at it and run the test with -rewrite:\n%s", path, got)
	}
}

// shared is a folder of the shared vectors, or the test is skipped.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	root := os.Getenv("CHANCERY_SHARED")
	if root == "" {
		root = filepath.Join(dir, "..", "shared")
	}
	path := filepath.Join(root, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the shared vectors are not at %s; set CHANCERY_SHARED", path)
	}
	return path
}
