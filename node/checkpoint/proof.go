package checkpoint

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// ProofMagic is the first line of a proof of inclusion.
	ProofMagic = "c2sp.org/tlog-proof@v1\n"
	// MaxProof is the largest proof that is looked at.
	MaxProof = MaxNote + 8<<10
	// maxPath is the most hashes of a proof.
	maxPath = 63
)

// Inclusion proves that a block is in a checkpoint. Its text is a file of
// https://c2sp.org/tlog-proof, whose extra data are the leaf.
type Inclusion struct {
	Block Block
	Path  tlog.RecordProof
	// Checkpoint is the note.
	Checkpoint []byte
}

// Text is the file.
func (p Inclusion) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sextra %s\nindex %d\n", ProofMagic, base64.StdEncoding.EncodeToString(p.Block.Leaf()), p.Block.Height-1)
	writeHashes(&b, p.Path)
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

func writeHashes(b *bytes.Buffer, path []tlog.Hash) {
	for _, h := range path {
		b.WriteString(h.String() + "\n")
	}
}

// ParseInclusion reads a proof strictly. It proves nothing before Verify.
func ParseInclusion(raw []byte) (Inclusion, error) {
	var p Inclusion
	if len(raw) > MaxProof {
		return p, ErrNotProof.With("%d bytes, at most %d", len(raw), MaxProof)
	}
	rest, ok := bytes.CutPrefix(raw, []byte(ProofMagic))
	if !ok {
		return p, ErrNotProof.With("its first line is another")
	}
	head, note, ok := bytes.Cut(rest, []byte("\n\n"))
	if !ok {
		return p, ErrNotProof.With("it has no checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if len(lines) < 2 {
		return p, ErrNotProof.With("it has no leaf or no index")
	}
	extra, ok := strings.CutPrefix(lines[0], "extra ")
	if !ok {
		return p, ErrNotProof.With("it does not say of which block it is")
	}
	leaf, err := base64.StdEncoding.Strict().DecodeString(extra)
	if err != nil {
		return p, ErrNotProof.With("its leaf is not base64")
	}
	if p.Block, err = ParseLeaf(leaf); err != nil {
		return p, err
	}
	index, ok := strings.CutPrefix(lines[1], "index ")
	if n, isSize := parseSize(index); !ok || !isSize || n != p.Block.Height-1 {
		return p, ErrNotProof.With("its index is not that of its block")
	}
	if p.Path, ok = parseHashes(lines[2:]); !ok {
		return p, ErrNotProof.With("its path is none of at most %d hashes", maxPath)
	}
	p.Checkpoint = note
	_, err = Parse(note)
	return p, err
}

func parseHashes(lines []string) ([]tlog.Hash, bool) {
	if len(lines) > maxPath {
		return nil, false
	}
	var path []tlog.Hash
	for _, l := range lines {
		h, ok := parseHash(l)
		if !ok {
			return nil, false
		}
		path = append(path, h)
	}
	return path, true
}

// Verify checks the signatures on the checkpoint by a policy, and that the block is in it.
func (p Inclusion) Verify(policy *Policy) (*Verified, error) {
	v, err := policy.Verify(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	if p.Block.Height > v.Size || tlog.CheckRecord(p.Path, v.Size, v.Root, p.Block.Height-1, p.Block.leafHash()) != nil {
		return nil, ErrMismatch.With("block %d in a checkpoint of %d", p.Block.Height, v.Size)
	}
	return v, nil
}

// Consistency proves that a checkpoint goes on from an older one. Its text is a body of
// add-checkpoint.
type Consistency struct {
	// Old is the size of the older one; 0: none, and the proof is empty.
	Old  int64
	Path tlog.TreeProof
	// Checkpoint is the note of the newer one.
	Checkpoint []byte
}

// ConsistencyMagic begins a proof of consistency.
const ConsistencyMagic = "old "

// Text is the body.
func (c Consistency) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\n", ConsistencyMagic, c.Old)
	writeHashes(&b, c.Path)
	b.WriteByte('\n')
	b.Write(c.Checkpoint)
	return b.Bytes()
}

// ParseConsistency reads a body of add-checkpoint strictly. It proves nothing before Check.
func ParseConsistency(raw []byte) (Consistency, error) {
	var c Consistency
	if len(raw) > MaxProof {
		return c, ErrNotRequest.With("%d bytes, at most %d", len(raw), MaxProof)
	}
	head, note, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return c, ErrNotRequest.With("it has no checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	old, ok := strings.CutPrefix(lines[0], ConsistencyMagic)
	if !ok {
		return c, ErrNotRequest.With("its first line is another")
	}
	if c.Old, ok = parseSize(old); !ok {
		return c, ErrNotRequest.With("its first line has no size")
	}
	if c.Path, ok = parseHashes(lines[1:]); !ok {
		return c, ErrNotRequest.With("its proof is none of at most %d hashes", maxPath)
	}
	c.Checkpoint = note
	_, err := Parse(note)
	return c, err
}

// Check proves that the newer head goes on from the older, whose size is Old.
func (c Consistency) Check(old, newer Checkpoint) error {
	switch {
	case old.Origin != newer.Origin:
		return ErrOtherLog.With("%.64q and %.64q", old.Origin, newer.Origin)
	case old.Size != c.Old || old.Size > newer.Size:
		return ErrMismatch.With("it leads from %d blocks, and the checkpoints have %d and %d", c.Old, old.Size, newer.Size)
	case old.Size == newer.Size && old.Root != newer.Root:
		return ErrFork.With("both have %d blocks", old.Size)
	case old.Size == 0 || old.Size == newer.Size:
		if len(c.Path) > 0 {
			return ErrMismatch.With("nothing is to be proven, and the proof is not empty")
		}
		return nil
	}
	if tlog.CheckTree(c.Path, newer.Size, newer.Root, old.Size, old.Root) != nil {
		return ErrMismatch.With("from %d to %d blocks", old.Size, newer.Size)
	}
	return nil
}
