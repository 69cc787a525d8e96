//go:build cgo

package signer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// softHSM makes a token of SoftHSM2 and returns the library's path and the PIN.
func softHSM(t *testing.T, label string) (module, pin string) {
	t.Helper()
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			module = path
		}
	}
	tool, err := exec.LookPath("softhsm2-util")
	if err != nil || module == "" {
		t.Skip("SoftHSM2 is not installed (Debian's package softhsm2)")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	pin = "4711-of-a-test"
	if out, err := exec.Command(tool, "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "so-"+pin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return module, pin
}

func TestAKeyInATokenSigns(t *testing.T) {
	module, pin := softHSM(t, "validators")
	address := socket(t)
	f := folder(t, address, func(s *Settings) {
		s.PKCS11 = PKCS11{Module: module, Token: "validators", Key: "mercy-1", PINFile: "pin"}
	})
	if _, err := os.Stat(f.KeyFile()); err == nil {
		t.Fatal("there is a key in a file beside that of the token")
	}
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "PIN") {
		t.Fatalf("without a PIN: %v", err)
	}
	write := func(pin string) {
		if err := os.WriteFile(f.path("pin"), []byte(pin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "log into the token") {
		t.Fatalf("with a wrong PIN: %v", err)
	}
	write(pin)
	if _, err := Open(f); err == nil || !strings.Contains(err.Error(), "make-key") {
		t.Fatalf("without a key: %v", err)
	}
	settings, err := ReadSettings(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := MakeKey(f, settings.PKCS11); err != nil {
		t.Fatal(err)
	}
	if err := MakeKey(f, settings.PKCS11); err == nil || !strings.Contains(err.Error(), "already") {
		t.Fatalf("a second key of one label: %v", err)
	}

	s := open(t, f)
	key := public(t, s)
	r := listen(t, RemoteOptions{Address: address, Key: key})
	stop := run(t, s)
	until(t, "the signer connects", connected(r))
	v := vote(cmtproto.PrecommitType, 3, 0, "a")
	v.Extension = []byte("said")
	if err := r.SignVote(chain, v); err != nil {
		t.Fatal(err)
	}
	if !key.VerifySignature(types.VoteSignBytes(chain, v), v.Signature) {
		t.Error("the signature does not verify")
	}
	if err := r.SignVote(chain, vote(cmtproto.PrecommitType, 3, 0, "b")); err == nil {
		t.Error("it signs twice")
	}
	// The token loses the session, as when it was taken out.
	lost := s.Key.pv.Key.PrivKey.(*token)
	if err := lost.c.CloseSession(lost.session); err != nil {
		t.Fatal(err)
	}
	if err := r.SignVote(chain, vote(cmtproto.PrevoteType, 4, 0, "a")); err != nil {
		t.Errorf("after a lost session: %v", err)
	}
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, f)
	if !public(t, again).Equals(key) || again.Key.Last() != 4 {
		t.Errorf("after a restart it has another key, or signed %d last", again.Key.Last())
	}
}
