package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// maxShown is the most bytes of one value that text shows.
const maxShown = 128

// render is a message for people: a line for each field that is set, aligned, with
// nested messages indented below their name.
func render(m protoreflect.Message) string {
	var b strings.Builder
	renderFields(&b, m, "")
	if b.Len() == 0 {
		return "(empty)\n"
	}
	return b.String()
}

func renderFields(b *strings.Builder, m protoreflect.Message, indent string) {
	if e, ok := m.Interface().(*chainv1.Event); ok {
		if value := decode(e.Type, e.Value); value != nil {
			fmt.Fprintf(b, "%s%s\n", indent, shortType(e.Type))
			renderFields(b, value.ProtoReflect(), indent+"  ")
			return
		}
	}
	fields := m.Descriptor().Fields()
	width := 0
	for i := range fields.Len() {
		if fd := fields.Get(i); shown(m, fd) && inline(fd, m.Get(fd)) {
			width = max(width, len(fd.Name()))
		}
	}
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !shown(m, fd) {
			continue
		}
		v := m.Get(fd)
		switch {
		case inline(fd, v):
			line := fmt.Sprintf("%s%-*s  %s", indent, width, fd.Name(), leaf(fd, v, indent+"  "))
			if name, text, several := strings.Cut(line, "\n"); several {
				line = strings.TrimRight(name, " ") + "\n" + text
			}
			b.WriteString(line + "\n")
		case fd.IsList():
			fmt.Fprintf(b, "%s%s\n", indent, fd.Name())
			renderList(b, fd, v.List(), indent)
		default:
			fmt.Fprintf(b, "%s%s\n", indent, fd.Name())
			if empty(v.Message()) {
				fmt.Fprintf(b, "%s  (empty)\n", indent)
			}
			renderFields(b, v.Message(), indent+"  ")
		}
	}
}

func renderList(b *strings.Builder, fd protoreflect.FieldDescriptor, l protoreflect.List, indent string) {
	for i := range l.Len() {
		if fd.Message() == nil {
			fmt.Fprintf(b, "%s  - %s\n", indent, scalar(fd, l.Get(i), indent+"    "))
			continue
		}
		var item strings.Builder
		renderFields(&item, l.Get(i).Message(), indent+"    ")
		text := item.String()
		if text == "" {
			text = indent + "    (empty)\n"
		}
		b.WriteString(indent + "  - " + strings.TrimPrefix(text, indent+"    "))
	}
}

// shown leaves out what is not set; a bool is worth saying either way.
func shown(m protoreflect.Message, fd protoreflect.FieldDescriptor) bool {
	return m.Has(fd) || fd.Kind() == protoreflect.BoolKind && fd.ContainingOneof() == nil && !fd.IsList()
}

func empty(m protoreflect.Message) bool {
	none := true
	m.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool { none = false; return false })
	return none
}

// inline tells whether the value stands on the line of its name.
func inline(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	if fd.Message() != nil {
		return false
	}
	return !fd.IsList() || v.List().Len() == 1 || fd.Kind() != protoreflect.StringKind && fd.Kind() != protoreflect.BytesKind
}

func leaf(fd protoreflect.FieldDescriptor, v protoreflect.Value, indent string) string {
	if !fd.IsList() {
		return scalar(fd, v, indent)
	}
	parts := make([]string, v.List().Len())
	for i := range parts {
		parts[i] = scalar(fd, v.List().Get(i), indent)
	}
	return strings.Join(parts, ", ")
}

// scalar is a value in words: bytes in hexadecimal, times in RFC 3339, enums by
// their short name, longer text as a block.
func scalar(fd protoreflect.FieldDescriptor, v protoreflect.Value, indent string) string {
	switch fd.Kind() {
	case protoreflect.BytesKind:
		if text := string(v.Bytes()); len(text) > 32 && printable(text) {
			return block(text, indent)
		}
		if raw := v.Bytes(); len(raw) > maxShown {
			return fmt.Sprintf("%x… (%d bytes; --output json has them all)", raw[:maxShown/2], len(raw))
		}
		return hex.EncodeToString(v.Bytes())
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return shortName(e)
		}
		return fmt.Sprint(v.Enum())
	case protoreflect.Int64Kind:
		if isTime(fd) && v.Int() != 0 {
			return stamp(v.Int())
		}
		return fmt.Sprint(v.Int())
	case protoreflect.StringKind:
		return block(v.String(), indent)
	case protoreflect.BoolKind:
		return yes(v.Bool())
	default:
		return fmt.Sprint(v.Interface())
	}
}

// block puts text of several lines below its name, and documents in JSON in lines.
func block(text, indent string) string {
	var lines bytes.Buffer
	if len(text) > maxShown/2 && strings.ContainsRune("{[", rune(text[0])) && json.Indent(&lines, []byte(text), "", "  ") == nil {
		text = lines.String()
	}
	text = clean(strings.TrimRight(text, "\n"))
	if !strings.Contains(text, "\n") {
		return text
	}
	return "\n" + indent + strings.ReplaceAll(text, "\n", "\n"+indent)
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return false
		}
	}
	return true
}
