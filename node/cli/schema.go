package cli

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/chancery/chancery/chain/tx"
	_ "github.com/chancery/chancery/proto/chancery/node/v1" // registers the service Node
)

//go:generate go run ../../scripts/protodoc

//go:embed comments.txt
var commentsFile string

// comments is the comment of each message, field, enum, value, service and method
// by full name.
var comments = sync.OnceValue(func() map[protoreflect.FullName]string {
	out := make(map[protoreflect.FullName]string)
	for line := range strings.Lines(commentsFile) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ok {
			out[protoreflect.FullName(name)] = text
		}
	}
	return out
})

func comment(d protoreflect.Descriptor) string { return comments()[d.FullName()] }

// sentenceOf is the first sentence of a comment, without its full stop.
func sentenceOf(text string) string {
	for i := range len(text) - 1 {
		if text[i] == '.' && text[i+1] == ' ' && (i < 4 || !strings.HasSuffix(text[:i], "e.g") && !strings.HasSuffix(text[:i], "i.e") && !strings.HasSuffix(text[:i], "Art")) {
			return text[:i]
		}
	}
	return strings.TrimSuffix(text, ".")
}

// part is what one module lets people say and ask.
type part struct {
	name     string
	messages []protoreflect.FieldDescriptor // arms of tx.v1.Message
	queries  []protoreflect.MethodDescriptor
}

// parts lists the modules in order of their names, from the descriptors that are
// linked into the program. The chain's own messages are the part chain, the
// questions about a node the part node.
var parts = sync.OnceValue(func() []part {
	byName := make(map[string]*part)
	at := func(name string) *part {
		if byName[name] == nil {
			byName[name] = &part{name: name}
		}
		return byName[name]
	}
	for _, arm := range tx.Arms() {
		p := at(moduleOf(arm.Message()))
		p.messages = append(p.messages, arm)
	}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			if module := moduleOf(s); module != "" && (s.Name() == "Query" || s.FullName() == "chancery.node.v1.Node") {
				for k := range s.Methods().Len() {
					if m := s.Methods().Get(k); !m.IsStreamingClient() && !m.IsStreamingServer() {
						p := at(module)
						p.queries = append(p.queries, m)
					}
				}
			}
		}
		return true
	})
	out := make([]part, 0, len(byName))
	for _, p := range byName {
		slices.SortFunc(p.messages, func(a, b protoreflect.FieldDescriptor) int {
			return strings.Compare(string(a.Message().Name()), string(b.Message().Name()))
		})
		slices.SortFunc(p.queries, func(a, b protoreflect.MethodDescriptor) int {
			return strings.Compare(string(a.Name()), string(b.Name()))
		})
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return out
})

// moduleOf is the M of chancery.M.v1.
func moduleOf(d protoreflect.Descriptor) string {
	p := strings.Split(string(d.ParentFile().Package()), ".")
	if len(p) != 3 || p[0] != "chancery" || p[2] != "v1" {
		return ""
	}
	return p[1]
}

// kebab turns GiveConsent and give_consent into give-consent.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case r == '_':
			b.WriteByte('-')
		case r >= 'A' && r <= 'Z':
			if i > 0 && name[i-1] != '_' && !(name[i-1] >= 'A' && name[i-1] <= 'Z') {
				b.WriteByte('-')
			}
			b.WriteRune(r + 'a' - 'A')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// shortName is METHOD_IN_PERSON of enum Method as in-person.
func shortName(v protoreflect.EnumValueDescriptor) string {
	prefix := strings.ToUpper(strings.ReplaceAll(kebab(string(v.Parent().Name())), "-", "_")) + "_"
	return kebab(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix)))
}

// choices are the short names that may be given for an enum: not the unspecified
// value.
func choices(e protoreflect.EnumDescriptor) []string {
	var out []string
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); v.Number() != 0 {
			out = append(out, shortName(v))
		}
	}
	return out
}

// isTime tells whether an integer is Unix milliseconds, by its name or its comment.
func isTime(fd protoreflect.FieldDescriptor) bool {
	if fd.Kind() != protoreflect.Int64Kind {
		return false
	}
	name := string(fd.Name())
	for _, suffix := range []string{"_at", "_until", "_time"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	switch name {
	case "at", "time", "until", "valid_from", "as_of":
		return true
	}
	return strings.Contains(comment(fd), "Unix milliseconds")
}

// isSpan tells whether an integer is a duration in milliseconds.
func isSpan(fd protoreflect.FieldDescriptor) bool {
	switch fd.Kind() {
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Uint32Kind, protoreflect.Int32Kind:
		return strings.HasSuffix(string(fd.Name()), "_ms")
	default:
		return false
	}
}

// choiceOf is the short name of an enum's number.
func choiceOf(e protoreflect.EnumDescriptor, n int32) string {
	if v := e.Values().ByNumber(protoreflect.EnumNumber(n)); v != nil {
		return shortName(v)
	}
	return strconv.Itoa(int(n))
}

// eventTypes lists, for the shell, the messages of the modules' event.proto files.
func eventTypes() []string {
	var out []string
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasSuffix(f.Path(), "/event.proto") || moduleOf(f) == "node" {
			return true
		}
		for i := range f.Messages().Len() {
			out = append(out, shortType(string(f.Messages().Get(i).FullName())))
		}
		return true
	})
	slices.Sort(out)
	return out
}
