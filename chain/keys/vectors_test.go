package keys

import (
	"bytes"
	"compress/gzip"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"testing"
)

func TestEd25519FollowsRFC8032Section7_1(t *testing.T) {
	for _, v := range []struct{ name, seed, public, msg, sig string }{
		{"TEST 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"TEST 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"TEST 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
		{"TEST SHA(abc)", "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
			"ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
			"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
			"dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"},
	} {
		t.Run(v.name, func(t *testing.T) {
			s, err := NewSigner(Ed25519, unhex(t, v.seed))
			if err != nil {
				t.Fatal(err)
			}
			checkVector(t, s, v.public, unhex(t, v.msg), v.sig)
		})
	}
}

// The signature of "sample" in RFC 6979 has a high s, so what this package
// produces is (r, n-s) and the RFC's own signature is refused.
func TestP256FollowsRFC6979SectionA_2_5(t *testing.T) {
	s, err := newP256ScalarSigner(unhex(t, "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"))
	if err != nil {
		t.Fatal(err)
	}
	const public = "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
	n := elliptic.P256().Params().N
	for _, v := range []struct {
		msg, r, s string
		high      bool
	}{
		{"sample", "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
			"f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8", true},
		{"test", "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
			"019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083", false},
	} {
		t.Run(v.msg, func(t *testing.T) {
			want := v.r + v.s
			if v.high {
				low := new(big.Int).Sub(n, new(big.Int).SetBytes(unhex(t, v.s)))
				want = v.r + hex.EncodeToString(low.FillBytes(make([]byte, 32)))
				if s.Public().Verify([]byte(v.msg), unhex(t, v.r+v.s)) {
					t.Error("the signature with high s is accepted")
				}
			}
			checkVector(t, s, public, []byte(v.msg), want)
		})
	}
}

func TestMLDSA65FollowsWycheproof(t *testing.T) {
	raw, err := os.ReadFile("testdata/mldsa65-wycheproof.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Sign []struct {
			ID                      int
			Comment, Seed, Msg, Sig string
		}
		Verify []struct {
			ID                     int
			Comment, Key, Msg, Sig string
			Valid                  bool
		}
	}
	if err := json.NewDecoder(unzipped).Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Sign) == 0 || len(vectors.Verify) == 0 {
		t.Fatal("the file has no vectors")
	}
	for _, v := range vectors.Sign {
		s, err := NewSigner(MLDSA65, unhex(t, v.Seed))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.Sign(unhex(t, v.Msg))
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(sig) != v.Sig {
			t.Errorf("sign %d (%s): another signature", v.ID, v.Comment)
		}
		if !s.Public().Verify(unhex(t, v.Msg), sig) {
			t.Errorf("sign %d (%s): the signature is refused", v.ID, v.Comment)
		}
	}
	for _, v := range vectors.Verify {
		public, err := NewPublic(MLDSA65, unhex(t, v.Key))
		valid := err == nil && public.Verify(unhex(t, v.Msg), unhex(t, v.Sig))
		if valid != v.Valid {
			t.Errorf("verify %d (%s): valid = %v, not %v", v.ID, v.Comment, valid, v.Valid)
		}
	}
}

func checkVector(t *testing.T, s Signer, public string, msg []byte, sig string) {
	t.Helper()
	if got := hex.EncodeToString(s.Public().Bytes); got != public {
		t.Fatalf("public key %s, not %s", got, public)
	}
	got, err := s.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != sig {
		t.Fatalf("signature %x, not %s", got, sig)
	}
	if !s.Public().Verify(msg, got) {
		t.Fatal("the signature is refused")
	}
}
