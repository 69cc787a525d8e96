package keys

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	"pgregory.net/rapid"
)

func TestTypeNamesAreParsedBack(t *testing.T) {
	for _, typ := range types {
		got, err := ParseType(typ.String())
		if err != nil || got != typ {
			t.Errorf("ParseType(%q) = %v, %v", typ.String(), got, err)
		}
	}
	for _, s := range []string{"", "Ed25519", "secp256k1", "unknown(0)", strings.Repeat("x", 1<<16)} {
		if _, err := ParseType(s); !errors.Is(err, ErrType) || len(err.Error()) > 200 {
			t.Errorf("ParseType(%.20q): %v", s, err)
		}
	}
}

func TestSignatureAndKeySizesAreThoseOfTheStandards(t *testing.T) {
	for typ, want := range map[Type][2]int{Ed25519: {32, 64}, P256: {33, 64}, MLDSA65: {1952, 3309}, 0: {}, 4: {}} {
		if got := [2]int{typ.KeySize(), typ.SignatureSize()}; got != want {
			t.Errorf("%s: %v, not %v", typ, got, want)
		}
	}
}

func TestNewPublicRefusesOtherLengths(t *testing.T) {
	for _, typ := range types {
		good := newSigner(t, typ, 1).Public().Bytes
		for _, b := range [][]byte{nil, {}, good[1:], good[:len(good)-1], append(bytes.Clone(good), 0)} {
			if _, err := NewPublic(typ, b); !errors.Is(err, ErrKey) {
				t.Errorf("%s of %d bytes: %v", typ, len(b), err)
			}
		}
	}
	for _, typ := range []Type{0, 4, 1 << 31} {
		if _, err := NewPublic(typ, make([]byte, 32)); !errors.Is(err, ErrType) {
			t.Errorf("type %d: %v", typ, err)
		}
	}
}

func TestNewPublicKeepsItsOwnCopy(t *testing.T) {
	b := bytes.Clone(newSigner(t, Ed25519, 1).Public().Bytes)
	public, err := NewPublic(Ed25519, b)
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if bytes.Equal(public.Bytes, b) {
		t.Error("a change of the input changed the key")
	}
}

// lowOrder are the eight points of low order in canonical encoding, then their
// non-canonical encodings. Source: Chalkias, Garillot, Nikolaenko, "Taming the
// many EdDSAs", table 1.
var lowOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// ZIP 215 alone would accept each of these keys with R = A, s = 0 for any message.
func TestEd25519KeysOfLowOrderAreRefusedAndVerifyNothing(t *testing.T) {
	for _, s := range lowOrder {
		b := unhex(t, s)
		if _, err := NewPublic(Ed25519, b); !errors.Is(err, ErrKey) {
			t.Errorf("%s is accepted: %v", s, err)
		}
		forged := append(bytes.Clone(b), make([]byte, 32)...)
		item := Item{Key: Public{Ed25519, b}, Message: []byte("m"), Signature: forged}
		if item.verify() {
			t.Errorf("%s verifies", s)
		}
		for i, ok := range VerifyBatch(coin(1), []Item{item, item, item, item, item, item}) {
			if ok {
				t.Errorf("%s verifies in a batch at %d", s, i)
			}
		}
	}
}

