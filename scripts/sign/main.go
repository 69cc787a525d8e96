// Command sign signs a file in the form of minisign, and verifies what it signed.
//
//	CHANCERY_SIGNING_KEY_FILE=release.key go run ./scripts/sign SHA256SUMS            # writes SHA256SUMS.minisig
//	go run ./scripts/sign --public release.pub SHA256SUMS                             # as minisign -Vm SHA256SUMS -p release.pub
//	go run ./scripts/sign --new release                                               # writes release.key and release.pub
//
// The key is the file that CHANCERY_SIGNING_KEY_FILE names or the text of CHANCERY_SIGNING_KEY, the password of an
// encrypted one CHANCERY_SIGNING_PASSWORD. None is ever a flag, and none is in the repository.
package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"aead.dev/minisign"
)

func main() {
	public := flag.String("public", "", "verify with this public key instead of signing")
	fresh := flag.String("new", "", "make a key pair of this name instead of signing")
	flag.Parse()
	if err := run(*public, *fresh, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "sign:", err)
		os.Exit(1)
	}
}

func run(public, fresh string, files []string) error {
	if fresh != "" {
		return generate(fresh)
	}
	if len(files) != 1 {
		return errors.New("name one file")
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	signature := files[0] + ".minisig"
	if public != "" {
		key, err := minisign.PublicKeyFromFile(public)
		if err != nil {
			return err
		}
		signed, err := os.ReadFile(signature) //nolint:gosec // beside the file that the caller names
		if err != nil {
			return err
		}
		if !minisign.Verify(key, raw, signed) {
			return fmt.Errorf("%s is no signature of %s by %s", signature, files[0], public)
		}
		fmt.Printf("%s is signed by %s\n", files[0], public)
		return nil
	}
	key, err := private()
	if err != nil {
		return err
	}
	comment := "file:" + filepath.Base(files[0])
	return os.WriteFile(signature, minisign.SignWithComments(key, raw, comment, "signature of "+filepath.Base(files[0])), 0o644) //nolint:gosec // for everybody
}

// private is the key from the environment.
func private() (key minisign.PrivateKey, err error) {
	text := []byte(os.Getenv("CHANCERY_SIGNING_KEY"))
	if path := os.Getenv("CHANCERY_SIGNING_KEY_FILE"); path != "" {
		if text, err = os.ReadFile(path); err != nil { //nolint:gosec // the caller names it
			return key, err
		}
	}
	if len(text) == 0 {
		return key, errors.New("set CHANCERY_SIGNING_KEY_FILE or CHANCERY_SIGNING_KEY")
	}
	if minisign.IsEncrypted(text) {
		return minisign.DecryptKey(os.Getenv("CHANCERY_SIGNING_PASSWORD"), text)
	}
	return key, key.UnmarshalText(text)
}

// generate makes a key pair, encrypted where there is a password.
func generate(name string) error {
	public, key, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var secret []byte
	if password := os.Getenv("CHANCERY_SIGNING_PASSWORD"); password != "" {
		secret, err = minisign.EncryptKey(password, key)
	} else {
		secret, err = key.MarshalText()
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name+".key", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(secret, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	text, err := public.MarshalText()
	if err != nil {
		return err
	}
	return os.WriteFile(name+".pub", append(text, '\n'), 0o644) //nolint:gosec // for everybody
}
