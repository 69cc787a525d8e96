package certs

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/chancery/chancery/modules/identity"
)

func TestWhatAnAuthorityIssuesLeadsToIt(t *testing.T) {
	at := time.Now()
	_, cert, key, err := NewAuthority("test", at, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ReadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.NewAuthority(a.Certificate.Raw); err != nil {
		t.Errorf("the chain does not take it: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	for _, c := range []struct {
		request Request
		usage   x509.ExtKeyUsage
	}{
		{Request{DID: "did:chancery:mercy:desk", At: at, Life: Life}, x509.ExtKeyUsageClientAuth},
		{Request{Hosts: []string{"localhost", "127.0.0.1", "::1"}, At: at, Life: Life}, x509.ExtKeyUsageServerAuth},
	} {
		made, _, err := a.Issue(c.request)
		if err != nil {
			t.Fatal(err)
		}
		one, err := Parse(made)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{c.usage}}); err != nil {
			t.Error(err)
		}
		if one.NotAfter.After(a.Certificate.NotAfter) {
			t.Errorf("it outlives its authority: %s", one.NotAfter)
		}
		if len(one.URIs) > 0 && one.URIs[0].String() != c.request.DID {
			t.Errorf("it names %s", one.URIs[0])
		}
	}
	if _, _, err := a.Issue(Request{DID: "did:web:mercy", At: at, Life: Life}); err == nil {
		t.Error("a DID of another method was certified")
	}
	made, secret, err := a.Issue(Request{Hosts: []string{"localhost"}, At: at, Life: Life})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAuthority(made, secret); err == nil {
		t.Error("a server's certificate was read as an authority")
	}
	if _, err := ReadAuthority(cert, secret); err == nil {
		t.Error("a key that does not fit was taken")
	}
	if _, err := ParseAll(secret); err == nil {
		t.Error("a key was read as a certificate")
	}
}

func TestAlarmThresholds(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]int32{
		31 * 24 * time.Hour: -1, 30 * 24 * time.Hour: 30, 7*24*time.Hour + 1: 30, 7 * 24 * time.Hour: 7,
		24*time.Hour + 1: 7, 24 * time.Hour: 1, 1: 1, 0: 0, -time.Hour: 0,
	} {
		if got := Alarm(now.Add(left), now); got != want {
			t.Errorf("%s before the end: %d, want %d", left, got, want)
		}
	}
}
