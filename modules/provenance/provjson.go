package provenance

import (
	"bytes"
	"encoding/json"

	"github.com/chancery/chancery/chain/state"
)

// object is a JSON object, written with its keys sorted.
type object map[string]any

// json is the document in PROV-JSON, https://www.w3.org/Submission/prov-json/, with
// keys sorted and two spaces of indentation.
func (d document) json() []byte {
	p := newPrefixes()
	out := object{}
	for _, s := range d.statements(p) {
		o := object{}
		for _, a := range s.arguments {
			if a.value != "" {
				o[a.name] = a.value
			}
		}
		for _, q := range s.properties {
			o[q.name] = join(o[q.name], value(q.value))
		}
		section, ok := out[s.form].(object)
		if !ok {
			section = object{}
			out[s.form] = section
		}
		section[s.id] = o
	}
	names := object{}
	for _, x := range p.list {
		names[x.name] = x.namespace
	}
	out["prefix"] = names
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		panic(&state.Fault{Where: "marshal a PROV-JSON document", Err: err})
	}
	return b.Bytes()
}

func value(l literal) any {
	if l.datatype == "" {
		return l.text
	}
	return object{"$": l.text, "type": l.datatype}
}

// join makes a list of the values of a name that is there more than once.
func join(have, more any) any {
	switch h := have.(type) {
	case nil:
		return more
	case []any:
		return append(h, more)
	default:
		return []any{h, more}
	}
}
