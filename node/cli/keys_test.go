package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/keyring"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func TestTheLifeOfAKey(t *testing.T) {
	s := newShell(t)
	if out := s.ok("keys", "list"); out != "NAME  TYPE  DID  KEY\n" {
		t.Errorf("%q", out)
	}
	made := s.json("keys", "create", "alice")
	if made["type"] != "ed25519" || made["did"] != "" {
		t.Errorf("%v", made)
	}
	s.ok("keys", "create", "bob", "--type", "ml-dsa-65")
	s.ok("keys", "bind", "alice", "did:chancery:mercy#key-1")
	bound := s.json("keys", "show", "alice")
	if bound["did"] != "did:chancery:mercy" || bound["key_url"] != "did:chancery:mercy#key-1" {
		t.Errorf("%v", bound)
	}
	s.ok("keys", "bind", "bob", "did:chancery:mercy:x#key-1", "--did", "did:chancery:mercy")
	if b := s.json("keys", "show", "bob"); b["did"] != "did:chancery:mercy" {
		t.Errorf("%v", b)
	}
	backup := s.path("alice.backup")
	s.ok("keys", "export", "alice", "--out", backup)
	s.fails(1, "exists already", "keys", "export", "alice", "--out", backup)
	if raw, err := os.ReadFile(backup); err != nil || !strings.HasPrefix(string(raw), "-----BEGIN AGE") {
		t.Errorf("%.40s, %v", raw, err)
	}
	s.ok("keys", "rename", "alice", "carol")
	s.fails(5, "no such key", "keys", "show", "alice")
	s.ok("keys", "import", "alice", "--file", backup)
	if again := s.json("keys", "show", "alice"); again["public"] != made["public"] || again["did"] != "did:chancery:mercy" {
		t.Errorf("%v", again)
	}
	s.in = strings.NewReader("no\n")
	s.fails(1, "nothing was changed", "keys", "delete", "carol")
	s.in = strings.NewReader("yes\n")
	s.ok("keys", "delete", "carol")
	s.fails(5, "no such key", "keys", "delete", "carol", "--yes")
	if out := s.ok("keys", "list"); strings.Count(out, "\n") != 3 {
		t.Errorf("%s", out)
	}
}

