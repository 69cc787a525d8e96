package stix

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/intel"
)

var now = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

func options() Options { return Options{Now: now, Level: intel.LevelGuarded} }

func id(n int) string { return fmt.Sprintf("indicator--%08x-0000-4000-8000-000000000000", n) }

// indicator is an indicator object with changes.
func indicator(n int, pattern string, changes map[string]any) map[string]any {
	o := map[string]any{
		"type": "indicator", "spec_version": "2.1", "id": id(n), "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z",
		"pattern": pattern, "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z",
	}
	for k, v := range changes {
		if v == nil {
			delete(o, k)
		} else {
			o[k] = v
		}
	}
	return o
}

func read(t *testing.T, o Options, objects ...map[string]any) *Report {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"type": "bundle", "id": "bundle--1", "objects": objects})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(strings.NewReader(string(raw)), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func brief(list []intel.Indicator) string {
	var out []string
	for _, i := range list {
		out = append(out, fmt.Sprintf("%s:%s=%s", i.Kind, strings.TrimPrefix(i.Value, "did:chancery:"), i.Level))
	}
	return strings.Join(out, " ")
}

const (
	sha  = "ef537f25c895bfa782526529a9b63d97aa631564d5d789c2b765448c8635fb6c"
	node = "0123456789abcdef0123456789abcdef01234567"
)

func TestPatternsThatAreAChoiceAreMapped(t *testing.T) {
	for pattern, want := range map[string]string{
		`[user-account:account_login = 'did:chancery:acme:pat']`:                                                "did:acme:pat=guarded",
		`[x-chancery-did:value IN ('did:chancery:acme', 'did:chancery:mercy:kim')]`:                             "did:acme=guarded did:mercy:kim=guarded",
		`[x-chancery-organisation:value = 'did:chancery:acme' OR x-chancery-key:value = 'z6Mk']`:                "organisation:acme=guarded key:z6Mk=guarded",
		`([x-chancery-did:value='did:chancery:acme'] OR [(x-chancery-node:value = '` + node + `')])`:            "did:acme=guarded node-id:" + node + "=guarded",
		`[file:hashes.'SHA-256' = '` + strings.ToUpper(sha) + `']`:                                              "resource-hash:" + sha + "=guarded",
		`[file:hashes."SHA-256" = '` + sha + `']`:                                                               "",
		`[x-chancery-key:value = 'it\'s \\']`:                                                                   `key:it's \=guarded`,
		"[\n x-chancery-did:value\t= 'did:chancery:acme' ]":                                                     "did:acme=guarded",
		`[x-chancery-did:value = 'did:chancery:acme'] OR [ipv4-addr:value = '198.51.100.1']`:                    "did:acme=guarded",
		`[x-chancery-did:value = 'did:chancery:acme'] OR [x-chancery-did:value = 'did:chancery:acme']`:          "did:acme=guarded",
		`[user-account:account_login = 'root']`:                                                                 "",
		`[x-chancery-did:value = 'did:chancery:acme' AND x-chancery-key:value = 'k']`:                           "",
		`[x-chancery-did:value = 'did:chancery:acme'] FOLLOWEDBY [x-chancery-did:value = 'did:chancery:mercy']`: "",
	} {
		r := read(t, options(), indicator(1, pattern, nil))
		if got := brief(r.Indicators); got != want {
			t.Errorf("%s: %q, want %q (%v)", pattern, got, want, r.Unmapped)
		}
		if want == "" && len(r.Unmapped) == 0 {
			t.Errorf("%s was dropped in silence", pattern)
		}
	}
	r := read(t, options(), indicator(1, `[x-chancery-did:value = 'did:chancery:acme' OR ipv4-addr:value IN ('198.51.100.1', '198.51.100.2')]`, nil))
	if len(r.Unmapped) != 2 || !strings.Contains(r.Unmapped[1].Reason, "at byte 47: ipv4-addr:value") || r.Unmapped[0].ID != id(1) || r.Mapped[0].Count != 1 {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsNotMappedIsToldWithItsReason(t *testing.T) {
	const ok = `[x-chancery-did:value = 'did:chancery:acme']`
	for name, c := range map[string]struct {
		pattern string
		changes map[string]any
		reason  string
	}{
		"revoked":          {ok, map[string]any{"revoked": true}, "revoked"},
		"over":             {ok, map[string]any{"valid_until": "2026-02-01T00:00:00Z"}, "was valid until"},
		"later":            {ok, map[string]any{"valid_from": "2026-07-01T00:00:00Z"}, "import it again then"},
		"no start":         {ok, map[string]any{"valid_from": nil}, "valid_from"},
		"turned":           {ok, map[string]any{"valid_until": "2025-01-01T00:00:00Z"}, "after valid_from"},
		"old version":      {ok, map[string]any{"spec_version": nil}, "spec_version"},
		"language":         {ok, map[string]any{"pattern_type": "yara"}, "yara"},
		"no pattern":       {ok, map[string]any{"pattern": nil}, "pattern is missing"},
		"pattern's type":   {ok, map[string]any{"pattern": 7}, "not valid"},
		"no confidence":    {ok, map[string]any{"confidence": 0}, "confidence is 0"},
		"confidence":       {ok, map[string]any{"confidence": 101}, "0 to 100"},
		"benign":           {ok, map[string]any{"indicator_types": []string{"benign"}}, "benign"},
		"amber":            {ok, map[string]any{"object_marking_refs": []string{"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"}}, "keeps it from the consortium"},
		"red":              {ok, map[string]any{"object_marking_refs": []string{"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"}}, "keeps it from the consortium"},
		"unknown marking":  {ok, map[string]any{"object_marking_refs": []string{"marking-definition--00000000-0000-4000-8000-000000000000"}}, "not known"},
		"granular":         {ok, map[string]any{"granular_markings": []any{map[string]any{"selectors": []string{"pattern"}}}}, "granular_markings"},
		"id":               {ok, map[string]any{"id": "indicator--1"}, "id"},
		"malware":          {ok, map[string]any{"type": "malware", "id": "malware--00000001-0000-4000-8000-000000000000"}, "only objects of type indicator"},
		"no type":          {ok, map[string]any{"type": nil}, "no type"},
		"LIKE":             {`[x-chancery-did:value LIKE 'did:chancery:%']`, nil, "LIKE is a match"},
		"MATCHES":          {`[x-chancery-did:value MATCHES '^did']`, nil, "MATCHES is a regular"},
		"NOT":              {`[x-chancery-did:value NOT = 'did:chancery:acme']`, nil, "NOT is a negation"},
		"not equal":        {`[x-chancery-did:value != 'did:chancery:acme']`, nil, "! is not supported"},
		"greater":          {`[x-chancery-did:value > 'a']`, nil, "> is not supported"},
		"EXISTS":           {`[EXISTS x-chancery-did:value]`, nil, "EXISTS asks"},
		"AND observations": {ok + ` AND ` + ok, nil, "AND needs several"},
		"WITHIN":           {ok + ` WITHIN 5 SECONDS`, nil, "WITHIN bounds"},
		"REPEATS":          {ok + ` REPEATS 5 TIMES`, nil, "REPEATS counts"},
		"START":            {ok + ` START t'2026-01-01T00:00:00Z' STOP t'2026-02-01T00:00:00Z'`, nil, "START bounds"},
		"number":           {`[x-chancery-did:value = 5]`, nil, "is no string"},
		"binary":           {`[x-chancery-did:value = b'AA==']`, nil, "is no string"},
		"open string":      {`[x-chancery-did:value = 'did`, nil, "not closed"},
		"open bracket":     {`[x-chancery-did:value = 'did:chancery:acme'`, nil, "the pattern ends"},
		"escape":           {`[x-chancery-did:value = 'a\n']`, nil, "backslash"},
		"empty":            {``, nil, "the pattern ends"},
		"empty list":       {`[x-chancery-did:value IN ()]`, nil, "a value in single quotes"},
		"more":             {ok + ` x`, nil, "expected the end"},
		"deep":             {strings.Repeat("(", 40) + ok + strings.Repeat(")", 40), nil, "nested"},
		"long":             {`[x-chancery-key:value = '` + strings.Repeat("x", maxPattern) + `']`, nil, "bytes"},
		"many":             {`[x-chancery-key:value IN ('a'` + strings.Repeat(",'a'", maxValues) + `)]`, nil, "values"},
		"path":             {`[file:name = 'x.exe']`, nil, "file:name names nobody"},
		"hash":             {`[file:hashes.'SHA-256' = 'abc']`, nil, "64 hexadecimal"},
	} {
		o := indicator(1, c.pattern, c.changes)
		r := read(t, options(), o)
		if len(r.Indicators) != 0 || len(r.Mapped) != 0 || len(r.Unmapped) != 1 || !strings.Contains(r.Unmapped[0].Reason, c.reason) || r.Unmapped[0].ID == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestConfidenceTimeAndMarkingsAreHonoured(t *testing.T) {
	did := func(s string) string { return `[x-chancery-did:value = 'did:chancery:` + s + `']` }
	tlp := map[string]any{"type": "marking-definition", "spec_version": "2.1", "id": "marking-definition--aaaaaaaa-0000-4000-8000-000000000000",
		"extensions": map[string]any{"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": map[string]any{"extension_type": "property-extension", "tlp_2_0": "amber"}}}
	statement := map[string]any{"type": "marking-definition", "spec_version": "2.1", "id": "marking-definition--bbbbbbbb-0000-4000-8000-000000000000",
		"definition_type": "statement", "definition": map[string]any{"statement": "Copyright"}}
	objects := []map[string]any{
		indicator(1, did("aa"), map[string]any{"confidence": 29}),
		indicator(2, did("bb"), map[string]any{"confidence": 69, "valid_until": "2027-01-01T00:00:00Z"}),
		indicator(3, did("cc"), map[string]any{"confidence": 100, "object_marking_refs": []string{"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"}}),
		indicator(4, did("bb"), map[string]any{"confidence": 5}), // the higher level stands
		indicator(5, did("dd"), map[string]any{"object_marking_refs": []string{tlp["id"].(string)}}),
		indicator(6, did("ee"), map[string]any{"object_marking_refs": []string{statement["id"].(string)}}),
		tlp, statement,
	}
	r := read(t, options(), objects...)
	if got := brief(r.Indicators); got != "did:aa=low did:bb=guarded did:cc=high did:ee=guarded" {
		t.Errorf("%s", got)
	}
	if r.Indicators[1].Until != time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() || r.Indicators[1].Note != id(2) {
		t.Errorf("%+v", r.Indicators[1])
	}
	wider := options()
	wider.Sharing = Amber
	if got := brief(read(t, wider, objects...).Indicators); !strings.Contains(got, "did:dd=guarded") {
		t.Errorf("%s", got)
	}
	// The latest version of an object counts, wherever it stands; a revocation too.
	r = read(t, options(),
		indicator(1, did("aa"), map[string]any{"modified": "2026-03-01T00:00:00Z", "revoked": true}),
		indicator(1, did("aa"), map[string]any{"modified": "2026-02-01T00:00:00Z"}),
		indicator(2, did("bb"), map[string]any{"modified": "2026-02-01T00:00:00Z"}),
		indicator(2, did("cc"), map[string]any{"modified": "2026-03-01T00:00:00Z"}))
	if got := brief(r.Indicators); got != "did:cc=guarded" || len(r.Unmapped) != 3 {
		t.Errorf("%s, %+v", got, r.Unmapped)
	}
}

// Every object is in the report.
func TestNothingIsDroppedInSilence(t *testing.T) {
	r, err := Read(strings.NewReader(`{"type":"bundle","id":"bundle--1","objects":[{"type":"identity","id":"identity--1"},7,null,{},{"type":"indicator"},{"type":3,"id":"x"},[]]}`), options())
	if err != nil || r.Objects != 7 || len(r.Unmapped) != 7 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBundlesAreBounded(t *testing.T) {
	for name, raw := range map[string]string{
		"deep":   `{"type":"bundle","objects":[` + strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat("}", 100) + `]}`,
		"many":   `{"type":"bundle","objects":[` + strings.Repeat("1,", maxObjects) + `1]}`,
		"other":  `{"type":"report"}`,
		"list":   `[]`,
		"none":   ``,
		"two":    `{"type":"bundle"} {}`,
		"binary": "{\"type\":\"bundle\xff\"}",
		"large":  strings.Repeat(" ", MaxBytes+1),
	} {
		if _, err := Read(strings.NewReader(raw), options()); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if _, err := Read(strings.NewReader(`{"type":"bundle","x":"`+strings.Repeat("{[", 200)+`\"{"}`), options()); err != nil {
		t.Errorf("braces in a string count as nesting: %v", err)
	}
}

func FuzzChoices(f *testing.F) {
	for _, s := range []string{`[a:b = 'c']`, `([a:b.'c'[0].d IN ('e', 'f')] OR [(g:h = 'i\'')])`, `[a:b = t'x'] WITHIN 1 SECONDS`, `[x[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := choices(s)
		if (err == nil) == (len(list) == 0) {
			t.Fatalf("%d comparisons and %v", len(list), err)
		}
		n := 0
		for _, c := range list {
			n += len(c.values)
			if !strings.HasPrefix(s[c.at:], c.path) {
				t.Fatalf("%q is not at byte %d", c.path, c.at)
			}
		}
		if n > maxValues {
			t.Fatalf("%d values", n)
		}
	})
}

func FuzzRead(f *testing.F) {
	raw, err := json.Marshal(map[string]any{"type": "bundle", "id": "bundle--1", "objects": []any{indicator(1, `[x-chancery-did:value = 'did:chancery:acme']`, nil)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(raw))
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Read(strings.NewReader(s), options())
		if err != nil {
			return
		}
		if len(r.Mapped)+len(r.Unmapped) < r.Objects {
			t.Fatalf("%d objects, %d mapped, %d not", r.Objects, len(r.Mapped), len(r.Unmapped))
		}
		for _, i := range r.Indicators {
			if err := i.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