func TestEd25519EncodingsOffTheCurveOrNotCanonicalAreRefused(t *testing.T) {
	// y = p + 3 and p + 4, p + 5: not reduced; y = 2: on no point of the curve.
	for _, s := range []string{
		"f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"f1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"f2ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0200000000000000000000000000000000000000000000000000000000000000",
	} {
		if _, err := NewPublic(Ed25519, unhex(t, s)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestP256EncodingsOffTheCurveOrNotCanonicalAreRefused(t *testing.T) {
	good := newSigner(t, P256, 1).Public().Bytes
	params := elliptic.P256().Params()
	with := func(prefix byte, x *big.Int) []byte { return append([]byte{prefix}, x.FillBytes(make([]byte, 32))...) }
	cases := map[string][]byte{
		"prefix 0":     append([]byte{0}, good[1:]...),
		"prefix 4":     append([]byte{4}, good[1:]...),
		"prefix 5":     append([]byte{5}, good[1:]...),
		"all zero":     make([]byte, 33),
		"x = p":        with(2, params.P),
		"x = p + 5":    with(2, new(big.Int).Add(params.P, big.NewInt(5))), // x = 5 is on the curve
		"x = 1, no y":  with(2, big.NewInt(1)),
		"x = 2^256-1":  append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...),
		"uncompressed": append([]byte{4}, make([]byte, 64)...),
	}
	for name, b := range cases {
		if _, err := NewPublic(P256, b); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if (Public{P256, b}).Verify([]byte("m"), make([]byte, 64)) {
			t.Errorf("%s verifies", name)
		}
	}
	if _, err := NewPublic(P256, with(2, big.NewInt(5))); err != nil {
		t.Errorf("x = 5 is a point: %v", err)
	}
}

func TestP256RefusesBothHalvesOfMalleability(t *testing.T) {
	n := elliptic.P256().Params().N
	item := signed(t, newSigner(t, P256, 1), []byte("message"))
	s := new(big.Int).SetBytes(item.Signature[32:])
	if s.Cmp(p256HalfOrder) > 0 {
		t.Fatal("Sign returned a high s")
	}
	put := func(r []byte, s *big.Int) []byte {
		return append(bytes.Clone(r), s.FillBytes(make([]byte, 32))...)
	}
	r := item.Signature[:32]
	for name, sig := range map[string][]byte{
		"n - s": put(r, new(big.Int).Sub(n, s)),
		"s = 0": put(r, new(big.Int)),
		"s = n": put(r, n),
		"r = 0": put(make([]byte, 32), s),
		"r = n": put(n.FillBytes(make([]byte, 32)), s),
	} {
		if item.Key.Verify(item.Message, sig) {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestEd25519RefusesAnUnreducedS(t *testing.T) {
	item := signed(t, newSigner(t, Ed25519, 1), []byte("message"))
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	little := bytes.Clone(item.Signature[32:])
	reverse(little)
	plus := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(make([]byte, 32))
	reverse(plus)
	item.Signature = append(bytes.Clone(item.Signature[:32]), plus...)
	if item.verify() {
		t.Error("s + L is accepted")
	}
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// mixedOrder signs with a key and an R that both have a component of low order.
// Cofactorless rules refuse most of these; the cofactored ones accept all.
func mixedOrder(tb testing.TB, msg []byte, secret, nonce uint64, torsionA, torsionR int) Item {
	tb.Helper()
	a, r := scalar.NewFromUint64(secret), scalar.NewFromUint64(nonce)
	point := func(s *scalar.Scalar, torsion int) []byte {
		var p curve.EdwardsPoint
		p.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
		p.Add(&p, curve.EIGHT_TORSION[torsion%8])
		var c curve.CompressedEdwardsY
		c.SetEdwardsPoint(&p)
		return c[:]
	}
	A, R := point(a, torsionA), point(r, torsionR)
	h := sha512.New()
	h.Write(R)
	h.Write(A)
	h.Write(msg)
	k, err := scalar.NewFromBytesModOrderWide(h.Sum(nil))
	if err != nil {
		tb.Fatal(err)
	}
	s := scalar.New().Mul(k, a)
	s.Add(s, r)
	sig := append(R, make([]byte, 32)...)
	if err := s.ToBytes(sig[32:]); err != nil {
		tb.Fatal(err)
	}
	public, err := NewPublic(Ed25519, A)
	if err != nil {
		tb.Fatal(err)
	}
	return Item{Key: public, Message: msg, Signature: sig}
}

func TestEd25519AcceptsMixedOrderPointsSinglyAndInBatches(t *testing.T) {
	var items []Item
	for a := range 8 {
		for r := range 8 {
			items = append(items, mixedOrder(t, []byte{byte(a), byte(r)}, 7, 11, a, r))
		}
		// R of low order altogether, as ZIP 215 allows.
		items = append(items, mixedOrder(t, []byte{byte(a)}, 7, 0, 0, a))
	}
	batch := VerifyBatch(coin(1), items)
	for i := range items {
		if !items[i].verify() || !batch[i] {
			t.Errorf("item %d: single %v, batch %v", i, items[i].verify(), batch[i])
		}
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	for _, typ := range types {
		t.Run(typ.String(), func(t *testing.T) {
			item := signed(t, newSigner(t, typ, 3), []byte("the message"))
			if !item.verify() {
				t.Fatal("the untouched signature is refused")
			}
			stride := 1
			if typ == MLDSA65 {
				stride = 61
			}
			for name, field := range map[string]*[]byte{"key": &item.Key.Bytes, "message": &item.Message, "signature": &item.Signature} {
				original := *field
				step := stride
				if name == "message" {
					step = 1
				}
				for bit := 0; bit < 8*len(original); bit += step {
					*field = bytes.Clone(original)
					(*field)[bit/8] ^= 1 << (bit % 8)
					if item.verify() {
						t.Errorf("%s with bit %d flipped is accepted", name, bit)
					}
				}
				*field = original
			}
		})
	}
}

func TestFlippedBitsAreRefusedForArbitraryKeysAndMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(types).Draw(t, "type")
		seed := rapid.SliceOfN(rapid.Byte(), SeedSize, SeedSize).Draw(t, "seed")
		msg := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "message")
		s, err := NewSigner(typ, seed)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.Sign(msg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.Sign(msg)
		if err != nil || !bytes.Equal(sig, again) {
			t.Fatalf("the second signature differs: %v", err)
		}
		if !s.Public().Verify(msg, sig) {
			t.Fatal("the signature is refused")
		}
		bit := rapid.IntRange(0, 8*len(sig)-1).Draw(t, "bit")
		sig[bit/8] ^= 1 << (bit % 8)
		if s.Public().Verify(msg, sig) {
			t.Fatal("the flipped signature is accepted")
		}
	})
}

func TestVerifyRefusesWhatDoesNotFitWithoutPanic(t *testing.T) {
	item := signed(t, newSigner(t, Ed25519, 1), []byte("m"))
	for name, public := range map[string]Public{
		"zero":         {},
		"unknown type": {Type: 9, Bytes: item.Key.Bytes},
		"no bytes":     {Type: Ed25519},
		"wrong type":   {Type: P256, Bytes: item.Key.Bytes},
		"short":        {Type: Ed25519, Bytes: item.Key.Bytes[:31]},
		"mldsa empty":  {Type: MLDSA65},
	} {
		for _, sig := range [][]byte{nil, item.Signature, make([]byte, 64), make([]byte, 3309)} {
			if public.Verify(item.Message, sig) {
				t.Errorf("%s verifies", name)
			}
		}
	}
}

func TestMultibaseRoundTripsAndStartsAsMultikeyDoes(t *testing.T) {
	for typ, prefix := range map[Type]string{Ed25519: "z6Mk", P256: "zDn", MLDSA65: "z"} {
		for fill := range byte(20) {
			public := newSigner(t, typ, fill).Public()
			s := public.Multibase()
			if !strings.HasPrefix(s, prefix) || len(s) > MaxMultibase || s != public.String() {
				t.Errorf("%s: %s", typ, s)
			}
			back, err := ParseMultibase(s)
			if err != nil || !back.Equal(public) {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
}

// Source: the did:key method specification, v0.7, sections 2.1 (Ed25519) and
// test vectors for P-256.
func TestMultibaseOfKnownKeys(t *testing.T) {
	for s, want := range map[string]Type{
		"z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp":  Ed25519,
		"zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169": P256,
		"zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv": P256,
	} {
		public, err := ParseMultibase(s)
		if err != nil || public.Type != want || public.Multibase() != s {
			t.Errorf("%s: %v, %v", s, public, err)
		}
	}
	public, err := ParseMultibase("z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(public.Bytes); got != "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29" {
		t.Errorf("bytes %s", got)
	}
}

func TestParseMultibaseRefuses(t *testing.T) {
	good := newSigner(t, Ed25519, 1).Public().Multibase()
	for s, want := range map[string]error{
		"":                                   ErrKey,
		"z":                                  ErrKey,
		good[1:]:                             ErrKey,
		"f" + good[1:]:                       ErrKey,
		good[:len(good)-1]:                   nil,
		good + "1":                           nil,
		"z1" + good[1:]:                      nil,
		"z0OIl":                              ErrKey,
		" " + good:                           ErrKey,
		good + "\n":                          ErrKey,
		"zé" + good[1:]:                      ErrKey,
		"zQ3shokFTS3brHcDQrn82RUDfCZESWL1Zd": nil, // secp256k1-pub, gitleaks:allow
		"z" + strings.Repeat("z", 1<<20):     ErrKey,
	} {
		_, err := ParseMultibase(s)
		if err == nil || !errors.Is(err, ErrKey) && !errors.Is(err, ErrType) || want != nil && !errors.Is(err, want) {
			t.Errorf("ParseMultibase(%.60q): %v", s, err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("ParseMultibase(%.60q): the error has %d characters", s, len(err.Error()))
		}
	}
}

func TestUnknownTypeHasNoMultibase(t *testing.T) {
	if s := (Public{Type: 9, Bytes: []byte{1}}).Multibase(); s != "" {
		t.Error(s)
	}
}

func TestSignersDeriveTheSameKeyAlwaysAndRefuseOtherSeeds(t *testing.T) {
	for _, typ := range types {
		a, b := newSigner(t, typ, 5), newSigner(t, typ, 5)
		if !a.Public().Equal(b.Public()) || a.Public().Equal(newSigner(t, typ, 6).Public()) {
			t.Errorf("%s: the seed does not determine the key", typ)
		}
		for _, n := range []int{0, 31, 33, 64} {
			if _, err := NewSigner(typ, make([]byte, n)); !errors.Is(err, ErrSeed) {
				t.Errorf("%s, %d bytes: %v", typ, n, err)
			}
		}
	}
	if _, err := NewSigner(9, make([]byte, SeedSize)); !errors.Is(err, ErrType) {
		t.Errorf("type 9: %v", err)
	}
}

// The keys that a seed gives are stored in people's key files: this pins them.
func TestDerivedKeysArePinned(t *testing.T) {
	for typ, want := range map[Type]string{
		Ed25519: "z6MkehRgf7yJbgaGfYsdoAsKdBPE3dj2CYhowQdcjqSJgvVd",
		P256:    "zDnaeszkQ5uaJZHT4QF237vnuZfBaqAXJDjPLrwwc65BZTqTW",
	} {
		var seed [SeedSize]byte
		for i := range seed {
			seed[i] = byte(i)
		}
		s, err := NewSigner(typ, seed[:])
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Public().Multibase(); got != want {
			t.Errorf("%s: %s, not %s", typ, got, want)
		}
	}
}

func TestPrintingASignerShowsNoSecret(t *testing.T) {
	seed := bytes.Repeat([]byte{0xab}, SeedSize)
	for _, typ := range types {
		s, err := NewSigner(typ, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
			printed := fmt.Sprintf(format, s)
			for _, leak := range []string{"171, 171, 171", "171 171 171", "abababab", "0xab, 0xab"} {
				if strings.Contains(printed, leak) {
					t.Errorf("%s printed with %s shows its seed", typ, format)
				}
			}
		}
	}
}
