package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxNote is the largest checkpoint that is looked at.
	MaxNote = 96 << 10
	// maxOrigin is the longest name of a log or a key.
	maxOrigin = 255
)

// Origin is the name of the log of a chain: the first line of its checkpoints, and the name
// of the keys that sign them.
func Origin(chainID string) string { return "chancery/" + chainID }

// Checkpoint is the head of a log.
type Checkpoint struct {
	Origin string
	// Size is how many blocks the log covers.
	Size int64
	Root tlog.Hash
}

// Body is the text that is signed.
func (c Checkpoint) Body() string { return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root) }

// parseBody reads the text of a note. Lines after the third are others' extensions.
func parseBody(text string) (Checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return Checkpoint{}, ErrNotCheckpoint.With("it has %d lines", len(lines))
	}
	for _, l := range lines {
		if l == "" {
			return Checkpoint{}, ErrNotCheckpoint.With("a line of its text is empty")
		}
	}
	if len(lines[0]) > maxOrigin {
		return Checkpoint{}, ErrNotCheckpoint.With("its first line has %d bytes", len(lines[0]))
	}
	c := Checkpoint{Origin: lines[0]}
	var ok bool
	if c.Size, ok = parseSize(lines[1]); !ok {
		return Checkpoint{}, ErrNotCheckpoint.With("its second line is no size")
	}
	if c.Root, ok = parseHash(lines[2]); !ok {
		return Checkpoint{}, ErrNotCheckpoint.With("its third line is no hash")
	}
	return c, nil
}

// parseSize reads a decimal number without sign or leading zeroes.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// parseHash reads 32 bytes in base64, in the one form that they have.
func parseHash(s string) (h tlog.Hash, ok bool) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(h) || len(s) != 44 {
		return h, false
	}
	copy(h[:], raw)
	return h, true
}

// Parse reads a checkpoint with its signatures and verifies none of them.
func Parse(raw []byte) (Checkpoint, error) {
	c, _, err := open(raw, nil)
	return c, err
}

// Open reads a checkpoint and verifies the signatures of keys that are known, of which there
// must be one. Signatures of others are left out.
func Open(raw []byte, known ...*Verifier) (Checkpoint, []note.Signature, error) {
	c, n, err := open(raw, known)
	if err != nil {
		return c, nil, err
	}
	if len(n.Sigs) == 0 {
		return c, nil, ErrSignatures.With("it is of %.64q", c.Origin)
	}
	return c, n.Sigs, nil
}

func open(raw []byte, known []*Verifier) (Checkpoint, *note.Note, error) {
	if len(raw) > MaxNote {
		return Checkpoint{}, nil, ErrNotCheckpoint.With("%d bytes, at most %d", len(raw), MaxNote)
	}
	list := make([]note.Verifier, len(known))
	for i, v := range known {
		list[i] = v
	}
	n, err := note.Open(raw, note.VerifierList(list...))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		n = unverified.Note
	case errors.As(err, &invalid):
		return Checkpoint{}, nil, ErrSignatures.With("the signature of %.64q is wrong", invalid.Name)
	case err != nil:
		return Checkpoint{}, nil, ErrNotCheckpoint.With("%v", err)
	}
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return Checkpoint{}, nil, ErrNotCheckpoint.With("the signature of %.64q is not base64 in its one form", s.Name)
		}
	}
	c, err := parseBody(n.Text)
	return c, n, err
}

// Sign makes the note of a checkpoint.
func (c Checkpoint) Sign(s *Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Body()}, s)
}

// AddCosignature verifies the lines that a witness gave for a note, and returns the note with
// the witness's signature, in place of one that it had.
func AddCosignature(raw, lines []byte, witness *Verifier) ([]byte, error) {
	_, own, err := open(raw, nil)
	if err != nil {
		return nil, err
	}
	_, given, err := open([]byte(own.Text+"\n"+string(lines)), []*Verifier{witness})
	if err != nil {
		return nil, err
	}
	if len(given.Sigs) == 0 {
		return nil, ErrSignatures.With("%.64q did not sign", witness.Name())
	}
	out := own.Text + "\n"
	for _, s := range own.UnverifiedSigs {
		if s.Name != witness.name || s.Hash != witness.hash {
			out += line(s)
		}
	}
	return []byte(out + line(given.Sigs[0])), nil
}

func line(s note.Signature) string { return fmt.Sprintf("— %s %s\n", s.Name, s.Base64) }
