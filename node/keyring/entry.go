package keyring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/chancery/chancery/chain/keys"
)

// Entry is what is known of a key without its passphrase.
type Entry struct {
	Name    string
	Type    keys.Type
	Public  keys.Public
	DID     string    // the DID that the key signs for; "" if it is not bound
	KeyURL  string    // the DID URL of the key's verification method; "" if it is not bound
	Created time.Time // UTC, in whole seconds
}

// metadata is the form of an Entry in a .json file.
type metadata struct {
	Name    string    `json:"name"`
	Type    string    `json:"type"`
	Public  string    `json:"public"`
	DID     string    `json:"did,omitempty"`
	KeyURL  string    `json:"key_url,omitempty"`
	Created time.Time `json:"created"`
}

// MarshalJSON writes e as it stands in the key's .json file.
func (e Entry) MarshalJSON() ([]byte, error) {
	return json.Marshal(metadata{e.Name, e.Type.String(), e.Public.Multibase(), e.DID, e.KeyURL, e.Created})
}

// UnmarshalJSON is the inverse of MarshalJSON. It refuses unknown fields, and a
// type that is not that of the public key.
func (e *Entry) UnmarshalJSON(raw []byte) error {
	var m metadata
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("something follows the entry")
	}
	entry, err := m.entry()
	if err != nil {
		return err
	}
	*e = entry
	return nil
}

func (m metadata) entry() (Entry, error) {
	public, err := keys.ParseMultibase(m.Public)
	if err != nil {
		return Entry{}, err
	}
	if public.Type.String() != m.Type {
		return Entry{}, fmt.Errorf("the type is %.32q and the public key is of type %s", m.Type, public.Type)
	}
	if err := checkBinding(m.DID, m.KeyURL); err != nil {
		return Entry{}, err
	}
	return Entry{m.Name, public.Type, public, m.DID, m.KeyURL, m.Created}, nil
}

// entry reads a key's .json file. The error wraps ErrDamaged, and fs.ErrNotExist
// as well if there is no such file.
func (k *Keyring) entry(name string) (Entry, error) {
	path := k.path(name, metaSuffix)
	raw, err := readBounded(path)
	if err != nil {
		return Entry{}, fmt.Errorf("keyring: %w: the key %q is without its description; sign once, and it is written anew: %w", ErrDamaged, name, err)
	}
	var entry Entry
	if err := json.Unmarshal(raw, &entry); err != nil {
		return Entry{}, fmt.Errorf("keyring: %w: %s: %w; move it away and sign once, and it is written anew", ErrDamaged, path, err)
	}
	if entry.Name != name {
		return Entry{}, fmt.Errorf("keyring: %w: %s describes the key %.80q; move it away and sign once, and it is written anew", ErrDamaged, path, entry.Name)
	}
	return entry, nil
}

// writeEntry needs the lock.
func (k *Keyring) writeEntry(entry Entry) error {
	raw, err := json.MarshalIndent(entry, "", "  ")
	if err != nil {
		return fmt.Errorf("keyring: describe %q: %w", entry.Name, err)
	}
	return k.write(k.path(entry.Name, metaSuffix), append(raw, '\n'))
}

// didForm is the syntax of a DID, W3C DID Core, section 3.1, without
// percent-encoding.
var didForm = regexp.MustCompile(`^did:[a-z0-9]+:[A-Za-z0-9._:-]*[A-Za-z0-9._-]$`)

// maxBinding bounds a DID and a key URL, in bytes.
const maxBinding = 2048

func checkBinding(did, keyURL string) error {
	switch {
	case did == "" && keyURL == "":
		return nil
	case len(did) > maxBinding || len(keyURL) > maxBinding:
		return fmt.Errorf("%w: a DID has at most %d characters", ErrBinding, maxBinding)
	case !didForm.MatchString(did):
		return fmt.Errorf("%w: %.80q is no DID, such as did:chancery:mercy", ErrBinding, did)
	}
	owner, fragment, ok := strings.Cut(keyURL, "#")
	if !ok || fragment == "" || strings.ContainsAny(fragment, "# \t\r\n") || !didForm.MatchString(owner) {
		return fmt.Errorf("%w: %.80q is no key URL, such as %.80s#key-1", ErrBinding, keyURL, did)
	}
	return nil
}
