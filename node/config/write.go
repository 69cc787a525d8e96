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
	Name    string
	Default string // as TOML
	Doc     string
}

// Keys lists every key in the order of the file.
func Keys() []Key {
	var keys []Key
	each(Default(), func(_, _ string) {}, func(section, name, value, doc string) {
		keys = append(keys, Key{section, name, value, doc})
	})
	return keys
}

// Bytes writes the configuration as a file with a comment on each key.
func (c Config) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration of a Chancery node. A key that is left out has its default;\n# a key that is not known is an error. See docs/operating.md.\n")
	each(c, func(section, doc string) {
		fmt.Fprintf(&b, "\n# %s\n[%s]\n", doc, section)
	}, func(_, name, value, doc string) {
		fmt.Fprintf(&b, "# %s\n%s = %s\n", doc, name, value)
	})
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

func each(c Config, section func(name, doc string), key func(section, name, value, doc string)) {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name := tag.Get("toml")
		section(name, tag.Get("doc"))
		s := v.Field(i)
		for k := range s.NumField() {
			tag := s.Type().Field(k).Tag
			key(name, tag.Get("toml"), literal(s.Field(k)), tag.Get("doc"))
		}
	}
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
