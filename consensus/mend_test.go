package consensus

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	cs "github.com/cometbft/cometbft/consensus"
)

// A log is cut where its last record is not whole, wherever it ends, and the engine reads all of
// what is left; any other is as it was.
func TestAnEngineLogThatWasCutOffIsMended(t *testing.T) {
	record := func(height int64) []byte {
		var b bytes.Buffer
		if err := cs.NewWALEncoder(&b).Encode(&cs.TimedWALMessage{Time: time.Unix(height, 0), Msg: cs.EndHeightMessage{Height: height}}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	whole, last := append(record(1), record(2)...), record(3)
	path := filepath.Join(t.TempDir(), "wal")
	mend := func(raw []byte) (cut int64, left []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		cut, err := mendLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if left, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		return cut, left
	}
	for n := range last {
		cut, left := mend(append(bytes.Clone(whole), last[:n]...))
		if cut != int64(n) || !bytes.Equal(left, whole) {
			t.Fatalf("of a record's first %d bytes, %d were cut off, and %d of %d are left", n, cut, len(left), len(whole))
		}
		d := cs.NewWALDecoder(bytes.NewReader(append(left, last...)))
		for height := int64(1); height <= 3; height++ {
			m, err := d.Decode()
			if err != nil || m.Msg != (cs.EndHeightMessage{Height: height}) {
				t.Fatalf("the engine reads %+v, %v", m, err)
			}
		}
	}
	flipped := append(bytes.Clone(whole), last...)
	flipped[len(whole)+logHeader] ^= 1
	long := append(bytes.Clone(whole), 1, 2, 3, 4, 0xff, 0, 0, 0, 5)
	for name, raw := range map[string][]byte{"empty": {}, "whole": append(bytes.Clone(whole), last...), "a flipped bit": flipped, "no length": long} {
		if cut, left := mend(raw); cut != 0 || !bytes.Equal(left, raw) {
			t.Errorf("%s: %d bytes were cut off", name, cut)
		}
	}
	if cut, err := mendLog(filepath.Join(t.TempDir(), "none")); cut != 0 || err != nil {
		t.Errorf("of a log that does not exist %d bytes were cut off: %v", cut, err)
	}
}
