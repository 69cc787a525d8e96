//go:build !cgo

package signer

import (
	"errors"

	"github.com/cometbft/cometbft/crypto"
)

// openToken is not in a build without cgo, which can load no library.
func openToken(Folder, PKCS11) (crypto.PrivKey, func() error, error) {
	return nil, nil, errors.New("this build is static and can load no PKCS#11 library: build the signer with 'make signer' and run bin/chancery-signer")
}

// MakeKey is not in a build without cgo.
func MakeKey(f Folder, p PKCS11) error {
	_, _, err := openToken(f, p)
	return err
}
