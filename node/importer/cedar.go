package importer

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/modules/access"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Rules is what an organisation has of module access.
type Rules interface {
	// Policies are the policies in force; nil when none were ever set.
	Policies() (*accessv1.PolicySet, error)
	// Schema is the schema in force; nil when there is none.
	Schema() (*accessv1.Schema, error)
	// Entity is an entity; nil when there is none.
	Entity(uid *accessv1.EntityUid) (*accessv1.Entity, error)
}

// File is a file by its name.
type File struct {
	Name string
	Raw  []byte
}

const (
	putEntities  = 256
	entitiesSize = 60 << 10
)

var (
	setPolicies = &accessv1.SetPolicies{}
	setSchema   = &accessv1.SetSchema{}
	putMessage  = &accessv1.PutEntities{}
)

// cedarReader reads the Cedar files of one organisation, which belong together.
type cedarReader struct {
	o         Options
	rules     Rules
	check     *access.Checker
	documents []*accessv1.Document
	schema    *accessv1.SchemaText
	results   []*Result
	of        map[string]int // the file of a document's name
	schemaOf  int            // the file of the schema
	entities  []cedarEntity
}

// cedarEntity is an entity of a file.
type cedarEntity struct {
	value *value
	file  int
}

// Cedar maps policies, at most one schema, and entities. The policies of all files
// together become the organisation's policy set. The messages are those of all
// files; there is a result for each file, without messages. When a file is refused,
// the error is a *FileError and none is mapped: a policy set that lacks a forbid
// would permit more. rules is what the organisation has; nil: nothing.
func Cedar(files []File, rules Rules, o Options) (messages []proto.Message, results []*Result, err error) {
	if !organisationDID.MatchString(o.Organisation) {
		return nil, nil, ErrOptions.With("organisation is not a DID of the form did:chancery:ORGANISATION")
	}
	c := &cedarReader{o: o, rules: rules, check: access.NewChecker(), of: map[string]int{}, schemaOf: -1, results: make([]*Result, len(files))}
	for i, f := range files {
		c.results[i] = &Result{}
		if err := c.read(i, f); err != nil {
			return nil, nil, &FileError{i, err}
		}
	}
	if messages, err = c.messages(); err != nil {
		return nil, nil, err
	}
	return messages, c.results, nil
}

// FileError says which file is at fault.
type FileError struct {
	File int
	Err  error
}

// Error implements error.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns the file's error.
func (e *FileError) Unwrap() error { return e.Err }

// read takes one file.
func (c *cedarReader) read(i int, f File) error {
	if len(f.Raw) > MaxBytes {
		return ErrTooLarge.With("%d bytes, at most %d", len(f.Raw), MaxBytes)
	}
	start := bytes.TrimLeft(f.Raw, " \t\r\n\ufeff")
	switch ext := strings.ToLower(path.Ext(f.Name)); {
	case len(start) > 0 && start[0] == '[' && ext != ".cedar" && ext != ".cedarschema":
		return c.readEntities(i, f)
	case len(start) > 0 && start[0] == '{' && ext != ".cedar" && ext != ".cedarschema":
		return c.readSchemaJSON(i, f)
	case ext == ".cedarschema":
		return c.readSchema(i, f, accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR)
	default:
		return c.readPolicies(i, f)
	}
}

func (c *cedarReader) readPolicies(i int, f File) error {
	r := c.results[i]
	r.Format = "cedar-policies"
	d := &accessv1.Document{Name: documentName(f.Name), Text: string(f.Raw)}
	if other, taken := c.of[d.Name]; taken {
		return ErrClash.With("document %s; the other is file %d", d.Name, other+1)
	}
	// Bounds and syntax come before anything else looks at the text.
	places, err := c.check.Policies([]*accessv1.Document{d}, nil)
	if err != nil {
		return err
	}
	d.Text = c.text(i, f.Raw)
	for _, p := range places {
		r.Mapped = append(r.Mapped, Mapping{
			Place: fmt.Sprintf("line %d", p.Line), Message: string(proto.MessageName(setPolicies)),
			Field: fmt.Sprintf("documents[%s] (policy %s)", d.Name, p.ID),
		})
	}
	c.of[d.Name] = i
	c.documents = append(c.documents, d)
	return nil
}

// text is Cedar text as it goes onto the chain, with what to say of it.
func (c *cedarReader) text(i int, raw []byte) string {
	text, comments := stripComments(string(raw))
	if c.o.StripComments {
		for _, line := range comments {
			c.results[i].note(fmt.Sprintf("line %d", line), "text", keptText)
		}
	} else {
		text = string(raw)
		if len(comments) > 0 {
			c.results[i].note(fmt.Sprintf("line %d", comments[0]), "text", remarkComment.With("%d lines", len(comments)))
		}
	}
	for n, line := range strings.Split(text, "\n") {
		if address.MatchString(line) {
			c.results[i].note(fmt.Sprintf("line %d", n+1), "text", remarkAddress)
		}
	}
	return text
}

