package provenance

import "strings"

// provN is the document in PROV-N, https://www.w3.org/TR/prov-n/, one statement a
// line.
func (d document) provN() []byte {
	p := newPrefixes()
	statements := d.statements(p)
	var b strings.Builder
	b.WriteString("document\n")
	for _, x := range p.list {
		b.WriteString("  prefix " + x.name + " <" + x.namespace + ">\n")
	}
	for _, s := range statements {
		b.WriteString("  " + s.form + "(")
		node := s.form == "entity" || s.form == "activity" || s.form == "agent"
		var parts []string
		switch {
		case node:
			parts = append(parts, escaped(s.id))
		case !s.bare:
			b.WriteString(escaped(s.id) + "; ")
		}
		for _, a := range s.arguments {
			switch {
			case a.value == "":
				parts = append(parts, "-")
			case isTime(a.value):
				parts = append(parts, a.value)
			default:
				parts = append(parts, escaped(a.value))
			}
		}
		if len(s.properties) > 0 {
			var list []string
			for _, q := range s.properties {
				list = append(list, escaped(q.name)+"="+provNLiteral(q.value))
			}
			parts = append(parts, "["+strings.Join(list, ", ")+"]")
		}
		b.WriteString(strings.Join(parts, ", ") + ")\n")
	}
	b.WriteString("endDocument\n")
	return []byte(b.String())
}

// localEscapes are the characters that PROV-N section 3.7.1 has behind a backslash
// in the local part of a name.
const localEscapes = "='(),:;[]"

// escaped is a qualified name as PROV-N writes it.
func escaped(name string) string {
	prefix, local, _ := strings.Cut(name, ":")
	var b strings.Builder
	b.WriteString(prefix + ":")
	for i := 0; i < len(local); i++ {
		c := local[i]
		last := i == len(local)-1
		switch {
		case strings.IndexByte(localEscapes, c) >= 0, c == '.' && (i == 0 || last), c == '-' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func provNLiteral(l literal) string {
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(l.text) + `"`
	switch l.datatype {
	case "":
		return quoted
	case qualifiedName:
		return "'" + escaped(l.text) + "'"
	default:
		return quoted + " %% " + l.datatype
	}
}
