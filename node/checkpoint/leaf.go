package checkpoint

import (
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// HashBytes is the length of a header's hash.
const HashBytes = 32

// leafTag is the first line of a leaf.
const leafTag = "chancery/block/v1"

// Block is what a leaf says.
type Block struct {
	Height int64
	Hash   []byte // of its header, 32 bytes
}

// Leaf is a block in the log: three lines, of which the second is the height in decimal and
// the third the hash of the header in hexadecimal, in lower case. It is leaf Height-1.
func (b Block) Leaf() []byte { return fmt.Appendf(nil, "%s\n%d\n%x\n", leafTag, b.Height, b.Hash) }

// ParseLeaf reads a leaf.
func ParseLeaf(raw []byte) (Block, error) {
	lines := strings.Split(string(raw), "\n")
	if len(lines) != 4 || lines[0] != leafTag || lines[3] != "" {
		return Block{}, ErrNotProof.With("its leaf is no block")
	}
	height, ok := parseSize(lines[1])
	hash, err := hex.DecodeString(lines[2])
	if !ok || height < 1 || err != nil || len(hash) != HashBytes || strings.ToLower(lines[2]) != lines[2] {
		return Block{}, ErrNotProof.With("its leaf is no block")
	}
	return Block{Height: height, Hash: hash}, nil
}

func (b Block) leafHash() tlog.Hash { return tlog.RecordHash(b.Leaf()) }
