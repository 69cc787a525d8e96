package state

import (
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"pgregory.net/rapid"
)

func emptyOverlay(t *testing.T) *Overlay {
	t.Helper()
	tree, err := OpenIAVL(dbm.NewMemDB(), IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return NewOverlay(tree.Latest())
}

// A page token comes from a client: whatever it holds, a page stays in its span.
func TestPageTokensNeverWidenASpan(t *testing.T) {
	s := NewSchema("test", 0x7e)
	m := NewMap(s, 0x01, "before", PairOf(String, String), StringValue)
	x := NewMap(s, 0x02, "rows", PairOf(String, String), StringValue)
	y := NewMap(s, 0x03, "after", PairOf(String, String), StringValue)
	o := emptyOverlay(t)
	for _, in := range []Map[Pair[string, string], string]{m, x, y} {
		for _, a := range []string{"a", "b", "c"} {
			for _, b := range []string{"1", "2", "3"} {
				in.Put(o, Join(a, b), in.name+a+b)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		span := Under(String, "b").After(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "token"))
		if rapid.Bool().Draw(t, "down") {
			span = span.Down()
		}
		page, _ := x.Page(o, span, 10)
		for _, v := range page {
			if v != "test/rowsb1" && v != "test/rowsb2" && v != "test/rowsb3" {
				t.Fatalf("the page holds %s", v)
			}
		}
	})
}

func TestPagesCoverASpanOnce(t *testing.T) {
	s := NewSchema("test", 0x7e)
	x := NewMap(s, 0x02, "rows", PairOf(String, String), StringValue)
	o := emptyOverlay(t)
	for _, a := range []string{"a", "b", "c"} {
		for _, b := range []string{"1", "2", "3"} {
			x.Put(o, Join(a, b), a+b)
		}
	}
	for _, down := range []bool{false, true} {
		var token []byte
		var all string
		for {
			span := Under(String, "b").After(token)
			if down {
				span = span.Down()
			}
			var page []string
			page, token = x.Page(o, span, 2)
			for _, v := range page {
				all += v
			}
			if token == nil {
				break
			}
		}
		if want := map[bool]string{false: "b1b2b3", true: "b3b2b1"}[down]; all != want {
			t.Errorf("down %v: %s", down, all)
		}
	}
}