func (c *cedarReader) readSchema(i int, f File, format accessv1.SchemaFormat) error {
	r := c.results[i]
	r.Format = "cedar-schema"
	if c.schema != nil {
		return ErrClash.With("two schemas; the other is file %d", c.schemaOf+1)
	}
	s := &accessv1.SchemaText{Format: format, Text: string(f.Raw)}
	if strings.TrimSpace(s.Text) == "" {
		return ErrInvalid.With("the schema is empty, which would take the organisation's schema away")
	}
	if _, err := c.check.Policies(nil, s); err != nil {
		return err
	}
	if format == accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR {
		s.Text = c.text(i, f.Raw)
	}
	c.schema, c.schemaOf = s, i
	return nil
}

func (c *cedarReader) readSchemaJSON(i int, f File) error {
	root, err := parse(f.Raw)
	if err != nil {
		return err
	}
	if v := notSchema(root); v != nil {
		return refuseAs(ErrKind, v, "neither entities (an array) nor a schema (namespaces with entityTypes and actions)")
	}
	if err := c.readSchema(i, f, accessv1.SchemaFormat_SCHEMA_FORMAT_JSON); err != nil {
		return err
	}
	c.results[i].Format = "cedar-schema-json"
	c.whole(i, root, c.schemaMessage(), "schema")
	return nil
}

// notSchema is what in an object is no namespace of a schema; nil when all is.
func notSchema(root *value) *value {
	for _, ns := range root.keys {
		if !root.fields[ns].at("entityTypes").is(object) && !root.fields[ns].at("actions").is(object) {
			return root.fields[ns]
		}
	}
	return nil
}

// CedarJSON tells whether a JSON document can be Cedar's: entities, or a schema, or
// nothing that can be read. Any other is of another kind.
func CedarJSON(raw []byte) bool {
	root, err := parse(raw)
	switch {
	case err != nil || root.is(object) && len(root.keys) > 0 && notSchema(root) == nil:
		return true
	case !root.is(array):
		return false
	}
	for _, e := range root.items {
		if e.at("uid") == nil {
			return false
		}
	}
	return true
}

// whole says that all of a JSON document goes onto the chain as it is.
func (c *cedarReader) whole(i int, root *value, m proto.Message, field string) {
	l := &ledger{result: c.results[i], seen: map[*value]bool{}}
	l.to(root, m, "%s", field)
	root.leaves(func(leaf *value) {
		if address.MatchString(leaf.str()) {
			l.note(leaf, remarkAddress)
		}
	})
}

func (c *cedarReader) schemaMessage() proto.Message {
	if len(c.documents) > 0 {
		return setPolicies
	}
	return setSchema
}

func (c *cedarReader) readEntities(i int, f File) error {
	r := c.results[i]
	r.Format = "cedar-entities"
	root, err := parse(f.Raw)
	if err != nil {
		return err
	}
	for _, e := range root.items {
		c.entities = append(c.entities, cedarEntity{e, i})
	}
	c.whole(i, root, putMessage, "entities")
	return nil
}

// messages are what the files come to beside what the organisation has.
func (c *cedarReader) messages() ([]proto.Message, error) {
	var out []proto.Message
	policies, schema, err := c.present()
	if err != nil {
		return nil, err
	}
	inForce := c.schema
	if inForce == nil {
		inForce = schema.GetSchema()
	}
	if err := c.checkTogether(inForce, policies); err != nil {
		return nil, err
	}
	newSchema := c.schema != nil && !c.schema.EqualVT(schema.GetSchema())
	if c.schema != nil {
		r := c.results[c.schemaOf]
		if len(r.Mapped) == 0 {
			r.Mapped = append(r.Mapped, Mapping{Place: "line 1", Message: string(proto.MessageName(c.schemaMessage())), Field: "schema"})
		}
		if !newSchema {
			r.Present = append(r.Present, fmt.Sprintf("schema version %d", schema.Version))
		} else if schema != nil {
			r.note("line 1", "text", remarkReplace.With("schema version %d", schema.Version))
		}
	}
	slices.SortFunc(c.documents, func(a, b *accessv1.Document) int { return strings.Compare(a.Name, b.Name) })
	same := slices.EqualFunc(c.documents, policies.GetDocuments(), (*accessv1.Document).EqualVT)
	for _, d := range c.documents {
		r := c.results[c.of[d.Name]]
		if same {
			r.Present = append(r.Present, fmt.Sprintf("policy set version %d", policies.Version))
		} else if policies != nil {
			r.note("line 1", "text", remarkReplace.With("policy set version %d, of %d documents", policies.Version, len(policies.Documents)))
		}
	}
	switch {
	case len(c.documents) > 0 && !same:
		m := &accessv1.SetPolicies{Organisation: c.o.Organisation, Documents: c.documents}
		if newSchema {
			m.Schema = c.schema
		}
		if c.rules != nil {
			m.Replaces = proto.Uint64(policies.GetVersion())
		}
		out = append(out, m)
	case newSchema:
		out = append(out, &accessv1.SetSchema{Organisation: c.o.Organisation, Schema: c.schema})
	}
	put, err := c.put(inForce)
	return append(out, put...), err
}

