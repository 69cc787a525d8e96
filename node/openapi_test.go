package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/rpc"
)

// description is an OpenAPI document as far as the test reads it.
type description struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Schema   schema
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema schema }
	}
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Enum                 []string
	Properties           map[string]schema
	Items                *schema
	AdditionalProperties json.RawMessage
}

// faults are where a value is not as its schema says.
func (d *description) faults(at string, s schema, value any) (out []string) {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		known, found := d.Components.Schemas[name]
		if !found {
			return []string{at + ": there is no schema " + name}
		}
		return d.faults(at, known, value)
	}
	wrong := func(ok bool) []string {
		if ok {
			return nil
		}
		return []string{fmt.Sprintf("%s is %v, want %s", at, value, s.Type)}
	}
	switch s.Type {
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			return wrong(value == nil) // a message that is not set
		}
		for name, one := range object {
			p, known := s.Properties[name]
			switch {
			case known:
				out = append(out, d.faults(at+"."+name, p, one)...)
			case s.AdditionalProperties == nil && s.Properties != nil:
				out = append(out, at+"."+name+" is not described")
			}
		}
		return out
	case "array":
		list, ok := value.([]any)
		for i, one := range list {
			out = append(out, d.faults(fmt.Sprintf("%s[%d]", at, i), *s.Items, one)...)
		}
		return append(out, wrong(ok)...)
	case "string":
		text, ok := value.(string)
		for _, e := range s.Enum {
			if e == text {
				return nil
			}
		}
		return wrong(ok && len(s.Enum) == 0)
	case "boolean":
		_, ok := value.(bool)
		return wrong(ok)
	case "integer", "number":
		_, ok := value.(float64)
		return wrong(ok)
	}
	return []string{at + ": the schema has no type"}
}

// The node serves what its OpenAPI document describes, as it describes it, and nothing
// else.
func TestOpenAPI(t *testing.T) {
	d := openDoors(t, nil)
	web := d.browse(d.pair(d.alpha, certs.Request{DID: admin}))
	get := func(verb, path, body string) (*http.Response, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), verb, "https://"+d.web+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		raw, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, raw
	}
	_, raw := get("GET", "/openapi.json", "")
	var doc description
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}

	described := make(map[string]bool)
	for path, item := range doc.Paths {
		for verb := range item {
			described[strings.ToUpper(verb)+" "+path] = true
		}
	}
	served := make(map[string]rpc.Route)
	for _, r := range d.server.Routes() {
		served[r.Verb+" "+r.Path] = r
		if !described[r.Verb+" "+r.Path] {
			t.Errorf("%s %s is served and not described", r.Verb, r.Path)
		}
	}
	for one := range described {
		if _, ok := served[one]; !ok {
			t.Errorf("%s is described and not served", one)
		}
	}

	// What identifies something that is there, so that there is an answer.
	known := map[string]string{"did": desk, "organisation": alpha, "actor": desk}
	answered := 0
	for key, r := range served {
		op := doc.Paths[r.Path][strings.ToLower(r.Verb)]
		if want := strings.ReplaceAll(strings.TrimPrefix(r.Method, "/"), "/", "."); op.OperationID != want {
			t.Errorf("%s is described as %s", key, op.OperationID)
		}
		path, query := r.Path, url.Values{}
		for _, p := range op.Parameters {
			value, ok := known[p.Name]
			switch {
			case p.In == "path" && !ok:
				path = strings.ReplaceAll(path, "{"+p.Name+"}", "1234")
			case p.In == "path":
				path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
			case p.In == "query" && ok:
				query.Set(p.Name, value)
			case p.In == "query" && p.Name == "from.height":
				query.Set(p.Name, "1")
			case p.In == "query" && p.Schema.Type != "array" && p.Schema.Ref == "":
				// Each parameter that is described is known to the node: an empty text, a 0.
				query.Set(p.Name, map[string]string{"string": "", "integer": "0", "boolean": "false"}[p.Schema.Type])
				if p.Schema.Type == "string" {
					query.Del(p.Name)
				}
			}
		}
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		response, raw := get(r.Verb, path, "{}")
		kind := response.Header.Get("Content-Type")
		s := schema{Ref: "#/components/schemas/google.rpc.Status"}
		if response.StatusCode == http.StatusOK {
			answered++
			content, ok := op.Responses["200"].Content[kind]
			if !ok {
				t.Errorf("%s answers in %s, which is not described", key, kind)
				continue
			}
			s = content.Schema
		} else if kind != "application/json" || response.StatusCode == 404 && strings.Contains(string(raw), `"node/10"`) || response.StatusCode == 500 {
			t.Errorf("%s: %s %s", key, response.Status, raw)
			continue
		}
		for l := range strings.Lines(strings.TrimSpace(string(raw))) {
			text := l
			if kind != "application/x-ndjson" {
				text = string(raw)
			}
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				t.Errorf("%s: %v of %.200s", key, err, text)
				break
			}
			for _, f := range doc.faults(key, s, value) {
				t.Error(f)
			}
			if kind != "application/x-ndjson" {
				break
			}
		}
	}
	if answered < 35 {
		t.Errorf("only %d of %d methods answered with success", answered, len(served))
	}
	for _, path := range []string{"/", "/v1", "/v1/node", "/metrics", "/debug/pprof/", "/status", "/health", "/v2/node/status", "/openapi.yaml"} {
		if response, raw := get("GET", path, ""); response.StatusCode != 404 || !strings.Contains(string(raw), `"node/10"`) {
			t.Errorf("%s: %s %s", path, response.Status, raw)
		}
	}
}
