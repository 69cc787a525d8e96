package access

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"
)

// asCedarReads tells whether a canonical text was read, and fails where Cedar reads it differently.
func asCedarReads(t interface{ Fatalf(string, ...any) }, canonical string) bool {
	e, parents, ok := readStored(canonical)
	if !ok {
		return false
	}
	var want types.Entity
	if err := want.UnmarshalJSON([]byte(canonical)); err != nil {
		t.Fatalf("%s: Cedar does not read it: %v", canonical, err)
	}
	again, err := e.MarshalJSON()
	if err != nil || string(again) != canonical || !e.Equal(want) || !slices.Equal(parents, parentsOf(want)) {
		t.Fatalf("%s was read as %s, %v, with the parents %v", canonical, again, err, parents)
	}
	a, b := newEntity(e, canonical, parents), newEntity(want, canonical, parentsOf(want))
	if a.size != b.size || !slices.Equal(a.refs, b.refs) {
		t.Fatalf("%s has the size %v and names %v, want %v and %v", canonical, a.size, a.refs, b.size, b.refs)
	}
	return true
}

// What is stored is read as Cedar reads it, and all of it without Cedar but for what has an escape.
func TestStoredEntitiesAreReadAsCedarDoes(t *testing.T) {
	names := rapid.StringMatching(`[a-z"\\é<]{0,3}`)
	uids := rapid.Custom(func(r *rapid.T) types.EntityUID {
		return types.NewEntityUID(types.EntityType(rapid.SampledFrom([]string{"A", "A::B", "Record"}).Draw(r, "type")), types.String(names.Draw(r, "id")))
	})
	var values func(depth int) *rapid.Generator[types.Value]
	records := func(depth int) *rapid.Generator[types.Record] {
		return rapid.Custom(func(r *rapid.T) types.Record {
			m := types.RecordMap{}
			for range rapid.IntRange(0, 3).Draw(r, "members") {
				m[types.String(names.Draw(r, "name"))] = values(depth+1).Draw(r, "member")
			}
			return types.NewRecord(m)
		})
	}
	values = func(depth int) *rapid.Generator[types.Value] {
		return rapid.Custom(func(r *rapid.T) types.Value {
			kinds := 9
			if depth > 3 {
				kinds = 7
			}
			switch rapid.IntRange(0, kinds-1).Draw(r, "kind") {
			case 0:
				return types.Boolean(rapid.Bool().Draw(r, "truth"))
			case 1:
				return types.Long(rapid.Int64().Draw(r, "number"))
			case 2:
				return uids.Draw(r, "entity")
			case 3:
				return types.NewDatetimeFromMillis(rapid.Int64Range(-1e12, 1e13).Draw(r, "time"))
			case 4:
				// The least, which Cedar writes as "-", is refused where it would come in.
				return types.NewDurationFromMillis(rapid.Int64Min(math.MinInt64+1).Draw(r, "duration"))
			case 5:
				ip, err := types.ParseIPAddr(rapid.SampledFrom([]string{"10.0.0.1", "::1", "10.0.0.0/8", "fe80::/10"}).Draw(r, "address"))
				if err != nil {
					r.Fatal(err)
				}
				return ip
			case 7:
				return types.NewSet(rapid.SliceOfN(values(depth+1), 0, 3).Draw(r, "set")...)
			case 8:
				return records(depth+1).Draw(r, "record")
			}
			return types.String(names.Draw(r, "string"))
		})
	}
	read, escaped := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		e := types.Entity{
			UID: uids.Draw(r, "uid"), Parents: types.NewEntityUIDSet(rapid.SliceOfN(uids, 0, 3).Draw(r, "parents")...),
			Attributes: records(0).Draw(r, "attributes"), Tags: records(2).Draw(r, "tags"),
		}
		canonical, err := e.MarshalJSON()
		if err != nil {
			r.Fatal(err)
		}
		switch ok := asCedarReads(r, string(canonical)); {
		case ok:
			read++
		case strings.Contains(string(canonical), `\`):
			escaped++
		default:
			r.Fatalf("%s was not read, though nothing in it is escaped", canonical)
		}
	})
	if read == 0 || escaped == 0 {
		t.Errorf("%d were read, and %d with escapes were left to Cedar", read, escaped)
	}
}

// A text that is not canonical is left to Cedar.
func TestWhatIsNotCanonicalIsNotRead(t *testing.T) {
	form := func(attrs string) string {
		return fmt.Sprintf(`{"uid":{"type":"A","id":"1"},"parents":[],"attrs":%s,"tags":{}}`, attrs)
	}
	if !asCedarReads(t, form(`{"a":[{"__entity":{"type":"A","id":"2"}}],"b":-1}`)) {
		t.Error("a canonical text was not read")
	}
	for _, attrs := range []string{
		`{"a":1.5}`, `{"a":1e3}`, `{"a":-0}`, `{"a":01}`, `{"a":--1}`, `{"a":9223372036854775808}`, `{"a":null}`, `{"a":}`, `{"a"}`, `{`, ``, `[]`,
		`{"a":1,}`, `{"a":[1,]}`, `{"a":1,"a":2}`, `{ "a":1}`, `{"a":"` + "\x00" + `"}`, `{"a":{"__entity":{"id":"2","type":"A"}}}`,
		`{"a":{"__extn":{"fn":"ip","arg":"x"}}}`, `{"a":{"__extn":{"fn":"f","arg":"1"}}}`, `{"a":` + strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2) + `}`, `{}}`,
	} {
		if _, _, ok := readStored(form(attrs)); ok {
			t.Errorf("attributes %s were read", attrs)
		}
	}
	whole := form("{}")
	for n := range whole {
		if _, _, ok := readStored(whole[:n]); ok {
			t.Errorf("the first %d bytes were read", n)
		}
	}
}

// An entity that could not be read again is refused: Cedar writes the least duration as "-", and
// its parser does not take that one.
func TestAnEntityThatCannotBeReadAgainIsRefused(t *testing.T) {
	entity := func(milliseconds int64) string {
		return fmt.Sprintf(`{"uid":{"type":"A","id":"1"},"parents":[],"attrs":{"a":{"__extn":{"fn":"duration","arg":"%dms"}}},"tags":{}}`, milliseconds)
	}
	if _, err := parseEntity(entity(math.MinInt64), nil); !errors.Is(err, ErrEntities) {
		t.Errorf("the least duration: %v", err)
	}
	if _, err := parseEntity(entity(math.MinInt64+1), nil); err != nil {
		t.Errorf("a millisecond more: %v", err)
	}
}

// BenchmarkStored reads an entity with a parent and three attributes.
func BenchmarkStored(b *testing.B) {
	const text = `{"uid":{"type":"Record","id":"000123"},"parents":[{"type":"Ward","id":"7"}],"attrs":{"level":3,"owner":{"__entity":{"type":"Person","id":"did:chancery:mercy:ann"}},"purposes":["https://w3id.org/dpv#MedicalCare"]},"tags":{}}`
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if _, _, ok := readStored(text); !ok {
				b.Fatal("it was not read")
			}
		}
	})
	b.Run("by Cedar", func(b *testing.B) {
		for b.Loop() {
			var e types.Entity
			if err := e.UnmarshalJSON([]byte(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
