package config

import (
	"bytes"
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// Key is one key of the configuration file, for documents.
type Key struct {
	Section string
	List    bool // of tables [[section]], of which there may be several or none
	Name    string
	Default string // as TOML
	Doc     string
}

// Keys lists every key in the order of the file.
func Keys() []Key {
	var out []Key
	for _, t := range tables(Default()) {
		for _, k := range t.keys() {
			out = append(out, Key{Section: t.name, List: t.list, Name: k.name, Default: k.value, Doc: k.doc})
		}
	}
	return out
}

// Bytes writes the configuration as a file with a comment on each key. Of a list of
// tables that is empty the file has the defaults of one, as a comment.
func (c Config) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration of a Chancery node. A key that is left out has its default;\n# a key that is not known is an error. See docs/operating.md.\n")
	for _, t := range tables(c) {
		heading, comment := "["+t.name+"]", ""
		if t.list {
			heading = "[[" + t.name + "]]"
		}
		if t.example {
			comment = "#"
		}
		fmt.Fprintf(&b, "\n# %s\n%s%s\n", t.doc, comment, heading)
		for _, k := range t.keys() {
			fmt.Fprintf(&b, "# %s\n%s%s = %s\n", k.doc, comment, k.name, k.value)
		}
	}
	return b.Bytes()
}

// Write checks the configuration and writes it into the home.
func Write(h Home, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	return replace(h.ConfigFile(), c.Bytes())
}

// replace writes a file so that it is there whole or not at all.
func replace(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(raw); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// table is a section of the file, or one of a list of them.
type table struct {
	name, doc string
	list      bool
	example   bool // of a list that is empty
	value     reflect.Value
}

type entry struct{ name, value, doc string }

func (t table) keys() []entry {
	var out []entry
	for i := range t.value.NumField() {
		tag := t.value.Type().Field(i).Tag
		out = append(out, entry{tag.Get("toml"), literal(t.value.Field(i)), tag.Get("doc")})
	}
	return out
}

// tables are those of a configuration in the order of the file.
func tables(c Config) []table {
	var out []table
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		t := table{name: tag.Get("toml"), doc: tag.Get("doc"), value: v.Field(i)}
		if t.value.Kind() != reflect.Slice {
			out = append(out, t)
			continue
		}
		t.list = true
		list := t.value
		if t.example = list.Len() == 0; t.example {
			list = exampleOf(t.name)
		}
		for k := range list.Len() {
			t.value = list.Index(k)
			out = append(out, t)
		}
	}
	return out
}

// exampleOf is a list of one table with its defaults.
func exampleOf(name string) reflect.Value {
	switch name {
	case "oidc":
		return reflect.ValueOf([]OIDC{DefaultOIDC()})
	case "webhook":
		return reflect.ValueOf([]Webhook{DefaultWebhook()})
	case "witness":
		return reflect.ValueOf([]Witness{DefaultWitness()})
	}
	panic("config: no table [[" + name + "]] has defaults")
}

// literal is a value in TOML.
func literal(v reflect.Value) string {
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := t.MarshalText()
		if err != nil {
			panic(fmt.Sprintf("config: %v", err))
		}
		return strconv.Quote(string(text))
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v.Interface())
	}
}
