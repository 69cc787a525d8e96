package consensus

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
)

// altered has another signature than the transaction, and so the same id.
func altered(raw []byte) []byte {
	bad := bytes.Clone(raw)
	bad[len(bad)-1] ^= 1
	return bad
}

// An id does not cover signatures: bytes with altered ones are refused although the
// transaction waits in the pool.
func TestAlteredSignaturesAreRefusedBesideTheOriginal(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.pool.Run(ctx)
	raw := setParams(chaintest.Consortium, h.now.Add(time.Minute).UnixMilli())
	for range 2 {
		if err := h.pool.Submit(ctx, raw); err != nil {
			t.Fatal(err)
		}
		if err := h.pool.Submit(ctx, altered(raw)); !errors.Is(err, chain.ErrBadSignature) {
			t.Fatalf("altered: %v", err)
		}
	}
	if n, _ := h.pool.Size(); n != 1 {
		t.Fatalf("%d transactions are in the pool", n)
	}
}

// And so they are once it was committed, before and after its hashes are known.
func TestAlteredSignaturesAreRefusedAfterTheOriginal(t *testing.T) {
	n := single(t, nil, WatchdogOptions{})
	ctx := within(t, 20*time.Second)
	if err := n.Records().Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	var raws [][]byte
	for range 3 {
		raw := setParams(chaintest.Consortium, time.Now().Add(time.Minute).UnixMilli())
		if _, _, err := n.Submit(ctx, raw, true); err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	for _, raw := range raws {
		d, err := n.App().Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		for !n.App().Seen(d.ID) {
			if err := n.Records().Wait(ctx, n.Records().Head()+1); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if id, _, err := n.Submit(ctx, altered(raw), true); !errors.Is(err, chain.ErrOtherBytes) || id != d.ID {
				t.Fatalf("altered: %v", err)
			}
			if id, _, err := n.Submit(ctx, raw, true); !errors.Is(err, chain.ErrSeen) || id != d.ID {
				t.Fatalf("the same bytes: %v", err)
			}
		}
	}
}
