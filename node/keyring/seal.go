package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/chancery/chancery/chain/keys"
)

const secretVersion = 1

// secret is the plaintext of an .age file. Name, DID and KeyURL are set in backups
// alone.
type secret struct {
	Version int       `json:"version"`
	Type    string    `json:"type"`
	Seed    []byte    `json:"seed"`
	Public  string    `json:"public"`
	Created time.Time `json:"created"`
	Name    string    `json:"name,omitempty"`
	DID     string    `json:"did,omitempty"`
	KeyURL  string    `json:"key_url,omitempty"`
}

// entry checks s and returns what of it is public. The error wraps ErrDamaged.
func (s secret) entry() (Entry, error) {
	if s.Version != secretVersion {
		return Entry{}, fmt.Errorf("%w: version %d; this program reads version %d", ErrDamaged, s.Version, secretVersion)
	}
	entry, err := metadata{s.Name, s.Type, s.Public, s.DID, s.KeyURL, s.Created}.entry()
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	signer, err := keys.NewSigner(entry.Type, s.Seed)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !signer.Public().Equal(entry.Public) {
		return Entry{}, fmt.Errorf("%w: the seed does not give the public key %s", ErrDamaged, entry.Public)
	}
	return entry, nil
}

// seal encrypts s under passphrase, with 2^workFactor as scrypt's N.
func seal(s secret, passphrase string, workFactor int) ([]byte, error) {
	var sealed bytes.Buffer
	if err := sealTo(&sealed, s, passphrase, workFactor); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

func sealArmored(s secret, passphrase string, workFactor int) ([]byte, error) {
	var sealed bytes.Buffer
	armored := armor.NewWriter(&sealed)
	if err := sealTo(armored, s, passphrase, workFactor); err != nil {
		return nil, err
	}
	if err := armored.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

func sealTo(w io.Writer, s secret, passphrase string, workFactor int) error {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(workFactor)
	plaintext, err := json.Marshal(s)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	encrypted, err := age.Encrypt(w, recipient)
	if err != nil {
		return err
	}
	if _, err := encrypted.Write(plaintext); err != nil {
		return err
	}
	return encrypted.Close()
}

// unseal decrypts what seal returned. The error wraps ErrPassphrase or ErrDamaged.
// It holds nothing of the errors of age and of the JSON decoder, which quote what
// they read.
func unseal(sealed []byte, passphrase string) (secret, error) {
	return unsealFrom(bytes.NewReader(sealed), passphrase)
}

func unsealArmored(sealed []byte, passphrase string) (secret, error) {
	if len(sealed) > maxFile {
		return secret{}, fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, maxFile)
	}
	return unsealFrom(armor.NewReader(bytes.NewReader(sealed)), passphrase)
}

func unsealFrom(r io.Reader, passphrase string) (secret, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return secret{}, fmt.Errorf("%w: it is empty", ErrPassphrase)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	decrypted, err := age.Decrypt(r, identity)
	var mismatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &mismatch) && slices.Equal(mismatch.StanzaTypes, []string{"scrypt"}):
		return secret{}, fmt.Errorf("%w; try again", ErrPassphrase)
	case errors.As(err, &mismatch):
		return secret{}, fmt.Errorf("%w: it is encrypted, but not under a passphrase", ErrDamaged)
	case err != nil:
		return secret{}, fmt.Errorf("%w: it is no whole age file under a passphrase; put a backup in its place", ErrDamaged)
	}
	plaintext, err := io.ReadAll(io.LimitReader(decrypted, maxFile))
	defer clear(plaintext)
	if err != nil {
		return secret{}, fmt.Errorf("%w: it is cut off or was changed; put a backup in its place", ErrDamaged)
	}
	var s secret
	decoder := json.NewDecoder(bytes.NewReader(plaintext))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return secret{}, fmt.Errorf("%w: it holds no key that this program can read", ErrDamaged)
	}
	return s, nil
}
