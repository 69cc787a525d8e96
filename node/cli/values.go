package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxInput bounds a file that becomes part of a message, in bytes: more than any
// transaction may have.
const maxInput = 8 << 20

// now is the clock; a seam for tests.
var now = time.Now

// parse reads one value of a field from the command line.
func (a *app) parse(fd protoreflect.FieldDescriptor, s string) (protoreflect.Value, error) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		if path, ok := strings.CutPrefix(s, "@"); ok {
			raw, err := a.read(path)
			return protoreflect.ValueOfString(string(raw)), err
		}
		return protoreflect.ValueOfString(strings.TrimPrefix(s, `\`)), nil
	case protoreflect.BytesKind:
		raw, err := a.bytes(s)
		return protoreflect.ValueOfBytes(raw), err
	case protoreflect.BoolKind:
		v, err := strconv.ParseBool(s)
		if err != nil {
			return protoreflect.Value{}, fmt.Errorf("%q is neither true nor false", s)
		}
		return protoreflect.ValueOfBool(v), nil
	case protoreflect.EnumKind:
		n, err := enumOf(fd.Enum(), s)
		return protoreflect.ValueOfEnum(n), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := integer(fd, s)
		return protoreflect.ValueOfInt64(n), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := integer(fd, s)
		if err == nil && n != int64(int32(n)) {
			err = fmt.Errorf("%s is too large", s)
		}
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := natural(fd, s, 64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := natural(fd, s, 32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	default:
		return protoreflect.Value{}, fmt.Errorf("fields of kind %s are given with --json", fd.Kind())
	}
}

// bytes reads hexadecimal, base64:…, or @FILE.
func (a *app) bytes(s string) ([]byte, error) {
	if path, ok := strings.CutPrefix(s, "@"); ok {
		return a.read(path)
	}
	if text, ok := strings.CutPrefix(s, "base64:"); ok {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not base64", text)
		}
		return raw, nil
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(strings.TrimPrefix(s, "hex:"), "0x"))
	if err != nil {
		return nil, fmt.Errorf("%q is not hexadecimal; write hexadecimal digits, base64:… or @FILE", s)
	}
	return raw, nil
}

// read reads a file, or standard input for "-".
func (a *app) read(path string) ([]byte, error) {
	in := a.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, errFile.Wrap(err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, errFile.Wrap(err)
	}
	if len(raw) > maxInput {
		return nil, sentence(errFile, "%s has more than %d bytes, which no transaction can hold; keep large data off the chain and register its hash", path, maxInput)
	}
	return raw, nil
}

func enumOf(e protoreflect.EnumDescriptor, s string) (protoreflect.EnumNumber, error) {
	for i := range e.Values().Len() {
		if v := e.Values().Get(i); s == string(v.Name()) || kebab(strings.ToLower(s)) == shortName(v) {
			return v.Number(), nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return protoreflect.EnumNumber(n), nil
	}
	return 0, fmt.Errorf("%q is none of %s", s, strings.Join(choices(e), ", "))
}

// integer reads a number, a time or a duration, as the field has it.
func integer(fd protoreflect.FieldDescriptor, s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && !(isTime(fd) && strings.HasPrefix(s, "+")) {
		return n, nil
	}
	switch {
	case isTime(fd):
		return parseTime(s)
	case isSpan(fd):
		d, err := duration(s)
		return d.Milliseconds(), err
	default:
		return 0, fmt.Errorf("%q is no whole number", s)
	}
}

func natural(fd protoreflect.FieldDescriptor, s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err == nil {
		return n, nil
	}
	if isSpan(fd) {
		if d, err := duration(s); err == nil && d >= 0 {
			return uint64(d.Milliseconds()), nil
		}
	}
	return 0, fmt.Errorf("%q is no whole number from 0 to %d bits", s, bits)
}

// parseTime reads RFC 3339, a date (its first moment in UTC), "now", or a duration
// from now such as +10m or -30d, as Unix milliseconds.
func parseTime(s string) (int64, error) {
	if s == "now" {
		return now().UnixMilli(), nil
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		d, err := duration(strings.TrimPrefix(s, "+"))
		if err != nil {
			return 0, err
		}
		return now().Add(d).UnixMilli(), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time; write 2030-01-31T12:00:00Z, 2030-01-31, +10m, +30d or now", s)
}

// duration reads a Go duration, and whole days such as 30d.
func duration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n >= -36500 && n <= 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration; write 90s, 10m, 2h or 30d", s)
	}
	return d, nil
}

// unmarshal reads protobuf JSON into a message. Beyond the standard form, bytes may
// be "hex:…" or "@FILE", enums short names, times RFC 3339 or "+10m", and durations
// "10m": none of these is anything in the standard form.
func (a *app) unmarshal(raw []byte, m proto.Message) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON object")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("the JSON is no object {…}")
	}
	if err := a.ease(object, m.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	plain, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(plain, m); err != nil {
		return fmt.Errorf("%s", strings.ReplaceAll(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "), "proto: ", ""))
	}
	return nil
}

// ease brings the additional forms in a JSON object to the standard one.
func (a *app) ease(object map[string]any, d protoreflect.MessageDescriptor) error {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names) // so that of two faults always the same is told
	for _, name := range names {
		fd := d.Fields().ByTextName(name)
		if fd == nil {
			fd = d.Fields().ByJSONName(name)
		}
		if fd == nil {
			return fmt.Errorf("%s has no field %q; it has %s", d.Name(), name, strings.Join(fieldNames(d), ", "))
		}
		v, err := a.easeValue(fd, object[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		object[name] = v
	}
	return nil
}

func (a *app) easeValue(fd protoreflect.FieldDescriptor, v any) (any, error) {
	switch t := v.(type) {
	case []any:
		for i := range t {
			var err error
			if t[i], err = a.easeValue(fd, t[i]); err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return t, nil
	case map[string]any:
		if fd.Message() == nil {
			return nil, fmt.Errorf("it is no object")
		}
		return t, a.ease(t, fd.Message())
	case string:
		switch {
		case fd.Kind() == protoreflect.BytesKind && (strings.HasPrefix(t, "hex:") || strings.HasPrefix(t, "@")):
			raw, err := a.bytes(t)
			return base64.StdEncoding.EncodeToString(raw), err
		case fd.Kind() == protoreflect.EnumKind:
			n, err := enumOf(fd.Enum(), t)
			return n, err
		case isTime(fd) || isSpan(fd):
			n, err := integer(fd, t)
			return strconv.FormatInt(n, 10), err
		}
	}
	return v, nil
}

func fieldNames(d protoreflect.MessageDescriptor) []string {
	out := make([]string, d.Fields().Len())
	for i := range out {
		out[i] = string(d.Fields().Get(i).Name())
	}
	return out
}
