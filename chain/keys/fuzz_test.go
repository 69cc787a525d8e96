package keys

import (
	"bytes"
	"testing"
)

func FuzzParseMultibase(f *testing.F) {
	for _, typ := range types {
		f.Add(newSigner(f, typ, 1).Public().Multibase())
	}
	f.Add("z")
	f.Add("z1111111")
	f.Add("z6Mk\x00")
	f.Fuzz(func(t *testing.T, s string) {
		public, err := ParseMultibase(s)
		if err != nil {
			return
		}
		if back := public.Multibase(); back != s {
			t.Fatalf("%q is read as the key of %q", s, back)
		}
	})
}

func FuzzNewPublic(f *testing.F) {
	for _, typ := range types {
		f.Add(uint32(typ), newSigner(f, typ, 1).Public().Bytes)
	}
	for _, s := range lowOrder {
		f.Add(uint32(Ed25519), unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, typ uint32, b []byte) {
		public, err := NewPublic(Type(typ), b)
		if err != nil {
			return
		}
		if !bytes.Equal(public.Bytes, b) {
			t.Fatal("the key has other bytes than its encoding")
		}
		back, err := ParseMultibase(public.Multibase())
		if err != nil || !back.Equal(public) {
			t.Fatalf("does not come back from multibase: %v", err)
		}
		sig := make([]byte, public.Type.SignatureSize())
		if public.Verify([]byte("m"), sig) {
			t.Fatal("the zero signature is accepted")
		}
	})
}

func FuzzVerify(f *testing.F) {
	for _, typ := range types {
		item := signed(f, newSigner(f, typ, 1), []byte("message"))
		f.Add(uint32(typ), item.Key.Bytes, item.Message, item.Signature)
	}
	mixed := mixedOrder(f, []byte("m"), 3, 5, 1, 2)
	f.Add(uint32(Ed25519), mixed.Key.Bytes, mixed.Message, mixed.Signature)
	f.Fuzz(func(t *testing.T, typ uint32, key, msg, sig []byte) {
		item := Item{Key: Public{Type(typ), key}, Message: msg, Signature: sig}
		single := item.verify()
		if single {
			if _, err := NewPublic(Type(typ), key); err != nil {
				t.Fatalf("a key that NewPublic refuses verifies: %v", err)
			}
		}
		for _, batched := range VerifyBatch(coin(1), []Item{item, item, item, item}) {
			if batched != single {
				t.Fatalf("batch %v, single %v", batched, single)
			}
		}
	})
}
