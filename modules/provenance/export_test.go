package provenance

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func exported(t *testing.T, n *net, req *pb.ExportRequest) *pb.ExportResponse {
	t.Helper()
	return must[*pb.ExportResponse](t)(n.q.Export(ctx, req))
}

func TestExportGolden(t *testing.T) {
	n := scenario(t)
	whole := &pb.ExportRequest{Start: of(mercy, "results.csv"), MaxDepth: 9}
	r := exported(t, n, whole)
	if r.Truncated || r.MediaType != "application/json" {
		t.Fatalf("response %v", r)
	}
	golden(t, "scenario.provjson", r.Document)
	whole.Format = pb.ExportFormat_EXPORT_FORMAT_PROV_N
	r = exported(t, n, whole)
	if r.MediaType != "text/provenance-notation" {
		t.Fatalf("response %v", r)
	}
	golden(t, "scenario.provn", r.Document)
}

func TestExportIsBounded(t *testing.T) {
	n := scenario(t)
	near := exported(t, n, &pb.ExportRequest{Start: of(acme, "train")})
	if got := records(t, near.Document); got["activity"] != 2 || got["entity"] != 0 || got["wasInformedBy"] != 1 || near.Truncated {
		t.Fatalf("neighbourhood %v", got)
	}
	few := exported(t, n, &pb.ExportRequest{Start: of(acme, "train"), MaxDepth: 9, MaxNodes: 3})
	if got := records(t, few.Document); got["activity"]+got["entity"]+got["agent"] != 3 || !few.Truncated {
		t.Fatalf("neighbourhood %v, truncated %v", got, few.Truncated)
	}
	for name, c := range map[string]struct {
		want error
		req  *pb.ExportRequest
	}{
		"depth":    {ErrBadQuery, &pb.ExportRequest{Start: of(acme, "train"), MaxDepth: maxExportDepth + 1}},
		"nodes":    {ErrBadQuery, &pb.ExportRequest{Start: of(acme, "train"), MaxNodes: maxExportNodes + 1}},
		"format":   {ErrBadQuery, &pb.ExportRequest{Start: of(acme, "train"), Format: 9}},
		"no start": {ErrNotFound, &pb.ExportRequest{Start: of(acme, "nothing")}},
	} {
		if _, err := n.q.Export(ctx, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// records counts the statements of a PROV-JSON document by form.
func records(t *testing.T, document []byte) map[string]int {
	t.Helper()
	var d map[string]map[string]json.RawMessage
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for form, of := range d {
		out[form] = len(of)
	}
	return out
}

// submission are arguments that the PROV-JSON submission has (sections 3.3.5 to
// 3.3.9 and the schema in its appendix) and none of the published examples.
var submission = map[string]bool{
	"alternateOf prov:alternate1": true, "alternateOf prov:alternate2": true, "mentionOf prov:bundle": true,
}

// What is written has the form of the published examples: the same statements with
// the same arguments, names with declared prefixes, and typed values.
func TestExportHasTheFormOfTheExamples(t *testing.T) {
	dir := vectors(t, "prov")
	known := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "json", "*.json"))
	if err != nil || len(files) < 150 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := eachArgument(raw, func(form, argument string, _ any) { known[form+" "+argument] = true }); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	document := exported(t, scenario(t), &pb.ExportRequest{Start: of(mercy, "results.csv"), MaxDepth: 9}).Document
	var prefixes struct{ Prefix map[string]string }
	if err := json.Unmarshal(document, &prefixes); err != nil {
		t.Fatal(err)
	}
	declared := func(name string) bool {
		prefix, local, ok := strings.Cut(name, ":")
		return ok && local != "" && (prefix == "prov" || prefix == "xsd" || prefixes.Prefix[prefix] != "")
	}
	count := 0
	err = eachArgument(document, func(form, argument string, value any) {
		count++
		if strings.HasPrefix(argument, "prov:") && !known[form+" "+argument] && !submission[form+" "+argument] {
			t.Errorf("no example has %s in %s", argument, form)
		}
		if !declared(argument) {
			t.Errorf("%s of %s has no declared prefix", argument, form)
		}
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, v := range list {
			switch v := v.(type) {
			case string:
			case map[string]any:
				text, hasText := v["$"].(string)
				datatype, hasType := v["type"].(string)
				if !hasText || !hasType || len(v) != 2 || !declared(datatype) || datatype == qualifiedName && !declared(text) {
					t.Errorf("%s of %s has the value %v", argument, form, v)
				}
			default:
				t.Errorf("%s of %s has the value %v", argument, form, v)
			}
		}
	})
	if err != nil || count < 100 {
		t.Fatalf("%d arguments, %v", count, err)
	}
}

// eachArgument calls fn for each argument of each statement of a PROV-JSON document
// and of its bundles.
func eachArgument(raw []byte, fn func(form, argument string, value any)) error {
	var d map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	for form, statements := range d {
		for _, raw := range statements {
			switch form {
			case "prefix":
				continue
			case "bundle":
				if err := eachArgument(raw, fn); err != nil {
					return err
				}
				continue
			}
			var list []map[string]any
			if json.Unmarshal(raw, &list) != nil {
				var one map[string]any
				if err := json.Unmarshal(raw, &one); err != nil {
					return err
				}
				list = []map[string]any{one}
			}
			for _, s := range list {
				for argument, value := range s {
					fn(form, argument, value)
				}
			}
		}
	}
	return nil
}
