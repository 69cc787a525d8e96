package identity

import (
	"crypto/sha256"
	encodingasn1 "encoding/asn1"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// What a certificate must say of itself (RFC 5280) to be an authority. It is read here
// and not by crypto/x509, because what that takes changes with its version and with the
// process's environment, and validators must agree. Its signature says nothing: the
// organisation's own transaction is what makes it an authority.

var (
	oidBasicConstraints = encodingasn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = encodingasn1.ObjectIdentifier{2, 5, 29, 15}

	oidRSA     = encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC      = encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidEd25519 = encodingasn1.ObjectIdentifier{1, 3, 101, 112}
)

// keyCertSign is the bit of a key usage that lets a key sign certificates.
const keyCertSign = 5

// NewAuthority reads an authority's certificate, DER.
func NewAuthority(der []byte) (*identityv1.Authority, error) {
	if len(der) == 0 || len(der) > MaxCertificate {
		return nil, ErrBadAuthority.With("it has %d bytes, want 1 to %d", len(der), MaxCertificate)
	}
	from, until, err := readAuthority(der)
	if err != nil {
		return nil, err
	}
	if from > until {
		return nil, ErrBadAuthority.With("it ends before it begins")
	}
	sum := sha256.Sum256(der)
	return &identityv1.Authority{Certificate: der, Fingerprint: sum[:], ExpiresAt: until + 1}, nil
}

// readAuthority is the first and the last millisecond of an authority's certificate.
func readAuthority(der []byte) (from, until int64, err error) {
	malformed := ErrBadAuthority.With("it is no certificate in DER")
	var certificate, tbs, validity, spki, algorithm, skipped cryptobyte.String
	var version int
	var key encodingasn1.ObjectIdentifier
	var bits encodingasn1.BitString
	in := cryptobyte.String(der)
	// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
	if !in.ReadASN1(&certificate, asn1.SEQUENCE) || !in.Empty() ||
		!certificate.ReadASN1(&tbs, asn1.SEQUENCE) || !certificate.ReadASN1(&skipped, asn1.SEQUENCE) ||
		!certificate.ReadASN1BitString(&bits) || !certificate.Empty() {
		return 0, 0, malformed
	}
	// TBSCertificate ::= SEQUENCE { [0] version, serialNumber, signature, issuer, validity,
	// subject, subjectPublicKeyInfo, … }
	var numbered cryptobyte.String
	if !tbs.ReadASN1(&numbered, asn1.Tag(0).Constructed().ContextSpecific()) || !numbered.ReadASN1Integer(&version) || !numbered.Empty() || version != 2 {
		return 0, 0, ErrBadAuthority.With("it is not of version 3")
	}
	if !tbs.ReadASN1(&skipped, asn1.INTEGER) || !tbs.ReadASN1(&skipped, asn1.SEQUENCE) || !tbs.ReadASN1(&skipped, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, asn1.SEQUENCE) || !tbs.ReadASN1(&skipped, asn1.SEQUENCE) || !tbs.ReadASN1(&spki, asn1.SEQUENCE) ||
		!spki.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&key) {
		return 0, 0, malformed
	}
	if !key.Equal(oidRSA) && !key.Equal(oidEC) && !key.Equal(oidEd25519) {
		return 0, 0, ErrBadAuthority.With("its key is of another kind")
	}
	var ok bool
	if from, ok = readTime(&validity); !ok {
		return 0, 0, malformed
	}
	if until, ok = readTime(&validity); !ok || !validity.Empty() {
		return 0, 0, malformed
	}
	// [1] and [2] are unique identifiers, which nobody uses.
	if !tbs.SkipOptionalASN1(asn1.Tag(1).ContextSpecific()) || !tbs.SkipOptionalASN1(asn1.Tag(2).ContextSpecific()) {
		return 0, 0, malformed
	}
	signs, err := readExtensions(tbs)
	if err != nil {
		return 0, 0, err
	}
	if !signs {
		return 0, 0, ErrBadAuthority.With("it lacks CA:TRUE or the usage keyCertSign")
	}
	return from, until, nil
}

// readTime reads a UTCTime or a GeneralizedTime as Unix milliseconds.
func readTime(in *cryptobyte.String) (int64, bool) {
	var at time.Time
	switch {
	case in.PeekASN1Tag(asn1.UTCTime):
		if !in.ReadASN1UTCTime(&at) {
			return 0, false
		}
	case !in.ReadASN1GeneralizedTime(&at):
		return 0, false
	}
	ms := at.UnixMilli()
	return ms, ms >= 0 && ms <= maxTime
}

// readExtensions tells whether the extensions make it an authority that signs.
func readExtensions(tbs cryptobyte.String) (signs bool, err error) {
	malformed := ErrBadAuthority.With("its extensions are malformed")
	var outer, list cryptobyte.String
	if !tbs.ReadASN1(&outer, asn1.Tag(3).Constructed().ContextSpecific()) || !tbs.Empty() || !outer.ReadASN1(&list, asn1.SEQUENCE) || !outer.Empty() {
		return false, malformed
	}
	var authority, usage, sawConstraints, sawUsage bool
	for !list.Empty() {
		var extension, value cryptobyte.String
		var id encodingasn1.ObjectIdentifier
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&id) ||
			!extension.SkipOptionalASN1(asn1.BOOLEAN) || !extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return false, malformed
		}
		switch {
		case id.Equal(oidBasicConstraints):
			var constraints cryptobyte.String
			if sawConstraints || !value.ReadASN1(&constraints, asn1.SEQUENCE) || !value.Empty() {
				return false, malformed
			}
			sawConstraints = true
			if constraints.PeekASN1Tag(asn1.BOOLEAN) && !constraints.ReadASN1Boolean(&authority) {
				return false, malformed
			}
		case id.Equal(oidKeyUsage):
			var bits encodingasn1.BitString
			if sawUsage || !value.ReadASN1BitString(&bits) || !value.Empty() {
				return false, malformed
			}
			sawUsage = true
			usage = bits.At(keyCertSign) == 1
		}
	}
	return authority && usage, nil
}
