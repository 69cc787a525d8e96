package rpc_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/nodetest"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// alterations are what the refusal of a transaction of which one bit was altered
// may be; each has a permanent code.
var alterations = []*errs.Error{
	tx.ErrMalformed, tx.ErrUnknownField, tx.ErrNotCanonical, tx.ErrIncomplete,
	chain.ErrWrongChain, chain.ErrVoid, chain.ErrTooFarAhead, chain.ErrBadSignature,
	identity.ErrBadDID, identity.ErrBadNode, identity.ErrUnknownDID, identity.ErrUnknownKey,
}

// TestEveryBitOfATransactionCounts alters a transaction in each bit in turn, cuts
// it at each byte, and adds to it. Nothing of that is taken, and the transaction
// itself is, afterwards.
func TestEveryBitOfATransactionCounts(t *testing.T) {
	module := identity.New()
	d := serve(t, nodetest.New(t, nodetest.Config{Modules: []chain.Module{module}, Authenticator: module, Genesis: genesis(t)}), limits())
	c := nodev1.NewTxClient(d.dial())
	raw := d.chain.Tx(organisation, &identityv1.BindNode{NodeId: strings.Repeat("ab", 20)})
	seen := make(map[string]int)
	refuses := func(what string, bad []byte) {
		t.Helper()
		_, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: bad})
		err = client.FromStatus(err)
		if err == nil {
			t.Fatalf("%s: it is taken", what)
		}
		known := slices.IndexFunc(alterations, func(e *errs.Error) bool { return errors.Is(err, e) })
		e := errs.As(err)
		if known < 0 {
			t.Errorf("%s: %v", what, err)
		}
		seen[fmt.Sprintf("%s/%d", e.Module, e.Code)]++
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			refuses(fmt.Sprintf("bit %d of byte %d", bit, i), bad)
		}
		refuses(fmt.Sprintf("cut before byte %d", i), raw[:i])
	}
	for n := range 8 {
		refuses(fmt.Sprintf("with %d zero bytes", n+1), append(bytes.Clone(raw), make([]byte, n+1)...))
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 4000, protowire.VarintType), 1)
	if _, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: unknown}); !errors.Is(client.FromStatus(err), tx.ErrUnknownField) {
		t.Errorf("an unknown field: %v", err)
	}
	if n := d.chain.Pooled(); n != 0 {
		t.Fatalf("%d altered transactions are in the pool", n)
	}
	if _, err := c.Submit(t.Context(), &nodev1.SubmitRequest{Tx: raw}); err != nil {
		t.Fatal(err)
	}
	t.Logf("of %d bytes: %v", len(raw), seen)
}
