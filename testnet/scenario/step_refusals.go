package scenario

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// refusals: a transaction has one effect however often it is submitted, and none
// when it is altered, not understood, or signed with a key of the past.
func (r *run) refusals(ctx context.Context) error {
	who := r.cast.researcher
	rotation, err := r.rotation(who)
	if err != nil {
		return err
	}
	raw, id, err := r.c.Draft(who.did, rotation).Sign(who.signers...)
	if err != nil {
		return err
	}
	if err := r.altered(ctx, raw); err != nil {
		return err
	}
	first, err := r.c.Commit(ctx, raw)
	if err != nil {
		return fmt.Errorf("rotate a key: %w", err)
	}
	if err := r.again(ctx, raw, id, first.Height); err != nil {
		return err
	}
	// The key that signed the rotation has just been rotated out.
	_, err = r.do(ctx, who, &identityv1.RevokeRole{Did: who.did, Role: "researcher"})
	code, err := refusal(err, identity.ErrKeyRotated)
	if err != nil {
		return fmt.Errorf("a key that was rotated out: %w", err)
	}
	r.note("signed with a key that was rotated out: refused, %s", code)
	return nil
}

// rotation replaces the actor's first key at once.
func (r *run) rotation(who actor) (*identityv1.RotateKey, error) {
	name, err := freeName(r.cast.lab.Keyring, who.key+"-new")
	if err != nil {
		return nil, err
	}
	if _, err := r.cast.lab.Keyring.Create(name, keys.Ed25519); err != nil {
		return nil, err
	}
	const second = "key-2"
	if err := r.cast.lab.Keyring.Bind(name, who.did, did.URL(who.did, second)); err != nil {
		return nil, err
	}
	signer, err := r.cast.lab.Keyring.Signer(name)
	if err != nil {
		return nil, err
	}
	key, err := identity.Possess(r.o.ChainID, who.did, second, signer)
	if err != nil {
		return nil, err
	}
	return &identityv1.RotateKey{Did: who.did, KeyId: firstKey, NewKey: key}, nil
}

// again submits committed bytes to every node: each returns the first result, and
// the key was rotated once.
func (r *run) again(ctx context.Context, raw []byte, id tx.ID, height int64) error {
	answers := 0
	for _, m := range r.o.Members {
		c, err := r.o.dial(ctx, m.RPC)
		if err != nil {
			continue // its node is down; step 12 says so
		}
		result, err := c.Commit(ctx, raw)
		closed := c.Close()
		switch {
		case err != nil:
			return fmt.Errorf("the same bytes again, to %s: %w", m.RPC, err)
		case closed != nil:
			return closed
		case result.Height != height || !bytes.Equal(result.TxId, id[:]):
			return fmt.Errorf("the same bytes again, to %s: result of height %d; the first was of height %d", m.RPC, result.Height, height)
		}
		answers++
	}
	all, err := identityv1.NewQueryClient(r.c.Conn()).Keys(ctx, &identityv1.KeysRequest{Did: r.cast.researcher.did})
	if err != nil {
		return err
	}
	if len(all.Keys) != 2 {
		return fmt.Errorf("the researcher has had %d keys after one rotation; it should be 2", len(all.Keys))
	}
	r.note("the same bytes again, to %d nodes: the first result each time, and one effect", answers)
	return nil
}

// altered submits what nobody signed.
func (r *run) altered(ctx context.Context, raw []byte) error {
	t := new(txv1.Tx)
	if err := proto.Unmarshal(raw, t); err != nil {
		return fmt.Errorf("read back a transaction: %w", err)
	}
	signature := t.Signatures[0].Signature
	signature[len(signature)/2] ^= 1
	altered, err := t.MarshalVT()
	if err != nil {
		return fmt.Errorf("write the altered transaction: %w", err)
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(bytes.Clone(raw), 4000, protowire.VarintType), 1)
	node := nodev1.NewTxClient(r.c.Conn())
	for _, w := range []struct {
		what string
		raw  []byte
		want *errs.Error
	}{
		{"one bit altered", altered, chain.ErrBadSignature},
		{"an unknown field added", unknown, tx.ErrUnknownField},
		{"cut short", raw[:len(raw)-1], tx.ErrMalformed},
	} {
		_, err := node.Submit(ctx, &nodev1.SubmitRequest{Tx: w.raw})
		code, err := refusal(err, w.want)
		if err != nil {
			return fmt.Errorf("%s: %w", w.what, err)
		}
		r.note("%s: refused, %s", w.what, code)
	}
	return nil
}
