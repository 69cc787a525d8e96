package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// EnvironmentPrefix begins the environment variables that go before keys of the file:
// CHANCERY_SET_P2P_LISTEN is p2p.listen.
const EnvironmentPrefix = "CHANCERY_SET_"

// Override is a value that goes before the file's.
type Override struct {
	Key   string // section.key
	Value string // as in the file, where quotes around a text may be left out
	From  string // where it was given, for errors
}

// Variable is the environment variable of a key.
func Variable(key string) string {
	return EnvironmentPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Environment are the overrides of environ, which is like os.Environ. A variable with the
// prefix that names no key is an error.
func Environment(environ []string) ([]Override, error) {
	byVariable := map[string]string{}
	for _, k := range Keys() {
		if !k.List {
			byVariable[Variable(k.Section+"."+k.Name)] = k.Section + "." + k.Name
		}
	}
	var out []Override
	var faults []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, EnvironmentPrefix) {
			continue
		}
		key, ok := byVariable[name]
		if !ok {
			faults = append(faults, fmt.Errorf("the environment's %s names no key%s", name, didYouMean(name, slices.Collect(keysOf(byVariable)))))
			continue
		}
		out = append(out, Override{Key: key, Value: value, From: "the environment's " + name})
	}
	slices.SortFunc(out, func(a, b Override) int { return strings.Compare(a.Key, b.Key) })
	return out, errors.Join(faults...)
}

func keysOf[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Flags are the overrides of command line values like p2p.listen=0.0.0.0:26656.
func Flags(flag string, values []string) ([]Override, error) {
	var out []Override
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, fmt.Errorf("%s %q: want section.key=value", flag, v)
		}
		out = append(out, Override{Key: strings.TrimSpace(key), Value: value, From: flag})
	}
	return out, nil
}

// apply sets a value.
func (c *Config) apply(o Override) error {
	section, name, _ := strings.Cut(o.Key, ".")
	field, ok := c.field(section, name)
	if !ok {
		return fmt.Errorf("%s: there is no key %s%s", o.From, o.Key, didYouMean(o.Key, names()))
	}
	text := o.Value
	_, isText := field.Addr().Interface().(interface{ UnmarshalText([]byte) error })
	switch {
	case isText, field.Kind() == reflect.String:
		if !strings.HasPrefix(text, `"`) {
			text = strconv.Quote(text)
		}
	case field.Kind() == reflect.Slice:
		if !strings.HasPrefix(text, "[") {
			var parts []string
			for _, p := range strings.Split(text, ",") {
				if p = strings.TrimSpace(p); p != "" {
					parts = append(parts, strconv.Quote(p))
				}
			}
			text = "[" + strings.Join(parts, ", ") + "]"
		}
		field.SetZero() // it takes the file's place, and does not add to it
	}
	meta, err := toml.Decode(fmt.Sprintf("[%s]\n%s = %s\n", section, name, text), c)
	if err != nil {
		return fmt.Errorf("%s: %s = %s: %w", o.From, o.Key, o.Value, err)
	}
	// A value that closes its line to begin another sets something else besides.
	if len(meta.Keys()) != 2 {
		return fmt.Errorf("%s: %s = %q is no single value", o.From, o.Key, o.Value)
	}
	return nil
}

// field is the value of a key that is in no list of tables.
func (c *Config) field(section, name string) (reflect.Value, bool) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") != section || v.Field(i).Kind() != reflect.Struct {
			continue
		}
		s := v.Field(i)
		for k := range s.NumField() {
			if s.Type().Field(k).Tag.Get("toml") == name {
				return s.Field(k), true
			}
		}
	}
	return reflect.Value{}, false
}

// names are all keys as section.key.
func names() []string {
	var out []string
	for _, k := range Keys() {
		out = append(out, k.Section+"."+k.Name)
	}
	return out
}

// didYouMean suggests the nearest of some names, where one is near enough.
func didYouMean(name string, known []string) string {
	best, least := "", len(name)/3+1
	slices.Sort(known)
	for _, k := range known {
		if d := distance(name, k); d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
