package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/tx"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// fill sets fields of a message at random; of each oneof at most one.
func fill(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if o := fd.ContainingOneof(); o != nil && m.WhichOneof(o) != nil {
			continue
		}
		if rapid.IntRange(0, 3).Draw(t, "skip") == 0 || fd.Message() != nil && depth == 0 {
			continue
		}
		if !fd.IsList() {
			m.Set(fd, draw(t, m.NewField(fd), fd, depth))
			continue
		}
		l := m.Mutable(fd).List()
		for range rapid.IntRange(1, 3).Draw(t, "length") {
			if fd.Message() != nil {
				l.Append(draw(t, l.NewElement(), fd, depth))
			} else {
				l.Append(draw(t, protoreflect.Value{}, fd, depth))
			}
		}
	}
}

func draw(t *rapid.T, blank protoreflect.Value, fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		fill(t, blank.Message(), depth-1)
		return blank
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.StringMatching(`[a-zA-Z0-9:/#._, "{}\[\]-]{0,20}`).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "bytes"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, "bool"))
	case protoreflect.EnumKind:
		v := fd.Enum().Values()
		return protoreflect.ValueOfEnum(v.Get(rapid.IntRange(0, v.Len()-1).Draw(t, "enum")).Number())
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	default:
		t.Fatalf("%s is of a kind that the command line does not know: %s", fd.FullName(), fd.Kind())
		return blank
	}
}

// unsignedBy runs tx … --generate-only and returns the message in what it wrote.
func unsignedBy(s *shell, args ...string) proto.Message {
	s.t.Helper()
	out := s.ok(append(args, "--author", "did:chancery:mercy", "--generate-only", "--chain-id", "c-1")...)
	var f txFile
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		s.t.Fatal(err)
	}
	t, body := new(txv1.Tx), new(txv1.Body)
	if err := proto.Unmarshal(f.Tx, t); err != nil {
		s.t.Fatal(err)
	}
	if err := proto.Unmarshal(t.Body, body); err != nil {
		s.t.Fatal(err)
	}
	m, err := tx.Arm(body.Messages[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func TestEveryMessageBuildsFromJSON(t *testing.T) {
	s := newShell(t)
	for _, arm := range tx.Arms() {
		t.Run(string(arm.Name()), func(t *testing.T) {
			module, name := moduleOf(arm.Message()), kebab(string(arm.Message().Name()))
			s.t = t
			// The example that --skeleton prints is itself a message.
			unsignedBy(s, "tx", module, name, "--json", s.ok("tx", module, name, "--skeleton"))
			example := rapid.Custom(func(rt *rapid.T) proto.Message {
				m, err := blank(arm.Message())
				if err != nil {
					rt.Fatal(err)
				}
				rapid.Bool().Draw(rt, "one draw at least")
				fill(rt, m.ProtoReflect(), 4)
				return m
			})
			for seed := range 2 {
				want := example.Example(seed)
				for form, o := range map[string]protojson.MarshalOptions{"proto names": {UseProtoNames: true}, "camel case": {}} {
					raw, err := o.Marshal(want)
					if err != nil {
						t.Fatal(err)
					}
					if got := unsignedBy(s, "tx", module, name, "--json", string(raw)); !proto.Equal(got, want) {
						t.Fatalf("%s: got %v, want %v", form, got, want)
					}
				}
			}
		})
	}
}

// flagsOf writes a message as flags: nested messages as JSON, everything else in the
// form of flags.
func flagsOf(t *rapid.T, m protoreflect.Message) []string {
	var out []string
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := kebab(string(fd.Name()))
		if reserved[name] {
			name = "field-" + name
		}
		values := []protoreflect.Value{v}
		if fd.IsList() {
			values = nil
			for i := range v.List().Len() {
				values = append(values, v.List().Get(i))
			}
		}
		for _, v := range values {
			out = append(out, "--"+name+"="+flagValue(t, fd, v))
		}
		return true
	})
	return out
}

func flagValue(t *rapid.T, fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch {
	case fd.Message() != nil:
		raw, err := protoJSON(v.Message().Interface())
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	case fd.Kind() == protoreflect.BytesKind:
		return fmt.Sprintf("%x", v.Bytes())
	case fd.Kind() == protoreflect.EnumKind:
		return shortName(fd.Enum().Values().ByNumber(v.Enum()))
	default:
		return fmt.Sprint(v.Interface())
	}
}

func TestEveryMessageBuildsFromFlags(t *testing.T) {
	s := newShell(t)
	rapid.Check(t, func(rt *rapid.T) {
		arm := rapid.SampledFrom(tx.Arms()).Draw(rt, "message")
		want, err := blank(arm.Message())
		if err != nil {
			rt.Fatal(err)
		}
		fill(rt, want.ProtoReflect(), 3)
		args := append([]string{"tx", moduleOf(arm.Message()), kebab(string(arm.Message().Name()))}, flagsOf(rt, want.ProtoReflect())...)
		if got := unsignedBy(s, args...); !proto.Equal(got, want) {
			rt.Fatalf("%v\n got %v\nwant %v", args, got, want)
		}
	})
}

// at sets the clock for a test.
func at(t *testing.T, moment time.Time) {
	old := now
	now = func() time.Time { return moment }
	t.Cleanup(func() { now = old })
}

