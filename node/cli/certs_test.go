package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCertsMakesAConsortiumsCertificates(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	do := func(args ...string) (int, string) {
		t.Helper()
		var out, fault strings.Builder
		code := Run(t.Context(), args, Environment{Out: &out, Err: &fault, In: strings.NewReader(""), Version: "test"})
		return code, out.String() + fault.String()
	}
	if code, out := do("certs", "ca", "--name", "Mercy", "--out", at("ca")); code != 0 {
		t.Fatal(out)
	}
	if code, out := do("certs", "issue", "--ca", at("ca"), "--did", "did:chancery:mercy:desk", "--out", at("desk")); code != 0 {
		t.Fatal(out)
	}
	if code, out := do("certs", "issue", "--ca", at("ca"), "--host", "localhost", "--host", "127.0.0.1", "--out", at("server")); code != 0 {
		t.Fatal(out)
	}
	for _, key := range []string{"ca-key.pem", "desk-key.pem", "server-key.pem"} {
		if info, err := os.Stat(at(key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", key, info, err)
		}
	}
	for file, want := range map[string][]string{
		"ca.der": {"authority", "Mercy", "fingerprint"}, "desk.pem": {"client", "did:chancery:mercy:desk", "serial"}, "server.pem": {"server", "localhost, 127.0.0.1"},
	} {
		code, out := do("certs", "show", at(file))
		for _, w := range want {
			if code != 0 || !strings.Contains(out, w) {
				t.Errorf("show %s lacks %q: %s", file, w, out)
			}
		}
	}
	before, err := os.ReadFile(at("desk-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"certs", "issue", "--ca", at("ca"), "--did", "did:chancery:mercy:desk", "--out", at("desk")}, // exists
		{"certs", "issue", "--ca", at("desk"), "--did", "did:chancery:mercy:x", "--out", at("x")},     // no authority
		{"certs", "issue", "--ca", at("ca"), "--did", "mercy", "--out", at("x")},                      // no DID
		{"certs", "issue", "--ca", at("ca"), "--did", "did:chancery:mercy:x", "--host", "h", "--out", at("x")},
		{"certs", "ca", "--name", "Mercy", "--out", at("ca")},
		{"certs", "show", at("desk-key.pem")},
	} {
		if code, out := do(args...); code == 0 {
			t.Errorf("%v: %s", args, out)
		}
	}
	after, err := os.ReadFile(at("desk-key.pem"))
	if err != nil || string(before) != string(after) {
		t.Errorf("a key was overwritten (%v)", err)
	}
	if _, err := os.Stat(at("x-key.pem")); err == nil {
		t.Error("a refused request left a key")
	}
}
