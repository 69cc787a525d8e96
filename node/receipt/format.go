package receipt

import (
	"bytes"
	"crypto/sha256"

	gogoproto "github.com/cosmos/gogoproto/proto"
	"google.golang.org/protobuf/proto"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// Magic is the line that a receipt's file form begins with.
	Magic = "chancery receipt 1\n"
	// MaxBytes is the largest receipt that is looked at.
	MaxBytes = 16 << 20
	// MaxEntries is the most records of one receipt.
	MaxEntries = 256
	// MaxLinks is the most changes of the validator set of one receipt.
	MaxLinks = 4096
)

// Marshal gives the file form.
func Marshal(r *nodev1.Receipt) ([]byte, error) {
	body, err := r.MarshalVT()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(Magic)+len(body)+sha256.Size)
	out = append(out, Magic...)
	out = append(out, body...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...), nil
}

// Parse reads the file form strictly: every byte must be the one that Marshal
// would write.
func Parse(raw []byte) (*nodev1.Receipt, error) {
	if len(raw) > MaxBytes {
		return nil, ErrTooLarge.With("%d bytes, at most %d", len(raw), MaxBytes)
	}
	body, ok := bytes.CutPrefix(raw, []byte(Magic))
	if !ok || len(body) < sha256.Size {
		return nil, ErrNotReceipt.With("it does not begin with the line %q", Magic[:len(Magic)-1])
	}
	end := len(raw) - sha256.Size
	if sum := sha256.Sum256(raw[:end]); !bytes.Equal(sum[:], raw[end:]) {
		return nil, ErrDamaged
	}
	body = body[:len(body)-sha256.Size]
	r := new(nodev1.Receipt)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, r); err != nil {
		return nil, ErrMalformed.With("it does not parse")
	}
	if again, err := r.MarshalVT(); err != nil || !bytes.Equal(again, body) {
		return nil, ErrMalformed.With("it is not what it marshals to")
	}
	return r, nil
}

// engineMessage is a generated message of the consensus engine or of ICS23.
type engineMessage interface {
	gogoproto.Message
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// canonical unmarshals raw into m and refuses bytes that m does not marshal to.
func canonical(raw []byte, m engineMessage, what string) error {
	if err := m.Unmarshal(raw); err != nil {
		return ErrMalformed.With("%s does not parse", what)
	}
	if again, err := m.Marshal(); err != nil || !bytes.Equal(again, raw) {
		return ErrMalformed.With("%s is not what it marshals to", what)
	}
	return nil
}