func TestTheFormsOfValues(t *testing.T) {
	at(t, time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC))
	const day = 24 * 3600 * 1000
	s := newShell(t)
	raw := s.file("raw", "\x01\x02")
	give := func(args ...string) *consentv1.Give {
		return unsignedBy(s, append([]string{"tx", "consent", "give"}, args...)...).(*consentv1.Give)
	}
	now := now().UnixMilli()
	for text, want := range map[string]int64{
		"now": now, "+1d": now + day, "-1h": now - 3600_000, "+90s": now + 90_000, "1767600000001": 1767600000001, "0": 0,
		"2026-01-06": now + day - 8*3600_000, "2026-01-05T10:00:00+01:00": now + 3600_000, "2026-01-05T08:00:00.5Z": now + 500,
	} {
		if got := give("--given-at", text).GivenAt; got != want {
			t.Errorf("--given-at %s: %d, want %d", text, got, want)
		}
		if got := give("--json", `{"given_at": "`+text+`"}`).GivenAt; got != want {
			t.Errorf("given_at %s: %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"0102", "0x0102", "hex:0102", "base64:AQI=", "@" + raw} {
		if got := give("--request-id", text).RequestId; string(got) != "\x01\x02" {
			t.Errorf("--request-id %s: %x", text, got)
		}
	}
	for _, text := range []string{"AQI=", "hex:0102", "@" + raw} {
		if got := give("--json", `{"requestId": "`+text+`"}`).RequestId; string(got) != "\x01\x02" {
			t.Errorf("requestId %s: %x", text, got)
		}
	}
	for _, text := range []string{"verbal", "VERBAL", "METHOD_VERBAL"} {
		if got := give("--method", text).Method; got != consentv1.Method_METHOD_VERBAL {
			t.Errorf("--method %s: %v", text, got)
		}
		if got := give("--json", `{"method": "`+text+`"}`).Method; got != consentv1.Method_METHOD_VERBAL {
			t.Errorf("method %s: %v", text, got)
		}
	}
	// Flags go before JSON, and nested messages merge by field.
	m := give("--json", `{"method": "verbal", "subject_did": "did:chancery:a:b", "terms": {"jurisdiction": "NL"}}`, "--method", "written", "--source", `{"format": "x"}`)
	if m.Method != consentv1.Method_METHOD_WRITTEN || m.SubjectDid != "did:chancery:a:b" || m.Terms.Jurisdiction != "NL" || m.Source.Format != "x" {
		t.Errorf("%v", m)
	}
	s.in = strings.NewReader(`{"subject_did": "from stdin"}`)
	if m := give("--json", "@-"); m.SubjectDid != "from stdin" {
		t.Errorf("%v", m)
	}
	n := unsignedBy(s, "tx", "consent", "narrow", "--id", "00", "--remove-purposes", "https://a.example/x,y", "--remove-purposes", "b",
		"--add-exclusions", `[{"purposes": ["p"]}, {"from": "+1d"}]`, "--add-exclusions", `{"until": 5}`).(*consentv1.Narrow)
	if len(n.RemovePurposes) != 2 || n.RemovePurposes[0] != "https://a.example/x,y" || len(n.AddExclusions) != 3 || n.AddExclusions[1].From != now+day {
		t.Errorf("%v", n)
	}
	d := unsignedBy(s, "tx", "consent", "delegate", "--scopes", "give,withdraw").(*consentv1.Delegate)
	if len(d.Scopes) != 2 {
		t.Errorf("%v", d)
	}
	if b := unsignedBy(s, "tx", "access", "break-glass", "--duration-ms", "2h"); !strings.Contains(fmt.Sprint(b), "duration_ms:7200000") {
		t.Errorf("%v", b)
	}
	for _, c := range []struct{ words, flag, value string }{
		{"no time", "--given-at", "tomorrow"},
		{"no duration", "--given-at", "+tomorrow"},
		{"none of signed, written", "--method", "whispered"},
		{"not hexadecimal", "--request-id", "zz"},
		{"not base64", "--request-id", "base64:*"},
		{"not JSON", "--terms", "{"},
		{"no object", "--terms", "7"},
		{`has no field "purpose"; it has`, "--terms", `{"purpose": []}`},
		{"terms: notice: hash:", "--json", `{"terms": {"notice": {"hash": "hex:0"}}}`},
		{"something follows", "--json", "{} {}"},
		{"invalid value", "--json", `{"subject_did": 7}`},
	} {
		s.fails(2, c.words, "tx", "consent", "give", "--from", "x", c.flag, c.value)
	}
	s.fails(5, "no such file", "tx", "consent", "give", "--from", "x", "--json", "@"+s.path("none"))
	s.fails(2, "whole number", "query", "provenance", "nodes", "--limit", "-1")
	s.fails(2, "exclude each other", "query", "access", "decisions", "--organisation", "a", "--principal", "b")
	big := s.path("big")
	if err := os.WriteFile(big, make([]byte, maxInput+1), 0o644); err != nil {
		t.Fatal(err)
	}
	s.fails(2, "register its hash", "tx", "consent", "give", "--from", "x", "--request-id", "@"+big)
}

func FuzzJSON(f *testing.F) {
	f.Add(`{"terms": {"purposes": ["a"], "valid_until": "+1d"}, "method": "verbal", "evidence_hash": "hex:00"}`)
	f.Add(`{"terms": [null, {"a": 1}], "method": 1e9}`)
	f.Add(`{"given_at": "9223372036854775808", "terms": {"notice": null}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "@") {
			t.Skip("it would read a file")
		}
		m := new(consentv1.Give)
		if (&app{}).unmarshal([]byte(text), m) != nil {
			return
		}
		raw, err := protoJSON(m)
		if err != nil {
			t.Skip("strings of protobuf are UTF-8") // protojson refuses what it cannot write
		}
		again := new(consentv1.Give)
		if err := (&app{}).unmarshal(raw, again); err != nil || !proto.Equal(m, again) {
			t.Fatalf("%s: %v: %v is read back as %v", raw, err, m, again)
		}
	})
}
