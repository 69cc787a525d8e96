package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// blank is a new message of a type that is linked into the program.
func blank(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, fmt.Errorf("%s is not linked into this program: %w", d.FullName(), err)
	}
	return t.New().Interface(), nil
}

// about is the long help of a message: its comment, and the fields of the messages
// nested in it, which flags take as JSON.
func about(text string, d protoreflect.MessageDescriptor) string {
	var b strings.Builder
	b.WriteString(wrap(text, 78, ""))
	seen := map[protoreflect.FullName]bool{d.FullName(): true}
	var nested []protoreflect.MessageDescriptor
	var collect func(protoreflect.MessageDescriptor)
	collect = func(d protoreflect.MessageDescriptor) {
		for i := range d.Fields().Len() {
			if m := d.Fields().Get(i).Message(); m != nil && !seen[m.FullName()] {
				seen[m.FullName()] = true
				nested = append(nested, m)
				collect(m)
			}
		}
	}
	collect(d)
	for _, m := range nested {
		fmt.Fprintf(&b, "\n\n%s:", m.Name())
		width := 0
		for i := range m.Fields().Len() {
			width = max(width, len(m.Fields().Get(i).Name()))
		}
		for i := range m.Fields().Len() {
			fd := m.Fields().Get(i)
			text := comment(fd)
			switch {
			case fd.Kind() == protoreflect.EnumKind:
				text = strings.TrimSpace(text + " One of " + strings.Join(choices(fd.Enum()), ", ") + ".")
			case fd.Message() != nil:
				text = strings.TrimSpace(text + " " + string(fd.Message().Name()) + ".")
			}
			if fd.IsList() {
				text = "List. " + text
			}
			indent := strings.Repeat(" ", width+4)
			fmt.Fprintf(&b, "\n  %-*s  %s", width, fd.Name(), strings.TrimLeft(wrap(text, 78, indent), " "))
		}
	}
	return b.String()
}

// wrap breaks text into lines of at most width, each behind an indent.
func wrap(text string, width int, indent string) string {
	var out []string
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > width {
			out = append(out, line)
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	return strings.Join(append(out, line), "\n")
}

// skeleton is JSON with every field of a message, for people to fill in: of each
// oneof the first, of each list one element.
func skeleton(d protoreflect.MessageDescriptor) (string, error) {
	raw, err := json.Marshal(skeletonOf(d, nil))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return "", err
	}
	return out.String() + "\n", nil
}

func skeletonOf(d protoreflect.MessageDescriptor, above []protoreflect.FullName) facts {
	above = append(above, d.FullName())
	var out facts
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		if o := fd.ContainingOneof(); o != nil && o.Fields().Get(0) != fd {
			continue
		}
		v, ok := skeletonValue(fd, above)
		if !ok {
			continue
		}
		if fd.IsList() {
			v = []any{v}
		}
		out = append(out, fact{string(fd.Name()), v})
	}
	return out
}

// skeletonValue is an example of one value; false where a type holds itself.
func skeletonValue(fd protoreflect.FieldDescriptor, above []protoreflect.FullName) (any, bool) {
	switch {
	case fd.Message() != nil:
		for _, name := range above {
			if name == fd.Message().FullName() {
				return nil, false
			}
		}
		return skeletonOf(fd.Message(), above), true
	case fd.Kind() == protoreflect.BytesKind:
		return "hex:", true
	case fd.Kind() == protoreflect.EnumKind:
		if c := choices(fd.Enum()); len(c) > 0 {
			return c[0], true
		}
		return 0, true
	case isTime(fd):
		return "+24h", true
	case isSpan(fd):
		return "1h", true
	case fd.Kind() == protoreflect.BoolKind:
		return false, true
	case fd.Kind() == protoreflect.StringKind:
		return "", true
	default:
		return 0, true
	}
}
