package tx

import (
	"errors"
	"fmt"
	"testing"
	"time"

	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// Anybody can send a transaction of the largest size with as many signatures as fit,
// and every node decodes it before it can be refused: the work must grow with its
// bytes and not with the square of its signatures.
func TestDecodingManySignaturesIsQuick(t *testing.T) {
	body, err := (&txv1.Body{ChainId: "c", Author: "a", ValidUntil: 1, Salt: make([]byte, SaltSize), Messages: []*txv1.Message{{}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	many := &txv1.Tx{Body: body}
	for i := range 70_000 {
		many.Signatures = append(many.Signatures, &txv1.Signature{Key: fmt.Sprintf("%05d", i), Signature: []byte{1}})
	}
	raw, err := many.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := Decode(raw); !errors.Is(err, ErrIncomplete) {
		t.Fatalf("%d bytes: %v", len(raw), err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("decoding %d bytes took %s", len(raw), took)
	}
}
