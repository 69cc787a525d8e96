package divergence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// registry is two modules, the second of which has two collections.
func registry(t *testing.T) *state.Registry {
	t.Helper()
	one, two := state.NewSchema("one", 0x10), state.NewSchema("two", 0x20)
	state.NewMap(one, 0x01, "things", state.Uint64, state.StringValue)
	state.NewMap(two, 0x01, "things", state.Uint64, state.StringValue)
	state.NewMap(two, 0x02, "others", state.String, state.StringValue)
	r, err := state.NewRegistry(one, two)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func key(prefix string, n uint64) string {
	return prefix + string(binary.BigEndian.AppendUint64(nil, n))
}

// pairs are n things of each module.
func pairs(n uint64) map[string]string {
	out := map[string]string{"\x20\x02last\x00\x01": "value"}
	for i := range n {
		out[key("\x10\x01", i)], out[key("\x20\x01", i)] = "a value", "another"
	}
	return out
}

// snapshot is a state of these pairs in a tree of a kind.
func snapshot(t *testing.T, kind string, of map[string]string) state.Snapshot {
	t.Helper()
	var tree state.Tree
	var err error
	if kind == "disk" {
		tree, err = state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	} else {
		tree, err = state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	var changes []state.Change
	for k, v := range of {
		changes = append(changes, state.Change{Key: []byte(k), Value: []byte(v)})
	}
	slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
	if _, err := tree.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if err := tree.Save(); err != nil {
		t.Fatal(err)
	}
	return tree.Latest()
}

// counted is a source that counts its answers.
func counted(s Source, n *int) Source {
	return func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
		*n++
		return s(ctx, q)
	}
}

func hashOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Whatever differs between two states, the first key is found, between trees of any kinds, in
// few questions, and proved.
func TestTheFirstKeyThatDiffersIsFound(t *testing.T) {
	const n = 6_000
	r := registry(t)
	for name, c := range map[string]struct {
		bend                 func(m map[string]string)
		key, left, right     string
		collection, describe string
		modules              []string // that differ
	}{
		"a value":            {func(m map[string]string) { m[key("\x20\x01", 1234)] = "bent" }, key("\x20\x01", 1234), hashOf("another"), hashOf("bent"), "two/things", "1234", []string{"two"}},
		"a key less":         {func(m map[string]string) { delete(m, key("\x10\x01", 0)) }, key("\x10\x01", 0), hashOf("a value"), Absent, "one/things", "0", []string{"one"}},
		"the last key less":  {func(m map[string]string) { delete(m, "\x20\x02last\x00\x01") }, "\x20\x02last\x00\x01", hashOf("value"), Absent, "two/others", "last", []string{"two"}},
		"a key more":         {func(m map[string]string) { m[key("\x10\x01", n+7)] = "new" }, key("\x10\x01", n+7), Absent, hashOf("new"), "one/things", "6007", []string{"one"}},
		"a key of no module": {func(m map[string]string) { m["\x01x"] = "new" }, "\x01x", Absent, hashOf("new"), "?", "0178", []string{"?"}},
		"the first of many": {func(m map[string]string) {
			m[key("\x10\x01", 9)], m[key("\x10\x01", 10)], m[key("\x20\x01", 0)] = "x", "y", "z"
		}, key("\x10\x01", 9), hashOf("a value"), hashOf("x"), "one/things", "9", []string{"one", "two"}},
		"thousands more": {func(m map[string]string) {
			for i := range uint64(5000) {
				m[key("\x10\x01", n+i)] = "new"
			}
		}, key("\x10\x01", n), Absent, hashOf("new"), "one/things", "6000", []string{"one"}},
		"a module is missing": {func(m map[string]string) {
			for i := range uint64(n) {
				delete(m, key("\x10\x01", i))
			}
		}, key("\x10\x01", 0), hashOf("a value"), Absent, "one/things", "0", []string{"one"}},
	} {
		t.Run(name, func(t *testing.T) {
			bent := pairs(n)
			c.bend(bent)
			asked := 0
			got, err := Compare(t.Context(), r, 1, Local(snapshot(t, "disk", pairs(n))), counted(Local(snapshot(t, "memory", bent)), &asked))
			if err != nil {
				t.Fatal(err)
			}
			d := got.First
			if d == nil || d.RawKey != hex.EncodeToString([]byte(c.key)) || d.Left != c.left || d.Right != c.right || d.Collection != c.collection || d.Key != c.describe && d.Key != `"`+c.describe+`"` || !d.Proved {
				t.Errorf("found %+v", d)
			}
			var differ []string
			for _, m := range got.Modules {
				if m.Differs() {
					differ = append(differ, m.Name)
				}
			}
			if !slices.Equal(differ, c.modules) {
				t.Errorf("modules %v, want %v", differ, c.modules)
			}
			if asked > 6 {
				t.Errorf("%d questions", asked)
			}
		})
	}
}

// Equal records have no difference, and a single state has the hashes that it has in a
// comparison.
func TestEqualStatesDoNotDiffer(t *testing.T) {
	r := registry(t)
	left, right := Local(snapshot(t, "disk", pairs(500))), Local(snapshot(t, "memory", pairs(500)))
	got, err := Compare(t.Context(), r, 1, left, right)
	if err != nil || got.First != nil || got.LeftRoot != got.RightRoot {
		t.Fatalf("%+v, %v", got, err)
	}
	alone, err := Hashes(t.Context(), r, 1, left)
	if err != nil || !slices.Equal(alone.Modules, got.Modules) || len(alone.Modules) != 2 || alone.Modules[1].LeftKeys != 501 {
		t.Errorf("%+v, %v", alone, err)
	}
}

// A side that answers what was not asked, or contradicts itself, is caught, and its false
// value is not proved.
func TestALiarIsCaught(t *testing.T) {
	r, honest := registry(t), Local(snapshot(t, "disk", pairs(1000)))
	bent := pairs(1000)
	bent[key("\x10\x01", 500)] = "bent"
	other := Local(snapshot(t, "disk", bent))
	for name, lie := range map[string]func(q *nodev1.HashesRequest, a *nodev1.HashesResponse){
		"no ranges":      func(_ *nodev1.HashesRequest, a *nodev1.HashesResponse) { a.Ranges = nil },
		"another height": func(_ *nodev1.HashesRequest, a *nodev1.HashesResponse) { a.Height = 7 },
		"too many pairs": func(_ *nodev1.HashesRequest, a *nodev1.HashesResponse) { a.Pairs = make([]*nodev1.PairHash, 1000) },
		"keys from afar": func(_ *nodev1.HashesRequest, a *nodev1.HashesResponse) {
			for _, p := range a.Pairs {
				p.Key = []byte{0xFF}
			}
		},
		"only the whole": func(q *nodev1.HashesRequest, a *nodev1.HashesResponse) {
			if len(q.Start) > 0 {
				b, err := honest(context.Background(), q)
				if err != nil {
					panic(err)
				}
				a.Ranges, a.Pairs = b.Ranges, b.Pairs
			}
		},
	} {
		got, err := Compare(t.Context(), r, 1, honest, func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
			a, err := other(ctx, q)
			lie(q, a)
			return a, err
		})
		if !errors.Is(err, errContradiction) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	got, err := Compare(t.Context(), r, 1, honest, func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
		a, err := other(ctx, q)
		for _, p := range a.GetPairs() {
			if bytes.Equal(p.Key, []byte(key("\x10\x01", 500))) {
				p.Hash = bytes.Repeat([]byte{7}, 32)
			}
		}
		return a, err
	})
	if err != nil || got.First == nil || got.First.Proved {
		t.Errorf("a false value: %+v, %v", got, err)
	}
}