func TestASeedComesFromAFileAlone(t *testing.T) {
	s := newShell(t)
	seed := make([]byte, keys.SeedSize)
	seed[0] = 7
	want, err := keys.NewSigner(keys.P256, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := s.file("seed", hex.EncodeToString(seed)+"\n")
	got := s.json("keys", "import", "hsm", "--seed-file", file, "--type", "p256")
	if got["public"] != want.Public().Multibase() {
		t.Errorf("%v", got)
	}
	o := s.fails(1, "hexadecimal", "keys", "import", "x", "--seed-file", s.file("bad", "secret-that-is-no-hex"))
	if strings.Contains(o.err+o.out, "secret-that") {
		t.Error("the file's content is printed")
	}
	s.fails(2, "either --file or --seed-file", "keys", "import", "x")
	s.fails(2, "--type is for a seed", "keys", "import", "x", "--file", file, "--type", "p256")
	s.fails(2, "unknown key type", "keys", "create", "x", "--type", "rsa")
	s.fails(1, "invalid key name", "keys", "create", "X")
	s.fails(1, "exists already", "keys", "create", "hsm")
	s.fails(5, "no such file", "keys", "import", "x", "--file", s.path("none"))
}

func TestWithoutAPassphraseNothingIsSigned(t *testing.T) {
	s := newShell(t)
	s.ok("keys", "create", "alice")
	s.ok("keys", "bind", "alice", "did:chancery:mercy#key-1")
	s.passphrase = func(string, bool) ([]byte, error) { return []byte("wrong passphrase"), nil }
	s.fails(1, "wrong passphrase", "keys", "create", "bob")
	s.fails(1, "wrong passphrase", "tx", "consent", "withdraw", "--from", "alice", "--id", "00")
	s.passphrase = func(string, bool) ([]byte, error) { return nil, errors.New("nobody to ask") }
	s.fails(1, "nobody to ask", "tx", "consent", "withdraw", "--from", "alice", "--id", "00")
	s.ok("keys", "show", "alice")
}

func TestAChangedPassphraseIsSaid(t *testing.T) {
	s := newShell(t)
	s.ok("keys", "create", "alice")
	s.fails(1, "the new passphrase is the old one", "keys", "passphrase")
	s.passphrase = func(_ string, confirm bool) ([]byte, error) {
		if confirm {
			return []byte("another long one"), nil
		}
		return []byte(passphrase), nil
	}
	if v := s.json("keys", "passphrase"); v["passphrase"] != "changed" {
		t.Errorf("%v", v)
	}
	s.passphrase = func(string, bool) ([]byte, error) {
		return nil, fmt.Errorf("%w: open /none: %w", keyring.ErrNoPassphrase, fs.ErrNotExist)
	}
	s.fails(1, "no passphrase available", "keys", "create", "bob")
}

func TestAKeyMustBeBoundToSign(t *testing.T) {
	s := newShell(t)
	s.ok("keys", "create", "alice")
	s.fails(1, "chancery keys bind alice", "tx", "consent", "withdraw", "--from", "alice", "--id", "00")
	s.fails(1, "chancery keys bind alice", "tx", "consent", "withdraw", "--from", "alice", "--id", "00", "--generate-only", "--chain-id", "c")
}

func TestANewKeyProvesThatItIsHeld(t *testing.T) {
	s := newShell(t)
	s.ok("keys", "create", "alice", "--type", "p256")
	out := s.ok("keys", "new-key", "alice", "--did", "did:chancery:mercy", "--id", "key-2", "--chain-id", "c-1", "--purpose", "authentication,assertion")
	m := new(identityv1.NewKey)
	if err := (&app{}).unmarshal([]byte(out), m); err != nil {
		t.Fatal(err)
	}
	public, err := keys.NewPublic(keys.Type(m.Type), m.Public)
	if err != nil {
		t.Fatal(err)
	}
	if !public.Verify(identity.PossessionMessage("c-1", "did:chancery:mercy", "key-2", public), m.Proof) {
		t.Error("the proof does not verify")
	}
	if len(m.Purposes) != 2 {
		t.Errorf("%v", m.Purposes)
	}
	if out := s.ok("keys", "new-key", "alice", "--did", "did:chancery:mercy", "--id", "key-2", "--chain-id", "c-1", "--purpose", ""); strings.Contains(out, "PURPOSE") {
		t.Errorf("%s", out)
	}
	s.fails(2, "--purpose", "keys", "new-key", "alice", "--did", "did:chancery:mercy", "--id", "i", "--chain-id", "c", "--purpose", "fun")
	s.fails(2, "no DID with a key", "keys", "new-key", "alice", "--did", "mercy", "--id", "key-2", "--chain-id", "c")
	s.fails(2, "no DID with a key", "keys", "new-key", "alice", "--did", "did:chancery:mercy", "--id", "Key 2", "--chain-id", "c")
	s.fails(2, "required", "keys", "new-key", "alice")
}

func TestTheChainTellsWhatAKeyIsBoundTo(t *testing.T) {
	s := onChain(t)
	s.ok("keys", "create", "reg-2")
	defer s.ok("keys", "delete", "reg-2", "--yes")
	s.fails(5, "identity/62", "keys", "bind", "reg-2")
	s.ok("tx", "identity", "add-key", "--from", "reg", "--did", registrar, "--key",
		s.ok("keys", "new-key", "reg-2", "--did", registrar, "--id", "key-2"))
	if b := s.json("keys", "bind", "reg-2"); b["key_url"] != registrar+"#key-2" || b["did"] != registrar {
		t.Errorf("%v", b)
	}
	s.ok("tx", "provenance", "register-entity", "--from", "reg-2", "--id", "by-the-new-key", "--entity", "{}")
}
