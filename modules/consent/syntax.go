package consent

import (
	"slices"
	"strings"

	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// The bounds of what a message may hold.
const (
	hashSize        = 32
	maxIRI          = 256
	maxPurposes     = 16
	maxCategories   = 32
	maxRecipients   = 32
	maxProcessing   = 16
	maxExclusions   = 32
	maxTermsBytes   = 16 << 10
	maxConsents     = 64  // in force per subject and controller
	maxRequests     = 16  // waiting per subject and controller
	maxRestrictions = 16  // in force per subject and controller
	maxVersions     = 250 // of a record, by narrowing and correcting; ending it is always possible
)

const (
	// AnyData is the category that stands for every category.
	AnyData = "https://w3id.org/dpv#PersonalData"
	// Access is the processing that Permits asks about.
	Access = "https://w3id.org/dpv#Access"
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

func checkHash(field string, b []byte) error {
	if len(b) != hashSize {
		return ErrInvalid.With("%s has %d bytes, want %d", field, len(b), hashSize)
	}
	return nil
}

func checkOptionalHash(field string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return checkHash(field, b)
}

func checkDID(field, did string) error {
	rest, ok := strings.CutPrefix(did, "did:chancery:")
	slug, id, member := strings.Cut(rest, ":")
	if !ok || !isSlug(slug) || member && !isID(id) {
		return ErrInvalid.With("%s is not a DID of the form did:chancery:ORGANISATION or did:chancery:ORGANISATION:ID", field)
	}
	return nil
}

func checkOptionalDID(field, did string) error {
	if did == "" {
		return nil
	}
	return checkDID(field, did)
}

func checkOrganisation(field, did string) error {
	rest, ok := strings.CutPrefix(did, "did:chancery:")
	if !ok || !isSlug(rest) {
		return ErrInvalid.With("%s is not an organisation's DID of the form did:chancery:ORGANISATION", field)
	}
	return nil
}

// splitDID is the organisation's DID and the id within it, empty for the
// organisation itself. The DID must be well formed.
func splitDID(did string) (organisation, id string) {
	const head = len("did:chancery:")
	if i := strings.IndexByte(did[head:], ':'); i >= 0 {
		return did[:head+i], did[head+i+1:]
	}
	return did, ""
}

func isSlug(s string) bool {
	return len(s) >= 2 && len(s) <= 41 && s[0] >= 'a' && s[0] <= 'z' && every(s, isDIDChar)
}

func isID(s string) bool { return s != "" && len(s) <= 64 && every(s, isDIDChar) }

func isDIDChar(c byte) bool { return isLower(c) || isDigit(c) || c == '-' }
func isLower(c byte) bool   { return c >= 'a' && c <= 'z' }
func isUpper(c byte) bool   { return c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool   { return c >= '0' && c <= '9' }

func every(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// checkIRI accepts an absolute IRI in its ASCII form (RFC 3986, RFC 3987 section
// 3.1). It refuses what carries personal data rather than a name for a concept:
// addresses (an at sign, mailto, tel, sms) and inline data.
func checkIRI(field, s string) error {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case len(s) > maxIRI:
		return ErrInvalid.With("%s is longer than %d bytes", field, maxIRI)
	case !ok || scheme == "" || rest == "" || !isLower(scheme[0]|0x20) || !every(scheme, isSchemeChar) || !every(rest, isIRIChar):
		return ErrInvalid.With("%s is not an absolute IRI in ASCII", field)
	}
	switch strings.ToLower(scheme) {
	case "mailto", "tel", "sms", "data":
		return ErrInvalid.With("%s has the scheme %s, which carries data about a person; name a concept instead", field, scheme)
	}
	return nil
}

func isSchemeChar(c byte) bool {
	return isLower(c) || isUpper(c) || isDigit(c) || c == '+' || c == '-' || c == '.'
}

func isIRIChar(c byte) bool {
	return c > 0x20 && c < 0x7F && !strings.ContainsRune("\"<>\\^`{|}@", rune(c))
}

func checkIRIs(field string, list []string, least, most int) error {
	if err := checkCount(field, len(list), least, most); err != nil {
		return err
	}
	for _, s := range list {
		if err := checkIRI(field, s); err != nil {
			return err
		}
	}
	return checkOnce(field, list)
}

func checkDIDs(field string, list []string, most int) error {
	if err := checkCount(field, len(list), 0, most); err != nil {
		return err
	}
	for _, s := range list {
		if err := checkDID(field, s); err != nil {
			return err
		}
	}
	return checkOnce(field, list)
}

func checkCount(field string, n, least, most int) error {
	if n < least || n > most {
		return ErrInvalid.With("%s has %d entries, want %d to %d", field, n, least, most)
	}
	return nil
}

func checkOnce(field string, list []string) error {
	for i, s := range list {
		if contains(list[:i], s) {
			return ErrInvalid.With("%s names %s twice", field, s)
		}
	}
	return nil
}

func checkPeriod(fromField string, from int64, untilField string, until int64) error {
	if from < 0 || until < 0 || until != 0 && from >= until {
		return ErrInvalid.With("%s and %s are not a period in Unix milliseconds", fromField, untilField)
	}
	return nil
}

func checkNotice(n *consentv1.Notice) error {
	switch {
	case n == nil:
		return ErrInvalid.With("notice is missing")
	case n.Version == "" || len(n.Version) > 64 || !every(n.Version, func(c byte) bool { return c >= 0x20 && c < 0x7F }):
		return ErrInvalid.With("notice.version is not 1 to 64 printable ASCII characters")
	case !isLanguage(n.Language):
		return ErrInvalid.With("notice.language is not a BCP 47 tag such as nl or pt-BR")
	}
	if n.Url != "" {
		if err := checkIRI("notice.url", n.Url); err != nil {
			return err
		}
		if !strings.HasPrefix(n.Url, "https://") {
			return ErrInvalid.With("notice.url does not start with https://")
		}
	}
	return checkHash("notice.hash", n.Hash)
}

func isLanguage(s string) bool {
	primary, rest, more := strings.Cut(s, "-")
	if len(s) > 35 || len(primary) < 2 || len(primary) > 8 || !every(primary, func(c byte) bool { return isLower(c) || isUpper(c) }) {
		return false
	}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, "-")
		if part == "" || len(part) > 8 || !every(part, func(c byte) bool { return isLower(c) || isUpper(c) || isDigit(c) }) {
			return false
		}
	}
	return true
}

func isJurisdiction(s string) bool {
	country, part, divided := strings.Cut(s, "-")
	return len(country) == 2 && every(country, isUpper) &&
		(!divided || part != "" && len(part) <= 3 && every(part, func(c byte) bool { return isUpper(c) || isDigit(c) }))
}

func checkSource(s *consentv1.Source) error {
	if s == nil {
		return nil
	}
	if s.Format == "" || len(s.Format) > 64 || !every(s.Format, func(c byte) bool { return isDIDChar(c) || c == '.' }) {
		return ErrInvalid.With("source.format is not 1 to 64 characters of a-z, 0-9, '-' and '.'")
	}
	return checkHash("source.hash", s.Hash)
}