// What may not be asked is refused, and what may be is answered whole: the ranges of any cut
// hold all keys.
func TestQuestionsAreBounded(t *testing.T) {
	s := snapshot(t, "memory", pairs(2000))
	b := func(keys ...string) (out [][]byte) {
		for _, k := range keys {
			out = append(out, []byte(k))
		}
		return out
	}
	many := make([][]byte, maxRanges+1)
	for i := range many {
		many[i] = binary.BigEndian.AppendUint32(nil, uint32(i+1))
	}
	for name, q := range map[string]*nodev1.HashesRequest{
		"two ways":           {Every: 1, List: 1},
		"too many bounds":    {Bounds: many},
		"unsorted":           {Bounds: b("b", "a")},
		"twice":              {Bounds: b("a", "a")},
		"before the part":    {Start: []byte("b"), Bounds: b("a")},
		"after the part":     {End: []byte("b"), Bounds: b("c")},
		"backwards":          {Start: []byte("b"), End: []byte("a"), Every: 1},
		"a long list":        {List: maxListed + 1},
		"a long key":         {Prove: make([]byte, maxKey+1)},
		"a height below all": {Height: -1},
	} {
		if _, err := Answer(t.Context(), s, q); !errors.Is(err, ErrQuestion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 50 {
		q := &nodev1.HashesRequest{Every: rand.Uint64N(3000)}
		if q.Every == 0 {
			q.Bounds = many[:1+rand.IntN(maxRanges)]
		}
		a, err := Answer(t.Context(), s, q)
		if err != nil {
			t.Fatal(err)
		}
		var keys uint64
		for _, x := range a.Ranges {
			keys += x.Keys
		}
		if keys != 4001 || len(a.Ranges) > maxRanges+1 {
			t.Errorf("every %d, %d bounds: %d keys in %d ranges", q.Every, len(q.Bounds), keys, len(a.Ranges))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Answer(ctx, s, &nodev1.HashesRequest{Every: 10}); !errors.Is(err, context.Canceled) {
		t.Errorf("an answer nobody waits for: %v", err)
	}
}

// Sides are counted by organisation, and each once.
func TestTallyCountsAnOrganisationOnce(t *testing.T) {
	r := NewReport(nil)
	r.Own = Own{AppHash: "aa", Organisation: "a", Power: 10}
	r.Peers = []Peer{
		{AppHash: "bb", Organisation: "b", Power: 30}, {AppHash: "bb", Organisation: "b", Power: 30},
		{AppHash: "aa", Organisation: "a", Power: 10}, {Organisation: "c", Power: 50, Silent: "gone"},
	}
	r.Tally()
	if want := []Side{{"bb", 2, 30}, {"aa", 2, 10}}; !slices.Equal(r.Sides, want) {
		t.Errorf("%+v", r.Sides)
	}
	raw, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(raw)
	if err != nil || again.Verdict != Split || !slices.Equal(again.Sides, r.Sides) {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := Parse([]byte(`{"format":2}`)); err == nil {
		t.Error("a report of another format is read")
	}
}
