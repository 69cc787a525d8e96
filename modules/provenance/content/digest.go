// Package content computes the hashes under which content is registered. It reads
// no state and runs outside the chain.
package content

import (
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/multiformats/go-multihash"
	// Registers SHA-3, BLAKE2 and BLAKE3 with the multihash package.
	_ "github.com/multiformats/go-multihash/register/all"
)

// chunk is how much is read at once, in bytes, and so how often progress is told.
const chunk = 1 << 20

// Sum is what content is registered by.
type Sum struct {
	// Multihashes are one per function: SHA-256 first, then the others in the order
	// in which they were asked for.
	Multihashes [][]byte
	// Size in bytes.
	Size int64
}

// SHA256 is the 32 bytes of the SHA-256.
func (s Sum) SHA256() []byte { return s.Multihashes[0][2:] }

// Digest reads r to its end and hashes it, with SHA-256 and the functions also,
// which are multihash codes. It holds one chunk in memory, whatever the size.
// progress, if any, is told the number of bytes read so far after each chunk. Errors
// are those of r, wrapped, and unknown functions.
func Digest(r io.Reader, progress func(bytes int64), also ...uint64) (Sum, error) {
	codes := append([]uint64{multihash.SHA2_256}, also...)
	hashes := make([]hash.Hash, len(codes))
	writers := make([]io.Writer, len(codes))
	for i, code := range codes {
		h, err := multihash.GetHasher(code)
		if err != nil {
			return Sum{}, fmt.Errorf("hash function %#x: %w", code, err)
		}
		hashes[i], writers[i] = h, h
	}
	size, err := Copy(io.MultiWriter(writers...), r, progress)
	if err != nil {
		return Sum{}, err
	}
	s := Sum{Size: size}
	for i, h := range hashes {
		m, err := multihash.Encode(h.Sum(nil), codes[i])
		if err != nil {
			return Sum{}, err
		}
		s.Multihashes = append(s.Multihashes, m)
	}
	return s, nil
}

// Copy writes all of r to w in chunks, telling progress as Digest does, and returns
// the number of bytes.
func Copy(w io.Writer, r io.Reader, progress func(bytes int64)) (int64, error) {
	buffer := make([]byte, chunk)
	for total := int64(0); ; {
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			if progress != nil {
				progress(total)
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return total, nil
		case err != nil:
			return total, fmt.Errorf("read content after %d bytes: %w", total, err)
		}
	}
}
