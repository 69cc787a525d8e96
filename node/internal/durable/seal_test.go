package durable

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
)

func TestEveryFlippedBitOfASealedFileIsFound(t *testing.T) {
	for _, text := range []string{"", "one", "one\n", "{\"a\":1}\n{\"b\":2}\n", seal + "x\n"} {
		raw := Seal([]byte(text))
		open, err := Unseal(raw)
		if err != nil || !bytes.Equal(bytes.TrimSuffix(open, []byte("\n")), bytes.TrimSuffix([]byte(text), []byte("\n"))) {
			t.Fatalf("%q: %q, %v", text, open, err)
		}
		for i := range 8 * len(raw) {
			bad := bytes.Clone(raw)
			bad[i/8] ^= 1 << (i % 8)
			if open, err := Unseal(bad); err == nil {
				t.Errorf("%q: bit %d is not found: %q", text, i, open)
			}
		}
		for n := range len(raw) {
			if _, err := Unseal(raw[:n]); err == nil {
				t.Errorf("%q: cut to %d bytes is not found", text, n)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := Replace(path, []byte("no seal\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSealed(path, 100); !errors.Is(err, ErrSeal) {
		t.Error(err)
	}
}
