package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldFlag is the flag of one field of a message. It keeps what was written; apply
// reads it, since a file may have to be read.
type fieldFlag struct {
	fd    protoreflect.FieldDescriptor
	name  string
	texts []string
}

// String implements pflag.Value.
func (f *fieldFlag) String() string { return strings.Join(f.texts, ",") }

// Set implements pflag.Value: a list grows, everything else is replaced.
func (f *fieldFlag) Set(s string) error {
	if !f.fd.IsList() {
		f.texts = nil
	}
	f.texts = append(f.texts, s)
	return nil
}

// Type implements pflag.Value; help shows it.
func (f *fieldFlag) Type() string {
	kind := ""
	switch {
	case f.fd.Message() != nil:
		kind = "json"
	case f.fd.Kind() == protoreflect.BytesKind:
		kind = "hex"
	case f.fd.Kind() == protoreflect.EnumKind:
		kind = "name"
	case isTime(f.fd):
		kind = "time"
	case isSpan(f.fd):
		kind = "duration"
	case f.fd.Kind() == protoreflect.BoolKind:
		return "bool"
	default:
		kind = f.fd.Kind().String()
	}
	if f.fd.IsList() {
		kind += "…"
	}
	return kind
}

// form is the flags of a message on a command.
type form struct {
	app   *app
	desc  protoreflect.MessageDescriptor
	json  string
	flags []*fieldFlag
}

// newForm gives a command a flag for each field of a message, and --json.
func (a *app) newForm(cmd *cobra.Command, d protoreflect.MessageDescriptor) *form {
	f := &form{app: a, desc: d}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		ff := &fieldFlag{fd: fd, name: kebab(string(fd.Name()))}
		if reserved[ff.name] {
			ff.name = "field-" + ff.name
		}
		f.flags = append(f.flags, ff)
		flag := cmd.Flags().VarPF(ff, ff.name, "", usage(fd))
		if fd.Kind() == protoreflect.BoolKind && !fd.IsList() {
			flag.NoOptDefVal = "true"
		}
		if fd.Kind() == protoreflect.EnumKind {
			complete(cmd, ff.name, choices(fd.Enum())...)
		}
	}
	cmd.Flags().StringVar(&f.json, "json", "", "the message as protobuf JSON, @FILE, or @- for standard input; the other flags override it")
	cmd.Flags().SortFlags = false
	return f
}

// reserved are the flags that commands have for themselves.
var reserved = map[string]bool{
	"home": true, "node": true, "output": true, "timeout": true, "progress": true, "help": true, "json": true,
	"tls-ca": true, "tls-cert": true, "tls-key": true,
	"from": true, "author": true, "wait": true, "tx-valid-until": true, "generate-only": true, "simulate": true,
	"out": true, "chain-id": true, "skeleton": true, "at-height": true, "prove": true, "all": true, "genesis": true,
}

// usage is the help of a field's flag.
func usage(fd protoreflect.FieldDescriptor) string {
	// pflag takes what stands between back quotes for the type's name.
	text := strings.ReplaceAll(strings.TrimSuffix(comment(fd), "."), "`", "'")
	if fd.Kind() == protoreflect.EnumKind {
		text += " (" + strings.Join(choices(fd.Enum()), ", ") + ")"
	}
	return uncapital(text)
}

// uncapital makes a sentence a phrase: its first letter small, unless the first word
// is a name or an abbreviation.
func uncapital(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) < 2 || word[1] >= 'A' && word[1] <= 'Z' || strings.ContainsAny(word, "0123456789") || slices.Contains([]string{"Unix", "Cedar", "CometBFT"}, word) {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}

// message builds the message: --json first, then the flags.
func (f *form) message(cmd *cobra.Command) (proto.Message, error) {
	m, err := blank(f.desc)
	if err != nil {
		return nil, err
	}
	if f.json != "" {
		raw := []byte(f.json)
		if path, ok := strings.CutPrefix(f.json, "@"); ok {
			if raw, err = f.app.read(path); err != nil {
				return nil, err
			}
		}
		if err := f.app.unmarshal(raw, m); err != nil {
			return nil, inMessage("--json", err)
		}
	}
	set := make(map[protoreflect.FullName]string) // oneof -> the flag that set it
	for _, ff := range f.flags {
		if !cmd.Flags().Changed(ff.name) {
			continue
		}
		if o := ff.fd.ContainingOneof(); o != nil {
			if other, ok := set[o.FullName()]; ok {
				return nil, usagef("--%s and --%s exclude each other", other, ff.name)
			}
			set[o.FullName()] = ff.name
		}
		if err := f.app.apply(m.ProtoReflect(), ff); err != nil {
			return nil, inMessage("--"+ff.name, err)
		}
	}
	return m, nil
}

// inMessage says where in the command line an error is; those of files keep their
// kind.
func inMessage(where string, err error) error {
	if code(err) == exitNotFound {
		return err
	}
	return usagef("%s: %v", where, err)
}

func (a *app) apply(m protoreflect.Message, ff *fieldFlag) error {
	if !ff.fd.IsList() {
		v, err := a.value(m, ff.fd, ff.texts[0])
		if err == nil {
			m.Set(ff.fd, v)
		}
		return err
	}
	m.Clear(ff.fd)
	list := m.Mutable(ff.fd).List()
	for _, text := range ff.texts {
		pieces := []string{text}
		switch {
		case ff.fd.Message() != nil && strings.HasPrefix(strings.TrimSpace(text), "["):
			var array []json.RawMessage
			if err := json.Unmarshal([]byte(text), &array); err != nil {
				return fmt.Errorf("not a JSON array: %w", err)
			}
			pieces = nil
			for _, raw := range array {
				pieces = append(pieces, string(raw))
			}
		case ff.fd.Kind() == protoreflect.EnumKind:
			pieces = strings.Split(text, ",")
		}
		for _, piece := range pieces {
			v, err := a.element(list, ff.fd, piece)
			if err != nil {
				return err
			}
			list.Append(v)
		}
	}
	return nil
}

func (a *app) value(m protoreflect.Message, fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, error) {
	if fd.Message() == nil {
		return a.parse(fd, text)
	}
	v := m.NewField(fd)
	return v, a.nested(text, v.Message().Interface())
}

func (a *app) element(l protoreflect.List, fd protoreflect.FieldDescriptor, text string) (protoreflect.Value, error) {
	if fd.Message() == nil {
		return a.parse(fd, text)
	}
	v := l.NewElement()
	return v, a.nested(text, v.Message().Interface())
}

func (a *app) nested(text string, m proto.Message) error {
	raw := []byte(text)
	if path, ok := strings.CutPrefix(text, "@"); ok {
		var err error
		if raw, err = a.read(path); err != nil {
			return err
		}
	}
	return a.unmarshal(raw, m)
}
