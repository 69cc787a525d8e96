package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/age"

	"github.com/chancery/chancery/node/config"
)

// ErrPassphrase says that a passphrase does not open the keys of a backup.
var ErrPassphrase = errors.New("the passphrase does not open the keys in the backup")

const (
	// workFactor is the binary logarithm of scrypt's N; a backup's keys are tried offline.
	workFactor    = 18
	maxWorkFactor = 22
	mostKeys      = 64 << 10
	// MinPassphrase is the least length of a passphrase.
	MinPassphrase = 12
)

// keyFiles are a home's keys, as they are in its files.
type keyFiles struct {
	Node      []byte `json:"node_key"`
	Validator []byte `json:"priv_validator_key"`
}

// SealKeys encrypts a home's node key and validator key under a passphrase, by age.
func SealKeys(home config.Home, passphrase string) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("the passphrase for the keys has fewer than %d characters", MinPassphrase)
	}
	var k keyFiles
	var err error
	if k.Node, err = os.ReadFile(home.NodeKeyFile()); err != nil {
		return nil, err
	}
	// A home whose key is in a signer has none.
	if k.Validator, err = os.ReadFile(home.ValidatorKeyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	plain, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// openKeys decrypts what SealKeys returned. Its errors quote nothing of what they read.
func openKeys(sealed []byte, passphrase string) (keyFiles, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return keyFiles{}, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		return keyFiles{}, ErrPassphrase
	}
	plain, err := io.ReadAll(io.LimitReader(r, mostKeys))
	defer clear(plain)
	var k keyFiles
	if err != nil || json.Unmarshal(plain, &k) != nil || len(k.Node) == 0 || len(k.Validator) == 0 {
		return keyFiles{}, damaged("the keys in it do not decode")
	}
	return k, nil
}
