package wire

import (
	"errors"
	"strings"
	"testing"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestOnlyTheCanonicalEncodingIsRead(t *testing.T) {
	raw, err := (&threatv1.Knot{Value: 3, Points: 4}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	var m threatv1.Knot
	if err := Unmarshal(raw, &m, len(raw)); err != nil || m.Value != 3 || m.Points != 4 {
		t.Fatalf("%v, %v", &m, err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"too long":      {raw, ErrTooLong},
		"cut":           {raw[:1], ErrMalformed},
		"unknown field": {[]byte{0x18, 0x01}, ErrNotCanonical},
		"default value": {[]byte{0x10, 0x00}, ErrNotCanonical},
		"out of order":  {[]byte{0x10, 1, 8, 1}, ErrNotCanonical},
		"twice":         {[]byte{0x10, 1, 0x10, 1}, ErrNotCanonical},
		"long varint":   {[]byte{0x10, 0x81, 0}, ErrNotCanonical},
	} {
		limit := len(c.raw)
		if c.want == ErrTooLong {
			limit--
		}
		if err := Unmarshal(c.raw, &threatv1.Knot{}, limit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNestsAreRefusedBeforeTheyAreBuilt(t *testing.T) {
	p := &threatv1.Predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{}}}
	for range MaxDepth {
		p = &threatv1.Predicate{Kind: &threatv1.Predicate_Count{Count: &threatv1.CountTest{Parts: []*threatv1.Predicate{p}}}}
	}
	raw, err := p.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal(raw, &threatv1.Predicate{}, len(raw)); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "a": true, "key-age": true, "a.b_c-9": true, "A": false, "a b": false, "é": false, "a\x00": false,
		strings.Repeat("a", MaxName): true, strings.Repeat("a", MaxName+1): false,
	} {
		if Named(s) != want {
			t.Errorf("%q is a name: %v", s, !want)
		}
	}
}
