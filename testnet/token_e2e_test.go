//go:build linux && cgo

package testnet_test

import (
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"

	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/signer"
	"github.com/chancery/chancery/testnet"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// A validator signs blocks with a key that was made in a token and never leaves it, by a
// signer that it knows over TCP.
func TestAValidatorSignsByAToken(t *testing.T) {
	tool, err := exec.LookPath("softhsm2-util")
	module := "/usr/lib/softhsm/libsofthsm2.so"
	if _, gone := os.Stat(module); err != nil || gone != nil {
		t.Skip("SoftHSM2 is not installed (Debian's package softhsm2)")
	}
	s := start(t)
	work := t.TempDir()
	conf, tokens := filepath.Join(work, "softhsm2.conf"), filepath.Join(work, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	t.Setenv("TOKEN_PIN", "4711-of-a-test")
	if out, err := exec.Command(tool, "--init-token", "--free", "--label", "validators", "--pin", "4711-of-a-test", "--so-pin", "0815-of-a-test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	where := free(t)

	dir := filepath.Join(work, "signer")
	s.run("signer", "init", "--dir", dir, "--chain-id", s.record.ChainID, "--signs-for", "tcp://"+s.record.Validators[2].NodeID+"@"+where,
		"--pkcs11-module", module, "--pkcs11-token", "validators", "--pkcs11-key", "mercy-1", "--pin-env", "TOKEN_PIN")
	settings, err := signer.ReadSettings(signer.Folder(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.MakeKey(signer.Folder(dir), settings.PKCS11); err != nil {
		t.Fatal(err)
	}
	held, err := signer.Open(signer.Folder(dir))
	if err != nil {
		t.Fatal(err)
	}
	public, err := held.Key.GetPubKey()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- held.Run(t.Context(), slog.New(slog.NewJSONHandler(io.Discard, nil))) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	})

	old, err := s.home(2).Keys()
	if err != nil {
		t.Fatal(err)
	}
	s.run("testnet", "kill", "2", "--signal", "TERM", "--dir", s.dir)
	s.until("validator 2 has ended", time.Minute, func(v []testnet.View) bool { return !v[2].Running })
	s.configure(2, func(c *config.Config) {
		c.Signer.Listen, c.Signer.PublicKey, c.Signer.ID = "tcp://"+where, hex.EncodeToString(public.Bytes()), string(held.ID)
	})
	s.run("testnet", "restart", "2", "--dir", s.dir)
	s.act(did.Consortium, s.consortium(), &identityv1.BindValidator{
		PublicKey: public.Bytes(), Power: 10, Organisation: s.record.Validators[2].Organisation, Moniker: "token", Replaces: old.Validator,
	})
	from := s.signs(public.Address().String(), true, time.Minute)
	for height := from; height < from+5; height++ {
		s.until("the next block", time.Minute, func(v []testnet.View) bool { return v[0].Height > height })
	}
	signed := 0
	for height := from; height < from+5; height++ {
		if by, _ := s.commit(height); by[public.Address().String()] {
			signed++
		}
		if by, _ := s.commit(height); by[ed25519.PubKey(old.Validator).Address().String()] {
			t.Errorf("block %d is signed with the old key", height)
		}
	}
	if signed < 4 {
		t.Errorf("%d of five blocks have a signature of the token's key", signed)
	}
	t.Logf("from block %d on, %d of 5 blocks are signed with the token's key", from, signed)
	s.innocent()
}