// present is what the organisation has.
func (c *cedarReader) present() (policies *accessv1.PolicySet, schema *accessv1.Schema, err error) {
	if c.rules == nil {
		return nil, nil, nil
	}
	if policies, err = c.rules.Policies(); err != nil {
		return nil, nil, err
	}
	schema, err = c.rules.Schema()
	return policies, schema, err
}

// checkTogether checks the policies that will be in force against the schema.
func (c *cedarReader) checkTogether(schema *accessv1.SchemaText, policies *accessv1.PolicySet) error {
	documents := c.documents
	if len(documents) == 0 {
		documents = policies.GetDocuments()
	}
	_, err := c.check.Policies(documents, schema)
	if err == nil {
		return nil
	}
	// Of several documents, blame the one that alone is refused.
	for _, d := range c.documents {
		if _, alone := c.check.Policies([]*accessv1.Document{d}, schema); alone != nil {
			return &FileError{c.of[d.Name], alone}
		}
	}
	if c.schemaOf >= 0 {
		return &FileError{c.schemaOf, err}
	}
	return err
}

// put makes messages of the entities that the organisation has not, or has with
// other content.
func (c *cedarReader) put(schema *accessv1.SchemaText) ([]proto.Message, error) {
	var out []proto.Message
	var list []string
	size := 0
	flush := func() {
		if len(list) > 0 {
			out = append(out, &accessv1.PutEntities{Organisation: c.o.Organisation, Entities: "[" + strings.Join(list, ",") + "]"})
			list, size = nil, 0
		}
	}
	seen := map[string]bool{}
	for _, e := range c.entities {
		text := string(e.value.canonical())
		checked, err := c.check.Entities("["+text+"]", schema)
		if err != nil {
			return nil, &FileError{e.file, at(e.value, err)}
		}
		uid := checked[0].UID
		key := uid.Type + "\x00" + uid.Id
		if seen[key] {
			return nil, &FileError{e.file, refuseAs(ErrClash, e.value, "an entity is given twice")}
		}
		seen[key] = true
		if c.rules != nil {
			old, err := c.rules.Entity(uid)
			if err != nil {
				return nil, err
			}
			if old != nil && !old.Removed && old.Json == checked[0].JSON {
				c.results[e.file].Present = append(c.results[e.file].Present, "entity "+e.value.pointer())
				continue
			}
		}
		if len(list) == putEntities || size+len(text) > entitiesSize {
			flush()
		}
		list = append(list, text)
		size += len(text) + 1
	}
	flush()
	return out, nil
}

// at adds the place of a value to an error.
func at(v *value, err error) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	return e.With("%s: %s", v.pointer(), e.Detail)
}

// documentName is the name that module access takes for a file of policies.
func documentName(file string) string {
	base := strings.ToLower(path.Base(strings.ReplaceAll(file, "\\", "/")))
	base = strings.TrimSuffix(base, ".cedar")
	if base == "-" {
		base = "stdin"
	}
	name := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (isAlphanumeric(byte(r)) || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, base)
	name = strings.TrimLeft(name, "._-")
	if name == "" {
		name = "policies"
	}
	return name[:min(len(name), 64)]
}

// stripComments takes the comments out of Cedar text and leaves its lines where they
// are; it says which lines held one.
func stripComments(text string) (string, []int) {
	var b strings.Builder
	var lines []int
	line, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\' && i+1 < len(text):
			b.WriteByte(c)
			i++
			if text[i] == '\n' {
				line++
			}
			b.WriteByte(text[i])
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && c == '/' && i+1 < len(text) && text[i+1] == '/':
			lines = append(lines, line)
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
			continue
		case !quoted && c == '/' && i+1 < len(text) && text[i+1] == '*' && strings.Contains(text[i+2:], "*/"):
			end := i + 2 + strings.Index(text[i+2:], "*/") + 1
			lines = append(lines, line)
			b.WriteByte(' ') // a comment parts two words
			for ; i < end; i++ {
				if text[i] == '\n' {
					b.WriteByte('\n')
					line++
					lines = append(lines, line)
				}
			}
			continue
		}
		if text[i] == '\n' {
			line++
		}
		b.WriteByte(text[i])
	}
	return b.String(), slices.Compact(lines)
}
