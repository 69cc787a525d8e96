package merkle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const (
	proofForm = "chancery/inclusion/v1"
	// maxProof is the longest inclusion proof file in bytes.
	maxProof = 8 << 10
)

// Proof is an inclusion proof as it is kept beside a file. It is worth nothing
// without the anchor that it names, which comes from the chain.
type Proof struct {
	// Organisation and Anchor name the anchor.
	Organisation string
	Anchor       string
	// Index of the leaf, from 0.
	Index uint64
	// Leaves in the tree.
	Leaves uint64
	// Root of the tree, 32 bytes.
	Root []byte
	// Path from the leaf to the root, 32 bytes each: RFC 6962 section 2.1.1.
	Path [][]byte
}

// file is the JSON form of a Proof. Hashes are in lower-case hexadecimal.
type file struct {
	Form         string   `json:"form"`
	Organisation string   `json:"organisation"`
	Anchor       string   `json:"anchor"`
	Index        uint64   `json:"index"`
	Leaves       uint64   `json:"leaves"`
	Root         string   `json:"root"`
	Path         []string `json:"path"`
}

// Marshal writes the proof in its canonical form: JSON with two spaces of
// indentation and a line feed at the end.
func (p Proof) Marshal() ([]byte, error) {
	f := file{
		Form: proofForm, Organisation: p.Organisation, Anchor: p.Anchor, Index: p.Index, Leaves: p.Leaves,
		Root: hex.EncodeToString(p.Root), Path: make([]string, len(p.Path)),
	}
	for i, h := range p.Path {
		f.Path[i] = hex.EncodeToString(h)
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	return append(raw, '\n'), err
}

// Parse reads what Marshal writes, and nothing else.
func Parse(raw []byte) (Proof, error) {
	var f file
	if len(raw) > maxProof {
		return Proof{}, ErrNotProof.With("%d bytes", len(raw))
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return Proof{}, ErrNotProof.With("not JSON of this form")
	}
	if f.Form != proofForm {
		return Proof{}, ErrNotProof.With("the form is not %s", proofForm)
	}
	p := Proof{Organisation: f.Organisation, Anchor: f.Anchor, Index: f.Index, Leaves: f.Leaves}
	var err error
	if p.Root, err = hashOf(f.Root); err != nil {
		return Proof{}, err
	}
	for _, text := range f.Path {
		h, err := hashOf(text)
		if err != nil {
			return Proof{}, err
		}
		p.Path = append(p.Path, h)
	}
	again, err := p.Marshal()
	if err != nil || !bytes.Equal(raw, again) {
		return Proof{}, ErrNotProof.With("it is not written as Marshal writes it")
	}
	return p, nil
}

func hashOf(text string) ([]byte, error) {
	h, err := hex.DecodeString(text)
	if err != nil || len(h) != sha256.Size {
		return nil, ErrNotProof.With("a hash is not 64 hexadecimal digits")
	}
	return h, nil
}

// Verify shows that the leaf with a hash is in the anchored tree, or says why the
// proof does not show it.
func (p Proof) Verify(leafHash []byte, a *pb.Anchor) error {
	b := a.GetBatch()
	switch {
	case p.Organisation != a.GetOrganisation() || p.Anchor != a.GetId():
		return ErrMismatch.With("it is about anchor %s of %s", p.Anchor, p.Organisation)
	case p.Leaves != b.GetLeaves():
		return ErrMismatch.With("it is about %d leaves, %d are anchored", p.Leaves, b.GetLeaves())
	case !bytes.Equal(p.Root, b.GetRoot()):
		return ErrMismatch.With("it is about another root")
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Leaves, leafHash, p.Path, b.GetRoot()); err != nil {
		return ErrMismatch.With("the path does not lead from the leaf to the root")
	}
	return nil
}
