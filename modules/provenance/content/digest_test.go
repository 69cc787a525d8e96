package content

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/multiformats/go-multihash"
)

func TestDigest(t *testing.T) {
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7} {
		data := bytes.Repeat([]byte{7}, size)
		var told []int64
		s, err := Digest(iotest.HalfReader(bytes.NewReader(data)), func(n int64) { told = append(told, n) }, multihash.SHA2_512, multihash.BLAKE3)
		if err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256(data)
		if !bytes.Equal(s.SHA256(), want[:]) || s.Size != int64(size) || len(s.Multihashes) != 3 {
			t.Fatalf("%d bytes: %x of %d bytes", size, s.Multihashes, s.Size)
		}
		long := sha512.Sum512(data)
		if d, err := multihash.Decode(s.Multihashes[1]); err != nil || !bytes.Equal(d.Digest, long[:]) || d.Code != multihash.SHA2_512 {
			t.Fatalf("%v, %v", d, err)
		}
		if steps := (size + chunk - 1) / chunk; len(told) != steps || steps > 0 && told[steps-1] != int64(size) || !slices.IsSorted(told) {
			t.Fatalf("%d bytes: progress %v", size, told)
		}
	}
}

// The multihash of the empty string, from the multihash specification's own tables:
// function 0x12, 32 bytes, and the SHA-256 of nothing (FIPS 180-4).
func TestDigestOfNothing(t *testing.T) {
	s, err := Digest(bytes.NewReader(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(s.Multihashes[0]); got != "1220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Fatal(got)
	}
}

func TestDigestFails(t *testing.T) {
	broken := errors.New("disk on fire")
	r := io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(broken))
	if _, err := Digest(r, nil); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, err := Digest(bytes.NewReader(nil), nil, 0x99); err == nil {
		t.Fatal("an unknown function was accepted")
	}
}

// endless is a file of a size that is never in memory.
type endless struct{ left int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), e.left)
	e.left -= n
	return int(n), nil
}

func TestDigestHoldsOneChunk(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Digest(&endless{256 << 20}, nil); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4*chunk {
		t.Fatalf("%d bytes were allocated for 256 MiB", used)
	}
}
