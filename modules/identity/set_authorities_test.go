package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// authority is a certificate that begins at the genesis time, changed by the test.
func authority(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(chaintest.GenesisTime).UTC()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: at, NotAfter: at.Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(c)
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnOrganisationSetsItsAuthorities(t *testing.T) {
	w := start(t)
	first, second := authority(t, nil), authority(t, nil)
	w.do(acme, &identityv1.SetAuthorities{Certificates: [][]byte{first}})
	a, err := NewAuthority(first)
	if err != nil {
		t.Fatal(err)
	}
	w.do(acme, &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{7}, Reason: identityv1.Reason_REASON_COMPROMISED})
	w.do(acme, &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{3}, Reason: identityv1.Reason_REASON_COMPROMISED})
	w.fails(ErrRevokedAlready, acme, &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{7}, Reason: identityv1.Reason_REASON_COMPROMISED})
	w.fails(ErrNoAuthority, mercy, &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{7}, Reason: identityv1.Reason_REASON_COMPROMISED})
	w.fails(ErrBadSerial, acme, &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{0, 7}, Reason: identityv1.Reason_REASON_COMPROMISED})

	// The overlap of a rotation keeps what was revoked; the end of the old one forgets it.
	w.do(acme, &identityv1.SetAuthorities{Certificates: [][]byte{second, first}})
	list := w.m.Authorities(w.App().Latest(), acme)
	if len(list) != 2 || !bytes.Equal(list[0].Certificate, second) || len(list[0].Revoked) != 0 || len(list[1].Revoked) != 2 || list[1].Revoked[0][0] != 3 {
		t.Fatalf("authorities %v", list)
	}
	if list[1].ExpiresAt != chaintest.GenesisTime+365*24*3600*1000+1 {
		t.Errorf("it expires at %d", list[1].ExpiresAt)
	}
	genesis, err := w.m.ExportGenesis(w.App().Tree().Latest())
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckGenesis(genesis.(*identityv1.Genesis)); err != nil {
		t.Errorf("the export cannot be read again: %v", err)
	}
	w.do(acme, &identityv1.SetAuthorities{Certificates: [][]byte{second}})
	w.do(acme, &identityv1.SetAuthorities{Certificates: [][]byte{first}})
	if list := w.m.Authorities(w.App().Latest(), acme); len(list) != 1 || len(list[0].Revoked) != 0 {
		t.Fatalf("authorities %v", list)
	}
	w.do(acme, &identityv1.SetAuthorities{})
	if list := w.m.Authorities(w.App().Latest(), acme); len(list) != 0 {
		t.Fatalf("authorities %v", list)
	}
}

func TestAuthoritiesAreRefused(t *testing.T) {
	w := start(t)
	set := func(list ...[]byte) *identityv1.SetAuthorities { return &identityv1.SetAuthorities{Certificates: list} }
	good := authority(t, nil)
	for name, der := range map[string][]byte{
		"empty":           {},
		"no DER":          []byte("-----BEGIN CERTIFICATE-----"),
		"a byte too many": append(bytes.Clone(good), 0),
		"a byte too few":  good[:len(good)-1],
		"too large":       authority(t, func(c *x509.Certificate) { c.DNSNames = []string{string(bytes.Repeat([]byte("a"), 2000))} }),
		"no CA":           authority(t, func(c *x509.Certificate) { c.IsCA = false }),
		"no usage":        authority(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }),
		"no constraints":  authority(t, func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false }),
		"expired":         authority(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotBefore.Add(-time.Hour), c.NotBefore }),
		"ends before":     authority(t, func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(time.Hour) }),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewAuthority(der); err == nil && name != "expired" {
				t.Error("it can be read")
			}
			w.fails(ErrBadAuthority, acme, set(der))
		})
	}
	w.fails(ErrTwice, acme, set(good, good))
	w.fails(ErrTooMany, acme, set(good, authority(t, nil), authority(t, nil), authority(t, nil), authority(t, nil)))
	w.fails(ErrBadKind, robot, set(good))
}

func TestRevokedCertificatesAreBounded(t *testing.T) {
	w := start(t)
	der := authority(t, nil)
	w.do(acme, &identityv1.SetAuthorities{Certificates: [][]byte{der}})
	a, err := NewAuthority(der)
	if err != nil {
		t.Fatal(err)
	}
	revoke := func(n int) proto.Message {
		return &identityv1.RevokeCertificate{Authority: a.Fingerprint, Serial: []byte{byte(1 + n>>8), byte(n)}, Reason: identityv1.Reason_REASON_COMPROMISED}
	}
	for n := 0; n < MaxRevoked; n += 8 {
		var list []proto.Message
		for i := range 8 {
			list = append(list, revoke(n+i))
		}
		w.do(acme, list...)
	}
	w.fails(ErrTooManyRevoked, acme, revoke(MaxRevoked))
}

// What is read as an authority is one to the standard library, too, with the same end.
func FuzzAuthority(f *testing.F) {
	f.Add(authority(f, nil))
	f.Add(authority(f, func(c *x509.Certificate) { c.IsCA = false }))
	f.Fuzz(func(t *testing.T, der []byte) {
		a, err := NewAuthority(der)
		if err != nil {
			return
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return // it is stricter in what makes no difference here, such as names
		}
		if !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 || c.NotAfter.UnixMilli()+1 != a.ExpiresAt {
			t.Fatalf("read as an authority until %d: CA %v, usage %b, until %s", a.ExpiresAt, c.IsCA, c.KeyUsage, c.NotAfter)
		}
	})
}
