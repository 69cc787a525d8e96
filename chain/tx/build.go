package tx

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// Draft is a transaction that is being built. The zero values of its fields are
// not usable; see txv1.Body.
type Draft struct {
	ChainID    string
	Author     string
	ValidUntil int64  // Unix milliseconds
	Salt       []byte // 16 random bytes
	Messages   []proto.Message
}

// Signer makes signatures under a key that the author's DID document names.
type Signer interface {
	// KeyURL is the DID URL of the key.
	KeyURL() string
	// Sign signs the message; see the key's type for the form of the signature.
	Sign(msg []byte) ([]byte, error)
}

// Body marshals the unsigned body, canonically.
func (d Draft) Body() ([]byte, error) {
	b := &txv1.Body{ChainId: d.ChainID, Author: d.Author, ValidUntil: d.ValidUntil, Salt: d.Salt}
	for _, m := range d.Messages {
		e, err := Envelope(m)
		if err != nil {
			return nil, err
		}
		b.Messages = append(b.Messages, e)
	}
	return b.MarshalVT()
}

// Sign builds the transaction with one signature of each signer and returns its
// canonical bytes and id.
func (d Draft) Sign(signers ...Signer) ([]byte, ID, error) {
	body, err := d.Body()
	if err != nil {
		return nil, ID{}, err
	}
	return Seal(d.ChainID, body, signers...)
}

// Seal signs a marshalled body, for signers who are not in one place: each seals
// the same body and Merge joins the results.
func Seal(chainID string, body []byte, signers ...Signer) ([]byte, ID, error) {
	if len(signers) == 0 {
		return nil, ID{}, errors.New("tx: no signer")
	}
	msg := SignBytes(chainID, body)
	t := &txv1.Tx{Body: body}
	for _, s := range signers {
		sig, err := s.Sign(msg)
		if err != nil {
			return nil, ID{}, fmt.Errorf("sign with %s: %w", s.KeyURL(), err)
		}
		t.Signatures = append(t.Signatures, &txv1.Signature{Key: s.KeyURL(), Signature: sig})
	}
	raw, err := t.MarshalVT()
	if err != nil {
		return nil, ID{}, err
	}
	return raw, IDOf(chainID, body), nil
}

// Merge joins the signatures of transactions with the same body, each key once.
func Merge(raws ...[]byte) ([]byte, error) {
	var out *txv1.Tx
	for i, raw := range raws {
		d, err := Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("transaction %d: %w", i, err)
		}
		if out == nil {
			out = d.Tx.CloneVT()
			continue
		}
		if string(out.Body) != string(d.Tx.Body) {
			return nil, fmt.Errorf("transaction %d has another body; only signatures over the same body can be joined", i)
		}
		for _, s := range d.Tx.Signatures {
			known := false
			for _, have := range out.Signatures {
				known = known || have.Key == s.Key
			}
			if !known {
				out.Signatures = append(out.Signatures, s)
			}
		}
	}
	if out == nil {
		return nil, errors.New("tx: nothing to join")
	}
	return out.MarshalVT()
}
